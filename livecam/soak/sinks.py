"""Outputs that fail for real: a device of which the pixels go through a named pipe to another process, a page's viewers, and a disk that fills.

Only the device's ioctls are answered here, since no kernel module is to be asked for; opening, writing, every errno and the way back are real.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import os
import signal
import socket
import struct
import subprocess
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from livecam.output import _v4l2, v4l2

DISK_MB = 24
PICTURES_OF_A_VIEWER = 3
SLOW_S = 2.0
NEXT = b'{"do":"next"}'


class PipeNode(_v4l2.Node):
    """A node whose pictures go into a named pipe. `broken`: errno of the next write, once."""

    broken = 0

    def __init__(self, path: Path, *, nonblocking: bool = False) -> None:
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # ENXIO without a reader, as with a device that is gone

    def _ioctl(self, request: int, argument: Any) -> None:
        if request not in (_v4l2.S_FMT, _v4l2.S_PARM, _v4l2.STREAMON):
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))

    def capability(self) -> _v4l2.Capability:
        return _v4l2.Capability(_v4l2.LOOPBACK_DRIVER, "soak", _v4l2.CAP_VIDEO_OUTPUT)

    def write(self, picture: memoryview) -> int:
        """As a device, without waiting. Raises BlockingIOError when there is no room, OSError (EPIPE: the reader is gone)."""
        if PipeNode.broken:
            number, PipeNode.broken = PipeNode.broken, 0
            raise OSError(number, os.strerror(number))
        os.write(self._fd, picture)  # as much as there is room for: nobody puts the pictures together again
        return picture.nbytes


class Device:
    """The named pipe, and the process that reads from it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "camera"
        self._reader: subprocess.Popen[bytes] | None = None
        replaced: Any = v4l2
        replaced._v4l2.Node = PipeNode
        self.restore()

    def restore(self) -> None:
        """Device and reader are there again."""
        if not self.path.exists():
            os.mkfifo(self.path)
        if self._reader is None:
            command = ["sh", "-c", 'exec 3<>"$1"; exec cat <&3 >/dev/null', "sh", str(self.path)]
            self._reader = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def end_reader(self) -> None:
        """The program that looks at the camera crashes."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.kill()
            reader.wait()

    def stop_reader(self, go_on: bool) -> None:
        """It hangs, or goes on."""
        if self._reader is not None:
            self._reader.send_signal(signal.SIGCONT if go_on else signal.SIGSTOP)

    def remove(self) -> None:
        """The module is unloaded."""
        self.end_reader()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        self.remove()


class Viewer:
    """A browser's connection to the page that breaks off, or that stops reading. In a thread of its own."""

    def __init__(self, url: str, reads: bool) -> None:
        self._url, self._reads = url, reads
        self._thread = threading.Thread(target=self._run, name="soak-viewer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            self._look()

    def _look(self) -> None:
        parts = urlsplit(self._url)
        host, port = parts.hostname or "127.0.0.1", parts.port or 80
        with socket.create_connection((host, port), timeout=SLOW_S) as wire:
            key = base64.b64encode(os.urandom(16)).decode()
            wire.sendall(
                f"GET {parts.path.rstrip('/')}/socket HTTP/1.1\r\nHost: {parts.netloc}\r\nOrigin: http://{parts.netloc}\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
            )
            wire.recv(4096)
            for _ in range(PICTURES_OF_A_VIEWER):
                mask = os.urandom(4)
                body = bytes(byte ^ mask[i % 4] for i, byte in enumerate(NEXT))
                wire.sendall(bytes((0x81, 0x80 | len(NEXT))) + mask + body)
                if self._reads:
                    wire.recv(1 << 16)
            if not self._reads:
                threading.Event().wait(SLOW_S)
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closed with a reset, as by a crash


class Disk:
    """A small disk of its own where that may be mounted (`real`), else a folder; there the kernel refuses files beyond a size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "disk"
        self.folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "livecam-soak", str(self.folder)]
        try:
            self.real = subprocess.run(command, capture_output=True, check=False, timeout=10).returncode == 0
        except (OSError, subprocess.TimeoutExpired):
            self.real = False

    @property
    def recording(self) -> Path:
        return self.folder / "recording.mkv"

    def fill(self) -> None:
        """Not a byte is left."""
        if not self.real:
            return
        with contextlib.suppress(OSError), (self.folder / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))

    def empty(self) -> None:
        for path in self.folder.iterdir():
            path.unlink(missing_ok=True)

    def close(self) -> None:
        if self.real:
            subprocess.run(["umount", "-l", str(self.folder)], capture_output=True, check=False, timeout=10)
