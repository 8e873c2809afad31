"""The first start's compiling in several processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from livecam import swap
from livecam.app import side_by_side
from livecam.app.side_by_side import Compiling


@pytest.fixture
def three_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Generators of three parts; the processes do nothing."""
    monkeypatch.setenv(side_by_side.FOLDER, str(tmp_path))
    monkeypatch.setattr(swap, "kernels", lambda name: (lambda: None,) * 3)
    monkeypatch.setattr(side_by_side, "_begun", lambda name, part: subprocess.Popen([sys.executable, "-c", "pass"]))


def test_each_part_has_a_process_once_for_each_version(three_parts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Compiling("lite")
    assert len(first) == 3
    first.wait()
    assert len(Compiling("lite")) == 3, "not said yet"
    first.done()
    assert len(Compiling("lite")) == 0
    other = Compiling("mesh")
    assert len(other) == 3
    other.stop()
    assert len(Compiling("mesh")) == 3, "a start that failed is no start"
    monkeypatch.setattr("livecam.__version__", "99.0")
    assert len(Compiling("lite")) == 3


def test_without_a_folder_nothing_would_be_kept(three_parts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(side_by_side.FOLDER)
    alone = Compiling("lite")
    assert len(alone) == 0
    alone.wait()
    alone.done()


def test_without_processes_the_worker_compiles(three_parts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(name: str, part: int) -> subprocess.Popen[bytes]:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(side_by_side, "_begun", none_left)
    alone = Compiling("lite")
    assert len(alone) == 0
    alone.wait()
    alone.stop()


def test_a_process_that_hangs_is_not_waited_for(three_parts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "_begun", lambda name, part: subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
    monkeypatch.setattr(side_by_side, "LONGEST_S", 0.2)
    hanging, begin = Compiling("lite"), time.monotonic()
    hanging.wait()
    assert time.monotonic() - begin < 60.0
    assert all(process.poll() is not None for process in hanging._running)


def test_a_process_ends_with_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(side_by_side.FOLDER, str(tmp_path))
    process = side_by_side._begun("lite", 0)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(60) == 1, "it would have gone on for seconds, and ended with 0"


def test_a_real_process_leaves_its_kernels_on_the_disk(tmp_path: Path) -> None:
    last = len(swap.kernels("lite")) - 1
    words = [sys.executable, "-m", side_by_side.__name__, "lite", str(last)]
    with subprocess.Popen(words, env={**os.environ, side_by_side.FOLDER: str(tmp_path)}, stdin=subprocess.PIPE) as process:
        assert process.wait(120) == 0
    assert sorted({path.name.split("-")[0] for path in tmp_path.rglob("*.nbi")}) == [
        "_lite_tensor.change", "_lite_tensor.fill", "_lite_tensor.find", "_lite_tensor.mix",
    ]  # fmt: skip
