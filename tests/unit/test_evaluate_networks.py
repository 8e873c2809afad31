"""Converted networks and their weights: right numbers, and nothing unverified is read."""

from __future__ import annotations

import base64
import io
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest

from engines.evaluate import perceptual, tfjs, weights
from livecam.errors import ModelFileError, UsageError


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _attr(pad: str, stride: int = 1, fused: tuple[str, ...] = ()) -> dict[str, Any]:
    out: dict[str, Any] = {"strides": {"list": {"i": ["1", str(stride), str(stride), "1"]}}, "padding": {"s": _b64(pad)}}
    return out | ({"fused_ops": {"list": {"s": [_b64(f) for f in fused]}}} if fused else {})


def _graph(folder: Path, nodes: list[dict[str, Any]], values: dict[str, np.ndarray]) -> tuple[Path, Path]:
    entries = [{"name": n, "shape": list(v.shape), "dtype": str(v.dtype)} for n, v in values.items()]
    consts = [{"name": n, "op": "Const"} for n in values]
    (folder / "m.json").write_text(json.dumps({"modelTopology": {"node": consts + nodes}, "weightsManifest": [{"weights": entries}]}))
    (folder / "m.bin").write_bytes(b"".join(v.tobytes() for v in values.values()))
    return folder / "m.json", folder / "m.bin"


def _input(shape: tuple[int, ...]) -> dict[str, Any]:
    return {"name": "x", "op": "Placeholder", "attr": {"shape": {"shape": {"dim": [{"size": str(s)} for s in (-1, *shape)]}}}}


def _run(model: ov.Model, x: np.ndarray) -> np.ndarray:
    return ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})({0: x})[0]


def test_tfjs_convolutions_are_tensorflows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = {
        "k": rng.normal(size=(3, 3, 2, 4)).astype(np.float32), "bias": rng.normal(size=4).astype(np.float32),
        "d": rng.normal(size=(3, 3, 4, 1)).astype(np.float32), "axes": np.array([1, 2], np.int32),
    }  # fmt: skip
    nodes = [
        _input((5, 5, 2)),
        {"name": "c", "op": "_FusedConv2D", "input": ["x", "k", "bias"], "attr": _attr("SAME", 1, ("BiasAdd", "Relu"))},
        {"name": "e", "op": "DepthwiseConv2dNative", "input": ["c", "d"], "attr": _attr("VALID", 2)},
        {"name": "m", "op": "Mean", "input": ["e", "axes"], "attr": {"keep_dims": {"b": False}}},
    ]
    x = rng.normal(size=(1, 5, 5, 2)).astype(np.float32)
    padded = np.pad(x[0], ((1, 1), (1, 1), (0, 0)))
    conv = np.array([[np.tensordot(padded[i : i + 3, j : j + 3], values["k"], 3) for j in range(5)] for i in range(5)]) + values["bias"]
    conv = np.maximum(conv, 0)
    depth = np.array([[(conv[i : i + 3, j : j + 3] * values["d"][..., 0]).sum(axis=(0, 1)) for j in (0, 2)] for i in (0, 2)])
    out = _run(tfjs.convert(*_graph(tmp_path, nodes, values), "m"), x)
    assert np.allclose(out[0], depth.mean(axis=(0, 1)), atol=1e-4)


def test_tfjs_names_an_operation_that_it_does_not_know(tmp_path: Path) -> None:
    nodes = [_input((2, 2, 1)), {"name": "y", "op": "LRN", "input": ["x"]}]
    with pytest.raises(ModelFileError, match="LRN"):
        tfjs.convert(*_graph(tmp_path, nodes, {"c": np.zeros(1, np.float32)}), "y")


def test_tfjs_refuses_weights_of_another_length(tmp_path: Path) -> None:
    topology, data = _graph(tmp_path, [_input((2, 2, 1))], {"c": np.zeros(3, np.float32)})
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(ModelFileError, match=r"m\.json"):
        tfjs.convert(topology, data, "x")


def _alex(rng: np.random.Generator) -> perceptual.Alex:
    shapes = ((8, 3, 11, 11), (8, 8, 5, 5), (8, 8, 3, 3), (8, 8, 3, 3), (8, 8, 3, 3))
    kernels = tuple(rng.normal(0, 0.1, s).astype(np.float32) for s in shapes)
    return perceptual.Alex(kernels, tuple(np.zeros(8, np.float32) for _ in shapes), tuple(np.full(8, 0.1, np.float32) for _ in shapes))


def test_lpips_is_0_for_equal_pictures_and_local() -> None:
    metric = perceptual.Lpips(_alex(np.random.default_rng(1)), 64)
    first = np.random.default_rng(2).integers(0, 255, (64, 64, 3), np.uint8)
    second = first.copy()
    second[:20, :20] = 255 - second[:20, :20]
    assert metric.map(first, first).max() == 0.0
    apart = metric.map(first, second)
    assert apart[:16, :16].mean() > 3 * apart[40:, 40:].mean()
    assert np.allclose(apart, metric.map(second, first))


def test_lpips_refuses_another_size() -> None:
    with pytest.raises(ValueError, match="64"):
        perceptual.Lpips(_alex(np.random.default_rng(1)), 64).features(np.zeros((32, 32, 3), np.uint8))


def test_a_pickle_of_arrays_is_read(tmp_path: Path) -> None:
    path = tmp_path / "w.ckpt"
    path.write_bytes(pickle.dumps({"a": {"b": np.arange(6, dtype=np.float32).reshape(2, 3)}}, protocol=3))
    assert np.array_equal(perceptual.read_arrays(path)["a"]["b"], np.arange(6).reshape(2, 3))


class _Bad:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("ran",))


def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "w.ckpt"
    path.write_bytes(pickle.dumps({"a": _Bad()}))
    with pytest.raises(ModelFileError, match=r"builtins\.print"):
        perceptual.read_arrays(path)
    assert capsys.readouterr().out == ""


CARD = """
id = "thing"
purpose = "a test"
licence = "none"
[[files]]
name = "thing.bin"
member = "package/thing.bin"
sha256 = "{sha}"
size_bytes = {size}
[[sources]]
kind = "npm"
package = "@some/thing"
version = "1.0.0"
"""


def _cards(folder: Path, data: bytes) -> None:
    (folder / "probe").write_bytes(data)
    (folder / "thing.toml").write_text(CARD.format(sha=weights.sha256_of(folder / "probe"), size=len(data)))


def _packer(data: bytes) -> Any:
    def run(command: list[str], cwd: Path, **_: Any) -> Any:
        with tarfile.open(cwd / "thing.tgz", "w:gz") as archive:
            entry = tarfile.TarInfo("package/thing.bin")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        return type("Done", (), {"returncode": 0, "stderr": ""})()

    return run


def test_weights_come_out_of_an_archive_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _cards(tmp_path, b"good bytes")
    monkeypatch.setattr(weights, "CARDS", tmp_path)
    monkeypatch.setattr(weights.shutil, "which", lambda name: name)
    monkeypatch.delenv("LIVECAM_OFFLINE", raising=False)
    monkeypatch.setattr(weights.subprocess, "run", _packer(b"good bytes"))
    assert weights.load("thing", tmp_path / "cache").paths["thing.bin"].read_bytes() == b"good bytes"

    def fails(*_: Any, **__: Any) -> Any:
        raise AssertionError("fetched again")

    monkeypatch.setattr(weights.subprocess, "run", fails)
    weights.load("thing", tmp_path / "cache")


def test_weights_that_were_altered_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _cards(tmp_path, b"good bytes")
    monkeypatch.setattr(weights, "CARDS", tmp_path)
    monkeypatch.setattr(weights.shutil, "which", lambda name: name)
    monkeypatch.delenv("LIVECAM_OFFLINE", raising=False)
    monkeypatch.setattr(weights.subprocess, "run", _packer(b"evil bytes"))
    with pytest.raises(ModelFileError, match="SHA-256"):
        weights.load("thing", tmp_path / "cache")
    assert not (tmp_path / "cache" / "thing.bin").exists()


def test_offline_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _cards(tmp_path, b"good bytes")
    monkeypatch.setattr(weights, "CARDS", tmp_path)
    monkeypatch.setenv("LIVECAM_OFFLINE", "1")
    with pytest.raises(ModelFileError, match="LIVECAM_OFFLINE"):
        weights.load("thing", tmp_path / "cache")


def test_unknown_weights_name_the_choices() -> None:
    with pytest.raises(UsageError, match="lpips_alex"):
        weights.load("nothing")


@pytest.mark.parametrize("name", weights.names())
def test_cards_say_what_they_must(name: str) -> None:
    import tomllib

    card = tomllib.loads((weights.CARDS / f"{name}.toml").read_text("utf-8"))
    assert card["id"] == name
    assert all(len(f["sha256"]) == 64 and f["size_bytes"] > 0 for f in card["files"])
    assert {"purpose", "licence", "licence_url", "publisher", "paper"} <= card.keys()
    assert [s["kind"] for s in card["sources"]][-1] == "url"
