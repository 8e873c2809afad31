"""Encoders for recordings without extras: OpenCV's own FFmpeg (MPEG-4 part 2 in .mp4, .mov, .mkv; Motion JPEG in .avi)."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import cv2

from livecam.errors import OutputError, OutputLostError
from livecam.types import U8, VideoFormat

CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
"""By the file's ending. OpenCV's wheels have no H.264 encoder; MPEG-4 part 2 is the best that they can write."""

MOST_REPEATS_S = 1.0
"""Of a longer pause only this much is filled with repeats: an encoder that is too slow must be able to catch up."""


class Encoder(Protocol):
    """Writes a file. Called from one thread."""

    def write(self, image: U8, index: int) -> None:
        """Picture `image` ((H, W, 3) uint8 BGR) for the place `index` on the constant frame grid; indices rise, gaps show the picture before.
        Raises OutputLostError."""
        ...

    def start_sound(self, index: int) -> None:
        """The source began at place `index`: its sound, if any is kept, belongs there."""
        ...

    def describe(self) -> str:
        """Codec and sound, for the start banner."""
        ...

    def close(self) -> None:
        """Finish the file. Called once, also after a failure."""
        ...


class CvEncoder:
    """cv2.VideoWriter. A file closed in any way but by a kill plays; .mkv and .avi play even then."""

    def __init__(self, path: Path, fmt: VideoFormat) -> None:
        self._path = path
        self._codec = CODECS[path.suffix.lower()]
        self._most_repeats = max(1, round(MOST_REPEATS_S * fmt.fps))
        self._written = 0
        self._skipped = 0
        self._last: U8 | None = None
        size = (fmt.width_px, fmt.height_px)
        # CAP_FFMPEG, so that the file is the same on all systems
        self._writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*self._codec), fmt.fps, size)
        if not self._writer.isOpened():
            self._writer.release()
            raise OutputError(f"OpenCV cannot write {self._codec} at {size[0]}x{size[1]} to {path}; try another ending: {', '.join(CODECS)}")

    def write(self, image: U8, index: int) -> None:
        missing = index - self._skipped - self._written
        if missing > self._most_repeats:
            self._skipped += missing - self._most_repeats
            missing = self._most_repeats
        if self._last is not None:
            for _ in range(missing):
                self._put(self._last)
        else:
            self._skipped += missing
        self._put(image)
        self._last = image.copy() if self._last is None else self._last
        self._last[:] = image

    def _put(self, image: U8) -> None:
        if not self._path.exists():  # OpenCV says nothing of failed writes
            raise OutputLostError(f"{self._path} is gone (deleted, or its disk removed): the recording ended after {self._written} pictures")
        try:
            self._writer.write(image)
        except cv2.error as error:
            raise OutputLostError(f"OpenCV cannot go on writing {self._path}: {error}") from error
        self._written += 1

    def start_sound(self, index: int) -> None:
        """Without the extra there is no sound."""

    def describe(self) -> str:
        return self._codec

    def close(self) -> None:
        self._writer.release()
