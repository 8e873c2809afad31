"""A run of the soak, its state file, and sums over resumed runs.

The state file is the report: after every while it is written anew beside itself and put in its place, so that it is whole whatever ends the run,
and `resume` goes on from it. A part is one configuration (size, stages, generator, seed, faults); parts are summed.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import cv2

from livecam.bench import machine
from livecam.config import Config
from livecam.errors import LivecamError, UsageError
from livecam.soak import planted, report
from livecam.soak.live import Soaked, Tally
from livecam.soak.worker import Plan

WRITE_EVERY_S = 60.0
TELL_EVERY_S = 0.5
PLANTED_FRAMES = 120
"""Frames of the self-check through the real processes."""
PLANTED_SHARE = 0.25
PLANTED_LIMIT_S = 180.0
LEAST_PLANTED = 3
FOREVER = 1 << 40
LAST_TICKS = 10


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run is to do. hours, frames: whichever comes first (0: no limit). plant: share of the raw picture that a broken worker lets through:
    the run must find it."""

    hours: float
    frames: int
    seed: int
    width_px: int
    height_px: int
    stages: Literal["real", "stub"]
    only: str
    plant: float
    command: str

    def part(self, config: Config) -> str:
        """Name of the configuration."""
        drawn = f"real stages, {config.swap.swap}" if self.stages == "real" else "stub stages"
        return f"{self.width_px}x{self.height_px}, {drawn}, seed {self.seed}" + (f", only {self.only}" if self.only else "") + (
            f", planted {self.plant:g}" if self.plant else ""
        )


@dataclass(frozen=True, slots=True)
class Now:
    """Where a run stands, for the terminal. frames: of this run; wanted: of this run, 0 when it ends by time. before: sums of earlier runs."""

    frames: int
    wanted: int
    seconds: float
    hours: float
    faults: int
    kinds: int
    wrong: int
    highest_z: float
    threshold_z: float
    workers: int
    on_air: str
    kind: str


Tell = Callable[[Now], None]


class BlindError(LivecamError):
    """The oracle does not find what was planted: nothing that it says counts."""


def read(path: Path) -> dict[str, Any]:
    """The sums so far. Raises UsageError for anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--resume expected a report at {path}, found none ({error.strerror}); leave --resume out to begin one") from error
    except ValueError as error:
        raise UsageError(f"--resume expected a report of the soak at {path}, found something else: {error}") from error
    if not isinstance(found, dict) or found.get("format") != report.FORMAT or found.get("version") != report.VERSION:
        raise UsageError(f"--resume expected a report of the soak (version {report.VERSION}) at {path}, found something else; name another --output")
    return found


def write(path: Path, sums: dict[str, Any]) -> None:
    """All or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")
    os.replace(beside, path)  # noqa: PTH105 - the one call that is atomic on every system


def run(asked: Asked, config: Config, path: Path, resume: bool, tell: Tell, note: Callable[[str], None]) -> dict[str, Any]:
    """The self-check, then the run. Returns the sums with all earlier ones. Raises BlindError, UsageError, LivecamError."""
    cv2.setNumThreads(1)
    before = read(path) if resume else report.empty()
    part = asked.part(config)
    first = int(before["parts"].get(part, {}).get("next", 0))
    evidence = path.with_name(f"{path.stem}_evidence")
    with tempfile.TemporaryDirectory(prefix="livecam-soak-") as folder:
        plan = Plan(asked.seed, asked.width_px, asked.height_px, asked.stages, str(Path(folder) / "next"), FOREVER, asked.only, asked.plant)
        checked = _check(plan, config, evidence)
        note(f"self-check: {checked[1]} of {checked[0]} planted leaks found")
        plan.begin_at(first)
        stop = first + asked.frames if asked.frames else FOREVER
        return _Run(asked, replace(plan, frames=stop), config, path, before, checked, tell).go(first, evidence)


def _check(plan: Plan, config: Config, evidence: Path) -> tuple[int, int]:
    """(planted, found), in pictures and through the real processes. Raises BlindError."""
    count, found = planted.check(plan.scene())
    broken = replace(plan, only="-", plant=PLANTED_SHARE, frames=PLANTED_FRAMES)
    broken.begin_at(0)
    with Soaked(broken, config, evidence) as live:
        until = time.monotonic() + PLANTED_LIMIT_S
        while live.index < PLANTED_FRAMES and time.monotonic() < until and not live.ended:
            live.step()
        for _ in range(LAST_TICKS):
            live.step()
        sent, seen, died = live.tally.planted_sent, live.tally.planted_found, live.stuck
    if sent < LEAST_PLANTED:
        why = died or "the worker is too slow"
        raise BlindError(f"self-check: expected at least {LEAST_PLANTED} planted pictures to go out, found {sent}; {why}")
    count, found = count + sent, found + seen
    if found < count:
        raise BlindError(f"self-check: {count} leaks were planted and {found} found; what this oracle says does not count")
    return count, found


class _Run:
    """One run, from the first frame to the report."""

    def __init__(self, asked: Asked, plan: Plan, config: Config, path: Path, before: dict[str, Any], checked: tuple[int, int], tell: Tell) -> None:
        self._asked, self._plan, self._config, self._path = asked, plan, config, path
        self._before, self._part, self._checked, self._tell = before, asked.part(config), checked, tell
        self._begin = time.monotonic()
        self._machine = machine.describe()
        self._began = datetime.now(UTC).isoformat(timespec="seconds")

    def go(self, first: int, evidence: Path) -> dict[str, Any]:
        due_write, due_tell = self._begin + WRITE_EVERY_S, 0.0
        with Soaked(self._plan, self._config, evidence) as live:
            while not self._over(live) and not live.ended:
                live.step()
                now = time.monotonic()
                if now >= due_write and not live.outside.limited:
                    due_write = now + WRITE_EVERY_S
                    write(self._path, self._sums(live, first))
                if now >= due_tell and not live.outside.limited:
                    due_tell = now + TELL_EVERY_S
                    self._tell(self._now(live, first))
                if live.stuck:
                    raise LivecamError(f"the worker does not start: {live.stuck}")
            live.outside.settle()
            for _ in range(LAST_TICKS):
                live.step()
            sums = self._sums(live, first)
        sums["runs"][-1]["watch"]["segments_left_behind"] = live.watch.left_behind()
        write(self._path, sums)
        return sums

    def _over(self, live: Soaked) -> bool:
        return live.index >= self._plan.frames or (self._asked.hours > 0 and time.monotonic() - self._begin >= self._asked.hours * 3600.0)

    def _now(self, live: Soaked, first: int) -> Now:
        tally, earlier = live.tally, self._before["totals"]
        return Now(
            live.index - first, self._asked.frames, time.monotonic() - self._begin, self._asked.hours, sum(tally.faults.values()) + earlier["faults"],
            len(tally.faults), len(tally.wrong) + earlier["wrong"], tally.highest_z, live.oracle.threshold, live.workers, live.on_air, live.kind,
        )  # fmt: skip

    def _sums(self, live: Soaked, first: int) -> dict[str, Any]:
        tally = live.tally
        this = {
            "command": self._asked.command,
            "began": self._began,
            "seconds": round(time.monotonic() - self._begin, 1),
            "part": self._part,
            "first": first,
            "machine": self._machine,
            "planted": {"planted": self._checked[0], "found": self._checked[1]},
            "oracle": {"threshold_z": round(live.oracle.threshold, 3), "tests_per_picture": live.oracle.tests, "false_alarm_per_picture": 1e-9},
            "highest_z": round(tally.highest_z, 3),
            "highest_z_during": tally.highest_kind,
            "workers": live.workers,
            "frames_refused": live.refused,
            "recordings_ended_by_a_full_disk": live.outside.recordings_lost,
            "watch": live.watch.figures(),
        }
        return report.added(self._before, self._part, counted(tally, live.index - first, live.index), this, bool(self._asked.plant))


def counted(tally: Tally, frames: int, following: int) -> dict[str, Any]:
    """A run's counts, JSON-ready and to be added up."""
    kinds = sorted({*tally.faults, *(kind for kind in tally.states if kind != "healthy")})
    return {
        "next": following,
        "frames": frames,
        "pictures": tally.pictures,
        "sent": tally.sent,
        "live_pictures": tally.live,
        "wrong": len(tally.wrong),
        "wrong_list": tally.wrong[:100],
        "planted_sent": tally.planted_sent,
        "planted_found": tally.planted_found,
        "healthy": dict(tally.states["healthy"]),
        "kinds": {
            kind: {
                "faults": tally.faults[kind],
                "unrecovered": tally.unrecovered[kind],
                "states": dict(tally.states.get(kind, Counter())),
                "recovered_ms": [round(value) for value in tally.recovered_ms[kind]],
                "covered_ms": [round(value) for value in tally.covered_ms[kind]],
            }
            for kind in kinds
        },
    }
