"""Capture from a file: a video (own speed or as fast as it is read, looped or once) or a picture (a still stream)."""

from __future__ import annotations

import re
import time
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from livecam.capture._clip import Clip, Pacer
from livecam.capture._ffmpeg import silent
from livecam.capture._shape import Shaper
from livecam.config import CaptureConfig
from livecam.errors import CaptureError, CaptureLostError, DeviceAbsentError, EndOfStreamError, FormatError
from livecam.types import U8, DeviceInfo, Frame, VideoFormat

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".avif", ".jp2", ".ppm", ".pgm"})
VIDEOS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".ogv", ".flv", ".wmv", ".gif", ".y4m", ".mjpeg"})

PREFIXED = re.compile(r"[A-Za-z]{2,}:")
"""How addresses and the specs of other kinds begin (a Windows drive has one letter)."""


def accepts(spec: str) -> bool:
    """An existing file, or a name that looks like one (so that a mistyped one is reported as a missing file)."""
    if spec.startswith("/dev/") or not spec:
        return False
    path = Path(spec).expanduser()
    if path.is_file():
        return True
    return not PREFIXED.match(spec) and (path.suffix.lower() in PICTURES | VIDEOS or "/" in spec or "\\" in spec)


def devices() -> tuple[DeviceInfo, ...]:
    """None: files are chosen by their name."""
    return ()


def open(spec: str, config: CaptureConfig) -> VideoFile | Picture:
    """The file `spec`. Raises DeviceAbsentError (no such file), FormatError (no video or picture, under 32 px), CaptureError (no permission)."""
    path = Path(spec).expanduser()
    _readable(path)
    return Picture(path, config) if path.suffix.lower() in PICTURES else VideoFile(path, config)


def _readable(path: Path) -> None:
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError:
        raise DeviceAbsentError(f"expected a video or picture file, found nothing at {path}; check the name") from None
    except IsADirectoryError:
        raise FormatError(f"{path}: expected a video or picture file, found a folder; name a file in it") from None
    except OSError as error:
        raise CaptureError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    if empty:
        raise FormatError(f"{path}: expected a video or picture, found an empty file; choose another")


class VideoFile:
    """A video. `Frame.position` is the index of the picture in it."""

    def __init__(self, path: Path, config: CaptureConfig) -> None:
        self._clip = Clip(path, config.loop, config.realtime)
        self._shaper = Shaper(str(path), config, limit=True)
        try:
            self._format = self._described(self._shaper.shape(self._clip.first))
        except FormatError:
            self._clip.close()
            raise

    def _described(self, image: U8) -> VideoFormat:
        return VideoFormat(image.shape[1], image.shape[0], self._clip.fps, self._clip.codec)

    @property
    def format(self) -> VideoFormat:
        """Size of the newest picture (after scaling and rotation); the rate is the file's own."""
        return self._format

    @property
    def notes(self) -> tuple[str, ...]:
        return self._shaper.notes

    def read(self) -> Frame:
        """The next picture: at its time when `realtime`, else at once. Raises EndOfStreamError, CaptureLostError (closed), FormatError."""
        image, capture_ns, seq, position = self._clip.next()
        shaped = self._shaper.shape(image)
        self._format = self._described(shaped)
        return Frame(shaped, capture_ns, seq, position)

    def close(self) -> None:
        self._clip.close()

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Picture:
    """A picture as a still stream at `config.fps`; played once (`loop` off), it is a stream of one frame."""

    def __init__(self, path: Path, config: CaptureConfig) -> None:
        self._path = path
        self._config = config
        self._shaper = Shaper(str(path), config, limit=True)
        self._image = self._shaper.shape(_decoded(path))
        self._pacer = Pacer(config.fps)
        self._seq = -1

    @property
    def format(self) -> VideoFormat:
        """Size after scaling and rotation; the rate asked for."""
        return VideoFormat(self._image.shape[1], self._image.shape[0], self._config.fps, self._path.suffix[1:].upper())

    @property
    def notes(self) -> tuple[str, ...]:
        return self._shaper.notes

    def read(self) -> Frame:
        """A copy of the picture. Raises EndOfStreamError (once only), CaptureLostError (closed)."""
        if self._seq >= 0 and not self._config.loop:
            raise EndOfStreamError(f"{self._path}: a picture played once is one frame")
        if self._config.realtime:
            self._seq += self._pacer.wait()
        if self._pacer.cancelled:
            raise CaptureLostError(f"{self._path}: closed")
        self._seq += 1
        return Frame(self._image.copy(), time.monotonic_ns(), self._seq, 0)

    def close(self) -> None:
        self._pacer.cancel()

    def __enter__(self) -> Picture:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _decoded(path: Path) -> U8:
    try:
        with silent():
            image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        reason = str(error.err)[:120]
        raise FormatError(f"{path}: expected a picture, found one that OpenCV refuses ({reason}); choose a smaller or another one") from error
    if image is None:
        raise FormatError(f"{path}: expected a picture, found something else or a damaged one; choose another file")
    return np.asarray(image, np.uint8)
