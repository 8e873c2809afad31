"""Single keys from the terminal while a run goes on; nothing when standard input is no terminal."""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Callable
from types import TracebackType

POLL_S = 0.1


class Keys:
    """Context manager: calls `press(key)` from a thread of its own for each key, and puts the terminal back as it was."""

    def __init__(self, press: Callable[[str], None]) -> None:
        self._press = press
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Keys:
        if sys.stdin.isatty():
            self._thread = threading.Thread(target=self._windows if os.name == "nt" else self._unix, name="keys", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5 * POLL_S)

    def _unix(self) -> None:
        import termios
        import tty

        fd = sys.stdin.fileno()
        before = termios.tcgetattr(fd)
        try:
            tty.setcbreak(fd)
            while not self._stop.is_set():
                if select.select([fd], [], [], POLL_S)[0]:
                    key = os.read(fd, 1).decode(errors="ignore")
                    if not key:
                        return
                    self._press(key)
        finally:
            termios.tcsetattr(fd, termios.TCSADRAIN, before)

    def _windows(self) -> None:
        import msvcrt  # only there on Windows

        while not self._stop.wait(POLL_S):
            while msvcrt.kbhit():  # type: ignore[attr-defined]
                self._press(msvcrt.getwch())  # type: ignore[attr-defined]
