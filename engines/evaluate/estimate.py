"""What the live tracker reads from a picture: landmarks, head pose, lids, gaze. The same reading of output and truth makes them comparable.

Convention:
    Yaw is positive to image-right, pitch positive downwards, degrees, as in livecam.types.Face; a rotation takes the mean persona's frontal mesh to
    the picture (x right, y down, z away from the camera).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from livecam import persona
from livecam.store import Store
from livecam.swap._mesh_shape import fit_pose
from livecam.track import _eyes, _region
from livecam.track import _topology as topology
from livecam.track._gaze import GazeNetwork, picture_of
from livecam.track._landmarks import MESH_MARGIN, MediaPipeLandmarker
from livecam.types import F32, F64, MESH_POINTS, U8

NAME = "livecam's tracker (MediaPipe face_landmark; gaze: our network gaze); pose: Umeyama of rigid points to the mean persona"
PASSES = 2
"""Looks at one picture: the second one through the region that the first one found."""
MOUTH = np.array(
    [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
     78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191]
)  # fmt: skip
"""Outer and inner edge of the lips."""
EYES = np.concatenate([topology.RIGHT_EYE_REGION[: topology.EYE_CONTOUR], topology.LEFT_EYE_REGION[: topology.EYE_CONTOUR]])
"""Edges of the lids."""
EXPRESSION = np.concatenate([MOUTH, EYES])


@dataclass(frozen=True, slots=True)
class Reading:
    """mesh: (478, 3) float64 pixels; score: 0..1; rotation: (3, 3); gaze_deg: (2, 2) yaw, pitch of the image-left and image-right eye, relative to
    the head; irises_deg: (2, 2) the same by MediaPipe's irises; eye_open: (2,)."""

    mesh: F64
    score: float
    rotation: F64
    gaze_deg: F32
    irises_deg: F32
    eye_open: F32


class Estimator:
    """Reads pictures, each by itself: nothing is kept from one to the next."""

    def __init__(self, store: Store, threads: int = 1) -> None:
        self._landmarker = MediaPipeLandmarker(store, threads)
        self._gaze = GazeNetwork(store, threads)

    def read(self, picture: U8, near: F32 | F64) -> Reading:
        """picture: (H, W, 3) uint8 BGR. near: (>= 468, 2 or 3) landmarks that say where the face is, give or take."""
        points = np.asarray(near, np.float64)[:MESH_POINTS, :2]
        axis = points[topology.LEFT_EYE_CORNERS[1]] - points[topology.RIGHT_EYE_CORNERS[0]]
        region = _region.around(points, axis, MESH_MARGIN)
        found = self._landmarker.find(picture, region, -1)
        for _ in range(PASSES - 1):
            if found.ok():
                found = self._landmarker.find(picture, found.region, -1)
        mesh = found.points_px
        pose = fit_pose(mean_face(), mesh[:MESH_POINTS].astype(np.float32))
        head = _eyes.head_deg(mesh)
        gaze = np.array([self._gaze.read(picture_of(picture, mesh, left), head, left) for left in (False, True)], np.float32)
        return Reading(mesh, found.score, pose.rotation, gaze, _eyes.gaze_deg(mesh, _eyes.MEDIAPIPE), _eyes.eye_open(mesh))


@lru_cache(maxsize=1)
def mean_face() -> F32:
    """(468, 3) float32: mean of the shipped personas' neutral meshes, each centred and scaled to an eye distance of 1."""
    meshes: list[F64] = []
    for name in persona.names():
        mesh = np.asarray(persona.load(name).meshes["neutral"], np.float64)[:MESH_POINTS]
        meshes.append((mesh - mesh.mean(axis=0)) / eye_distance(mesh))
    return np.mean(meshes, axis=0).astype(np.float32)


def eye_distance(mesh: F32 | F64) -> float:
    """Pixels between the middles of the eyes, in space (so that it does not shrink when the head turns). mesh: (>= 468, 3)."""
    right, left = (mesh[list(corners)].mean(axis=0) for corners in (topology.RIGHT_EYE_CORNERS, topology.LEFT_EYE_CORNERS))
    return float(np.linalg.norm(np.asarray(right, np.float64) - left))


def pose_error_deg(first: F64, second: F64) -> float:
    """Angle of the rotation between two rotations."""
    return math.degrees(math.acos(min(max((float(np.trace(first.T @ second)) - 1.0) / 2.0, -1.0), 1.0)))


def yaw_pitch_deg(rotation: F64) -> tuple[float, float]:
    """Where the face looks: yaw to image-right, pitch downwards."""
    x, y, z = (rotation @ np.array([0.0, 0.0, -1.0])).tolist()
    return math.degrees(math.atan2(x, -z)), math.degrees(math.atan2(y, math.hypot(x, z)))


def expression_error(output: Reading, truth: Reading) -> float:
    """Mean distance of mouth and eye landmarks, as share of truth's eye distance."""
    apart = np.linalg.norm(output.mesh[EXPRESSION, :2] - truth.mesh[EXPRESSION, :2], axis=1)
    return float(apart.mean()) / eye_distance(truth.mesh)


def gaze_error_deg(output: F32, truth: F32, counts: tuple[bool, bool] = (True, True)) -> float:
    """Mean angle between the lines of sight of the eyes that count; NaN when none does. output, truth: (2, 2) yaw, pitch."""
    angles = [_between(output[i], truth[i]) for i in (0, 1) if counts[i]]
    return float(np.mean(angles)) if angles else math.nan


def _between(first: F32, second: F32) -> float:
    a, b = (_sight(*np.radians(np.asarray(g, np.float64)).tolist()) for g in (first, second))
    return math.degrees(math.acos(min(max(float(a @ b), -1.0), 1.0)))


def _sight(yaw: float, pitch: float) -> F64:
    return np.array([math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)])
