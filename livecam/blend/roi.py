"""The crop back into the frame, inside its own region only."""

from __future__ import annotations

from livecam.image import Roi, paste
from livecam.types import U8, Alignment


def blend(image: U8, alignment: Alignment, crop: U8, alpha: U8) -> Roi:
    """Blend `crop` over `image` ((H, W, 3) uint8 BGR, C-contiguous) in place; (x0, y0, x1, y1), ends exclusive, is all that can have changed.

    alpha: (S, S) uint8 of `mask.alpha`. A face wholly outside the frame gives (0, 0, 0, 0). Raises StageError for shapes that do not fit.
    """
    return paste(image, alignment, crop, alpha)
