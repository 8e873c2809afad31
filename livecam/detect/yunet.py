"""Detector `yunet`: boxes and five points by YuNet (Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023; weights MIT, OpenCV zoo).

Convention:
    The network takes (1, 3, H, W) float32 BGR 0..255, H and W multiples of 32. At stride s in 8, 16, 32 a cell (column, row) says
    score = sqrt(cls * obj), centre = ((column, row) + bbox[:2]) * s, size = exp(bbox[2:]) * s, points = ((column, row) + kps) * s:
    edge coordinates of the picture (see livecam/detect/_boxes.py).  Points come image-left eye first.
"""

from __future__ import annotations

import cv2
import numpy as np

from livecam import runtimes
from livecam.config import DetectConfig
from livecam.detect import _boxes
from livecam.errors import ModelShapeError, StageError
from livecam.runtimes import Runtime
from livecam.store import Store
from livecam.types import F32, U8, Detection

STRIDES = (8, 16, 32)
HEADS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
"""Outputs `<head>_<stride>` and the numbers each gives per cell."""
NMS_IOU = 0.3
"""As in OpenCV's FaceDetectorYN."""
MAX_FACES = 64
"""Candidates kept before suppression, times four: a crowd beyond that is covered anyway."""
LARGEST_LOG = 5.0
"""Cap on the log-size that the network may claim: exp(5) cells are far beyond any picture, and float32 stays finite."""
USUAL_FRAME_PX = (720, 1280)
"""Height and width of the frames that a network is compiled for when the detector opens; other shapes compile when they first come."""


class YuNet:
    """Whole-frame search. Called from one thread."""

    def __init__(self, config: DetectConfig, store: Store, threads: int) -> None:
        self.licence = f"YuNet: {store.card('yunet').licence}"
        self._config = config
        self._threads = threads
        self._model = store.path("yunet")
        self._cache = store.compiled_dir
        self._elsewhere = store.elsewhere
        self._networks: dict[tuple[int, int], tuple[Runtime, F32]] = {}
        usual = _boxes.Fit.of(*USUAL_FRAME_PX, config.search_px)
        self._network(usual)

    def detect(self, image: U8) -> tuple[Detection, ...]:
        """Faces with a score of at least `config.guard_score`, best first; boxes of faces that the edge cuts reach outside."""
        if image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < 1:
            raise StageError(f"detect expects a picture (H, W, 3) uint8, found {image.shape} {image.dtype}")
        height, width = image.shape[:2]
        fit = _boxes.Fit.of(height, width, self._config.search_px)
        network, planes = self._network(fit)
        look_whole = getattr(network, "look_whole", None)
        if look_whole is not None:  # on a card, where the frame is already
            heads = look_whole(image, fit)
        else:
            for plane, channel in zip(planes[0], cv2.split(fit.picture(image)), strict=True):
                plane[:] = channel
            heads = network.run({"input": planes})
        boxes, points, scores = decode(heads, fit.width_px, self._config.guard_score)
        boxes, points = fit.to_frame(boxes), fit.to_frame(points)
        seen = _boxes.visible_share(boxes, height, width) >= _boxes.MIN_VISIBLE
        boxes, points, scores = boxes[seen], points[seen], scores[seen]
        kept = _boxes.suppress(boxes, scores, NMS_IOU).tolist()
        return tuple(Detection(boxes[i], float(scores[i]), points[i].reshape(5, 2)) for i in kept)

    def _network(self, fit: _boxes.Fit) -> tuple[Runtime, F32]:
        """The network for pictures of this size, and its input (1, 3, H, W), to be filled anew for each picture."""
        size = (fit.height_px, fit.width_px)
        if size not in self._networks:
            options = {"shapes": {"input": (1, 3, *size)}}
            network = runtimes.place(self._elsewhere, self._model, self._threads, self._cache, options)
            _check(network)
            self._networks[size] = network, np.zeros((1, 3, *size), np.float32)
        return self._networks[size]


def open(config: DetectConfig, store: Store, threads: int = 1) -> YuNet:
    """YuNet on the CPU. Raises ModelFileError, ModelShapeError."""
    return YuNet(config, store, threads)


def decode(heads: dict[str, F32], width_px: int, least_score: float) -> tuple[F32, F32, F32]:
    """Candidates of at least `least_score`, the best 256 at most: boxes (N, 4), points (N, 10), scores (N,), edge coordinates of the picture.

    heads: the network's outputs, (1, cells, k); width_px: the picture's width. A score that is not finite counts as 0.
    """
    boxes: list[F32] = []
    points: list[F32] = []
    scores: list[F32] = []
    for stride in STRIDES:
        cls, obj = heads[f"cls_{stride}"].reshape(-1), heads[f"obj_{stride}"].reshape(-1)
        product = np.clip(cls, 0.0, 1.0) * np.clip(obj, 0.0, 1.0)
        cells = np.nonzero(product >= least_score * least_score)[0]
        if cells.size == 0:
            continue
        cell = np.stack([cells % (width_px // stride), cells // (width_px // stride)], axis=1).astype(np.float32)
        box = heads[f"bbox_{stride}"][0][cells]
        centre = (cell + box[:, :2]) * stride
        half = np.exp(np.minimum(box[:, 2:], LARGEST_LOG)) * (stride / 2)
        boxes.append(np.concatenate([centre - half, centre + half], axis=1))
        points.append((heads[f"kps_{stride}"][0][cells] + np.tile(cell, 5)) * stride)
        scores.append(np.sqrt(product[cells]))
    if not scores:
        return np.zeros((0, 4), np.float32), np.zeros((0, 10), np.float32), np.zeros(0, np.float32)
    box_all, point_all, score_all = np.concatenate(boxes), np.concatenate(points), np.concatenate(scores)
    best = np.argsort(-score_all, kind="stable")[: 4 * MAX_FACES]
    best = best[np.isfinite(box_all[best]).all(axis=1) & np.isfinite(point_all[best]).all(axis=1)]
    return box_all[best].astype(np.float32), point_all[best].astype(np.float32), score_all[best].astype(np.float32)


def _check(network: Runtime) -> None:
    found = {spec.name: spec.shape for spec in network.outputs}
    for stride in STRIDES:
        for head, numbers in HEADS.items():
            shape = found.get(f"{head}_{stride}")
            if shape is None or len(shape) != 3 or shape[2] != numbers:
                raise ModelShapeError(f"yunet: expected an output {head}_{stride} of shape (1, cells, {numbers}), found {shape}; fetch it anew")
