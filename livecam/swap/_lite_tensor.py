"""Pictures into the network's tensor, and what the network gives into the picture; the plain forms are what tests hold the fast ones to.

Convention: pictures are BGR uint8; tensors are RGB float32 0..1, planes first. The network has side S, the drawing side N, which may be larger:
light, flow and change (engines/nets/lite.py) are enlarged bilinearly, pixel centres at integers, what is outside as at the edge.
"""

from __future__ import annotations

import cv2
import numba
import numpy as np

from livecam.types import F32, U8

FLOW_LIMIT = 0.06
"""Greatest displacement, share of the side, as in training."""

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
def mix(veil: U8, crop: U8, mask: U8) -> None:
    """The network's base, in place of crop (N, N, 3): the drawing where its mask (N, N) says so, else the wearer's veil."""
    size = mask.shape[0]
    for i in range(size):
        for j in range(size):
            share = np.int32(mask[i, j])
            if share < 255:
                for c in range(3):
                    crop[i, j, c] = (crop[i, j, c] * share + veil[i, j, c] * (255 - share) + 127) // 255


@numba.njit(cache=True, nogil=True)
def find(flow: F32, limit: np.float32) -> None:
    """Displacements (N, N, 2), in place, to the places that cv2.remap looks at."""
    size = flow.shape[0]
    for i in range(size):
        for j in range(size):
            flow[i, j, 0] = np.float32(j) + min(max(flow[i, j, 0], -limit), limit)
            flow[i, j, 1] = np.float32(i) + min(max(flow[i, j, 1], -limit), limit)


@numba.njit(cache=True, nogil=True)
def change(moved: U8, light: F32, added: F32, crop: U8, alpha: U8) -> None:
    """crop (N, N, 3) = moved * (1 + light) + added; alpha (N, N), in place, only grows. light (N, N, 3) BGR, added (N, N, 4) BGR and mask, 0..1."""
    size = alpha.shape[0]
    for i in range(size):
        for j in range(size):
            for c in range(3):
                value = np.float32(moved[i, j, c]) * (np.float32(1.0) + light[i, j, c]) + added[i, j, c] * _FULL
                crop[i, j, c] = np.uint8(min(max(value, np.float32(0.0)), _FULL) + _HALF)
            value = np.float32(alpha[i, j]) + max(added[i, j, 3], np.float32(0.0)) * _FULL
            alpha[i, j] = np.uint8(min(value, _FULL) + _HALF)


def compose(veil: U8, light: F32, flow: F32, added: F32, crop: U8, alpha: U8) -> bool:
    """The network's picture, in place of the drawing crop (N, N, 3) and its mask alpha (N, N). False, and nothing drawn, when a value is not finite.

    veil: (S, S, 3), the wearer as the network saw them; light (1, 3, h, h), flow (1, 2, k, k), added (1, 4, k, k).
    """
    if not np.isfinite(float(light.sum()) + float(flow.sum()) + float(added.sum())):
        return False
    size, own = alpha.shape[0], veil.shape[0]
    mix(_enlarged(veil, size), crop, alpha)
    places = _enlarged(np.ascontiguousarray(flow[0].transpose(1, 2, 0)) * np.float32(size / own), size)
    find(places, np.float32(FLOW_LIMIT * size))
    moved = cv2.remap(crop, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    lit = _enlarged(np.ascontiguousarray(light[0, ::-1].transpose(1, 2, 0)), size)
    more = _enlarged(np.asarray(cv2.merge([added[0, c] for c in (2, 1, 0, 3)]), np.float32), size)
    change(np.asarray(moved, np.uint8), lit, more, crop, alpha)
    return True


def _enlarged(picture, size):  # type: ignore[no-untyped-def]
    if picture.shape[0] == size:
        return picture
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR)


def compose_plain(veil: U8, light: F32, flow: F32, added: F32, crop: U8, alpha: U8) -> bool:
    """`compose` in NumPy, each pixel by its formula."""
    if not all(np.isfinite(part).all() for part in (light, flow, added)):
        return False
    size, own = alpha.shape[0], veil.shape[0]
    share = alpha[..., None] / 255.0
    base = crop * share + _sampled(veil, _grid(size, own)) * (1.0 - share)
    grid = _grid(size, size)
    places = _sampled(flow[0].transpose(1, 2, 0), _grid(size, flow.shape[-1])) * (size / own)
    moved = _sampled(base, grid + np.clip(places, -FLOW_LIMIT * size, FLOW_LIMIT * size))
    more = _sampled(added[0].transpose(1, 2, 0), _grid(size, added.shape[-1]))
    lit = moved * (1.0 + _sampled(light[0, ::-1].transpose(1, 2, 0), _grid(size, light.shape[-1]))) + 255.0 * more[..., 2::-1]
    crop[:] = np.clip(lit, 0.0, 255.0) + 0.5
    alpha[:] = np.clip(alpha + 255.0 * np.maximum(more[..., 3], 0.0), 0.0, 255.0) + 0.5
    return True


def _grid(size, own):  # type: ignore[no-untyped-def]
    """Where the pixels of a picture of side `size` lie in one of side `own`: (size, size, 2), x and y."""
    along = (np.arange(size) + 0.5) * (own / size) - 0.5
    return np.stack(np.meshgrid(along, along), axis=2)


def _sampled(picture, places):  # type: ignore[no-untyped-def]
    """Bilinear samples of picture (h, w, C) at places (n, n, 2): (n, n, C) float64; outside as at the edge."""
    last = picture.shape[0] - 1
    x, y = np.clip(places[..., 0], 0, last), np.clip(places[..., 1], 0, last)
    i, j = np.minimum(y.astype(int), last - 1), np.minimum(x.astype(int), last - 1)
    v, u = (y - i)[..., None], (x - j)[..., None]
    rows = [picture[i + k, j] * (1 - u) + picture[i + k, j + 1] * u for k in (0, 1)]
    return rows[0] * (1 - v) + rows[1] * v
