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
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What was compiled here, part by part; other processes do nothing."""
    done: list[str] = []
    monkeypatch.setenv(side_by_side.FOLDER, str(tmp_path))
    monkeypatch.setattr(swap, "kernels", lambda name: tuple(lambda k=k: done.append(f"{name} {k}") for k in range(3)))
    monkeypatch.setattr(side_by_side, "_begun", lambda name, part: subprocess.Popen([sys.executable, "-c", "pass"]))
    return done


def test_each_part_has_a_process_once_for_each_version(compiled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    first = Compiling("lite")
    assert len(first) == 3
    first.wait()
    assert compiled == ["lite 0", "lite 1", "lite 2"], "whatever the others did, this process has all kernels"
    assert len(Compiling("lite")) == 0
    other = Compiling("mesh")
    assert len(other) == 3
    other.stop()
    assert len(Compiling("mesh")) == 3, "a start that failed is no start"
    monkeypatch.setattr("livecam.__version__", "99.0")
    assert len(Compiling("lite")) == 3


def test_without_a_folder_nothing_would_be_kept(compiled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(side_by_side.FOLDER)
    alone = Compiling("lite")
    assert len(alone) == 0
    alone.wait()
    assert len(compiled) == 3


def test_a_process_that_hangs_is_not_waited_for(compiled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "_begun", lambda name, part: subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
    monkeypatch.setattr(side_by_side, "LONGEST_S", 0.2)
    hanging, begin = Compiling("lite"), time.monotonic()
    hanging.wait()
    assert len(compiled) == 3 and time.monotonic() - begin < 60.0
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
