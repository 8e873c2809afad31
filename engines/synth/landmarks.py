"""Landmarks of a rendered portrait, found by the models that the live tracker uses.

MediaPipe face_landmark (192 px, 468 points and a score) and iris_landmark (64 px, 5 points an eye),
read from their .tflite files by OpenVINO.

Convention: picture coordinates, centre of the top left pixel is (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.synth.assets import AssetsError, Bytes, Floats

FACE_SIZE, IRIS_SIZE = 192, 64
FACE_MARGIN = 1.5
"""Side of the crop over the longer side of the face (MediaPipe's face_landmark_front graph)."""
IRIS_MARGIN = 2.3
"""Side of the eye's crop over the distance of its corners (MediaPipe's iris graph)."""
RIGHT_CORNERS, LEFT_CORNERS = (33, 133), (362, 263)
OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
        152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
"""The face oval in MediaPipe's mesh, clockwise from the top in the picture."""


@dataclass(frozen=True, slots=True)
class Found:
    """points (478, 3) float32: 468 of the mesh, 468..472 the subject's right iris, 473..477 the
    left (centre, then 4 of its edge); score 0..1 that this is a face."""

    points: Floats
    score: float


class Landmarker:
    """Both models, compiled for one CPU thread."""

    def __init__(self, models: Path) -> None:
        """models: folder with face_landmark.tflite and iris_landmark.tflite."""
        try:
            import openvino
        except ImportError as error:
            raise AssetsError("finding landmarks needs openvino; pip install openvino") from error
        core = openvino.Core()
        self._face = self._open(core, models / "face_landmark.tflite")
        self._iris = self._open(core, models / "iris_landmark.tflite")

    @staticmethod
    def _open(core, path: Path):
        if not path.is_file():
            raise AssetsError(f"expected {path}, found none; `livecam models fetch` gets it, "
                              "then pass its folder with --models")
        return core.compile_model(str(path), "CPU", {"INFERENCE_NUM_THREADS": 1})

    def find(self, image: Bytes, box: NDArray[np.floating], roll_deg: float = 0.0) -> Found:
        """Landmarks in a BGR picture near a face box (4,) x0, y0, x1, y1; two passes."""
        centre = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], np.float64)
        side = FACE_MARGIN * float(max(box[2] - box[0], box[3] - box[1]))
        angle = roll_deg
        points, score = np.zeros((468, 3), np.float32), 0.0
        for _ in range(2):
            points, score = self._face_pass(image, centre, side, angle)
            corner = points[263, :2] - points[33, :2]
            angle = float(np.rad2deg(np.arctan2(corner[1], corner[0])))
            low, high = points[:, :2].min(0), points[:, :2].max(0)
            centre = ((low + high) / 2).astype(np.float64)
            side = FACE_MARGIN * float((high - low).max())
        right = self._iris_pass(image, points[list(RIGHT_CORNERS)], mirrored=True)
        left = self._iris_pass(image, points[list(LEFT_CORNERS)], mirrored=False)
        return Found(np.concatenate([points, right, left]).astype(np.float32), score)

    def _face_pass(self, image: Bytes, centre: NDArray[np.float64], side: float, angle: float
                   ) -> tuple[Floats, float]:
        to_crop = crop_matrix(centre, side, angle, FACE_SIZE)
        crop = cv2.warpAffine(image, to_crop, (FACE_SIZE, FACE_SIZE), flags=cv2.INTER_LINEAR)
        tensor = crop[None, ..., ::-1].astype(np.float32) / 255
        out = sorted((np.asarray(v).ravel() for v in self._face(tensor).values()), key=len)
        score = 1 / (1 + float(np.exp(-out[0][0])))
        return _back(out[-1].reshape(468, 3), to_crop, side / FACE_SIZE), score

    def _iris_pass(self, image: Bytes, corners: Floats, mirrored: bool) -> Floats:
        a, b = corners[0, :2], corners[1, :2]
        angle = float(np.rad2deg(np.arctan2(b[1] - a[1], b[0] - a[0])))
        side = IRIS_MARGIN * float(np.hypot(*(b - a)))
        to_crop = crop_matrix(((a + b) / 2).astype(np.float64), side, angle, IRIS_SIZE)
        crop = cv2.warpAffine(image, to_crop, (IRIS_SIZE, IRIS_SIZE), flags=cv2.INTER_LINEAR)
        if mirrored:
            crop = crop[:, ::-1]
        tensor = crop[None, ..., ::-1].astype(np.float32) / 255
        out = sorted((np.asarray(v).ravel() for v in self._iris(tensor).values()), key=len)
        points = out[0].reshape(5, 3).copy()
        if mirrored:
            points[:, 0] = IRIS_SIZE - 1 - points[:, 0]
        return _back(points, to_crop, side / IRIS_SIZE)


def crop_matrix(centre: NDArray[np.floating], side: float, angle_deg: float, size: int
                ) -> NDArray[np.float64]:
    """Affine (2, 3) picture -> crop of `size` px: a turned square of `side` px around centre."""
    scale = size / side
    a = np.deg2rad(angle_deg)
    turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) * scale
    shift = np.array([(size - 1) / 2, (size - 1) / 2]) - turn @ np.asarray(centre, np.float64)
    return np.concatenate([turn, shift[:, None]], 1)


def _back(points: Floats, to_crop: NDArray[np.float64], scale: float) -> Floats:
    inverse = cv2.invertAffineTransform(to_crop)
    out = np.empty_like(points)
    out[:, :2] = points[:, :2] @ inverse[:, :2].T + inverse[:, 2]
    out[:, 2] = points[:, 2] * scale
    return out
