"""Main side: the worker's life. Starts it, watches it, kills it, reaps it, replaces its segments, and only then starts the next.

    waiting ──start──▶ up ──end of file, exit, stall──▶ dying ──reaped──▶ waiting (0.1 s, doubling to 2 s)
"""

from __future__ import annotations

import atexit
import contextlib
import enum
import signal
import time
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from livecam.config import GuardConfig
from livecam.errors import GuardError
from livecam.guard import start
from livecam.guard.link import MESSAGE_BYTES, Message, decode, encode, spec_to_json
from livecam.guard.reveal import RevealGrant
from livecam.guard.shm import MAGIC_REVEAL, Published, Reader, Segments, SegmentSpec, clean_stale
from livecam.guard.start import Begun

BACKOFF_S = 0.1
MAX_BACKOFF_S = 2.0
HEALTHY_S = 2.0
"""A worker that worked for so long after its first frame sets the back-off back: it is no worker that cannot start."""
STARTUP_S = 120.0
"""Until its first sign of life a worker may take so long (models are loaded, kernels compiled)."""
MESSAGES_PER_POLL = 256
"""So that a worker that floods the pipe cannot keep main from its ticks."""
UNANSWERED = 200
"""Commands that may be under way to a worker that says nothing; more are dropped, so that main never blocks on a full pipe."""
MAX_PIXELS = 8192 * 4608
"""No camera has more."""
REAP_S = 1.0
"""At the end of a run: longest wait for a killed worker."""


class Life(enum.Enum):
    """Where the worker is in its life."""

    WAITING = "waiting"
    UP = "up"
    DYING = "dying"


class Supervisor:
    """Runs `target` in a worker process, again and again, and hands out what it publishes. Used from one thread. A context manager."""

    def __init__(
        self,
        target: str,
        args: tuple[Any, ...],
        *,
        width_px: int,
        height_px: int,
        stages: tuple[str, ...] = (),
        config: GuardConfig | None = None,
        reveal: RevealGrant | None = None,
        begun: Begun | None = None,
    ) -> None:
        """target: "package.module:function", called in the worker as function(link: WorkerLink, *args). args: picklable.
        width_px, height_px: first guess of the frame's size; it grows when the worker asks. begun: a process that waits for its job and becomes
        the first worker; it belongs to the supervisor from now on. Starts nothing yet."""
        clean_stale()
        self._target, self._args = target, args
        self._size_px = (width_px, height_px)
        self._stages = stages
        self._config = config or GuardConfig()
        self._reveal_asked = isinstance(reveal, RevealGrant)
        self._begun = begun
        self._process: BaseProcess | None = None
        self._connection: Connection[Any, Any] | None = None
        self._segments: Segments | None = None
        self._reader: Reader | None = None
        self._reveal: tuple[Segments, Reader] | None = None
        self._life = Life.WAITING
        self._start_at = self._deadline = 0.0
        self._first_frame: float | None = None
        self._backoff_s = BACKOFF_S
        self._heard: list[Message] = []
        self._sent = 0
        self._dying_words = ""
        self._closed = False
        self.starts = 0
        """Workers started so far."""
        self.refused = 0
        """Frames of ended generations that were seen and not accepted."""
        self.last_death = ""
        """Why the last worker ended; "" if none has."""

    # -- what main calls -----------------------------------------------------------------------------------------------------------------

    @property
    def up(self) -> bool:
        """Whether a worker runs (it may still be loading)."""
        return self._life is Life.UP

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) of the largest frame that the segments take."""
        return self._size_px

    @property
    def segment(self) -> str:
        """Name of the shared segment in use, "" when there is none."""
        return self._segments.spec.name if self._segments is not None else ""

    @property
    def pid(self) -> int | None:
        """The worker's process number while it runs."""
        return self._process.pid if self._process is not None and self.up else None

    def poll(self, timeout_s: float) -> Published | None:
        """Waits up to `timeout_s` for news; keeps the worker alive; returns the newest frame that was not returned before, or None.

        To be called at every tick of main's loop. Raises GuardError, OSError when the first worker cannot be started: no shared memory, no
        descriptors. Later ones are tried again."""
        until = time.monotonic() + timeout_s
        while True:
            self._step(max(0.0, until - time.monotonic()))
            found = self._reader.newest() if self._reader is not None and self.up else None
            if found is not None or self._heard or time.monotonic() >= until:
                return found

    def messages(self) -> list[Message]:
        """What the worker has said since the last call, the link's own messages left out."""
        heard, self._heard = self._heard, []
        return heard

    def send(self, *command: Any) -> bool:
        """Sends a command to the worker; False when there is none or it does not listen (then it is not queued)."""
        if not self.up or self._connection is None or self._sent >= UNANSWERED:
            return False
        try:
            self._connection.send_bytes(encode(list(command)))
        except OSError:
            return False  # its death is noticed at the next poll
        self._sent += 1
        return True

    def reveal_newest(self) -> Published | None:
        """The newest watermarked raw frame of --reveal, or None."""
        return self._reveal[1].newest() if self._reveal is not None and self.up else None

    @property
    def revealing(self) -> bool:
        """Whether unmasked pictures may be shown now."""
        return self._reveal_asked

    def end_reveal(self) -> None:
        """Any key: no unmasked picture any more in this run."""
        self._reveal_asked = False
        if self._reveal is not None:
            self._reveal[0].close()
            self._reveal = None
            self.send("reveal", None)

    def restart(self, why: str) -> None:
        """Ends this worker and starts another (e.g. with another camera)."""
        if self.up:
            self._kill(why)

    def close(self) -> None:
        """Ends the worker and removes everything; may be called again."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        if self.up:
            self._kill("end of the run")
        if self._process is not None:
            self._process.join(REAP_S)
        self._clear()
        begun, self._begun = self._begun, None
        if begun is not None:  # it never got a job
            begun.process.kill()
            begun.connection.close()

    def __enter__(self) -> Supervisor:
        atexit.register(self.close)
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- the worker's life ---------------------------------------------------------------------------------------------------------------

    def _step(self, timeout_s: float) -> None:
        if self._life is Life.WAITING:
            left = self._start_at - time.monotonic()
            if left <= 0.0:
                self._start()
            else:
                time.sleep(min(left, timeout_s))
        elif self._life is Life.UP:
            self._listen(timeout_s)
        else:
            self._reap(timeout_s)

    def _start(self) -> None:
        if self._closed:
            raise GuardError("supervisor: expected to be open, found it closed")
        if self.starts:
            self.end_reveal()
        try:
            self._begin_life()
        except (GuardError, OSError) as error:
            if not self.starts:
                raise
            self.last_death = str(error)
            self._clear()
            self._wait_to_start()

    def _begin_life(self) -> None:
        self._segments = Segments.create(*self._size_px, self._stages)
        self._reader = Reader(self._segments)
        reveal: SegmentSpec | None = None
        if self._reveal_asked:
            segments = Segments.create(*self._size_px, magic=MAGIC_REVEAL)
            self._reveal = (segments, Reader(segments))
            reveal = segments.spec
        begun, self._begun = self._begun or start.begin(), None
        self._connection, self._process = begun.connection, begun.process
        start.hand_over(begun, start.Job(self._target, self._args, self._segments.spec, reveal))
        self.starts += 1
        self._sent, self._dying_words = 0, ""
        self._first_frame = None
        self._deadline = time.monotonic() + STARTUP_S
        self._life = Life.UP

    def _listen(self, timeout_s: float) -> None:
        connection, process = self._connection, self._process
        assert connection is not None and process is not None
        left_s = max(0.0, self._deadline - time.monotonic())
        wait([connection, process.sentinel], min(timeout_s, left_s))
        try:
            for _ in range(MESSAGES_PER_POLL):
                if not connection.poll():
                    break
                self._hear(decode(connection.recv_bytes(MESSAGE_BYTES)))
        except (EOFError, OSError):
            self._kill(self._dying_words or self._exit_text())
            return
        except GuardError as error:
            self._kill(str(error))
            return
        if time.monotonic() >= self._deadline:
            self._kill(f"no sign of life for {self._config.stall_s:g} s")

    def _hear(self, message: Message) -> None:
        self._sent = 0
        name = message[0]
        now, stall_s = time.monotonic(), self._config.stall_s
        if name in ("frame", "alive"):
            self._deadline = now + stall_s
            if name == "frame" and self._first_frame is None:
                self._first_frame = now
        elif name == "busy" and len(message) > 1 and isinstance(message[1], int | float):
            asked_s = message[1] if message[1] < STARTUP_S else STARTUP_S  # of a NaN too: a deadline of NaN never comes
            self._deadline = now + max(asked_s, stall_s)
        elif name == "size":
            self.grow(*_size(message))
        elif name == "died" and len(message) > 1:
            self._dying_words = str(message[1])
        else:
            self._heard.append(message)

    def grow(self, width_px: int, height_px: int) -> None:
        """The camera's format changed: larger segments, a new generation, the same worker. Without memory for them it is ended: it has nothing to
        write to."""
        old = self._segments
        try:
            self._segments = Segments.create(width_px, height_px, self._stages)
        except (GuardError, OSError) as error:
            self._kill(str(error))
            return
        self._size_px = (width_px, height_px)
        self._reader = Reader(self._segments)
        self.send("segments", spec_to_json(self._segments.spec))
        if old is not None:
            old.close()

    def _exit_text(self) -> str:
        process = self._process
        if process is None:
            return "it ended"
        process.join(0.05)
        code = process.exitcode
        if code is None:
            return "it closed its pipe"
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"killed by {signal.Signals(-code).name}"
        return f"it ended with exit code {code}"

    def _kill(self, why: str) -> None:
        """Its generation is over: nothing of it is read any more."""
        self.last_death = why
        self._life = Life.DYING
        if self._process is not None:
            self._process.kill()

    def _reap(self, timeout_s: float) -> None:
        process = self._process
        assert process is not None
        process.join(timeout_s)
        if process.exitcode is None:
            return
        if self._first_frame is not None and time.monotonic() - self._first_frame > HEALTHY_S:
            self._backoff_s = BACKOFF_S
        self._clear()
        self._wait_to_start()

    def _wait_to_start(self) -> None:
        self._start_at = time.monotonic() + self._backoff_s
        self._backoff_s = min(self._backoff_s * 2.0, MAX_BACKOFF_S)
        self._life = Life.WAITING

    def _clear(self) -> None:
        self.end_reveal()
        if self._reader is not None:
            self.refused += self._reader.refused
        self._reader = None
        if self._segments is not None:
            self._segments.close()
            self._segments = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None and self._process.exitcode is not None:
            self._process.close()
            self._process = None


def _size(message: Message) -> tuple[int, int]:
    """Width and height of a picture that a worker wants room for. Raises GuardError."""
    sides = message[1:]
    if len(sides) == 2 and all(type(side) is int and side >= 1 for side in sides) and sides[0] * sides[1] <= MAX_PIXELS:
        return sides[0], sides[1]
    raise GuardError(f"message between processes: expected two sides of at most {MAX_PIXELS} px in all, found {str(sides)[:60]}")
