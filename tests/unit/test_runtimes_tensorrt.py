"""TensorRT: running against a stand-in for the card; building for real where `tensorrt-rtx` is installed (it needs no card)."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_models
import pytest
import trt_standin
from onnx import helper

from livecam import runtimes
from livecam.config import RunConfig
from livecam.errors import MissingExtraError, ModelFileError, ParityError, RuntimeAbsentError, StageError, UsageError
from livecam.runtimes import _choice, _engines, _half, _nvidia, _trt, tensorrt
from livecam.store import Store

builds = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx (89 MB, proprietary) is not installed; pip install 'livecam[tensorrt]'"
)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> trt_standin.Trt:
    monkeypatch.setattr(_engines, "key_file", lambda: tmp_path / "config" / "engines.key")
    return trt_standin.install(monkeypatch)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return onnx_models.generator(tmp_path / "generator.onnx", 32, length=8)


def feeds(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"target": rng.random((1, 3, 32, 32), np.float32), "source": rng.random((1, 8), np.float32)}


def test_an_engine_runs_through_device_memory(card: trt_standin.Trt, model: Path) -> None:
    fast, plain = runtimes.load("tensorrt", model), runtimes.load("onnx", model)
    assert (fast.inputs, fast.outputs) == (plain.inputs, plain.outputs)
    for seed in range(3):
        assert np.abs(fast.run(feeds(seed))["output"] - plain.run(feeds(seed))["output"]).max() < 2e-3
    before = card.cuda.calls.copy()
    fast.run(feeds(0))
    assert card.cuda.calls - before == {"cudaMemcpyAsync": 3, "cudaStreamSynchronize": 1}, "nothing is allocated for a frame"


def test_wrong_inputs_and_cuda_errors_are_stage_errors(card: trt_standin.Trt, model: Path) -> None:
    fast = runtimes.load("tensorrt", model)
    with pytest.raises(StageError, match="source"):
        fast.run({"target": feeds(0)["target"]})
    with pytest.raises(StageError, match=r"1, 3, 32, 31.*target \[1, 3, 32, 32\]"):
        fast.run({**feeds(0), "target": np.zeros((1, 3, 32, 31), np.float32)})
    card.cuda.fails["cudaStreamSynchronize"] = 46
    with pytest.raises(StageError, match="cudaStreamSynchronize answered 46"):
        fast.run(feeds(0))
    card.cuda.fails["cudaMalloc"] = 2
    held = len(card.cuda.memory)
    with pytest.raises(StageError, match="cudaMalloc answered 2"):
        tensorrt.open(model)
    assert held == 6 and card.cuda.calls["cudaStreamDestroy"] == 1 and len(card.cuda.memory) <= held + 1, "what it had is given back"


def test_an_engine_that_draws_something_else_is_refused_with_its_numbers(card: trt_standin.Trt, model: Path) -> None:
    card.gain = 1.1
    with pytest.raises(ParityError, match=r"tensorrt was refused: .*output: cosine 1\.0+, PSNR 2\d\.\d dB"):
        runtimes.load("tensorrt", model)
    assert not card.cuda.memory and card.cuda.calls["cudaStreamDestroy"] == 1, "a refused engine gives its memory back"
    card.gain = float("nan")
    with pytest.raises(ParityError, match="NaN or infinity"):
        runtimes.load("tensorrt", model)


def test_engines_are_built_once_kept_and_rebuilt_when_anything_changed(
    card: trt_standin.Trt, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "compiled"
    for _ in range(2):
        runtimes.load("tensorrt", model, 1, folder)
    assert card.built == 1 and card.kernels_read == [b"kernels of the stand-in"]
    kinds = sorted(entry.wanted["kind"] for entry in _engines.cache(folder).entries())
    assert kinds == sorted([_engines.ENGINE, _engines.KERNELS, _engines.REFERENCE])
    engine, = (e for e in _engines.cache(folder).entries() if e.wanted["kind"] == _engines.ENGINE)
    data = bytearray(engine.path.read_bytes())
    data[len(data) // 2] ^= 1
    engine.path.write_bytes(data)
    runtimes.load("tensorrt", model, 1, folder)
    assert card.built == 2, "an altered engine is built anew, never loaded"
    monkeypatch.setattr(_nvidia, "read", lambda: replace(trt_standin.CARD, driver="581.0"))
    runtimes.load("tensorrt", model, 1, folder)
    assert card.built == 3, "another driver"
    monkeypatch.setattr(trt_standin.Trt, "__version__", "1.8")
    runtimes.load("tensorrt", model, 1, folder)
    assert card.built == 4, "another version of the package"
    runtimes.load("tensorrt", onnx_models.generator(tmp_path / "generator.onnx", 32, length=8, gain=0.4), 1, folder)
    assert card.built == 5, "another model under the same name"


def test_an_engine_that_the_card_does_not_take_is_built_anew(card: trt_standin.Trt, model: Path, tmp_path: Path) -> None:
    runtimes.load("tensorrt", model, 1, tmp_path / "compiled").run(feeds(0))
    card.rejects = 1
    runtimes.load("tensorrt", model, 1, tmp_path / "compiled").run(feeds(0))
    assert card.built == 2
    card.rejects = 2
    with pytest.raises(ModelFileError, match="for another card or version"):
        runtimes.load("tensorrt", model, 1, tmp_path / "compiled")
    assert card.built == 3, "one that was built just now is not built again and again"


def test_an_engine_built_ahead_of_time_serves_every_driver(card: trt_standin.Trt, model: Path, tmp_path: Path) -> None:
    package, kept = card.package(), _engines.cache(tmp_path / "compiled")
    data, name = _engines.read_model(model)
    for arch in ("sm86", "sm89"):
        key = _engines.engine_key(data, name, package, arch, _engines.AHEAD, {})
        assert _engines.engine(kept, data, key, package, {}).fresh
    assert card.built == 2
    runtimes.load("tensorrt", model, 1, tmp_path / "compiled")
    assert card.built == 2


def test_without_a_card_it_says_so(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    monkeypatch.setattr(_nvidia, "read", lambda: None)
    with pytest.raises(RuntimeAbsentError, match="no NVIDIA driver"):
        runtimes.load("tensorrt", model)
    monkeypatch.setattr(_trt, "installed", tuple)
    answer = _choice.ask("tensorrt")
    assert not answer.works and "livecam[tensorrt]" in answer.said
    with pytest.raises(MissingExtraError):
        _trt.choose("sm89")


def test_the_package_that_serves_the_card_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    packages = {"tensorrt-rtx": _trt.Package("tensorrt-rtx", None, "1.7", ("sm86", "sm89")), "tensorrt": _trt.Package("tensorrt", None, "10.9", ())}
    monkeypatch.setattr(_trt, "installed", lambda: tuple(packages))
    monkeypatch.setattr(_trt, "load", packages.__getitem__)
    assert _trt.choose("sm89").name == "tensorrt-rtx" and _trt.choose("sm90").name == "tensorrt"
    monkeypatch.setattr(_trt, "installed", lambda: ("tensorrt-rtx",))
    with pytest.raises(ModelFileError, match=r"builds for sm90: tensorrt-rtx 1.7 knows sm86, sm89; for other cards: pip install tensorrt"):
        _trt.choose("sm90")


@builds
@pytest.mark.parametrize("arch", ["sm75", "sm86", "sm89", "sm120"])
def test_engines_are_really_built_ahead_of_time(arch: str) -> None:
    package = _trt.load("tensorrt-rtx")
    if arch not in package.arches:
        pytest.skip(f"{package.name} {package.version} does not list {arch}")
    data = Store(RunConfig().cache_dir).path("gaze").read_bytes()
    told: list[tuple[float, str]] = []
    key = _engines.engine_key(data, "gaze.onnx", package, arch, _engines.AHEAD, {})
    built = _engines.engine(None, data, key, package, {}, lambda share, doing: told.append((share, doing)))
    assert built.fresh and len(built.plan) > 100_000
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and shares[0] == 0.0 and shares[-1] == 1.0 and len({doing for _, doing in told}) > 2


@builds
def test_what_tensorrt_does_not_take_is_one_line(tmp_path: Path) -> None:
    package = _trt.load("tensorrt-rtx")
    nodes = [helper.make_node("Det", ["x"], ["y"])]
    path = onnx_models.save(tmp_path / "odd.onnx", nodes, [onnx_models.floats("x", [1, 4, 4])], [onnx_models.floats("y", [1])], {}, opset=17)
    # The gate for model files does not know the operator either; this is what is said of one that it lets through.
    network = _half.halved(onnx.load(path)).SerializeToString()
    with pytest.raises(ModelFileError, match=r"^odd\.onnx: tensorrt-rtx .* has no operator Det") as caught:
        _trt.build(package, network, "odd.onnx", "sm89")
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="does not build for 'sm90'; it builds for: sm75"):
        _trt.build(package, network, "odd.onnx", "sm90")
