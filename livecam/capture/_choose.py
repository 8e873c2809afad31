"""From what the user typed to a source that can be opened, again and again."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING

from livecam import registry
from livecam.config import CaptureConfig
from livecam.errors import CaptureError, DeviceAbsentError
from livecam.types import DeviceInfo

if TYPE_CHECKING:
    from livecam.capture import Capture

AUTO = "auto"
STILL_SOURCES = ("demo", "file")
"""Kinds that wait for their reader when `realtime` is off."""
STAMPED = "stamped:"
"""A source inside another one: what holds for the inner one holds for it."""
NO_CAMERA = "no camera was found, so the built-in demo camera is shown"


class Source:
    """What was chosen. `open` may be called again after a loss or a pause; "auto" decides at the first `open` that succeeds, and stays with it."""

    def __init__(self, config: CaptureConfig, candidates: tuple[DeviceInfo, ...], reason: str) -> None:
        """candidates: in the order in which they are tried. reason: why these, "" when the user named it."""
        self._config = config
        self._candidates = candidates
        self._known_as = ""
        self.reason = reason
        """Why this source runs, for the start banner; grows when "auto" falls back. "" when the user named it."""

    @property
    def kind(self) -> str:
        """Member of the room: "opencv", "file", "demo", "network" (of the first candidate until `open` has decided)."""
        return self._candidates[0].kind

    @property
    def spec(self) -> str:
        """What to type to choose it."""
        return self._candidates[0].spec

    @property
    def name(self) -> str:
        """For people."""
        return self._candidates[0].name

    @property
    def lossless(self) -> bool:
        """Every frame is to be delivered in order (a file or the demo, read as fast as it goes)."""
        inner = self.spec.removeprefix(STAMPED)
        return not self._config.realtime and any(_member(kind).accepts(inner) for kind in STILL_SOURCES)

    def open(self) -> Capture:
        """Opens it. Raises CaptureError; with several candidates the error tells what each one said.

        A camera that was open before and is absent now is looked for by its name: plugged in again, it may have got another number.
        """
        try:
            capture = self._open_first()
        except DeviceAbsentError:
            moved = self._moved()
            if moved is None:
                raise
            self._candidates = (moved,)
            capture = self._open_first()
        if self.kind == "opencv" and not self._known_as:
            self._known_as = next((device.name for device in _member("opencv").devices() if device.spec == self.spec), "")
        return capture

    def _moved(self) -> DeviceInfo | None:
        """The only camera of the name that was open before, when it is elsewhere now."""
        if not self._known_as:
            return None
        same = [device for device in _member("opencv").devices() if device.name == self._known_as and device.spec != self.spec]
        return same[0] if len(same) == 1 else None

    def _open_first(self) -> Capture:
        failures: list[CaptureError] = []
        for candidate in self._candidates:
            try:
                capture = _member(candidate.kind).open(candidate.spec, replace(self._config, camera=candidate.spec))
            except CaptureError as error:
                failures.append(error)
                continue
            if failures:
                said = "; ".join(str(error) for error in failures)
                self.reason = f"{candidate.name} is shown, because: {said}"
            self._candidates = (candidate,)
            return capture
        if len(failures) == 1:
            raise failures[0]
        raise DeviceAbsentError("no source could be opened: " + "; ".join(str(error) for error in failures))


def choose(config: CaptureConfig) -> Source:
    """The source for `config.camera`; nothing is opened yet. Raises DeviceAbsentError when no kind understands it.

    "auto": the first real camera (no virtual, no infrared one), then the next, at last the demo camera.
    """
    spec = config.camera
    if spec == AUTO:
        return _auto(config)
    for kind in _kinds():
        if _member(kind).accepts(spec):
            return Source(config, (DeviceInfo("capture", kind, spec, _shown(kind, spec)),), "")
    there = [f"{device.spec} ({device.name})" for kind in _kinds() for device in _member(kind).devices()]
    cameras = ", ".join(there) or "none"
    raise DeviceAbsentError(f"camera {spec!r}: expected auto, demo, a file, an address (rtsp://, http://) or a camera; found these: {cameras}")


def _auto(config: CaptureConfig) -> Source:
    demo = DeviceInfo("capture", "demo", "demo", "the demo camera")
    listed = tuple(_member("opencv").devices())
    cameras = tuple(device for device in listed if not device.note)
    if not cameras:
        passed_over = "; ".join(f"{device.name} ({device.spec}) is {device.note}" for device in listed)
        return Source(config, (demo,), f"{NO_CAMERA} ({passed_over})" if passed_over else NO_CAMERA)
    return Source(config, (*cameras, demo), "the first camera found")


def _kinds() -> tuple[str, ...]:
    """Members in the order in which they are asked: opencv last, it takes any part of a camera's name."""
    return tuple(sorted(registry.names("capture"), key=lambda kind: kind == "opencv"))


def _member(kind: str) -> ModuleType:
    return registry.load_module("capture", kind)


def _shown(kind: str, spec: str) -> str:
    if kind == "network":
        from urllib.parse import urlsplit

        return str(_member(kind).shown(urlsplit(spec)))
    return "the demo camera" if spec == "demo" else spec
