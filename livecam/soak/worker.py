"""The worker under test: livecam's own, fed by the scene, with faults around its stages. Runs in the worker process.

Says to main, beside what livecam's worker says: ["fault", name, number, ns], ["over", number, ns], ["planted", capture_ns].
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from livecam.config import Config
from livecam.guard.link import WorkerLink
from livecam.pipeline import Finished, Pipeline
from livecam.soak import camera, effects, kinds
from livecam.soak.inside import NO_EVENT, Inside
from livecam.soak.scene import Scene
from livecam.types import U8, Frame, Verdict, VideoFormat

TARGET = "livecam.soak.worker:soaked_worker"
ENVIRONMENT = "LIVECAM_SOAK_PLAN"
PLANTED_EVERY, PLANTED_AT = 4, 2
"""With `plant`, frames whose index leaves this rest are spoilt."""
FROM_STALE = ("detect", "track", "align", "swap", "blend")


@dataclass(frozen=True, slots=True)
class Plan:
    """seed, size, and which faults ("" all, "-" none). stages: "real" or "stub" (no model files). progress: file with the next frame's index,
    which outlives a worker. frames: the camera ends there. plant: share of the raw picture that goes out in every fourth LIVE frame (0: none)."""

    seed: int
    width_px: int
    height_px: int
    stages: Literal["real", "stub"]
    progress: str
    frames: int
    only: str = ""
    plant: float = 0.0

    def to_environment(self) -> None:
        """For the workers: a new process gets nothing else from main but livecam's own settings."""
        os.environ[ENVIRONMENT] = json.dumps(asdict(self))

    @staticmethod
    def from_environment() -> Plan:
        return Plan(**json.loads(os.environ[ENVIRONMENT]))

    def position(self) -> NDArray[np.int64]:
        """One int64 in the progress file."""
        return np.memmap(self.progress, np.int64, "r+", shape=(1,))

    def begin_at(self, index: int) -> None:
        """Makes the progress file."""
        Path(self.progress).write_bytes(index.to_bytes(8, "little"))

    def schedule(self) -> kinds.Schedule:
        return kinds.Schedule(self.seed, (kinds.NONE,) if self.only == "-" else kinds.chosen(self.only))

    def scene(self) -> Scene:
        return Scene(self.seed, self.width_px, self.height_px, self.schedule())


class Faults:
    """Wraps the stages of a pipeline; knows the frame that is in it."""

    def __init__(self, link: WorkerLink, plan: Plan) -> None:
        self.link, self.plan, self.scene = link, plan, plan.scene()
        self.index, self.event = 0, NO_EVENT
        self._at = plan.position()
        self._away = camera.Away()
        self._inside: Inside | None = None
        self._raw: U8 = np.zeros((0, 0, 3), np.uint8)

    def open(self) -> camera.Camera:
        """The camera. Raises DeviceAbsentError while it is away."""
        return camera.Camera(self.scene, self._next, self.link.say, self._away)

    def _next(self) -> int:
        while (index := int(self._at[0])) >= self.plan.frames:
            time.sleep(0.05)  # main ends the run
        self._at[0] = index + 1
        return index

    def wrap(self, made: Pipeline) -> None:
        """Puts the faults between the pipeline and its stages, and around its guard and link."""
        stages: Any = made.stages
        for room, field in effects.FIELDS.items():
            setattr(stages, field, self._around(room, getattr(stages, field)))
        self._inside = Inside(self.link, made)
        whole: Any = made
        whole.process = partial(self._process, made.process)

    def _process(self, process: Callable[[Frame], Finished], frame: Frame) -> Finished:
        self.index, self.event = frame.position, self.scene.schedule.at(frame.position)
        self._raw = frame.image.copy()
        assert self._inside is not None
        self._inside.begin(self.event, self._raw)
        done = process(frame)
        if self.plan.plant and frame.position % PLANTED_EVERY == PLANTED_AT and done.verdict is Verdict.LIVE:
            done.image[:] = cv2.addWeighted(done.image, 1.0 - self.plan.plant, self._raw, self.plan.plant, 0.0)
            self.link.say("planted", frame.capture_ns)
        return done

    def _around(self, room: str, stage: Callable[..., Any]) -> Callable[..., Any]:
        past: deque[tuple[Any, tuple[Any, ...]]] = deque(maxlen=effects.STALE_FRAMES)

        def wrapped(*args: Any) -> Any:
            event = self.event
            if event.kind.room != room:
                return stage(*args)
            what = event.kind.name.removeprefix(f"{room}: ")
            if event.faulty:
                seconds = kinds.HANGS_S[event.number % len(kinds.HANGS_S)]
                effect = effects.GENERAL.get(what) or effects.EFFECTS[event.kind.name]
                return effect(effects.Call(stage, args, past, self.index, seconds, self._raw))
            result = stage(*args)
            if what == "stale":
                past.append((result, args))
            return result

        return wrapped


def soaked_worker(link: WorkerLink, config: Config) -> None:
    """`livecam.app.worker.worker_main` on the scene, with faults."""
    from livecam.app import build, worker
    from livecam.capture import Newest

    worker.prepare_process(config)
    faults = Faults(link, Plan.from_environment())
    make = build.pipeline

    def open_capture(config: Config, link: WorkerLink) -> Newest:
        newest = Newest(faults.open, lossless=True)
        newest.start(patient=True)
        link.say("camera", {"name": "soak", "format": asdict(VideoFormat(*faults.scene.size_px, camera.FPS)), "notes": []})
        return newest

    def pipeline(config: Config, link: WorkerLink) -> Pipeline:
        made = _stub_pipeline(faults, config) if faults.plan.stages == "stub" else make(config, link)
        faults.wrap(made)
        return made

    build.open_capture, build.pipeline = open_capture, pipeline
    worker.worker_main(link, config)


def _stub_pipeline(faults: Faults, config: Config) -> Pipeline:
    from livecam import image, mark
    from livecam.soak.stubs import StubDetector, StubSwapper, StubTracker
    from livecam.telemetry import Telemetry

    image.warm_up()
    mark.warm_up()
    detector, tracker = StubDetector(faults.scene, lambda: faults.index), StubTracker(faults.scene)
    return Pipeline(detector, tracker, StubSwapper(), config, Telemetry())
