"""Output `null`: takes frames and counts them, for measuring and for tests. `null` is its only target."""

from __future__ import annotations

from collections import Counter

from livecam.config import OutputConfig
from livecam.errors import UsageError
from livecam.output import Surface
from livecam.types import U8, DeviceInfo, State, VideoFormat


class NullOutput:
    """Counts what it is sent. frames: all; by_state: per State; last_capture_ns: of the newest frame, 0 before the first."""

    def __init__(self, fmt: VideoFormat) -> None:
        self.format = fmt
        self.frames = 0
        self.by_state: Counter[State] = Counter()
        self.last_capture_ns = 0

    def send(self, image: U8, capture_ns: int, state: State) -> None:
        """Counts; looks at nothing."""
        self.frames += 1
        self.by_state[state] += 1
        self.last_capture_ns = capture_ns

    def watched(self) -> bool:
        """Always: whoever chose it measures."""
        return True

    def describe(self) -> str:
        return "nowhere (frames are counted and dropped)"

    def close(self) -> None:
        """Nothing to give back."""

    def __enter__(self) -> NullOutput:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def open(target: str, fmt: VideoFormat, config: OutputConfig, surface: Surface | None) -> NullOutput:
    """A counter. Raises UsageError when a target is given."""
    if target:
        raise UsageError(f"output null takes no target, but got {target!r}; write just: null")
    return NullOutput(fmt)


def devices() -> tuple[DeviceInfo, ...]:
    """One: it is always there."""
    return (DeviceInfo("output", "null", "null", "counts frames and drops them"),)
