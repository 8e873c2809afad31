"""The second check at work: a thread of its own, at low priority, compares faces while frames go on. guard/second.py judges what it finds."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

import cv2

from livecam import persona
from livecam.config import Config
from livecam.errors import LivecamError, ModelFileError
from livecam.guard.second import Opinion, Pair, Second
from livecam.persona.embed import Embedders, aligned_by_five
from livecam.store import Store
from livecam.types import F32, Persona

MODEL = "sface"
PERIOD_NS = 1_000_000_000
NICE = 10
"""Of the thread: frames come first."""


class SecondCheck:
    """`is_due`, `offer` and `reason` by the compute thread, `knows` by any; `close` ends the thread."""

    def __init__(self, open_embedders: Callable[[], Embedders], tell: Callable[[str], None]) -> None:
        """open_embedders: called in the thread. tell: told lines for the user."""
        self._open, self._tell = open_embedders, tell
        self._news = threading.Condition()
        self._pair: Pair | None = None
        self._known: dict[str, Persona] = {}
        self._due_ns = 0
        self._busy = self._closed = False
        self._second = Second()
        self.done = 0
        """Opinions so far."""
        self.cpu_ns = 0
        """CPU time of the thread."""
        self._thread = threading.Thread(target=self._work, name="livecam-second", daemon=True)
        self._thread.start()

    def knows(self, worn: Persona) -> None:
        """A persona that may be worn from now on."""
        self._known[worn.id] = worn

    def is_due(self, now_ns: int) -> bool:
        """Whether a pair is wanted now: once a second, and none waits."""
        return not self._busy and not self._closed and (now_ns >= self._due_ns or now_ns < self._due_ns - PERIOD_NS)

    def offer(self, pair: Pair, now_ns: int) -> None:
        """The pair to compare next; its arrays belong to the check from now on."""
        self._due_ns = now_ns + PERIOD_NS
        with self._news:
            self._pair, self._busy = pair, True
            self._news.notify()

    def reason(self) -> str:
        """Why the picture is to be covered, "" when it is not."""
        with self._news:
            return self._second.reason(time.monotonic_ns())

    def close(self) -> None:
        """Ends the thread; may be called again."""
        with self._news:
            self._closed = True
            self._news.notify()

    def _work(self) -> None:
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)  # Linux: of this thread, and of those that it starts
        try:
            embedders = self._open()
            while (pair := self._next()) is not None:
                self._compare(pair, embedders)
                self.cpu_ns = time.thread_time_ns()
                self._busy = False
        except Exception as error:  # noqa: BLE001 - whatever ends it, the user is told: a check that stops in silence is believed
            what = error if isinstance(error, LivecamError) else f"{type(error).__name__}: {error}"
            self._tell(f"the second check cannot run: {what}; going on without")
        self._closed = True

    def _next(self) -> Pair | None:
        with self._news:
            self._news.wait_for(lambda: self._pair is not None or self._closed)
            pair, self._pair = self._pair, None
            return None if self._closed else pair

    def _compare(self, pair: Pair, embedders: Embedders) -> None:
        worn = self._known.get(pair.persona)
        if worn is None:
            return
        try:
            wearer, finished = (embedders.of_crop(aligned_by_five(crop, pair.five_px), MODEL, "a face") for crop in (pair.wearer, pair.finished))
        except (ValueError, cv2.error):
            return  # points that are no face
        own = embedders.embedding(worn, MODEL)
        opinion = Opinion(float(finished @ wearer), float(own @ wearer), float(finished @ own), worn.id)
        with self._news:
            told = self._second.add(opinion, time.monotonic_ns())
        self.done += 1
        if told:
            self._tell(lookalike_text(worn, farthest(wearer, embedders)))


def farthest(wearer: F32, embedders: Embedders) -> str:
    """Id of the persona, of those that ship, that is least like the wearer ((128,) float32)."""
    own = {name: float(embedders.embedding(persona.load(name), MODEL) @ wearer) for name in persona.names()}
    return min(own, key=lambda name: own[name])


def lookalike_text(worn: Persona, better: str) -> str:
    """The line for the user."""
    return f"persona {worn.id!r} looks like you, so it hides little: take another one, such as --persona {better}"


def begin(config: Config, store: Store, tell: Callable[[str], None]) -> SecondCheck | None:
    """The check that the settings ask for; None when there is none to be had, or wanted. Raises ModelFileError when it is asked for by name and its
    model file is not there."""
    mode = config.guard.second_check
    if mode == "off":
        return None
    if not store.file_path(MODEL).exists():  # the command line fetches it before anything starts; frames do not wait for a download
        text = f"the second check needs the model file {MODEL!r}, which is not in the cache; fetch it with: livecam models fetch {MODEL}"
        if mode == "on":
            raise ModelFileError(text)
        tell(f"{text}; going on without")
        return None
    return SecondCheck(lambda: Embedders(store), tell)
