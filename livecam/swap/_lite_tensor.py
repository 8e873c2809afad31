"""Pictures into the network's tensor, and what the network gives into the picture; the plain forms are what tests hold the fast ones to.

Convention: pictures are BGR uint8; tensors are RGB float32 0..1, planes first. The network has side S, the drawing side N, which may be larger:
light, flow and change (engines/nets/lite.py) are enlarged bilinearly, pixel centres at integers, what is outside as at the edge.
"""

from __future__ import annotations

import math
from typing import Any, cast

import cv2
import numba
import numpy as np

from livecam.image import bilinear_plain
from livecam.types import F32, F64, U8

FLOW_LIMIT = 0.06
"""Greatest displacement, share of the side: about half an eye's width. Training takes it from here."""

LEAST_GROWTH = 1.0 / 512.0
"""A mask that grows by less stays as it is, in whole levels."""

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
def mix(veil: U8, crop: U8, mask: U8, base: U8) -> None:
    """The network's base: in base (N, N, 4), whose last channel is idle, the drawing crop (N, N, 3) where its mask (N, N) says so, else the wearer's
    veil."""
    size = mask.shape[0]
    for i in range(size):
        for j in range(size):
            share = np.int32(mask[i, j])
            for c in range(3):
                value = np.int32(crop[i, j, c])
                if share < 255:
                    value = (value * share + np.int32(veil[i, j, c]) * (255 - share) + 127) // 255
                base[i, j, c] = np.uint8(value)


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def find(flow: F32, limit: np.float32, x0: int, y0: int, places: F32) -> None:
    """Displacements (N, N, 2) to the places (H, W, 2) that cv2.remap looks at, of the part of the picture whose top left pixel is x0, y0."""
    for i in range(places.shape[0]):
        for j in range(places.shape[1]):
            places[i, j, 0] = np.float32(x0 + j) + min(max(flow[y0 + i, x0 + j, 0], -limit), limit)
            places[i, j, 1] = np.float32(y0 + i) + min(max(flow[y0 + i, x0 + j, 1], -limit), limit)


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def change(moved: U8, light: F32, added: F32, eyes: U8, x0: int, y0: int, crop: U8, alpha: U8) -> None:
    """crop (N, N, 3) = moved * (1 + light) + added, where eyes (N, N) does not say 255; alpha (N, N), in place, only grows. moved (H, W, 4): the part
    of the picture that begins at x0, y0; no other is written to. light (N, N, 3) BGR, added (N, N, 4) BGR and mask, 0..1."""
    for i in range(moved.shape[0]):
        y = y0 + i
        for j in range(moved.shape[1]):
            x = x0 + j
            keep = np.float32(1.0) - np.float32(eyes[y, x]) * _UNIT
            for c in range(3):
                own = np.float32(moved[i, j, c])
                value = own + keep * (own * light[y, x, c] + added[y, x, c] * _FULL)
                crop[y, x, c] = np.uint8(min(max(value, np.float32(0.0)), _FULL) + _HALF)
            value = np.float32(alpha[y, x]) + max(added[y, x, 3], np.float32(0.0)) * _FULL
            alpha[y, x] = np.uint8(min(value, _FULL) + _HALF)


def compose(veil: U8, eyes: U8, light: F32, flow: F32, added: F32, crop: U8, alpha: U8) -> bool:
    """The network's picture, in place of the drawing crop (N, N, 3) and its mask alpha (N, N). False, and nothing drawn, when a value is not finite.

    veil: (S, S, 3), the wearer as the network saw them; eyes: (S, S) uint8, 255 where neither light nor colour changes: fields as coarse as these
    smear skin over the whites; light (1, 3, h, h), flow (1, 2, k, k), added (1, 4, k, k). Where no mask is, crop stays as it was.
    """
    if not np.isfinite(float(light.sum()) + float(flow.sum()) + float(added.sum())):
        return False
    size, own = alpha.shape[0], veil.shape[0]
    x0, y0, width, height = covered(alpha, added[0, 3])
    if width == 0:
        return True
    # Four channels: cv2.remap takes half the time for them that it takes for three.
    base, places = np.empty((size, size, 4), np.uint8), np.empty((height, width, 2), np.float32)
    mix(resized(veil, size), crop, alpha, base)
    find(resized(_planes_last(flow) * np.float32(size / own), size), np.float32(FLOW_LIMIT * size), x0, y0, places)
    moved = cv2.remap(base, places, cast(Any, None), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    lit = resized(np.ascontiguousarray(light[0, ::-1].transpose(1, 2, 0)), size)
    more = resized(np.asarray(cv2.merge([added[0, c] for c in (2, 1, 0, 3)]), np.float32), size)
    change(np.asarray(moved, np.uint8), lit, more, resized(eyes, size), x0, y0, crop, alpha)
    return True


def covered(alpha: U8, growth: F32) -> tuple[int, int, int, int]:
    """x, y, width and height of where a mask alpha (N, N) is, or may be when `growth` (k, k) is added; a width of 0 when there is none."""
    size, cells = alpha.shape[0], growth.shape[0]
    x0, y0, width, height = cv2.boundingRect(alpha)
    gx, gy, more_wide, more_tall = cv2.boundingRect((growth > LEAST_GROWTH).astype(np.uint8))
    if more_wide == 0:
        return x0, y0, width, height
    # A cell's value is felt as far as its neighbours' centres.
    step = size / cells
    left, top = max(math.floor((gx - 1) * step), 0), max(math.floor((gy - 1) * step), 0)
    right, bottom = min(math.ceil((gx + more_wide + 1) * step), size), min(math.ceil((gy + more_tall + 1) * step), size)
    if width:
        left, top, right, bottom = min(left, x0), min(top, y0), max(right, x0 + width), max(bottom, y0 + height)
    return left, top, right - left, bottom - top


def resized(picture: Any, size: int) -> Any:
    """`picture` at (size, size); itself when it is so large."""
    if picture.shape[0] == size:
        return picture
    how = cv2.INTER_AREA if picture.shape[0] > size else cv2.INTER_LINEAR
    return cv2.resize(picture, (size, size), interpolation=how)


def compose_plain(veil: U8, eyes: U8, light: F32, flow: F32, added: F32, crop: U8, alpha: U8) -> bool:
    """`compose` in NumPy, each pixel by its formula."""
    if not all(np.isfinite(part).all() for part in (light, flow, added)):
        return False
    size, own = alpha.shape[0], veil.shape[0]
    x, y = np.meshgrid(np.arange(size, dtype=np.float64), np.arange(size, dtype=np.float64))
    share = alpha[..., None] / 255.0
    base = crop * share + _enlarged_plain(veil, size) * (1.0 - share)
    moves = np.clip(_enlarged_plain(_planes_last(flow), size) * (size / own), -FLOW_LIMIT * size, FLOW_LIMIT * size)
    moved = bilinear_plain(base, np.clip(x + moves[..., 0], 0, size - 1), np.clip(y + moves[..., 1], 0, size - 1))
    more = _enlarged_plain(_planes_last(added), size)
    changed = moved * _enlarged_plain(_planes_last(light), size)[..., ::-1] + 255.0 * more[..., 2::-1]
    crop[:] = np.clip(moved + (1.0 - _enlarged_plain(eyes[..., None], size) / 255.0) * changed, 0.0, 255.0) + 0.5
    alpha[:] = np.clip(alpha + 255.0 * np.maximum(more[..., 3], 0.0), 0.0, 255.0) + 0.5
    return True


def _planes_last(tensor: F32) -> F32:
    return np.ascontiguousarray(tensor[0].transpose(1, 2, 0))


def _enlarged_plain(picture: U8 | F32, size: int) -> F64:
    """(h, h, C) at (size, size, C), pixel centres on pixel centres."""
    own = picture.shape[0]
    along = np.clip((np.arange(size) + 0.5) * (own / size) - 0.5, 0, own - 1)
    x, y = np.meshgrid(along, along)
    return bilinear_plain(picture, x, y)
