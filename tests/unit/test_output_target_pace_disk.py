"""Small parts that outputs share: target options, the frame grid, room on the disk, fitting, who has a device open."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from livecam.errors import OutputError, UsageError
from livecam.output import _disk, _fit, _lock, _openers, _pace, _target

KNOWN = frozenset({"audio", "overwrite"})
Usage = namedtuple("Usage", "total used free")


def test_target_without_options_stays_as_it_is() -> None:
    assert _target.split("a b&c.mp4", KNOWN) == ("a b&c.mp4", {})


def test_target_options_are_decoded() -> None:
    assert _target.split("out.mp4?audio=my%20clip.mp4&overwrite=1", KNOWN) == ("out.mp4", {"audio": "my clip.mp4", "overwrite": "1"})
    assert _target.split("out.mp4?audio=C++/a b=c%26d.mp4", KNOWN) == ("out.mp4", {"audio": "C++/a b=c&d.mp4"})


@pytest.mark.parametrize("target", ["out.mp4?speed=2", "out.mp4?nonsense", "out.mp4?audio=a&speed=2"])
def test_unknown_option_is_named_with_the_known_ones(target: str) -> None:
    with pytest.raises(UsageError, match=r"(speed|nonsense).*audio, overwrite"):
        _target.split(target, KNOWN)


@pytest.mark.parametrize(("value", "meant"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_flag(value: str, meant: bool) -> None:
    assert _target.flag({"overwrite": value}, "overwrite") is meant


def test_flag_refuses_other_words() -> None:
    with pytest.raises(UsageError, match="maybe"):
        _target.flag({"overwrite": "maybe"}, "overwrite")


def test_grid_follows_the_clock_whatever_the_jitter() -> None:
    grid = _pace.Grid(30.0)
    jitter = np.random.default_rng(3).uniform(-0.4, 0.4, 300)
    jitter[0] = 0
    times = (np.arange(300) + jitter) / 30.0 * 1e9 + 5e9
    assert [grid.index(int(t)) for t in times] == list(range(300))


def test_grid_shows_gaps_and_repeats() -> None:
    grid = _pace.Grid(25.0)
    assert [grid.index(int(t * 1e6)) for t in (1000, 1001, 1040, 1200, 2000)] == [0, 0, 1, 5, 25]


def test_grid_keeps_to_an_odd_rate_for_an_hour() -> None:
    grid = _pace.Grid(29.97)
    grid.index(0)
    assert grid.index(3600 * 10**9) == 107892


def test_grid_refuses_a_rate_of_zero() -> None:
    with pytest.raises(ValueError, match="above 0"):
        _pace.Grid(0.0)


def test_space_holds_a_reserve_and_gives_it_back(tmp_path: Path) -> None:
    space = _disk.Space(tmp_path / "out.mp4")
    (reserve,) = tmp_path.iterdir()
    assert reserve.stat().st_size == _disk.RESERVE_BYTES
    assert space.enough(0)
    space.release()
    space.release()
    assert list(tmp_path.iterdir()) == []


def test_space_wants_more_room_for_a_longer_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = _disk.Space(tmp_path / "out.mp4")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, _disk.MARGIN_BYTES + 1000))
    assert space.enough(1000)
    assert not space.enough(1_000_000)
    space.release()


def test_space_refuses_a_full_disk_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 5 << 20))
    with pytest.raises(OutputError, match=r"5\.2 MB are free and at least 10 MB are needed; make room"):
        _disk.Space(tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == []


def test_fitter_passes_the_right_size_without_a_copy() -> None:
    image = np.zeros((36, 64, 3), np.uint8)
    assert _fit.Fitter(64, 36).fit(image).base is image or _fit.Fitter(64, 36).fit(image) is image


def test_fitter_cuts_the_odd_row_and_column() -> None:
    image = np.arange(37 * 65 * 3, dtype=np.uint32).astype(np.uint8).reshape(37, 65, 3)
    fitted = _fit.Fitter(64, 36).fit(image)
    assert fitted.flags.c_contiguous
    np.testing.assert_array_equal(fitted, image[:36, :64])


@pytest.mark.parametrize(("size", "inside"), [((48, 64), (slice(0, 36), slice(8, 56))), ((36, 128), (slice(9, 27), slice(0, 64)))])
def test_fitter_keeps_the_shape_with_bars(size: tuple[int, int], inside: tuple[slice, slice]) -> None:
    fitted = _fit.Fitter(64, 36).fit(np.full((*size, 3), 200, np.uint8))
    assert fitted.shape == (36, 64, 3)
    assert (fitted[inside] == 200).all()
    fitted[inside] = 0
    assert not fitted.any()


@pytest.mark.skipif(sys.platform == "win32", reason="flock")
def test_lock_is_held_once_and_names_its_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    program = (
        "import sys\nfrom livecam.output import _lock\nlock = _lock.DeviceLock('/dev/video7')\nprint(flush=True)\nsys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(_lock.LockTakenError) as caught:
        _lock.DeviceLock("/dev/video7")
    assert caught.value.pid == str(holder.pid)
    _lock.DeviceLock("/dev/video8").close()
    holder.kill()
    holder.wait()
    _lock.DeviceLock("/dev/video7").close()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_openers_finds_another_process_and_not_this_one(tmp_path: Path) -> None:
    held = tmp_path / "held"
    with held.open("w"):
        assert _openers.find(held)[0] == ()
        program = f"import sys\nheld = open({str(held)!r})\nprint(flush=True)\nsys.stdin.read()"
        reader = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert reader.stdout is not None
        reader.stdout.readline()
        names, _ = _openers.find(held)
        reader.kill()
        reader.wait()
    assert len(names) == 1 and names[0].startswith("python")


def test_watch_looks_once_a_second_and_takes_unknown_for_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[tuple[tuple[str, ...], bool]] = [((), True), (("obs",), False), ((), False)]
    clock = [0.0]
    monkeypatch.setattr(_openers, "find", lambda _: looks.pop(0))
    monkeypatch.setattr(_openers.time, "monotonic", lambda: clock[0])
    watch = _openers.Watch(Path("/dev/video7"))
    said: list[bool] = []
    for clock[0] in (0.0, 0.5, 1.0, 2.0, 2.9):
        watch.watched()
        watch.settle()
        said.append(watch.watched())
    assert said == [True, True, True, False, False]
    assert looks == []


def test_watch_does_not_wait_for_its_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked by the thread that sends."""
    go, took = threading.Event(), list[bool]()

    def slow(_: Path) -> tuple[tuple[str, ...], bool]:
        took.append(go.wait(10))
        return (), False

    monkeypatch.setattr(_openers, "find", slow)
    watch = _openers.Watch(Path("/dev/video7"))
    assert watch.watched()
    assert took == [], "the look was waited for"
    go.set()
    watch.settle()
    assert not watch.watched()
