"""The worker's life, with real processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from livecam.config import GuardConfig
from livecam.errors import GuardError
from livecam.guard import reveal, start
from livecam.guard.link import WorkerLink, decode
from livecam.guard.shm import Published
from livecam.guard.supervisor import Supervisor
from livecam.types import Verdict

PATIENCE_S = 60.0


def chatty(link: WorkerLink, width: int, height: int) -> None:
    """A worker: a picture every 10 ms, and it does as it is told."""
    image = np.zeros((height, width, 3), np.uint8)
    for level in range(1 << 30):
        image[:] = level % 256
        link.publish(image, Verdict.LIVE, time.monotonic_ns(), 1)
        if link.revealing:
            link.publish_unmasked(np.full_like(image, 90), time.monotonic_ns())
        for name, *values in link.commands(0.01):
            if name == "raise":
                raise ValueError(values[0])
            if name == "grow":
                image = np.zeros((values[1], values[0], 3), np.uint8)
            if name == "exit":
                os._exit(3)
            link.say("heard", name)


def mute(link: WorkerLink) -> None:
    """A worker that gives one sign of life and hangs."""
    link.alive()
    time.sleep(1000.0)


def load_early() -> None:
    """What a worker may do before it knows its job."""
    os.environ["LIVECAM_TEST_EARLY"] = "1"


def tells(link: WorkerLink) -> None:
    """A worker that says whether `load_early` ran in it."""
    link.say("early", os.environ.get("LIVECAM_TEST_EARLY") == "1")
    mute(link)


def until(supervisor: Supervisor, done: Callable[[Published | None], bool]) -> Published | None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        got = supervisor.poll(0.05)
        if done(got):
            return got
    raise AssertionError(f"waited in vain; the last death: {supervisor.last_death!r}")


def make(target: str = "chatty", args: tuple[int, ...] = (64, 48), **more: object) -> Supervisor:
    return Supervisor(f"{__name__}:{target}", args, width_px=64, height_px=48, config=GuardConfig(stall_s=0.6), **more)  # type: ignore[arg-type]


def test_frames_words_deaths_and_a_clean_end() -> None:
    fds = len(list(Path("/proc/self/fd").iterdir())) if sys.platform.startswith("linux") else 0
    with make() as supervisor:
        first = until(supervisor, lambda got: got is not None)
        assert first is not None and first.image.shape == (48, 64, 3)
        assert supervisor.send("hello")
        until(supervisor, lambda got: ["heard", "hello"] in supervisor.messages())

        pid = supervisor.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(supervisor, lambda got: not supervisor.up)
        assert "SIGKILL" in supervisor.last_death
        again = until(supervisor, lambda got: got is not None)
        assert again is not None and again.generation != first.generation and supervisor.pid != pid

        supervisor.send("raise", "out of paint")
        until(supervisor, lambda got: not supervisor.up)
        assert supervisor.last_death == "ValueError: out of paint"
        until(supervisor, lambda got: got is not None)

        supervisor.send("grow", 128, 96)
        bigger = until(supervisor, lambda got: got is not None and got.image.shape == (96, 128, 3))
        assert bigger is not None and supervisor.starts == 3, "a new format needs no new worker"
        supervisor.send("exit")
        until(supervisor, lambda got: not supervisor.up)
        assert supervisor.last_death == "it ended with exit code 3"
    assert not supervisor.send("anything")
    if fds:
        assert len(list(Path("/proc/self/fd").iterdir())) <= fds + 1, "one pipe of the resource tracker at most"


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="POSIX only")
def test_a_stopped_worker_is_replaced_and_can_publish_nothing_when_it_wakes() -> None:
    with make() as supervisor:
        until(supervisor, lambda got: got is not None)
        pid = supervisor.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        until(supervisor, lambda got: not supervisor.up)
        assert "no sign of life" in supervisor.last_death
        assert supervisor.poll(0.0) is None
        until(supervisor, lambda got: got is not None)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)  # killed and reaped before the next one began


def test_a_hanging_worker_and_one_that_cannot_start() -> None:
    with make("mute", ()) as supervisor:
        until(supervisor, lambda got: supervisor.starts == 2)
        assert "no sign of life" in supervisor.last_death
    with make("absent", ()) as supervisor:
        until(supervisor, lambda got: supervisor.starts == 2)
        assert "expected a function" in supervisor.last_death


def test_unmasked_pictures_only_with_a_grant_and_only_once() -> None:
    with make(reveal="show my real face") as supervisor:  # words are no grant
        until(supervisor, lambda got: got is not None)
        assert supervisor.reveal_newest() is None and not supervisor.revealing
    with make(reveal=reveal.grant(reveal.WORDS)) as supervisor:
        shown: list[Published] = []
        until(supervisor, lambda got: bool(shown.append(r) if (r := supervisor.reveal_newest()) else shown))
        assert (shown[0].image != 90).any() and (shown[0].image == 90).any(), "watermarked"
        supervisor.restart("test")
        until(supervisor, lambda got: supervisor.starts == 2 and got is not None)
        assert not supervisor.revealing and supervisor.reveal_newest() is None


@pytest.mark.skipif(sys.platform == "win32", reason="a working folder cannot be deleted there")
def test_a_worker_starts_again_after_the_working_folder_was_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with make() as supervisor:
        until(supervisor, lambda got: got is not None)
        folder.rmdir()
        supervisor.restart("test")
        until(supervisor, lambda got: supervisor.starts == 2 and got is not None)


def test_a_worker_that_began_early_becomes_the_first_one() -> None:
    begun = start.begin(f"{__name__}:load_early")
    pid = begun.process.pid
    with make("tells", (), begun=begun) as supervisor:
        until(supervisor, lambda got: ["early", True] in supervisor.messages())
        assert supervisor.pid == pid
        supervisor.restart("test")
        until(supervisor, lambda got: ["early", False] in supervisor.messages())
        assert supervisor.pid != pid


def test_a_worker_that_began_early_and_died_is_replaced() -> None:
    begun = start.begin("livecam.absent:nothing")
    begun.process.kill()
    begun.process.join()
    with make(begun=begun) as supervisor:
        until(supervisor, lambda got: got is not None)
        assert supervisor.starts == 2 and "SIGKILL" in supervisor.last_death


def test_a_worker_without_a_job_ends_with_its_supervisor() -> None:
    begun = start.begin()
    make(begun=begun).close()
    begun.process.join(PATIENCE_S)
    assert begun.process.exitcode is not None


def test_words_between_processes_are_lists_with_a_name() -> None:
    for wrong in (b"", b"{}", b"[]", b"[1]", b"\x80\x04", b"[" * 100_000):
        with pytest.raises(GuardError):
            decode(wrong)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the kernel")
@pytest.mark.parametrize("limit", ["RLIMIT_FSIZE", "RLIMIT_NOFILE"])
def test_a_worker_that_cannot_be_started_again_is_tried_until_it_can(limit: str) -> None:
    """Without room for segments, or without a free descriptor, main goes on, says why, and starts the next when there is room."""
    import resource

    which = getattr(resource, limit)
    before = resource.getrlimit(which)
    with make() as supervisor:
        until(supervisor, lambda got: got is not None)
        pid = supervisor.pid
        assert pid is not None
        free = os.open("/dev/null", os.O_RDONLY)
        os.close(free)
        resource.setrlimit(which, (4096 if limit == "RLIMIT_FSIZE" else free, before[1]))
        try:
            os.kill(pid, signal.SIGKILL)
            until(supervisor, lambda got: supervisor.pid is None and "SIGKILL" not in supervisor.last_death)
            assert supervisor.starts == 1
        finally:
            resource.setrlimit(which, before)
        assert until(supervisor, lambda got: got is not None) is not None
        assert supervisor.starts == 2


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the kernel")
def test_a_worker_whose_pictures_find_no_room_is_ended_and_started_again() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with make() as supervisor:
        until(supervisor, lambda got: got is not None)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        try:
            supervisor.grow(128, 96)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert not supervisor.up and "shared memory" in supervisor.last_death and supervisor.size_px == (64, 48)
        assert until(supervisor, lambda got: got is not None) is not None
