"""Exact labels of a drawn person, from the posed base mesh and the camera.

Convention: as livecam's: centre of the top left pixel is (0, 0); five points in ArcFace's order,
the eye and the mouth corner on the left of the picture first. yaw_pitch_roll_deg: the head's,
yaw > 0 towards the picture's right, pitch > 0 upwards, roll > 0 clockwise in the picture.
gaze_deg: of the eyes relative to the head, yaw > 0 towards the picture's right, pitch > 0
downwards (as in livecam.types.Face).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.synth.assets import Floats
from engines.synth.expression import Pose
from engines.synth.identity import base_mesh
from engines.synth.scene import Camera

OVAL_VERTICES = (
    244, 7014, 7437, 11808, 11843, 11999, 12003, 12336, 12230, 12126, 12349, 11851, 11849, 7481,
    11835, 11834, 11779, 11780, 5171, 5167, 5166, 5224, 775, 749, 5240, 5242, 5752, 5527, 5634,
    5738, 5404, 5400, 266, 5197, 714, 243)
"""Base vertices of the 36 points of MediaPipe's face oval, clockwise from the top."""
RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS = (4854, 69), (11486, 11471)
MOUTH_CORNERS = (407, 7167)
NOSE_TIP = 294
BODY_VERTICES = 13380
"""Base vertices of the skin; helpers come after."""
FACE_FRONT_DM = 0.9
"""Vertices behind this depth (neck, inside of the mouth) are no part of the face's outline."""
VISIBLE_SHARE = 0.5
"""A face counts as visible when at least this share of its oval lies in the picture."""


@dataclass(frozen=True, slots=True)
class FaceLabels:
    """Truth about one face in one picture.

    box_px (4,) x0, y0, x1, y1 of the outline; five_px (5, 2); oval_px (36, 2) the face's visible
    outline, forehead to chin; inside: share 0..1 of
    the oval that lies in the picture.
    """

    box_px: Floats
    five_px: Floats
    oval_px: Floats
    inside: float

    @property
    def visible(self) -> bool:
        """At least half of the oval lies in the picture."""
        return self.inside >= VISIBLE_SHARE

    @property
    def present(self) -> bool:
        """Any part of the oval lies in the picture."""
        return self.inside > 0


def five_points(projected: NDArray[np.floating]) -> Floats:
    """ArcFace's five points (5, 2), image-left first, from projected base vertices (V, 2)."""
    eyes = [projected[list(c)].mean(0) for c in (RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS)]
    mouth = [projected[v] for v in MOUTH_CORNERS]
    eyes.sort(key=lambda p: float(p[0]))
    mouth.sort(key=lambda p: float(p[0]))
    return np.stack([*eyes, projected[NOSE_TIP], *mouth]).astype(np.float32)


def share_inside(polygon: NDArray[np.floating], size: tuple[int, int]) -> float:
    """Share 0..1 of a polygon's (K, 2) area that lies in a picture of size (width, height)."""
    hull = cv2.convexHull(np.asarray(polygon, np.float32))
    area = float(cv2.contourArea(hull))
    if area <= 0:
        return 0.0
    w, h = size
    frame = np.array([[-0.5, -0.5], [w - 0.5, -0.5], [w - 0.5, h - 0.5], [-0.5, h - 0.5]],
                     np.float32).reshape(-1, 1, 2)
    common, _ = cv2.intersectConvexConvex(hull, frame)
    return float(np.clip(common / area, 0, 1))


@lru_cache(maxsize=1)
def face_vertices() -> NDArray[np.int64]:
    """Base vertices of the face: those that lie within the oval of the base mesh, seen in front."""
    points = base_mesh().vertices
    oval = np.ascontiguousarray(points[list(OVAL_VERTICES), :2])
    hull = cv2.convexHull(oval)
    inside = [v for v in range(BODY_VERTICES)
              if points[v, 2] > FACE_FRONT_DM and cv2.pointPolygonTest(
                  hull, (float(points[v, 0]), float(points[v, 1])), False) >= 0]
    return np.array(sorted({*inside, *OVAL_VERTICES}), np.int64)


def outline(points: NDArray[np.floating], count: int = len(OVAL_VERTICES)) -> Floats:
    """The convex outline of points (P, 2) as `count` points at equal steps, clockwise in the
    picture from the highest one: at any pose it holds nose, mouth and eyes."""
    hull = cv2.convexHull(np.asarray(points, np.float32), clockwise=False).reshape(-1, 2)
    area = float(np.sum(hull[:, 0] * np.roll(hull[:, 1], -1) - np.roll(hull[:, 0], -1) * hull[:, 1]))
    if area < 0:
        hull = hull[::-1]
    hull = np.roll(hull, -int(np.argmin(hull[:, 1])), axis=0)
    closed = np.concatenate([hull, hull[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    at = np.linspace(0, along[-1], count, endpoint=False)
    return np.stack([np.interp(at, along, closed[:, k]) for k in range(2)], 1).astype(np.float32)


def label_face(base: Floats, camera: Camera) -> FaceLabels:
    """Labels of a posed base mesh (19158, 3) seen by a camera."""
    x, y, _ = camera.project(base)
    projected = np.stack([x, y], 1)
    oval = outline(projected[face_vertices()])
    box = np.concatenate([oval.min(0), oval.max(0)]).astype(np.float32)
    return FaceLabels(box, five_points(projected), oval, share_inside(oval, camera.size))


def pose_labels(pose: Pose) -> dict[str, NDArray[np.float32]]:
    """Labels that the pose itself holds: yaw_pitch_roll_deg (3,), gaze_deg (2,), blink (2,)
    image-left (the subject's right) first, jaw ()."""
    actions = pose.actions
    return {
        "yaw_pitch_roll_deg": np.array(pose.head_deg, np.float32),
        "gaze_deg": np.array([pose.gaze_deg[0], -pose.gaze_deg[1]], np.float32),
        "blink": np.array([actions.get("eyeBlinkRight", 0), actions.get("eyeBlinkLeft", 0)],
                          np.float32),
        "jaw": np.array(actions.get("jawOpen", 0), np.float32),
    }
