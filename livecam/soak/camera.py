"""The camera under test: draws the scene from where the last worker stopped, and fails in a camera's ways."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from livecam.errors import CaptureLostError, DeviceAbsentError
from livecam.soak.kinds import HANGS_S, OPENS_LATE_S, Event
from livecam.soak.scene import Scene
from livecam.types import U8, Frame, VideoFormat

FPS = 120.0
SMALLER, LARGER = 0.75, 1.25
"""Of the usual size; smaller pictures are cut, larger ones have a border, so that the canary stays where the oracle knows it."""
BORDER_LEVEL = 90
JUMP_S = 5.0
LATE_S = 0.6
"""How old a picture is that a camera delivers late."""

Tell = Callable[..., None]


class Away:
    """Until when the camera cannot be opened. Outlives a `Camera`, not a worker."""

    def __init__(self) -> None:
        self.until_s = 0.0


class Camera:
    """A capture. next_index: gives the next picture's index and counts on (raises when there are no more)."""

    def __init__(self, scene: Scene, next_index: Callable[[], int], tell: Tell, away: Away) -> None:
        """tell: told ("fault", name, number, ns) when an event's fault begins, ("over", number, ns) when it is over."""
        if time.monotonic() < away.until_s:
            raise DeviceAbsentError("expected the camera, found none")
        self._scene, self._next, self._tell, self._away = scene, next_index, tell, away
        self._seq = 0
        self._last: U8 | None = None
        self.format = VideoFormat(*scene.size_px, FPS)
        self.notes: tuple[str, ...] = ()

    def read(self) -> Frame:
        """The next picture. Raises CaptureLostError and worse where the schedule says so."""
        index = self._next()
        event = self._scene.schedule.at(index)
        if event.since == 0:
            self._tell("fault", event.kind.name, event.number, time.monotonic_ns())
        elif event.since == event.kind.lasts:
            self._tell("over", event.number, max(time.monotonic_ns() if not self._away.until_s else 0, int(self._away.until_s * 1e9)))
            self._away.until_s = 0.0
        if event.kind.room == "camera" and event.active and event.since == 0:
            self._fail(event)
        image = self._scene.draw(index)
        frame = Frame(image, time.monotonic_ns(), self._seq, index)
        self._seq += 1
        if event.kind.room == "camera" and event.active:
            frame = self._spoilt(frame, event)
        self._last = frame.image.copy() if event.kind.name == "camera: repeats a picture" else None
        return frame

    def _fail(self, event: Event) -> None:
        what, seconds = event.kind.name.removeprefix("camera: "), event.number % len(HANGS_S)
        if what == "gone":
            self._away.until_s = time.monotonic() + OPENS_LATE_S[seconds]
            raise CaptureLostError("expected a picture, found the camera unplugged")
        if what == "frozen":
            time.sleep(HANGS_S[seconds])
        elif what == "exception":
            raise RuntimeError("planted in the camera")

    def _spoilt(self, frame: Frame, event: Event) -> Frame:
        what, image = event.kind.name.removeprefix("camera: "), frame.image
        height, width = image.shape[:2]
        bad: Any
        if what == "black":
            return replace(frame, image=np.zeros_like(image))
        if what == "NaN" and event.faulty:
            bad = np.full(image.shape, np.nan, np.float32)
            return replace(frame, image=bad)
        if what == "no picture" and event.faulty:
            bad = np.zeros((0, 0, 3), np.uint8)
            return replace(frame, image=bad)
        if what == "truncated" and event.faulty:
            image[height * (3 + event.since % 4) // 8 :] = BORDER_LEVEL
        elif what == "repeats a picture" and self._last is not None:
            return replace(frame, image=self._last.copy())
        elif what == "smaller pictures":
            return replace(frame, image=np.ascontiguousarray(image[: int(height * SMALLER / 2) * 2, : int(width * SMALLER / 2) * 2]))
        elif what == "larger pictures":
            large = np.full((int(height * LARGER / 2) * 2, int(width * LARGER / 2) * 2, 3), BORDER_LEVEL, np.uint8)
            large[:height, :width] = image
            return replace(frame, image=large)
        elif event.faulty:
            jump_s = {"clock forward": JUMP_S, "clock back": -JUMP_S, "delivers late": -LATE_S}.get(what, 0.0)
            return replace(frame, capture_ns=frame.capture_ns + int(jump_s * 1e9))
        return frame

    def close(self) -> None:
        """Nothing to give back."""

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
