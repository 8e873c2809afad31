"""Room `capture`: where pictures come from. One file per kind: opencv, file, demo, network.

Each member module has:
    open(spec: str, config: CaptureConfig) -> Capture     raises DeviceAbsentError, DeviceBusyError, FormatError
    devices() -> tuple[DeviceInfo, ...]                   what of this kind is there; never raises, never blocks for more than 2 s
    accepts(spec: str) -> bool                            whether this kind understands such a spec ("0", "/dev/video2", "clip.mp4", "demo", "rtsp://...")
`choose(spec)` (in `_choose.py`, re-exported here) finds the member for a spec; "auto" tries the first camera and falls back to demo, keeping the reason.
`Newest` (in `_newest.py`) is the one thread that reads a Capture and keeps only its newest frame.
"""

from __future__ import annotations

from types import ModuleType
from typing import Protocol

from livecam import registry
from livecam.types import Frame, VideoFormat


class Capture(Protocol):
    """An open source. One thread calls `read` over and over; `close` may be called from any thread, once, and ends a blocked `read` within 1 s.

    A context manager: `__exit__` closes.
    """

    @property
    def format(self) -> VideoFormat:
        """What is delivered now, measured, not what was asked for; may change while open (then frames change size too)."""
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
