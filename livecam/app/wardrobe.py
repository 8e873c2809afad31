"""Personas made ready in a thread of their own, so that a switch costs no frame: the worn one goes on being drawn until the next is ready.

The compute thread asks for a persona, and before each frame takes what is ready and puts it on. Neighbours in the list of personas (what the keys for
next and previous reach) are made ready ahead when nothing else is wanted, then the others, the nearest in the list first: then any of them is put on
with the next frame. Those in the list ship with livecam; another one is checked anew (`still`) each time it is asked for, though it lies ready, and
once a second while it is worn: a consent ends, or is taken back, while livecam runs.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from livecam.errors import LivecamError

KEPT = 14
"""Personas kept ready, about 15 MB each: all that come with livecam, and some."""
IDLE_S = 2.0
"""Neighbours are made ready when nothing was asked for so long; then one more after each such time."""

WATCH_S = 1.0
"""How often a worn persona that does not ship with livecam is checked."""

PutOn = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Ready:
    """An asked-for persona. put_on: makes it the worn one, None when it could not be made ready; error: why."""

    which: str
    id: str = ""
    put_on: PutOn | None = None
    error: str = ""


class Wardrobe:
    """See the module. make: (id or path) -> (persona's id, what puts it on), slow, raises LivecamError; called in the wardrobe's thread alone.
    row: ids in the order in which keys go through them. worn: what is worn now (id or path). still: raises LivecamError when a persona that was made
    may not be worn any more. `ask`, `take` and `refusal` are called by one thread; `close` ends the thread."""

    def __init__(
        self,
        make: Callable[[str], tuple[str, PutOn]],
        row: tuple[str, ...],
        worn: str = "",
        idle_s: float = IDLE_S,
        still: Callable[[str], None] | None = None,
    ) -> None:
        self._make, self._row, self._idle_s, self._still = make, row, idle_s, still
        self._worn, self._refusal, self._next_watch = worn, "", 0.0
        self._news = threading.Condition()
        self._made: OrderedDict[str, tuple[str, PutOn]] = OrderedDict()
        self._wish: str | None = None
        self._done: Ready | None = None
        self._near = worn
        self._refused: set[str] = set()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="wardrobe", daemon=True)
        self._thread.start()

    def ask(self, which: str) -> None:
        """The persona (id or path) to make ready; a wish before it that is not ready yet is forgotten."""
        with self._news:
            self._done, self._wish = None, which
            if which in self._made and which in self._row:
                self._finish(which)
            self._news.notify_all()

    def wears(self, which: str) -> None:
        """This one (id or path) is in the pictures from now on."""
        with self._news:
            self._worn, self._refusal, self._next_watch = which, "", 0.0
            self._news.notify_all()

    def refusal(self) -> str:
        """Why the worn persona must come off, once; "" when it may stay."""
        with self._news:
            refusal, self._refusal = self._refusal, ""
            return refusal

    def take(self) -> Ready | None:
        """The newest asked-for persona, once, when it is ready or has failed; None otherwise. Never waits for its making."""
        with self._news:
            done, self._done = self._done, None
            return done

    def close(self) -> None:
        """Ends the thread; one that is making a persona is not waited for."""
        with self._news:
            self._closed = True
            self._news.notify_all()

    def _finish(self, which: str) -> None:
        """Called with the lock held."""
        self._made.move_to_end(which)
        self._done, self._wish, self._near = Ready(which, *self._made[which]), None, which

    def _work(self) -> None:
        while True:
            with self._news:
                which = self._next()
                if self._closed:
                    return
                watched = self._due()
            if watched:
                self._watch(watched)
            if which is not None:
                self._fetch(which)

    def _next(self) -> str | None:
        """What to make ready now: a wish at once, a neighbour when nothing came for a while. Called with the lock held; may wait."""
        if self._wish is None and not self._closed:
            watches = self._still is not None and bool(self._worn) and self._worn not in self._row
            idle_s = self._idle_s if self._missing_neighbour() else None
            news = self._news.wait(min(idle_s or WATCH_S, WATCH_S) if watches else idle_s)
            if not news:
                return self._missing_neighbour()
        return self._wish

    def _due(self) -> str:
        """The worn persona when it is to be checked now, else "". Called with the lock held."""
        if self._still is None or not self._worn or self._worn in self._row or time.monotonic() < self._next_watch:
            return ""
        self._next_watch = time.monotonic() + WATCH_S
        return self._worn

    def _watch(self, worn: str) -> None:
        error = self._refused_now(worn)
        with self._news:
            if error and self._worn == worn:
                self._refusal, self._worn = error, ""

    def _refused_now(self, which: str) -> str:
        """Why a persona that lies ready may not be worn any more, "" when it may; it does not lie ready then."""
        if self._still is None:
            return ""
        try:
            self._still(which)
        except LivecamError as error:
            with self._news:
                self._made.pop(which, None)
            return str(error)
        return ""

    def _nearest(self) -> tuple[str, ...]:
        """The personas to have ready beside the worn one: next, previous, the ones after these ..."""
        if self._near not in self._row:
            return ()
        at, count = self._row.index(self._near), len(self._row)
        steps = (sign * step for step in range(1, count // 2 + 1) for sign in (1, -1))
        return tuple(dict.fromkeys(self._row[(at + step) % count] for step in steps))[: KEPT - 2]

    def _missing_neighbour(self) -> str | None:
        return next((which for which in self._nearest() if which not in self._made and which not in self._refused), None)

    def _fetch(self, which: str) -> None:
        with self._news:
            ready = self._made.get(which)
        error = self._refused_now(which) if ready is not None else ""
        if error:
            self._fail(which, error)
            return
        try:
            made = ready or self._make(which)
        except LivecamError as error:
            self._fail(which, str(error))
        except Exception as error:  # noqa: BLE001 - the thread must live on, and the wish be answered
            self._fail(which, f"persona {which!r} could not be made ready: {type(error).__name__}: {error}")
        else:
            with self._news:
                self._made[which] = made
                if self._wish == which:
                    self._finish(which)
                while len(self._made) > KEPT:
                    wanted = {which, self._near, *self._nearest()}
                    del self._made[next(old for old in self._made if old not in wanted)]

    def _fail(self, which: str, error: str) -> None:
        with self._news:
            self._refused.add(which)
            if self._wish == which:
                self._done, self._wish = Ready(which, error=error), None
