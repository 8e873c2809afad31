"""Finds the hidden mark in a picture and says how sure that is.

Pilots find, the payload proves.  Where the mark lies in the picture (its placing) is sought with the pilot chips alone, by whatever means.  Each
placing that comes out of the search is then tested once, with the payload chips, whose signs are independent of the pilots' and of the search:

    z = sum over payload chips of (sign * bit * r) / sqrt(sum of r * r),   r = the picture at the chip, whitened

False alarms.  In a picture without the mark, r does not depend on the signs, which are independent fair coins; by Hoeffding's inequality each of
the 2**29 codewords reaches z >= k with a chance of at most exp(-k * k / 2), *whatever the picture shows*.  The n-th placing tested gets the share
1 / (n * (n + 1)) of the allowance (these add up to 1), so by the union bound the chance that an unmarked picture is reported with a figure of p
or less is at most p = n * (n + 1) * 2**29 * exp(-z * z / 2).

Convention: a placing is a 3x3 float64 matrix that takes chip coordinates (see _layout.py) to the picture's pixels (pixel centres, livecam/types.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np

from livecam.mark._code import MESSAGE_BITS, Payload, decode
from livecam.mark._layout import BITS, COLUMNS, ROWS, layout
from livecam.types import F32, F64, U8

FINE = 2
"""Samples a chip and direction."""
MOST_CHIP_PX = 4.0
"""A picture with larger chips is shrunk to this before it is sampled: what is finer than that holds nothing of the mark."""
FLOOR = 0.5
"""Squared grey levels added to the variance around a chip: no place is trusted more than one with this little of its own."""
CLIP = 2.0
FALSE_ALARM = 1e-6
"""A mark is there when the chance of such a reading without one is at most this."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One test of one placing. z: see above. false_alarm: chance of such a reading in a picture without the mark, at most. payload: what was read
    (nonsense unless `present`). bits: (BITS,) float64, positive for 0. placing: (3, 3) float64. pilots_z: of the pilots, for the search only."""

    z: float
    false_alarm: float
    payload: Payload
    bits: F64
    placing: F64
    pilots_z: float

    @property
    def present(self) -> bool:
        """Whether the mark is there."""
        return self.false_alarm <= FALSE_ALARM


def luma(image: U8) -> F32:
    """(H, W) float32 grey levels of (H, W, 3) uint8 BGR, or of (H, W) uint8 as it is."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
    return cast(F32, grey.astype(np.float32))


def whole(width_px: float, height_px: float, x: float = 0.0, y: float = 0.0, *, mirrored: bool = False) -> F64:
    """The placing of a mark that fills a rectangle; x, y: its top-left *corner*, so that (0, 0) is the picture's own."""
    across, down = width_px / COLUMNS, height_px / ROWS
    if mirrored:
        return np.array(((-across, 0.0, x + width_px - 0.5), (0.0, down, y - 0.5), (0.0, 0.0, 1.0)))
    return np.array(((across, 0.0, x - 0.5), (0.0, down, y - 0.5), (0.0, 0.0, 1.0)))


def sample(picture: F32, placing: F64) -> F32:
    """(ROWS, COLUMNS) float32: `picture` ((H, W) float32) at each chip, NaN where it lies outside."""
    across = float(np.hypot(placing[0, 0], placing[1, 0])) / max(abs(float(placing[2, 2])), 1e-9)
    shrink = across / MOST_CHIP_PX
    if shrink > 1.2:
        wide, high = max(round(picture.shape[1] / shrink), 1), max(round(picture.shape[0] / shrink), 1)
        sx, sy = wide / picture.shape[1], high / picture.shape[0]
        picture = cast(F32, cv2.resize(picture, (wide, high), interpolation=cv2.INTER_AREA))
        placing = np.array(((sx, 0.0, 0.5 * sx - 0.5), (0.0, sy, 0.5 * sy - 0.5), (0.0, 0.0, 1.0))) @ placing
    to_chips = np.array(((1.0 / FINE, 0.0, 0.5 / FINE), (0.0, 1.0 / FINE, 0.5 / FINE), (0.0, 0.0, 1.0)))
    fine = cv2.warpPerspective(
        picture,
        placing @ to_chips,
        (COLUMNS * FINE, ROWS * FINE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(float("nan"),),
    )
    return cast(F32, cv2.resize(fine, (COLUMNS, ROWS), interpolation=cv2.INTER_AREA))


def whiten(chips: F32) -> F32:
    """What of each chip its neighbours do not say, weighed by how calm it is around it; 0 where a chip or a neighbour lies outside.

    chips: (ROWS, COLUMNS) float32, of `sample`."""
    outside = np.isnan(chips)
    if outside.any():
        chips = np.where(outside, np.float32(0.0), chips)
        outside = cv2.dilate(outside.view(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    rest = chips - cv2.blur(chips, (3, 3))
    if outside.any():
        rest[outside] = 0.0
    calm = rest / (cv2.blur(rest * rest, (3, 3)) + np.float32(FLOOR))
    return np.clip(calm, -CLIP, CLIP)


def pilots_z(residual: F32) -> float:
    """How well the pilots fit: of a wrong placing about normal with deviation 1."""
    made = layout()
    energy = float(np.sum(residual * residual, where=made.bit < 0))
    return float(np.vdot(made.pilots, residual)) / math.sqrt(energy + 1e-9)


def prove(residual: F32, placing: F64, number: int) -> Reading:
    """Tests a placing with the payload's chips. residual: of `whiten`. number: how many placings, this one included, were tested for this answer."""
    made = layout()
    carrying = made.bit >= 0
    values = residual[carrying].astype(np.float64)
    bits = np.zeros(BITS, np.float64)
    np.add.at(bits, made.bit[carrying], made.signs[carrying] * values)
    message, fit = decode(bits)
    z = fit / math.sqrt(float(np.dot(values, values)) + 1e-9)
    chance = bound(z, number)
    return Reading(z, chance, Payload.of(message), bits, placing, pilots_z(residual))


def bound(z: float, number: int = 1) -> float:
    """Chance that the `number`-th placing tested in a picture without the mark fits any codeword with `z` or more, at most."""
    log = math.log(number * (number + 1.0)) + MESSAGE_BITS * math.log(2.0) - z * z / 2.0 if z > 0.0 else 0.0
    return math.exp(min(log, 0.0))
