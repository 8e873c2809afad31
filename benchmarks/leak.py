"""Leak test: real processes, faults by the hundred, the oracle on every picture that goes out.

    python benchmarks/leak.py --frames 200000 --seed 1          the whole claim, about an hour and a half on two cores; go on with --resume
    python benchmarks/leak.py --frames 6000 --stages stub       without model files, in two minutes
    python benchmarks/leak.py --frames 1500 --plant 0.25        must end with exit code 1: the oracle finds what a broken blend lets through

What is counted.  `frames`: pictures of the scene that the worker went through.  `pictures`: different ones that went out and were looked at.
`wrong`: those in which the oracle saw the canary.  With none wrong among N pictures the share of wrong ones is below 3 / N with 95 % confidence.
A raw face pixel is one inside the face's outline drawn in to 0.75, eyes, nose, mouth and cheeks (outside, persona and wearer fade into each other).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import _faults  # noqa: E402 - the path comes first
import _scene  # noqa: E402
from _oracle import Oracle, Sighting  # noqa: E402

from livecam.app.live import Live  # noqa: E402
from livecam.config import CaptureConfig, Config, GuardConfig, OutputConfig, SwapConfig  # noqa: E402
from livecam.types import U8, State  # noqa: E402

RESULTS = Path(__file__).parent / "results"
LIMIT_MS = 400.0
"""From a fault to COVER or SLATE, at most. Of events in the scene the time is only listed: it begins before a face is to be seen."""
KEPT_PICTURES = 20


class Watched(Live):
    """livecam's main process, with faults done to its worker, and the oracle on what it sends."""

    def __init__(self, config: Config, plan: _faults.Plan, evidence: Path) -> None:
        super().__init__(config, lambda text: None, worker="_faults:faulty_worker", tap=self.tapped)
        self.plan, self.evidence = plan, evidence
        self.oracle = Oracle(_scene.Scene(plan.seed, plan.width_px, plan.height_px).canary)
        self.random = random.Random(plan.seed)
        self.kind, self.since_ns, self.stopped, self.continue_at = "", 0, 0, 0.0
        self.done: Counter[str] = Counter()
        self.states: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.latency_ms: defaultdict[str, list[float]] = defaultdict(list)
        self.waiting, self.number = False, -1
        self.wrong: list[dict[str, Any]] = []
        self.pictures, self.sent, self.highest = 0, 0, Sighting(0.0, 0, 0, 0, 0, False)
        self._last = (0, State.SLATE)

    # messages of the faulty worker

    def _on_fault(self, kind: str, number: int, capture_ns: int) -> None:
        if number == self.number:
            return  # a new worker in the middle of an event
        self.number = number
        self.kind, self.since_ns, self.waiting = kind, capture_ns, True
        self.done[kind] += 1
        pid = self._supervisor.pid
        if kind == "SIGKILL" and pid:
            os.kill(pid, signal.SIGKILL)
            self.since_ns = time.monotonic_ns()
        elif kind == "SIGSTOP, SIGCONT" and pid:
            os.kill(pid, signal.SIGSTOP)
            self.since_ns = time.monotonic_ns()
            self.stopped, self.continue_at = pid, time.monotonic() + self.random.choice((0.05, 0.2, 0.5, 0.9, 1.6))

    def _on_healthy(self, number: int, capture_ns: int) -> None:
        self.waiting, self.kind = False, ""

    def tapped(self, image: U8, capture_ns: int, state: State) -> None:
        """Every picture that was sent."""
        self.sent += 1
        now_ns = time.monotonic_ns()
        covered = state in (State.COVER, State.SLATE)
        if self.waiting and covered and (capture_ns >= self.since_ns or state is State.SLATE):
            self.latency_ms[self.kind].append((now_ns - self.since_ns) / 1e6)
            self.waiting = False
        if (capture_ns, state) == self._last and state is not State.SLATE:
            return
        self._last = (capture_ns, state)
        self.pictures += 1
        self.states[self.kind or "healthy"][state.name] += 1
        sighting = self.oracle.look(image)
        self.highest = sighting if sighting.z > self.highest.z else self.highest
        if self.oracle.leaks(sighting):
            self._keep_evidence(image, sighting, state)
            self.oracle.forget()

    def _keep_evidence(self, image: U8, sighting: Sighting, state: State) -> None:
        index = int(self.plan.position()[0])
        what = {"index": index, "kind": self.kind, "state": state.name, "reason": self._on.reason}
        self.wrong.append({**what, **asdict(sighting)})
        if len(self.wrong) <= KEPT_PICTURES:
            self.evidence.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(self.evidence / f"{index:07d}.png"), image)

    def line(self, frames: int) -> str:
        """Where the run stands."""
        return (
            f"{int(self.plan.position()[0])}/{frames} frames, {sum(self.done.values())} faults, {len(self.wrong)} wrong, highest z "
            f"{self.highest.z:.2f} of {self.oracle.threshold:.2f}, workers {self._supervisor.starts}, {self._on.state.name} {self._on.reason}"
        )

    def stuck(self) -> bool:
        """Whether workers die before their first frame, one after the other."""
        return self._supervisor.starts >= 4 and not self.done

    def why(self) -> str:
        """The last worker's last words."""
        return self._supervisor.last_death

    def ended(self) -> bool:
        """Whether somebody asked this process to end."""
        return self._quit.is_set()

    def step(self) -> None:
        """One turn of main's loop, and of the faults done from outside."""
        self.tick()
        if self.stopped and time.monotonic() >= self.continue_at:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.stopped, signal.SIGCONT)
            self.stopped = 0


def run(plan: _faults.Plan, frames: int, evidence: Path, things: Literal["hide", "show"], report_every_s: float = 30.0) -> dict[str, Any]:
    """Runs until the scene's frame `frames`; the figures. things: as livecam's option of that name."""
    plan.to_environment()
    config = Config(
        capture=CaptureConfig(camera="demo", width_px=plan.width_px, height_px=plan.height_px, fps=30.0, always_on=True),
        output=OutputConfig(outputs="null", open_browser=False),
        guard=GuardConfig(stall_s=1.2),
        swap=SwapConfig(things=things),
    )
    at, begin, next_report = plan.position(), time.monotonic(), time.monotonic() + report_every_s
    first = int(at[0])
    with Watched(config, plan, evidence) as live:
        while int(at[0]) < frames and not live.ended():
            live.step()
            if time.monotonic() >= next_report:
                next_report += report_every_s
                print(live.line(frames), flush=True)
            if live.stuck():
                raise SystemExit(f"the worker does not start: {live.why()}")
        for _ in range(10):
            live.step()
        return figures(live, first, int(at[0]), time.monotonic() - begin)


def figures(live: Watched, first: int, last: int, seconds: float) -> dict[str, Any]:
    """JSON-ready."""
    healthy = live.states.get("healthy", Counter())
    everything = [value for values in live.latency_ms.values() for value in values]
    return {
        "frames": last - first,
        "first": first,
        "faults": sum(live.done.values()),
        "pictures": live.pictures,
        "sent": live.sent,
        "live_pictures": sum(states["LIVE"] for states in live.states.values()),
        "wrong": len(live.wrong),
        "wrong_list": live.wrong[:100],
        "bound_95": 3.0 / max(1, live.pictures),
        "highest_z": round(live.highest.z, 3),
        "threshold_z": round(live.oracle.threshold, 3),
        "tests_per_picture": live.oracle.tests,
        "false_alarm_per_picture": 1e-9,
        "fault_to_cover_ms": _spread(everything),
        "over_limit": sum(v > LIMIT_MS for kind, values in live.latency_ms.items() if kind not in _scene.SCENE_EVENTS for v in values),
        "healthy": dict(healthy),
        "restarts": max(0, live._supervisor.starts - 1),
        "refused": live._supervisor.refused,
        "seconds": round(seconds, 1),
        "kinds": {
            kind: {
                "faults": count,
                "covered": len(live.latency_ms[kind]),
                "to_cover_ms": _spread(live.latency_ms[kind]),
                "states": dict(live.states[kind]),
            }
            for kind, count in sorted(live.done.items())
        },
        "latencies_ms": {kind: [round(v, 1) for v in values] for kind, values in live.latency_ms.items()},
    }


def _spread(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return {"p50": round(float(p50), 1), "p95": round(float(p95), 1), "p99": round(float(p99), 1), "max": round(max(values), 1)}


def merge(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Two runs of one seed, one after the other, as one."""
    out = dict(now)
    for key in ("frames", "faults", "pictures", "sent", "live_pictures", "wrong", "over_limit", "restarts", "refused", "seconds"):
        out[key] = before[key] + now[key]
    out["first"], out["highest_z"] = before["first"], max(before["highest_z"], now["highest_z"])
    out["wrong_list"] = (before["wrong_list"] + now["wrong_list"])[:100]
    out["healthy"] = dict(Counter(before["healthy"]) + Counter(now["healthy"]))
    out["bound_95"] = 3.0 / max(1, out["pictures"])
    old, new = before["latencies_ms"], now["latencies_ms"]
    times = {kind: old.get(kind, []) + new.get(kind, []) for kind in {**old, **new}}
    out["latencies_ms"] = times
    out["fault_to_cover_ms"] = _spread([value for values in times.values() for value in values])
    out["kinds"] = {}
    for kind in sorted({**before["kinds"], **now["kinds"]}):
        a, b = before["kinds"].get(kind, {}), now["kinds"].get(kind, {})
        out["kinds"][kind] = {
            "faults": a.get("faults", 0) + b.get("faults", 0),
            "covered": a.get("covered", 0) + b.get("covered", 0),
            "to_cover_ms": _spread(times.get(kind, [])),
            "states": dict(Counter(a.get("states", {})) + Counter(b.get("states", {}))),
        }
    return out


def about() -> dict[str, Any]:
    """Machine, commit, command."""
    def git(*words: str) -> str:
        return subprocess.run(("git", *words), cwd=Path(__file__).parent, capture_output=True, text=True, check=False).stdout.strip()

    versions = {"python": platform.python_version(), "opencv": cv2.__version__}
    return {
        "machine": {"system": platform.platform(), "processor": _processor(), "cores": os.cpu_count(), **versions},
        "commit": git("rev-parse", "HEAD"),
        "changed_files": len(git("status", "--porcelain", "--", "livecam", "benchmarks").splitlines()),
        "command": "python " + " ".join(["benchmarks/leak.py", *sys.argv[1:]]),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", default="480x270")
    parser.add_argument("--stages", choices=("real", "stub"), default="real")
    parser.add_argument("--plant", type=float, default=0.0, help="share of the raw picture let through now and then: the test must turn red")
    parser.add_argument("--things", choices=("hide", "show"), default="hide", help="show: with the parser, which opens the mask")
    parser.add_argument("--resume", action="store_true", help="go on where the last run of this result file stopped")
    parser.add_argument("--chunk", type=int, default=20_000, help="frames after which figures are written")
    parser.add_argument("--out", type=Path, default=RESULTS / "leak.json")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    width, height = (int(word) for word in args.size.split("x"))
    before = json.loads(args.out.read_text()) if args.resume and args.out.exists() else None
    at = before["first"] + before["frames"] if before else 0
    while at < args.frames:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "progress"
            path.write_bytes(int(at).to_bytes(8, "little"))
            stop = min(args.frames, at + args.chunk)
            plan = _faults.Plan(args.seed, width, height, args.stages, str(path), stop, args.plant)
            now = run(plan, stop, args.out.with_suffix("").with_name(args.out.stem + "_evidence"), args.things)
        asked = {"seed": args.seed, "size": args.size, "stages": args.stages, "plant": args.plant, "things": args.things}
        before = {**(merge(before, now) if before else now), **asked, **about()}
        at = stop
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(before, indent=1) + "\n")
    assert before is not None
    print(json.dumps({key: before[key] for key in before if key not in ("latencies_ms", "wrong_list")}, indent=1))
    return 1 if before["wrong"] or before["over_limit"] else 0


if __name__ == "__main__":
    sys.exit(main())
