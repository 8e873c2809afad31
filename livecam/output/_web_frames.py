"""The newest frame between the outputs' thread and the page's encoder, and how often one is taken for the page."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from livecam.types import U8, State

MAX_FPS = 30.0
_EARLY = 0.25
"""A frame may come this share of a period early: cameras jitter, and a 30-fps camera is to be shown whole."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A frame for the encoder. image belongs to the slot and is valid until the next `take`."""

    seq: int
    state: State
    image: U8


class Pace:
    """Lets at most MAX_FPS through over time, and every change of state at once."""

    def __init__(self) -> None:
        self._due_s = 0.0
        self._state: State | None = None

    def admits(self, now_s: float, state: State) -> bool:
        """Whether the frame of this moment is to be shown."""
        period = 1 / MAX_FPS
        if state == self._state and now_s < self._due_s - _EARLY * period:
            return False
        self._due_s = max(self._due_s, now_s - period / 2) + period
        self._state = state
        return True


class FrameSlot:
    """One place for the newest frame. One thread calls `put`, another `take`; neither waits for the other's work: there are three buffers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spare = self._ready = self._out = np.empty((0, 0, 3), np.uint8)
        self._ready_state = State.SLATE
        self._seq = 0
        self._fresh = False
        self.replaced = 0

    def put(self, image: U8, state: State) -> None:
        """Copies the frame in; one that nobody took is replaced (and counted)."""
        if self._spare.shape != image.shape:
            self._spare = np.empty_like(image)
        np.copyto(self._spare, image)
        with self._lock:
            self._spare, self._ready = self._ready, self._spare
            self.replaced += self._fresh
            self._fresh, self._ready_state = True, state
            self._seq += 1

    def take(self) -> Taken | None:
        """The newest frame, once."""
        with self._lock:
            if not self._fresh:
                return None
            self._fresh = False
            self._out, self._ready = self._ready, self._out
            return Taken(self._seq, self._ready_state, self._out)

    def clear(self) -> None:
        """Forgets a frame that nobody took."""
        with self._lock:
            self._fresh = False
