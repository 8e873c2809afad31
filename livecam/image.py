"""Image operations of the frame path: cut a crop out of a frame, and put a drawn crop back in place.

Convention:
    Matrices map frame points to crop points (`Alignment.matrix`); points are (x, y) with integer pixel centres (see livecam/types.py).
    `paste` therefore visits frame pixels and reads the crop at `M @ (x, y, 1)`: an inverse warp, no holes.

Each operation exists as a fast path and as `*_plain`, ordinary NumPy that a test holds the fast one to.
The kernels release the GIL and are kept on disk after their first compilation; `warm_up` compiles them.
"""

from __future__ import annotations

import math
from typing import cast

import cv2
import numba
import numpy as np

from livecam.errors import StageError
from livecam.geometry import invert, scale_of
from livecam.types import F32, F64, U8, Alignment

Roi = tuple[int, int, int, int]
"""x0, y0, x1, y1 in frame pixels, the ends exclusive; all zero when nothing of the crop lies in the frame."""

NOTHING: Roi = (0, 0, 0, 0)
MINIFY_MAX = 1.6
"""Crop pixels per frame pixel above which `paste` first shrinks the crop: bilinear sampling would skip pixels and shimmer."""
_FRACTION_BITS = 24
_ONE = 1 << _FRACTION_BITS
_LANES = np.uint64(0x00FF00FF00FF00FF)
_HALF = np.uint64(0x0080008000800080)


def crop(image: U8, alignment: Alignment) -> U8:
    """The (S, S, 3) uint8 BGR crop of `image`; what lies outside the frame repeats its edge. Bilinear."""
    size = alignment.size_px
    out = cv2.warpAffine(image, alignment.matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cast(U8, out)


def crop_plain(image: U8, alignment: Alignment) -> U8:
    """`crop` written out in NumPy float64."""
    size = alignment.size_px
    inverse = invert(alignment.matrix)
    u, v = np.meshgrid(np.arange(size, dtype=np.float64), np.arange(size, dtype=np.float64))
    x = inverse[0, 0] * u + inverse[0, 1] * v + inverse[0, 2]
    y = inverse[1, 0] * u + inverse[1, 1] * v + inverse[1, 2]
    height, width = image.shape[:2]
    return np.rint(bilinear_plain(image, np.clip(x, 0, width - 1), np.clip(y, 0, height - 1))).astype(np.uint8)


def paste(image: U8, alignment: Alignment, crop: U8, alpha: U8) -> Roi:
    """Blend `crop` over `image` in place where `alpha` is above 0; returns the only part of the frame that can have changed.

    image: (H, W, 3) uint8 BGR, C-contiguous, written to. crop: (S, S, 3) uint8. alpha: (S, S) uint8, 255 replaces the frame;
    its outermost pixels must be 0 (mask.alpha sees to it), else the paste would end in a hard edge. Raises StageError for other shapes.
    Within 1 grey level of `paste_plain`.
    """
    _check(image, alignment, crop, alpha)
    crop, alpha, matrix = _shrunk(crop, alpha, alignment.matrix)
    span = _span(alpha)
    if span is None:
        return NOTHING
    roi = _roi(image, matrix, span)
    if roi == NOTHING:
        return roi
    m = matrix
    _paste_kernel(image, crop, alpha, (m[0, 0], m[0, 1], m[0, 2], m[1, 0], m[1, 1], m[1, 2]), roi, span)
    return roi


def paste_plain(image: U8, alignment: Alignment, crop: U8, alpha: U8) -> Roi:
    """`paste` in NumPy float64: same result within 1 grey level, same ROI."""
    _check(image, alignment, crop, alpha)
    crop, alpha, matrix = _shrunk(crop, alpha, alignment.matrix)
    span = _span(alpha)
    roi = NOTHING if span is None else _roi(image, matrix, span)
    if roi == NOTHING:
        return roi
    x0, y0, x1, y1 = roi
    x, y = np.meshgrid(np.arange(x0, x1, dtype=np.float64), np.arange(y0, y1, dtype=np.float64))
    u = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
    v = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
    height, width = alpha.shape
    inside = (u >= 0) & (v >= 0) & (u <= width - 1) & (v <= height - 1)
    uc, vc = np.clip(u, 0, width - 1), np.clip(v, 0, height - 1)
    weight = np.where(inside, bilinear_plain(alpha[..., None], uc, vc)[..., 0], 0.0)[..., None] / 255.0
    drawn = bilinear_plain(crop, uc, vc)
    under = image[y0:y1, x0:x1].astype(np.float64)
    image[y0:y1, x0:x1] = np.rint(under + (drawn - under) * weight).astype(np.uint8)
    return roi


def warm_up() -> None:
    """Compile (or load from the disk) this module's kernels. The first time takes about a second."""
    image = np.zeros((8, 8, 3), np.uint8)
    alpha = np.zeros((8, 8), np.uint8)
    alpha[2:6, 2:6] = 255
    paste(image, Alignment(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), 8), np.zeros((8, 8, 3), np.uint8), alpha)


def _check(image: U8, alignment: Alignment, crop: U8, alpha: U8) -> None:
    size = alignment.size_px
    if crop.shape != (size, size, 3) or alpha.shape != (size, size):
        raise StageError(f"paste expects a crop ({size}, {size}, 3) and an alpha ({size}, {size}), got {crop.shape} and {alpha.shape}")
    if crop.dtype != np.uint8 or alpha.dtype != np.uint8 or image.dtype != np.uint8 or not image.flags.c_contiguous:
        raise StageError(f"paste expects uint8 pictures and a C-contiguous frame, got {image.dtype}, {crop.dtype}, {alpha.dtype}")
    # Python numbers, here and in `_roi`: arrays of six cost more than the check.
    (a, b, tx), (c, d, ty) = alignment.matrix.tolist()
    if not math.isfinite(a + b + c + d + tx + ty) or abs(a * d - b * c) < 1e-9:
        raise StageError("paste expects an invertible alignment, got one with no area; the face is to be found again")


def _factor(matrix: F64, size: int) -> int:
    """By how much a crop is made smaller before it is pasted: a power of two."""
    scale, factor = scale_of(matrix), 1
    while scale / factor > MINIFY_MAX and size % (factor * 2) == 0 and size // (factor * 2) >= 8:
        factor *= 2
    return factor


def _shrunk_alpha(alpha: U8, matrix: F64, factor: int) -> tuple[U8, F64]:
    """alpha made smaller by `factor`, 0 on its outermost pixels, and the matrix to fit."""
    smaller = matrix / factor
    smaller[:, 2] += (1.0 / factor - 1.0) / 2.0
    out = cast(U8, cv2.resize(alpha, (alpha.shape[1] // factor, alpha.shape[0] // factor), interpolation=cv2.INTER_AREA))
    out[[0, -1], :] = 0
    out[:, [0, -1]] = 0
    return out, smaller


def _shrunk(crop: U8, alpha: U8, matrix: F64) -> tuple[U8, U8, F64]:
    """The crop made smaller by a whole factor when the face in the frame is much smaller than the crop, with the matrix to fit."""
    factor = _factor(matrix, alpha.shape[0])
    if factor == 1:
        return crop, alpha, matrix
    shrunk_alpha, smaller = _shrunk_alpha(alpha, matrix, factor)
    return cast(U8, cv2.resize(crop, shrunk_alpha.shape[::-1], interpolation=cv2.INTER_AREA)), shrunk_alpha, smaller


def paste_plan(image: U8, alignment: Alignment, crop: U8, alpha: U8) -> tuple[Roi, F64, int]:
    """What `paste` of the same arguments would do, for who does it elsewhere: the region (NOTHING when there is none), the matrix from the frame to
    the crop made smaller, and by how much it is made smaller. Raises StageError."""
    _check(image, alignment, crop, alpha)
    matrix, factor = alignment.matrix, _factor(alignment.matrix, alpha.shape[0])
    if factor > 1:
        alpha, matrix = _shrunk_alpha(alpha, matrix, factor)
    span = _span(alpha)
    return (NOTHING if span is None else _roi(image, matrix, span)), matrix, factor


def _span(alpha: U8) -> Roi | None:
    """Bounds in the crop, ends inclusive, of where bilinear alpha can be above 0; None if it is 0 everywhere."""
    x, y, width, height = cv2.boundingRect(alpha)
    if width == 0:
        return None
    last = alpha.shape[0] - 1
    return max(x - 1, 0), max(y - 1, 0), min(x + width, last), min(y + height, last)


def _roi(image: U8, matrix: F64, span: Roi) -> Roi:
    (a, b, tx), (c, d, ty) = invert(matrix).tolist()
    u0, v0, u1, v1 = span
    corners = ((u0, v0), (u1, v0), (u0, v1), (u1, v1))
    across, down = [a * u + b * v + tx for u, v in corners], [c * u + d * v + ty for u, v in corners]
    height, width = image.shape[:2]
    x0, y0 = max(math.ceil(min(*across, 1e9)), 0), max(math.ceil(min(*down, 1e9)), 0)
    x1, y1 = min(math.floor(max(*across, -1e9)) + 1, width), min(math.floor(max(*down, -1e9)) + 1, height)
    return NOTHING if x0 >= x1 or y0 >= y1 else (x0, y0, x1, y1)


def bilinear_plain(picture: U8 | F32 | F64, x: F64, y: F64) -> F64:
    """(..., C) float64 samples of `picture` ((H, W, C)) at points inside it."""
    height, width = picture.shape[:2]
    x0 = np.minimum(np.floor(x).astype(np.intp), max(width - 2, 0))
    y0 = np.minimum(np.floor(y).astype(np.intp), max(height - 2, 0))
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    data = picture.astype(np.float64)
    top = data[y0, x0] * (1 - fx) + data[y0, x1] * fx
    return top * (1 - fy) + (data[y1, x0] * (1 - fx) + data[y1, x1] * fx) * fy


@numba.njit(nogil=True, cache=True, inline="always")
def _limits(start: float, step: float, low: float, high: float, x0: int, x1: int) -> tuple[int, int]:
    """Whole x of [x0, x1) for which low <= start + step * x <= high."""
    if abs(step) < 1e-12:
        if low <= start <= high:
            return x0, x1
        return x0, x0
    a, b = (low - start) / step, (high - start) / step
    if a > b:
        a, b = b, a
    return max(x0, math.ceil(max(a, -1e9))), min(x1, math.floor(min(b, 1e9)) + 1)


@numba.njit(nogil=True, cache=True)
def _paste_kernel(image, crop, alpha, m, roi, span):  # type: ignore[no-untyped-def]
    """Four 16-bit lanes (B, G, R, alpha) in one uint64: each bilinear and each blend is a handful of integer operations.

    Weights of a bilinear sum to 256, so a lane holds at most 255 * 256 and never spills into the next.
    """
    x0, y0, x1, y1 = roi
    u0, v0, u1, v1 = span
    lanes = np.empty((v1 - v0 + 2, u1 - u0 + 2), np.uint64)
    for j in range(v1 - v0 + 2):
        row = min(v0 + j, v1)
        for i in range(u1 - u0 + 2):
            col = min(u0 + i, u1)
            lanes[j, i] = (
                np.uint64(crop[row, col, 0])
                | np.uint64(crop[row, col, 1]) << np.uint64(16)
                | np.uint64(crop[row, col, 2]) << np.uint64(32)
                | np.uint64(alpha[row, col]) << np.uint64(48)
            )
    step_u, step_v = np.int64(round(m[0] * _ONE)), np.int64(round(m[3] * _ONE))
    shift = np.int64(_FRACTION_BITS)
    one = np.uint64(1)  # unsigned places: signed ones are asked whether they count from the end
    for y in range(y0, y1):
        su, sv = m[1] * y + m[2], m[4] * y + m[5]
        a, b = _limits(su, m[0], float(u0), float(u1), x0, x1)
        a, b = _limits(sv, m[3], float(v0), float(v1), a, b)
        u = np.int64(round((su + m[0] * a - u0) * _ONE))
        v = np.int64(round((sv + m[3] * a - v0) * _ONE))
        for x in range(a, b):
            uu, vv = max(u, np.int64(0)), max(v, np.int64(0))
            i, j = np.uint64(uu >> shift), np.uint64(vv >> shift)
            p00, p01, p10, p11 = lanes[j, i], lanes[j, i + one], lanes[j + one, i], lanes[j + one, i + one]
            if (p00 | p01 | p10 | p11) >> np.uint64(48) != np.uint64(0):
                fx = np.uint64((uu >> np.int64(_FRACTION_BITS - 8)) & np.int64(255))
                fy = np.uint64((vv >> np.int64(_FRACTION_BITS - 8)) & np.int64(255))
                w11 = (fx * fy + np.uint64(128)) >> np.uint64(8)
                total = p00 * (np.uint64(256) - fx - fy + w11) + p01 * (fx - w11) + p10 * (fy - w11) + p11 * w11
                wide = total >> np.uint64(48)
                drawn = ((total + _HALF) >> np.uint64(8)) & _LANES
                weight = (wide + (wide >> np.uint64(8)) + np.uint64(128)) >> np.uint64(8)
                if weight < np.uint64(256):
                    under = np.uint64(image[y, x, 0]) | np.uint64(image[y, x, 1]) << np.uint64(16) | np.uint64(image[y, x, 2]) << np.uint64(32)
                    drawn = ((drawn * weight + under * (np.uint64(256) - weight) + _HALF) >> np.uint64(8)) & _LANES
                image[y, x, 0] = np.uint8(drawn & np.uint64(255))
                image[y, x, 1] = np.uint8((drawn >> np.uint64(16)) & np.uint64(255))
                image[y, x, 2] = np.uint8((drawn >> np.uint64(32)) & np.uint64(255))
            u += step_u
            v += step_v
