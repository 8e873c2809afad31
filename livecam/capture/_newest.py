"""`Newest`: the one thread that reads a capture and keeps only its newest frame.

reader thread:  open ─▶ read ─▶ slot ─▶ read ─▶ slot …      lost: close, wait 0.2 .. 2 s, open again
compute thread:                  take                       paused: closed, nothing in the slot
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from livecam.errors import CaptureError, CaptureLostError, EndOfStreamError, FormatError
from livecam.types import Frame, VideoFormat

if TYPE_CHECKING:
    from livecam.capture import Capture

BACK_OFF_S, LONGEST_BACK_OFF_S = 0.2, 2.0
"""First and longest wait before a lost source is opened again; doubled in between."""
STOP_S = 1.0
"""`stop` returns within this even when a driver does not let go; the thread is a daemon and ends by itself."""


@dataclass(frozen=True, slots=True)
class Mail:
    """What lies in the slot: a frame and what reading cost, the frames dropped before it included.

    wall_ms: from the frame's capture time to its arrival in the slot. cpu_ms: of the reader thread since the frame taken before.
    """

    frame: Frame
    wall_ms: float
    cpu_ms: float


class Slot:
    """A mailbox for one frame. Any thread may call anything.

    Newest wins: `put` replaces what nobody took, and counts it in `dropped`. No frame is taken twice.
    `end` lets the last frame be taken, then `take` raises.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._mail: Mail | None = None
        self._error: BaseException | None = None
        self.dropped = 0
        self.delivered = 0

    def put(self, frame: Frame, wall_ms: float = 0.0, cpu_ms: float = 0.0) -> None:
        """Replaces what is there; CPU time of a replaced frame is added to the new one's."""
        with self._condition:
            if self._mail is not None:
                self.dropped += 1
                cpu_ms += self._mail.cpu_ms
            self._mail = Mail(frame, wall_ms, cpu_ms)
            self._condition.notify_all()

    def take(self, timeout_s: float) -> Mail | None:
        """The frame, or None after `timeout_s`. Raises what `end` was given once the slot is empty."""
        with self._condition:
            self._condition.wait_for(lambda: self._mail is not None or self._error is not None, timeout_s)
            mail, self._mail = self._mail, None
            if mail is None:
                if self._error is not None:
                    raise self._error
                return None
            self.delivered += 1
            self._condition.notify_all()
            return mail

    def wait_empty(self, unless: Callable[[], bool]) -> bool:
        """Blocks until the frame was taken (True) or `unless()` holds (False; say so with `wake`)."""
        with self._condition:
            self._condition.wait_for(lambda: self._mail is None or unless())
            return self._mail is None

    def clear(self) -> None:
        """Throws away what is there, uncounted (the source is paused or gone: it would be stale)."""
        with self._condition:
            self._mail = None
            self._condition.notify_all()

    def end(self, error: BaseException) -> None:
        """Nothing comes any more; `take` raises `error` after the last frame."""
        with self._condition:
            self._error = error
            self._condition.notify_all()

    def wake(self) -> None:
        with self._condition:
            self._condition.notify_all()


class Newest:
    """Reads a capture in its own thread. `start`, `pause`, `resume`, `stop` from one thread, `take` from one; a context manager.

    open: opens the source (`Source.open`); called again after a loss or a pause. lossless: every frame is delivered, in order (for files that
    are read as fast as it goes); otherwise the newest wins. Frame.seq goes on counting when the source is opened again.
    """

    def __init__(self, open: Callable[[], Capture], lossless: bool = False) -> None:
        self._open = open
        self._lossless = lossless
        self._slot = Slot()
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._wanted.set()
        self._stopping = threading.Event()
        self._first = threading.Event()
        self._first_error: BaseException | None = None
        self._capture: Capture | None = None
        self._format: VideoFormat | None = None
        self._notes: tuple[str, ...] = ()
        self._seq_base, self._seq_last = 0, -1
        self._thread = threading.Thread(target=self._run, name="livecam-capture", daemon=True)
        self.lost: str | None = None
        """Why there is no picture now, None while there is one (or while paused)."""
        self.skipped = 0
        """Pictures that the source itself left out (gaps in its numbers)."""
        self.reopened = 0
        """How often a lost source came back."""
        self.read_wall_ms = 0.0
        """Of the frame taken last: from its capture time to its arrival in the slot (decoding, mostly)."""
        self.read_cpu_ms = 0.0
        """Of the frame taken last: CPU time of the reader thread, frames dropped since the one before included."""

    @property
    def dropped(self) -> int:
        """Frames read and replaced by a newer one before they were taken."""
        return self._slot.dropped

    @property
    def delivered(self) -> int:
        """Frames taken."""
        return self._slot.delivered

    @property
    def format(self) -> VideoFormat | None:
        """The source's, as last known (kept while it is lost or paused); None before it was first opened."""
        capture = self._capture
        if capture is not None:
            self._format = capture.format
        return self._format

    @property
    def notes(self) -> tuple[str, ...]:
        """The source's, as last known."""
        capture = self._capture
        if capture is not None:
            self._notes = capture.notes
        return self._notes

    def start(self, patient: bool = False) -> None:
        """Starts the thread and waits for the source to be opened. Raises what opening raised; `patient`: returns at once, goes on trying."""
        if patient:
            self._first.set()
        self._thread.start()
        self._first.wait()
        if self._first_error is not None:
            raise self._first_error

    def take(self, timeout_s: float) -> Frame | None:
        """The newest frame not yet taken; None when none comes within `timeout_s` (see `lost`). Raises EndOfStreamError after a file's last frame,
        and any error that ended the thread."""
        mail = self._slot.take(timeout_s)
        if mail is None:
            return None
        self.read_wall_ms, self.read_cpu_ms = mail.wall_ms, mail.cpu_ms
        return mail.frame

    def pause(self) -> None:
        """Closes the source (the camera's light goes out) and empties the slot, until `resume`. Does nothing on a lossless source."""
        if self._lossless:
            return
        self._wanted.clear()
        self._close()
        self._slot.clear()
        self.lost = None

    def resume(self) -> None:
        """Opens the source again."""
        self._wanted.set()

    @property
    def paused(self) -> bool:
        return not self._wanted.is_set()

    def stop(self) -> None:
        """Closes the source and ends the thread, within a second. May be called again."""
        self._stopping.set()
        self._wanted.set()
        self._slot.wake()
        closer = threading.Thread(target=self._close, name="livecam-capture-close", daemon=True)
        closer.start()
        until = time.monotonic() + STOP_S
        for thread in (closer, self._thread):
            if thread.ident is not None:
                thread.join(max(0.0, until - time.monotonic()))

    def __enter__(self) -> Newest:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _run(self) -> None:
        back_off_s = BACK_OFF_S
        try:
            while True:
                self._wanted.wait()
                if self._stopping.is_set():
                    break
                try:
                    self._session()
                except EndOfStreamError:
                    raise
                except CaptureError as error:
                    if not self._first.is_set():
                        raise
                    back_off_s = self._bridge(error, back_off_s)
        except Exception as error:  # noqa: BLE001 - a reader that died of anything must end `take`, or it would look like a slow camera
            self._first_error = None if self._first.is_set() else error
            self._slot.end(error)
        finally:
            self._close()
            self._first.set()

    def _session(self) -> None:
        """Opens, and reads until somebody closed it (paused, stopped)."""
        capture = self._opened()
        self._seq_base = self._seq_last + 1
        source_seq = -1
        while capture is not None and self._capture is capture:
            cpu_ns = time.thread_time_ns()
            try:
                frame = capture.read()
            except CaptureLostError:
                if self._capture is not capture:
                    break
                raise
            _check(frame)
            self.skipped += max(0, frame.seq - source_seq - 1)
            source_seq = frame.seq
            self._deliver(capture, frame, (time.thread_time_ns() - cpu_ns) / 1e6)

    def _deliver(self, capture: Capture, frame: Frame, cpu_ms: float) -> None:
        if self._seq_base:
            frame = replace(frame, seq=frame.seq + self._seq_base)
        self._seq_last = frame.seq
        wall_ms = (time.monotonic_ns() - frame.capture_ns) / 1e6
        if self._lossless and not self._slot.wait_empty(unless=self._stopping.is_set):
            return
        if self.lost is not None:
            self.lost = None
            self.reopened += 1
        self._slot.put(frame, wall_ms, cpu_ms)
        if self._capture is not capture:
            self._slot.clear()

    def _opened(self) -> Capture | None:
        """The source, open; None when it was closed again at once because nobody wants it any more."""
        capture = self._open()
        with self._lock:
            wanted = self._wanted.is_set() and not self._stopping.is_set()
            if wanted:
                self._capture = capture
                self._format, self._notes = capture.format, capture.notes
        self._first.set()
        if not wanted:
            capture.close()
            return None
        return capture

    def _bridge(self, error: CaptureError, back_off_s: float) -> float:
        """Notes the loss, waits; returns the next wait."""
        self._close()
        self._slot.clear()
        if self.paused or self._stopping.is_set():
            return BACK_OFF_S
        if self.lost is None:
            back_off_s = BACK_OFF_S
        self.lost = str(error)
        self._stopping.wait(back_off_s)
        return min(LONGEST_BACK_OFF_S, back_off_s * 2)

    def _close(self) -> None:
        """Closes the source exactly once, whoever comes first."""
        with self._lock:
            capture, self._capture = self._capture, None
        if capture is not None:
            capture.close()


def _check(frame: Frame) -> None:
    """A driver's rubbish is a lost source: it is opened again. Raises FormatError."""
    image = frame.image
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise FormatError(f"the camera: expected a picture (H, W, 3) of 8 bits, found {image.shape} {image.dtype}; it is opened again")
