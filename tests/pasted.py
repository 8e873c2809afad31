"""What is pasted, and where: for the CPU's paste and the card's."""

from __future__ import annotations

import math

import cv2
import numpy as np

from livecam.types import Alignment


def oval(size: int) -> np.ndarray:
    """(size, size) uint8 alpha of a face, soft at its edge and 0 on the outermost pixels."""
    alpha = np.zeros((size, size), np.uint8)
    cv2.ellipse(alpha, (size // 2, size // 2), (int(size * 0.36), int(size * 0.45)), 0, 0, 360, 255, -1)
    alpha = cv2.blur(alpha, (max(3, size // 16), max(3, size // 16)))
    alpha[[0, -1]] = 0
    alpha[:, [0, -1]] = 0
    return alpha


def at(x: float, y: float, face_px: float, turn_deg: float, size: int) -> Alignment:
    """A face of this width in the frame, centred on (x, y)."""
    scale, turn = 0.74 * size / face_px, math.radians(turn_deg)
    linear = scale * np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    return Alignment(np.hstack([linear, (np.full(2, (size - 1) / 2) - linear @ (x, y))[:, None]]), size)
