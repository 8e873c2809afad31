"""The scene's light on a persona: spherical harmonics over the mesh, and a soft correction from the skin around the seam.

Convention:
    Colours are (N, 3) float32 B, G, R, 0..255, as displayed (not linearised): gains are ratios of displayed values. Normals face the camera: z < 0.
Method: brightness of skin over normals by order-2 spherical harmonics (Ramamoorthi and Hanrahan 2001: nine numbers hold 98 % of diffuse light), by
iteratively reweighted ridge regression; chroma by order 1. What is left at a ring of points inside the outline is carried inwards, fading (as in
mean-value seamless cloning, Farbman et al. 2009, on the mesh instead of the picture).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from livecam.swap import _mesh_triangles as topology
from livecam.types import F32, F64, U8

_THREE = np.ones((3, 3), np.uint8)

LUMA = np.array([0.114, 0.587, 0.299], np.float32)
RIDGE = np.array([1e-4, 0.02, 0.02, 0.02, 0.08, 0.08, 0.08, 0.08, 0.08])
"""Pull towards flat light, stronger for what few normals tell of."""
HUBER = 0.12
"""Relative brightness error beyond which a point counts less (beard, hair, glasses, highlights)."""
PALE, RED = 0.06, 0.12
"""Log of red to blue below and above the skin's, beyond which a point counts less for its colour."""
COVERED_FROM, COVERED_FULLY = 0.25, 0.5
"""Differences of log red to blue between a face's halves from which, and at which fully, the less red half is taken for something over the skin (a
medical mask): coloured light makes smaller ones."""
COVERED_APART = 0.25
"""Difference of the same from the skin's at which a point of such a face counts half."""
WHITE_PERCENTILE, WHITE_LEAST_PX = 85.0, 30
"""Of an open eye's pixels so many are iris, lashes and shadow; fewer pixels than the second tell nothing."""
LEAST_POINTS = 12
"""Fewer points of a half tell nothing of its colour."""
SMOOTH = 0.5
"""Share of a new look at the light (every fourth frame); settles in about a third of a second at 30 fps."""
SHAPE_LOW, SHAPE_HIGH = 0.5, 1.6
"""Bounds of modelled light relative to its mean."""
GAIN_LOW, GAIN_HIGH = 0.12, 8.0
CHROMA_LIMIT = 0.55
"""Bound of the log ratio of a channel to brightness."""
SEAM_LIMIT = 0.3
"""Bound of the seam's correction, log."""
SEAM_OUTLIER = 0.55
"""Log difference at which a ring point is taken for hair or background and counts for little."""


def basis(normals: F32) -> F64:
    """(N, 9) real spherical harmonics to order 2, without their constants."""
    x, y, z = normals.astype(np.float64).T
    one = np.ones_like(x)
    return np.stack([one, x, y, -z - 0.7, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1.9], axis=1)


@dataclass(frozen=True, slots=True)
class Fit:
    """luma: (9,) brightness; chroma: (4, 3) log ratio of each channel to it."""

    luma: F64
    chroma: F64

    def blended(self, newer: Fit, share: float) -> Fit:
        """A share of the way to `newer`."""
        return Fit(self.luma + share * (newer.luma - self.luma), self.chroma + share * (newer.chroma - self.chroma))

    def colours(self, normals: F32) -> F64:
        """(N, 3) skin colour that this light gives."""
        b = basis(normals)
        mean = max(float(self.luma[0]), 1.0)
        bright = np.clip(b @ self.luma, SHAPE_LOW * mean, SHAPE_HIGH * mean)
        return bright[:, None] * np.exp(np.clip(b[:, :4] @ self.chroma, -CHROMA_LIMIT, CHROMA_LIMIT))


def fit(colours: F32, normals: F32, weights: F32) -> Fit:
    """Robust fit of skin colours ((N, 3)) at normals ((N, 3)); weights (N,) 0 leaves a point out."""
    b = basis(normals)
    luma = np.maximum(colours @ LUMA, 2.0).astype(np.float64)
    total = max(float(weights.sum()), 1e-6)
    level = float(np.median(luma[weights > 0])) if (weights > 0).any() else float(luma.mean())
    use = weights.astype(np.float64)
    solved = np.zeros(9)
    for _ in range(3):
        weighted = b * use[:, None]
        solved = np.linalg.solve(weighted.T @ b + np.diag(RIDGE * total), weighted.T @ (luma / level - 1.0))
        error = np.abs(luma / level - 1.0 - b @ solved)
        use = weights * np.minimum(1.0, HUBER / np.maximum(error, 1e-6))
    ratio = np.log(np.maximum(colours.astype(np.float64), 2.0) / luma[:, None])
    chroma = _chroma(ratio, b[:, :4], use.astype(np.float64), total)
    solved[0] += 1.0
    return Fit(np.asarray(solved * level, np.float64), np.asarray(chroma, np.float64))


def _chroma(ratio: F64, b: F64, use: F64, total: float) -> F64:
    """(4, 3) of log ratios ((N, 3)) over b (N, 4). What differs counts less, soonest what is less red than the rest: beard, hair, glasses and
    highlights are, skin is not."""
    ridge = np.diag([1e-4, 0.15, 0.15, 0.15]) * total
    red, share = ratio[:, 2] - ratio[:, 0], np.ones(len(ratio))
    for rounds_left in (2, 1, 0):
        weighted = b * (use * share)[:, None]
        solved = np.linalg.solve(weighted.T @ b + ridge, weighted.T @ ratio)
        if rounds_left:
            paler = b @ (solved[:, 2] - solved[:, 0]) - red
            share = np.minimum(1.0, np.where(paler > 0.0, PALE, RED) / np.maximum(np.abs(paler), 1e-6))
    return np.asarray(solved, np.float64)


def uncovered(colours: F32, weights: F32, upper: NDArray[np.bool_]) -> F32:
    """(N,) share to which a point shows skin and not a mask before it. colours (N, 3), weights (N,) as in `fit`; upper: (N,) the upper half's.

    Skin is redder than what is worn over it, under any light that falls on both."""
    red = np.log(np.maximum(colours[:, 2], 2.0) / np.maximum(colours[:, 0], 2.0))
    halves = [red[(weights > 0.5) & half] for half in (upper, ~upper)]
    if min(len(half) for half in halves) < LEAST_POINTS:
        return np.ones(len(red), np.float32)
    middles = [float(np.median(half)) for half in halves]
    strength = min(max((abs(middles[0] - middles[1]) - COVERED_FROM) / (COVERED_FULLY - COVERED_FROM), 0.0), 1.0)
    share = 1.0 / (1.0 + ((red - max(middles)) / COVERED_APART) ** 4)
    return (1.0 - strength * (1.0 - share)).astype(np.float32)


def eye_white(crop: U8, points: F32, outline: NDArray[np.intp]) -> F64 | None:
    """(3,) B, G, R of an open eye's brightest pixels: as bright as what WHITE_PERCENTILE of them stay below, and of their colour.

    None when too little of the eye is seen. outline: rows of `points`, in order."""
    contour = points[outline, :2]
    x0, y0 = (int(v) for v in np.floor(contour.min(axis=0)))
    x1, y1 = (int(v) + 1 for v in np.ceil(contour.max(axis=0)))
    if x0 < 0 or y0 < 0 or x1 > crop.shape[1] or y1 > crop.shape[0]:
        return None
    inside = np.zeros((y1 - y0, x1 - x0), np.uint8)
    cv2.fillPoly(inside, [np.rint(contour - (x0, y0)).astype(np.int32)], (1,))
    found = crop[y0:y1, x0:x1][cv2.erode(inside, _THREE) > 0]
    if len(found) < WHITE_LEAST_PX:
        return None
    luma = found @ LUMA
    level = float(np.percentile(luma, WHITE_PERCENTILE))
    colour = found[luma >= level].mean(axis=0)
    return colour * (level / max(float(colour @ LUMA), 1.0))


@dataclass(frozen=True, slots=True)
class Ring:
    """index: (R,) points just inside the outline. blur: (R, R) along the ring. spread: (468, R) from the ring into the face."""

    index: NDArray[np.intp]
    blur: F64
    spread: F64


def make_ring(rest: F32, adjacent: NDArray[np.bool_]) -> Ring:
    """The ring of a persona's neutral mesh ((468, 3))."""
    index, spread = _ring_spread(adjacent.tobytes(), rest.shape[0])
    width = float(np.ptp(rest[:, 0]))
    gap = np.linalg.norm(rest[index, None, :2] - rest[None, index, :2], axis=2) / width
    return Ring(index, np.exp(-0.5 * (gap / 0.12) ** 2), spread)


@lru_cache(maxsize=1)
def _ring_spread(links: bytes, points: int) -> tuple[NDArray[np.intp], F64]:
    """`Ring.index` and `Ring.spread`: the same for all personas, and half of the time that making one ready took. links: (points, points) bool."""
    adjacent = np.frombuffer(links, np.bool_).reshape(points, points)
    outline = np.zeros(points, np.bool_)
    outline[list(topology.OVAL)] = True
    index = np.flatnonzero(adjacent[outline].any(axis=0) & ~outline)
    linked = adjacent.astype(np.float64)
    degree = linked.sum(axis=1)
    inner = np.diag(degree * 1.04 + 0.02) - linked
    inner[index] = 0.0
    inner[index, index] = 1.0
    source = np.zeros((points, len(index)))
    source[index, np.arange(len(index))] = 1.0
    return index, np.linalg.solve(inner, source).astype(np.float64)


def skin_weights(rest: F32, adjacent: NDArray[np.bool_]) -> F32:
    """(468,) 1 where a face is skin, 0 at eyes, brows, lips, nostrils and what touches them, little at the outline."""
    parts = (
        topology.RIGHT_UPPER + topology.RIGHT_LOWER + topology.LEFT_UPPER + topology.LEFT_LOWER + topology.RIGHT_BROW + topology.LEFT_BROW
        + topology.LIPS_OUTER + topology.MOUTH_UPPER + topology.MOUTH_LOWER + topology.NOSTRILS
    )  # fmt: skip
    out = np.ones(rest.shape[0], np.float32)
    core = np.zeros(rest.shape[0], np.bool_)
    core[list(parts)] = True
    out[adjacent[core].any(axis=0)] = 0.3
    out[core] = 0.0
    out[list(topology.OVAL)] = 0.1
    return out


@dataclass(slots=True)
class Scene:
    """The light on one tracked face, smoothed over time."""

    light: Fit | None = None
    seam: F64 | None = None

    def gains(self, seen: Fit, normals: F32, persona: F64, keep_tone: bool) -> F64:
        """(468, 3) factor for the persona's colours. persona: (468, 3) its own modelled skin colours.
        keep_tone: the wearer's mean skin tone stays; else the persona's does, and only brightness follows, by half."""
        self.light = seen if self.light is None else self.light.blended(seen, SMOOTH)
        gain = self.light.colours(normals) / persona
        if not keep_tone:
            mean = np.exp(np.log(gain).mean(axis=0))
            bright = float(mean @ LUMA)
            gain = gain / mean * np.clip(np.sqrt(bright), 0.6, 1.5)
        return np.clip(gain, GAIN_LOW, GAIN_HIGH)

    def seam_gains(self, ring: Ring, wearer: F32, drawn: F64, valid: F32) -> F64:
        """(468, 3) factor that brings `drawn` nearer to `wearer` ((R, 3) each) at the ring, fading inwards. valid: (R,) 0 outside the frame."""
        gap = np.log(np.maximum(wearer, 4.0) / np.maximum(drawn, 4.0))
        trust = valid * np.exp(-((np.abs(gap @ LUMA) / SEAM_OUTLIER) ** 4))
        even = ring.blur @ (trust[:, None] * np.clip(gap, -SEAM_LIMIT, SEAM_LIMIT)) / (ring.blur @ trust + 0.3)[:, None]
        self.seam = even if self.seam is None else self.seam + SMOOTH * (even - self.seam)
        return np.exp(ring.spread @ self.seam)
