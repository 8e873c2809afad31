"""What is under test: anything that draws a persona into an aligned crop, put over the wearer as the live loop does it.

The parser's part of alpha (what is in front of the face) is taken from the label, for all subjects alike, so that a generator is judged and not
the parser.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from engines.evaluate.dataset import Pairs, Sample, landmarks_of
from livecam import image, mask, persona, registry, swap
from livecam.config import RunConfig, SwapConfig
from livecam.errors import StageError, UsageError
from livecam.pipeline import LARGE_CROP, LARGE_FACE_PX
from livecam.store import Store
from livecam.swap import Swapper
from livecam.swap.lite import LiteSwapper
from livecam.track._landmarks import box_of, five_points
from livecam.types import U8, Alignment, CropSpec, Face, Persona, Swapped

SETTLE = 3
"""A swapper draws a picture so many times before its drawing counts: light and shape settle."""
CROP = CropSpec(256, offset=(0.0, -0.06))
"""The set's own crop; a generator that wants another one cannot be judged on it."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """picture: (S, S, 3) uint8, the wearer with the drawing over it; alpha: (S, S) uint8, how much of it is the drawing (occluders taken out)."""

    picture: U8
    alpha: U8


class Subject(Protocol):
    """Draws each sample of a set; called in any order, from one thread."""

    name: str
    licence: str

    def draw(self, sample: Sample, second: bool = False) -> Drawn:
        """The sample, or its twin (the same scene under new camera noise; after the first). Raises LivecamError when it cannot."""
        ...


def make(name: str, pairs: Pairs, model: str = "", threads: int = 1) -> Subject:
    """`identity` (truth itself), `mesh` (as stored in the set), a member of the swap room (`live-mesh`: mesh drawn anew), or a generator file.
    `lite` refines the mesh drawings that the set holds, whose swapper knew the wearer, as it does when live; `live-lite` draws them anew.

    model: weights for a member that takes some. Raises LivecamError."""
    if name == "identity":
        return Truth()
    if name == "mesh":
        return StoredMesh()
    if name == "wearer":
        return Unchanged()
    store, member = Store(RunConfig().cache_dir), name.removeprefix("live-")
    if name == "lite":
        return Refined(name, swap.load(name, SwapConfig(swap=name, model=model), store, threads), pairs)
    if member in registry.names("swap"):
        return Live(name, swap.load(member, SwapConfig(swap=member, model=model), store, threads), pairs)
    if Path(name).is_file():
        return Live(Path(name).stem, swap.load("onnx", SwapConfig(swap="onnx", model=name), store, threads), pairs)
    raise UsageError(f"--swap {name!r}: expected identity, mesh, wearer, one of {', '.join(registry.names('swap'))}, or a generator file")


class Truth:
    """The right answer; what any figure can reach at most."""

    name, licence = "identity", "-"

    def draw(self, sample: Sample, second: bool = False) -> Drawn:
        return Drawn(sample.picture("truth2" if second else "truth"), _visible(sample.picture("oval"), sample))


class Unchanged:
    """The wearer as they are; what a generator that does nothing would reach."""

    name, licence = "wearer", "-"

    def draw(self, sample: Sample, second: bool = False) -> Drawn:
        return Drawn(sample.picture("wearer2" if second else "wearer"), _visible(sample.picture("oval"), sample))


class StoredMesh:
    """livecam's `mesh` as it drew when the set was made (its light settled)."""

    name, licence = "mesh", "no weights; rendered portraits"

    def draw(self, sample: Sample, second: bool = False) -> Drawn:
        end = "2" if second else ""
        size = sample.size_px
        swapped = Swapped(sample.picture("mesh" + end), sample.picture("mesh_mask" + end))
        return blended(sample, swapped, face_of(sample, second), scaling(size, size), second)


class Live:
    """A swapper of livecam, wearing the set's personas."""

    def __init__(self, name: str, swapper: Swapper, pairs: Pairs) -> None:
        self.name, self._swapper, self._people = name, swapper, pairs.people
        self._worn: int | None = None
        spec = swapper.crop
        if (spec.template, spec.scale, spec.offset) != (CROP.template, CROP.scale, CROP.offset):
            raise UsageError(f"generator {name!r} wants the crop {spec}, the set has {CROP}; render a set of its own crops")

    @property
    def licence(self) -> str:
        return self._swapper.licence

    def draw(self, sample: Sample, second: bool = False) -> Drawn:
        self._wear(sample.b)
        face = face_of(sample, second)
        size = self._size(face, sample.size_px)
        alignment = scaling(sample.size_px, size)
        crop = _resized(sample.picture("wearer2" if second else "wearer"), size)
        swapped = self._swapper.swap(crop, face, alignment)
        for _ in range(0 if second else SETTLE - 1):
            swapped = self._swapper.swap(crop, face, alignment)
        return blended(sample, Swapped(swapped.crop.copy(), swapped.mask.copy()), face, alignment, second)

    def _wear(self, number: int) -> None:
        if number == self._worn:
            return
        if number not in self._people:
            raise StageError(f"the set holds no persona file for identity {number}")
        self._swapper.wear(persona.read_unsigned(self._people[number]))
        self._worn = number

    def _size(self, face: Face, size_px: int) -> int:
        if size_px == CROP.size_px:
            return self._swapper.crop.size_px
        if chooses := getattr(self._swapper, "crop_for", None):
            return int(chooses(float(face.box_px[2] - face.box_px[0])).size_px)
        size = self._swapper.crop.size_px
        large = size_px > CROP.size_px and float(face.box_px[2] - face.box_px[0]) > LARGE_FACE_PX
        return int(size * LARGE_CROP) if large and getattr(self._swapper, "any_size", False) else size


class Refined(Live):
    """livecam's generator over the set's own mesh drawings."""

    def __init__(self, name: str, swapper: Swapper, pairs: Pairs) -> None:
        super().__init__(name, swapper, pairs)
        if not isinstance(swapper, LiteSwapper):
            raise UsageError(f"expected the generator lite, which refines drawings, found {name!r}; use live-{name}")
        swapper.base = self._base = _Stored()

    def draw(self, sample: Sample, second: bool = False) -> Drawn:
        end = "2" if second else ""
        self._base.given = Swapped(sample.picture("mesh" + end), sample.picture("mesh_mask" + end))
        return super().draw(sample, second)


class _Stored:
    """In the place of a MeshSwapper: hands out a drawing that was made before."""

    given: Swapped | None = None

    def prepare(self, worn: Persona) -> Callable[[], None]:
        del worn
        return lambda: None

    def swap(self, crop: U8, face: Face, alignment: Alignment) -> Swapped:
        del crop, face
        if self.given is None:
            raise StageError("no stored drawing was given")
        return Swapped(_resized(self.given.crop, alignment.size_px).copy(), _resized(self.given.mask, alignment.size_px).copy())


def face_of(sample: Sample, second: bool = False) -> Face:
    """The wearer's face as the live tracker saw it when the set was made, in the sample or in its twin; the crop is the frame. Every sample is a
    track of its own."""
    mesh = landmarks_of(sample, "landmarks2" if second and sample.has("landmarks2") else "landmarks")
    gaze = np.asarray(sample.data["tracker_gaze"], np.float32) if sample.has("tracker_gaze") else None
    opened = np.asarray(sample.data["eye_open"], np.float32) if sample.has("eye_open") else None
    five = five_points(mesh.astype(np.float64)).astype(np.float32)
    return Face(sample.index + 1, box_of(mesh), five, 1.0, mesh, gaze, opened)


def scaling(from_px: int, to_px: int) -> Alignment:
    """The alignment that takes a square picture to another size, edges to edges."""
    k = to_px / from_px
    return Alignment(np.array([[k, 0.0, (k - 1) / 2], [0.0, k, (k - 1) / 2]]), to_px)


def blended(sample: Sample, swapped: Swapped, face: Face, alignment: Alignment, second: bool) -> Drawn:
    """The drawing over the wearer, with the live loop's own mask and paste. Raises StageError as those do."""
    size = alignment.size_px
    soft = mask.alpha(swapped, face, alignment)
    front = _resized(sample.picture("occluder"), size)
    alpha = (soft.astype(np.uint16) * (255 - front.astype(np.uint16)) // 255).astype(np.uint8)
    picture = sample.picture("wearer2" if second else "wearer").copy()
    image.paste(picture, alignment, np.ascontiguousarray(swapped.crop), alpha)
    return Drawn(picture, _resized(alpha, sample.size_px))


def _visible(alpha: U8, sample: Sample) -> U8:
    return (alpha.astype(np.uint16) * (255 - sample.picture("occluder").astype(np.uint16)) // 255).astype(np.uint8)


def _resized(picture: U8, size: int) -> U8:
    if picture.shape[0] == size:
        return picture
    shrinks = size < picture.shape[0]
    return np.asarray(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), np.uint8)

