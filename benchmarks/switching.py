"""How long a change of persona takes, and whether it costs frames: `python benchmarks/switching.py`.

The whole filter on the demo camera at its own speed. A switch begins with the command and ends when the first picture with the new persona has been
sent. `next`: the key for the next persona, after a rest in which it was made ready; `any`: one of those that come with livecam, after the half minute
in which all were made ready; `unprepared`: one of these at once after the start.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from livecam import persona
from livecam.app import Live
from livecam.bench import machine
from livecam.config import CaptureConfig, Config, OutputConfig, RunConfig
from livecam.types import U8, State

RESULT = Path(__file__).parent / "results" / "switching.json"
SWITCHES = 8
REST_S = 5.0
"""Between two switches, long enough for the neighbours to be ready."""
ALL_READY_S = 25.0
WAIT_S = 20.0


class Switches:
    """Sends the commands and sees the pictures that were sent."""

    def __init__(self, swap: str) -> None:
        config = Config(capture=CaptureConfig(camera="demo", always_on=True), output=OutputConfig(outputs="null"), run=RunConfig())
        self._live = Live(replace(config, swap=replace(config.swap, swap=swap)), progress=lambda _: None, tap=self._sent)
        self._wanted, self._done_s, self.gaps_ms, self._last_ns = "", 0.0, [0.0], 0

    def _sent(self, image: U8, capture_ns: int, state: State) -> None:
        if self._last_ns and capture_ns > self._last_ns:
            self.gaps_ms.append((capture_ns - self._last_ns) / 1e6)
        self._last_ns = capture_ns
        if self._wanted and self._live.worn == self._wanted and not self._done_s:
            self._done_s = time.monotonic()

    def _spin(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._live.tick()

    def _switch(self, command: str, wanted: str) -> float:
        """Milliseconds from the command to the first picture."""
        self._wanted, self._done_s, begin = wanted, 0.0, time.monotonic()
        self._live.command("persona", command)
        while not self._done_s and time.monotonic() < begin + WAIT_S:
            self._live.tick()
        return (self._done_s - begin) * 1e3

    def _drops(self) -> int:
        return int(self._live.stats.worker.get("drops", 0))

    def run(self) -> dict[str, Any]:
        """Both kinds of switches, and the longest gap between captures of pictures sent meanwhile and while nothing was switched."""
        ids = persona.names()
        with self._live:
            while self._live.first_masked_s is None:
                self._live.tick()
            far = ids[(ids.index(self._live.worn) + len(ids) // 2) % len(ids)]
            unprepared = round(self._switch(far, far), 1)
            self._spin(REST_S)
            self.gaps_ms, drops = [0.0], self._drops()
            self._spin(REST_S * 2)
            still = {"longest_gap_ms": round(max(self.gaps_ms), 1), "drops": self._drops() - drops}
            result: dict[str, Any] = {"nothing_switched": still, "unprepared": {"ms": unprepared}}
            for kind in ("next", "any"):
                if kind == "any":
                    self._spin(ALL_READY_S)
                self.gaps_ms, drops, took = [0.0], self._drops(), list[float]()
                for _ in range(SWITCHES):
                    at = ids.index(self._live.worn)
                    wanted = ids[(at + (1 if kind == "next" else len(ids) // 2 - 1)) % len(ids)]
                    took.append(round(self._switch("next" if kind == "next" else wanted, wanted), 1))
                    self._spin(REST_S if kind == "next" else 1.0)
                figures = {"median_ms": float(np.median(took)), "longest_ms": max(took), "each_ms": took}
                result[kind] = {**figures, "longest_gap_ms": round(max(self.gaps_ms), 1), "drops": self._drops() - drops}
        return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--swap", default="auto")
    options = parser.parse_args()
    command = f"python benchmarks/switching.py --swap {options.swap}"
    result = {"command": command, "machine": machine.describe(), **Switches(options.swap).run()}
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
