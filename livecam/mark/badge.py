"""The visible badge "AI modified": a dark plate with light words in a corner of the picture. It tells people what the hidden mark tells machines,
and says where the picture's corner was when somebody cut, tilted or filmed it (see _align.py): its place and sizes are therefore fixed.

Convention: all lengths are shares of the picture's height; the plate's outer corner is MARGIN from both edges.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from livecam import _shipped
from livecam.config import MarkConfig
from livecam.types import U8

SIZES = {"small": 0.035, "medium": 0.045, "large": 0.065}
"""Height of the plate. Below `small` the words cannot be read at 720p; above `large` the badge takes a tenth of the width and more."""
MARGIN = 0.02
CORNERS = ("bottom-right", "bottom-left", "top-right", "top-left")
OPACITY = 0.82
LEAST_PX = 16
"""In small pictures the plate is no lower than this: words of fewer pixels are none."""
_MASTER = Path(__file__).with_name("badge.png")


@cache
def master() -> U8:
    """(H, W, 2) uint8: grey level and opacity, several times larger than ever drawn. Read once from badge.png (BGRA). Raises ModelFileError."""
    _shipped.check_file(_MASTER)
    picture = cv2.imread(str(_MASTER), cv2.IMREAD_UNCHANGED)
    assert picture is not None, f"{_MASTER} is missing: install livecam again"
    return np.ascontiguousarray(picture[..., (0, 3)], np.uint8)


def plate_px(height_px: int, size: str) -> tuple[int, int]:
    """(width, height) of the plate in a picture of this height."""
    high = max(round(SIZES[size] * height_px), LEAST_PX)
    tall, wide = master().shape[:2]
    return round(high * wide / tall), high


def place(width_px: int, height_px: int, corner: str, size: str) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the plate, ends exclusive."""
    wide, high = plate_px(height_px, size)
    margin = round(MARGIN * height_px)
    x = width_px - margin - wide if corner.endswith("right") else margin
    y = height_px - margin - high if corner.startswith("bottom") else margin
    return x, y, x + wide, y + high


class Badge:
    """Draws the badge into pictures of changing size. off: draws nothing."""

    def __init__(self, config: MarkConfig) -> None:
        self._config = config
        self._size_px = (0, 0)
        self._box = (0, 0, 0, 0)
        self._keep = self._add = np.zeros((0, 0, 3), np.uint16)

    def draw(self, image: U8) -> None:
        """Lays the plate over `image` ((H, W, 3) uint8) in place. A picture too small for the words stays without."""
        if self._config.badge == "off":
            return
        size_px = (image.shape[1], image.shape[0])
        if size_px != self._size_px:
            self._fit(size_px)
        x0, y0, x1, y1 = self._box
        if x1 > x0:
            part = image[y0:y1, x0:x1]
            part[:] = (part * self._keep + self._add) >> 8

    def _fit(self, size_px: tuple[int, int]) -> None:
        self._size_px = size_px
        x0, y0, x1, y1 = place(*size_px, self._config.badge, self._config.badge_size)
        self._box = (x0, y0, x1, y1) if x0 >= 0 and y0 >= 0 and x1 <= size_px[0] and y1 <= size_px[1] else (0, 0, 0, 0)
        small = cast(U8, cv2.resize(master(), (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)).astype(np.float64)
        opacity = small[..., 1] / 255.0 * OPACITY
        opacity = np.maximum(opacity, small[..., 0] / 255.0 * (small[..., 1] / 255.0))  # the words are solid
        keep = np.rint((1.0 - opacity) * 256.0)
        add = np.rint(small[..., 0] * (256.0 - keep)) + 128.0
        self._keep, self._add = (np.repeat(a[..., None], 3, axis=2).astype(np.uint16) for a in (keep, np.minimum(add, 65535.0 - 255.0 * keep)))
