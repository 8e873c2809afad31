"""The contract of every runtime: tensors in, tensors out, by name; what is no model, and what does not fit, is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_models
import pytest
from onnx import helper

from livecam import registry, runtimes
from livecam.errors import ModelFileError, StageError
from livecam.runtimes import _choice, _engines

ANSWERS = tuple(_choice.ask(name, "cpu") for name in registry.names("runtimes"))
NAMES = [pytest.param(a.name, marks=[] if a.works else pytest.mark.skip(reason=f"{a.name}: {a.said}")) for a in ANSWERS]


@pytest.fixture(autouse=True)
def own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runtimes that keep engines seal them with a key of the test's own."""
    monkeypatch.setattr(_engines, "key_file", lambda: tmp_path / "config" / "engines.key")


def test_the_folder_is_the_registry() -> None:
    assert {"onnx", "openvino", "tensorrt", "torch"} <= set(registry.names("runtimes"))
    assert {"onnx", "openvino"} <= {answer.name for answer in ANSWERS if answer.works}, "these run everywhere"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """doubled = 2 * picture + row, sum = the sum of doubled over its width."""
    nodes = [
        helper.make_node("Mul", ["picture", "two"], ["twice"]),
        helper.make_node("Add", ["twice", "row"], ["doubled"]),
        helper.make_node("ReduceSum", ["doubled", "axis"], ["sum"], keepdims=0),
    ]
    weights = {"two": np.float32(2), "axis": np.array([3], np.int64)}
    inputs = [onnx_models.floats("picture", [1, 2, 3, 4]), onnx_models.floats("row", [1, 4])]
    outputs = [onnx_models.floats("doubled", [1, 2, 3, 4]), onnx_models.floats("sum", [1, 2, 3])]
    return onnx_models.save(tmp_path / "model.onnx", nodes, inputs, outputs, weights)


def feeds(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"picture": rng.normal(size=(1, 2, 3, 4)).astype(np.float32), "row": rng.normal(size=(1, 4)).astype(np.float32)}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("as_bytes", [False, True])
def test_runs_by_name_and_states_its_tensors(name: str, model: Path, as_bytes: bool) -> None:
    runtime = runtimes.load(name, model.read_bytes() if as_bytes else model)
    assert [(s.name, s.shape, s.dtype) for s in runtime.inputs] == [("picture", (1, 2, 3, 4), "float32"), ("row", (1, 4), "float32")]
    assert [(s.name, s.shape, s.dtype) for s in runtime.outputs] == [("doubled", (1, 2, 3, 4), "float32"), ("sum", (1, 2, 3), "float32")]
    for seed in range(3):
        given = feeds(seed)
        kept = {k: v.copy() for k, v in given.items()}
        result = runtime.run(given)
        doubled = 2 * given["picture"] + given["row"]
        assert np.allclose(result["doubled"], doubled, atol=1e-6) and np.allclose(result["sum"], doubled.sum(3), atol=1e-5)
        assert all(np.array_equal(given[k], kept[k]) for k in kept)


@pytest.mark.parametrize("name", NAMES)
def test_views_and_other_types_are_taken(name: str, model: Path) -> None:
    runtime = runtimes.load(name, model)
    wide = np.arange(48, dtype=np.float64).reshape(1, 2, 3, 8)[..., ::2]
    result = runtime.run({"picture": wide, "row": np.ones((1, 4), np.uint8)})
    assert np.allclose(result["doubled"], 2 * wide + 1)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_inputs_are_stage_errors_and_do_not_stop_the_next_run(name: str, model: Path) -> None:
    runtime = runtimes.load(name, model)
    with pytest.raises(StageError, match="row"):
        runtime.run({"picture": feeds(0)["picture"]})
    with pytest.raises(StageError, match="nonsense"):
        runtime.run({**feeds(0), "nonsense": np.zeros(1, np.float32)})
    with pytest.raises(StageError, match=r"1, 2, 3, 5.*picture \[1, 2, 3, 4\]"):
        runtime.run({"picture": np.zeros((1, 2, 3, 5), np.float32), "row": feeds(0)["row"]})
    assert np.allclose(runtime.run(feeds(1))["doubled"], 2 * feeds(1)["picture"] + feeds(1)["row"], atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_model_is_refused_by_name(name: str, model: Path, tmp_path: Path) -> None:
    whole = model.read_bytes()
    for content in (b"garbage" * 50, whole[: len(whole) // 2], b"\xff" * 300):
        path = tmp_path / "wrong.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=r"wrong\.onnx"):
            runtimes.load(name, path)
        with pytest.raises(ModelFileError, match=f"{len(content)} bytes"):
            runtimes.load(name, content)
    with pytest.raises(ModelFileError, match=r"gone\.onnx"):
        runtimes.load(name, tmp_path / "gone.onnx")


@pytest.mark.parametrize("name", NAMES)
def test_cache_folder_changes_nothing(name: str, model: Path, tmp_path: Path) -> None:
    results = [runtimes.load(name, model, 1, tmp_path / "compiled").run(feeds(0))["sum"].copy() for _ in range(2)]
    assert np.array_equal(*results)
    assert [s.name for s in runtimes.load(name, model, 1, tmp_path / "compiled").outputs] == ["doubled", "sum"]


@pytest.mark.parametrize("name", NAMES)
def test_damaged_cache_is_rebuilt(name: str, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "compiled"
    wanted = runtimes.load(name, model, 1, folder).run(feeds(0))["sum"].copy()
    blobs = list(folder.rglob("*.blob"))
    assert blobs or name != "openvino"
    for blob in blobs:
        whole = blob.read_bytes()
        for at in range(0, len(whole), max(1, len(whole) // 20)):
            data = bytearray(whole)
            data[at] ^= 0x40
            blob.chmod(0o644)
            blob.write_bytes(data)
            assert np.array_equal(runtimes.load(name, model, 1, folder).run(feeds(0))["sum"], wanted)
            assert blob.read_bytes() != bytes(data)
