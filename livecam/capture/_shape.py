"""What every kind of capture does to a picture on its way out: check, bring to BGR, scale down, rotate, mirror; and the measured rate."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

from livecam.config import CaptureConfig
from livecam.errors import FormatError
from livecam.types import U8

LEAST_SIDE_PX = 32
"""A smaller picture holds no face that could be found."""
LARGEST_LONG_PX, LARGEST_SHORT_PX = 1920, 1080
"""The filter works on at most 1080p; larger files and streams are scaled down to fit."""
RATE_FRAMES = 60
"""Pictures over which the rate is measured: two seconds at 30 fps."""
ASPECT_TOLERANCE = 0.02
"""Relative difference below which two aspect ratios count as the same (854x480 is 16:9)."""


def fitted_px(width_px: int, height_px: int) -> tuple[int, int]:
    """The size itself, or the largest one of the same aspect (even sides) within 1920x1080 (1080x1920 for upright pictures)."""
    share = min(LARGEST_LONG_PX / max(width_px, height_px), LARGEST_SHORT_PX / min(width_px, height_px))
    if share >= 1.0:
        return width_px, height_px
    return max(2, round(width_px * share / 2) * 2), max(2, round(height_px * share / 2) * 2)


def aspect_note(asked_px: tuple[int, int], got_px: tuple[int, int]) -> str:
    """A sentence when the picture's aspect is not the one asked for, else ""."""
    asked, got = asked_px[0] / asked_px[1], got_px[0] / got_px[1]
    if abs(asked / got - 1.0) <= ASPECT_TOLERANCE:
        return ""
    return f"asked for {asked_px[0]}x{asked_px[1]} ({_ratio(asked)}), the camera delivers {got_px[0]}x{got_px[1]} ({_ratio(got)})"


def _ratio(aspect: float) -> str:
    for name, value in (("16:9", 16 / 9), ("4:3", 4 / 3), ("3:2", 1.5), ("16:10", 1.6), ("5:4", 1.25), ("1:1", 1.0), ("9:16", 9 / 16), ("3:4", 0.75)):
        if abs(aspect / value - 1.0) <= ASPECT_TOLERANCE:
            return name
    return f"{aspect:.2f}:1"


class Shaper:
    """Turns a decoded picture into one that a Frame may hold. Used by one thread.

    Convention: rotation is clockwise and comes before mirroring, so `mirror` is always left-right of what is seen.
    """

    def __init__(self, what: str, config: CaptureConfig, limit: bool) -> None:
        """what: the source's name for messages. limit: scale down what is larger than 1080p."""
        self._what = what
        self._rotate_deg = config.rotate_deg
        self._mirror = config.mirror
        self._limit = limit
        self._came_px: tuple[int, int] | None = None
        self._notes: list[str] = []

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about scaling and changed formats, each once."""
        return tuple(self._notes)

    def note(self, sentence: str) -> None:
        """Adds a sentence, unless it is empty or already there."""
        if sentence and sentence not in self._notes:
            self._notes.append(sentence)

    def shape(self, image: NDArray[np.generic] | None) -> U8:
        """(H, W, 3) uint8 BGR, C-contiguous, owned by the caller. image: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) uint8. Raises FormatError."""
        picture = self._checked(image)
        height_px, width_px = picture.shape[:2]
        if self._came_px != (width_px, height_px):
            self._changed(width_px, height_px)
        if self._limit:
            size = fitted_px(width_px, height_px)
            if size != (width_px, height_px):
                picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        return np.ascontiguousarray(turned(picture, self._rotate_deg, self._mirror))

    def _checked(self, image: NDArray[np.generic] | None) -> U8:
        if image is None or image.ndim not in (2, 3) or image.dtype != np.uint8:
            found = "nothing" if image is None else f"shape {image.shape} of {image.dtype}"
            raise FormatError(f"{self._what}: expected pictures of 8-bit colour or grey, found {found}; choose another camera or pixel format")
        height_px, width_px = image.shape[:2]
        if min(height_px, width_px) < LEAST_SIDE_PX:
            raise FormatError(
                f"{self._what}: expected pictures of at least {LEAST_SIDE_PX}x{LEAST_SIDE_PX} px, found {width_px}x{height_px}; choose a larger one"
            )
        picture = np.asarray(image, np.uint8)
        channels = 1 if picture.ndim == 2 else picture.shape[2]
        if channels == 3:
            return picture
        if channels == 1:
            return np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR), np.uint8)
        if channels == 4:
            return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGRA2BGR), np.uint8)
        raise FormatError(f"{self._what}: expected 1, 3 or 4 channels, found {channels}; choose another pixel format")

    def _changed(self, width_px: int, height_px: int) -> None:
        if self._came_px is not None:
            self.note(f"the picture changed from {self._came_px[0]}x{self._came_px[1]} to {width_px}x{height_px} while running")
        self._came_px = (width_px, height_px)
        fitted = fitted_px(width_px, height_px)
        if self._limit and fitted != (width_px, height_px):
            self.note(f"{width_px}x{height_px} is scaled down to {fitted[0]}x{fitted[1]}")


def turned(image: U8, rotate_deg: int, mirror: bool) -> U8:
    """`image` rotated clockwise by 0, 90, 180 or 270 degrees, then mirrored left-right; the same object when there is nothing to do."""
    if rotate_deg in (90, 270):
        image = np.asarray(cv2.transpose(image), np.uint8)
    codes = {(0, True): 1, (180, False): -1, (180, True): 0, (90, False): 1, (270, False): 0, (270, True): -1}
    code = codes.get((rotate_deg, mirror))
    return image if code is None else np.asarray(cv2.flip(image, code), np.uint8)


class RateMeter:
    """Pictures per second, from the capture times of the newest ones. Used by one thread; `fps` may be read by any."""

    def __init__(self) -> None:
        self._times_ns: deque[int] = deque(maxlen=RATE_FRAMES)

    def add(self, capture_ns: int) -> None:
        """One picture was received. Times are of `time.monotonic_ns()`."""
        self._times_ns.append(capture_ns)

    @property
    def fps(self) -> float:
        """0.0 before the second picture."""
        times = tuple(self._times_ns)
        if len(times) < 2 or times[-1] <= times[0]:
            return 0.0
        return (len(times) - 1) * 1e9 / (times[-1] - times[0])
