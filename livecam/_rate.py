"""How often something may be done: so many a second over time, and so many at once."""

from __future__ import annotations

import time


class Bucket:
    """A token bucket (RFC 2697, section 3, without colours): holds up to `burst`, refilled by `per_s` a second. Used by one thread."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s, self._burst, self._held, self._then_s = per_s, burst, burst, time.monotonic()

    def take(self, now_s: float | None = None) -> bool:
        """Whether one more is allowed now; it counts if it is."""
        now = time.monotonic() if now_s is None else now_s
        self._held = min(self._burst, self._held + (now - self._then_s) * self._per_s)
        self._then_s = now
        if self._held < 1.0:
            return False
        self._held -= 1.0
        return True
