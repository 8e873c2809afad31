"""JPEG for the page: simplejpeg (libjpeg-turbo, the fast transform) where it is installed, else OpenCV's own encoder."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from livecam.types import U8

try:
    import simplejpeg as _simplejpeg
except ImportError:
    _simplejpeg: Any = None

MAX_WIDTH_PX = 1280
"""Wider pictures are scaled down: the page is a preview, and seldom shown larger."""
QUALITY = 80
"""No visible blocks in a preview, about 60 to 120 kB at 720p."""


def encode(image: U8) -> bytes:
    """(H, W, 3) uint8 BGR -> JPEG, 4:2:0, at most MAX_WIDTH_PX wide."""
    height, width = image.shape[:2]
    if width > MAX_WIDTH_PX:
        image = np.asarray(cv2.resize(image, (MAX_WIDTH_PX, max(1, round(height * MAX_WIDTH_PX / width))), interpolation=cv2.INTER_AREA), np.uint8)
    if _simplejpeg is not None:
        return bytes(_simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=QUALITY, colorspace="BGR", colorsubsampling="420", fastdct=True))
    return cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))[1].tobytes()
