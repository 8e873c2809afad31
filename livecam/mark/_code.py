"""What a mark says, and the BCH(127, 29) code that protects it.

The generator polynomial is the narrow-sense binary BCH code's of length 127 with 29 message bits and minimum distance 43 (R. C. Bose and
D. K. Ray-Chaudhuri, 1960), as computed offline by the library galois: `hex(int(galois.BCH(127, 29).generator_poly))`.

Convention: polynomials are integers, bit k the factor of x**k; codeword bit 0 is the factor of x**126 (message first, then parity).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from livecam.mark._layout import BITS
from livecam.types import F64

GENERATOR = 0x40C99317BEE307B7AC184FC6D
MESSAGE_BITS = 29
PARITY_BITS = BITS - MESSAGE_BITS
VERSION_BITS, PRODUCT_BITS, RUN_BITS, PERSONA_BITS = 2, 3, 14, 10
VERSION = 1
PRODUCT = 1
"""livecam's own number; others who write this mark take another."""
ORDER = 3
"""Of ordered-statistics decoding (M. Fossorier and S. Lin, 1995): so many of the surest bits may be wrong."""


@dataclass(frozen=True, slots=True)
class Payload:
    """What the mark says: its format's version, the product that drew it, the run's random number, the persona's short number (see `short_id`)."""

    run: int
    persona: int
    version: int = VERSION
    product: int = PRODUCT

    def number(self) -> int:
        """As an integer of MESSAGE_BITS bits. Raises ValueError when a field is too large."""
        value = 0
        for name, width in (("version", VERSION_BITS), ("product", PRODUCT_BITS), ("run", RUN_BITS), ("persona", PERSONA_BITS)):
            field = getattr(self, name)
            if not 0 <= field < 1 << width:
                raise ValueError(f"the mark's field {name} expected 0 to {(1 << width) - 1}, found {field}")
            value = value << width | field
        return value

    @staticmethod
    def of(number: int) -> Payload:
        """The inverse of `number`."""
        fields: list[int] = []
        for width in (PERSONA_BITS, RUN_BITS, PRODUCT_BITS, VERSION_BITS):
            fields.append(number & ((1 << width) - 1))
            number >>= width
        persona, run, product, version = fields
        return Payload(run, persona, version, product)


def short_id(persona: str) -> int:
    """A persona's short number: the first PERSONA_BITS bits of the SHA-256 of its id. Different personas may share one."""
    return int.from_bytes(hashlib.sha256(persona.encode()).digest()[:2], "big") >> (16 - PERSONA_BITS)


def _row(message: int) -> int:
    """The systematic codeword of a message, as a polynomial."""
    rest = message << PARITY_BITS
    for power in range(BITS - 1, PARITY_BITS - 1, -1):
        if rest >> power & 1:
            rest ^= GENERATOR << (power - PARITY_BITS)
    return message << PARITY_BITS | rest


@cache
def table() -> NDArray[np.uint8]:
    """(MESSAGE_BITS, BITS) uint8 of 0 and 1: the systematic generator matrix, most significant message bit first."""
    rows = [_row(1 << bit) for bit in range(MESSAGE_BITS - 1, -1, -1)]
    return np.array([[row >> power & 1 for power in range(BITS - 1, -1, -1)] for row in rows], np.uint8)


def encode(number: int) -> NDArray[np.uint8]:
    """(BITS,) uint8 of 0 and 1."""
    message = np.array([number >> bit & 1 for bit in range(MESSAGE_BITS - 1, -1, -1)], np.uint8)
    return (message @ table() % 2).astype(np.uint8)


def decode(soft: F64) -> tuple[int, float]:
    """The message whose codeword fits best. soft: (BITS,), positive for 0, larger where surer.

    Returns (number, correlation): sum of soft * (1 - 2 * codeword). Ordered-statistics decoding: the surest independent bits are taken as they are,
    then up to ORDER of them are turned, and the best of all codewords so found is kept (nearly maximum likelihood)."""
    order = np.argsort(-np.abs(soft), kind="stable")
    matrix, basis = _reduced(table()[:, order])
    hard = (soft[order] < 0).astype(np.uint8)
    start = hard[basis] @ matrix % 2
    best, best_fit = start, -np.inf
    level = soft[order]
    for flips in _flips():
        words = start ^ flips @ matrix % 2
        fits = (1.0 - 2.0 * words) @ level
        at = int(fits.argmax())
        if fits[at] > best_fit:
            best, best_fit = words[at], float(fits[at])
    word = np.empty(BITS, np.uint8)
    word[order] = best
    return int("".join(map(str, word[:MESSAGE_BITS].tolist())), 2), best_fit


def _reduced(matrix: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """Row-reduced `matrix` and its pivots: the first MESSAGE_BITS independent columns."""
    rows, pivots = matrix.copy(), list[int]()
    for column in range(BITS):
        at = len(pivots)
        below = np.flatnonzero(rows[at:, column])
        if not below.size:
            continue
        rows[[at, at + below[0]]] = rows[[at + below[0], at]]
        others = rows[:, column].astype(bool)
        others[at] = False
        rows[others] ^= rows[at]
        pivots.append(column)
        if len(pivots) == MESSAGE_BITS:
            break
    return rows, np.array(pivots, np.intp)


@cache
def _flips() -> tuple[NDArray[np.uint8], ...]:
    """Which of the surest bits to turn: (N, MESSAGE_BITS) uint8 for none, one, two ... of them."""
    made: list[NDArray[np.uint8]] = []
    for count in range(ORDER + 1):
        chosen = list(combinations(range(MESSAGE_BITS), count))
        turned = np.zeros((len(chosen), MESSAGE_BITS), np.uint8)
        for row, places in enumerate(chosen):
            turned[row, list(places)] = 1
        made.append(turned)
    return tuple(made)
