"""Colour of a generator that draws the scene's light itself: only a low-frequency offset at the seam is taken away.

Where the drawing fades into the wearer's own skin, both are seen: their difference, where both are skin, is fitted by a plane for each channel
(an offset and a slope), smoothed over half a second, and added to the drawing, but only while that lowers the difference at the seam.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import cv2
import numba
import numpy as np

from livecam.types import F32, F64, U8

SMALL_PX = 32
"""Side at which the seam is looked at: an offset and a slope need no more."""
BAND_LOW, BAND_HIGH = 60, 250
"""Alpha between which a pixel belongs to the seam: further out the drawing is the wearer again."""
OUTLIER = 24.0
"""Grey levels of difference at which a pixel counts half: further apart, one of the two is hair, background or a beard."""
LEAST_WEIGHT = 10.0
"""Pixels' worth of seam below which it says nothing."""
RIDGE = np.diag([0.02, 0.3, 0.3])
"""Of the fit, by the seam's weight: a slope needs more evidence than an offset."""
LIMIT = 14.0
"""Grey levels that a channel may move by: more would be another light, which is the generator's to draw."""
GAIN = 0.92
"""The offset is used while the seam's difference with it is below this share of that without it."""
LOOK_EVERY = 3
"""Frames between two looks."""
SMOOTH = 0.12
"""Share of the way to the newest look's offset, each frame: settles in half a second at 30 fps."""
LEAST = 0.5
"""Grey levels below which nothing is changed."""
MOST_FACES = 8
_X, _Y = np.meshgrid(np.linspace(-1.0, 1.0, SMALL_PX), np.linspace(-1.0, 1.0, SMALL_PX))
_PLANE = np.stack([np.ones((SMALL_PX, SMALL_PX)), _X, _Y], axis=-1)


@dataclass(slots=True)
class _State:
    """now, target: (3, 3) offset, slope along x and along y for each channel; age: frames since the last look."""

    now: F64 = field(default_factory=lambda: np.zeros((3, 3)))
    target: F64 = field(default_factory=lambda: np.zeros((3, 3)))
    age: int = LOOK_EVERY


class SeamOffset:
    """Keeps, per track, the offset. The same call as `ColourMatch.match`. tone: with "persona" nothing is taken away: the difference is wanted."""

    def __init__(self, tone: Literal["wearer", "persona"] = "wearer") -> None:
        self._tone = tone
        self._states: dict[int, _State] = {}
        apply(np.zeros((4, 4, 3), np.uint8), np.zeros((3, 3)))  # compiles, or loads from the disk, before the first frame

    def match(self, crop: U8, wearer: U8, alpha: U8, track_id: int = 0) -> U8:
        """`crop` ((S, S, 3) uint8 BGR, not written to) with the offset that brings it to `wearer` at the seam of `alpha` ((S, S) uint8)."""
        if self._tone == "persona":
            return crop
        state = self._states.pop(track_id, None) or _State()
        self._states[track_id] = state
        while len(self._states) > MOST_FACES:
            del self._states[next(iter(self._states))]
        state.age += 1
        if state.age >= LOOK_EVERY:
            state.age, state.target = 0, fit(crop, wearer, alpha)
        state.now = state.now + SMOOTH * (state.target - state.now)
        return apply(crop, state.now) if float(np.abs(state.now).sum(axis=0).max()) >= LEAST else crop


def fit(crop: U8, wearer: U8, alpha: U8) -> F64:
    """(3, 3) rows: offset, slope along x, slope along y (at the crop's borders); columns: B, G, R in grey levels. Zeros when that does not help."""
    small = (SMALL_PX, SMALL_PX)
    share = cv2.resize(alpha, small, interpolation=cv2.INTER_AREA)
    seam = (share >= BAND_LOW) & (share <= BAND_HIGH)
    planes = _PLANE[seam]
    off = cv2.resize(wearer, small, interpolation=cv2.INTER_AREA)[seam].astype(np.float64)
    off -= cv2.resize(crop, small, interpolation=cv2.INTER_AREA)[seam]
    middle = np.median(off, axis=0) if len(off) else np.zeros(3)
    weight = 1.0 / (1.0 + (np.abs(off - middle).max(axis=1) / OUTLIER) ** 4) if len(off) else np.zeros(0)
    total = float(weight.sum())
    if total < LEAST_WEIGHT:
        return np.zeros((3, 3))
    weighted = planes * weight[:, None]
    solved = np.asarray(np.linalg.solve(weighted.T @ planes + total * RIDGE, weighted.T @ off), np.float64)
    solved *= min(1.0, LIMIT / max(float(np.abs(solved).sum(axis=0).max()), 1e-6))
    before, after = np.abs(off), np.abs(off - planes @ solved)
    helps = float(weight @ after.sum(axis=1)) < GAIN * float(weight @ before.sum(axis=1))
    return solved if helps else np.zeros((3, 3))


@numba.njit(cache=True, nogil=True)
def _add(crop: U8, corner: F32, right: F32, down: F32, out: U8) -> None:
    """out = crop + corner + x * right + y * down, rounded and clipped."""
    size, width = crop.shape[0], crop.shape[1]
    for i in range(size):
        for c in range(3):
            begin, step = corner[c] + np.float32(i) * down[c] + np.float32(0.5), right[c]
            for j in range(width):
                value = np.float32(crop[i, j, c]) + begin + np.float32(j) * step
                out[i, j, c] = np.uint8(min(max(value, np.float32(0.0)), np.float32(255.0)))


def apply(crop: U8, plane: F64) -> U8:
    """`crop` + plane, rounded and clipped. plane: as `fit` gives it."""
    out, step = np.empty_like(crop), 2.0 / (crop.shape[0] - 1)
    corner = plane[0] - plane[1] - plane[2]
    _add(np.ascontiguousarray(crop), corner.astype(np.float32), (plane[1] * step).astype(np.float32), (plane[2] * step).astype(np.float32), out)
    return out


def apply_plain(crop: U8, plane: F64) -> U8:
    """`apply` written out."""
    axis = np.linspace(-1.0, 1.0, crop.shape[0])
    x, y = np.meshgrid(axis, axis)
    moved = crop + plane[0] + x[..., None] * plane[1] + y[..., None] * plane[2]
    return np.clip(np.rint(moved), 0, 255).astype(np.uint8)
