"""A turned square of the frame that a landmark network looks at.

Convention:
    A region has its centre in frame pixels (pixel-centre units), a side in pixels and an angle, clockwise on the screen.
    Its edges become the edges of the crop: the crop of size S covers [-0.5, S - 0.5] in pixel-centre units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from livecam import geometry
from livecam.runtimes import Runtime
from livecam.track import _points
from livecam.types import F64, U8

STEADY_SHIFT = 0.015
"""A region that would move by less than this share of its side stays, so that a still face is seen through one and the same crop."""
STEADY_LOG_SIZE = 0.02
STEADY_DEG = 0.8


@dataclass(frozen=True, slots=True)
class Region:
    """centre_x_px, centre_y_px, side_px: frame pixels; angle_deg: how far the face is turned clockwise."""

    centre_x_px: float
    centre_y_px: float
    side_px: float
    angle_deg: float

    def matrix(self, size_px: int, mirrored: bool = False) -> F64:
        """(2, 3): frame -> crop of size_px (pixel-centre units both), seen in a mirror if `mirrored`."""
        half = (size_px - 1) / 2.0
        scale = size_px / self.side_px
        turn = math.radians(-self.angle_deg)
        a, b = scale * math.cos(turn), scale * math.sin(turn)
        x, y = self.centre_x_px, self.centre_y_px
        out = np.array([[a, -b, half - a * x + b * y], [b, a, half - b * x - a * y]])
        if mirrored:
            out[0] = -out[0]
            out[0, 2] += size_px - 1.0
        return out

    def near(self, other: Region) -> bool:
        """Whether `other` differs so little that it is not worth moving."""
        return not self.differs(other, STEADY_SHIFT, STEADY_DEG) and abs(math.log(other.side_px / self.side_px)) < STEADY_LOG_SIZE

    def differs(self, other: Region, shift: float, turn_deg: float) -> bool:
        """Whether `other` lies off by at least `shift` of this side, or is turned by at least so much."""
        apart = math.hypot(other.centre_x_px - self.centre_x_px, other.centre_y_px - self.centre_y_px)
        return apart >= shift * self.side_px or abs(self._turn_to(other)) >= turn_deg

    def onward(self, before: Region) -> Region:
        """Where a region that came here from `before` will be after the same step again; its size stays."""
        x, y = 2.0 * self.centre_x_px - before.centre_x_px, 2.0 * self.centre_y_px - before.centre_y_px
        return Region(x, y, self.side_px, self.angle_deg + before._turn_to(self))

    def _turn_to(self, other: Region) -> float:
        return (other.angle_deg - self.angle_deg + 180.0) % 360.0 - 180.0

    def ok(self) -> bool:
        """Whether it is finite and has a size."""
        return math.isfinite(self.centre_x_px + self.centre_y_px + self.side_px + self.angle_deg) and self.side_px >= 1.0


def around(points_px: ArrayLike, axis_px: ArrayLike, margin: float) -> Region:
    """The square region around `points_px` (N, >= 2) whose horizontal lies along the vector `axis_px` (2,); its side is the longer extent * margin.

    Not `ok` when a number is not finite."""
    ax, ay = np.asarray(axis_px, dtype=np.float64).tolist()
    turn = math.atan2(ay, ax)
    c, s = math.cos(turn), math.sin(turn)
    lo_a, lo_d, hi_a, hi_d = _points.extent(np.ascontiguousarray(points_px, dtype=np.float64), c, s)
    mid_a, mid_d = (lo_a + hi_a) / 2, (lo_d + hi_d) / 2
    return Region(mid_a * c - mid_d * s, mid_a * s + mid_d * c, max(hi_a - lo_a, hi_d - lo_d) * margin, math.degrees(turn))


def around_two(first_px: F64, second_px: F64, margin: float) -> Region:
    """`around` of two points (>= 2,), along the line from the first to the second."""
    (x0, y0), (x1, y1) = first_px[:2].tolist(), second_px[:2].tolist()
    return Region((x0 + x1) / 2, (y0 + y1) / 2, math.hypot(x1 - x0, y1 - y0) * margin, math.degrees(math.atan2(y1 - y0, x1 - x0)))


def crop_rgb(image: U8, region: Region, size_px: int, mirrored: bool = False, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """(size_px, size_px, 3) float32 RGB 0..1 of `image` (BGR), written to `out` if given; outside the frame its edge repeats. Large regions are
    averaged down first."""
    matrix = region.matrix(size_px, mirrored)
    picture = image
    if region.side_px >= 2 * size_px:
        picture, matrix = _reduced(image, region, matrix, int(min(region.side_px // size_px, 8)))
    crop = cv2.warpAffine(picture, matrix, (size_px, size_px), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    rgb = cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)
    return cast("NDArray[np.float32]", np.multiply(rgb, np.float32(1 / 255), out=out, dtype=np.float32))


def look(network: Runtime, image: U8, region: Region, crop: NDArray[np.float32], mirrored: bool = False) -> Mapping[str, NDArray[Any]]:
    """What a network with one picture input says of `region`; what it saw is in `crop` ((1, S, S, 3) float32) then. On a card it looks at the frame
    there; else `crop_rgb` cuts it out."""
    size_px = crop.shape[1]
    seen = getattr(network, "look", None)
    if seen is not None:
        return seen(image, region.matrix(size_px, mirrored), region.side_px, crop)
    crop_rgb(image, region, size_px, mirrored, out=crop[0])
    return network.run({network.inputs[0].name: crop})


def _reduced(image: U8, region: Region, matrix: F64, factor: int) -> tuple[U8, F64]:
    """The part of the frame under the region, made smaller by averaging (so that sensor noise does not alias), and the matrix from there."""
    factor = 1 << (factor.bit_length() - 1)
    half = region.side_px * (abs(math.cos(math.radians(region.angle_deg))) + abs(math.sin(math.radians(region.angle_deg)))) / 2 + 2 * factor
    height, width = image.shape[:2]
    x0, y0 = max(int(region.centre_x_px - half), 0), max(int(region.centre_y_px - half), 0)
    columns = (min(int(region.centre_x_px + half) + 1, width) - x0) // factor
    rows = (min(int(region.centre_y_px + half) + 1, height) - y0) // factor
    if columns < 2 or rows < 2:
        return image, matrix
    part = image[y0 : y0 + rows * factor, x0 : x0 + columns * factor]
    small = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
    shift = (factor - 1) / 2.0
    back = np.array([[float(factor), 0.0, x0 + shift], [0.0, float(factor), y0 + shift]])
    return cast(U8, small), geometry.compose(matrix, back)
