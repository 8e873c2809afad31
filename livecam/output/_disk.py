"""Room to finish: a recording must be closed playable when the disk fills, and closing it writes too."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from livecam.errors import OutputError

RESERVE_BYTES = 4 << 20
"""Held back on disk and freed at the end: the index (moov) of over an hour at 30 fps, at 24 bytes a frame."""

MARGIN_BYTES = 3 << 20
"""Recording stops below this: more than encoder and file buffers hold between two looks, which come at every frame."""

INDEX_BYTES_PER_FRAME = 24
"""An MP4 index has at most: size 4, chunk offset 8, time 8, sync 4."""


class Space:
    """Watches the disk of `path` and holds a reserve on it. Raises OutputError when there is no room to begin with."""

    def __init__(self, path: Path) -> None:
        self._folder = path.parent
        self._reserve = path.with_name(f".{path.name}.reserve")
        free = shutil.disk_usage(self._folder).free
        if free < RESERVE_BYTES + 2 * MARGIN_BYTES:
            raise OutputError(f"cannot record to {path}: {free / 1e6:.1f} MB are free and at least {self.needed_mb:.0f} MB are needed; make room")
        try:
            self._hold()
        except OSError as error:
            self.release()
            raise OutputError(f"cannot record to {path}: {error.strerror}; make room or choose another folder") from error

    @property
    def needed_mb(self) -> float:
        """Least free space to start with."""
        return (RESERVE_BYTES + 2 * MARGIN_BYTES) / 1e6

    def _hold(self) -> None:
        fd = os.open(self._reserve, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(fd, 0, RESERVE_BYTES)
            else:
                os.write(fd, bytes(RESERVE_BYTES))
        finally:
            os.close(fd)

    def enough(self, frames: int) -> bool:
        """Whether another picture may be written after `frames`, leaving room for the index."""
        index = max(0, frames * INDEX_BYTES_PER_FRAME - RESERVE_BYTES // 2)
        try:
            return shutil.disk_usage(self._folder).free >= MARGIN_BYTES + index
        except OSError:
            return False  # the disk itself is gone

    def release(self) -> None:
        """Gives the reserve back; harmless a second time."""
        with contextlib.suppress(OSError):
            self._reserve.unlink(missing_ok=True)
