"""The control socket of a run: a Unix socket of this user's own, for `livecam ctl` and whatever else is to press livecam's keys.

In the runtime folder (mode 0700), one file a run, `control-PID.sock` (mode 0600). Who connects must be a process of the same user, as the kernel says
(SO_PEERCRED, unix(7)). One JSON object a line:

    {"do": "status"}                                      -> {"ok": true, "status": {...}}          what `Surface.snapshot` says
    {"do": "cover" | "persona" | "snapshot" | "quit", "value": text}   -> {"ok": true}              what `Surface.command` takes, nothing else
    anything else, or more than is allowed                -> {"ok": false, "why": text}

There is no word for --reveal here; any command ends one. Lines, connections, commands a second and silence are bounded.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from livecam._rate import Bucket
from livecam._runtime_dir import runtime_dir
from livecam.errors import LivecamError, UsageError
from livecam.output import Surface

COMMANDS = ("cover", "persona", "snapshot", "quit")
MAX_LINE_BYTES = 4096
MAX_VALUE = 256
MAX_CLIENTS = 8
PER_S, BURST = 20.0, 40.0
"""Requests of one client, and of all together twice that."""
SILENT_S = 60.0
"""A client that says nothing for so long is let go."""
POLL_S = 0.2
SEND_S = 0.5
"""A client that does not take its answer for so long is let go."""
UNREAD = 64
"""So many more reads of a client that is let go."""
NAME = re.compile(r"control-(\d+)\.sock")
MAX_PATH_BYTES = 103
"""Of a socket's path (sun_path: 104 bytes on macOS, 108 on Linux, with its end)."""
LOCAL_PEERCRED = 1
"""macOS: unix(4)."""


def supported() -> bool:
    """Whether this system has Unix sockets that tell who connects (Windows has none in Python)."""
    return hasattr(socket, "AF_UNIX") and (hasattr(socket, "SO_PEERCRED") or sys.platform == "darwin")


def peer_uid(connection: socket.socket) -> int:
    """The user of the process at the other end, as the kernel says. Raises OSError."""
    if sys.platform == "darwin":
        return struct.unpack_from("II", connection.getsockopt(0, LOCAL_PEERCRED, 76))[1]
    return struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))[1]


def answer(surface: Surface, line: bytes) -> dict[str, Any]:
    """What is said to one line; never raises."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        said = None
    do = said.get("do") if isinstance(said, dict) else None
    value = said.get("value", "") if isinstance(said, dict) else ""
    if do == "status":
        return {"ok": True, "status": surface.snapshot()}
    if do not in COMMANDS or not isinstance(value, str) or len(value) > MAX_VALUE:
        return {"ok": False, "why": f'expected {{"do": "status" or {" or ".join(COMMANDS)}, "value": a short text}}, found {line[:60]!r}'}
    try:
        surface.command(do, value)
    except LivecamError as error:
        return {"ok": False, "why": str(error)}
    return {"ok": True}


@dataclass(slots=True)
class _Client:
    """A connection. held: what it said of a line that has not ended."""

    connection: socket.socket
    heard_s: float
    bucket: Bucket = field(default_factory=lambda: Bucket(PER_S, BURST))
    held: bytes = b""


class ControlSocket:
    """Listens from construction to `close`, in a thread of its own. Raises LivecamError, OSError when there can be none."""

    def __init__(self, surface: Surface) -> None:
        if not supported():
            raise UsageError("this system has no Unix sockets; use the page, or the keys in the terminal")
        self.path = runtime_dir() / f"control-{os.getpid()}.sock"
        if len(os.fsencode(self.path)) > MAX_PATH_BYTES:
            raise UsageError(f"the path {self.path} is too long for a socket; name a shorter folder with XDG_RUNTIME_DIR=DIR")
        self._surface = surface
        self._all = Bucket(2 * PER_S, 2 * BURST)
        self._selector = selectors.DefaultSelector()
        self._clients: dict[int, _Client] = {}
        self._ending = threading.Event()
        self.path.unlink(missing_ok=True)  # of a dead process that had our number
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(str(self.path))
            self.path.chmod(0o600)
            self._listener.listen(MAX_CLIENTS)
            self._listener.setblocking(False)
        except OSError:
            self._listener.close()
            raise
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="livecam-control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends within a moment; may be called again, also by what a command set off."""
        self._ending.set()
        if self._thread is not threading.current_thread():
            self._thread.join(2.0)
        self.path.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._ending.is_set():
            ready = [key for key, _ in self._selector.select(POLL_S)]
            for client in [self._clients[key.fd] for key in ready if key.fd in self._clients]:
                self._hear(client)
            if any(key.fileobj is self._listener for key in ready):  # last: who has left makes room for who comes
                self._welcome()
            now = time.monotonic()
            for client in [c for c in self._clients.values() if now - c.heard_s > SILENT_S]:
                self._leave(client)
        for client in list(self._clients.values()):
            self._leave(client)
        self._listener.close()
        self._selector.close()

    def _welcome(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            connection.settimeout(SEND_S)
            client = _Client(connection, time.monotonic())
            why = ""
            if peer_uid(connection) != os.geteuid():
                why = "this run is another user's"
            elif len(self._clients) >= MAX_CLIENTS:
                why = f"{MAX_CLIENTS} programs are connected already"
            if why:
                self._say(client, {"ok": False, "why": why})
                self._leave(client)
                return
            self._clients[connection.fileno()] = client
            self._selector.register(connection, selectors.EVENT_READ)

    def _hear(self, client: _Client) -> None:
        try:
            data = client.connection.recv(MAX_LINE_BYTES)
        except OSError:
            data = b""
        client.heard_s = time.monotonic()
        *lines, client.held = (client.held + data).split(b"\n")
        for line in lines:
            if not client.bucket.take() or not self._all.take():
                self._say(client, {"ok": False, "why": f"more than {PER_S:g} requests a second; wait a moment"})
                data = b""
                break
            if not self._say(client, answer(self._surface, line)):
                data = b""
                break
        if len(client.held) > MAX_LINE_BYTES:
            self._say(client, {"ok": False, "why": f"a line has more than {MAX_LINE_BYTES} bytes"})
            data = b""
        if not data:
            self._leave(client)

    def _say(self, client: _Client, what: dict[str, Any]) -> bool:
        try:
            client.connection.sendall(json.dumps(what, separators=(",", ":"), default=str).encode() + b"\n")
        except OSError:
            return False
        return True

    def _leave(self, client: _Client) -> None:
        if self._clients.get(client.connection.fileno()) is client:
            del self._clients[client.connection.fileno()]
            self._selector.unregister(client.connection)
        client.connection.setblocking(False)
        with contextlib.suppress(OSError):  # what is left unread would take the last answer with it
            for _ in range(UNREAD):
                if not client.connection.recv(MAX_LINE_BYTES):
                    break
        client.connection.close()


def opened(surface: Surface, note: Callable[[str], object]) -> ControlSocket | None:
    """A control socket, or None with a line that says why there is none: a run goes on without."""
    try:
        return ControlSocket(surface)
    except (LivecamError, OSError) as error:
        note(f"no control socket (livecam ctl): {error}")
        return None


class Remote:
    """The other end: a run that answers. A context manager."""

    def __init__(self, path: Path) -> None:
        """Raises OSError when nobody answers there, or another user's process does."""
        self.pid = int(path.stem.partition("-")[2])
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.settimeout(5.0)
        try:
            self._connection.connect(str(path))
            if peer_uid(self._connection) != os.geteuid():
                raise PermissionError(f"{path} is served by another user")
        except OSError:
            self._connection.close()
            raise
        self._lines = self._connection.makefile("rb")

    def ask(self, do: str, value: str = "") -> dict[str, Any]:
        """The answer. Raises LivecamError when the run refuses, or ends before it answers."""
        try:
            self._connection.sendall(json.dumps({"do": do, "value": value}).encode() + b"\n")
            said = json.loads(self._lines.readline())
        except (OSError, ValueError) as error:
            raise LivecamError(f"the run {self.pid} ended, or does not answer: {error}") from error
        if not said["ok"]:
            raise UsageError(str(said["why"]))
        return said

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *exc: object) -> None:
        self._lines.close()
        self._connection.close()


def runs() -> list[Remote]:
    """All runs of this user that answer, oldest number first. Sockets that dead runs left are removed. Raises UsageError, OSError."""
    if not supported():
        raise UsageError("this system has no Unix sockets, so there is no `livecam ctl`; use the page, or the keys in the terminal")
    found: list[Remote] = []
    for path in sorted(runtime_dir().glob("control-*.sock")):
        if NAME.fullmatch(path.name):
            try:
                found.append(Remote(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)  # a dead run's: its process was killed before it could tidy up
            except OSError:
                continue
    return sorted(found, key=lambda remote: remote.pid)
