"""Spans of the frame path: wall and CPU time per stage, kept in rings; percentiles on demand.

Only the pipeline and the main loop open spans; stages themselves never time, print or log.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager

import numpy as np

from livecam.types import F64

RING = 1024
"""Frames over which percentiles are taken: half a minute at 30 fps."""
PERCENTS = (50, 95, 99)


class Ring:
    """The newest RING values of one figure."""

    __slots__ = ("_count", "_values")

    def __init__(self) -> None:
        self._values: F64 = np.zeros(RING, np.float64)
        self._count = 0

    def add(self, value: float) -> None:
        self._values[self._count % RING] = value
        self._count += 1

    def __len__(self) -> int:
        return min(self._count, RING)

    def percentiles(self) -> dict[str, float]:
        """{"p50", "p95", "p99"}; empty when nothing was added."""
        if not self._count:
            return {}
        values = np.sort(self._values[: len(self)])
        return {f"p{percent}": round(_at(values, percent / 100.0), 3) for percent in PERCENTS}


def _at(ordered: F64, share: float) -> float:
    """What `np.percentile` gives (linear between neighbours), without its checks: those took 4 ms a snapshot."""
    place = share * (len(ordered) - 1)
    below = int(place)
    low, high = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)])
    return low + (high - low) * (place - below)


class Telemetry:
    """Spans of the current frame, and rings of the past ones. Used by one thread."""

    def __init__(self) -> None:
        self.wall_ms: dict[str, Ring] = {}
        self.cpu_ms: dict[str, Ring] = {}
        self._frame: dict[str, tuple[float, float]] = {}

    def span(self, stage: str) -> AbstractContextManager[None]:
        """Times a stage of the current frame: wall ms, and CPU ms of this thread. Several spans of one name in a frame add up."""
        return _Span(self, stage)

    def add(self, stage: str, wall_ms: float, cpu_ms: float) -> None:
        """Puts a figure measured elsewhere into the current frame."""
        was = self._frame.get(stage, (0.0, 0.0))
        self._frame[stage] = (was[0] + wall_ms, was[1] + cpu_ms)

    def end_frame(self) -> Mapping[str, tuple[float, float]]:
        """Closes the frame: its stages go into the rings. Returns {stage: (wall_ms, cpu_ms)} of it."""
        done, self._frame = self._frame, {}
        for stage, (wall, cpu) in done.items():
            if stage not in self.wall_ms:
                self.wall_ms[stage], self.cpu_ms[stage] = Ring(), Ring()
            self.wall_ms[stage].add(wall)
            self.cpu_ms[stage].add(cpu)
        return done


class _Span:
    """A stage being timed; a class, because a generator's context costs twice as much, twenty times a frame."""

    __slots__ = ("_begun", "_stage", "_telemetry")

    def __init__(self, telemetry: Telemetry, stage: str) -> None:
        self._telemetry, self._stage = telemetry, stage

    def __enter__(self) -> None:
        self._begun = (time.perf_counter_ns(), time.thread_time_ns())

    def __exit__(self, *exc: object) -> None:
        wall, cpu = self._begun
        self._telemetry.add(self._stage, (time.perf_counter_ns() - wall) / 1e6, (time.thread_time_ns() - cpu) / 1e6)
