"""From linear light to a picture: composite, tone curve, lens blur, sensor noise."""

from __future__ import annotations

import cv2
import numpy as np

from engines.synth.assets import Bytes, Floats
from engines.synth.skin import to_srgb


def tone(linear: Floats, exposure: float = 1.0) -> Floats:
    """A soft shoulder above 0.7 so that highlights do not clip, then sRGB 0..255 float32."""
    x = np.maximum(linear, 0) * np.float32(exposure)
    knee = np.float32(0.70)
    over = np.maximum(x - knee, 0)
    room = np.float32(1.0) - knee
    return to_srgb(np.where(x > knee, knee + room * (1 - np.exp(-over / room)), x))


def over(person: Floats, origin: tuple[int, int], background: Floats) -> Floats:
    """Lay a premultiplied person (h, w, 4) over a linear background (H, W, 3); a new array."""
    out = background.copy()
    height, width = person.shape[:2]
    if height and width:
        x, y = origin
        part = out[y:y + height, x:x + width]
        part *= 1 - person[..., 3:4]
        part += person[..., :3]
    return out


def develop(linear: Floats, exposure: float = 1.0, blur_px: float = 0.45, noise: float = 1.0,
            sharpen: float = 0.25, seed: int = 0) -> Bytes:
    """Linear (H, W, 3) RGB to a webcam's BGR uint8: blur, tone, sharpening, noise (grey levels)."""
    soft = cv2.GaussianBlur(linear, (0, 0), blur_px) if blur_px > 0 else linear
    image = tone(soft, exposure)
    if sharpen > 0:
        image = image + sharpen * (image - cv2.GaussianBlur(image, (0, 0), 1.2))
    if noise > 0:
        rng = np.random.default_rng(seed)
        grain = rng.standard_normal(image.shape[:2], np.float32)[..., None]
        colour = rng.standard_normal(image.shape, np.float32)
        image = image + noise * (0.8 * grain + 0.4 * colour)
    return np.ascontiguousarray(np.clip(image + 0.5, 0, 255).astype(np.uint8)[..., ::-1])
