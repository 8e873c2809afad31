"""A faster runtime takes over while frames go on: none is lost, a failure changes nothing, and a card that goes away costs no frame either."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from livecam.app.engine_room import EngineRoom, Made, build_aside, maker
from livecam.app.worker import Worker
from livecam.config import Config
from livecam.errors import ModelError, ParityError, StageError, UsageError
from livecam.pipeline import Finished, Pipeline
from livecam.runtimes import TensorSpec, _choice
from livecam.runtimes._fallback import Fallback
from livecam.runtimes._gate import Checked
from livecam.telemetry import Telemetry
from livecam.types import Frame, Verdict

PATIENCE_S = 20.0


class Counting:
    """A runtime that counts, and fails from its `last` run on."""

    inputs = outputs = (TensorSpec("x", (1,), "float32"),)

    def __init__(self, name: str, last: int | None = None, spoils: bool = False) -> None:
        self.name, self.last, self.spoils, self.runs = name, last, spoils, 0

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self.runs += 1
        if self.last is not None and self.runs > self.last:
            if self.spoils:
                return {"x": np.array([np.nan], np.float32)}
            raise StageError("CUDA: cudaMemcpyAsync answered cudaErrorDeviceUnavailable")
        return {"x": np.array([self.runs], np.float32)}


class Drawing:
    """A pipeline and its swapper: each frame notes which runtime drew it."""

    runtime = "openvino"

    def __init__(self) -> None:
        self.telemetry, self.network, self.shown = Telemetry(), cast(Any, Counting("openvino")), list[str]()
        self.swapper = self

    def prepare_network(self, remake: Callable[[Checked, Any], Any]) -> Callable[[], None]:
        made = remake(Checked(Path("net.onnx"), b"net"), self.network)

        def put_on() -> None:
            self.network = made

        return put_on

    def process(self, frame: Frame) -> Finished:
        before = {id(n): n.runs for n in self.counted()}
        self.network.run({"x": np.zeros(1, np.float32)})
        self.shown.append("+".join(n.name for n in self.counted() if n.runs > before[id(n)] and not (n.last is not None and n.runs > n.last)))
        return Finished(frame.image, Verdict.LIVE, "", 1, {})

    def counted(self) -> list[Counting]:
        return [self.network._plain, self.fast] if isinstance(self.network, Fallback) else [self.network]

    fast: Any = None


class Link:
    """Main's side, written down."""

    revealing = False

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.published = 0

    def commands(self, wait_s: float = 0.0) -> list[list[Any]]:
        return []

    def say(self, kind: str, *values: Any) -> None:
        if kind == "note":
            self.notes.append(values[0])

    def publish(self, *_: Any) -> bool:
        self.published += 1
        return True

    def alive(self) -> None: ...


class Camera:
    """A new frame whenever one is taken."""

    lost, dropped, skipped, read_wall_ms, read_cpu_ms, seq = None, 0, 0, 0.0, 0.0, -1

    def take(self, _: float) -> Frame:
        self.seq += 1
        return Frame(np.zeros((90, 160, 3), np.uint8), self.seq, self.seq)


class Run:
    """A worker over these, one step at a time."""

    def __init__(self, make: Callable[..., Made], drawing: Drawing, wanted: tuple[str, ...]) -> None:
        self.drawing, self.link, self.camera = drawing, Link(), Camera()
        self.worker = Worker(cast(Any, self.link), replace(Config()))
        self.worker._engine_room = EngineRoom(make, wanted, "openvino")

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.worker._step(cast(Any, self.camera), cast(Pipeline, self.drawing))

    def until(self, seen: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not seen():
            assert time.monotonic() < end, self.link.notes
            self.steps(1)
            time.sleep(0.001)


def test_the_loop_runs_on_and_switches_without_losing_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing, let_go = Drawing(), threading.Event()
    drawing.fast = Counting("tensorrt")

    def build(file: Path, cache_dir: Path) -> None:
        assert (file, cache_dir) == (Path("net.onnx"), Path()) and let_go.wait(PATIENCE_S)

    monkeypatch.setattr("livecam.app.engine_room.build_aside", build)
    monkeypatch.setattr("livecam.runtimes.tensorrt.is_built", lambda *_: False)
    monkeypatch.setattr("livecam.runtimes.load", lambda *_: drawing.fast)
    run = Run(maker(cast(Any, drawing), 1, Path(), "auto"), drawing, ("tensorrt",))
    run.steps(50)
    run.until(lambda: any("building an engine" in note for note in run.link.notes))
    assert set(drawing.shown) == {"openvino"}
    let_go.set()
    run.until(lambda: drawing.shown[-1] == "tensorrt")
    run.steps(20)
    switched = drawing.shown.index("tensorrt")
    assert drawing.shown[:switched] == ["openvino"] * switched and set(drawing.shown[switched:]) == {"tensorrt"}
    assert run.link.published == len(drawing.shown) == run.camera.seq + 1, "each frame taken was drawn once and published"
    assert any("runs on tensorrt now" in note for note in run.link.notes)


def test_what_is_refused_leaves_the_next_one_or_the_plain_one_and_says_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing = Drawing()

    monkeypatch.setattr("livecam.runtimes.tensorrt.is_built", lambda *_: True)

    def load(name: str, *_: Any) -> Counting:
        if name == "tensorrt":
            raise ParityError("tensorrt was refused: ... output: cosine 0.912000, PSNR 17.3 dB")
        if name == "onnx":
            raise ZeroDivisionError("a library's own error")
        drawing.fast = Counting(name)
        return drawing.fast

    monkeypatch.setattr("livecam.runtimes.load", load)
    run = Run(maker(cast(Any, drawing), 1, Path(), "auto"), drawing, ("tensorrt", "onnx", "torch"))
    run.until(lambda: drawing.shown and drawing.shown[-1] == "torch" and any("PSNR 17.3 dB" in note for note in run.link.notes))
    alone = Drawing()
    run = Run(maker(cast(Any, alone), 1, Path(), "auto"), alone, ("tensorrt", "onnx"))
    run.until(lambda: any("stays on openvino" in n and "PSNR 17.3 dB" in n and "ZeroDivisionError" in n for n in run.link.notes))
    assert set(alone.shown) == {"openvino"}


@pytest.mark.parametrize("spoils", [False, True])
def test_a_card_that_goes_away_costs_no_frame(monkeypatch: pytest.MonkeyPatch, spoils: bool) -> None:
    drawing = Drawing()
    drawing.fast = Counting("tensorrt", last=5, spoils=spoils)
    monkeypatch.setattr("livecam.runtimes.tensorrt.is_built", lambda *_: True)
    monkeypatch.setattr("livecam.runtimes.load", lambda *_: drawing.fast)
    run = Run(maker(cast(Any, drawing), 1, Path(), "auto"), drawing, ("tensorrt",))
    run.until(lambda: len(drawing.shown) > 12 and drawing.shown[-1] == "openvino" and "tensorrt" in drawing.shown)
    run.steps(10)
    first = drawing.shown.index("tensorrt")
    assert drawing.shown[first : first + 5] == ["tensorrt"] * 5 and set(drawing.shown[first + 5 :]) == {"openvino"}
    assert drawing.fast.runs == 6, "it is not asked again"
    told = [note for note in run.link.notes if "runs on the CPU again" in note]
    assert len(told) == 1 and run.link.published == len(drawing.shown)


def test_the_choice_names_every_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    says = {"tensorrt": (True, "tensorrt-rtx on a card"), "torch": (False, "not part of this installation")}
    real = _choice.ask
    monkeypatch.setattr(_choice, "ask", lambda name, provider="auto": _choice.Answer(name, *says[name]) if name in says else real(name, provider))
    choice = _choice.choose("auto", "auto", "openvino")
    assert choice.wanted == ("tensorrt",)
    assert "tensorrt-rtx on a card" in str(choice) and "torch: not part" in str(choice) and "onnx: ONNX Runtime" in str(choice)
    says["tensorrt"] = (False, "no NVIDIA driver answers on this machine")
    choice = _choice.choose("auto", "auto", "openvino")
    assert choice.wanted == () and "the best that works here" in str(choice) and "no NVIDIA driver" in str(choice)
    assert _choice.choose("onnx", "auto", "openvino").wanted == ("onnx",)
    assert _choice.choose("openvino", "auto", "openvino").wanted == ()
    with pytest.raises(UsageError, match=r"--runtime tensorrt cannot be served: no NVIDIA driver"):
        _choice.choose("tensorrt", "auto", "openvino")
    with pytest.raises(UsageError, match="runtime 'cudnn' is unknown"):
        _choice.choose("cudnn", "auto", "openvino")


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_a_tiny_graph_is_really_run(name: str) -> None:
    _choice.try_out(name)


def test_what_a_builder_in_its_own_process_says_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"nothing")
    with pytest.raises(ModelError) as caught:
        build_aside(broken, tmp_path)
    assert "livecam:" not in str(caught.value) and "Traceback" not in str(caught.value) and len(str(caught.value)) > 20


@pytest.mark.skipif(sys.platform == "win32", reason="the builder's stand-in is a shell script")
def test_a_builder_that_dies_or_hangs_is_a_model_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -SEGV $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(killed))
    with pytest.raises(ModelError, match="exit code -11"):
        build_aside(tmp_path / "net.onnx", tmp_path)
    killed.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr("livecam.app.engine_room.BUILD_S", 0.2)
    with pytest.raises(ModelError, match=r"took longer than 0\.2 s"):
        build_aside(tmp_path / "net.onnx", tmp_path)
