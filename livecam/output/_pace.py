"""A constant frame rate out of frames that come when they come."""

from __future__ import annotations

import time


class Grid:
    """The frame grid of a file: picture i belongs to the time i / fps after the first. Used by one thread."""

    def __init__(self, fps: float) -> None:
        if not fps > 0:
            raise ValueError(f"fps is {fps}, but a frame rate above 0 is needed")
        self._fps = fps
        self._start_ns = -1

    def index(self, now_ns: int | None = None) -> int:
        """The place on the grid nearest to `now_ns` (monotonic; None: now). The first call is place 0."""
        now = time.monotonic_ns() if now_ns is None else now_ns
        if self._start_ns < 0:
            self._start_ns = now
        return round((now - self._start_ns) * self._fps / 1e9)

    @property
    def started(self) -> bool:
        return self._start_ns >= 0
