"""Reads the hidden mark in files: a picture, a film, a screen recording.

A film is read in windows of WINDOW_S: the mean of a window's pictures is one picture, in which whatever moves is smoothed away and the mark, which
does not move, is left.  A camera that films a screen must therefore stand still for so long.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from livecam.errors import DeviceAbsentError, FormatError
from livecam.mark import _align, read
from livecam.mark.read import Reading
from livecam.types import F32, F64

WINDOW_S = 2.0
MOST_RATE = 16.0
"""Pictures a second that go into a window's mean; more cost time and say little."""
LONGEST_PX = 1280
SEARCHED = 3
"""Windows of a film in which `deep` searches; otherwise one, in the middle."""
FALLBACK_FPS = 30.0


@dataclass(frozen=True, slots=True)
class Window:
    """Part of a film. start_s, end_s: from its beginning. picture: (H, W) float32 mean grey levels."""

    start_s: float
    end_s: float
    picture: F32


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring windows that say the same. reading: the surest of them. For a picture both times are 0."""

    start_s: float
    end_s: float
    reading: Reading


@dataclass(frozen=True, slots=True)
class Answer:
    """What a file holds. stretches: where the mark is, in order. best: the surest reading, whether or not it is a mark. seconds: length, 0 for a
    picture. marked_s: how much of it is marked."""

    stretches: tuple[Stretch, ...]
    best: Reading
    seconds: float
    marked_s: float

    @property
    def present(self) -> bool:
        """Whether the mark is anywhere in it."""
        return bool(self.stretches)


def detect(path: Path, *, quick: bool = False, deep: bool = False) -> Answer:
    """Reads a file. quick: whole pictures and black bars only. deep: search harder, some minutes where there is no mark.

    Raises DeviceAbsentError (no such file), FormatError (no picture and no film)."""
    windows = list(_windows(path))
    if not windows:
        raise FormatError(f"{path}: expected a picture or a film, found nothing that can be decoded; convert it to PNG, JPEG or MP4")
    return Detector(quick=quick, deep=deep).answer(windows)


class Detector:
    """Counts its tests: each further one makes the allowance for a false alarm smaller (see read.py)."""

    def __init__(self, *, quick: bool = False, deep: bool = False) -> None:
        """See `detect`."""
        self._quick, self._deep = quick, deep
        self._tests = 0

    def answer(self, windows: list[Window]) -> Answer:
        """What these windows of one film, or the one of a picture, hold."""
        readings = [self._simple(window.picture) for window in windows]
        if not any(one.present for one in readings):
            readings = self._together(windows, readings)
        if not self._quick and not any(one.present for one in readings):
            readings = self._searched(windows, readings)
        best = min(readings, key=lambda one: (one.false_alarm, -one.z))
        stretches = tuple(_stretches(windows, readings))
        return Answer(stretches, best, windows[-1].end_s, sum(s.end_s - s.start_s for s in stretches))

    def _test(self, residual: F32, placing: F64) -> Reading:
        self._tests += 1
        return read.prove(residual, placing, self._tests)

    def _simple(self, picture: F32) -> Reading:
        return self._best(picture, _align.placings(picture))

    def _best(self, picture: F32, placings: Iterator[F64], best: Reading | None = None) -> Reading:
        for placing in placings:
            found = self._test(read.whiten(read.sample(picture, placing)), placing)
            if found.present:
                return found
            best = found if best is None or found.z > best.z else best
        assert best is not None
        return best

    def _together(self, windows: list[Window], readings: list[Reading]) -> list[Reading]:
        """A mark too weak for each window may show in their sum; it is then said to be in all of them."""
        if len(windows) < 2 or len({window.picture.shape for window in windows}) > 1:
            return readings
        for placing in _align.placings(windows[0].picture):
            total = np.sum([read.whiten(read.sample(window.picture, placing)) for window in windows], axis=0)
            found = self._test(total.astype(np.float32), placing)
            if found.present:
                return [found] * len(windows)
        return readings

    def _searched(self, windows: list[Window], readings: list[Reading]) -> list[Reading]:
        last = len(windows) - 1
        chosen = sorted({round(k * last / (SEARCHED - 1)) for k in range(SEARCHED)}) if self._deep else [last // 2]
        for number in chosen:
            found = self._best(windows[number].picture, _align.searched(windows[number].picture, deep=self._deep), readings[number])
            if found.present:
                return [self._follow(window, found.placing) if k != number else found for k, window in enumerate(windows)]
            readings[number] = found
        return readings

    def _follow(self, window: Window, placing: F64) -> Reading:
        """The same placing in another window; sought a little around it when it does not fit."""
        found = self._test(read.whiten(read.sample(window.picture, placing)), placing)
        return found if found.present else self._best(window.picture, iter((_align.refine(window.picture, placing).placing,)))


def _stretches(windows: list[Window], readings: list[Reading]) -> Iterator[Stretch]:
    now: Stretch | None = None
    for window, reading in zip(windows, readings, strict=True):
        if not reading.present:
            if now is not None:
                yield now
            now = None
        elif now is not None and now.reading.payload == reading.payload:
            surer = reading if reading.false_alarm < now.reading.false_alarm else now.reading
            now = replace(now, end_s=window.end_s, reading=surer)
        else:
            if now is not None:
                yield now
            now = Stretch(window.start_s, window.end_s, reading)
    if now is not None:
        yield now


def _windows(path: Path) -> Iterator[Window]:
    if not path.is_file():
        raise DeviceAbsentError(f"{path}: expected a picture or a film, found no such file; check its name")
    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.stat().st_size else None
    if picture is not None:
        yield Window(0.0, 0.0, _small(read.luma(np.asarray(picture, np.uint8))))
        return
    film = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        if film.isOpened():
            yield from _means(film)
    finally:
        film.release()


def _means(film: cv2.VideoCapture) -> Iterator[Window]:
    fps = film.get(cv2.CAP_PROP_FPS)
    fps = fps if 1.0 <= fps <= 240.0 else FALLBACK_FPS
    step, a_window = max(1, int(fps / MOST_RATE)), max(1, round(WINDOW_S * fps))
    total: F32 | None = None
    count = index = start = 0
    while film.grab():
        if index % step == 0:
            good, image = film.retrieve()
            grey = _small(read.luma(np.asarray(image, np.uint8))) if good else None
            if grey is not None and (total is None or total.shape == grey.shape):
                total, count = grey if total is None else total + grey, count + 1
        index += 1
        if index - start == a_window and total is not None:
            yield Window(start / fps, index / fps, total / np.float32(count))
            total, count, start = None, 0, index
    if total is not None:
        yield Window(start / fps, index / fps, total / np.float32(count))


def _small(grey: F32) -> F32:
    shrink = LONGEST_PX / max(grey.shape)
    if shrink >= 1.0:
        return grey
    size = (max(round(grey.shape[1] * shrink), 1), max(round(grey.shape[0] * shrink), 1))
    return cast(F32, cv2.resize(grey, size, interpolation=cv2.INTER_AREA))
