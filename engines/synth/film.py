"""From linear light to a picture: composite, tone curve, lens blur, sensor noise."""

# pyright: reportUntypedFunctionDecorator=false
from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
from numba import njit

from engines.synth.assets import Bytes, Floats
from engines.synth.skin import to_srgb

TABLE_STEPS = 4096
TABLE_TOP = 4.0
"""Linear light at the end of the tone table; what is brighter is white."""
GRAIN_SIZE = 1536


def tone(linear: Floats, exposure: float = 1.0) -> Floats:
    """A soft shoulder above 0.7 so that highlights do not clip, then sRGB 0..255 float32."""
    x = np.ascontiguousarray(linear, np.float32)
    return _looked_up(x.reshape(-1), exposure, _tone_table()).reshape(x.shape)


@njit(cache=True, fastmath=True, error_model="numpy")
def _looked_up(linear: Floats, exposure: float, table: Floats) -> Floats:
    f = np.float32
    out = np.empty(linear.shape[0], np.float32)
    gain, top, scale = f(exposure), f(TABLE_TOP), f((TABLE_STEPS - 1) / TABLE_TOP ** 0.5)
    for k in range(linear.shape[0]):
        out[k] = table[int(math.sqrt(min(max(linear[k] * gain, f(0)), top)) * scale + f(0.5))]
    return out


@lru_cache(maxsize=1)
def _tone_table() -> Floats:
    """sRGB of linear light, at steps of its square root."""
    x = (np.arange(TABLE_STEPS, dtype=np.float32) / (TABLE_STEPS - 1)) ** 2 * TABLE_TOP
    return exact_tone(x.astype(np.float32))


@lru_cache(maxsize=1)
def _grain() -> Floats:
    """Sensor noise (1536, 1536, 3) of unit strength: mostly the same in all colours."""
    rng = np.random.default_rng(77)
    common = rng.standard_normal((GRAIN_SIZE, GRAIN_SIZE), np.float32)[..., None]
    return 0.8 * common + 0.4 * rng.standard_normal((GRAIN_SIZE, GRAIN_SIZE, 3), np.float32)


def exact_tone(x: Floats) -> Floats:
    """What `tone` looks up."""
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
        _lay(person, out[y:y + height, x:x + width])
    return out


@njit(cache=True, error_model="numpy")
def _lay(person: Floats, part: Floats) -> None:
    for j in range(person.shape[0]):
        for i in range(person.shape[1]):
            rest = np.float32(1) - person[j, i, 3]
            for c in range(3):
                part[j, i, c] = part[j, i, c] * rest + person[j, i, c]


def develop(linear: Floats, exposure: float = 1.0, blur_px: float = 0.45, noise: float = 1.0,
            sharpen: float = 0.25, seed: int = 0) -> Bytes:
    """Linear (H, W, 3) RGB to a webcam's BGR uint8: blur, tone, sharpening, noise (grey levels;
    pictures up to 1536 px)."""
    return add_noise(expose(linear, exposure, blur_px, sharpen), noise, seed)


def expose(linear: Floats, exposure: float = 1.0, blur_px: float = 0.5, sharpen: float = 0.3
           ) -> Floats:
    """Linear (H, W, 3) RGB to BGR float32 0..255: lens blur, tone, a webcam's sharpening."""
    soft = cv2.GaussianBlur(linear, (0, 0), blur_px) if blur_px > 0 else linear
    image = tone(soft, exposure)
    if sharpen > 0:
        image = cv2.addWeighted(image, 1 + sharpen, cv2.GaussianBlur(image, (0, 0), 1.2),
                                -sharpen, 0)
    return cv2.cvtColor(image, cv2.COLOR_RGB2BGR)


def plain(linear: Floats, exposure: float) -> Bytes:
    """Linear (H, W, 3) RGB to BGR uint8 as a perfect camera gives it: `expose` without blur and sharpening."""
    return _toned_bytes(np.ascontiguousarray(linear, np.float32), exposure, _tone_table())


@njit(cache=True, fastmath=True, error_model="numpy")
def _toned_bytes(linear: Floats, exposure: float, table: Floats) -> Bytes:
    f = np.float32
    out = np.empty(linear.shape, np.uint8)
    gain, top, scale = f(exposure), f(TABLE_TOP), f((TABLE_STEPS - 1) / TABLE_TOP ** 0.5)
    for j in range(linear.shape[0]):
        for i in range(linear.shape[1]):
            for c in range(3):
                x = min(max(linear[j, i, c] * gain, f(0)), top)
                out[j, i, 2 - c] = np.uint8(np.rint(table[int(math.sqrt(x) * scale + f(0.5))]))
    return out


def add_noise(image: Floats, noise: float, seed: int) -> Bytes:
    """A float32 picture (H, W, 3) as uint8 with sensor noise in grey levels."""
    if noise > 0:
        rng = np.random.default_rng(seed)
        height, width = image.shape[:2]
        x, y = (int(rng.integers(0, max(GRAIN_SIZE - n, 1))) for n in (width, height))
        image = cv2.scaleAdd(np.ascontiguousarray(_grain()[y:y + height, x:x + width]), noise,
                             image)
    return cv2.convertScaleAbs(np.maximum(image, 0))
