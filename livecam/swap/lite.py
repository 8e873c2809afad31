"""Swapper `lite`: livecam's own generator. It refines what `mesh` draws, with identity as an input of the network.

Per frame: `mesh` draws the persona at the network's size, the wearer's landmarks are drawn as lines, and one pass of the network turns both and the
wearer's crop, blurred until no feature is left, into the finished face and its mask. Per persona: the mapper turns its embedding into the network's
`film`, worked out at `prepare`. Weights and their form: _lite_weights. Faces wider than LARGE_FACE_PX take the larger tier, when its weights are
there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from livecam.config import SwapConfig
from livecam.errors import StageError
from livecam.persona.embed import Embedders
from livecam.store import Store
from livecam.swap import _lite_lines as lines
from livecam.swap import _lite_tensor as tensor
from livecam.swap import mesh
from livecam.swap._lite_weights import PLANES, SCALE, Tier, load_tiers
from livecam.types import F32, U8, Alignment, CropSpec, Face, Persona, Swapped

LARGE_FACE_PX = 300.0
"""Width of a face in the frame from which the larger tier draws it: 128 px would be stretched to more than twice their size."""


def open(config: SwapConfig, store: Store, threads: int = 1) -> LiteSwapper:
    """The generator, its weights loaded and compiled. Raises ModelFileError (no weights, or damaged ones), ModelShapeError."""
    return LiteSwapper(config, load_tiers(config.model, store, threads), Embedders(store, threads))


def warm_up() -> None:
    """Compile (or load from the disk) the kernels; the first time takes some seconds."""
    mesh.warm_up()
    size = 8
    picture, plane = np.zeros((size, size, 3), np.uint8), np.zeros((size, size), np.uint8)
    tensor.fill(picture, picture, plane, picture, np.zeros((1, PLANES, size, size), np.float32))
    rgb, mask = np.zeros((1, 3, size, size), np.float32), np.zeros((1, 1, size, size), np.float32)
    tensor.finish(rgb, mask, picture.copy(), plane.copy())


@dataclass(slots=True)
class _Bench:
    """A tier at work. x, film: the network's own input arrays, written in place so that they stay bound."""

    tier: Tier
    x: F32
    film: F32


class LiteSwapper:
    """See the module (contract: livecam/swap/__init__.py). `crop` is the smallest tier's; `crop_for` chooses by the face's width."""

    matches_colour = True
    """What it draws is in the scene's light: only a low-frequency offset is to be taken away after it."""

    def __init__(self, config: SwapConfig, tiers: tuple[Tier, ...], embedders: Embedders) -> None:
        self._mesh = mesh.MeshSwapper(config)
        self._embedders = embedders
        self._benches = {tier.size_px: _bench(tier) for tier in tiers}
        self._specs = tuple(CropSpec(t.size_px, SCALE.template, SCALE.scale, SCALE.offset) for t in tiers)
        self._worn = False
        self._licence = "; ".join(f"{t.name}{' int8' if t.int8 else ''}: {t.licence}" for t in tiers)

    @property
    def crop(self) -> CropSpec:
        """The crop of the smallest tier."""
        return self._specs[0]

    def crop_for(self, face_px: float) -> CropSpec:
        """The crop for a face so many frame pixels wide."""
        return self._specs[-1] if face_px > LARGE_FACE_PX else self._specs[0]

    @property
    def licence(self) -> str:
        """Licence of the weights of each tier."""
        return self._licence

    def prepare(self, persona: Persona) -> Callable[[], None]:
        """What `mesh` prepares, and `film` for each tier. Raises PersonaError, ModelFileError (the embedder is not to be had)."""
        base = self._mesh.prepare(persona)
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

    def swap(self, crop: U8, face: Face, alignment: Alignment) -> Swapped:
        """Draw the persona on `face` (needs its 478-point mesh). Raises StageError: no persona worn, no mesh, another size, not finite."""
        bench = self._benches.get(alignment.size_px)
        if not self._worn or bench is None:
            sizes = " or ".join(str(size) for size in self._benches)
            what = f"a crop of {sizes} px, got {alignment.size_px}" if self._worn else "a persona to wear, none was chosen; call wear() first"
            raise StageError(f"the generator lite expects {what}")
        base = self._mesh.swap(crop, face, alignment)
        tensor.fill(lines.veiled(crop), base.crop, base.mask, lines.draw(_landmarks(face, alignment), alignment.size_px), bench.x)
        result = bench.tier.network.run({"x": bench.x, "film": bench.film})
        # base's arrays are this call's own: they are written over.
        if not tensor.finish(result["rgb"], result["mask"], base.crop, base.mask):
            raise StageError(f"the generator {bench.tier.name} gave values that are not finite; if that goes on, use --swap mesh")
        return base


def _bench(tier: Tier) -> _Bench:
    size = tier.size_px
    return _Bench(tier, np.zeros((1, PLANES, size, size), np.float32), np.zeros((1, len(tier.mapper.second_bias)), np.float32))


def _landmarks(face: Face, alignment: Alignment) -> F32:
    """(478, 2) float32 in crop pixels; `mesh` has checked them."""
    assert face.mesh_px is not None
    matrix = alignment.matrix
    return (face.mesh_px[:, :2] @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
