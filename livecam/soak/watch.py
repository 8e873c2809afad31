"""Memory, threads, descriptors, shared segments and zombies of the main process and its workers, over time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

EVERY_S = 2.0
WORKER_AGE_S = 5.0
"""A worker's memory is sampled from this age on: then everything is loaded."""
AGE_STEP_S = 5.0
"""Workers live for seconds here, and go on making personas ready for a while. So their memory is compared at the same age, in steps of this, from
one to the next: the slope says whether workers grow larger from life to life, and with age beyond what they all do."""
LEAST_FOR_SLOPE_S = 300.0
"""A shorter run says nothing about MB an hour."""
MOST_SAMPLES = 4000
"""Every second sample is dropped when there are more, and half as many taken from then on."""
SHM = Path("/dev/shm")
SEGMENTS = "livecam-"


@dataclass(slots=True)
class Series:
    """Samples over time: at_s since the beginning, values."""

    at_s: list[float] = field(default_factory=list[float])
    values: list[float] = field(default_factory=list[float])

    def add(self, at_s: float, value: float) -> None:
        self.at_s.append(at_s)
        self.values.append(value)

    def thin(self) -> None:
        """Every second sample."""
        self.at_s, self.values = self.at_s[::2], self.values[::2]

    def per_hour(self, from_s: float) -> float | None:
        """Slope of the least squares line from `from_s` on, None when that is too short."""
        at, values = np.array(self.at_s), np.array(self.values)
        late = at >= from_s
        if late.sum() < 10 or at[late][-1] - at[late][0] < LEAST_FOR_SLOPE_S:
            return None
        return float(np.polyfit(at[late] / 3600.0, values[late], 1)[0])

    def ends(self) -> dict[str, float]:
        """Medians of the second and of the last quarter (the first is the start), and the highest."""
        if not self.values:
            return {}
        quarter = max(1, len(self.values) // 4)
        begin, end = self.values[quarter : 2 * quarter] or self.values, self.values[-quarter:]
        return {"begin": float(np.median(begin)), "end": float(np.median(end)), "highest": max(self.values)}


def at_same_age(series: Series, ages_s: list[float]) -> Series:
    """Each value less the median of those of the same age."""
    step = np.array(ages_s) // AGE_STEP_S
    values = np.array(series.values)
    for one in np.unique(step):
        values[step == one] -= np.median(values[step == one])
    return Series(series.at_s, values.tolist())


class Watch:
    """Takes a sample when it is time. Used by the main loop's thread."""

    def __init__(self) -> None:
        self._me = psutil.Process()
        self._begin = time.monotonic()
        self._due = 0.0
        self._settled_s: float | None = None
        self._every_s = EVERY_S
        self._segments: set[str] = set()
        self._suspects: set[int] = set()
        self.zombies = 0
        """Children that stayed unreaped from one sample to the next."""
        self._ages = Series()
        self.series = {name: Series() for name in ("main_mb", "worker_mb", "main_fds", "worker_fds", "main_threads", "worker_threads", "segments")}

    def settled(self) -> None:
        """Every fault has come once: what is loaded and touched for the first time is from now on."""
        if self._settled_s is None:
            self._settled_s = time.monotonic() - self._begin

    def tick(self, worker_pid: int | None) -> None:
        """To be called often."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + self._every_s
        try:
            self._sample(now - self._begin, worker_pid)
        except (psutil.Error, OSError):
            return  # a worker that ended meanwhile, or no descriptor free to look with
        if len(self.series["main_mb"].values) > MOST_SAMPLES:
            self._every_s *= 2.0
            for series in (*self.series.values(), self._ages):
                series.thin()

    def _sample(self, at_s: float, worker_pid: int | None) -> None:
        dead = {child.pid for child in self._me.children() if child.status() == psutil.STATUS_ZOMBIE}
        self.zombies += len(dead & self._suspects)
        self._suspects = dead
        mine = self._mapped()
        self._segments |= mine
        self.series["segments"].add(at_s, float(len(mine)))
        self._of("main", self._me, at_s)
        if worker_pid is not None:
            worker = psutil.Process(worker_pid)
            age_s = time.time() - worker.create_time()
            if age_s >= WORKER_AGE_S:
                self._of("worker", worker, at_s)
                self._ages.add(at_s, age_s)

    def _of(self, who: str, process: psutil.Process, at_s: float) -> None:
        with process.oneshot():
            self.series[f"{who}_mb"].add(at_s, process.memory_info().rss / 2**20)
            self.series[f"{who}_threads"].add(at_s, float(process.num_threads()))
            if hasattr(process, "num_fds"):
                self.series[f"{who}_fds"].add(at_s, float(process.num_fds()))

    def _mapped(self) -> set[str]:
        """Segments that this process has mapped, removed ones too."""
        try:
            lines = Path("/proc/self/maps").read_text().splitlines()
        except OSError:
            return set()
        return {line.split("/dev/shm/")[1].split()[0] for line in lines if f"/dev/shm/{SEGMENTS}" in line}

    def left_behind(self) -> int:
        """Segments of this run that still lie in /dev/shm: to be asked when it has ended."""
        return sum((SHM / name).exists() for name in self._segments)

    def figures(self) -> dict[str, Any]:
        """JSON-ready."""
        compared = at_same_age(self.series["worker_mb"], self._ages.values)
        since_s = float("inf") if self._settled_s is None else self._settled_s
        slopes = {"main": self.series["main_mb"].per_hour(since_s), "worker": compared.per_hour(since_s)}
        return {
            "mb_per_hour": {who: None if slope is None else round(slope, 2) for who, slope in slopes.items()},
            "zombies": self.zombies,
            **{name: {key: round(value, 1) for key, value in series.ends().items()} for name, series in self.series.items()},
        }
