"""livecam's main process under test: what the worker announces is done to it or measured, and the oracle looks at every picture that goes out."""

from __future__ import annotations

import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from livecam.app.live import Live
from livecam.app.outputs import Outputs
from livecam.config import CaptureConfig, Config, GuardConfig, OutputConfig
from livecam.soak import worker
from livecam.soak.kinds import ENDS_WORKER
from livecam.soak.oracle import Oracle, Sighting
from livecam.soak.outside import Outside
from livecam.soak.sinks import Device, Disk
from livecam.soak.watch import Watch
from livecam.types import U8, State

KEPT_PICTURES = 20
"""Wrong pictures that are kept as evidence."""
GREY = 128
PLANTED_KEPT = 64
"""Announcements of planted pictures that may be under way."""
STUCK = 6
"""Workers that died one after the other before any fault: it does not start at all."""


class Tally:
    """What a run counts."""

    def __init__(self) -> None:
        self.faults: Counter[str] = Counter()
        self.states: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.recovered_ms: defaultdict[str, list[float]] = defaultdict(list)
        self.covered_ms: defaultdict[str, list[float]] = defaultdict(list)
        self.unrecovered: Counter[str] = Counter()
        self.wrong: list[dict[str, Any]] = []
        self.pictures = self.sent = self.live = 0
        self.planted_sent = self.planted_found = 0
        self.highest_z = 0.0
        self.highest_kind = ""


class Soaked(Live):
    """A run under fault. `step` instead of `run`."""

    def __init__(self, plan: worker.Plan, base: Config, evidence: Path) -> None:
        """base: persona, generator, folders; camera, size, outputs and guard are the soak's."""
        self._folder = tempfile.TemporaryDirectory(prefix="livecam-soak-")
        self._device, self._disk = Device(Path(self._folder.name)), Disk(Path(self._folder.name))
        plan.to_environment()
        config = Config(
            capture=CaptureConfig(camera="demo", width_px=plan.width_px, height_px=plan.height_px, always_on=True),
            output=OutputConfig(outputs=f"null,web,v4l2:{self._device.path}", open_browser=False),
            guard=GuardConfig(second_check=base.guard.second_check),
            swap=base.swap,
            mark=base.mark,
            run=base.run,
        )
        super().__init__(config, lambda text: None, worker=worker.TARGET, tap=self._tapped)
        self.plan, self.evidence, self.tally, self.watch = plan, evidence, Tally(), Watch()
        self.oracle = Oracle(plan.scene().canary)
        self.outside = Outside(self._supervisor, self._sinks, self._device, self._disk, plan.seed)
        self._position = plan.position()
        self._first, self._cycle_frames = self.index, plan.schedule().cycle_frames
        self._number, self._kind = -1, ""
        self._since_ns, self._over_ns = 0, 0
        self._recovering = self._covering = False
        self._last = ("", State.HOLD)
        self._planted: list[int] = []
        self._usual_outputs = 0

    def _sinks(self) -> Outputs | None:
        return self._outputs

    @property
    def index(self) -> int:
        """The next frame's."""
        return int(self._position[0])

    @property
    def workers(self) -> int:
        return self._supervisor.starts

    @property
    def refused(self) -> int:
        """Frames of workers that have ended, seen and not accepted."""
        return self._supervisor.refused

    @property
    def kind(self) -> str:
        """The fault that goes on, "" between them."""
        return self._kind

    @property
    def on_air(self) -> str:
        return f"{self._on.state.name} {self._on.reason}".strip()

    @property
    def ended(self) -> bool:
        """Whether somebody asked this process to end."""
        return self._quit.is_set()

    @property
    def stuck(self) -> str:
        """Why no worker comes up at all, "" while they do."""
        return self._supervisor.last_death if self._supervisor.starts >= STUCK and not self.tally.pictures else ""

    def step(self) -> None:
        """One turn of main's loop, and of what is done from outside."""
        self.tick()
        self.outside.tick()
        if not self.outside.limited:
            self.watch.tick(self._supervisor.pid)
        if self.index - self._first >= self._cycle_frames:
            self.watch.settled()
        if self._recovering and self._kind.startswith("output:") and time.monotonic_ns() > self._over_ns:
            self._usual_outputs = self._usual_outputs or len(self.outputs)
            if len(self.outputs) >= self._usual_outputs:
                self._recovered()

    def close(self) -> None:
        self.outside.settle()
        super().close()
        self._device.close()
        self._disk.close()
        self._folder.cleanup()

    # -- what the worker says ---------------------------------------------------------------------------------------------------------------------

    def _on_fault(self, kind: str, number: int, began_ns: int) -> None:
        if number == self._number:
            return  # a new worker in the middle of an event
        if self._recovering:
            self.tally.unrecovered[self._kind] += 1
        self._number, self._kind, self._since_ns, self._over_ns = number, kind, began_ns, 0
        self._usual_outputs = self._usual_outputs or len(self.outputs)
        self.tally.faults[kind] += 1
        self._recovering = self._covering = True
        over_s = self.outside.do(kind)
        if over_s is not None or kind in ENDS_WORKER:
            self._over_ns = time.monotonic_ns() + int((over_s or 0.0) * 1e9)

    def _on_over(self, number: int, over_ns: int) -> None:
        if number == self._number and not self._over_ns:
            self._over_ns = over_ns

    def _on_planted(self, capture_ns: int) -> None:
        self._planted = [*self._planted[-PLANTED_KEPT:], capture_ns]

    # -- what goes out ------------------------------------------------------------------------------------------------------------------------------

    def _tapped(self, image: U8, capture_ns: int, state: State) -> None:
        """Every picture that was sent."""
        tally = self.tally
        tally.sent += 1
        self._measure(capture_ns, state)
        what = self._on.reason if state is State.SLATE else str(capture_ns)
        if (what, state) == self._last:
            return  # the very same picture again
        self._last = (what, state)
        tally.pictures += 1
        tally.live += state is State.LIVE
        tally.states[self._kind or "healthy"][state.name] += 1
        sighting = self.oracle.look(fitted(image, self.plan.width_px, self.plan.height_px))
        if sighting.z > tally.highest_z:
            tally.highest_z, tally.highest_kind = sighting.z, self._kind
        found = self.oracle.leaks(sighting)
        if capture_ns in self._planted and state is State.LIVE:
            self._planted.remove(capture_ns)
            tally.planted_sent += 1
            tally.planted_found += found
        if found:
            self._keep_evidence(image, sighting, state)
            self.oracle.forget()

    def _measure(self, capture_ns: int, state: State) -> None:
        now_ns = time.monotonic_ns()
        covered = state is State.SLATE or (state is State.COVER and capture_ns >= self._since_ns)
        if self._covering and covered and self._kind:
            self.tally.covered_ms[self._kind].append((now_ns - self._since_ns) / 1e6)
            self._covering = False
        if self._recovering and self._over_ns and state is State.LIVE and capture_ns > self._over_ns and not self._kind.startswith("output:"):
            self._recovered()

    def _recovered(self) -> None:
        self.tally.recovered_ms[self._kind].append((time.monotonic_ns() - self._over_ns) / 1e6)
        self._recovering, self._kind = False, ""

    def _keep_evidence(self, image: U8, sighting: Sighting, state: State) -> None:
        what = {"index": self.index, "kind": self._kind, "state": state.name, "reason": self._on.reason}
        self.tally.wrong.append({**what, **asdict(sighting)})
        if len(self.tally.wrong) <= KEPT_PICTURES and not self.plan.plant and not self.outside.limited:
            self.evidence.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(self.evidence / f"{self.plan.width_px}-{self.index:07d}.png"), image)


def fitted(image: U8, width_px: int, height_px: int) -> U8:
    """A picture of another size as the oracle wants it: cut, or with a grey border, at the right and below: every pixel stays where it was."""
    height, width = image.shape[:2]
    if (width, height) == (width_px, height_px):
        return image
    canvas = np.full((height_px, width_px, 3), GREY, np.uint8)
    part = image[:height_px, :width_px]
    canvas[: part.shape[0], : part.shape[1]] = part
    return canvas
