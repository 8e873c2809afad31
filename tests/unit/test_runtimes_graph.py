"""ONNX made ready for builders: refused in one line before the builder, half precision where it is harmless, TensorFlow Lite as ONNX."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_models
import pytest
from onnx import TensorProto, helper, numpy_helper

from livecam import runtimes
from livecam.config import RunConfig
from livecam.errors import ModelError, ModelFileError, ModelShapeError
from livecam.runtimes import _engines, _graph, _half, _parity
from livecam.store import Store

LARGE = 1 << 40
node = helper.make_node


def made(nodes: list, inputs: list, outputs: list, weights: dict[str, np.ndarray], opsets: tuple[tuple[str, int], ...] = (("", 17),)) -> bytes:
    graph = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(v, k) for k, v in weights.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(*o) for o in opsets], ir_version=8).SerializeToString()


def one(op: str, shape: list[int] | None = None, domain: str = "", **attributes: object) -> bytes:
    x, y = onnx_models.floats("x", shape or [1, 3, 8, 8]), onnx_models.floats("y", ["n"] * 4)
    return made([node(op, ["x"], ["y"], domain=domain, **attributes)], [x], [y], {}, (("", 17), ("com.example", 1)))


def external() -> bytes:
    model = onnx.load_from_string(made([node("Add", ["x", "w"], ["y"])], [onnx_models.floats("x", [4])], [onnx_models.floats("y", [4])],
                                       {"w": np.ones(4, np.float32)}))  # fmt: skip
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "/etc/passwd"), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    return model.SerializeToString()


def grown() -> bytes:
    """A few bytes that ask for 4 TB while running."""
    nodes = [node("ConstantOfShape", ["size"], ["big"]), node("ReduceSum", ["big"], ["s"], keepdims=0), node("Mul", ["x", "s"], ["y"])]
    return made(nodes, [onnx_models.floats("x", [4])], [onnx_models.floats("y", [4])], {"size": np.array([1 << 20, 1 << 20], np.int64)})


def padded() -> bytes:
    """Too large by a padding, which is not seen before the shapes are worked out."""
    pads = np.array([0, 0, 4096, 4096, 0, 0, 4096, 4096], np.int64)
    return made([node("Pad", ["x", "pads"], ["y"])], [onnx_models.floats("x", [1, 3, 8, 8])], [onnx_models.floats("y", ["a", "b", "c", "d"])],
                {"pads": pads})  # fmt: skip


def padded_constant() -> bytes:
    """The same, of constants alone: what a library that folds constants works out while it loads."""
    weights = {"one": np.ones((4, 1, 1), np.float32), "pads": np.array([0, 4096, 4096, 0, 4096, 4096], np.int64)}
    nodes = [node("Pad", ["one", "pads"], ["big"]), node("ReduceMax", ["big"], ["s"], keepdims=0), node("Mul", ["x", "s"], ["y"])]
    return made(nodes, [onnx_models.floats("x", [4])], [onnx_models.floats("y", [4])], weights)


FAULTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "unknown operator": (lambda: one("Bewitch"), r"operator 'Bewitch' .* is not one that livecam runs"),
    "another domain": (lambda: one("Relu", domain="com.example"), r"operator 'Relu' \(domain 'com.example'"),
    "external data": (external, "external data"),
    "terabytes by a shape": (grown, r"asks for a tensor of shape \[1048576, 1048576\]"),
    "terabytes by an input": (lambda: one("Relu", [1, 3, LARGE, 8]), rf"input 'x' asks for a tensor of shape \[1, 3, {LARGE}, 8\]"),
    "terabytes by a padding": (padded, r"would hold more than"),
    "terabytes by folding": (padded_constant, r"tensor big \[4, 8193, 8193\] would hold more than"),
    "truncated": (lambda: one("Relu")[:-20], "not a valid ONNX file"),
    "garbage": (lambda: b"\x08garbage" * 40, "not a valid ONNX file"),
    "a free shape": (lambda: one("Relu", ["n", 3, 8, 8]), r"input x \[-1, 3, 8, 8\] needs a fixed shape"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_one_clear_line_before_any_builder(fault: str) -> None:
    make, said = FAULTS[fault]
    with pytest.raises(ModelError, match=said) as caught:
        _graph.ready(make(), "mine.onnx")
    assert str(caught.value).startswith("mine.onnx") and "\n" not in str(caught.value)


def test_branches_are_refused() -> None:
    then = helper.make_graph([node("Identity", ["x"], ["z"])], "t", [], [onnx_models.floats("z", [1])])
    flag = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    branches = node("If", ["c"], ["y"], then_branch=then, else_branch=then)
    data = made([branches], [flag, onnx_models.floats("x", [1])], [onnx_models.floats("y", [1])], {})
    with pytest.raises(ModelFileError, match="operator 'If'"):
        _graph.ready(data, "mine.onnx")


def test_free_shapes_are_fixed_and_wrong_names_told() -> None:
    data = one("Relu", ["n", 3, "h", "w"])
    model = _graph.ready(data, "mine.onnx", {"x": (1, 3, 16, 24)})
    assert _graph.inputs_of(model) == {"x": (1, 3, 16, 24)} and _graph.shape_of(model.graph.output[0]) == (1, 3, 16, 24)
    with pytest.raises(ModelShapeError, match="has no input z; it has x"):
        _graph.ready(data, "mine.onnx", {"z": (1,)})


def adain(scale: float = 1.0) -> bytes:
    """conv, AdaIN with a style from a vector, ReLU, conv; large values, as they come before a normalisation."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": (scale * rng.normal(size=(8, 3, 3, 3))).astype(np.float32),
        "w2": rng.normal(0, 0.1, size=(3, 8, 3, 3)).astype(np.float32),
        "style_w": rng.normal(size=(4, 8)).astype(np.float32),
        "to_plane": np.array([1, 8, 1, 1], np.int64),
        "epsilon": np.float32(1e-5),
    }
    nodes = [
        node("Conv", ["x", "w1"], ["a"], pads=[1] * 4),
        node("ReduceMean", ["a"], ["mean"], axes=[2, 3]),
        node("Sub", ["a", "mean"], ["centred"]),
        node("Mul", ["centred", "centred"], ["square"]),
        node("ReduceMean", ["square"], ["variance"], axes=[2, 3]),
        node("Add", ["variance", "epsilon"], ["safe"]),
        node("Sqrt", ["safe"], ["deviation"]),
        node("Div", ["centred", "deviation"], ["normal"]),
        node("MatMul", ["style", "style_w"], ["gains"]),
        node("Reshape", ["gains", "to_plane"], ["gain"]),
        node("Mul", ["normal", "gain"], ["styled"]),
        node("Relu", ["styled"], ["lit"]),
        node("Conv", ["lit", "w2"], ["y"], pads=[1] * 4),
    ]
    inputs = [onnx_models.floats("x", [1, 3, 32, 32]), onnx_models.floats("style", [1, 4])]
    return made(nodes, inputs, [onnx_models.floats("y", [1, 3, 32, 32])], weights)


def test_statistics_and_what_applies_them_stay_in_float() -> None:
    model = _graph.ready(adain(), "adain")
    assert sorted(_half.kept_in_float(model)) == sorted(
        ["ReduceMean", "Sub", "Mul", "ReduceMean", "Add", "Sqrt", "Div", "MatMul", "Reshape", "Mul"]
    )
    half = _half.halved(model)
    onnx.checker.check_model(half, full_check=True)
    types = {t.name: t.data_type for t in half.graph.initializer}
    assert types["w1__half"] == types["w2__half"] == TensorProto.FLOAT16 and types["style_w"] == TensorProto.FLOAT
    assert [(v.name, v.type.tensor_type.elem_type) for v in (*half.graph.input, *half.graph.output)] == [("x", 1), ("style", 1), ("y", 1)]
    turing = _half.halved(model, frozenset(("MatMul",)))
    assert {t.name: t.data_type for t in turing.graph.initializer}["style_w__half"] == TensorProto.FLOAT16


def test_float_statistics_are_what_keeps_adain_whole() -> None:
    data = adain(scale=300.0)
    model = _graph.ready(data, "adain")
    wanted = _parity.reference(runtimes.load("onnx", data))
    kept = _parity.measure(runtimes.load("onnx", _half.emulated(model).SerializeToString()).run, wanted)[0]
    lost = _parity.measure(runtimes.load("onnx", _half.emulated(model, everything=True).SerializeToString()).run, wanted)[0]
    assert kept.passed and kept.psnr_db > 55
    assert not lost.passed, "squares of some hundreds pass half's 65504"


def test_emulation_rounds_where_onnx_runtimes_own_half_does_not() -> None:
    """Why numbers are not taken from a half graph on the CPU: ONNX Runtime runs it in float32 and drops the casts between."""
    weights = {"tiny": np.full((1, 1, 4, 4), 2.0**-12, np.float32), "one": np.ones((1, 1, 4, 4), np.float32)}
    data = made([node("Add", ["x", "tiny"], ["a"]), node("Sub", ["a", "one"], ["y"])], [onnx_models.floats("x", [1, 1, 4, 4])],
                [onnx_models.floats("y", [1, 1, 4, 4])], weights)  # fmt: skip
    model = _graph.ready(data, "rounding")
    x = {"x": np.ones((1, 1, 4, 4), np.float32)}
    assert runtimes.load("onnx", _half.emulated(model).SerializeToString()).run(x)["y"].max() == 0.0
    assert runtimes.load("onnx", _half.halved(model).SerializeToString()).run(x)["y"].max() > 0.0


@pytest.mark.parametrize("card", ["lite128", "gaze"])
def test_shipped_networks_pass_the_gate_in_emulated_half(card: str) -> None:
    data = Store(RunConfig().cache_dir).path(card).read_bytes()
    ranges = {"head": (-40.0, 40.0)}
    wanted = _engines.reference(data, None, {"ranges": ranges})
    emulated = runtimes.load("onnx", _half.emulated(_engines.prepared(data, card)).SerializeToString())
    assert min(p.psnr_db for p in _parity.check(emulated, wanted, card)) > 50


def test_a_landmark_network_is_the_same_as_onnx() -> None:
    store = Store(RunConfig().cache_dir)
    if not store.file_path("iris_landmark").exists():
        pytest.skip("the model iris_landmark is not in the cache; `livecam models fetch --all` brings it")
    data = store.path("iris_landmark").read_bytes()
    wanted = _parity.reference(runtimes.load("openvino", data))
    found = _parity.check(runtimes.load("onnx", _engines.prepared(data, "iris_landmark").SerializeToString()), wanted, "onnx")
    assert len(found) == 2 and min(p.psnr_db for p in found) > 100
