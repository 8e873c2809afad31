"""Stages without model files: they know the scene's truth, so that hundreds of thousands of frames go through the processes in little time."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from livecam.soak.scene import Scene
from livecam.types import F32, U8, Alignment, CropSpec, Detection, Face, Frame, Persona, Swapped

BLIND_FROM, TURNED_FROM = 0.3, 0.6
"""A detector finds faces of which this share is inside, and that are not squeezed (turned) below the other. YuNet found 218 of 218 such faces of this
scene with a score of 0.5, cut off by an edge down to 0.2."""
LOST_FROM = 0.5, 0.55
SAME_FACE_PX = 3.0


class StubDetector:
    """Finds what the scene shows, as a detector would."""

    licence = "none"

    def __init__(self, scene: Scene, now: Callable[[], int]) -> None:
        """now: index of the frame that is in the pipeline."""
        self._scene, self._now = scene, now

    def detect(self, image: U8) -> tuple[Detection, ...]:
        found = [s for s in self._scene.truth(self._now()) if s.inside > BLIND_FROM and s.pose.squeeze > TURNED_FROM]
        return tuple(Detection(_box(s.oval_px, 1.1), 0.9, s.five_px) for s in found)


class StubTracker:
    """Follows what was detected, by the truth."""

    licence = "none"

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._numbers: dict[int, int] = {}
        self._next = 1

    def update(self, frame: Frame, detections: tuple[Detection, ...] | None) -> tuple[Face, ...]:
        shown = {s.actor: s for s in self._scene.truth(frame.position) if s.inside > LOST_FROM[0] and s.pose.squeeze > LOST_FROM[1]}
        self._numbers = {actor: number for actor, number in self._numbers.items() if actor in shown}
        for actor, one in shown.items():
            seen = any(np.abs(d.five_px - one.five_px).max() < SAME_FACE_PX for d in detections or () if d.five_px is not None)
            if actor not in self._numbers and seen:
                self._numbers[actor], self._next = self._next, self._next + 1
        return tuple(Face(number, _box(shown[actor].oval_px, 1.16), shown[actor].five_px, 0.9) for actor, number in self._numbers.items())

    def reset(self) -> None:
        self._numbers = {}


class StubSwapper:
    """Draws a face of its own into the crop."""

    licence = "none"
    crop = CropSpec(128)

    def __init__(self) -> None:
        size = self.crop.size_px
        image = np.full((size, size, 3), (120, 150, 190), np.uint8)
        image += np.arange(size, dtype=np.uint8)[:, None, None] // 4
        for x, y, w, h, colour in ((44, 48, 9, 5, 255), (84, 48, 9, 5, 255), (44, 48, 4, 4, 40), (84, 48, 4, 4, 40), (64, 88, 18, 6, 70)):
            cv2.ellipse(image, (x, y), (w, h), 0, 0, 360, (colour, colour, colour), -1, cv2.LINE_AA)
        mask = np.zeros((size, size), np.uint8)
        cv2.ellipse(mask, (64, 68), (50, 58), 0, 0, 360, 255, -1)
        self._drawn = Swapped(image, mask)

    def wear(self, persona: Persona) -> None:
        """One face only."""

    def prepare(self, persona: Persona) -> Callable[[], None]:
        """Nothing to make ready."""
        return lambda: None

    def swap(self, crop: U8, face: Face, alignment: Alignment) -> Swapped:
        return self._drawn


def _box(points: F32, factor: float) -> F32:
    low, high = points.min(axis=0), points.max(axis=0)
    middle, half = (low + high) / 2.0, (high - low) / 2.0 * factor
    return np.concatenate((middle - half, middle + half)).astype(np.float32)
