"""Figures of a run, gathered in the main process."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import Any

from livecam.guard.shm import Published
from livecam.telemetry import Ring, Telemetry
from livecam.types import State

FPS_WINDOW_S = 2.0


class Stats:
    """Counts, rates and percentiles. Written by the main loop's thread."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forgets everything (after a warm-up)."""
        self.telemetry = Telemetry()
        self.age_ms = Ring()
        self.states: Counter[str] = Counter()
        self.taken = 0
        self.worker: dict[str, Any] = {}
        self._times: deque[float] = deque()
        self._faces = 0
        self._skipped_seq = 0
        self._last_seq = 0
        self._generation = 0
        self._begin = time.monotonic()

    def frame(self, published: Published) -> None:
        """A frame of the worker was taken."""
        for stage, (wall, cpu) in published.stages.items():
            self.telemetry.add(stage, wall, cpu)
        if published.generation == self._generation:
            self._skipped_seq += max(0, published.seq - self._last_seq - 1)
        self._generation, self._last_seq = published.generation, published.seq
        self._faces = published.faces
        self.taken += 1

    def sent(self, state: State, fresh: bool, wall_ms: float, cpu_ms: float, age_ms: float) -> None:
        """A picture went out; age_ms: from capture to the end of the outputs' `send`."""
        self.states[state.name] += 1
        if not fresh:
            return
        self.telemetry.add("output", wall_ms, cpu_ms)
        self.telemetry.end_frame()
        if state in (State.LIVE, State.COVER):
            self.age_ms.add(age_ms)
        now = time.monotonic()
        self._times.append(now)
        while self._times and self._times[0] < now - FPS_WINDOW_S:
            self._times.popleft()

    @property
    def fps(self) -> float:
        """New frames sent per second, lately."""
        recent = [t for t in self._times if t > time.monotonic() - FPS_WINDOW_S]
        return (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 1 and recent[-1] > recent[0] else 0.0

    def figures(self) -> dict[str, Any]:
        """JSON-ready part of the snapshot."""
        return {
            "fps": round(self.fps, 2),
            "frame_age_ms": self.age_ms.percentiles(),
            "stages_ms": {name: ring.percentiles() for name, ring in self.telemetry.wall_ms.items()},
            "stages_cpu_ms": {name: ring.percentiles() for name, ring in self.telemetry.cpu_ms.items()},
            "drops": {"camera": int(self.worker.get("drops", 0)), "output": self._skipped_seq},
            "faces": self._faces,
            "frames": self.taken,
            "states": dict(self.states),
        }

    def farewell(self) -> str:
        """One line at the end."""
        seconds = time.monotonic() - self._begin
        age = self.age_ms.percentiles()
        tail = f", frame age p50 {age['p50']:.1f} ms, p99 {age['p99']:.1f} ms" if age else ""
        shares = ", ".join(f"{name} {count}" for name, count in sorted(self.states.items()))
        return f"{self.taken} frames in {seconds:.0f} s{tail}; pictures sent: {shares or 'none'}"
