"""A thread that reads an OpenCV capture whose `read` may block for seconds, so that `close` can end ours at once and nothing queues up behind it.

Used where OpenCV offers nothing to wait on: network streams, and cameras on Windows and macOS.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from livecam.errors import CaptureLostError


class VideoSource(Protocol):
    """The part of cv2.VideoCapture that is used (tests put their own in its place)."""

    def isOpened(self) -> bool: ...  # noqa: N802 - OpenCV's name

    def grab(self) -> bool: ...

    def retrieve(self) -> tuple[bool, NDArray[np.generic] | None]: ...

    def set(self, propId: int, value: float) -> bool: ...

    def get(self, propId: int) -> float: ...

    def release(self) -> None: ...


class Pump:
    """Keeps the newest picture of `source`. Owns it: its thread releases it when `close` was called or the source has failed."""

    def __init__(self, source: VideoSource, what: str, before_each: Callable[[], object] | None = None) -> None:
        """what: the source's name for messages. before_each: called before every read (pacing)."""
        self._source = source
        self._what = what
        self._before_each = before_each
        self._condition = threading.Condition()
        self._newest: tuple[NDArray[np.generic], int, int] | None = None
        self._reason = ""
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="livecam-capture-pump", daemon=True)
        self._thread.start()

    def read(self, timeout_s: float) -> tuple[NDArray[np.generic], int, int]:
        """(image, capture_ns, seq). Raises CaptureLostError: the source failed, was closed, or nothing came for `timeout_s`."""
        with self._condition:
            arrived = self._condition.wait_for(lambda: self._newest is not None or bool(self._reason) or self._closing, timeout_s)
            if self._closing:
                raise CaptureLostError(f"{self._what}: closed")
            newest, self._newest = self._newest, None
            if newest is not None:
                return newest
            if arrived:
                raise CaptureLostError(self._reason)
            raise CaptureLostError(f"{self._what}: expected a picture, found none for {timeout_s:g} s")

    def close(self) -> None:
        """Ends `read` at once; the source is released as soon as it lets go."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()

    @property
    def closed(self) -> bool:
        return self._closing

    def join(self, timeout_s: float) -> bool:
        """Waits for the source to be released; whether it was."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        seq = -1
        try:
            while not self._closing:
                if self._before_each is not None:
                    self._before_each()
                if not self._source.grab():
                    self._fail(f"{self._what}: expected a picture, found that the source is gone")
                    return
                capture_ns = time.monotonic_ns()
                ok, image = self._source.retrieve()
                if not ok or image is None:
                    self._fail(f"{self._what}: expected a picture, found one that cannot be decoded")
                    return
                seq += 1
                with self._condition:
                    self._newest = (image, capture_ns, seq)
                    self._condition.notify_all()
        except cv2.error as error:
            self._fail(f"{self._what}: OpenCV gave up: {str(error.err)[:120]}")
        finally:
            self._source.release()

    def _fail(self, reason: str) -> None:
        with self._condition:
            self._reason = reason
            self._condition.notify_all()
