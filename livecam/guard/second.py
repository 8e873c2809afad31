"""A second opinion, independent of masks and boxes: does a face recognition network still find the wearer in the picture that goes out?

About once a second three embeddings are compared: the wearer's raw face, the same face in the finished picture, and the persona's portrait.

    finished ~ wearer, and nearer to the wearer than to the persona, in three of the last five     COVER
    persona ~ wearer in three of the last five                                                     told, with the persona least like the wearer

A persona that looks like the wearer is told and not covered: while it is really drawn, the finished face is nearer to it than to the wearer. When the
swap fails, it is the wearer's own, and nothing is nearer to that than the wearer.  Pure logic; who embeds, and when, is the app's
(app/second_check.py).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from livecam.types import F32, U8

SAME = 0.77
"""Cosine from which two faces count as the same person's: at this one in 10,000 pairs of different people does, rendered ones, which the network
takes for more alike than photographs (benchmarks/second_check.py). A swap that returns the wearer's own face gave 0.978 and more."""
WINDOW, ENOUGH = 5, 3
"""Of so many last opinions, so many must agree."""
STALE_NS = 12_000_000_000
"""Older opinions say nothing any more: the wearer may have left."""
LOOKS_LIKE_YOU = "the picture still looks like you"


@dataclass(frozen=True, slots=True)
class Pair:
    """wearer, finished: (S, S, 3) uint8 BGR, the same crop before drawing and of the finished picture; five_px: (5, 2) float32 in it; persona: the
    worn one's id. The arrays are the receiver's."""

    wearer: U8
    finished: U8
    five_px: F32
    persona: str


@dataclass(frozen=True, slots=True)
class Opinion:
    """Cosines, -1..1. finished_wearer: of the finished face and the wearer's; persona_wearer; finished_persona. persona: id."""

    finished_wearer: float
    persona_wearer: float
    finished_persona: float
    persona: str

    @property
    def is_lookalike(self) -> bool:
        """Whether the persona itself is like the wearer."""
        return self.persona_wearer >= SAME

    @property
    def is_wearer(self) -> bool:
        """Whether the wearer is recognised in the finished picture, rather than the persona."""
        return not self.finished_wearer < SAME and not self.finished_persona > self.finished_wearer


class Second:
    """The last opinions of one run. Not thread-safe."""

    def __init__(self) -> None:
        self._last: deque[tuple[int, Opinion]] = deque(maxlen=WINDOW)
        self._told = ""

    def add(self, opinion: Opinion, now_ns: int) -> str:
        """One opinion more. Returns the id of the worn persona when it has to be told, once, that it looks like the wearer; else ""."""
        self._last.append((now_ns, opinion))
        alike = sum(one.is_lookalike and one.persona == opinion.persona for _, one in self._last)
        if alike < ENOUGH or self._told == opinion.persona:
            return ""
        self._told = opinion.persona
        return opinion.persona

    def reason(self, now_ns: int) -> str:
        """Why to cover now; "" when there is no reason."""
        agree = sum(one.is_wearer for at_ns, one in self._last if now_ns - at_ns <= STALE_NS)
        return LOOKS_LIKE_YOU if agree >= ENOUGH else ""
