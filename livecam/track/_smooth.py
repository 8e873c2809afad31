"""Smoothing of a face in its own scale: what moves rigidly, what does not, and the alignment points, each with its own One-Euro filters.

The similarity of the face (place, turn, size) is filtered by itself, so that a fast turn opens the filter for all points at once and none lags;
the rest (expression, lids, mouth, turns of the head out of the plane) is filtered in the face's own frame, point by point.  Speeds count in face
sizes per second: a face far away is smoothed like a near one.

Convention:
    The face's frame has its origin at the mean of the stable points and their root-mean-square distance as its unit; its x is the image's at the
    track's first frame.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from livecam import geometry
from livecam.track._euro import OneEuro, Tuning
from livecam.types import F64

RIGID = Tuning(min_cutoff_hz=0.6, beta=22.0, speed_cutoff_hz=9.0, dead_speed=0.06, joint=True)
"""Values: x, y in units of the face, turn in radians, log size."""
REST = Tuning(min_cutoff_hz=1.5, beta=25.0, speed_cutoff_hz=9.0, dead_speed=0.1)
FIVE = Tuning(min_cutoff_hz=0.5, beta=12.0, speed_cutoff_hz=6.0, dead_speed=0.12)


class Smoother:
    """Filters of one track. stable: indices of points whose similarity is the face's."""

    def __init__(self, stable: NDArray[np.intp]) -> None:
        self._stable = stable
        self._rigid = OneEuro(RIGID)
        self._rest = OneEuro(REST)
        self._five = OneEuro(FIVE)
        self._shape: F64 | None = None
        self._place = np.zeros(4)
        self._origin = np.zeros(2)
        self._turn = 0.0

    def reset(self) -> None:
        """The next face passes as it is."""
        self._shape = None
        for one in (self._rigid, self._rest, self._five):
            one.reset()

    def __call__(self, points_px: F64, five_px: F64, dt_s: float) -> tuple[F64, F64]:
        """Smoothed (N, 2 or 3) points and (5, 2) alignment points of the next frame, dt_s seconds later."""
        stable = points_px[self._stable, :2]
        shape = self._shape
        if shape is None:
            centre = stable.mean(axis=0)
            spread = math.sqrt(float(((stable - centre) ** 2).sum(axis=1).mean()))
            shape = self._shape = (stable - centre) / max(spread, 1e-6)
            self._turn, self._place, self._origin = 0.0, np.zeros(4), centre
        raw = geometry.umeyama(shape, stable)
        smooth = self._filtered(raw, dt_s)
        inverse = geometry.invert(raw)
        rest = self._rest(geometry.apply(inverse, points_px), dt_s)
        five = self._five(geometry.apply(inverse, five_px), dt_s)
        return geometry.apply(smooth, rest), geometry.apply(smooth, five)

    def _filtered(self, raw: F64, dt_s: float) -> F64:
        """The similarity `raw` (face's frame -> image), smoothed. Places are counted from frame to frame, in the face's size of that frame."""
        parts = geometry.decompose(raw)
        turn = math.radians(parts.rotation_deg)
        self._turn += (turn - self._turn + math.pi) % (2 * math.pi) - math.pi
        step = (parts.shift_px - self._origin) / parts.scale
        self._origin = parts.shift_px
        self._place = np.array([self._place[0] + step[0], self._place[1] + step[1], self._turn, math.log(parts.scale)])
        filtered = self._rigid(self._place, dt_s)
        behind = (filtered - self._place)[:2] * parts.scale
        return geometry.similarity(math.exp(float(filtered[3])), math.degrees(float(filtered[2])), parts.shift_px + behind)
