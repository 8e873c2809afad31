"""The compiled half of _draw.py, apart, so that the main process, which never needs it, does not load a compiler."""

from __future__ import annotations

import numba
import numpy as np

from livecam.mark._draw import LAG_X, LAG_Y


@numba.njit(nogil=True, cache=True)
def follow(image, sample_x, sample_y, activity, share):  # type: ignore[no-untyped-def]
    """Mean distance of green from the mean of two neighbours, at a few pixels a chip.

    Unsigned places: signed ones are asked whether they count from the end."""
    rows, columns = activity.shape
    across, down = sample_x.shape[1], sample_y.shape[1]
    flat = image.reshape(image.shape[0], image.shape[1] * 3)
    scale = np.float32(1.0) / np.float32(2 * across * down)
    total = np.empty(columns, np.int32)
    for row in range(rows):
        total[:] = 0
        for k in range(down):
            y = sample_y[row, k]
            before, here, after = flat[y - LAG_Y], flat[y], flat[y + LAG_Y]
            for column in range(columns):
                for j in range(across):
                    x = np.uint32(3 * sample_x[column, j] + 1)
                    ends = np.int32(before[x - np.uint32(3 * LAG_X)]) + np.int32(after[x + np.uint32(3 * LAG_X)])
                    total[column] += abs(np.int32(2) * np.int32(here[x]) - ends)
        for column in range(columns):
            activity[row, column] += share * (np.float32(total[column]) * scale - activity[row, column])


@numba.njit(nogil=True, cache=True)
def draw(image, amplitude, column, column_share, row, row_share, dither):  # type: ignore[no-untyped-def]
    """Each chip row is spread over the picture's width once; a pixel row mixes the two that meet in it, then adds whole levels to all three colours.

    Two short inner loops instead of one: each is of one width (32-bit fractions, 16-bit levels), which the compiler makes wide instructions of."""
    height, width = image.shape[:2]
    flat = image.reshape(height, width * 3)
    wide = np.empty((2, width), np.float32)
    change = np.empty(width * 3, np.int16)
    have = -2
    for y in range(height):
        if row[y] != have:
            first = 1 if row[y] == have + 1 else 0  # the lower one of the last two is the upper one now
            if first == 1:
                for x in range(width):  # assigning the row makes Numba compile its error's text with it, which takes seconds
                    wide[0, x] = wide[1, x]
            have = row[y]
            for k in range(first, 2):
                source = amplitude[have + k]
                for x in range(width):
                    place = np.uint32(column[x])
                    left, right = source[place], source[place + np.uint32(1)]
                    wide[k, x] = left + column_share[x] * (right - left)
        share, noise, line = row_share[y], dither[y & 7], flat[y]
        above, below = wide[0], wide[1]
        for x in range(width):
            level = np.int16(np.int32(np.floor((above[x] + share * (below[x] - above[x])) + noise[x])))
            change[3 * x] = level
            change[3 * x + 1] = level
            change[3 * x + 2] = level
        for x in range(width * 3):
            line[x] = np.uint8(min(max(np.int16(np.int16(line[x]) + change[x]), np.int16(0)), np.int16(255)))
