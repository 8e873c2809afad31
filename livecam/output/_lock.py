"""One livecam per device: an flock on a file in the runtime directory, released by the kernel however the holder ends."""

from __future__ import annotations

import os
import sys

from livecam._runtime_dir import runtime_dir


class LockTakenError(Exception):
    """Another process holds it. pid: its number as text, "" when unknown."""

    def __init__(self, pid: str) -> None:
        super().__init__(f"held by process {pid or 'unknown'}")
        self.pid = pid


class DeviceLock:
    """Held from construction to `close`. Raises LockTakenError. A no-op on Windows, whose virtual cameras refuse a second writer themselves."""

    def __init__(self, device: str) -> None:
        self._fd = -1
        if sys.platform != "win32":
            import fcntl  # Windows has none

            path = runtime_dir() / f"{device.strip('/').replace('/', '-')}.lock"
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(fd, 20).decode("ascii", "replace").strip()
                os.close(fd)
                raise LockTakenError(holder) from None
            os.ftruncate(fd, 0)
            os.write(fd, str(os.getpid()).encode("ascii"))
            self._fd = fd

    def close(self) -> None:
        """Lets go; harmless a second time. The file stays: removing it would race with the next holder."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
