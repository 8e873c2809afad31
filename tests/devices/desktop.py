"""A Linux desktop's services for one test: session bus, PipeWire, WirePlumber, camera portal; all with folders of their own, ended together."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

PORTAL = Path("/usr/libexec/xdg-desktop-portal")
PERMISSION_STORE = Path("/usr/libexec/xdg-permission-store")
START_TIMEOUT_S = 20.0


def missing(*programs: str) -> str:
    """Empty, or why these programs cannot be used here."""
    absent = [p for p in programs if not (Path(p).exists() if p.startswith("/") else shutil.which(p))]
    return f"not installed: {', '.join(absent)} (see tests/devices/packages.txt)" if absent else ""


def wait_for(condition: Callable[[], object], timeout_s: float, what: str) -> None:
    """Polls until true; AssertionError after the time."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {timeout_s:.0f} s"
        time.sleep(0.05)


class Child:
    """A program in its own process group with its output in a file."""

    def __init__(self, command: Sequence[str], env: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True)

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def end(self, with_signal: int = signal.SIGTERM, timeout_s: float = 5.0) -> int:
        """Ends the group that was started here; the exit code of its first process."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, with_signal)
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        return self.process.returncode


class Desktop:
    """Context manager. `env` is what programs on this desktop are to be started with."""

    def __init__(self, *, portal: bool = False) -> None:
        self._portal = portal
        self._children: list[Child] = []
        self.folder = Path(tempfile.mkdtemp(prefix="livecam-desktop-"))
        runtime = self.folder / "run"
        runtime.mkdir(mode=0o700)
        data = self.folder / "data"
        data.mkdir()
        keep = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "HOME", "PYTHONPATH")}
        self.env = {**keep, "XDG_RUNTIME_DIR": str(runtime), "XDG_DATA_HOME": str(data), "XDG_CONFIG_HOME": str(self.folder / "none")}
        self.env |= {"XDG_CURRENT_DESKTOP": "test", "GIO_USE_VFS": "local", "XDG_DESKTOP_PORTAL_DIR": str(self.folder)}
        self.env["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={runtime}/bus"

    def __enter__(self) -> Desktop:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def start(self, *command: str, env: dict[str, str] | None = None) -> Child:
        """A program on this desktop; ended with it."""
        child = Child(command, {**self.env, **(env or {})}, self.folder / f"{len(self._children)}.log")
        self._children.append(child)
        return child

    def _start(self) -> None:
        runtime = Path(self.env["XDG_RUNTIME_DIR"])
        self.start("dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address={self.env['DBUS_SESSION_BUS_ADDRESS']}")
        wait_for((runtime / "bus").exists, START_TIMEOUT_S, "the session bus")
        self.pipewire = self.start("pipewire")
        wait_for((runtime / "pipewire-0").exists, START_TIMEOUT_S, "PipeWire's socket")
        self.wireplumber = self.start("wireplumber")
        wait_for(lambda: "WirePlumber" in self.run("pw-cli", "ls", "Client"), START_TIMEOUT_S, "WirePlumber")
        if self._portal:
            self._start_portal()

    def _start_portal(self) -> None:
        """The camera portal, its question already answered with yes in the permission store."""
        (self.folder / "test.portal").write_text(
            "[portal]\nDBusName=org.freedesktop.impl.portal.desktop.test\n"
            "Interfaces=org.freedesktop.impl.portal.Access;org.freedesktop.impl.portal.Lockdown;\nUseIn=test\n"
        )
        self.start(str(PERMISSION_STORE))
        store = "org.freedesktop.impl.portal.PermissionStore"
        allow = (f"--method={store}.SetPermission", "devices", "true", "camera", "", "['yes']")
        call = ("gdbus", "call", "--session", f"--dest={store}", "--object-path=/org/freedesktop/impl/portal/PermissionStore", *allow)
        wait_for(lambda: self.run(*call).strip() == "()", START_TIMEOUT_S, "the permission store")

    def start_portal_service(self) -> Child:
        """The portal itself; started once a camera is there, since it tells its clients whether one is."""
        child = self.start(str(PORTAL), "-v")
        name = "org.freedesktop.portal.Desktop"
        ask = ("--object-path=/org/freedesktop/portal/desktop", "--method=org.freedesktop.DBus.Properties.Get", "org.freedesktop.portal.Camera")
        call = ("gdbus", "call", "--session", f"--dest={name}", *ask, "IsCameraPresent")
        wait_for(lambda: "true" in self.run(*call), START_TIMEOUT_S, "the portal's camera")
        return child

    def run(self, *command: str) -> str:
        """Output of a short command on this desktop (both streams)."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=20, check=False)
        return done.stdout + done.stderr

    def close(self) -> None:
        for child in reversed(self._children):
            child.end()
        shutil.rmtree(self.folder, ignore_errors=True)
