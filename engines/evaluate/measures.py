"""Differences between an output and truth, picture against picture.

Convention: pictures are (S, S, 3) uint8 BGR, regions (S, S) bool. Colours are CIE L*a*b* (D65).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from livecam.types import U8

Region = NDArray[np.bool_]
PEAK_DB = 60.0
"""What equal pictures count as."""
SECTORS = 32
RING_SHARE = 0.03
"""Width of the rings on both sides of a seam, as share of the picture's side."""
OPAQUE, CLEAR = 240, 12
"""Alpha from which a pixel counts as drawn, and up to which as the wearer's."""
LEAST_PX = 8
LUMA = np.array([0.114, 0.587, 0.299], np.float32)


def psnr_db(output: U8, truth: U8, region: Region) -> float:
    """Peak signal to noise ratio inside `region`; NaN when it is empty."""
    if not region.any():
        return math.nan
    error = float(((output[region].astype(np.float64) - truth[region].astype(np.float64)) ** 2).mean())
    return min(10.0 * math.log10(255.0**2 / max(error, 1e-9)), PEAK_DB)


def resized(picture: U8, size: int) -> U8:
    """The picture at another size: areas averaged when it shrinks."""
    if picture.shape[0] == size:
        return picture
    way = cv2.INTER_AREA if size < picture.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (size, size), interpolation=way), np.uint8)


def eroded(region: Region, radius: int) -> Region:
    """`region` without what is nearer than `radius` to its edge."""
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    return cv2.erode(region.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=(0,)) > 0


def gradient_energy(picture: U8, region: Region) -> float:
    """Mean squared gradient of brightness inside `region` (grey levels a pixel)."""
    luma = picture.astype(np.float32) @ LUMA
    return _energy(luma, region)


def noise_energy(first: U8, second: U8, region: Region) -> float:
    """What camera noise adds to `gradient_energy`: that of the difference of two pictures of one scene, halved."""
    return _energy((first.astype(np.float32) - second.astype(np.float32)) @ LUMA, region) / 2.0


def _energy(luma: NDArray[np.float32], region: Region) -> float:
    if not region.any():
        return math.nan
    dx = cv2.filter2D(luma, cv2.CV_32F, np.array([[-0.5, 0.0, 0.5]], np.float32))
    dy = cv2.filter2D(luma, cv2.CV_32F, np.array([[-0.5], [0.0], [0.5]], np.float32))
    return float((dx[region] ** 2 + dy[region] ** 2).mean())


def change(first: U8, second: U8, region: Region) -> float:
    """Mean absolute difference inside `region`, grey levels."""
    if not region.any():
        return math.nan
    return float(np.abs(first[region].astype(np.float32) - second[region].astype(np.float32)).mean())


def lab(picture: U8) -> NDArray[np.float32]:
    """(..., 3) float32 L*, a*, b*."""
    return np.asarray(cv2.cvtColor(picture.astype(np.float32) / np.float32(255.0), cv2.COLOR_BGR2LAB), np.float32)


@dataclass(frozen=True, slots=True)
class Seam:
    """Colour steps across the seam of the drawing, mean over its sectors, dE2000. net: output's step less the step that truth has in the same place;
    output, truth: their own steps (shading included); sectors: how many had skin on both sides."""

    net: float
    output: float
    truth: float
    sectors: int


def seam(output: U8, truth: U8, alpha: U8, skin: Region) -> Seam:
    """The step between two rings on either side of alpha's slope, sector by sector, where both are bare skin.

    alpha: (S, S) uint8 of the drawing. skin: where the wearer's own picture shows skin and nothing is in front."""
    inner, outer = _rings(alpha)
    rows, cols = np.nonzero(alpha >= OPAQUE)
    if not len(rows):
        return Seam(math.nan, math.nan, math.nan, 0)
    y, x = np.indices(alpha.shape)
    sector = ((np.arctan2(y - rows.mean(), x - cols.mean()) / (2 * math.pi) + 0.5) * SECTORS).astype(int) % SECTORS
    ours, theirs = lab(output), lab(truth)
    steps: list[tuple[float, float, float]] = []
    for s in range(SECTORS):
        here = (sector == s) & skin
        a, b = inner & here, outer & here
        if min(np.count_nonzero(a), np.count_nonzero(b)) < LEAST_PX:
            continue
        in_o, out_o, in_t, out_t = ours[a].mean(axis=0), ours[b].mean(axis=0), theirs[a].mean(axis=0), theirs[b].mean(axis=0)
        net = de2000(out_o + (in_o - out_o) - (in_t - out_t), out_o)
        steps.append((net, de2000(in_o, out_o), de2000(in_t, out_t)))
    if not steps:
        return Seam(math.nan, math.nan, math.nan, 0)
    means = np.mean(steps, axis=0).tolist()
    return Seam(means[0], means[1], means[2], len(steps))


def _rings(alpha: U8) -> tuple[Region, Region]:
    """Where the drawing has just become opaque, and where it has just ended."""
    width = max(3, round(RING_SHARE * alpha.shape[0]))
    opaque, clear = alpha >= OPAQUE, alpha <= CLEAR
    inside = cv2.distanceTransform(opaque.astype(np.uint8), cv2.DIST_L2, 3)
    outside = cv2.distanceTransform(clear.astype(np.uint8), cv2.DIST_L2, 3)
    return opaque & (inside <= width), clear & (outside <= width)


def de2000(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """CIEDE2000 of two colours (L*, a*, b*), by Sharma, Wu, Dalal 2005."""
    (l1, a1, b1), (l2, a2, b2) = np.asarray(first, np.float64).tolist(), np.asarray(second, np.float64).tolist()
    mean_c = (math.hypot(a1, b1) + math.hypot(a2, b2)) / 2
    g = 0.5 * (1 - math.sqrt(mean_c**7 / (mean_c**7 + 25.0**7)))
    a1, a2 = a1 * (1 + g), a2 * (1 + g)
    c1, c2 = math.hypot(a1, b1), math.hypot(a2, b2)
    h1, h2 = _hue(a1, b1), _hue(a2, b2)
    dh = 0.0 if c1 * c2 == 0 else (h2 - h1 + 180.0) % 360.0 - 180.0
    dl, dc, dhue = l2 - l1, c2 - c1, 2 * math.sqrt(c1 * c2) * math.sin(math.radians(dh / 2))
    ml, mc = (l1 + l2) / 2, (c1 + c2) / 2
    mh = h1 + h2 if c1 * c2 == 0 else _mean_hue(h1, h2)
    t = 1 - 0.17 * _cos(mh - 30) + 0.24 * _cos(2 * mh) + 0.32 * _cos(3 * mh + 6) - 0.20 * _cos(4 * mh - 63)
    sl = 1 + 0.015 * (ml - 50) ** 2 / math.sqrt(20 + (ml - 50) ** 2)
    sc, sh = 1 + 0.045 * mc, 1 + 0.015 * mc * t
    turn = -math.sin(math.radians(60 * math.exp(-(((mh - 275) / 25) ** 2)))) * 2 * math.sqrt(mc**7 / (mc**7 + 25.0**7))
    light, chroma, hue = dl / sl, dc / sc, dhue / sh
    return math.sqrt(max(light**2 + chroma**2 + hue**2 + turn * chroma * hue, 0.0))


def _hue(a: float, b: float) -> float:
    return math.degrees(math.atan2(b, a)) % 360.0


def _cos(deg: float) -> float:
    return math.cos(math.radians(deg))


def _mean_hue(h1: float, h2: float) -> float:
    if abs(h1 - h2) <= 180:
        return (h1 + h2) / 2
    return (h1 + h2 + 360) / 2 if h1 + h2 < 360 else (h1 + h2 - 360) / 2

