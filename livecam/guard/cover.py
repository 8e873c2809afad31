"""Pictures that are safe whatever happens: the whole frame pixelated, the slate, and the watermark of --reveal."""

from __future__ import annotations

import cv2
import numpy as np

from livecam.types import U8

BLOCKS = 16
"""Blocks across a covered frame (GuardConfig.cover_blocks)."""


def pixelate(image: U8, blocks: int = BLOCKS) -> None:
    """Pixelates the *whole* of `image` ((H, W, 3) uint8 BGR) in place to `blocks` blocks across, as many square ones down as fit."""
    height, width = image.shape[:2]
    across = max(1, min(blocks, width))
    down = max(1, min(round(blocks * height / width), height))
    small = cv2.resize(image, (across, down), interpolation=cv2.INTER_AREA)
    cv2.resize(small, (width, height), dst=image, interpolation=cv2.INTER_NEAREST)


def watermark(image: U8) -> None:
    """Writes UNMASKED across `image` in place, over and over."""
    height, width = image.shape[:2]
    scale = max(width / 640.0, 0.3)
    thick = max(1, round(2 * scale))
    (w, h), _ = cv2.getTextSize("UNMASKED", cv2.FONT_HERSHEY_DUPLEX, scale, thick)
    for row, y in enumerate(range(h + h // 2, height + h, 3 * h)):
        for x in range(-(row % 2) * (w // 2), width, w + w // 3):
            cv2.putText(image, "UNMASKED", (x, y), cv2.FONT_HERSHEY_DUPLEX, scale, (0, 0, 0), thick + 2, cv2.LINE_AA)
            cv2.putText(image, "UNMASKED", (x, y), cv2.FONT_HERSHEY_DUPLEX, scale, (60, 60, 255), thick, cv2.LINE_AA)


def slate(width_px: int, height_px: int, text: str) -> U8:
    """The standby picture: (height_px, width_px, 3) uint8 BGR, livecam's name and one line that says why. Holds no camera pixel."""
    image = np.zeros((height_px, width_px, 3), np.uint8)
    image[:] = (40, 30, 26)
    cv2.putText(image, "livecam", (width_px // 3, height_px // 2), cv2.FONT_HERSHEY_DUPLEX, width_px / 640, (240, 240, 240), 1, cv2.LINE_AA)
    cv2.putText(image, text, (width_px // 3, height_px * 2 // 3), cv2.FONT_HERSHEY_DUPLEX, width_px / 1280, (200, 200, 200), 1, cv2.LINE_AA)
    return image
