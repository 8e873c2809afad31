"""A generator's mask made soft: checked, feathered inwards, and 0 on the crop's outermost pixels."""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import cv2
import numpy as np

from livecam.errors import StageError
from livecam.types import U8, Alignment, Face, Swapped

FEATHER_SHARE = 0.006
"""Half the width of the soft edge that every mask gets, as share of the crop's side. Small, because at the far side of a turned head an eye is near
the outline; a generator that wants a wider fade (mesh does) draws it into its mask, where it follows the face."""
BORDER_SHARE = 0.08
"""Over this share of the crop's side alpha falls to 0 at its borders, so that a mask that reaches them ends softly too."""
LEAST_SHARE = 0.01
"""A mask that covers less of the crop than this draws nothing worth showing; the wearer would be left bare."""


def alpha(swapped: Swapped, face: Face, alignment: Alignment) -> U8:
    """(S, S) uint8: 0 on the crop's border pixels, 255 well inside the generator's mask, smooth between, never above the mask.

    swapped: mask (S, S) uint8, 255 where the drawing may replace the frame. Raises StageError when the mask has another size or type, is
    (nearly) empty, or when the alignment or the face is not finite.
    """
    mask, size = swapped.mask, alignment.size_px
    if mask.shape != (size, size) or mask.dtype != np.uint8:
        raise StageError(f"expected a mask ({size}, {size}) uint8, got {mask.shape} {mask.dtype}; the generator's card does not fit its model")
    if not (np.isfinite(alignment.matrix).all() and np.isfinite(face.box_px).all()):
        raise StageError("expected a finite alignment and face box, got NaN or infinity; the face is to be found again")
    out = _feather(mask, max(1, round(FEATHER_SHARE * size)))
    out = cast(U8, cv2.min(out, _frame(size)))
    if cv2.countNonZero(out) < LEAST_SHARE * size * size:
        raise StageError(f"expected a mask over at least {LEAST_SHARE:.0%} of the crop, got {cv2.countNonZero(out)} of {size * size} pixels")
    return out


def _feather(mask: U8, radius: int) -> U8:
    """Erode by `radius`, blur by the same twice (a triangle filter): the soft edge ends where the mask ends."""
    side = 2 * ((radius + 1) // 2) + 1
    kernel = np.ones((2 * side - 1, 2 * side - 1), np.uint8)
    # Zeros outside: a mask that reaches the crop's border is eroded there like everywhere else.
    inner = cv2.erode(mask, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=(0,))
    soft = cv2.blur(cv2.blur(inner, (side, side)), (side, side))
    return cast(U8, cv2.min(soft, mask))


@lru_cache(maxsize=8)
def _frame(size: int) -> U8:
    """255 inside, falling to 0 at the outermost pixels along a smooth step; read only."""
    edge = np.minimum(np.arange(size), np.arange(size)[::-1]) / max(1.0, BORDER_SHARE * size)
    step = np.clip(edge, 0.0, 1.0)
    step = step * step * (3.0 - 2.0 * step)
    return np.rint(255.0 * np.minimum.outer(step, step)).astype(np.uint8)
