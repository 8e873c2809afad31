"""Pictures of eyes with the gaze they show: from pairs shards, whose gaze is exact, and from photos of people who do not exist.

Of a shard both the wearer's and the answer's eyes are taken: other people, the same gaze. A photo has no label; what is learnt from it is what
MediaPipe's irises say, mean of both eyes, so that the look of photographed eyes is known: see train.gaze.

Convention: as `engines.nets.gaze`; the left eye is mirrored, and so are its angles.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.train.errors import DataError
from livecam import detect
from livecam.config import DetectConfig, RunConfig
from livecam.detect import Detector
from livecam.store import Store
from livecam.track import _eyes, _gaze, _region
from livecam.track._gaze import IRIS_SIDE_PX
from livecam.track._landmarks import MESH_MARGIN, FaceMesh, MediaPipeLandmarker
from livecam.types import F64, MESH_POINTS, MESH_POINTS_WITH_IRIS

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
LEAST_OPEN = 0.25
"""Lids more shut than this show no gaze."""
MOST_COVERED = 0.15
"""Share of the eye's middle that something may stand before."""
PHOTO_PX = 512
"""Longer side of a photo."""
PASSES, LEAST_SCORE = 2, 0.5
"""Looks at a photo, and what the mesh network must give it."""


@dataclass(frozen=True, slots=True)
class Eyes:
    """eye (N, 64, 64, 3) uint8 RGB; head, gaze (N, 2) float32 yaw, pitch in degrees."""

    eye: U8
    head: F32
    gaze: F32

    def __len__(self) -> int:
        return len(self.eye)


def joined(parts: Sequence[Eyes]) -> Eyes:
    """The eyes of all parts, in order."""
    return Eyes(*(np.concatenate([getattr(part, f) for part in parts]) for f in ("eye", "head", "gaze")))


Row = tuple[U8, tuple[float, float], tuple[float, float]]


def _eyes_of(rows: list[Row]) -> Eyes:
    if not rows:
        nothing = np.zeros((0, 2), np.float32)
        return Eyes(np.zeros((0, IRIS_SIDE_PX, IRIS_SIDE_PX, 3), np.uint8), nothing, nothing)
    eyes, heads, gazes = zip(*rows, strict=True)
    return Eyes(np.stack(eyes), np.array(heads, np.float32), np.array(gazes, np.float32))


def read_shard(path: Path, mesh: FaceMesh) -> Eyes:
    """The open, free eyes of a shard. Raises DataError: not a shard."""
    rows: list[Row] = []
    try:
        with np.load(path, allow_pickle=False) as file:
            data = {key: file[key] for key in ("wearer", "truth", "landmarks", "occluder", "gaze")}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no shard of pairs, or it is truncated: {error}; render it again") from error
    for i, gaze in enumerate(data["gaze"].astype(float)):
        wearer = data["landmarks"][i].astype(np.float64)
        rows += _both(data["wearer"][i], wearer, gaze, data["occluder"][i])
        truth = _other(data["truth"][i], wearer, mesh)
        rows += _both(data["truth"][i], truth, gaze, data["occluder"][i])
    return _eyes_of(rows)


def _other(picture: U8, near: F64, mesh: FaceMesh) -> F64:
    """(478, 3) landmarks of another face in the same place; irises as they were."""
    out = np.zeros((MESH_POINTS_WITH_IRIS, 3))
    axis = near[263, :2] - near[33, :2]
    mesh.run(picture, _region.around(near[:MESH_POINTS, :2], axis, MESH_MARGIN), out[:MESH_POINTS])
    out[MESH_POINTS:] = near[MESH_POINTS:]
    return out


def _both(picture: U8, mesh: F64, gaze: F64, occluder: U8 | None) -> list[Row]:
    opened = _eyes.eye_open(mesh)
    head = _eyes.head_deg(mesh)
    out: list[Row] = []
    for left in (False, True):
        if opened[int(left)] <= LEAST_OPEN or (occluder is not None and _covered(occluder, mesh, left)):
            continue
        crop = _gaze.picture_of(picture, mesh, left)[0]
        sign = -1.0 if left else 1.0
        out.append((np.rint(crop * 255).astype(np.uint8), (sign * head[0], head[1]), (sign * float(gaze[0]), float(gaze[1]))))
    return out


def _covered(occluder: U8, mesh: F64, left: bool) -> bool:
    first, second = mesh[362 if left else 33, :2], mesh[263 if left else 133, :2]
    x, y = ((first + second) / 2).tolist()
    half = max(round(float(np.linalg.norm(second - first)) * 0.6), 2)
    part = occluder[max(round(y) - half, 0) : round(y) + half, max(round(x) - half, 0) : round(x) + half]
    return part.size == 0 or float(part.mean()) > 255 * MOST_COVERED


def read_photos(paths: Sequence[Path]) -> Eyes:
    """The eyes of photos, with what MediaPipe's irises say. Raises DataError: no face in any."""
    store = Store(RunConfig().cache_dir)
    detector, landmarker = detect.load("yunet", DetectConfig(), store, 1), MediaPipeLandmarker(store, 1)
    rows: list[Row] = []
    for path in paths:
        picture = cv2.imread(str(path))
        if picture is None:
            continue
        scale = PHOTO_PX / max(picture.shape[:2])
        picture = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        mesh = _found(picture, detector, landmarker)
        if mesh is not None:
            rows += _both(picture, mesh, _eyes.gaze_deg(mesh, _eyes.MEDIAPIPE).mean(axis=0).astype(np.float64), None)
    if not rows:
        raise DataError(f"expected pictures of faces, found none among {len(paths)}; name another --photos")
    return _eyes_of(rows)


def _found(picture: U8, detector: Detector, landmarker: MediaPipeLandmarker) -> F64 | None:
    """(478, 3) landmarks of the largest face, irises as the iris network gives them."""
    faces = detector.detect(picture)
    if not faces:
        return None
    region = landmarker.seed(max(faces, key=lambda f: float(f.box_px[2] - f.box_px[0])))
    for _ in range(PASSES):
        found = landmarker.find(picture, region, -1)
        if not found.ok() or found.score < LEAST_SCORE:
            return None
        region = found.region
    return found.points_px
