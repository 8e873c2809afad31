"""The one-slot mailbox, and the thread that fills it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from capture_clips import MjpegCamera, mjpeg_server, number_of, write_clip
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from livecam.capture import Newest, choose
from livecam.capture._newest import Slot
from livecam.config import CaptureConfig
from livecam.errors import CaptureError, CaptureLostError, DeviceAbsentError, DeviceBusyError, EndOfStreamError, FormatError
from livecam.types import Frame, VideoFormat

WAIT_S = 10.0
"""Longest wait for another thread; reached only when the test fails."""
GONE = CaptureLostError("unplugged")


def frame(seq: int) -> Frame:
    return Frame(np.full((48, 64, 3), seq % 256, np.uint8), time.monotonic_ns(), seq)


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.002)


class Mailbox(RuleBasedStateMachine):
    """A slot beside a model of it: what was put last and not yet taken."""

    def __init__(self) -> None:
        super().__init__()
        self.slot = Slot()
        self.put_count = self.taken = self.cleared = 0
        self.waiting: Frame | None = None
        self.waiting_cpu_ms = 0.0
        self.last_taken = -1

    @rule(cpu_ms=st.integers(0, 100))
    def put(self, cpu_ms: int) -> None:
        self.waiting_cpu_ms = cpu_ms + (self.waiting_cpu_ms if self.waiting is not None else 0.0)
        self.waiting = frame(self.put_count)
        self.put_count += 1
        self.slot.put(self.waiting, cpu_ms=float(cpu_ms))

    @rule()
    def take(self) -> None:
        mail = self.slot.take(0.0)
        if self.waiting is None:
            assert mail is None
            return
        assert mail is not None
        assert mail.frame is self.waiting
        assert mail.frame.seq > self.last_taken
        assert mail.cpu_ms == self.waiting_cpu_ms
        self.last_taken, self.waiting = mail.frame.seq, None
        self.taken += 1

    @rule()
    def clear(self) -> None:
        self.cleared += self.waiting is not None
        self.waiting = None
        self.slot.clear()

    @invariant()
    def counts_add_up(self) -> None:
        assert self.slot.delivered == self.taken
        assert self.put_count == self.slot.dropped + self.taken + self.cleared + (self.waiting is not None)
        assert self.slot.wait_empty(unless=lambda: True) == (self.waiting is None)


Mailbox.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestMailbox = Mailbox.TestCase


def test_two_threads_on_one_slot_lose_count_of_nothing() -> None:
    slot, count, seen = Slot(), 5000, list[int]()

    def put_all() -> None:
        for seq in range(count):
            slot.put(frame(seq))
        slot.end(EndOfStreamError("end"))

    writer = threading.Thread(target=put_all)
    writer.start()
    with pytest.raises(EndOfStreamError):
        while True:
            mail = slot.take(WAIT_S)
            assert mail is not None
            seen.append(mail.frame.seq)
    writer.join()
    assert seen == sorted(set(seen))
    assert seen[-1] == count - 1
    assert slot.delivered == len(seen)
    assert slot.dropped == count - len(seen)


class Scripted:
    """A source that delivers what the test puts into `script`: a frame, or an error to raise; `close` ends a blocked read."""

    def __init__(self, stubborn: bool = False) -> None:
        self.script: queue.Queue[Frame | BaseException] = queue.Queue()
        self.closed = 0
        self.reads = 0
        self.stubborn = stubborn
        self.format = VideoFormat(64, 48, 30.0)
        self.notes: tuple[str, ...] = ()

    def read(self) -> Frame:
        self.reads += 1
        item = self.script.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        self.closed += 1
        if not self.stubborn:
            self.script.put(CaptureLostError("closed"))

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Opener:
    """Opens the sources of a list in turn; an error in the list is raised."""

    def __init__(self, *outcomes: Scripted | BaseException) -> None:
        self.outcomes = list(outcomes)
        self.calls = 0

    def __call__(self) -> Scripted:
        outcome = self.outcomes[min(self.calls, len(self.outcomes) - 1)]
        self.calls += 1
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def test_the_newest_wins_and_what_it_replaced_is_counted() -> None:
    source = Scripted()
    with Newest(Opener(source)) as newest:
        for seq in range(5):
            source.script.put(frame(seq))
        until(lambda: source.reads == 6)
        taken = newest.take(WAIT_S)
        assert taken is not None
        assert taken.seq == 4
        assert (newest.dropped, newest.delivered, newest.skipped) == (4, 1, 0)
        assert newest.take(0.0) is None


def test_pictures_that_the_source_left_out_are_counted_apart() -> None:
    source = Scripted()
    with Newest(Opener(source)) as newest:
        for seq in (0, 1, 5):
            source.script.put(frame(seq))
        until(lambda: source.reads == 4)
        assert (newest.skipped, newest.dropped) == (3, 2)


def test_a_source_that_cannot_be_opened_at_first_says_so_at_start() -> None:
    with pytest.raises(DeviceBusyError, match="taken"):
        Newest(Opener(DeviceBusyError("taken"))).start()


def test_a_patient_start_waits_for_a_camera_that_is_not_there_yet() -> None:
    source = Scripted()
    source.script.put(frame(0))
    newest = Newest(Opener(DeviceAbsentError("not there yet"), source))
    newest.start(patient=True)
    try:
        until(lambda: newest.lost == "not there yet" or newest.delivered > 0)
        assert newest.take(WAIT_S) is not None
        assert newest.lost is None
    finally:
        newest.stop()


def test_an_unplugged_camera_comes_back_by_itself() -> None:
    first, second = Scripted(), Scripted()
    opener = Opener(first, DeviceAbsentError("still away"), second)
    with Newest(opener) as newest:
        first.script.put(frame(0))
        taken = newest.take(WAIT_S)
        assert taken is not None and taken.seq == 0
        first.script.put(frame(1))
        first.script.put(GONE)
        until(lambda: newest.lost == "unplugged")
        assert newest.take(0.0) is None, "a picture from before the loss is stale"
        until(lambda: newest.lost == "still away")
        until(lambda: opener.calls == 3)
        assert newest.lost == "still away", "open is not enough: a picture must come"
        second.script.put(frame(0))
        taken = newest.take(WAIT_S)
        assert taken is not None and taken.seq == 2, "numbers go on"
        assert (newest.lost, newest.reopened, first.closed) == (None, 1, 1)


def test_waits_between_attempts_double_up_to_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    newest = Newest(Opener(DeviceAbsentError("away")))

    class Stopping(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            if len(waits) == 6:
                self.set()
            return self.is_set()

    monkeypatch.setattr(newest, "_stopping", Stopping())
    newest.start(patient=True)
    until(lambda: len(waits) == 6)
    newest.stop()
    assert waits == [0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_pause_closes_the_camera_and_resume_opens_it_again() -> None:
    first, second = Scripted(), Scripted()
    opener = Opener(first, second)
    with Newest(opener) as newest:
        first.script.put(frame(0))
        until(lambda: first.reads == 2)
        newest.pause()
        assert first.closed == 1
        assert newest.take(0.0) is None, "a picture from before the pause is stale"
        time.sleep(0.05)
        assert (opener.calls, newest.lost, newest.paused) == (1, None, True)
        newest.resume()
        second.script.put(frame(0))
        taken = newest.take(WAIT_S)
        assert taken is not None and taken.seq == 1
        assert (opener.calls, newest.lost, newest.reopened) == (2, None, 0)
    assert (first.closed, second.closed) == (1, 1)


def test_pausing_and_resuming_in_quick_turns_leaves_one_source_open() -> None:
    sources: list[Scripted] = []

    def open_one() -> Scripted:
        sources.append(Scripted())
        return sources[-1]

    newest = Newest(open_one)
    newest.start()
    for _ in range(50):
        newest.pause()
        newest.resume()
    newest.pause()
    until(lambda: all(source.closed for source in sources))
    newest.resume()
    until(lambda: not sources[-1].closed)
    sources[-1].script.put(frame(0))
    assert newest.take(WAIT_S) is not None
    newest.stop()
    until(lambda: [source.closed for source in sources] == [1] * len(sources))


def test_a_camera_taken_by_another_program_during_a_pause_is_reported_and_awaited() -> None:
    first, second = Scripted(), Scripted()
    with Newest(Opener(first, DeviceBusyError("taken"), second)) as newest:
        newest.pause()
        newest.resume()
        until(lambda: newest.lost == "taken")
        second.script.put(frame(0))
        assert newest.take(WAIT_S) is not None
        assert newest.lost is None


@pytest.mark.parametrize("error", [FormatError("16x16"), CaptureError("odd")])
def test_a_source_that_turns_unusable_counts_as_lost(error: CaptureError) -> None:
    first, second = Scripted(), Scripted()
    with Newest(Opener(first, second)) as newest:
        first.script.put(error)
        until(lambda: newest.lost == str(error))
        second.script.put(frame(0))
        assert newest.take(WAIT_S) is not None


@pytest.mark.parametrize("picture", [np.zeros((48, 64, 3), np.float32), np.zeros((0, 0, 3), np.uint8), np.zeros((48, 64), np.uint8)])
def test_rubbish_from_a_driver_opens_it_again(picture: np.ndarray) -> None:
    first, second = Scripted(), Scripted()
    with Newest(Opener(first, second)) as newest:
        first.script.put(Frame(picture, 1, 0))
        until(lambda: newest.lost is not None and "expected a picture" in newest.lost)
        second.script.put(frame(0))
        taken = newest.take(WAIT_S)
        assert taken is not None and taken.image.dtype == np.uint8


def test_the_end_of_a_file_comes_after_its_last_frame() -> None:
    source = Scripted()
    source.script.put(frame(0))
    source.script.put(EndOfStreamError("the end"))
    with Newest(Opener(source)) as newest:
        until(lambda: source.closed == 1)
        assert newest.take(WAIT_S) is not None
        for _ in range(2):
            with pytest.raises(EndOfStreamError, match="the end"):
                newest.take(WAIT_S)


def test_a_reader_that_died_of_a_mistake_does_not_look_like_a_slow_camera() -> None:
    source = Scripted()
    source.script.put(ZeroDivisionError("a mistake"))
    with Newest(Opener(source)) as newest, pytest.raises(ZeroDivisionError):
        newest.take(WAIT_S)
    assert source.closed == 1


def test_stop_returns_though_the_driver_does_not_let_go() -> None:
    newest = Newest(Opener(Scripted(stubborn=True)))
    newest.start()
    done = threading.Thread(target=newest.stop)
    done.start()
    done.join(WAIT_S)
    assert not done.is_alive()
    newest.stop()


def test_stop_ends_a_reader_that_waits_for_the_slot(tmp_path: Path) -> None:
    source = choose(CaptureConfig(camera=str(write_clip(tmp_path / "clip.mp4", 10)), realtime=False))
    newest = Newest(source.open, source.lossless)
    newest.start()
    until(lambda: newest.format is not None)
    newest.stop()
    assert not newest._thread.is_alive()


def test_cost_of_reading_is_told_with_the_frame() -> None:
    source = Scripted()
    with Newest(Opener(source)) as newest:
        late = Frame(frame(0).image, time.monotonic_ns() - 7_000_000, 0)
        source.script.put(late)
        assert newest.take(WAIT_S) is late
        assert newest.read_wall_ms >= 7.0
        assert newest.read_cpu_ms > 0.0


def test_a_file_read_as_fast_as_it_goes_loses_nothing_to_a_slow_reader(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 40)
    source = choose(CaptureConfig(camera=str(path), realtime=False, loop=False))
    assert source.lossless
    numbers: list[int] = []
    with Newest(source.open, source.lossless) as newest:
        newest.pause()
        assert not newest.paused, "a file that must lose nothing is not paused"
        with pytest.raises(EndOfStreamError):
            while True:
                taken = newest.take(WAIT_S)
                assert taken is not None
                numbers.append(number_of(taken.image))
                time.sleep(0.004 if len(numbers) % 7 == 0 else 0.0)
        assert (newest.dropped, newest.skipped) == (0, 0)
    assert numbers == list(range(40))


def test_a_network_camera_that_hangs_up_is_connected_again() -> None:
    camera = MjpegCamera(count=12)
    with mjpeg_server(camera) as address:
        source = choose(CaptureConfig(camera=address))
        assert not source.lossless
        with Newest(source.open, source.lossless) as newest:
            end = time.monotonic() + 2 * WAIT_S
            while newest.reopened == 0 and time.monotonic() < end:
                newest.take(0.5)
            assert newest.reopened >= 1
            assert camera.visits >= 2
