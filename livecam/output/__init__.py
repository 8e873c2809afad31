"""Room `output`: where finished frames go. One file per kind: v4l2, virtualcam, pipewire, window, web, file, null.

Each member module has:
    open(target: str, fmt: VideoFormat, config: OutputConfig, surface: Surface | None) -> Output     raises OutputError, MissingExtraError
    devices() -> tuple[DeviceInfo, ...]     what of this kind could be chosen here, with a note on traps; never raises
Outputs live in the main process, which never holds a raw frame.  `surface` is what an output with controls (web, window) talks to.
"""

from __future__ import annotations

from typing import Any, Protocol

from livecam import registry
from livecam.config import OutputConfig
from livecam.types import U8, DeviceInfo, State, VideoFormat


class Output(Protocol):
    """An open sink. `send` is called from one thread, at the pacing of the guard's loop; it must not block for longer than a frame period
    (a slow sink drops frames of its own, and counts them). A context manager."""

    def send(self, image: U8, capture_ns: int, state: State) -> None:
        """Publish one finished frame ((H, W, 3) uint8 BGR of the opened format; not written to, not kept after the call). Raises OutputLostError."""
        ...

    def watched(self) -> bool:
        """Whether somebody reads it now (a recording file always; a V4L2 device with an unknown reader: True)."""
        ...

    def describe(self) -> str:
        """One line for the start banner: what it is and how to pick it ("camera 'livecam' at /dev/video10", "http://127.0.0.1:...")."""
        ...

    def close(self) -> None:
        """Finish files, give devices back. Called once; must not raise for what is already gone."""
        ...


class Surface(Protocol):
    """The control surface of a run, handed to outputs that have keys or buttons. Thread-safe."""

    def command(self, name: str, value: str = "") -> None:
        """name: "cover" (toggle; "on"/"off" as value), "persona" (value: id, "next" or "previous"), "snapshot", "quit"."""
        ...

    def snapshot(self) -> dict[str, Any]:
        """JSON-ready: state, covered, fps, frame_age_ms {p50,p95,p99}, stages_ms {name: {p50,p95,p99}}, drops,
        faces, persona, personas [{id,name,description}], camera, outputs, notes."""
        ...

    def portrait_jpeg(self, persona_id: str) -> bytes | None:
        """A persona's portrait as JPEG, None if unknown."""
        ...


def open_output(name: str, target: str, fmt: VideoFormat, config: OutputConfig, surface: Surface | None) -> Output:
    """The output `name`, opened on `target` ("" is the kind's default). Raises UsageError, OutputError, MissingExtraError."""
    return registry.load_module("output", name).open(target, fmt, config, surface)


def devices() -> tuple[DeviceInfo, ...]:
    """All that every member lists."""
    found: list[DeviceInfo] = []
    for name in registry.names("output"):
        found.extend(registry.load_module("output", name).devices())
    return tuple(found)
