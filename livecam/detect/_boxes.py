"""What whole-frame detectors share: scaling a frame into a network's picture with a reflected margin, and suppression of duplicates.

Convention:
    The network's picture holds the frame, made smaller by `scale`, at (left, top), surrounded by its own reflection.
    Edge coordinates of the picture (0: outer edge of the first pixel) become pixel-centre ones of the frame by
        frame = (picture - (left, top)) / scale - 0.5.
Reflection completes a face that the frame's edge cuts, so that it is found (measured by
benchmarks/tracking.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from livecam.geometry import iou
from livecam.types import F32, F64, U8

STRIDE_PX = 32
"""Coarsest stride of the detectors: sides of their pictures are multiples of it."""
MARGIN = 0.05
"""Least reflected margin on each side, as share of the picture's longer side."""
MIN_VISIBLE = 0.25
"""Less of a box than this inside the frame is the reflection of a face near the edge, not a face."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How a frame of (height_px, width_px) lies in a picture: the picture's size, the frame's size in it, its place."""

    width_px: int
    height_px: int
    inner_width_px: int
    inner_height_px: int
    left_px: int
    top_px: int
    scale_x: float
    scale_y: float

    @staticmethod
    def of(frame_height_px: int, frame_width_px: int, search_px: int) -> Fit:
        """The fit for a picture whose longer side is `search_px`, rounded up to the stride."""
        longer = max(-(-search_px // STRIDE_PX) * STRIDE_PX, STRIDE_PX)
        margin = round(MARGIN * longer)
        scale = (longer - 2 * margin) / max(frame_height_px, frame_width_px)
        inner_w, inner_h = max(round(frame_width_px * scale), 1), max(round(frame_height_px * scale), 1)
        width = -(-(inner_w + 2 * margin - STRIDE_PX // 2) // STRIDE_PX) * STRIDE_PX if inner_w < inner_h else longer
        height = -(-(inner_h + 2 * margin - STRIDE_PX // 2) // STRIDE_PX) * STRIDE_PX if inner_h < inner_w else longer
        width, height = max(width, STRIDE_PX), max(height, STRIDE_PX)
        left, top = (width - inner_w) // 2, (height - inner_h) // 2
        return Fit(width, height, inner_w, inner_h, left, top, inner_w / frame_width_px, inner_h / frame_height_px)

    def picture(self, image: U8) -> U8:
        """(height_px, width_px, 3) uint8: `image` made smaller without aliasing, in its own reflection."""
        small = image
        while small.shape[1] >= 2 * self.inner_width_px and small.shape[0] >= 2 * self.inner_height_px and min(small.shape[:2]) >= 4:
            small = cv2.resize(small, (small.shape[1] // 2, small.shape[0] // 2), interpolation=cv2.INTER_AREA)
        small = cv2.resize(small, (self.inner_width_px, self.inner_height_px), interpolation=cv2.INTER_LINEAR)
        right, bottom = self.width_px - self.inner_width_px - self.left_px, self.height_px - self.inner_height_px - self.top_px
        return np.asarray(cv2.copyMakeBorder(small, self.top_px, bottom, self.left_px, right, cv2.BORDER_REFLECT), dtype=np.uint8)

    def to_frame(self, points: F32) -> F32:
        """(..., 2k) float32 alternating x, y: picture, edge coordinates -> frame, pixel-centre coordinates."""
        pairs = points.reshape(-1, 2)
        out = (pairs - np.array([self.left_px, self.top_px], np.float32)) / np.array([self.scale_x, self.scale_y], np.float32) - np.float32(0.5)
        return out.reshape(points.shape)


def suppress(boxes: F32, scores: F32, most_iou: float) -> NDArray[np.intp]:
    """Indices, best score first, of boxes (N, 4) that no better one overlaps by more than `most_iou` (greedy non-maximum suppression)."""
    order = np.argsort(-scores, kind="stable")
    overlap: F64 = iou(boxes, boxes)
    kept: list[int] = []
    for i in order.tolist():
        if all(overlap[i, j] <= most_iou for j in kept):
            kept.append(i)
    return np.array(kept, dtype=np.intp)


def visible_share(boxes: F32, frame_height_px: int, frame_width_px: int) -> F32:
    """(N,) share of each box's area that lies inside the frame."""
    low = np.maximum(boxes[:, :2], np.float32(-0.5))
    high = np.minimum(boxes[:, 2:], np.array([frame_width_px - 0.5, frame_height_px - 0.5], np.float32))
    inside = np.prod(np.maximum(high - low, 0.0), axis=1)
    return inside / np.maximum(np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0), axis=1), 1e-9)
