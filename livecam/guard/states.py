"""What goes on air, decided by main: pure logic, time injected.

A wrong frame is never shown; a late one is bridged.  See DESIGN "Guard"; the order of the rules in `Air.tick` is the order of their weight.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass

from livecam.types import State, Verdict

HOLD_PERIODS = 3
"""A picture is held for at least so many camera periods."""
MAX_PERIOD_MS = 1000.0
"""A worker slower than this is not bridged any longer."""
_RECENT = 5


class Picture(enum.Enum):
    """Which picture main sends. NEWEST: the frame just accepted, or still the last one. PIXELATED: the last finished frame, pixelated by main.
    SLATE: the standby picture. UNMASKED: the watermarked raw picture of --reveal."""

    NEWEST = "newest"
    PIXELATED = "pixelated"
    SLATE = "slate"
    UNMASKED = "unmasked"


@dataclass(frozen=True, slots=True)
class News:
    """A frame that the reader has accepted since the last tick. Times in monotonic ns."""

    verdict: Verdict
    capture_ns: int
    commit_ns: int


@dataclass(frozen=True, slots=True)
class OnAir:
    """The decision of one tick. take: whether the new frame becomes the last one (else it is to be dropped). reason: for the table and the slate."""

    state: State
    picture: Picture
    take: bool
    reason: str


class Air:
    """Decides, tick by tick, what is on air."""

    def __init__(self, hold_ms: float, camera_period_ms: float) -> None:
        """hold_ms: longest bridge (GuardConfig.hold_ms). camera_period_ms: expected time between frames, corrected by what is seen."""
        self._hold_ms = hold_ms
        self._periods_ms: deque[float] = deque([camera_period_ms], _RECENT)
        self._last: Verdict | None = None
        self._last_seen_ns = 0
        self._last_commit_ns: int | None = None
        self.stale = 0
        """Frames that came too late to be shown."""

    @property
    def hold_limit_ms(self) -> float:
        """max(hold_ms, three periods), the period being the median of the last five."""
        middle = sorted(self._periods_ms)[len(self._periods_ms) // 2]
        return max(self._hold_ms, HOLD_PERIODS * min(middle, MAX_PERIOD_MS))

    def tick(
        self, now_ns: int, news: News | None, *, worker: bool = True, camera: bool = True, cover: bool = False, reveal: bool = False, why: str = ""
    ) -> OnAir:
        """One tick of main's loop. worker, camera: whether they are there. cover: the user asks for it. reveal: an unmasked picture is at hand.
        why: what to say when worker or camera is missing."""
        take = news is not None and self._accept(now_ns, news)
        if not (worker and camera):
            self._last = None
            return OnAir(State.SLATE, Picture.SLATE, False, why or ("the camera is away" if worker else "the filter is starting"))
        if take and news is not None:
            self._last, self._last_seen_ns = news.verdict, now_ns
        elif self._last is not None and now_ns - self._last_seen_ns > self.hold_limit_ms * 1e6:
            self._last = None
        return self._show(take, cover, reveal, why)

    def _show(self, take: bool, cover: bool, reveal: bool, why: str) -> OnAir:
        if self._last is None:
            return OnAir(State.SLATE, Picture.SLATE, take, why or "waiting for a picture")
        if self._last is Verdict.COVER:
            return OnAir(State.COVER, Picture.NEWEST, take, why or "no safe picture")
        if cover:
            return OnAir(State.COVER, Picture.PIXELATED, take, "covered by you")
        if reveal:
            return OnAir(State.REVEAL, Picture.UNMASKED, take, "--reveal")
        return OnAir(State.LIVE if take else State.HOLD, Picture.NEWEST, take, "")

    def _accept(self, now_ns: int, news: News) -> bool:
        """A frame is taken unless it is late: captured (or committed) longer ago than a picture may be held, as after SIGSTOP and SIGCONT."""
        if self._last_commit_ns is not None and news.commit_ns > self._last_commit_ns:
            self._periods_ms.append((news.commit_ns - self._last_commit_ns) / 1e6)
        self._last_commit_ns = news.commit_ns
        late = now_ns - news.capture_ns > self.hold_limit_ms * 1e6 or news.capture_ns > news.commit_ns
        self.stale += late
        return not late
