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

import numba
import numpy as np
from numpy.typing import NDArray

from livecam import geometry
from livecam.track._euro import LONGEST_S, SHORTEST_S, OneEuro, Tuning
from livecam.types import F64

RIGID = Tuning(min_cutoff_hz=0.6, beta=22.0, speed_cutoff_hz=9.0, dead_speed=0.06, joint=True)
"""Values: x, y in units of the face, turn in radians, log size."""
REST = Tuning(min_cutoff_hz=1.5, beta=25.0, speed_cutoff_hz=9.0, dead_speed=0.1)
FIVE = Tuning(min_cutoff_hz=0.5, beta=12.0, speed_cutoff_hz=6.0, dead_speed=0.12)


class PlainSmoother:
    """Filters of one track, in NumPy: what `Smoother` is held to. stable: indices of points whose similarity is the face's."""

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


class Smoother:
    """`PlainSmoother` in one kernel: a tenth of its time. Same results but for rounding."""

    def __init__(self, stable: NDArray[np.intp]) -> None:
        self._stable = stable
        self._shape = np.empty((len(stable), 2))
        self._own = np.zeros(7)
        self._rigid = np.zeros((3, 1, 4))
        self._rest: F64 = np.zeros((3, 0, 0))
        self._five = np.zeros((3, 5, 2))
        self._fresh = True

    def reset(self) -> None:
        """The next face passes as it is."""
        self._fresh = True

    def __call__(self, points_px: F64, five_px: F64, dt_s: float) -> tuple[F64, F64]:
        """Smoothed (N, 2 or 3) points and (5, 2) alignment points of the next frame, dt_s seconds later. Raises ValueError for points all in
        one place or not finite."""
        if self._rest.shape[1:] != points_px.shape:
            self._rest, self._fresh = np.zeros((3, *points_px.shape)), True
        dt = min(max(dt_s, SHORTEST_S), LONGEST_S) if math.isfinite(dt_s) else LONGEST_S
        points, five = np.ascontiguousarray(points_px), np.ascontiguousarray(five_px)
        out, out_five = np.empty_like(points), np.empty_like(five)
        state = (self._shape, self._own, self._rigid, self._rest, self._five)
        if not _smooth(points, five, self._stable, *state, _TUNINGS, dt, self._fresh, out, out_five):
            self._fresh = True
            raise ValueError("expected finite points of a face that are apart, found none")
        self._fresh = False
        return out, out_five


_TUNINGS = np.array([[t.min_cutoff_hz, t.beta, t.speed_cutoff_hz, t.dead_speed] for t in (RIGID, REST, FIVE)])


def warm_up() -> None:
    """Compile (or load from the disk) the kernel; the first time takes about a second."""
    points = np.arange(12.0).reshape(4, 3) ** 2
    Smoother(np.arange(4))(points, np.zeros((5, 2)), 0.03)


@numba.njit(nogil=True, cache=True)
def _euro(state, new, tuning, dt, fresh):  # type: ignore[no-untyped-def]
    """`OneEuro` in place. state: (3, N, D) value, raw and speed; new: (N, D); tuning: (4,) as in _TUNINGS; each of N has its own cut-off."""
    turn = 2.0 * math.pi * dt
    share = turn * tuning[2] / (turn * tuning[2] + 1.0)
    for i in range(new.shape[0]):
        square = 0.0
        for k in range(new.shape[1]):
            if fresh:
                state[0, i, k], state[1, i, k], state[2, i, k] = new[i, k], new[i, k], 0.0
            else:
                state[2, i, k] += share * ((new[i, k] - state[1, i, k]) / dt - state[2, i, k])
                square += state[2, i, k] * state[2, i, k]
        if fresh:
            continue
        cutoff = turn * (tuning[0] + tuning[1] * max(math.sqrt(square) - tuning[3], 0.0))
        for k in range(new.shape[1]):
            state[0, i, k] += cutoff / (cutoff + 1.0) * (new[i, k] - state[0, i, k])
            state[1, i, k] = new[i, k]


@numba.njit(nogil=True, cache=True)
def _map(a, b, x, y, points, out):  # type: ignore[no-untyped-def]
    """geometry.apply of the similarity [[a, -b, x], [b, a, y]]."""
    scale = math.sqrt(a * a + b * b)
    for i in range(points.shape[0]):
        px, py = points[i, 0], points[i, 1]
        out[i, 0], out[i, 1] = a * px - b * py + x, b * px + a * py + y
        if points.shape[1] == 3:
            out[i, 2] = points[i, 2] * scale


@numba.njit(nogil=True, cache=True)
def _begin(points, stable, shape):  # type: ignore[no-untyped-def]
    """Writes the face's own frame into shape: stable points about their mean, in units of their spread. Returns the mean."""
    mean_x, mean_y, square = 0.0, 0.0, 0.0
    for k in range(len(stable)):
        mean_x += points[stable[k], 0] / len(stable)
        mean_y += points[stable[k], 1] / len(stable)
    for k in range(len(stable)):
        shape[k, 0], shape[k, 1] = points[stable[k], 0] - mean_x, points[stable[k], 1] - mean_y
        square += (shape[k, 0] * shape[k, 0] + shape[k, 1] * shape[k, 1]) / len(stable)
    shape /= max(math.sqrt(square), 1e-6)
    return mean_x, mean_y


@numba.njit(nogil=True, cache=True)
def _fit(points, stable, shape):  # type: ignore[no-untyped-def]
    """geometry.umeyama of shape to the stable points: a, b, x, y; the shape's mean is 0."""
    mean_x, mean_y, spread, real, imaginary = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(len(stable)):
        x, y = points[stable[k], 0], points[stable[k], 1]
        mean_x += x / len(stable)
        mean_y += y / len(stable)
        spread += shape[k, 0] * shape[k, 0] + shape[k, 1] * shape[k, 1]
        real += shape[k, 0] * x + shape[k, 1] * y
        imaginary += shape[k, 0] * y - shape[k, 1] * x
    spread = max(spread, 1e-12)
    return real / spread, imaginary / spread, mean_x, mean_y


@numba.njit(nogil=True, cache=True)
def _smooth(points, five, stable, shape, own, rigid, rest, fives, tunings, dt, fresh, out, out_five):  # type: ignore[no-untyped-def]
    """PlainSmoother's call; False for points that are no face. own: (7,) place, turn and log size; origin; turn so far.
    rigid: (3, 1, 4), rest: (3, N, D), fives: (3, 5, 2), see _euro."""
    if fresh:
        own[:] = 0.0
        own[4], own[5] = _begin(points, stable, shape)
    a, b, x, y = _fit(points, stable, shape)
    scale = math.sqrt(a * a + b * b)
    if not scale > 1e-9 or not math.isfinite(scale + x + y):
        return False
    own[6] += (math.atan2(b, a) - own[6] + math.pi) % (2 * math.pi) - math.pi
    own[0] += (x - own[4]) / scale
    own[1] += (y - own[5]) / scale
    own[2], own[3], own[4], own[5] = own[6], math.log(scale), x, y
    _euro(rigid, own[:4].reshape(1, 4), tunings[0], dt, fresh)
    square = scale * scale
    back = (a / square, -b / square, -(a * x + b * y) / square, (b * x - a * y) / square)
    _map(back[0], back[1], back[2], back[3], points, out)
    _map(back[0], back[1], back[2], back[3], five, out_five)
    _euro(rest, out, tunings[1], dt, fresh)
    _euro(fives, out_five, tunings[2], dt, fresh)
    size, turn = math.exp(rigid[0, 0, 3]), rigid[0, 0, 2]
    x += (rigid[0, 0, 0] - own[0]) * scale
    y += (rigid[0, 0, 1] - own[1]) * scale
    a, b = size * math.cos(turn), size * math.sin(turn)
    _map(a, b, x, y, rest[0], out)
    _map(a, b, x, y, fives[0], out_five)
    return True
