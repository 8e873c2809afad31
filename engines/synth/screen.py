"""What happens between samples on the screen: mean distances for occlusion, light spread under the skin, the sum of it all.

Convention: planes (H, W) float32 over samples; `shaded` (M, 9) as in `shade.shade_samples`.
"""

# pyright: reportUntypedFunctionDecorator=false
from __future__ import annotations

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from engines.synth.shade import AO_REACH_DM, SKIN

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Bytes = NDArray[np.uint8]

SCATTER_DM = (0.022, 0.011, 0.007)
"""How far light spreads under the skin in red, green and blue (standard deviation)."""
LEAST_SCATTER = 0.4
"""Light that spreads less (in samples) stays where it is."""
HALF_SIZE_FROM = 2.4
"""Blurs of at least this many samples are done at half the size."""
AO_SCALES = (2, 4)
"""Mean distances are taken at these parts of the size."""
BRIGHTEST = 2.5


@njit(cache=True, fastmath=True, error_model="numpy")
def _distances(depth: Floats, distance: Floats, covered: Floats) -> None:
    for j in range(depth.shape[0]):
        for i in range(depth.shape[1]):
            z = depth[j, i]
            covered[j, i] = np.float32(1) if z > 0 else np.float32(0)
            distance[j, i] = np.float32(1) / max(z, np.float32(1e-6)) if z > 0 else np.float32(0)


@njit(cache=True, fastmath=True, error_model="numpy")
def _divide(a: Floats, b: Floats) -> None:
    for j in range(a.shape[0]):
        for i in range(a.shape[1]):
            a[j, i] /= max(b[j, i], np.float32(1e-3))


def mean_distances(depth: Floats, px_per_dm: float) -> tuple[Floats, Floats]:
    """Mean distance of what is drawn around each sample, near and wide, at a half and a quarter of the size of depth (H, W).

    Unsharp masking of the depth (Luft, Colditz & Deussen 2006) by them is occlusion by what stands before a sample on the screen: lids
    over eyes, lips over teeth.
    """
    distance, covered = np.empty_like(depth), np.empty_like(depth)
    _distances(depth, distance, covered)
    out: list[Floats] = []
    for reach, scale in zip(AO_REACH_DM, AO_SCALES, strict=True):
        sigma = max(reach * px_per_dm / scale, 0.6)
        small = cv2.resize(distance, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA)
        # By its size, not by the scale: where the size is no multiple of it, this stretches the mask a little, as ever.
        mask = cv2.resize(covered, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_AREA)
        mean, total = cv2.GaussianBlur(small, (0, 0), sigma), cv2.GaussianBlur(mask, (0, 0), sigma)
        _divide(mean, total)
        out.append(mean)
    return out[0], out[1]


def _soft(plane: Floats, sigma: float) -> Floats:
    """Gaussian blur of (H, W); at half the size where sigma allows."""
    if sigma < HALF_SIZE_FROM:
        return cv2.GaussianBlur(plane, (0, 0), sigma)
    height, width = plane.shape
    small = cv2.resize(plane, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / 2)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


@njit(cache=True, fastmath=True, error_model="numpy")
def _skin_box(ids: Ints, material: Bytes) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the samples that show skin; x1 <= x0 when there are none."""
    x0, y0, x1, y1 = ids.shape[1], ids.shape[0], 0, 0
    for j in range(ids.shape[0]):
        for i in range(ids.shape[1]):
            if ids[j, i] >= 0 and material[ids[j, i]] == SKIN:
                x0, x1, y0, y1 = min(x0, i), max(x1, i + 1), min(y0, j), j + 1
    return x0, y0, x1, y1


@njit(cache=True, fastmath=True, error_model="numpy")
def _skin_light(slot: Ints, shaded: Floats, ids: Ints, material: Bytes, x0: int, y0: int, light: Floats, weight: Floats) -> None:
    """Light (3, h, w) and weight (h, w) of the skin's samples in a box from x0, y0; 0 elsewhere."""
    for j in range(weight.shape[0]):
        for i in range(weight.shape[1]):
            t = ids[y0 + j, x0 + i]
            on = t >= 0 and material[max(t, 0)] == SKIN
            s = slot[y0 + j, x0 + i] if on else 0
            weight[j, i] = np.float32(1) if on else np.float32(0)
            for c in range(3):
                light[c, j, i] = shaded[s, c] if on else np.float32(0)


@njit(cache=True, fastmath=True, error_model="numpy")
def _put(slot: Ints, shaded: Floats, image: Floats) -> None:
    """image (H, W, 4) = light * reflectance + highlights, alpha 1, where slot (H, W) >= 0, else 0; highlights capped."""
    for j in range(slot.shape[0]):
        for i in range(slot.shape[1]):
            s = slot[j, i]
            if s < 0:
                for c in range(4):
                    image[j, i, c] = 0.0
                continue
            for c in range(3):
                image[j, i, c] = min(shaded[s, c] * shaded[s, 3 + c] + shaded[s, 6 + c], np.float32(BRIGHTEST))
            image[j, i, 3] = 1.0


@njit(cache=True, fastmath=True, error_model="numpy")
def _put_skin(slot: Ints, shaded: Floats, weight: Floats, c: int, blur: Floats, total: Floats, x0: int, y0: int, image: Floats) -> None:
    """Colour c of the skin once more, by blurred light (h, w) over the blurred weight."""
    for j in range(weight.shape[0]):
        for i in range(weight.shape[1]):
            if weight[j, i] > 0:
                s = slot[y0 + j, x0 + i]
                spread = blur[j, i] / max(total[j, i], np.float32(1e-3))
                image[y0 + j, x0 + i, c] = min(spread * shaded[s, 3 + c] + shaded[s, 6 + c], np.float32(BRIGHTEST))


def compose(slot: Ints, shaded: Floats, ids: Ints, material: Bytes, px_per_dm: float) -> Floats:
    """The picture (H, W, 4), premultiplied: light times reflectance and highlights of the samples that slot (H, W) names; skin's light is
    blurred under it, each colour by its own distance, within the skin."""
    image = np.empty((*ids.shape, 4), np.float32)
    _put(slot, shaded, image)
    x0, y0, x1, y1 = _skin_box(ids, material)
    if x1 <= x0:
        return image
    light, weight = np.empty((3, y1 - y0, x1 - x0), np.float32), np.empty((y1 - y0, x1 - x0), np.float32)
    _skin_light(slot, shaded, ids, material, x0, y0, light, weight)
    for c, reach in enumerate(SCATTER_DM):
        sigma = reach * px_per_dm
        if sigma >= LEAST_SCATTER:
            _put_skin(slot, shaded, weight, c, _soft(light[c], sigma), _soft(weight, sigma), x0, y0, image)
    return image
