"""Draws the hidden mark into a picture, in place: each chip a little lighter or darker, more where the picture itself is busy.

Convention: pixel (x, y) has its middle at chip coordinates ((x + 0.5) * COLUMNS / W, (y + 0.5) * ROWS / H); see _layout.py.

The fast path is `draw`; `draw_plain` is the same in NumPy, and a test holds them to each other, level by level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from livecam.errors import StageError
from livecam.mark._layout import COLUMNS, ROWS
from livecam.types import F32, U8

LEAST, MOST = 0.8, 3.0
"""Grey levels of a chip in a flat and in a busy place. Flat ones are dithered: most pixels change by one level, none by two."""
BY_ACTIVITY = 0.55
"""Grey levels added for each grey level of activity: about what the picture's own noise hides."""
MOST_ENERGY = 3.6
"""Mean square of the change in grey levels, at most: 42.5 dB of PSNR."""
STEEP = 2.5
"""Chips fade into each other over 1/STEEP of their width: a hard edge is what the eye finds first."""
SMOOTHING = 0.25
"""Share of a frame's activity that goes into the running one, so that noise does not make the gain flicker."""
LAG_X, LAG_Y = 2, 1
"""Pixels from a sample to its two neighbours: activity is how far it lies from their mean, so that a blurred edge, which hides nothing, has none."""
ACROSS, DOWN = 3, 2
"""Samples a chip."""
LEAST_PX = 8
"""Smallest side of a picture that is marked at all (what survives in one of less than 2 px a chip is another matter)."""


def _bayer(doublings: int) -> F32:
    order = np.zeros((1, 1), np.int64)
    for _ in range(doublings):
        order = np.block([[4 * order, 4 * order + 2], [4 * order + 3, 4 * order + 1]])
    return ((order + 0.5) / order.size).astype(np.float32)


DITHER = _bayer(3)
"""8 x 8 ordered dither (B. E. Bayer, 1973)."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Chips against the pixels of a picture of one size.

    column, column_share: (W,) left one of the two chips that meet at a pixel, and the right one's share; row, row_share: (H,) the same downwards.
    sample_x: (COLUMNS, ACROSS), sample_y: (ROWS, DOWN): pixels at which activity is read. dither: (8, W) float32.
    """

    size_px: tuple[int, int]
    column: NDArray[np.int32]
    column_share: F32
    row: NDArray[np.int32]
    row_share: F32
    sample_x: NDArray[np.int32]
    sample_y: NDArray[np.int32]
    dither: F32


def grid(width_px: int, height_px: int) -> Grid:
    """The chips of a picture of this size. Raises StageError below LEAST_PX a side."""
    if min(width_px, height_px) < LEAST_PX:
        raise StageError(f"the mark expected a picture of at least {LEAST_PX} px a side, found {width_px}x{height_px}; use a larger one")
    (column, column_share), (row, row_share) = _axis(width_px, COLUMNS), _axis(height_px, ROWS)
    sample_x, sample_y = _samples(width_px, COLUMNS, ACROSS, LAG_X), _samples(height_px, ROWS, DOWN, LAG_Y)
    dither = np.ascontiguousarray(np.tile(DITHER, (1, -(-width_px // 8)))[:, :width_px])
    return Grid((width_px, height_px), column, column_share, row, row_share, sample_x, sample_y, dither)


def _axis(pixels: int, chips: int) -> tuple[NDArray[np.int32], F32]:
    at = (np.arange(pixels) + 0.5) * chips / pixels - 0.5
    left = np.floor(at)
    share = np.clip((at - left - 0.5) * STEEP + 0.5, 0.0, 1.0)
    share[left < 0], share[left > chips - 2] = 0.0, 1.0
    return np.clip(left, 0, chips - 2).astype(np.int32), share.astype(np.float32)


def _samples(pixels: int, chips: int, count: int, lag: int) -> NDArray[np.int32]:
    at = (np.arange(chips)[:, None] + (np.arange(count) + 0.5) / count) * pixels / chips
    return np.clip(at, lag, pixels - lag - 1).astype(np.int32)


def draw(image: U8, signs: F32, activity: F32, grid: Grid, share: float = SMOOTHING) -> None:
    """Adds the mark to `image` ((H, W, 3) uint8 BGR, C-contiguous) in place.

    signs: (ROWS, COLUMNS) float32 of +1 and -1. activity: (ROWS, COLUMNS) float32, the running activity, brought up to date; share: of this frame.
    The picture must fit the grid: see `check`."""
    from livecam.mark import _fast

    g = grid
    _fast.follow(image, g.sample_x, g.sample_y, activity, np.float32(share))
    _fast.draw(image, amplitudes(signs, activity), g.column, g.column_share, g.row, g.row_share, g.dither)


def draw_plain(image: U8, signs: F32, activity: F32, grid: Grid, share: float = SMOOTHING) -> None:
    """`draw` in NumPy: the same picture, level by level."""
    check(image, grid)
    g = grid
    green = image[..., 1].astype(np.int32)
    total = np.zeros((ROWS, COLUMNS), np.int32)
    for down in range(DOWN):
        for across in range(ACROSS):
            y, x = g.sample_y[:, down][:, None], g.sample_x[:, across][None, :]
            total += np.abs(2 * green[y, x] - green[y - LAG_Y, x - LAG_X] - green[y + LAG_Y, x + LAG_X])
    now = total.astype(np.float32) * (np.float32(1.0) / np.float32(2 * ACROSS * DOWN))
    activity += np.float32(share) * (now - activity)
    change = levels(amplitudes(signs, activity), g)
    image[:] = np.clip(image.astype(np.int32) + change[..., None], 0, 255).astype(np.uint8)


def levels(amplitude: F32, grid: Grid) -> NDArray[np.int32]:
    """(H, W) int32: whole grey levels to add for chips of these amplitudes ((ROWS, COLUMNS) float32, with their signs)."""
    g = grid
    wide = amplitude[:, g.column] + g.column_share * (amplitude[:, g.column + 1] - amplitude[:, g.column])
    above, below = wide[g.row], wide[g.row + 1]
    smooth = above + g.row_share[:, None] * (below - above)
    dither = np.tile(g.dither, (-(-g.size_px[1] // 8), 1))[: g.size_px[1]]
    return np.floor(smooth + dither).astype(np.int32)


def amplitudes(signs: F32, activity: F32) -> F32:
    """(ROWS, COLUMNS) float32: grey levels of each chip, with its sign; all smaller when the picture would change by more than MOST_ENERGY."""
    gain = np.minimum(np.float32(LEAST) + np.float32(BY_ACTIVITY) * activity, np.float32(MOST))
    energy = float(np.vdot(gain, gain)) / gain.size
    if energy > MOST_ENERGY:
        gain *= np.float32((MOST_ENERGY / energy) ** 0.5)
    return gain * signs


def check(image: U8, grid: Grid) -> None:
    """Raises StageError when the picture does not fit the grid."""
    width, height = grid.size_px
    if image.shape != (height, width, 3) or image.dtype != np.uint8 or not image.flags.c_contiguous:
        raise StageError(f"the mark expected a C-contiguous picture ({height}, {width}, 3) of 8 bits, found {image.shape} {image.dtype}")
