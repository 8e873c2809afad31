"""Search and tracking: `python benchmarks/tracking.py`.

Still: 5 s of a still face with sensor noise; the largest standard deviation of the corner points of the aligned 128-px crop, carried back and forth.
Lag: on fast pans and rolls, how many frames the smoothed alignment is behind the unsmoothed one. Blink and mouth: how much of a short blink is left
after smoothing, and how late it is. Recall: the search on whole faces of several sizes, on faces cut by each edge and on very large ones.
Demo: the shipped clip against its labels.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from _portrait import HEIGHT_PX, WIDTH_PX, Portrait, Pose

from livecam import align, capture, detect, geometry, track
from livecam.bench import machine
from livecam.capture import demo
from livecam.config import Config
from livecam.store import Store
from livecam.track._follow import Follower
from livecam.types import F64, CropSpec, Face, Frame

PERIOD_NS = 33_333_333
SPEC = CropSpec(128)
SETTLE_FRAMES = 15
SEARCH_EVERY = 3
RESULT = Path(__file__).parent / "results" / "tracking.json"


class Bench:
    """Detector and tracker under test, and what they cost."""

    def __init__(self, config: Config) -> None:
        store = Store(config.run.cache_dir)
        self.detector = detect.load("yunet", config.detect, store, 1)
        self.tracker = track.load("mediapipe", config.track, store, 1)
        self.config = config
        self.search_ms: list[float] = []
        self.track_ms: list[float] = []
        self.portrait = Portrait()
        faces, _ = self.follow([Pose()] * 4)
        points = faces[-1].mesh_px
        assert points is not None
        self.portrait.mesh = geometry.apply(geometry.invert(self.portrait.matrix(Pose())), points[:, :2])

    def step(self, frame: Frame, search: bool) -> tuple[Face, ...]:
        """One frame through search and tracker, timed in CPU ms of this thread."""
        found = None
        if search:
            begin = time.thread_time_ns()
            found = tuple(d for d in self.detector.detect(frame.image) if d.score >= self.config.detect.score)
            self.search_ms.append((time.thread_time_ns() - begin) / 1e6)
        begin = time.thread_time_ns()
        faces = self.tracker.update(frame, found)
        if len(faces) == 1:
            self.track_ms.append((time.thread_time_ns() - begin) / 1e6)
        return faces

    def follow(self, poses: list[Pose]) -> tuple[list[Face], list[F64]]:
        """The face of each frame, and its alignment points before smoothing. Raises RuntimeError when it is not found."""
        self.tracker.reset()
        faces: list[Face] = []
        raw: list[F64] = []
        assert isinstance(self.tracker, Follower)
        for i, image in enumerate(self.portrait.frames(poses)):
            found = self.step(Frame(image, i * PERIOD_NS, i), i % SEARCH_EVERY == 0)
            if len(found) != 1:
                raise RuntimeError(f"frame {i}: expected the one face of the portrait, found {len(found)}")
            faces.append(found[0])
            raw.append(self.tracker._tracks[0].found.five_px)
        return faces, raw


def matrices(fives: list[Any]) -> list[F64]:
    return [align.align(five, SPEC).matrix for five in fives]


def corner_sd_px(fives: list[Any]) -> float:
    """Largest standard deviation, over the four corner points and both axes, in pixels of the crop."""
    kept = matrices(fives)[SETTLE_FRAMES:]
    back = geometry.invert(kept[len(kept) // 2])
    corners = geometry.apply(back, geometry.corners_px(SPEC.size_px))
    return round(float(np.array([geometry.apply(m, corners) for m in kept]).std(axis=0).max()), 4)


def delay_frames(late: F64, early: F64) -> float:
    """The shift, in frames, at which `late` (N, k) is nearest to `early`, looked for from -1 to 4 in steps of 0.02."""
    at = np.arange(len(early), dtype=float)
    inside = slice(6, len(early) - 2)
    shifts = np.arange(-1.0, 4.0, 0.02)
    moved = [np.stack([np.interp(at - s, at, column) for column in early.T], axis=1) for s in shifts]
    return round(float(shifts[int(np.argmin([((late - m)[inside] ** 2).sum() for m in moved]))]), 2)


def still(bench: Bench) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, zoom in (("face_220_px", 1.0), ("face_330_px", 1.5), ("face_120_px", 0.55)):
        faces, raw = bench.follow([Pose(zoom=zoom)] * 165)
        out[name] = {"corner_sd_px": corner_sd_px([f.five_px for f in faces]), "corner_sd_unsmoothed_px": corner_sd_px(raw)}
    return out


def lag(bench: Bench) -> dict[str, Any]:
    def ramp(i: int) -> float:
        """Still, then there and back within 0.4 s each, smoothly."""
        t = i % 30
        return 0.5 - 0.5 * float(np.cos(np.pi * min(max((t - 6) / 12, 0.0), 1.0))) if i < 30 else 0.5 + 0.5 * float(np.cos(np.pi * min(t / 12, 1.0)))

    out: dict[str, Any] = {}
    for name, poses in (
        ("pan_350_px_in_0.4_s", [Pose(shift_px=(350 * ramp(i) - 175, 0.0)) for i in range(60)]),
        ("roll_40_deg_in_0.4_s", [Pose(roll_deg=40 * ramp(i) - 20) for i in range(60)]),
        ("zoom_1.6_in_0.4_s", [Pose(zoom=0.8 + 0.5 * ramp(i)) for i in range(60)]),
    ):
        faces, raw = bench.follow(poses)
        smooth, plain = np.array([f.five_px for f in faces]).reshape(60, 10), np.array(raw).reshape(60, 10)
        out[name] = delay_frames(smooth, plain)
    return out


def expression(bench: Bench) -> dict[str, Any]:
    shut = [float(np.interp(i % 20, [0, 6, 8, 9, 12], [0, 0, 1, 1, 0])) for i in range(100)]
    faces, _ = bench.follow([Pose(shut=s) for s in shut])
    opened = np.array([f.eye_open for f in faces], dtype=float)
    rest = float(np.median(opened[[s == 0 for s in shut]]))
    closed = float(opened[[s == 1 for s in shut]].mean())
    held, _ = bench.follow([Pose(shut=1.0)] * 12)
    floor = float(np.array([f.eye_open for f in held[-4:]], dtype=float).mean())
    jaws = [0.5 - 0.5 * float(np.cos(2 * np.pi * i / 8)) for i in range(64)]
    talking, _ = bench.follow([Pose(jaw=j) for j in jaws])
    meshes = np.array([f.mesh_px for f in talking])
    gap = np.linalg.norm(meshes[:, 17, :2] - meshes[:, 0, :2], axis=1)[:, None].astype(float)
    wanted = np.array(jaws)[:, None] * (gap.max() - gap.min()) + gap.min()
    return {
        "blink_depth_kept": round((rest - closed) / max(rest - floor, 1e-6), 3),
        "blink_delay_frames": delay_frames(opened.mean(axis=1, keepdims=True), rest - (rest - floor) * np.array(shut)[:, None]),
        "talking_4_hz_delay_frames": delay_frames(gap, wanted),
        "eye_open_rest": round(rest, 3),
        "eye_open_shut": round(floor, 3),
    }


def recall(bench: Bench, folder: Path | None, count: int) -> dict[str, Any]:
    """Share of faces found, by place and size. Faces: the portrait, and the pictures in `folder` if there is one."""
    pictures = [bench.portrait.photo[:, 350:1250]]
    if folder is not None:
        paths = sorted(p for p in folder.iterdir() if p.suffix in (".jpg", ".png"))
        pictures += [np.asarray(cv2.imread(str(p)), np.uint8) for p in paths[:: max(len(paths) // count, 1)][:count]]
    kinds = {f"whole_{s}": (s, 0.0, 0.0) for s in (0.15, 0.25, 0.5, 0.8, 1.2, 1.7, 2.4)}
    for edge, (ex, ey) in {"left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}.items():
        kinds.update({f"half_{edge}_{s}": (s, ex * 0.5, ey * 0.5) for s in (0.4, 0.8)})
        kinds.update({f"third_{edge}_{s}": (s, ex * 0.65, ey * 0.65) for s in (0.4, 0.8)})
    hits: dict[str, list[bool]] = {kind: [] for kind in kinds}
    rng = np.random.default_rng(0)
    for picture in pictures:
        box = _face_of(bench, picture)
        if box is None:
            continue
        for kind, (size, out_x, out_y) in kinds.items():
            image, truth = _scene(picture, box, size, out_x, out_y, rng)
            found = bench.detector.detect(image)
            hits[kind].append(any(geometry.iou(_clipped(d.box_px), _clipped(truth))[0, 0] > 0.3 for d in found))
    return {"faces": len(next(iter(hits.values()))), "found": {kind: round(float(np.mean(h)), 3) for kind, h in hits.items()}}


def _face_of(bench: Bench, picture: Any) -> Any:
    framed = cv2.copyMakeBorder(picture, *[max(picture.shape[:2]) // 3] * 4, cv2.BORDER_REPLICATE)
    best = next(iter(bench.detector.detect(np.asarray(framed, np.uint8))), None)
    return None if best is None or best.score < bench.config.detect.score else best.box_px - max(picture.shape[:2]) // 3


def _scene(picture: Any, box: Any, size: float, out_x: float, out_y: float, rng: np.random.Generator) -> tuple[Any, Any]:
    """A face of `size` frame heights, with a share of it outside, on a blurred background."""
    scale = size * HEIGHT_PX / float(box[3] - box[1])
    half = (box[2:] - box[:2]) * scale / 2
    centre = np.array([WIDTH_PX, HEIGHT_PX]) * (0.5 + rng.uniform(-0.06, 0.06, 2))
    for axis, (out, extent) in enumerate(((out_x, WIDTH_PX), (out_y, HEIGHT_PX))):
        if out:
            centre[axis] = (extent + (2 * out - 1) * half[axis]) if out > 0 else (1 + 2 * out) * half[axis]
    matrix = np.array([[scale, 0, 0], [0, scale, 0.0]])
    matrix[:, 2] = centre - scale * (box[:2] + box[2:]) / 2
    back = np.full((HEIGHT_PX, WIDTH_PX, 3), rng.uniform(60, 180, 3), np.float32) + np.linspace(-40, 40, WIDTH_PX)[None, :, None]
    face = cv2.warpAffine(picture, matrix, (WIDTH_PX, HEIGHT_PX), borderMode=cv2.BORDER_CONSTANT)
    shown = cv2.warpAffine(np.full(picture.shape[:2], 255, np.uint8), matrix, (WIDTH_PX, HEIGHT_PX))
    weight = cv2.GaussianBlur(shown, (0, 0), 3)[..., None] / 255.0
    image = face * weight + back * (1 - weight) + rng.normal(0, 4.0, back.shape)
    return np.clip(image, 0, 255).astype(np.uint8), np.concatenate([centre - half, centre + half])


def _clipped(box: Any) -> Any:
    return np.clip(box, 0, [WIDTH_PX, HEIGHT_PX, WIDTH_PX, HEIGHT_PX])


def demo_clip(bench: Bench, config: Config) -> dict[str, Any]:
    """The shipped clip, once: faces found on visible frames, and the points, gaze and lids against the labels."""
    truth = demo.labels()
    shown, found, gaze, lids, misses = 0, 0, [], [], []
    error = []
    bench.tracker.reset()
    with capture.load("demo").open("demo", replace(config.capture, realtime=False, loop=False)) as source:
        for _ in range(len(truth.visible)):
            frame = source.read()
            i = frame.position
            frame = Frame(frame.image, i * PERIOD_NS, i, i)
            faces = bench.step(frame, i % SEARCH_EVERY == 0 or not bench.tracker._tracks)
            if truth.visible[i] < 0.5:
                continue
            shown += 1
            face = next((f for f in faces if geometry.iou(f.box_px, truth.box_px[i])[0, 0] > 0.4), None)
            if face is None:
                misses.append(i)
                continue
            found += 1
            size = float(np.linalg.norm(truth.five_px[i][0] - truth.five_px[i][1]))
            error.append((face.five_px - truth.five_px[i]) / max(size, 1.0))
            if face.gaze_deg is not None and face.eye_open is not None:
                gaze.append((face.gaze_deg.mean(axis=0), truth.gaze_deg[i]))
                lids.append((float(face.eye_open.mean()), float(truth.blink[i].mean())))
    seen, real = np.array([g[0] for g in gaze]), np.array([g[1] for g in gaze])
    off = np.array(error)
    return {
        "visible_frames": shown,
        "found": found,
        "found_share": round(found / max(shown, 1), 4),
        "missed": misses[:40],
        "five_points_bias_per_eye_distance": off.mean(axis=0).round(3).tolist(),
        "five_points_sd_per_eye_distance": off.std(axis=0).round(3).tolist(),
        "gaze_correlation_yaw_pitch": [round(float(np.corrcoef(seen[:, k], real[:, k])[0, 1]), 3) for k in (0, 1)],
        "gaze_slope_yaw_pitch": [round(float(np.polyfit(real[:, k], seen[:, k], 1)[0]), 3) for k in (0, 1)],
        "lid_correlation": round(float(np.corrcoef(np.array(lids).T)[0, 1]), 3),
    }


def percentiles(values: list[float]) -> dict[str, float]:
    return {f"p{p}": round(float(np.percentile(values, p)), 3) for p in (5, 50, 95)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, help="folder with face pictures for the recall, besides the portrait")
    parser.add_argument("--count", type=int, default=40, help="how many of them")
    parser.add_argument("--no-demo", action="store_true", help="leave the demo clip out")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    config = Config()
    bench = Bench(config)
    result: dict[str, Any] = {
        "command": "python benchmarks/tracking.py" + (f" --faces FOLDER --count {arguments.count}" if arguments.faces else ""),
        "machine": machine.describe(),
        "still": still(bench),
        "lag_frames": lag(bench),
        "expression": expression(bench),
    }
    if not arguments.no_demo:
        result["demo"] = demo_clip(bench, config)
    result["cpu_ms"] = {"search": percentiles(bench.search_ms), "track_one_face": percentiles(bench.track_ms)}
    result["recall"] = recall(bench, arguments.faces, arguments.count)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
