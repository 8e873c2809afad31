"""Output `v4l2`: a camera that every Linux program sees, by writing to a v4l2loopback device.

Targets: "" (the first free loopback device, one named livecam first), "/dev/video10", "10", or a device's name; `?format=YUYV` instead of I420.

Pictures go out as I420 (V4L2 calls it YU12), BT.601 limited range: cv2 makes it five times faster than YUYV (0.6 against 2.9 ms at 720p),
it is a quarter smaller, and browsers, OBS and ffmpeg take both.

v4l2loopback 0.12 (Debian 12, Ubuntu 22.04) with exclusive_caps=1 forgets that it is an output when a writer that only calls write() leaves, and
from then on says "is not a video output device" to everybody.  This writer says STREAMON first, which keeps the device sound, and the same call
heals a device that another program left in that state.

The last line: where the driver has a timeout picture (0.12 has), it is given the slate (by the app), and shows it by itself when livecam is dead.
"""

from __future__ import annotations

import contextlib
import errno
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from livecam.config import OutputConfig
from livecam.errors import OutputError, OutputLostError, UsageError
from livecam.output import Surface, _fit, _lock, _openers, _target, _v4l2
from livecam.types import U8, DeviceInfo, State, VideoFormat

MODPROBE = "sudo modprobe v4l2loopback video_nr=10 card_label=livecam exclusive_caps=1"
"""exclusive_caps=1 because Chromium lists only devices that are no outputs while they are cameras."""

PACKAGE = "if modprobe does not know it: sudo apt install v4l2loopback-dkms"
TRAP = (
    'v4l2loopback 0.12 with exclusive_caps=1 lost its output side when the last program left it (programs call this "is not a video output device")'
)
SOUND_VERSION = (0, 13)
"""From here on v4l2loopback keeps track of its writer by itself, and STREAMON means memory-mapped buffers that were asked for before.
0.12.7 does not tell its version at all."""

FALLBACK_FPS = 30.0
"""For a source that does not know its rate."""

FLOW_S = 0.3
"""A writer at 4 fps or more shows itself within this time."""

SILENT_MS, SILENT_PERIODS = 1000, 3
"""After so long without a picture of ours (and as many periods) the driver shows the slate by itself. While livecam lives it repeats its last picture
far sooner; so this is what is seen of one that was killed, or stopped, where readers would be left with a frozen face."""

FORMATS = {"I420": "YU12", "YUYV": "YUYV"}
CONVERSIONS = {"YU12": cv2.COLOR_BGR2YUV_I420, "YUYV": cv2.COLOR_BGR2YUV_YUY2}
GONE = frozenset({errno.ENODEV, errno.EIO, errno.ENXIO, errno.EBADF, errno.EINVAL, errno.EPIPE})


class V4l2Output:
    """An open loopback device. Owns `node` and `lock`. written, dropped: pictures that the driver took, and that it had no room for."""

    def __init__(self, node: _v4l2.Node, lock: _lock.DeviceLock, granted: _v4l2.Granted, name: str, fps: float) -> None:
        self.written = 0
        self.dropped = 0
        self._node = node
        self._lock = lock
        self._granted = granted
        self._name = name
        self._fps = fps
        self._watch = _openers.Watch(node.path)
        height, width = granted.height_px, granted.width_px
        shape = (height * 3 // 2, width) if granted.pixel_format == "YU12" else (height, width, 2)
        self._coded: U8 = np.empty(shape, np.uint8)
        self._bytes = memoryview(self._coded.data).cast("B")
        self._fit = _fit.Fitter(width, height)
        self._conversion = CONVERSIONS[granted.pixel_format]
        self._closed = False
        self.has_last_line = False
        """Whether the driver shows the slate by itself when nothing comes any more."""

    def send(self, image: U8, capture_ns: int, state: State) -> None:
        """Converts and writes; never waits. Raises OutputLostError when the device is gone."""
        cv2.cvtColor(self._fit.fit(image), self._conversion, dst=self._coded)
        try:
            taken = self._node.write(self._bytes)
        except BlockingIOError:
            self.dropped += 1
            return
        except OSError as error:
            raise self._lost(error) from error
        if taken != self._bytes.nbytes:
            raise OutputLostError(
                f"{self._node.path} took {taken} of {self._bytes.nbytes} bytes of a picture: another program changed its format; "
                "close that program and start again"
            )
        self.written += 1

    def set_last_line(self, picture: U8) -> None:
        """Gives the driver, where it takes one, the picture ((H, W, 3) uint8 BGR) that readers get when nothing comes from here any more."""
        with contextlib.suppress(OSError):
            if self._node.has_timeout_picture():
                cv2.cvtColor(self._fit.fit(picture), self._conversion, dst=self._coded)
                self._node.set_timeout_picture(self._bytes, max(SILENT_MS, round(SILENT_PERIODS * 1e3 / self._fps)))
                self.has_last_line = True

    def watched(self) -> bool:
        """Whether another process has the device open (asked at most once a second); True where that cannot be known."""
        return self._watch.watched()

    def describe(self) -> str:
        size = f"{self._granted.width_px}x{self._granted.height_px}"
        return f"camera {self._name!r} at {self._node.path} ({size}); choose it in any program's camera list"

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._node.close()
            self._lock.close()

    def __enter__(self) -> V4l2Output:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _lost(self, error: OSError) -> OutputLostError:
        why = "is gone (module removed, or the device deleted)" if error.errno in GONE else "refuses pictures"
        return OutputLostError(f"{self._node.path} {why}: {error.strerror}; bring it back with: {MODPROBE}")


def open(target: str, fmt: VideoFormat, config: OutputConfig, surface: Surface | None) -> V4l2Output:
    """The loopback device `target`. Raises OutputError (absent, busy, no output device, not permitted), UsageError (option)."""
    if sys.platform != "linux":
        raise OutputError("output v4l2 exists on Linux only; on Windows and macOS use the output virtualcam with OBS")
    name, options = _target.split(target, frozenset({"format"}))
    wanted = options.get("format", "I420").upper()
    if wanted not in FORMATS:
        raise UsageError(f"v4l2 format {wanted!r} is unknown; choose one of: {', '.join(FORMATS)}")
    if name:
        return _open_one(_find(name), fmt, FORMATS[wanted])
    return _open_first(fmt, FORMATS[wanted])


def _open_first(fmt: VideoFormat, pixel_format: str) -> V4l2Output:
    """The first device that opens, those named livecam before others. Tells every failure when none does."""
    paths = sorted(_v4l2.loopback_paths(), key=lambda path: "livecam" not in _v4l2.card_name(path).lower())
    if not paths:
        raise OutputError(_absent("no v4l2loopback device is here"))
    failures: list[str] = []
    for path in paths:
        try:
            return _open_one(path, fmt, pixel_format)
        except OutputError as error:
            failures.append(str(error))
    raise OutputError("; ".join(failures))


def _absent(found: str) -> str:
    if _v4l2.LOOPBACK_MODULE.exists():
        return f"{found}, although v4l2loopback is loaded; load it anew: sudo modprobe -r v4l2loopback && {MODPROBE}"
    return f"{found}; make one with: {MODPROBE} ({PACKAGE})"


def _find(name: str) -> Path:
    """The node that the user means: a path, a number, or (part of) a name as programs show it."""
    path = Path(f"/dev/video{name}") if name.isdigit() else Path(name)
    if path.is_absolute():
        if not path.exists():
            raise OutputError(_absent(f"{path} does not exist"))
        return path
    names = {node: _v4l2.card_name(node) for node in _v4l2.loopback_paths()}
    for node, card in names.items():
        if name.lower() in card.lower():
            return node
    there = ", ".join(f"{node} ({card})" for node, card in names.items())
    raise OutputError(f"no virtual camera named {name!r}; there are: {there}" if there else _absent(f"no virtual camera named {name!r}"))


def _open_one(path: Path, fmt: VideoFormat, pixel_format: str) -> V4l2Output:
    try:
        lock = _lock.DeviceLock(str(path.resolve()))
    except _lock.LockTakenError as error:
        other = f"another livecam (process {error.pid or 'unknown'})"
        raise OutputError(f"{path}: {other} writes to it; end that one or choose another device") from error
    try:
        return _open_locked(path, fmt, pixel_format, lock)
    except OSError as error:
        lock.close()
        raise _refused(path, error) from error
    except OutputError:
        lock.close()
        raise


def _open_locked(path: Path, fmt: VideoFormat, pixel_format: str, lock: _lock.DeviceLock) -> V4l2Output:
    _make_writable(path)
    node = _v4l2.Node(path)
    try:
        granted = node.set_format(fmt.width_px & ~1, fmt.height_px & ~1, pixel_format)
        if granted.pixel_format not in CONVERSIONS or granted.width_px % 2 or granted.height_px % 2:
            raise OutputError(
                f"{path} is held to {granted.pixel_format} {granted.width_px}x{granted.height_px} by a program that still has it open"
                f"{_who(path)}; close that program and start again"
            )
        fps = fmt.fps if fmt.fps > 0 else FALLBACK_FPS
        node.set_fps(fps)
        if (_v4l2.loopback_version() or (0,)) < SOUND_VERSION:
            node.stream_on()
        return V4l2Output(node, lock, granted, _v4l2.card_name(path) or path.name, fps)
    except (OSError, OutputError):
        node.close()
        raise


def _make_writable(path: Path) -> None:
    """Sees to it that `path` is an output that nobody writes to, healing v4l2loopback 0.12. Raises OutputError, OSError."""
    with _v4l2.Node(path) as node:
        found = node.capability()
    if not found.is_loopback and not found.takes_frames:
        raise OutputError(f"{path} is {found.card!r} (driver {found.driver}), a camera and no virtual camera to write to; {_choices()}")
    if found.is_loopback and _v4l2.is_streaming(path) and _frames_flow(path):
        raise OutputError(f"{path} is busy: another program writes to it{_who(path)}; end that program or choose another device")
    if not found.takes_frames and not _heal(path):
        raise OutputError(f"{path}: {TRAP}; load it anew: sudo modprobe -r v4l2loopback && {MODPROBE} (or use exclusive_caps=0, or 0.13 and newer)")


def _heal(path: Path) -> bool:
    """Gives a stuck v4l2loopback 0.12 its output side back: an opener that said STREAMON restores it when it closes. Returns whether it worked."""
    with _v4l2.Node(path) as node, contextlib.suppress(OSError):  # "no buffers yet" is expected; the driver notes the writer all the same
        node.stream_on()
    with _v4l2.Node(path) as node:
        return node.capability().takes_frames


def _frames_flow(path: Path) -> bool:
    """Whether somebody else's pictures arrive at `path` now."""
    buffer = bytearray(4096)
    with _v4l2.Node(path, nonblocking=True) as node:
        try:
            while node.read_some(buffer):
                pass  # what an earlier writer left
            until_s = time.monotonic() + FLOW_S
            while time.monotonic() < until_s:
                if node.read_some(buffer):
                    return True
                time.sleep(FLOW_S / 10)
        except OSError:
            return False
    return False


def _who(path: Path) -> str:
    names, _ = _openers.find(path.resolve())
    return f" (open in: {', '.join(sorted(set(names)))})" if names else ""


def _choices() -> str:
    there = ", ".join(str(path) for path in _v4l2.loopback_paths())
    return f"choose one of: {there}" if there else f"make one with: {MODPROBE} ({PACKAGE})"


def _refused(path: Path, error: OSError) -> OutputError:
    if error.errno == errno.EBUSY:
        return OutputError(f"{path} is busy{_who(path)}; end the program that writes to it, or choose another device")
    if error.errno in (errno.EACCES, errno.EPERM):
        return OutputError(f"{path} may not be opened by this user; join the group video (sudo usermod -aG video $USER) and log in again")
    if error.errno in (errno.ENOTTY, errno.EISDIR):
        return OutputError(f"{path} is no video device; {_choices()}")
    return OutputError(f"{path} cannot be opened for writing pictures: {error.strerror}; {_choices()}")


def devices() -> tuple[DeviceInfo, ...]:
    """The loopback devices, each with its trap if it is in one."""
    if sys.platform != "linux":
        return ()
    return tuple(DeviceInfo("output", "v4l2", f"v4l2:{path}", _v4l2.card_name(path) or path.name, _note(path)) for path in _v4l2.loopback_paths())


def _note(path: Path) -> str:
    try:
        with _v4l2.Node(path) as node:
            found = node.capability()
    except OSError as error:
        return f"cannot be opened: {error.strerror}"
    if found.is_stuck:
        return f"{TRAP}; livecam restores it when it opens it"
    if not found.takes_frames:
        return "in use: another program writes to it, or a reader of its last writer is still there"
    return ""
