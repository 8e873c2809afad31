"""Pictures of another size than an output was opened with (the camera changed its format, or a device insists on its own)."""

from __future__ import annotations

import cv2
import numpy as np

from livecam.types import U8


class Fitter:
    """Brings pictures to width_px x height_px, keeping their shape, with black bars. Used by one thread."""

    def __init__(self, width_px: int, height_px: int) -> None:
        self._size = (width_px, height_px)
        self._canvas: U8 | None = None

    def fit(self, image: U8) -> U8:
        """`image` ((H, W, 3) uint8) itself when it has the size; cut by one row or column when that is all that is too much; else scaled
        into a buffer that is valid until the next call. C-contiguous in any case."""
        width, height = self._size
        height_in, width_in = image.shape[:2]
        if (width_in - width, height_in - height) in ((0, 0), (1, 0), (0, 1), (1, 1)):
            return np.ascontiguousarray(image[:height, :width])
        if self._canvas is None:
            self._canvas = np.zeros((height, width, 3), np.uint8)
        scale = min(width / width_in, height / height_in)
        inner_w, inner_h = (max(1, min(side, round(of * scale))) for side, of in ((width, width_in), (height, height_in)))
        left, top = (width - inner_w) // 2, (height - inner_h) // 2
        self._canvas[:] = 0
        cv2.resize(image, (inner_w, inner_h), dst=self._canvas[top : top + inner_h, left : left + inner_w], interpolation=cv2.INTER_AREA)
        return self._canvas
