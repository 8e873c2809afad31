"""One-Euro filter over arrays (Casiez, Roussel, Vogel, "1 € Filter", CHI 2012).

A low-pass whose cut-off grows with speed: what is still is smoothed, what moves fast is let through.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from livecam.types import F64

SHORTEST_S, LONGEST_S = 1e-3, 1.0
"""Time steps are taken to lie between these: clocks that stand still or jump must not break the filter."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """min_cutoff_hz: cut-off at rest. beta: cut-off gained (Hz) per unit of speed (1/s). speed_cutoff_hz: cut-off of the speed's own low-pass.
    dead_speed: speed (1/s) that noise alone makes; it opens nothing. joint: one cut-off for all values, from the length of their common speed."""

    min_cutoff_hz: float
    beta: float
    speed_cutoff_hz: float = 6.0
    dead_speed: float = 0.0
    joint: bool = False


class OneEuro:
    """Filters an array of one shape over time. With `joint` false, the last axis is a point's coordinates and each point has its own cut-off."""

    def __init__(self, tuning: Tuning) -> None:
        self.tuning = tuning
        self._value: F64 | None = None
        self._raw: F64 | None = None
        self._speed: F64 | None = None

    def reset(self) -> None:
        """The next value passes as it is."""
        self._value = self._raw = self._speed = None

    def __call__(self, value: F64, dt_s: float) -> F64:
        """The filtered value. value: float64, finite, of the shape of the first. dt_s: seconds since the value before."""
        if self._value is None or self._raw is None or self._speed is None:
            self._value, self._raw, self._speed = value.copy(), value.copy(), np.zeros_like(value)
            return value.copy()
        dt = min(max(dt_s, SHORTEST_S), LONGEST_S) if math.isfinite(dt_s) else LONGEST_S
        tuning = self.tuning
        self._speed = self._speed + _share(tuning.speed_cutoff_hz, dt) * ((value - self._raw) / dt - self._speed)
        squares = self._speed * self._speed
        length = np.sqrt(squares.sum()) if tuning.joint else np.sqrt(squares.sum(axis=-1, keepdims=True))
        cutoff = tuning.min_cutoff_hz + tuning.beta * np.maximum(length - tuning.dead_speed, 0.0)
        self._value = self._value + _share(cutoff, dt) * (value - self._value)
        self._raw = value.copy()
        return self._value.copy()


def _share(cutoff_hz: F64 | float, dt_s: float) -> F64 | float:
    """Weight of the new value in a first-order low-pass."""
    turn = 2.0 * math.pi * cutoff_hz * dt_s
    return turn / (turn + 1.0)
