"""A generator in the live loop on clips made from portraits: is a face found again in what goes out, is its pose kept, is it still when they are?

There is no truth here: output is compared with input under the same estimator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import cv2
import numpy as np

from engines.evaluate import measures, stats
from engines.evaluate.estimate import NAME, Estimator, Reading, pose_error_deg
from engines.evaluate.portraits import Moment, Portrait, gather, script
from livecam import detect, geometry, image, persona, swap, track
from livecam.config import Config, SwapConfig
from livecam.detect import Detector
from livecam.pipeline import Pipeline
from livecam.store import Store
from livecam.telemetry import Telemetry
from livecam.types import F64, U8, Frame, Verdict

PERIOD_NS = 33_333_333
WARM_UP = 6
"""Frames at a clip's start that do not count: the guard wants to see first."""
POSE_LIMIT_DEG = 3.0
FOUND_SCORE = 0.5
FOUND_IOU = 0.4
STRIP_FRAMES = 9
STRIP_PX = 200
LIPS = (13, 14)


class Options(Protocol):
    """What the command line says."""

    swap: str
    model: str
    persona: list[str]
    faces: Any
    portraits: int
    frames: int
    strip: Any


@dataclass(slots=True)
class Clip:
    """What was measured on one clip, frame by frame. strip: pairs of pictures, in over out."""

    name: str
    worn: str
    live: list[bool] = field(default_factory=list[bool])
    reasons: list[str] = field(default_factory=list[str])
    found: list[bool] = field(default_factory=list[bool])
    pose_deg: list[float] = field(default_factory=list[float])
    lips: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    lids: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    changes: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    strip: list[U8] = field(default_factory=list[U8])


def run(options: Options) -> dict[str, Any]:
    """The result, JSON-ready; writes the strip. Raises LivecamError."""
    config = Config(swap=SwapConfig(swap=options.swap, model=options.model))
    store = Store(config.run.cache_dir)
    image.warm_up()
    swap.warm_up(options.swap)
    detector = detect.load(config.detect.detector, config.detect, store, 1)
    estimator = Estimator(store)
    portraits = gather(options.faces, options.portraits, detector, track.load("mediapipe", config.track, store, 1))
    names = list(persona.names()) if options.persona == ["auto"] else options.persona
    clips: list[Clip] = []
    for number, portrait in enumerate(portraits):
        swapper = swap.load(options.swap, config.swap, store, 1)
        pipeline = Pipeline(detector, track.load("mediapipe", config.track, store, 1), swapper, config, Telemetry())
        worn = names[number % len(names)]
        pipeline.wear(persona.load(worn))
        clips.append(play(pipeline, portrait, script(options.frames), estimator, detector, worn, number))
    if options.strip is not None:
        options.strip.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(options.strip), np.concatenate([np.concatenate(clip.strip, axis=1) for clip in clips if clip.strip]))
    return {"swap": options.swap, "judges": {"found": "YuNet, then the landmark network's score", "pose": NAME}, **summary(clips)}


def play(
    pipeline: Pipeline, portrait: Portrait, moments: Sequence[Moment], estimator: Estimator, detector: Detector, worn: str, seed: int
) -> Clip:
    """Runs one clip through the live loop, in this process."""
    clip = Clip(portrait.name, worn)
    before: tuple[U8, U8] | None = None
    shown = set(np.linspace(WARM_UP, len(moments) - 1, STRIP_FRAMES).astype(int).tolist())
    for i, (moment, picture) in enumerate(zip(moments, portrait.frames(list(moments), seed), strict=True)):
        mesh = geometry.apply(portrait.matrix(moment), portrait.mesh)
        done = pipeline.process(Frame(picture.copy(), i * PERIOD_NS, i))
        if i in shown:
            clip.strip.append(np.concatenate([_window(picture, mesh), _window(done.image, mesh)]))
        now = (picture, done.image.copy())
        if i >= WARM_UP:
            live = done.verdict is Verdict.LIVE and done.faces > 0
            clip.live.append(live)
            if not live:
                clip.reasons.append(done.reason or "no face")
            elif moment.still and before is not None and moments[i - 1].still and clip.live[-2:] == [True, True]:
                clip.changes.append(_changes(before, now, mesh))
            if live:
                _judge(clip, now, mesh, estimator, detector)
        before = now
    return clip


def _judge(clip: Clip, now: tuple[U8, U8], mesh: F64, estimator: Estimator, detector: Detector) -> None:
    taken, given = (estimator.read(picture, mesh) for picture in now)
    box = np.concatenate([mesh[:468, :2].min(axis=0), mesh[:468, :2].max(axis=0)])
    boxes = [d.box_px for d in detector.detect(now[1])]
    overlap = float(geometry.iou(np.array(boxes), box[None]).max()) if boxes else 0.0
    clip.found.append(overlap > FOUND_IOU and given.score > FOUND_SCORE)
    clip.pose_deg.append(pose_error_deg(taken.rotation, given.rotation))
    clip.lips.append((_gap(taken), _gap(given)))
    clip.lids.append((float(taken.eye_open.mean()), float(given.eye_open.mean())))


def _gap(reading: Reading) -> float:
    wide = float(np.linalg.norm(reading.mesh[61, :2] - reading.mesh[291, :2]))
    return float(np.linalg.norm(reading.mesh[LIPS[0], :2] - reading.mesh[LIPS[1], :2])) / max(wide, 1e-6)


def _changes(before: tuple[U8, U8], now: tuple[U8, U8], mesh: F64) -> tuple[float, float]:
    """Mean change of the face from frame to frame: of what came in, and of what went out."""
    hull = cv2.convexHull(np.round(mesh[:468, :2]).astype(np.int32))
    inside = np.zeros(now[0].shape[:2], np.uint8)
    cv2.fillConvexPoly(inside, hull, 1)
    region = inside > 0
    return measures.change(before[0], now[0], region), measures.change(before[1], now[1], region)


def _window(picture: U8, mesh: F64) -> U8:
    low, high = mesh[:468, :2].min(axis=0), mesh[:468, :2].max(axis=0)
    side = 1.45 * float((high - low).max())
    centre = (low + high) / 2
    k = STRIP_PX / side
    matrix = np.array([[k, 0.0, STRIP_PX / 2 - k * centre[0]], [0.0, k, STRIP_PX / 2 - k * centre[1]]])
    smooth = cv2.GaussianBlur(picture, (0, 0), max(0.4 * (1 / k - 1), 0.01)) if k < 0.95 else picture
    return np.asarray(cv2.warpAffine(smooth, matrix, (STRIP_PX, STRIP_PX), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def summary(clips: Sequence[Clip]) -> dict[str, Any]:
    """Rows over all clips, with intervals by drawing clips anew, and a line for each clip."""

    def row(values: list[list[float]]) -> dict[str, Any]:
        flat = np.array([v for part in values for v in part], np.float64)
        of = np.array([i for i, part in enumerate(values) for _ in part], np.int64)
        e = stats.bootstrap(flat, of)
        rounded = [None if not math.isfinite(x) else float(f"{x:.4g}") for x in (e.value, e.low, e.high)]
        return {"value": rounded[0], "ci95": rounded[1:], "frames": e.n, "clips": e.groups}

    reasons: dict[str, int] = {}
    for reason in (r for clip in clips for r in clip.reasons):
        reasons[reason] = reasons.get(reason, 0) + 1
    kept = [[float(p <= POSE_LIMIT_DEG) for p in c.pose_deg] for c in clips]
    flicker = [[b / max(a, 1e-9) for a, b in c.changes] for c in clips]
    table = {
        "found_share": {"what": "face found again in the output", "goal": ">= 0.99", **row([[float(f) for f in c.found] for c in clips])},
        "pose_kept_share": {"what": f"pose kept within {POSE_LIMIT_DEG:g} degrees", **row(kept)},
        "pose_deg": {"what": "pose, output against input, degrees", "goal": f"<= {POSE_LIMIT_DEG:g}", **row([c.pose_deg for c in clips])},
        "live_share": {"what": "frames that went out drawn (the others were covered)", **row([[float(v) for v in c.live] for c in clips])},
        "flicker_ratio": {"what": "change of a still face, output over input", "goal": "<= 1", **row(flicker)},
        "lips_correlation": {"what": "gap of the lips, output with input", **row([_correlation(c.lips) for c in clips])},
        "lids_correlation": {"what": "opening of the lids, output with input", **row([_correlation(c.lids) for c in clips])},
    }
    each = [
        {"portrait": c.name, "persona": c.worn, "live": _mean(c.live), "found": _mean(c.found), "pose_deg": _mean(c.pose_deg),
         "lips": _correlation(c.lips), "lids": _correlation(c.lids)} for c in clips
    ]  # fmt: skip
    return {"table": table, "covered_because": reasons, "clips": each}


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 4) if len(values) else None


def _correlation(pairs: Sequence[tuple[float, float]]) -> list[float]:
    both = np.array(pairs, np.float64).reshape(-1, 2)
    if len(both) < 3 or both.std(axis=0).min() < 1e-6:
        return []
    return [round(float(np.corrcoef(both.T)[0, 1]), 4)]
