"""One livecam per device: an flock on a file in the runtime directory, released by the kernel however the holder ends."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path


class LockTakenError(Exception):
    """Another process holds it. pid: its number as text, "" when unknown."""

    def __init__(self, pid: str) -> None:
        super().__init__(f"held by process {pid or 'unknown'}")
        self.pid = pid


def runtime_dir() -> Path:
    """A folder for lock files that this user may write: in the session's runtime directory, else in the temporary folder."""
    session = os.environ.get("XDG_RUNTIME_DIR", "")
    if session and os.access(session, os.W_OK):
        folder = Path(session) / "livecam"
    else:
        folder = Path(tempfile.gettempdir()) / f"livecam-{getattr(os, 'getuid', lambda: 0)()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


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
