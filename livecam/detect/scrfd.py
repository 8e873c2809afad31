"""Detector `scrfd`: boxes and five points by SCRFD (Guo et al., "Sample and Computation Redistribution for Efficient Face Detection", 2021).

The user's own file from an insightface pack, for non-commercial research only; it runs in ONNX Runtime and needs no insightface package.

Convention:
    The network takes (1, 3, H, W) float32 RGB, (value - 127.5) / 128, H and W multiples of 32. Its nine outputs are, for strides 8, 16, 32:
    scores (A, 1), then boxes (A, 4) for each, then points (A, 10) for each; A anchors, two a cell, cells row by row.
    With the anchor at (column, row) * stride, all in units of the stride and pixel-centre coordinates of the picture:
    box = anchor - (left, top), anchor + (right, bottom); points = anchor + offset.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from livecam import _insightface, runtimes
from livecam.config import DetectConfig
from livecam.detect import _boxes
from livecam.errors import ModelShapeError, StageError
from livecam.runtimes import _gate
from livecam.store import Store
from livecam.types import F32, U8, Detection

FILES = ("det_10g.onnx", "det_2.5g.onnx", "det_500m.onnx", "scrfd_10g_bnkps.onnx")
STRIDES = (8, 16, 32)
ANCHORS = 2
NMS_IOU = 0.4
"""As in insightface."""
MEAN, SCALE = 127.5, 1.0 / 128.0
PIXEL_CENTRE = 0.5
"""What to add to pixel-centre coordinates to make them edge coordinates."""


class Scrfd:
    """Whole-frame search. Called from one thread."""

    def __init__(self, config: DetectConfig, path: Path, threads: int) -> None:
        self.licence = f"SCRFD {path.name}: {_insightface.LICENCE}"
        self._config = config
        self._network = runtimes.load("onnx", _gate.admit(path).data, threads, None, {"name": str(path)})
        if len(self._network.inputs) != 1 or len(self._network.inputs[0].shape) != 4 or len(self._network.outputs) != 3 * len(STRIDES):
            raise ModelShapeError(
                f"scrfd: {path} should take one picture (1, 3, H, W) and give 9 outputs (scores, boxes and points at strides 8, 16, 32); "
                f"found {[i.shape for i in self._network.inputs]} and {len(self._network.outputs)} outputs"
            )
        self._input = self._network.inputs[0].name
        self._fixed = self._network.inputs[0].shape[2:]

    def detect(self, image: U8) -> tuple[Detection, ...]:
        """Faces with a score of at least `config.guard_score`, best first, in frame pixels."""
        if image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < 1:
            raise StageError(f"detect expects a picture (H, W, 3) uint8, found {image.shape} {image.dtype}")
        height, width = image.shape[:2]
        fit = _boxes.Fit.of(height, width, max(self._fixed) if max(self._fixed) > 0 else self._config.search_px)
        blob = cv2.dnn.blobFromImage(self._filled(fit.picture(image)), SCALE, mean=(MEAN, MEAN, MEAN), swapRB=True)
        results = self._network.run({self._input: blob})
        outputs = [results[spec.name].reshape(-1, k) for spec, k in zip(self._network.outputs, (1, 1, 1, 4, 4, 4, 10, 10, 10), strict=True)]
        boxes, points, scores = decode(outputs, blob.shape[2], blob.shape[3], self._config.guard_score)
        boxes, points = fit.to_frame(boxes), fit.to_frame(points)
        seen = _boxes.visible_share(boxes, height, width) >= _boxes.MIN_VISIBLE
        boxes, points, scores = boxes[seen], points[seen], scores[seen]
        kept = _boxes.suppress(boxes, scores, NMS_IOU).tolist()
        return tuple(Detection(boxes[i], float(scores[i]), points[i].reshape(5, 2)) for i in kept)

    def _filled(self, picture: U8) -> U8:
        """`picture`, extended below and to the right where the network's own size is fixed and larger."""
        down, right = (max(want - have, 0) for want, have in zip(self._fixed, picture.shape[:2], strict=True))
        return picture if down == right == 0 else np.asarray(cv2.copyMakeBorder(picture, 0, down, 0, right, cv2.BORDER_CONSTANT), np.uint8)


def open(config: DetectConfig, store: Store, threads: int = 1) -> Scrfd:
    """SCRFD from the user's insightface models. Raises MissingExtraError, ModelFileError, ModelShapeError."""
    del store
    return Scrfd(config, _insightface.find(FILES, "the detector scrfd"), threads)


def decode(outputs: list[NDArray[np.float32]], height_px: int, width_px: int, least_score: float) -> tuple[F32, F32, F32]:
    """Candidates of at least `least_score`: boxes (N, 4), points (N, 10), scores (N,), edge coordinates of the picture of height_px, width_px.

    outputs: nine arrays (A, 1) x 3, (A, 4) x 3, (A, 10) x 3. Raises ModelShapeError when A does not fit the picture.
    """
    parts: list[tuple[F32, F32, F32]] = []
    for level, stride in enumerate(STRIDES):
        score, box, point = outputs[level][:, 0], outputs[3 + level], outputs[6 + level]
        columns = width_px // stride
        if len(score) != columns * (height_px // stride) * ANCHORS or len(box) != len(score) or len(point) != len(score):
            raise ModelShapeError(
                f"scrfd: expected {columns * (height_px // stride) * ANCHORS} anchors at stride {stride} for {width_px}x{height_px} px, "
                f"found {len(score)}"
            )
        chosen = np.nonzero(score >= least_score)[0]
        cell = chosen // ANCHORS
        anchor = np.stack([cell % columns, cell // columns], axis=1).astype(np.float32)
        sides = box[chosen]
        boxes = np.concatenate([anchor - sides[:, :2], anchor + sides[:, 2:]], axis=1) * stride + PIXEL_CENTRE
        points = (point[chosen] + np.tile(anchor, 5)) * stride + PIXEL_CENTRE
        good = np.isfinite(boxes).all(axis=1) & np.isfinite(points).all(axis=1)
        parts.append((boxes[good], points[good], np.minimum(score[chosen][good], 1.0)))
    boxes, points, scores = (np.concatenate(column).astype(np.float32) for column in zip(*parts, strict=True))
    return boxes, points, scores
