"""In the place of CUDA graphs: a recorder that counts, and fails as a driver does when it is told to."""

from __future__ import annotations

from collections.abc import Callable


class Counting:
    """Runs what it records `warm_ups` times, as a real one does before it captures; `fail` makes replays fail."""

    def __init__(self, warm_ups: int = 1) -> None:
        self.recorded = self.replayed = 0
        self.fail = ""
        self._warm_ups = warm_ups

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        self.recorded += 1
        for _ in range(self._warm_ups):
            work()

        def replay() -> None:
            self.replayed += 1
            if self.fail:
                raise RuntimeError(self.fail)
            work()

        return replay
