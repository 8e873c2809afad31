"""Swapper `lite`: livecam's own generator. It refines what `mesh` draws, with identity as an input of the network.

Per frame: `mesh` draws the persona into the crop. Shrunk to the network's size, this drawing, the wearer's crop (blurred until no feature is left)
and the wearer's landmarks as lines go through the network in one pass. It says where the drawing is to be moved, how lit, and what is to be added
to it and its mask; that is done to the drawing at its own size, whose detail stays (_lite_tensor). Per persona: the mapper turns its embedding
into the network's `film`, worked out at `prepare`. Weights and their form: _lite_weights. Of the tiers that are opened (SwapConfig.tier) the largest
that is no larger than the drawing is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import numpy as np

from livecam.config import SwapConfig
from livecam.errors import StageError
from livecam.persona.embed import Embedders
from livecam.store import Store
from livecam.swap import Remake, mesh
from livecam.swap import _lite_lines as lines
from livecam.swap import _lite_tensor as tensor
from livecam.swap._lite_weights import PLANES, RUNTIME, SCALE, Tier, check_form, load_tiers
from livecam.types import F32, U8, Alignment, CropSpec, Face, Persona, Swapped

LARGE_FACE_PX = 300.0
SIZES_PX = ((110.0, 128), (LARGE_FACE_PX, 256), (math.inf, 384))
"""Up to which width of a face the drawing is made in a crop of which size."""
CARD_SIZES_PX = ((110.0, 128), (LARGE_FACE_PX, 256), (math.inf, 512))
"""The same where a card draws with the large tier: it takes multiples of the network's side."""


def open(config: SwapConfig, store: Store, threads: int = 1) -> LiteSwapper:
    """The generator, its weights loaded and compiled. Raises ModelFileError (no weights, or damaged ones), ModelShapeError."""
    return LiteSwapper(config, load_tiers(config.model, store, threads, config.tier), Embedders(store, threads))


def warm_up() -> None:
    """Compile (or load from the disk) the kernels of the composition."""
    size = 8
    picture, plane = np.zeros((size, size, 3), np.uint8), np.zeros((size, size), np.uint8)
    tensor.fill(picture, picture, plane, picture, np.zeros((1, PLANES, size, size), np.float32))
    light, flow, added = (np.zeros((1, planes, side, side), np.float32) for planes, side in ((3, 2), (2, 4), (4, 4)))
    # An empty mask is nothing to draw in: all kernels run only where there is one.
    tensor.compose(picture, plane, light, flow, added, picture.copy(), np.full((size, size), 255, np.uint8))


KERNELS = (*mesh.KERNELS, warm_up)
"""See the room's `kernels`."""


@dataclass(slots=True)
class _Bench:
    """A tier at work. x, film: the network's own input arrays, written in place so that they stay bound."""

    tier: Tier
    x: F32
    film: F32
    refiner: Any = None
    """On a card: livecam.gpu.lite.Refiner."""


class Base(Protocol):
    """What draws that which is refined: `mesh`; in evaluation, drawings that were made before."""

    def prepare(self, persona: Persona) -> Callable[[], None]:
        """See the room's Swapper."""
        ...

    def swap(self, crop: U8, face: Face, alignment: Alignment) -> Swapped:
        """See the room's Swapper; the arrays are the caller's."""
        ...


class LiteSwapper:
    """See the module (contract: livecam/swap/__init__.py). `crop_for` chooses the crop's size by the face's width."""

    any_size = True
    """Draws at whatever size the crop has."""
    matches_colour = True
    """What it draws is in the scene's light: only a low-frequency offset is to be taken away after it."""

    def __init__(self, config: SwapConfig, tiers: tuple[Tier, ...], embedders: Embedders) -> None:
        self.base: Base = mesh.MeshSwapper(config)
        self._embedders = embedders
        self._benches = {tier.size_px: _bench(tier) for tier in tiers}
        largest = self._benches[max(self._benches)]
        self._sizes = CARD_SIZES_PX if largest.refiner is not None and not largest.refiner.fits(SIZES_PX[-1][1]) else SIZES_PX
        self._worn = False
        self.most_tier_px = max(self._benches)
        """The largest tier to use."""
        self.refines = True
        """Whether the network is used; without it the drawing goes out as mesh made it."""
        self._licence = "; ".join(f"{t.name}{' int8' if t.int8 else ''}: {t.licence}" for t in tiers)

    @property
    def crop(self) -> CropSpec:
        """The crop for faces of middling size."""
        return _spec(self._sizes[1][1])

    @property
    def crops_px(self) -> tuple[int, ...]:
        """Sides of all crops that `crop_for` chooses from."""
        return tuple(size for _, size in self._sizes)

    def crop_for(self, face_px: float) -> CropSpec:
        """The crop for a face so many frame pixels wide."""
        return _spec(next(size for most, size in self._sizes if face_px <= most))

    @property
    def licence(self) -> str:
        """Licence of the weights of each tier."""
        return self._licence

    def prepare(self, persona: Persona) -> Callable[[], None]:
        """What `mesh` prepares, and `film` for each tier. Raises PersonaError, ModelFileError (the embedder is not to be had)."""
        base = self.base.prepare(persona)
        films = {size: self._film(persona, bench.tier) for size, bench in self._benches.items()}

        def put_on() -> None:
            base()
            for size, film in films.items():
                self._benches[size].film[:] = film
            self._worn = True

        return put_on

    def _film(self, persona: Persona, tier: Tier) -> F32:
        return tier.mapper.film(self._embedders.embedding(persona, tier.mapper.embedder))

    def wear(self, persona: Persona) -> None:
        """Make `persona` the identity from the next `swap` on. Raises PersonaError, ModelFileError."""
        self.prepare(persona)()

    def warm_up(self) -> None:
        """On a card: compile and record what the first frame would wait for."""
        for bench in self._benches.values():
            own = bench.tier.size_px
            small, plane = np.zeros((own, own, 3), np.uint8), np.zeros((own, own), np.uint8)
            for size in self.crops_px:
                if bench.refiner is not None and bench.refiner.fits(size):
                    drawn = Swapped(np.zeros((size, size, 3), np.uint8), np.zeros((size, size), np.uint8))
                    bench.refiner.refine(small, small, plane, bench.film, drawn)

    @property
    def runtime(self) -> str:
        """What ran the networks when they were opened."""
        return RUNTIME

    def prepare_network(self, remake: Remake) -> Callable[[], None]:
        """See the room's text: each tier's network made anew of its file in float32. Raises ModelError, StageError."""
        made = {size: replace(bench.tier, network=remake(bench.tier.exact.read(), bench.tier.network)) for size, bench in self._benches.items()}
        for tier in made.values():
            check_form(tier, tier.exact.path)

        def put_on() -> None:
            for size, tier in made.items():
                self._benches[size].tier = tier

        return put_on

    def swap(self, crop: U8, face: Face, alignment: Alignment) -> Swapped:
        """Draw the persona on `face` (needs its 478-point mesh). Raises StageError: no persona worn, no mesh, another size, not finite."""
        if not self._worn:
            raise StageError("the generator lite expects a persona to wear, none was chosen; call wear() first")
        base = self.base.swap(crop, face, alignment)
        if not self.refines:
            return base
        bench = self._bench_for(alignment.size_px)
        # base's arrays are this call's own: they are written over.
        if not self._refine(bench, crop, base, _landmarks(face, alignment)):
            raise StageError(f"the generator {bench.tier.name} gave values that are not finite; if that goes on, use --swap mesh")
        return base

    def _bench_for(self, size_px: int) -> _Bench:
        """No tier draws into a crop smaller than its own, but for the smallest."""
        return self._benches[max((n for n in self._benches if n <= min(size_px, self.most_tier_px)), default=min(self._benches))]

    @property
    def tiers_px(self) -> tuple[int, ...]:
        """The tiers that are opened, smallest first."""
        return tuple(sorted(self._benches))

    def _refine(self, bench: _Bench, crop: U8, base: Swapped, landmarks: F32) -> bool:
        """Draws the network's result into `base`. Of a larger drawing it sees a smaller one. False when a value is not finite."""
        size, own = base.mask.shape[0], bench.tier.size_px
        wearer, drawing, mask = (tensor.resized(picture, own) for picture in (crop, base.crop, base.mask))
        lined = lines.draw((landmarks + 0.5) * np.float32(own / size) - 0.5, own)
        veil = lines.veiled(wearer, lined)
        if bench.refiner is not None and bench.refiner.fits(size):
            return bench.refiner.refine(veil, lined, lines.open_eyes(lined), bench.film, base)
        tensor.fill(veil, drawing, mask, lined, bench.x)
        result = bench.tier.network.run({"x": bench.x, "film": bench.film})
        return tensor.compose(veil, lines.open_eyes(lined), result["light"], result["flow"], result["change"], base.crop, base.mask)


def _spec(size_px: int) -> CropSpec:
    return CropSpec(size_px, SCALE.template, SCALE.scale, SCALE.offset)


def _bench(tier: Tier) -> _Bench:
    size = tier.size_px
    film = np.zeros((1, len(tier.mapper.second_bias)), np.float32)
    refiner = None
    if hasattr(tier.network, "card"):
        from livecam.gpu.lite import Refiner

        refiner = Refiner(cast(Any, tier.network), tensor.FLOW_LIMIT)
    return _Bench(tier, np.zeros((1, PLANES, size, size), np.float32), film, refiner)


def _landmarks(face: Face, alignment: Alignment) -> F32:
    """(478, 2) float32 in crop pixels; `mesh` has checked them."""
    assert face.mesh_px is not None
    matrix = alignment.matrix
    return (face.mesh_px[:, :2] @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
