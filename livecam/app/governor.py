"""Keeps frames within a budget of milliseconds: takes something away when they pass it, gives it back when there is room again.

In this order, the cheapest for the eye first (whole frames are searched for faces as rarely as the guard allows anyway: nothing is to be had there):

    occlusion    with nothing before a face, hands and things are looked for in every sixth frame instead of every third
    crop 256     large faces are drawn at 256 px instead of 384 (of mesh: at its usual size)
    crop 128     all faces are drawn at 128 px
    no network   lite's drawing goes out unrefined, as mesh's
    size 3/4     the picture is made smaller before anything else, and so goes out
    size 1/2

Steps back are taken one at a time, when frames have stayed well below the budget for a while; a step that had to be undone waits twice as long next
time, so that it does not swing. The guard's rules hold at each level: none of this changes what is searched, judged or covered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from livecam.errors import UsageError

WINDOW = 60
"""Frames over which the 95th percentile is taken: two seconds at 30 fps."""
ROOM = 0.6
"""Share of the budget below which something is given back: a step costs about a third."""
CALM_WINDOWS = 4
"""So many windows in a row with room, before a step is taken back..."""
MOST_CALM_WINDOWS = 64
"""... twice as many each time that it had to be undone, but never more."""
LEAST_MS, MOST_MS = 1.0, 1000.0


def parse_budget(text: str) -> float:
    """Milliseconds of a budget such as "16ms" or "16"; 0 for "". Raises UsageError."""
    words = text.strip().lower()
    if not words:
        return 0.0
    try:
        value = float(words.removesuffix("ms"))
    except ValueError:
        value = -1.0
    if not LEAST_MS <= value <= MOST_MS:
        raise UsageError(f"--budget expected milliseconds such as 16ms, {LEAST_MS:g} to {MOST_MS:g}, found {text!r}")
    return value


@dataclass(frozen=True, slots=True)
class Step:
    """Something that can be taken away: its name, and what does it and undoes it."""

    name: str
    down: Callable[[], None]
    up: Callable[[], None]


class Governor:
    """See the module. Called by the compute thread, once a frame."""

    def __init__(self, budget_ms: float, steps: Sequence[Step]) -> None:
        """budget_ms: 0 does nothing. steps: in the order in which they are taken."""
        self._budget_ms, self._steps = budget_ms, tuple(steps)
        self._times = np.zeros(WINDOW)
        self._count = self._calm = 0
        self._patience = CALM_WINDOWS
        self._given_back = False
        self.level = 0
        """How many steps are taken."""

    @property
    def taken(self) -> tuple[str, ...]:
        """Names of the steps that are taken now."""
        return tuple(step.name for step in self._steps[: self.level])

    def feed(self, frame_ms: float) -> str:
        """The time of a frame; a line about what was changed because of it, "" when nothing was."""
        if not self._budget_ms:
            return ""
        self._times[self._count] = frame_ms
        self._count += 1
        if self._count < WINDOW:
            return ""
        self._count = 0
        p95 = float(np.percentile(self._times, 95))
        if p95 > self._budget_ms:
            return self._step_down(p95)
        self._calm = self._calm + 1 if p95 < ROOM * self._budget_ms else 0
        if self._calm >= self._patience and self.level:
            return self._step_up(p95)
        return ""

    def _step_down(self, p95: float) -> str:
        self._calm = 0
        if self._given_back:
            self._patience = min(2 * self._patience, MOST_CALM_WINDOWS)
            self._given_back = False
        if self.level == len(self._steps):
            return ""
        step = self._steps[self.level]
        step.down()
        self.level += 1
        return f"95 % of the frames took {p95:.1f} ms, more than the budget of {self._budget_ms:g}: {step.name} is taken"

    def _step_up(self, p95: float) -> str:
        self._calm = 0
        self.level -= 1
        step = self._steps[self.level]
        step.up()
        self._given_back = True
        return f"95 % of the frames took {p95:.1f} ms, well below the budget of {self._budget_ms:g}: {step.name} is given back"
