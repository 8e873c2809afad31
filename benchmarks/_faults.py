"""The worker of the leak test: livecam's own worker, fed by the scene, with faults wrapped around its stages. Runs in the worker process."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import _scene
import cv2
import numpy as np

from livecam.errors import CaptureLostError, DeviceAbsentError, StageError
from livecam.types import U8, Alignment, CropSpec, Detection, Face, Frame, Persona, Swapped, Verdict, VideoFormat

ENVIRONMENT = "LIVECAM_LEAK_PLAN"
FAULTY = (0, 1, 2, 9, 17)
"""Frames of an event in which a stage is faulty."""
STALE_SHIFT = 0.3
"""By this share of the crop a stale mask lies beside its face."""
GONE_OPENINGS = 2
"""How often a camera that is gone cannot be opened."""
FPS = 120.0


@dataclass(frozen=True, slots=True)
class Plan:
    """seed, size. stages: "real" or "stub" (no model files). progress: file with the next frame's index, which outlives a worker.
    plant: share of the raw face that a broken blend lets through in every 50th frame (0: none). frames: the camera ends there."""

    seed: int
    width_px: int
    height_px: int
    stages: str
    progress: str
    frames: int
    plant: float = 0.0

    def to_environment(self) -> None:
        os.environ[ENVIRONMENT] = json.dumps(asdict(self))

    @staticmethod
    def from_environment() -> Plan:
        return Plan(**json.loads(os.environ[ENVIRONMENT]))

    def position(self) -> Any:
        """One int64 in the progress file."""
        return np.memmap(self.progress, np.int64, "r+", shape=(1,))


class Camera:
    """A capture that draws the scene, from where the last worker stopped."""

    def __init__(self, scene: _scene.Scene, plan: Plan) -> None:
        self._scene, self._plan, self._at = scene, plan, plan.position()
        self._seq = 0
        self.format = VideoFormat(plan.width_px, plan.height_px, FPS)
        self.notes: tuple[str, ...] = ()
        self.raw: dict[int, U8] = {}

    def read(self) -> Frame:
        """The next picture. Raises CaptureLostError where the plan says so."""
        index = int(self._at[0])
        while index >= self._plan.frames:
            time.sleep(0.05)  # main ends the run
        self._at[0] = index + 1
        kind, _, since = self._scene.event(index)
        if kind == "camera gone" and since == FAULTY[0]:
            raise CaptureLostError("expected a picture, found the camera unplugged")
        image = self._scene.draw(index)
        self.raw = {index: image.copy()} if not self.raw else {max(self.raw): self.raw[max(self.raw)], index: image.copy()}
        self._seq += 1
        return Frame(image, time.monotonic_ns(), self._seq - 1, index)

    def close(self) -> None:
        """Nothing to give back."""

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Faults:
    """Wraps the stages of a pipeline; knows the frame that is in it."""

    def __init__(self, link: Any, plan: Plan) -> None:
        self.link, self.plan = link, plan
        self.scene = _scene.Scene(plan.seed, plan.width_px, plan.height_px)
        self.camera: Camera | None = None
        self.index, self.event, self.since = 0, "", -1
        self._told = -1
        self._openings = 0
        self._old: Alignment | None = None
        self._raw: U8 | None = None

    def open(self) -> Camera:
        """Opens the camera; one that is gone needs several tries."""
        at = max(0, int(self.plan.position()[0]) - 1)
        kind, number, since = self.scene.event(at)
        if kind == "camera gone" and since == FAULTY[0] and self._openings < GONE_OPENINGS:
            if not self._openings:
                self.link.say("fault", kind, number, time.monotonic_ns())
            self._openings += 1
            raise DeviceAbsentError("expected the camera, found none")
        self._openings = 0
        self.camera = Camera(self.scene, self.plan)
        return self.camera

    def wrap(self, pipeline: Any) -> None:
        """Puts the faults between the pipeline and its stages."""
        stages = pipeline.stages
        for name in ("search", "track", "align", "crop", "swap", "colour", "mask", "blend"):
            setattr(stages, name, self._failing(name, getattr(stages, name)))
        stages.swap = self._bad_crop(stages.swap)
        stages.mask = self._empty(self._stale(stages.mask))
        stages.blend = self._idle(stages.blend)
        process = pipeline.process

        def watched(frame: Frame) -> Any:
            self._begin(frame)
            raw = frame.image.copy() if self.plan.plant or self.event == "kill in mid-write" else None
            self._raw = raw
            done = process(frame)
            if self.plan.plant and raw is not None and frame.position % 50 == 25 and done.verdict is Verdict.LIVE:
                done.image[:] = cv2.addWeighted(done.image, 1.0 - self.plan.plant, raw, self.plan.plant, 0.0)
            return done

        pipeline.process = watched

    def _begin(self, frame: Frame) -> None:
        self.index = frame.position
        self.event, number, self.since = self.scene.event(frame.position)
        if 0 <= self.since <= FAULTY[-1] and number != self._told:  # a run that begins behind an event's faults has none to tell
            self._told = number
            self.link.say("fault", self.event, number, frame.capture_ns)
        elif self.since == _scene.lasts(self.event) + 20:
            self.link.say("healthy", number, frame.capture_ns)
        if self.event == "kill in mid-write" and self.since == FAULTY[1]:
            self.link._writer._fill = self._die

    def _die(self, *rest: Any) -> None:
        """In mid-write: the slot holds raw pixels, the commit word is not yet written."""
        assert self._raw is not None
        for pixels in self.link._writer._slots.pixels:
            pixels[: self._raw.size] = self._raw.reshape(-1)
        os.kill(os.getpid(), signal.SIGKILL)

    def _now(self, kind: str) -> bool:
        return self.event == kind and self.since in FAULTY

    def _failing(self, name: str, stage: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any) -> Any:
            if self._now(f"exception in {name}"):
                raise (StageError, RuntimeError, ValueError)[self.index % 3](f"planted in {name}")
            return stage(*args)

        return wrapped

    def _stale(self, stage: Callable[..., U8]) -> Callable[..., U8]:
        def wrapped(swapped: Swapped, face: Face, alignment: Alignment) -> U8:
            alpha = stage(swapped, face, alignment)
            if not self._now("stale mask"):
                return alpha
            reach = round(STALE_SHIFT * alpha.shape[0])  # where the face was a moment ago
            moved = np.zeros_like(alpha)
            moved[reach:, reach:] = alpha[:-reach, :-reach]
            moved[[0, -1]] = moved[:, [0, -1]] = 0
            return moved

        return wrapped

    def _bad_crop(self, stage: Callable[..., Swapped]) -> Callable[..., Swapped]:
        def wrapped(crop: U8, face: Face, alignment: Alignment) -> Swapped:
            swapped = stage(crop, face, alignment)
            if self._now("NaN crop"):
                nan: Any = np.full(swapped.crop.shape, np.nan, np.float32)
                return replace(swapped, crop=nan if self.index % 2 else nan.astype(np.uint8))
            if self._now("black crop"):
                return replace(swapped, crop=np.zeros_like(swapped.crop))
            return swapped

        return wrapped

    def _empty(self, stage: Callable[..., U8]) -> Callable[..., U8]:
        def wrapped(swapped: Swapped, face: Face, alignment: Alignment) -> U8:
            alpha = stage(swapped, face, alignment)
            return np.zeros_like(alpha) if self._now("empty mask") else alpha

        return wrapped

    def _idle(self, stage: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any) -> Any:
            return (0, 0, 0, 0) if self._now("nothing drawn") else stage(*args)

        return wrapped


# -- stages without model files ------------------------------------------------------------------------------------------------------------


class StubDetector:
    """Finds what the scene shows, as a detector would: faces that are inside by more than half."""

    licence = "none"

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def detect(self, image: U8) -> tuple[Detection, ...]:
        found = [s for s in self._faults.scene.truth(self._faults.index) if s.inside > 0.6 and s.pose.squeeze > 0.6]
        return tuple(Detection(_box(s.oval_px, 1.1), 0.9, s.five_px) for s in found)


class StubTracker:
    """Follows what was detected, by the truth."""

    licence = "none"

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._numbers: dict[int, int] = {}
        self._next = 1

    def update(self, frame: Frame, detections: tuple[Detection, ...] | None) -> tuple[Face, ...]:
        shown = {s.actor: s for s in self._faults.scene.truth(frame.position) if s.inside > 0.5 and s.pose.squeeze > 0.55}
        self._numbers = {actor: number for actor, number in self._numbers.items() if actor in shown}
        for actor, one in shown.items():
            if actor not in self._numbers and any(np.abs(d.five_px - one.five_px).max() < 3.0 for d in detections or () if d.five_px is not None):
                self._numbers[actor], self._next = self._next, self._next + 1
        return tuple(Face(number, _box(shown[actor].oval_px, 1.16), shown[actor].five_px, 0.9) for actor, number in self._numbers.items())

    def reset(self) -> None:
        self._numbers = {}


class StubSwapper:
    """Draws a face of its own into the crop."""

    licence = "none"
    crop = CropSpec(128)

    def __init__(self) -> None:
        size = self.crop.size_px
        image = np.full((size, size, 3), (120, 150, 190), np.uint8)
        image += (np.arange(size, dtype=np.uint8)[:, None, None] // 4)
        for x, y, w, h, colour in ((44, 48, 9, 5, 255), (84, 48, 9, 5, 255), (44, 48, 4, 4, 40), (84, 48, 4, 4, 40), (64, 88, 18, 6, 70)):
            cv2.ellipse(image, (x, y), (w, h), 0, 0, 360, (colour, colour, colour), -1, cv2.LINE_AA)
        mask = np.zeros((size, size), np.uint8)
        cv2.ellipse(mask, (64, 68), (50, 58), 0, 0, 360, 255, -1)
        self._drawn = Swapped(image, mask)

    def wear(self, persona: Persona) -> None:
        """One face only."""

    def swap(self, crop: U8, face: Face, alignment: Alignment) -> Swapped:
        return self._drawn


def _box(points: Any, factor: float) -> Any:
    low, high = points.min(axis=0), points.max(axis=0)
    middle, half = (low + high) / 2.0, (high - low) / 2.0 * factor
    return np.concatenate((middle - half, middle + half)).astype(np.float32)


def faulty_worker(link: Any, config: Any) -> None:
    """`livecam.app.worker.worker_main` on the scene, with faults."""
    from livecam.app import build, worker
    from livecam.capture import Newest

    worker.prepare_process(config)
    faults = Faults(link, Plan.from_environment())
    make = build.pipeline

    def open_capture(config: Any, link: Any) -> Newest:
        newest = Newest(faults.open, lossless=True)
        newest.start(patient=True)
        link.say("camera", {"name": "scene", "format": asdict(VideoFormat(*faults.scene.size_px, FPS)), "notes": []})
        return newest

    def pipeline(config: Any, link: Any) -> Any:
        made = _stub_pipeline(faults, config) if faults.plan.stages == "stub" else make(config, link)
        faults.wrap(made)
        return made

    build.open_capture, build.pipeline = open_capture, pipeline
    worker.worker_main(link, config)


def _stub_pipeline(faults: Faults, config: Any) -> Any:
    from livecam import image
    from livecam.pipeline import Pipeline
    from livecam.telemetry import Telemetry

    image.warm_up()
    return Pipeline(StubDetector(faults), StubTracker(faults), StubSwapper(), config, Telemetry())
