"""A video file, played: in its own time or as fast as it is read, once or looped. Used by `file` and `demo`."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import cv2
import numpy as np

from livecam.capture._ffmpeg import open_video
from livecam.errors import CaptureLostError, DeviceAbsentError, EndOfStreamError, FormatError
from livecam.types import U8

CONTAINERS = "format_whitelist;" + ",".join(
    "mov mp4 matroska webm avi mpeg mpegts mpegvideo ogg flv asf gif apng yuv4mpegpipe mjpeg h264 hevc av1 ivf m4v mxf nut dv rm".split()  # noqa: SIM905
)
"""FFmpeg's names of what counts as a video file. Without this list it would show a text file as ANSI art, and follow playlists to other files."""
LEAST_FPS, MOST_FPS, USUAL_FPS = 1.0, 240.0, 30.0
"""A file that states a rate outside of this (0, NaN, 90000) is played at the usual one."""
GIVE_UP_LATE_NS = 1_000_000_000
"""Later than this (a suspended machine), the clock starts anew instead of skipping."""


class Pacer:
    """Wakes when the next picture is due. Used by one thread; `cancel` by any."""

    def __init__(self, fps: float) -> None:
        self._period_ns = round(1e9 / fps)
        self._next_ns = 0
        self._cancelled = threading.Event()

    def wait(self) -> int:
        """Sleeps until the next picture is due; returns how many pictures are late and should be skipped (0 when in time)."""
        now = time.monotonic_ns()
        if not self._next_ns or now - self._next_ns > GIVE_UP_LATE_NS:
            self._next_ns = now
        late = max(0, (now - self._next_ns) // self._period_ns)
        self._next_ns += late * self._period_ns
        if self._next_ns > now:
            self._cancelled.wait((self._next_ns - now) / 1e9)
        self._next_ns += self._period_ns
        return late

    def cancel(self) -> None:
        """Ends a `wait`, and every later one, at once."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()


class Clip:
    """A video file by FFmpeg. One thread calls `next`; `close` may be called from any, and ends a waiting `next`."""

    def __init__(self, path: Path, loop: bool, realtime: bool) -> None:
        """Opens and decodes the first picture. Raises DeviceAbsentError (no such file), FormatError (no video, or one without a picture)."""
        if not path.is_file():
            raise DeviceAbsentError(f"expected a video file, found nothing at {path}; check the name")
        self._path = path
        self._target = str(path.resolve())
        self._loop = loop
        self._lock = threading.Lock()
        self._capture = open_video(self._target, CONTAINERS)
        opened = self._capture.isOpened()
        first = self._capture.read()[1] if opened else None
        if first is None:
            self._capture.release()
            found = "one that holds no picture" if opened else "something else"
            raise FormatError(f"{path}: expected a video, found {found}; choose another file, or convert it: ffmpeg -i IN -c:v libx264 OUT.mp4")
        stated = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = stated if LEAST_FPS <= stated <= MOST_FPS else USUAL_FPS
        self.codec = _fourcc_text(self._capture.get(cv2.CAP_PROP_FOURCC))
        self._pending: U8 | None = np.asarray(first, np.uint8)
        self._position = -1
        self._seq = -1
        self._pacer = Pacer(self.fps)
        self._realtime = realtime

    @property
    def first(self) -> U8:
        """The first picture, (H, W, 3) uint8 BGR, to look at before the first `next`; not to be written to."""
        assert self._pending is not None
        return self._pending

    def next(self) -> tuple[U8, int, int, int]:
        """(image (H, W, 3) uint8 BGR, capture_ns when it was due, seq, position). Raises EndOfStreamError, CaptureLostError (closed)."""
        late = self._pacer.wait() if self._realtime else 0
        with self._lock:
            if self._pacer.cancelled:
                raise CaptureLostError(f"{self._path}: closed")
            capture_ns = time.monotonic_ns()
            for _ in range(late):
                self._skip()
            image = self._decoded()
        return image, capture_ns, self._seq, self._position

    def _skip(self) -> None:
        self._seq += 1
        if self._pending is not None:
            self._pending = None
            self._position += 1
        elif self._capture.grab():
            self._position += 1
        elif self._loop:
            self._rewind()

    def _decoded(self) -> U8:
        image, self._pending = self._pending, None
        if image is None:
            ok, image = self._capture.read()
            if not ok:
                image = self._again()
        self._position += 1
        self._seq += 1
        return np.asarray(image, np.uint8)

    def _again(self) -> U8:
        if not self._loop:
            raise EndOfStreamError(f"{self._path}: ended after {self._position + 1} pictures")
        self._rewind()
        ok, image = self._capture.read()
        if not ok:
            self._capture.release()
            self._capture = open_video(self._target, CONTAINERS)
            ok, image = self._capture.read()
        if not ok:
            raise CaptureLostError(f"{self._path}: could be played once, but not from its start again; is the file still there?")
        return np.asarray(image, np.uint8)

    def _rewind(self) -> None:
        self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
        self._position = -1

    def close(self) -> None:
        """Gives the file back."""
        self._pacer.cancel()
        with self._lock:
            self._capture.release()


def _fourcc_text(value: float) -> str:
    code = int(value) if value == value else 0
    text = "".join(chr((code >> shift) & 0xFF) for shift in (0, 8, 16, 24))
    return text.strip() if code and text.isprintable() else "unknown"
