"""Room `capture`: where pictures come from. One file per kind: opencv, file, demo, network.

Each member module has:
    open(spec: str, config: CaptureConfig) -> Capture     raises DeviceAbsentError, DeviceBusyError, FormatError; CaptureError when access is denied
    devices() -> tuple[DeviceInfo, ...]                   what of this kind is there; never raises, never blocks for more than 2 s
    accepts(spec: str) -> bool                            whether this kind understands such a spec ("0", "/dev/video2", "clip.mp4", "demo", "rtsp://...")
`choose(config) -> Source` (in `_choose.py`) finds the member for a spec; "auto" tries the first camera and falls back to demo, keeping the reason.
`Newest` (in `_newest.py`) is the one thread that reads a Capture and keeps only its newest frame.

What makes a frame old, and what is done against it: the driver's queue (it is drained before a picture is decoded, and holds two pictures only),
frame-parallel decoding (one decoder thread), the demuxer's buffer (nobuffer, low_delay), a slow consumer (one slot, the newest frame wins).
"""

from __future__ import annotations

from types import ModuleType
from typing import Protocol

from livecam import registry
from livecam.capture._choose import Source, choose
from livecam.capture._newest import Newest
from livecam.types import DeviceInfo, Frame, VideoFormat

__all__ = ["Capture", "Newest", "Source", "choose", "devices", "load"]


class Capture(Protocol):
    """An open source. One thread calls `read` over and over; `close` may be called from any thread, once, and ends a blocked `read` within 1 s.

    A context manager: `__exit__` closes.
    """

    @property
    def format(self) -> VideoFormat:
        """What is delivered now, measured, not what was asked for; may change while open (then frames change size too)."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, one sentence each: 4:3 delivered where 16:9 was asked, pictures scaled down, a changed format. May grow."""
        ...

    def read(self) -> Frame:
        """The next frame. Raises CaptureLostError, EndOfStreamError, FormatError."""
        ...

    def close(self) -> None:
        """Give the device back."""
        ...

    def __enter__(self) -> Capture: ...

    def __exit__(self, *exc: object) -> None: ...


def load(name: str) -> ModuleType:
    """The member module `name`."""
    return registry.load_module("capture", name)


def devices() -> tuple[DeviceInfo, ...]:
    """All that every member lists: cameras first, the demo camera last."""
    found = [device for name in registry.names("capture") for device in load(name).devices()]
    return tuple(sorted(found, key=lambda device: device.kind == "demo"))
