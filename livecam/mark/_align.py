"""Where the mark lies in a picture that was cut, scaled, put into bars, tilted or filmed. Uses the pilot chips only (see read.py).

The search, cheapest first: the whole picture; the picture inside black bars; every scale, by correlation over all shifts; then for every tilt, at the
scales that a badge in sight allows; and, if asked for, for every tilt and scale.

Convention: placings as in read.py; angles in degrees, positive turns x towards y.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import cast

import cv2
import numpy as np

from livecam.mark import badge, read
from livecam.mark._layout import COLUMNS, ROWS, layout
from livecam.types import F32, F64

WORKING_PX = 800
"""Longer side of the picture that is searched."""
BAR_LEVEL = 24.0
"""Rows and columns of which no pixel is brighter are bars."""
SCALES = np.exp(np.arange(math.log(0.36), math.log(2.2), 0.011))
"""Width of the whole mark over the picture's, from a small window on a large screen to a strong zoom; half a chip at the edge apart."""
TILTED_SCALES = np.exp(np.arange(math.log(0.45), math.log(1.5), 0.013))
TILTS_DEG = tuple(sign * 0.6 * step for step in range(1, 11) for sign in (1, -1))
SHAPES = (16 / 9, 4 / 3)
"""Width over height that marked pictures mostly have; the picture's own is tried too."""
ENOUGH_Z = 11.0
"""A fit so good, before refining, ends the search at once: chance gives 6 at most."""
KEPT, LEAST_Z = 4, 4.6
"""So many of the best placings of a search are refined, if they fit better than this."""
SURE_Z = 7.5
"""Pilots that fit so well after refining end the search."""
STEPS_CHIPS = (0.6, 0.3, 0.15, 0.07)
BADGE_LEAST = 0.55
"""Correlation with the plate from which something may be the badge."""


@dataclass(frozen=True, slots=True)
class Found:
    """A placing, and how well the pilots fit there."""

    placing: F64
    z: float


def placings(picture: F32) -> Iterator[F64]:
    """The placings of a mark that was neither cut nor tilted. picture: (H, W) float32 grey levels."""
    height, width = picture.shape[:2]
    simple = [(float(width), float(height), 0.0, 0.0)]
    inner = inside_bars(picture)
    if inner != (0, 0, width, height):
        x0, y0, x1, y1 = inner
        simple.append((float(x1 - x0), float(y1 - y0), float(x0), float(y0)))
    for rectangle in simple:
        for mirrored in (False, True):
            yield read.whole(*rectangle, mirrored=mirrored)


def searched(picture: F32, *, deep: bool = False) -> Iterator[F64]:
    """Placings found by searching shifts, scales, and tilts where a badge is in sight. deep: tilts without a badge too, which takes a minute."""
    x0, y0, x1, y1 = inside_bars(picture)
    part = picture[y0:y1, x0:x1]
    scale = min(1.0, WORKING_PX / max(part.shape))
    small = cast(F32, cv2.resize(part, (max(round(part.shape[1] * scale), 1), max(round(part.shape[0] * scale), 1)), interpolation=cv2.INTER_AREA))
    if min(small.shape) < 32:
        return
    sx, sy = part.shape[1] / small.shape[1], part.shape[0] / small.shape[0]
    back = np.array(((sx, 0.0, x0 + 0.5 * sx - 0.5), (0.0, sy, y0 + 0.5 * sy - 0.5), (0.0, 0.0, 1.0)))
    for angles, scales in (((0.0,), SCALES), (TILTS_DEG, None), (TILTS_DEG, TILTED_SCALES if deep else np.zeros(0))):
        found = search(small, angles, badge_scales(small) if scales is None else scales)
        yield from (back @ one.placing for one in found)
        if found and found[0].z >= SURE_Z:
            return


def inside_bars(picture: F32) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 (ends exclusive) of what lies inside black bars; the whole picture without any."""
    bright = picture > BAR_LEVEL
    rows, columns = np.flatnonzero(bright.mean(axis=1) > 0.01), np.flatnonzero(bright.mean(axis=0) > 0.01)
    height, width = picture.shape[:2]
    if not len(rows) or rows[-1] - rows[0] < height // 4 or columns[-1] - columns[0] < width // 4:
        return 0, 0, width, height
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def search(picture: F32, tilts_deg: tuple[float, ...], scales: F64) -> list[Found]:
    """The best placings over tilts, scales and all shifts, refined, best first."""
    height, width = picture.shape[:2]
    shapes = sorted({*SHAPES, round(width / height, 3)})
    shapes = [s for k, s in enumerate(shapes) if k == 0 or s / shapes[k - 1] > 1.02]
    rough: list[Found] = []
    for tilt in tilts_deg:
        for scale in scales[np.argsort(np.abs(np.log(scales)))].tolist():
            for shape in shapes if tilt == 0.0 else (16 / 9,):
                rough += _shifts(picture, width * scale / COLUMNS, width * scale / shape / ROWS, tilt)
            if rough and max(one.z for one in rough[-len(shapes) :]) >= ENOUGH_Z:
                return [refine(picture, _best_first(rough)[0].placing)]
        rough = _best_first(rough)[: 4 * KEPT]
    refined = [refine(picture, one.placing) for one in rough[:KEPT] if one.z >= LEAST_Z]
    return _best_first(refined)


def _best_first(found: list[Found]) -> list[Found]:
    return sorted(found, key=lambda one: -one.z)


def _shifts(picture: F32, across_px: float, down_px: float, tilt_deg: float) -> list[Found]:
    """Correlates the pilots with the picture at one scale and tilt, over all shifts at once. across_px, down_px: size of a chip."""
    height, width = picture.shape[:2]
    cos, sin = math.cos(math.radians(tilt_deg)), math.sin(math.radians(tilt_deg))
    turn = np.array(((across_px * cos, -down_px * sin), (across_px * sin, down_px * cos))) / read.FINE
    inverse = np.linalg.inv(turn)
    corners = np.array(((0, 0), (width, 0), (0, height), (width, height)), np.float64) @ inverse.T
    low, high = corners.min(axis=0), corners.max(axis=0)
    size = np.ceil(high - low).astype(int)
    if size.max() > 1400 or size.min() < 2 * 24:
        return []
    # fine place f is the picture's pixel turn @ (f + low) - 0.5
    matrix = np.column_stack((turn, turn @ (low + 0.5) - 0.5))
    shrink = min(across_px, down_px) / read.FINE
    source = cv2.blur(picture, (round(shrink), round(shrink))) if shrink >= 2.0 else picture
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    fine = cv2.warpAffine(source, matrix, (int(size[0]), int(size[1])), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    seen = cv2.warpAffine(np.ones_like(picture), matrix, (int(size[0]), int(size[1])), flags=flags, borderValue=(0.0,)) if tilt_deg else None
    return _peaks(_fine_residual(cast(F32, fine), cast("F32 | None", seen)), turn, low)


def _fine_residual(fine: F32, seen: F32 | None) -> F32:
    side = 3 * read.FINE
    chip = cv2.blur(fine, (read.FINE, read.FINE), anchor=(0, 0))
    rest = chip - cv2.blur(fine, (side, side), anchor=(read.FINE, read.FINE))
    calm = rest / (cv2.blur(rest * rest, (side, side)) + np.float32(read.FLOOR))
    calm = np.clip(calm, -read.CLIP, read.CLIP)
    return calm if seen is None else calm * (cv2.erode(seen, np.ones((side, side), np.uint8)) > 0.99)


def _peaks(residual: F32, turn: F64, low: F64) -> list[Found]:
    rows, columns = (cv2.getOptimalDFTSize(max(a, b)) for a, b in zip(residual.shape, (ROWS * read.FINE, COLUMNS * read.FINE), strict=True))
    canvas = np.zeros((rows, columns), np.float32)
    canvas[: residual.shape[0], : residual.shape[1]] = residual
    spectrum = cv2.dft(canvas, flags=cv2.DFT_COMPLEX_OUTPUT)
    product = cv2.mulSpectrums(spectrum, _pilot_spectrum(rows, columns), 0, conjB=True)
    fit = cv2.dft(product, flags=cv2.DFT_INVERSE | cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT)
    _, _, _, (x, y) = cv2.minMaxLoc(fit)
    deviation = float(np.sqrt(np.mean(fit[::3, ::3] ** 2))) + 1e-9
    shift = np.array((x - columns if x > residual.shape[1] - 8 else x, y - rows if y > residual.shape[0] - 8 else y), np.float64)
    # chip coordinates (u, v) lie at the fine place FINE * (u, v) + shift + low
    placing = np.eye(3)
    placing[:2, :2] = turn * read.FINE
    placing[:2, 2] = turn @ (shift + low) - 0.5
    return [Found(placing, float(fit[y, x]) / deviation)]


@cache
def _pilot_spectrum(rows: int, columns: int) -> F32:
    canvas = np.zeros((rows, columns), np.float32)
    canvas[: ROWS * read.FINE : read.FINE, : COLUMNS * read.FINE : read.FINE] = layout().pilots
    return cast(F32, cv2.dft(canvas, flags=cv2.DFT_COMPLEX_OUTPUT))


def refine(picture: F32, placing: F64) -> Found:
    """Moves the mark's four corners, step by step, to where the pilots fit best."""
    corners = np.array(((0.0, 0.0), (COLUMNS, 0.0), (0.0, ROWS), (COLUMNS, ROWS)), np.float32)
    start = cv2.perspectiveTransform(corners[None], placing)[0]
    chip_px = float(np.linalg.norm(start[1] - start[0])) / COLUMNS
    best = start.astype(np.float64)
    best_z = _fit(picture, corners, best)
    moves = [np.asarray(m, np.float64) for m in _moves()]
    for step in STEPS_CHIPS:
        improved = True
        rounds = 0
        while improved and rounds < 6:
            improved, rounds = False, rounds + 1
            for move in moves:
                tried = best + move * step * chip_px
                z = _fit(picture, corners, tried)
                if z > best_z:
                    best, best_z, improved = tried, z, True
    return Found(_placing(corners, best), best_z)


@cache
def _moves() -> tuple[F64, ...]:
    """Shifts, scalings, a turn, shears and each corner by itself: (4, 2) corner motions, both ways."""
    x, y = np.array((-1.0, 1.0, -1.0, 1.0)), np.array((-1.0, -1.0, 1.0, 1.0))
    one, none = np.ones(4), np.zeros(4)
    made = [
        np.column_stack(pair) for pair in ((one, none), (none, one), (x, y), (-y * ROWS / COLUMNS, x), (x, none), (none, y), (y, none), (none, x))
    ]
    made += [np.column_stack((x * y, none)), np.column_stack((none, x * y))]
    return tuple(sign * move for move in made for sign in (1.0, -1.0))


def _fit(picture: F32, corners: F32, at: F64) -> float:
    return read.pilots_z(read.whiten(read.sample(picture, _placing(corners, at))))


def _placing(corners: F32, at: F64) -> F64:
    return cast(F64, cv2.getPerspectiveTransform(corners, at.astype(np.float32)))


def badge_scales(picture: F32) -> F64:
    """Scales (as SCALES) at which a badge that is in sight would have one of its sizes; none without a badge."""
    grey = np.clip(picture, 0, 255).astype(np.uint8)
    plate = cv2.resize(badge.master()[..., 0], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    best, high = 0.0, 0
    height, width = picture.shape[:2]
    for tall in np.unique(np.rint(np.exp(np.arange(math.log(9.0), math.log(0.11 * height), 0.07))).astype(int)).tolist():
        wide = round(tall * plate.shape[1] / plate.shape[0])
        if wide >= width:
            break
        template = cv2.resize(plate, (wide, tall), interpolation=cv2.INTER_AREA)
        score = float(cv2.matchTemplate(grey, template, cv2.TM_CCOEFF_NORMED).max())
        if score > best:
            best, high = score, tall
    if best < BADGE_LEAST:
        return np.zeros(0)
    return np.concatenate([high / share * (16 / 9) / width * np.exp(np.arange(-0.06, 0.061, 0.012)) for share in badge.SIZES.values()])
