"""Output `virtualcam`: OBS's virtual camera on Windows and macOS, Unity Capture on Windows, v4l2loopback on Linux, by pyvirtualcam (an extra; GPL-2).

Targets: "" (the first that works), "obs", "unitycapture", "v4l2loopback", or a device's name (`/dev/video10`).
On Linux the output `v4l2` is the better choice: it hears of failures.  pyvirtualcam's native code prints a failed write to stderr and goes on, so
here a device that has gone is noticed only where it has a file to look for (Linux), once a second.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

from livecam.config import OutputConfig
from livecam.errors import MissingExtraError, OutputError, OutputLostError
from livecam.output import Surface, _fit, _lock, _openers
from livecam.types import U8, DeviceInfo, State, VideoFormat

BACKENDS = ("obs", "unitycapture", "v4l2loopback")
LOOK_S = 1.0
"""Time between two looks whether the device file is still there."""

INSTALL = {
    "win32": "install OBS Studio 26 or newer (its virtual camera needs no running OBS), or Unity Capture",
    "darwin": "install OBS Studio 30 or newer and start its virtual camera once",
    "linux": "sudo modprobe v4l2loopback video_nr=10 card_label=livecam exclusive_caps=1; or use the output v4l2, which needs no extra",
}


class VirtualcamOutput:
    """An open pyvirtualcam camera. Owns `camera` and `lock`."""

    def __init__(self, camera: Any, lock: _lock.DeviceLock | None) -> None:
        self._camera = camera
        self._lock = lock
        self._fit = _fit.Fitter(camera.width, camera.height)
        name = str(camera.device)
        self._path = Path(name) if sys.platform == "linux" and name.startswith("/dev/") else None
        self._inode = self._path.stat().st_ino if self._path is not None else 0
        self._watch = _openers.Watch(self._path) if self._path is not None else None
        self._looked_s = time.monotonic()
        self._closed = False

    def send(self, image: U8, capture_ns: int, state: State) -> None:
        """Publishes a C-contiguous picture (a strided one costs pyvirtualcam thirty times as much). Raises OutputLostError."""
        self._look()
        try:
            self._camera.send(self._fit.fit(image))
        except (RuntimeError, OSError) as error:
            raise OutputLostError(f"the virtual camera {self._camera.device} takes no pictures any more: {error}; start livecam again") from error

    def _look(self) -> None:
        """Raises OutputLostError when the device file is gone or is another one."""
        now_s = time.monotonic()
        if self._path is None or now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        try:
            same = self._path.stat().st_ino == self._inode
        except OSError:
            same = False
        if not same:
            raise OutputLostError(f"{self._path} is gone (module removed, or the device deleted); bring it back with: {INSTALL['linux']}")

    def watched(self) -> bool:
        """On Linux whether another process has the device open; elsewhere unknown, which counts as yes."""
        return self._watch.watched() if self._watch is not None else True

    def describe(self) -> str:
        return f"camera {self._camera.device!r} (by pyvirtualcam, {self._camera.backend}); choose it in any program's camera list"

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._camera.close()
            if self._lock is not None:
                self._lock.close()

    def __enter__(self) -> VirtualcamOutput:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def open(target: str, fmt: VideoFormat, config: OutputConfig, surface: Surface | None) -> VirtualcamOutput:
    """The virtual camera `target`. Raises MissingExtraError, OutputError (none, busy)."""
    try:
        package = importlib.import_module("pyvirtualcam")
    except ImportError as error:
        raise MissingExtraError("pyvirtualcam", "virtualcam", "output virtualcam") from error
    chosen: dict[str, Any] = {"backend": target} if target in BACKENDS else {"device": target} if target else {}
    lock = _locked(target) if sys.platform == "linux" and target.startswith("/dev/") else None
    try:
        camera = package.Camera(fmt.width_px & ~1, fmt.height_px & ~1, fmt.fps, fmt=package.PixelFormat.BGR, **chosen)
        return VirtualcamOutput(camera, lock)
    except (RuntimeError, KeyError, ValueError, OSError) as error:
        if lock is not None:
            lock.close()
        raise _refused(target, error) from error


def _locked(device: str) -> _lock.DeviceLock:
    try:
        return _lock.DeviceLock(str(Path(device).resolve()))
    except _lock.LockTakenError as error:
        raise OutputError(f"{device}: another livecam (process {error.pid or 'unknown'}) writes to it; end it or choose another device") from error


def _refused(target: str, error: Exception) -> OutputError:
    """pyvirtualcam's words, and the way out."""
    if isinstance(error, KeyError):
        return OutputError(f"pyvirtualcam has no back end {target!r} on this system; leave the target out to try all")
    words = " ".join(str(error).split())
    if "not a video output device" in words:
        words += " (v4l2loopback 0.12 with exclusive_caps=1 forgot its output side; the output v4l2 restores it)"
    return OutputError(f"no virtual camera could be opened: {words}; {INSTALL.get(sys.platform, INSTALL['linux'])}")


def devices() -> tuple[DeviceInfo, ...]:
    """One where pyvirtualcam is installed; opening it would tell more, but would also start it."""
    if importlib.util.find_spec("pyvirtualcam") is None:
        return ()
    note = "on Linux prefer v4l2" if sys.platform == "linux" else ""
    return (DeviceInfo("output", "virtualcam", "virtualcam", "virtual camera by pyvirtualcam", note),)
