"""What is done to the worker from inside: to its guard, to what it publishes, to its memory, pipe and life. Real faults, but for the exceptions."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from livecam import pipeline as pipeline_module
from livecam.guard.link import WorkerLink
from livecam.pipeline import Pipeline
from livecam.soak.effects import STALE_FRAMES
from livecam.soak.kinds import HANGS_S, NONE, Event
from livecam.types import U8, Verdict

FLOOD_MESSAGES = 3000
EATEN_BYTES = (1 << 20, 1 << 16)
SHORT_OF_MEMORY_FRAMES = 10
"""After so many frames a worker that lived through the shortage gets its memory back."""
NO_EVENT = Event(NONE, -1, -1)


class Inside:
    """Wraps a worker's link and guard. `begin` with every frame, before it is processed. One thread."""

    def __init__(self, link: WorkerLink, made: Pipeline) -> None:
        self._link: Any = link
        self._publish = link.publish
        self._judge = made.policy.judge
        self._pixelate = pipeline_module.cover.pixelate
        self._event = NO_EVENT
        self._raw: U8 = np.zeros((0, 0, 3), np.uint8)
        self._past: deque[tuple[U8, Verdict, int]] = deque(maxlen=STALE_FRAMES)
        self._limit: tuple[int, int] | None = None
        self._eaten: list[bytearray] = []
        replaced: Any = link
        replaced.publish = self.publish
        judged: Any = made.policy
        judged.judge = self.judge
        covers: Any = pipeline_module.cover
        covers.pixelate = self.pixelate

    def begin(self, event: Event, raw: U8) -> None:
        """The next frame. raw: a copy of it."""
        self._event, self._raw = event, raw
        if self._limit is not None and event.since > SHORT_OF_MEMORY_FRAMES:
            self._limit_memory(self._limit)
            self._limit = None
            self._eaten = []
        act: Callable[[], None] | None = getattr(self, f"_{event.kind.name.removeprefix('worker: ').replace(' ', '_').replace('-', '_')}", None)
        if event.kind.room == "worker" and event.since == 0 and act is not None:
            act()

    # -- guard ------------------------------------------------------------------------------------------------------------------------------

    def judge(self, *args: Any) -> Any:
        """`Policy.judge`, failing."""
        if self._event.faulty and self._event.kind.room == "guard":
            raise RuntimeError("planted in the guard")
        return self._judge(*args)

    def pixelate(self, image: U8, blocks: int) -> None:
        """`cover.pixelate`, failing."""
        if self._event.faulty and self._event.kind.name == "guard: cannot cover":
            raise RuntimeError("planted in the cover")
        self._pixelate(image, blocks)

    # -- publish ----------------------------------------------------------------------------------------------------------------------------

    def publish(self, image: U8, verdict: Verdict, capture_ns: int, faces: int = 0, stages: Any = None) -> bool:
        """`WorkerLink.publish`, failing."""
        event = self._event
        rest = (faces, stages)
        if event.kind.room == "publish":
            self._past.append((image.copy(), verdict, capture_ns))
        if event.kind.room != "publish" or not event.faulty:
            return self._publish(image, verdict, capture_ns, *rest)
        what = event.kind.name.removeprefix("publish: ")
        if what == "exception":
            raise OSError("planted in publishing")
        if what == "memory error":
            raise MemoryError("planted in publishing")
        if what == "NaN":
            bad: Any = np.full(image.shape, np.nan, np.float32)
            return self._publish(bad, verdict, capture_ns, *rest)
        if what == "hang":
            time.sleep(HANGS_S[event.number % len(HANGS_S)])
        elif what == "wrong size":
            image = np.ascontiguousarray(image[: image.shape[0] // 4 * 2])
        elif what == "stale":
            image, verdict, capture_ns = self._past[0]
        done = self._publish(image, verdict, capture_ns, *rest)
        if what == "wrong face":
            self._overwrite()
        return done

    def _overwrite(self) -> None:
        """Raw pixels over a slot that is committed already: only main's checks are left."""
        for pixels in self._link._writer._slots.pixels:
            size = min(pixels.size, self._raw.size)
            pixels[:size] = self._raw.reshape(-1)[:size]

    # -- worker -----------------------------------------------------------------------------------------------------------------------------

    def _killed_in_mid_write(self) -> None:
        def die(*args: Any) -> None:
            self._overwrite()
            os.kill(os.getpid(), signal.SIGKILL)

        self._link._writer._fill = die  # called when the pixels are written and the commit word is not

    def _exit(self) -> None:
        os._exit(3)

    def _rubbish_in_the_pipe(self) -> None:
        self._link._connection.send_bytes(b"\x80\x04rubbish")

    def _floods_the_pipe(self) -> None:
        for number in range(FLOOD_MESSAGES):
            self._link.say("flood", number, "x" * 200)

    def _closes_the_pipe(self) -> None:
        self._link._connection.close()

    def _out_of_memory(self) -> None:
        """No further page for this process, from the kernel."""
        if sys.platform == "linux":
            import resource

            with open("/proc/self/statm") as file:  # noqa: PTH123 - the fewer allocations here, the better
                in_use = int(file.read().split()[0]) * resource.getpagesize()
            self._limit = resource.getrlimit(resource.RLIMIT_AS)
            self._limit_memory((in_use, self._limit[1]))
            for size in EATEN_BYTES:  # what the process has in reserve goes too
                with contextlib.suppress(MemoryError):
                    while True:
                        self._eaten.append(bytearray(size))

    def _limit_memory(self, limit: tuple[int, int]) -> None:
        if sys.platform == "linux":
            import resource

            resource.setrlimit(resource.RLIMIT_AS, limit)
