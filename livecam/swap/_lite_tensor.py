"""Pictures into the network's tensor and back: one pass each, as compiled kernels; the plain forms beside them are what tests hold them to.

Convention: pictures are BGR uint8 (S, S, 3); tensors are RGB float32 0..1, planes first.
"""

from __future__ import annotations

import numba
import numpy as np

from livecam.types import F32, U8

_UNIT = np.float32(1.0 / 255.0)
_FULL, _HALF = np.float32(255.0), np.float32(0.5)


@numba.njit(cache=True, nogil=True)
def fill(wearer: U8, drawn: U8, mask: U8, lines: U8, x: F32) -> None:
    """x[0] (10, S, S): wearer RGB, drawing RGB, the drawing's mask, the three channels of the lines."""
    size = mask.shape[0]
    for c in range(3):
        for i in range(size):
            for j in range(size):
                x[0, c, i, j] = np.float32(wearer[i, j, 2 - c]) * _UNIT
                x[0, 3 + c, i, j] = np.float32(drawn[i, j, 2 - c]) * _UNIT
                x[0, 7 + c, i, j] = np.float32(lines[i, j, c]) * _UNIT
    for i in range(size):
        for j in range(size):
            x[0, 6, i, j] = np.float32(mask[i, j]) * _UNIT


def fill_plain(wearer: U8, drawn: U8, mask: U8, lines: U8, x: F32) -> None:
    """`fill` in NumPy."""
    planes = np.concatenate([wearer[..., ::-1], drawn[..., ::-1], mask[..., None], lines], axis=2)
    x[0] = planes.transpose(2, 0, 1) * _UNIT


@numba.njit(cache=True, nogil=True)
def finish(rgb: F32, mask: F32, crop: U8, alpha: U8) -> bool:
    """rgb (1, 3, S, S) and mask (1, 1, S, S) rounded into crop (S, S, 3) BGR and alpha (S, S). False when a value is not finite."""
    size = alpha.shape[0]
    finite = True
    for c in range(3):
        for i in range(size):
            for j in range(size):
                value = rgb[0, c, i, j] * _FULL
                finite &= -1e6 < value < 1e6  # false for NaN
                crop[i, j, 2 - c] = np.uint8(min(max(value, np.float32(0.0)), _FULL) + _HALF)
    for i in range(size):
        for j in range(size):
            value = mask[0, 0, i, j] * _FULL
            finite &= -1e6 < value < 1e6
            alpha[i, j] = np.uint8(min(max(value, np.float32(0.0)), _FULL) + _HALF)
    return finite


def finish_plain(rgb: F32, mask: F32, crop: U8, alpha: U8) -> bool:
    """`finish` in NumPy; what it writes of values that are not finite is unspecified."""
    whole = np.concatenate([rgb[0, ::-1], mask[0]]).transpose(1, 2, 0) * _FULL
    finite = bool((np.abs(whole) < 1e6).all())
    levels = (np.clip(np.nan_to_num(whole), 0.0, _FULL) + _HALF).astype(np.uint8)
    crop[:], alpha[:] = levels[..., :3], levels[..., 3]
    return finite


@numba.njit(cache=True, nogil=True)
def change(x: F32, rgb: F32, mask: F32, out: F32) -> bool:
    """What the network changed of the drawing in x (see `fill`): out (S, S, 4) float32, B, G, R and mask in grey levels. False: not finite."""
    size = out.shape[0]
    finite = True
    for i in range(size):
        for j in range(size):
            share = x[0, 6, i, j]
            for c in range(3):
                base = x[0, c, i, j] + share * (x[0, 3 + c, i, j] - x[0, c, i, j])
                value = (rgb[0, c, i, j] - base) * _FULL
                finite &= -1e6 < value < 1e6
                out[i, j, 2 - c] = value
            value = (mask[0, 0, i, j] - share) * _FULL
            finite &= -1e6 < value < 1e6
            out[i, j, 3] = value
    return finite


def change_plain(x: F32, rgb: F32, mask: F32, out: F32) -> bool:
    """`change` in NumPy."""
    wearer, drawn, share = x[0, 0:3], x[0, 3:6], x[0, 6]
    colour = (rgb[0] - (wearer + share * (drawn - wearer)))[::-1]
    out[:] = np.concatenate([colour, mask[0] - share]).transpose(1, 2, 0) * _FULL
    return bool((np.abs(out) < 1e6).all())


@numba.njit(cache=True, nogil=True)
def add(changed: F32, crop: U8, alpha: U8) -> None:
    """Adds a change (S, S, 4) of `change` to crop (S, S, 3) and alpha (S, S) in place, rounded."""
    size = alpha.shape[0]
    for i in range(size):
        for j in range(size):
            for c in range(3):
                crop[i, j, c] = np.uint8(min(max(np.float32(crop[i, j, c]) + changed[i, j, c], np.float32(0.0)), _FULL) + _HALF)
            alpha[i, j] = np.uint8(min(max(np.float32(alpha[i, j]) + changed[i, j, 3], np.float32(0.0)), _FULL) + _HALF)


def add_plain(changed: F32, crop: U8, alpha: U8) -> None:
    """`add` in NumPy."""
    whole = np.dstack([crop, alpha]).astype(np.float32) + changed
    levels = (np.clip(whole, 0.0, _FULL) + _HALF).astype(np.uint8)
    crop[:], alpha[:] = levels[..., :3], levels[..., 3]
