"""The faults by name, and which of them comes when.

Events follow one another without end: every cycle has each kind once, in an order of its own. An event has some healthy frames, the fault, and
frames in which livecam recovers. Everything follows from (seed, index), so any process knows at any time what is going on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from livecam.errors import UsageError

FAULTY = (0, 1, 2, 9, 17)
"""Frames of an event in which a stage is faulty: in a row, and again while the guard still covers or has just let go."""

STAGES: dict[str, tuple[str, ...]] = {
    "detect": ("exception", "hang", "NaN", "nothing found", "stale", "wrong face"),
    "track": ("exception", "hang", "NaN", "nothing found", "stale", "wrong face", "wrong size"),
    "align": ("exception", "hang", "NaN", "stale", "wrong face", "wrong size"),
    "crop": ("exception", "black", "wrong size"),
    "swap": ("exception", "hang", "NaN", "black", "wrong size", "stale", "wrong face"),
    "mask": ("exception", "hang", "NaN", "black", "wrong size", "stale", "wrong face"),
    "colour": ("exception", "NaN", "black", "wrong face"),
    "blend": ("exception", "hang", "nothing drawn", "black", "stale", "wrong face"),
    "mark": ("exception", "hang", "black", "wrong face"),
    "guard": ("exception", "cannot cover"),
    "publish": ("exception", "hang", "NaN", "wrong size", "stale", "wrong face", "memory error"),
}
"""What a stage does wrong. "wrong face" shows the wearer's own or works elsewhere; what exactly stands in effects.py and inside.py."""
CAMERA = (
    "gone", "frozen", "exception", "black", "NaN", "truncated", "repeats a picture", "delivers late", "smaller pictures", "larger pictures",
    "clock forward", "clock back", "no picture",
)  # fmt: skip
WORKER = (
    "SIGKILL", "SIGSEGV", "SIGTERM", "exit", "SIGSTOP and SIGCONT", "killed in mid-write", "out of memory", "shared memory full",
    "shared memory full at growth", "shared memory removed", "no descriptor free", "rubbish in the pipe", "floods the pipe", "closes the pipe",
)  # fmt: skip
MAIN = ("SIGSTOP and SIGCONT", "machine sleeps")
OUTPUT = ("reader gone", "reader hangs", "device gone", "device error", "disk full", "viewer leaves", "viewer does not read")
SCENE = ("no face", "leaves and comes back", "second person", "entry left", "entry right", "entry above", "entry below", "fast turn")

ENDS_WORKER = {
    *(f"worker: {what}" for what in WORKER if what not in ("SIGSTOP and SIGCONT", "shared memory removed", "floods the pipe")),
    "camera: exception", "guard: cannot cover", "publish: exception", "publish: NaN", "publish: memory error",
}  # fmt: skip
"""Kinds of which a worker's death is a part: they count as the worker's recovery, from the fault on."""
OPENS_LATE_S = (0.2, 1.0, 2.5)
"""For how long a camera is away."""
HANGS_S = (0.3, 1.0, 3.5)
"""For how long a stage hangs; the longest is over GuardConfig.stall_s."""


@dataclass(frozen=True, slots=True)
class Kind:
    """name: "room: what". before, lasts, after: frames before the fault, of it, and to recover in."""

    name: str
    before: int
    lasts: int
    after: int

    @property
    def room(self) -> str:
        """ "swap", "camera", "worker", "scene" ..."""
        return self.name.partition(":")[0]

    @property
    def length(self) -> int:
        return self.before + self.lasts + self.after


def _all() -> tuple[Kind, ...]:
    names = [f"{room}: {what}" for room, whats in STAGES.items() for what in whats]
    stages = [Kind(name, 12, 1 if name.endswith("hang") or name in ENDS_WORKER else FAULTY[-1] + 1, 30) for name in names]
    camera = [Kind(f"camera: {what}", 15, 1 if what in ("gone", "frozen", "exception") else FAULTY[-1] + 1, 30) for what in CAMERA]
    worker = [Kind(f"worker: {what}", 15, 1, 40) for what in WORKER]
    others = [Kind(f"main: {what}", 15, 1, 40) for what in MAIN] + [Kind(f"output: {what}", 15, 1, 100) for what in OUTPUT]
    scene = [Kind(f"scene: {what}", 20, 130 if what in ("no face", "leaves and comes back") else 70, 40) for what in SCENE]
    return (*stages, *camera, *worker, *others, *scene)


KINDS = _all()
"""All of them."""
NONE = Kind("healthy", 0, 0, 1000)
"""No fault at all, for planted leaks."""


def chosen(only: str) -> tuple[Kind, ...]:
    """Kinds whose name contains one of the words (by commas); all for "". Raises UsageError when there is none."""
    words = [word.strip() for word in only.split(",") if word.strip()]
    found = tuple(kind for kind in KINDS if not words or any(word in kind.name for word in words))
    if not found:
        raise UsageError(f"--only expected (parts of) names of faults, found {only!r}; there are: {', '.join(kind.name for kind in KINDS)}")
    return found


@dataclass(frozen=True, slots=True)
class Event:
    """What goes on in a frame. number: counts events from 0. since: frames since the fault began; negative: not yet; kind.lasts and more: over."""

    kind: Kind
    number: int
    since: int

    @property
    def active(self) -> bool:
        return 0 <= self.since < self.kind.lasts

    @property
    def faulty(self) -> bool:
        """Whether a stage is faulty in this very frame."""
        return self.active and self.since in FAULTY


class Schedule:
    """Events by seed."""

    def __init__(self, seed: int, kinds: Sequence[Kind] = KINDS) -> None:
        self._seed, self._kinds = seed, tuple(kinds)
        self.cycle_frames = sum(kind.length for kind in kinds)
        """Frames in which every kind comes once."""
        self._cycle = lru_cache(maxsize=4)(self._ordered)

    def _ordered(self, cycle: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        order = np.random.default_rng((self._seed, 2, cycle)).permutation(len(self._kinds))
        ends = np.cumsum([self._kinds[i].length for i in order])
        return tuple(order.tolist()), tuple(ends.tolist())

    def at(self, index: int) -> Event:
        """The event of frame `index`."""
        cycle, inside = divmod(index, self.cycle_frames)
        order, ends = self._cycle(cycle)
        place = int(np.searchsorted(ends, inside, side="right"))
        kind = self._kinds[order[place]]
        begins = ends[place] - kind.length
        return Event(kind, cycle * len(self._kinds) + place, inside - begins - kind.before)
