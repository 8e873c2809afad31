"""What a faulty stage does instead of its work: one function for each "stage: what", by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from livecam.errors import StageError
from livecam.types import U8, Alignment, Detection, Face, Swapped

STALE_FRAMES = 12
"""How old the result of a stale stage is."""
ELSEWHERE = 0.3
"""By this share of a face's or crop's size a stage works beside its face."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a stage that is to fail. past: its results and arguments before, newest last. index: of the frame. seconds: for a hang.
    worn_raw: copy of the raw frame."""

    stage: Callable[..., Any]
    args: tuple[Any, ...]
    past: Sequence[tuple[Any, tuple[Any, ...]]]
    index: int
    seconds: float
    raw: U8

    def done(self) -> Any:
        """What the stage itself gives."""
        return self.stage(*self.args)

    def old(self) -> tuple[Any, tuple[Any, ...]]:
        """The oldest result kept, and its arguments; this call's own when there is none."""
        return self.past[0] if self.past else (self.done(), self.args)


Effect = Callable[[Call], Any]


def exception(call: Call) -> Any:
    raise (StageError, RuntimeError, ValueError, MemoryError)[call.index % 4]("planted")


def hang(call: Call) -> Any:
    time.sleep(call.seconds)
    return call.done()


def stale(call: Call) -> Any:
    return call.old()[0]


def _array(change: Callable[[Any], Any]) -> Effect:
    return lambda call: change(call.done())


def _nan(shape: Any, index: int) -> Any:
    """Not a number, or what becomes of it as a grey level."""
    bad: Any = np.full(shape, np.nan, np.float32)
    with np.errstate(invalid="ignore"):
        return bad if index % 2 else bad.astype(np.uint8)


def _shifted(image: U8, share: float) -> U8:
    reach = round(share * image.shape[0])
    moved = np.zeros_like(image)
    moved[reach:, reach:] = image[:-reach, :-reach]
    moved[[0, -1]] = 0
    moved[:, [0, -1]] = 0
    return moved


# -- detect: -> detections; track: -> faces ------------------------------------------------------------------------------------------------------


def _bad_boxes(call: Call) -> tuple[Detection, ...]:
    return tuple(replace(d, box_px=np.full(4, np.nan, np.float32), five_px=np.full((5, 2), np.nan, np.float32), score=np.nan) for d in call.done())


def _boxes_elsewhere(call: Call) -> tuple[Detection, ...]:
    found: list[Detection] = []
    for d in call.done():
        by = np.float32(2.0 * ELSEWHERE * (d.box_px[2] - d.box_px[0]))
        found.append(replace(d, box_px=d.box_px + by, five_px=None if d.five_px is None else d.five_px + by))
    return tuple(found)


def _moved(face: Face, change: Callable[[Any], Any]) -> Face:
    mesh = face.mesh_px
    if mesh is not None:
        mesh = mesh.copy()
        mesh[:, :2] = change(mesh[:, :2])
    box = change(face.box_px.reshape(2, 2)).reshape(4)
    return replace(face, box_px=box.astype(np.float32), five_px=change(face.five_px).astype(np.float32), mesh_px=mesh)


def _faces(change: Callable[[Face], Face]) -> Effect:
    return lambda call: tuple(change(face) for face in call.done())


def _beside(face: Face) -> Face:
    by = np.float32(ELSEWHERE * (face.box_px[2] - face.box_px[0]))
    return _moved(face, lambda points: points + by)


def _half(face: Face) -> Face:
    middle = (face.box_px[:2] + face.box_px[2:]) / 2.0
    return _moved(face, lambda points: middle + (points - middle) * np.float32(0.5))


# -- align: -> alignment -----------------------------------------------------------------------------------------------------------------------


def _matrix(change: Callable[[Any], Any]) -> Effect:
    return lambda call: replace(cast(Alignment, call.done()), matrix=change(call.done().matrix.copy()))


def _off(matrix: Any) -> Any:
    matrix[:, 2] += ELSEWHERE * 128
    return matrix


# -- swap, mask ----------------------------------------------------------------------------------------------------------------------------------


def _crop(change: Callable[[Any, Call], Any]) -> Effect:
    def effect(call: Call) -> Swapped:
        done: Swapped = call.done()
        return replace(done, crop=change(done.crop, call))

    return effect


# -- blend, mark: draw in place --------------------------------------------------------------------------------------------------------------------


def _blend_black(call: Call) -> Any:
    image, alignment, crop, alpha = call.args
    return call.stage(image, alignment, np.zeros_like(crop), alpha)


def _blend_where(call: Call, alignment: Alignment) -> Any:
    image, _, crop, alpha = call.args
    return call.stage(image, alignment, crop, alpha)


def _blend_beside(call: Call) -> Any:
    alignment: Alignment = call.args[1]
    matrix = alignment.matrix.copy()
    matrix[:, 2] -= ELSEWHERE * alignment.size_px
    return _blend_where(call, replace(alignment, matrix=matrix))


def _put(picture: Callable[[Call], Any]) -> Effect:
    """The whole frame overwritten."""

    def effect(call: Call) -> None:
        call.args[0][:] = picture(call)

    return effect


EFFECTS: dict[str, Effect] = {
    "detect: NaN": _bad_boxes,
    "detect: nothing found": lambda call: (),
    "detect: stale": stale,
    "detect: wrong face": _boxes_elsewhere,
    "track: NaN": _faces(lambda face: _moved(face, lambda points: points * np.float32(np.nan))),
    "track: nothing found": lambda call: (),
    "track: stale": stale,
    "track: wrong face": _faces(_beside),
    "track: wrong size": _faces(_half),
    "align: NaN": _matrix(lambda matrix: matrix * np.nan),
    "align: stale": stale,
    "align: wrong face": _matrix(_off),
    "align: wrong size": lambda call: replace(call.done(), size_px=call.done().size_px * 2),
    "crop: black": _array(np.zeros_like),
    "crop: wrong size": _array(lambda crop: crop[: crop.shape[0] // 2].copy()),
    "swap: NaN": _crop(lambda crop, call: _nan(crop.shape, call.index)),
    "swap: black": _crop(lambda crop, call: np.zeros_like(crop)),
    "swap: wrong size": _crop(lambda crop, call: crop[: crop.shape[0] // 2].copy()),
    "swap: stale": stale,
    "swap: wrong face": _crop(lambda crop, call: call.args[0].copy()),
    "mask: NaN": lambda call: _nan(call.done().shape, call.index),
    "mask: black": _array(np.zeros_like),
    "mask: wrong size": _array(lambda alpha: alpha[: alpha.shape[0] // 2].copy()),
    "mask: stale": _array(lambda alpha: _shifted(alpha, ELSEWHERE)),
    "mask: wrong face": _array(lambda alpha: 255 - alpha),
    "colour: NaN": lambda call: _nan(call.done().shape, call.index),
    "colour: black": _array(np.zeros_like),
    "colour: wrong face": lambda call: call.args[1].copy(),
    "blend: nothing drawn": lambda call: (0, 0, 0, 0),
    "blend: black": _blend_black,
    "blend: stale": lambda call: _blend_where(call, call.old()[1][1]),
    "blend: wrong face": _blend_beside,
    "mark: black": _put(lambda call: 0),
    "mark: wrong face": _put(lambda call: call.raw),
}
"""For "exception" and "hang" there are the functions of that name."""
GENERAL: dict[str, Effect] = {"exception": exception, "hang": hang}
FIELDS = {
    "detect": "search", "track": "track", "align": "align", "crop": "crop", "swap": "swap", "mask": "mask", "colour": "colour", "blend": "blend",
    "mark": "mark",
}  # fmt: skip
"""Room -> field of `livecam.pipeline.Stages`."""
