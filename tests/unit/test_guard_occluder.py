"""What stands before a face and the guard: a hand over the mouth is no fault, a second face before the first is."""

from __future__ import annotations

import drawn_face
import numpy as np

from livecam.guard import _change, _drawn
from livecam.guard._drawn import Drawn
from livecam.types import Detection, Swapped

FACE = drawn_face.face(drawn_face.mesh())
ALIGNED = drawn_face.ALIGNED
TEXTURE = np.random.default_rng(0).integers(0, 255, (256, 256, 3)).astype(np.uint8)


def drawn(sure: bool, top: int = 150) -> Drawn:
    """A drawing whose lower part, from crop row `top` on, is open; `sure` of a thing there, or not."""
    alpha = np.full((256, 256), 255, np.uint8)
    alpha[top:] = 0
    return Drawn(FACE, ALIGNED, alpha, Swapped(TEXTURE, alpha), TEXTURE, 255 - alpha if sure else None)


def detection(shift_px: float = 0.0, scale: float = 1.0) -> Detection:
    middle = (FACE.box_px[:2] + FACE.box_px[2:]) / 2
    place = np.tile(middle, 2)
    return Detection(((FACE.box_px - place) * scale + place + shift_px).astype(np.float32), 0.9, FACE.five_px + np.float32(shift_px))


def test_a_detected_mouth_behind_a_thing_is_hidden() -> None:
    assert _drawn.hides(drawn(True), detection(), (640, 640))
    assert not _drawn.hides(drawn(False), detection(), (640, 640))


def test_another_face_before_the_first_is_not_hidden_by_being_a_thing() -> None:
    width = float(FACE.box_px[2] - FACE.box_px[0])
    assert not _drawn.hides(drawn(True), detection(0.4 * width), (640, 640))
    assert not _drawn.hides(drawn(True), detection(0.0, 0.5), (640, 640))


def test_a_drawing_reaches_the_frame_where_no_thing_is() -> None:
    frame = np.random.default_rng(1).integers(0, 255, (640, 640, 3)).astype(np.uint8)
    sampler = _change.Sampler(640, 640)
    raw = sampler.whole(frame).copy()
    final = frame.copy()
    final[:330] = 255 - final[:330]
    assert _drawn.reached(drawn(True, 132), raw, sampler.whole(final), (640, 640))
    assert not _drawn.reached(drawn(True, 132), raw, sampler.whole(frame), (640, 640))
