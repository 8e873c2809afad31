"""Where the hidden mark's chips lie and what each of them says: the public key. Anybody can make it from the two texts below.

Convention:
    The mark is a grid of ROWS x COLUMNS square-ish chips stretched over the whole picture; chip (row, column) has the number row * COLUMNS + column.
    Chip coordinates (u, v) run from (0, 0), the picture's top-left *corner*, to (COLUMNS, ROWS); chip (r, c) has its middle at (c + 0.5, r + 0.5).
    Signs are +1 (lighter) and -1 (darker).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from livecam.types import F32

COLUMNS, ROWS = 160, 90
CHIPS = COLUMNS * ROWS
SIGN_TEXT, PLACE_TEXT = b"livecam mark 1: signs", b"livecam mark 1: places"
"""The public key: SHAKE-256 of these gives the signs (a bit a chip,
most significant first, 1 is -1) and the places (eight bytes a chip, big-endian)."""
BITS = 127
"""Bits of a codeword."""
CHIPS_A_BIT = 79
"""Sorted by their place numbers, the first BITS * CHIPS_A_BIT chips carry the codeword, bit by bit; the others are pilots (30 %)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """signs: (ROWS, COLUMNS) float32, +1 or -1. bit: (ROWS, COLUMNS) intp, which bit of the codeword the chip carries, -1 for pilots.
    pilots: (ROWS, COLUMNS) float32, signs of the pilots, 0 elsewhere."""

    signs: F32
    bit: NDArray[np.intp]
    pilots: F32


@cache
def layout() -> Layout:
    """The one that all marks of this version share."""
    raw = np.frombuffer(hashlib.shake_256(SIGN_TEXT).digest(CHIPS // 8), np.uint8)
    signs = (1.0 - 2.0 * np.unpackbits(raw)).astype(np.float32).reshape(ROWS, COLUMNS)
    places = np.frombuffer(hashlib.shake_256(PLACE_TEXT).digest(8 * CHIPS), ">u8")
    order = np.argsort(places, kind="stable")[: BITS * CHIPS_A_BIT]
    bit = np.full(CHIPS, -1, np.intp)
    bit[order] = np.arange(BITS * CHIPS_A_BIT) // CHIPS_A_BIT
    bit = bit.reshape(ROWS, COLUMNS)
    made = Layout(signs, bit, np.where(bit < 0, signs, np.float32(0.0)).astype(np.float32))
    for array in (made.signs, made.bit, made.pilots):
        array.flags.writeable = False
    return made


def chips(codeword: NDArray[np.uint8]) -> F32:
    """The (ROWS, COLUMNS) float32 signs of a mark. codeword: (BITS,) of 0 and 1."""
    made = layout()
    flips = np.append(1.0 - 2.0 * codeword.astype(np.float32), np.float32(1.0))  # bit -1, the pilots, takes the last
    return (made.signs * flips[made.bit]).astype(np.float32)
