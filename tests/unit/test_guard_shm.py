"""Shared memory: what main accepts, and what it never does."""

from __future__ import annotations

import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from livecam.errors import GuardError
from livecam.guard import shm
from livecam.guard.shm import MAGIC_REVEAL, Reader, Segments, Writer, clean_stale
from livecam.types import Verdict

SIZE = (64, 48)


def picture(level: int, width: int = 64, height: int = 48) -> np.ndarray:
    return np.random.default_rng(level).integers(0, 255, (height, width, 3), np.uint8)


@pytest.fixture
def pair():
    with Segments.create(*SIZE, ("a", "b")) as segments:
        writer = Writer(segments.spec)
        yield segments, writer, Reader(segments)
        writer.close()


def test_a_frame_arrives_whole_with_its_header(pair) -> None:
    _, writer, reader = pair
    assert reader.newest() is None
    writer.publish(picture(1), Verdict.COVER, 77, 2, {"b": (1.5, 0.5), "unknown": (9.0, 9.0)})
    got = reader.newest()
    assert got is not None
    assert (got.seq, got.capture_ns, got.verdict, got.faces) == (1, 77, Verdict.COVER, 2)
    assert dict(got.stages) == {"b": (1.5, 0.5)}
    assert np.array_equal(got.image, picture(1))
    assert abs(got.commit_ns - time.monotonic_ns()) < 60e9


def test_never_twice_and_the_newest_wins(pair) -> None:
    _, writer, reader = pair
    for level in range(7):
        writer.publish(picture(level), Verdict.LIVE, level)
    got = reader.newest()
    assert got is not None and got.seq == 7
    assert reader.newest() is None


def test_an_accepted_picture_stays_while_a_later_one_is_refused(pair) -> None:
    segments, writer, reader = pair
    writer.publish(picture(1), Verdict.LIVE, 1)
    kept = reader.newest()
    assert kept is not None
    writer.publish(picture(2), Verdict.LIVE, 2)
    segments.slots.pixels[2 % 3][:] = 0  # torn: the rows do not fit the header
    assert reader.newest() is None and reader.refused == 1
    assert np.array_equal(kept.image, picture(1))


@pytest.mark.parametrize("field", ["magic", "generation", "seq", "verdict", "width", "capture_ns"])
def test_a_changed_header_is_refused(pair, field: str) -> None:
    segments, writer, reader = pair
    writer.publish(picture(1), Verdict.LIVE, 1)
    segments.slots.headers[1][field] += 1
    assert reader.newest() is None and reader.refused == 1


@pytest.mark.parametrize(("field", "value"), [("magic", MAGIC_REVEAL), ("generation", 5), ("verdict", 9), ("width", 60000)])
def test_a_foreign_header_is_refused_even_when_its_checksum_fits(pair, field: str, value: int) -> None:
    segments, writer, reader = pair
    writer.publish(picture(1), Verdict.LIVE, 1)
    header = segments.slots.headers[1]
    header[field] = value
    segments.slots.words[1][0] = 1 << 32 | zlib.crc32(header.tobytes())
    assert reader.newest() is None and reader.refused == 1


def test_a_writer_that_dies_in_mid_write_publishes_nothing(pair, monkeypatch: pytest.MonkeyPatch) -> None:
    _, writer, reader = pair
    writer.publish(picture(1), Verdict.LIVE, 1)
    assert reader.newest() is not None

    def dies(*rest: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writer, "_fill", dies)
    with pytest.raises(KeyboardInterrupt):
        writer.publish(picture(2), Verdict.LIVE, 2)
    assert reader.newest() is None


def test_an_overwrite_while_main_copies_is_noticed(pair, monkeypatch: pytest.MonkeyPatch) -> None:
    segments, writer, reader = pair
    writer.publish(picture(1), Verdict.LIVE, 1)
    copy = np.copyto

    def slow(target: np.ndarray, source: np.ndarray) -> None:
        copy(target, source)
        segments.slots.words[1][0] = 0  # the writer has begun again in this slot

    monkeypatch.setattr(shm.np, "copyto", slow)
    assert reader.newest() is None and reader.refused == 1


def test_a_late_writer_of_an_ended_generation_reaches_nobody() -> None:
    old = Segments.create(*SIZE)
    writer = Writer(old.spec)
    old.close()
    with Segments.create(*SIZE) as new:
        reader = Reader(new)
        writer.publish(picture(1), Verdict.LIVE, 1)  # it wakes up and goes on: its pages are nobody's
        assert reader.newest() is None
        assert new.spec.generation != old.spec.generation
    writer.close()
    with pytest.raises(GuardError, match="generation is over"):
        Writer(old.spec)


@pytest.mark.parametrize(("shape", "kind"), [((49, 64, 3), np.uint8), ((8, 8), np.uint8), ((8, 8, 3), np.float32), ((0, 8, 3), np.uint8)])
def test_what_is_no_frame_is_not_published(pair, shape: tuple[int, ...], kind: type) -> None:
    _, writer, reader = pair
    image = np.zeros(shape, kind)
    with pytest.raises(GuardError, match="expected"):
        writer.publish(image, Verdict.LIVE, 1)
    assert reader.newest() is None


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(GuardError, match="0x48"):
        Segments.create(0, 48)
    with pytest.raises(GuardError, match="at most"):
        Segments.create(8, 8, tuple(str(i) for i in range(25)))


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="Linux only")
def test_nothing_is_left_behind_and_a_dead_mains_segments_are_cleaned() -> None:
    code = (
        "import os, sys; from livecam.guard.shm import Segments; from multiprocessing import resource_tracker; s = Segments.create(64, 48);"
        "resource_tracker.unregister('/' + s.spec.name, 'shared_memory'); print(s.spec.name, flush=True); os._exit(1)"
    )
    name = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout.strip()
    left = Path("/dev/shm") / name
    assert left.exists()
    with Segments.create(*SIZE) as alive:
        old = time.time() - 60
        import os

        for path in (left, Path("/dev/shm") / alive.spec.name):
            os.utime(path, (old, old))
        assert clean_stale() >= 1
        assert not left.exists()
        assert (Path("/dev/shm") / alive.spec.name).exists()
    assert not (Path("/dev/shm") / alive.spec.name).exists()
