"""Files for runtimes: folding of block-wise quantised weights, OpenVINO's shapes and precision, the protobuf walker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_models
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from livecam import runtimes
from livecam.errors import ModelFileError, ModelShapeError
from livecam.runtimes import _protobuf as pb
from livecam.runtimes._fold import dequantize, fold_dequantize


def quantised(path: Path) -> Path:
    """Two matrix products whose weights stand behind DequantizeLinear: blocks of 4 with a Reshape after, and one scale for all."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.integers(-127, 127, (6, 8)).astype(np.int8),
        "w_scale": rng.uniform(0.01, 0.1, (6, 2)).astype(np.float32),
        "w_zero": rng.integers(-9, 9, (6, 2)).astype(np.int8),
        "w_shape": np.array([8, 6], np.int64),
        "bias": rng.integers(-127, 127, 6).astype(np.int8),
        "bias_scale": np.array([0.25, 0.5], np.float32),
        "bias_zero": np.array([1, -1], np.int8),
        "v": rng.integers(-127, 127, (6, 2)).astype(np.int8),
        "v_scale": np.array(0.05, np.float32),
        "v_zero": np.array(3, np.int8),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_float"], axis=1, block_size=4),
        helper.make_node("Reshape", ["w_float", "w_shape"], ["w_ready"]),
        helper.make_node("DequantizeLinear", ["v", "v_scale", "v_zero"], ["v_ready"]),
        helper.make_node("DequantizeLinear", ["bias", "bias_scale", "bias_zero"], ["bias_ready"], axis=0, block_size=3),
        helper.make_node("MatMul", ["x", "w_ready"], ["g"]),
        helper.make_node("Add", ["g", "bias_ready"], ["h"]),
        helper.make_node("MatMul", ["h", "v_ready"], ["y"]),
    ]
    inputs = [onnx_models.floats("x", [1, 8]), helper.make_tensor_value_info("w", TensorProto.INT8, [6, 8])]
    return onnx_models.save(path, nodes, inputs, [onnx_models.floats("y", [1, 2])], weights, opset=21)


def test_folding_leaves_the_same_numbers_and_plain_weights(tmp_path: Path) -> None:
    path = quantised(tmp_path / "q.onnx")
    folded = fold_dequantize(path.read_bytes())
    model = onnx.load_from_string(folded)
    onnx.checker.check_model(model)
    assert [n.op_type for n in model.graph.node] == ["MatMul", "Add", "MatMul"]
    assert [i.name for i in model.graph.input] == ["x"]
    x = np.random.default_rng(1).normal(size=(1, 8)).astype(np.float32)
    w = {i.name: numpy_helper.to_array(i) for i in onnx.load(str(path)).graph.initializer}
    blocks = (w["w"].astype(np.float32) - np.repeat(w["w_zero"], 4, 1)) * np.repeat(w["w_scale"], 4, 1)
    bias = (w["bias"].astype(np.float32) - np.repeat(w["bias_zero"], 3)) * np.repeat(w["bias_scale"], 3)
    wanted = (x @ blocks.reshape(8, 6) + bias) @ ((w["v"].astype(np.float32) - 3) * np.float32(0.05))
    assert np.allclose(ReferenceEvaluator(model).run(None, {"x": x})[0], wanted, atol=1e-3)
    for name in ("onnx", "openvino"):
        for model_given in (folded, path, path.read_bytes()):
            assert np.allclose(runtimes.load(name, model_given).run({"x": x})["y"], wanted, atol=1e-3)
    assert fold_dequantize(folded) == folded


def test_scale_per_slice_and_ragged_last_block() -> None:
    x = np.arange(12, dtype=np.int8).reshape(3, 4)
    scale, zero = np.array([1, 2, 3], np.float32), np.array([0, 1, 2], np.int8)
    assert np.array_equal(dequantize(x, scale, zero, 0, 0), (x - zero[:, None]) * scale[:, None])
    ragged = dequantize(np.ones(5, np.int8), np.array([2, 3], np.float32), np.zeros(2, np.int8), 0, 3)
    assert ragged.tolist() == [2, 2, 2, 3, 3]
    with pytest.raises(ModelFileError, match="do not fit"):
        dequantize(x, np.ones(7, np.float32), np.zeros(7, np.int8), 0, 0)


def test_tensors_are_read_wherever_their_values_stand() -> None:
    values = np.array([[1, -2], [3, 100]])
    for dtype in (np.float32, np.float16, np.float64, np.int8, np.uint8, np.int32, np.int64):
        tensor = numpy_helper.from_array(np.abs(values).astype(dtype), "t")
        assert np.array_equal(pb.read_tensor(memoryview(tensor.SerializeToString()))[1], np.abs(values))
    for kind in (TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.INT8):
        tensor = helper.make_tensor("t", kind, [2, 2], values.reshape(-1))
        name, found = pb.read_tensor(memoryview(tensor.SerializeToString()))
        assert name == "t" and np.array_equal(found, values)


def test_tensor_that_lies_about_its_size() -> None:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "t")
    tensor.dims[0] = 10**12
    with pytest.raises(ModelFileError, match="needs 1000000000000 values, found 4"):
        pb.read_tensor(memoryview(tensor.SerializeToString()))


@given(st.binary(max_size=200))
def test_any_bytes_end_or_are_refused(data: bytes) -> None:
    try:
        fields = list(pb.read_fields(memoryview(data)))
    except ModelFileError:
        return
    assert b"".join(bytes(f.raw) for f in fields) == data


@given(st.integers(0, 2**64 - 1))
def test_varints_survive_the_round_trip(value: int) -> None:
    (field,) = pb.read_fields(memoryview(pb.write_field(3, value)))
    assert (field.number, field.value) == (3, value)


def test_openvino_takes_asked_for_shapes_and_refuses_others(tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("Relu", ["x"], ["y"])]
    path = onnx_models.save(tmp_path / "m.onnx", nodes, [onnx_models.floats("x", [1, 3, "h", "w"])], [onnx_models.floats("y", [1, 3, "h", "w"])], {})
    assert runtimes.load("openvino", path).inputs[0].shape == (1, 3, -1, -1)
    fixed = runtimes.load("openvino", path, options={"shapes": {"x": (1, 3, 4, 6)}})
    assert fixed.inputs[0].shape == fixed.outputs[0].shape == (1, 3, 4, 6)
    with pytest.raises(ModelShapeError, match=r"m\.onnx"):
        runtimes.load("openvino", path, options={"shapes": {"nope": (1, 3, 4, 6)}})
    free = runtimes.load("openvino", path)
    for size in (2, 5):
        assert free.run({"x": np.full((1, 3, size, size), -1, np.float32)})["y"].shape == (1, 3, size, size)
    assert runtimes.load("onnx", path, options={"shapes": {"h": 4, "w": 6}}).inputs[0].shape == (1, 3, 4, 6)


def test_openvino_stays_in_float32(tmp_path: Path) -> None:
    # 1 + 1/4096 is lost in bfloat16 (8 bits) and in float16 (11 bits).
    weights = {"w": np.full((64, 64), 1 / 4096, np.float32) + np.eye(64, dtype=np.float32)}
    x_in, y_out = onnx_models.floats("x", [64, 64]), onnx_models.floats("y", [64, 64])
    path = onnx_models.save(tmp_path / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], [x_in], [y_out], weights)
    x = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    assert np.abs(runtimes.load("openvino", path).run({"x": x})["y"] - x.astype(np.float64) @ weights["w"]).max() < 1e-5
