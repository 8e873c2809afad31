"""Mean/std colour match of a drawn crop to the wearer's: one factor and one offset per channel, on masked pixels, smoothed over time.

For generators that draw another exposure or white balance than the scene's. `mesh` carries the scene's light itself, so there it changes little.
Method: Reinhard et al. 2001 per channel of BGR, with trimmed pixels in place of all, and bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import cv2
import numpy as np

from livecam.types import F64, U8

SMALL_PX = 32
"""Side at which statistics are taken: a mean needs no more."""
TRIM = 0.1
"""Share of the darkest and of the brightest masked pixels left out (hair, nostrils, highlights)."""
LEAST_PX = 12
"""Fewer masked pixels than this say nothing; the last match stays."""
SCALE_LOW, SCALE_HIGH = 0.85, 1.15
"""Contrast may change by this much: a beard or glasses of the wearer are no reason to stretch the persona's."""
SHIFT_LIMIT = 60.0
"""Grey levels by which a channel's mean may move."""
LOOK_EVERY = 3
"""Frames between two looks at the colours: the match settles over half a second anyway."""
SMOOTH = 0.12
"""Share of the way to the newest look's match, each frame: settles in half a second at 30 fps."""
MOST_FACES = 8
SOLID = 200
"""Alpha from which a pixel counts as the generator's."""
LUMA = np.array([0.114, 0.587, 0.299])


@dataclass(slots=True)
class _State:
    """now, target: (2, 3) factor and offset in use, and those last seen; age: frames since they were."""

    now: F64
    target: F64
    age: int = 0


class ColourMatch:
    """Keeps, per track, a factor and an offset for each channel.

    tone: "wearer" takes each channel's mean and spread to the wearer's; "persona" keeps the persona's tone: brightness only, by half.
    """

    def __init__(self, tone: Literal["wearer", "persona"] = "wearer") -> None:
        self._tone = tone
        self._states: dict[int, _State] = {}

    def match(self, crop: U8, wearer: U8, alpha: U8, track_id: int = 0) -> U8:
        """`crop` ((S, S, 3) uint8 BGR, not written to) with the colours of `wearer` (same shape) where `alpha` ((S, S) uint8) is solid."""
        state = self._states.pop(track_id, None)
        if state is None or state.age + 1 >= LOOK_EVERY:
            newest = self._measure(crop, wearer, alpha)
            if state is None:
                if newest is None:
                    return crop
                state = _State(newest, newest)
            elif newest is not None:
                state.target = newest
            state.age = 0
        else:
            state.age += 1
        state.now = state.now + SMOOTH * (state.target - state.now)
        self._states[track_id] = state
        while len(self._states) > MOST_FACES:
            del self._states[next(iter(self._states))]
        return apply(crop, state.now)

    def _measure(self, crop: U8, wearer: U8, alpha: U8) -> F64 | None:
        """(2, 3) factor and offset, or None when too little is masked."""
        small = (SMALL_PX, SMALL_PX)
        solid = cv2.resize(alpha, small, interpolation=cv2.INTER_AREA) >= SOLID
        if np.count_nonzero(solid) < LEAST_PX:
            return None
        drawn_mean, drawn_std = _statistics(cast(U8, cv2.resize(crop, small, interpolation=cv2.INTER_AREA))[solid])
        mean, std = _statistics(cast(U8, cv2.resize(wearer, small, interpolation=cv2.INTER_AREA))[solid])
        if self._tone == "persona":
            shift = 0.5 * float((mean - drawn_mean) @ LUMA)
            return np.array([np.ones(3), np.full(3, np.clip(shift, -SHIFT_LIMIT, SHIFT_LIMIT))])
        scale = np.clip(std / np.maximum(drawn_std, 1.0), SCALE_LOW, SCALE_HIGH)
        # A channel-wise factor on a channel-wise mean: what moves is bounded, so that one bad frame cannot invert a picture.
        target = drawn_mean + np.clip(mean - drawn_mean, -SHIFT_LIMIT, SHIFT_LIMIT)
        return np.array([scale, target - scale * drawn_mean])


def apply(crop: U8, affine: F64) -> U8:
    """`crop` * affine[0] + affine[1] per channel, rounded and clipped, by a table of 256 entries. affine: (2, 3) float64."""
    levels = np.arange(256.0)[:, None] * affine[0] + affine[1]
    table = np.rint(np.clip(levels, 0, 255)).astype(np.uint8).reshape(1, 256, 3)
    return cast(U8, cv2.LUT(crop, table))


def apply_plain(crop: U8, affine: F64) -> U8:
    """`apply` without the table."""
    return np.rint(np.clip(crop * affine[0] + affine[1], 0, 255)).astype(np.uint8)


def _statistics(pixels: U8) -> tuple[F64, F64]:
    """Mean and standard deviation (3,) of (N, 3) pixels, those of extreme brightness left out."""
    values = pixels.astype(np.float64)
    luma = values @ LUMA
    # A partial sort at the two ranks; np.quantile costs ten times as much on so few numbers.
    last = len(luma) - 1
    first_rank, last_rank = round(TRIM * last), round((1.0 - TRIM) * last)
    ordered = np.partition(luma, (first_rank, last_rank))
    kept = values[(luma >= ordered[first_rank]) & (luma <= ordered[last_rank])]
    mean = kept.mean(axis=0)
    return mean, np.sqrt(np.maximum((kept * kept).mean(axis=0) - mean * mean, 0.0))
