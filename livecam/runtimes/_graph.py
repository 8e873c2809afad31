"""An ONNX file made ready for a builder: refused in one line before the builder sees it, or with static shapes, all of them known.

Needs the package `onnx` (extra `tensorrt`).
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort

from livecam.errors import MissingExtraError, ModelFileError, ModelShapeError
from livecam.runtimes import _fold, _gate
from livecam.runtimes.onnx import FAILURES

try:
    import onnx
    from onnx import shape_inference
except ImportError:  # told by `need_onnx`
    onnx: Any = None
    shape_inference: Any = None

EXTRA = "tensorrt"
OWN_DOMAINS = ("", "ai.onnx")
FLOAT, FLOAT16 = 1, 10
"""TensorProto.DataType."""

LEAST_IR = 8
"""From 4 on initializers need not be inputs; newer than that only because all readers take it."""

Shape = tuple[int, ...]


def need_onnx() -> None:
    """Raises MissingExtraError when the package is not there."""
    if onnx is None:
        raise MissingExtraError("onnx", EXTRA, "making a network ready for TensorRT")


def ready(data: bytes, name: str, shapes: Mapping[str, Sequence[int]] | None = None) -> Any:
    """The ModelProto of an ONNX file, its blocks of weights unfolded, its inputs at `shapes` ({input: shape}), every tensor's shape inferred.

    Raises MissingExtraError, ModelFileError (truncated, external data, an operator that is not ONNX's, huge tensors), ModelShapeError (free or wrong
    shapes). name: the file, for messages.
    """
    need_onnx()
    _gate.check_onnx(data, name)
    if _fold.is_blockwise(data):
        data = _fold.fold_dequantize(data)
    try:
        model = onnx.load_from_string(data)
    except Exception as error:  # protobuf's DecodeError is not to be had by one name in all its versions
        raise ModelFileError(f"{name} is not a valid ONNX file: {_line(error)}") from error
    _check_operators(model, name)
    _fix_inputs(model, name, shapes or {})
    _check_sizes(_inferred(model, name, strict=False), name)
    model = _inferred(_folded(model, name), name, strict=True)
    for value in _values(model):
        if -1 in (shape := shape_of(value)):
            raise ModelShapeError(f"{name}: tensor {value.name} {list(shape)} depends on the data; only networks of fixed shapes are taken")
    _check_sizes(model, name)
    return model


def _check_operators(model: Any, name: str) -> None:
    versions = {entry.domain: entry.version for entry in model.opset_import}
    version = versions.get("", versions.get("ai.onnx", 0))
    for node in model.graph.node:
        if node.domain not in OWN_DOMAINS or not onnx.defs.has(node.op_type, max_inclusive_version=version, domain=""):
            raise ModelFileError(
                f"{name}: operator {node.op_type!r} (domain {node.domain or 'ai.onnx'!r}, opset {version}) is not one of ONNX's own; "
                "export the model with standard operators, or run it with --runtime onnx"
            )
        if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute):
            raise ModelFileError(f"{name}: operator {node.op_type!r} holds a graph of its own, which is not taken; export the model without branches")


def _fix_inputs(model: Any, name: str, shapes: Mapping[str, Sequence[int]]) -> None:
    """Static input shapes; shapes noted elsewhere are forgotten, they may be of other inputs."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) < len(model.graph.input):  # files of ONNX IR 3 list their weights as inputs too
        del model.graph.input[:]
        model.graph.input.extend(inputs)
        inputs = list(model.graph.input)
    model.ir_version = max(model.ir_version, LEAST_IR)
    unknown = sorted(set(shapes) - {value.name for value in inputs})
    if unknown:
        raise ModelShapeError(f"{name} has no input {', '.join(unknown)}; it has {', '.join(value.name for value in inputs)}")
    for value in inputs:
        dims = value.type.tensor_type.shape.dim
        found = [d.dim_value if d.HasField("dim_value") else -1 for d in dims]
        wanted = list(shapes.get(value.name, found))
        if len(wanted) != len(found) or min(wanted, default=1) < 1:
            raise ModelShapeError(f"{name}: input {value.name} {found} needs a fixed shape, found {wanted}; name one, such as 1x3x128x128")
        for dim, size in zip(dims, wanted, strict=True):
            dim.Clear()
            dim.dim_value = size
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")


def _folded(model: Any, name: str) -> Any:
    """What depends on nothing but constants worked out (shapes and paddings, mostly), so that every shape can be inferred."""
    options: Any = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory(prefix="livecam-") as folder:
        path = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(path)
        try:
            ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
            return onnx.load(str(path))
        except FAILURES as error:
            raise ModelFileError(f"{name} is not a network that ONNX Runtime {ort.__version__} can load: {_line(error)}") from error


def _inferred(model: Any, name: str, strict: bool) -> Any:
    try:
        return shape_inference.infer_shapes(model, check_type=strict, strict_mode=strict, data_prop=True)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ModelFileError(f"{name}: its shapes do not fit together: {_line(error)}") from error


def _values(model: Any) -> tuple[Any, ...]:
    return (*model.graph.input, *model.graph.value_info, *model.graph.output)


def _check_sizes(model: Any, name: str) -> None:
    """Before anything is worked out, and again when all shapes are known: what is asked for must fit into a card."""
    for value in _values(model):
        shape = shape_of(value)
        if math.prod(max(n, 1) for n in shape) > _gate.MAX_TENSOR_VALUES:
            raise ModelFileError(f"{name}: tensor {value.name} {list(shape)} would hold more than {_gate.MAX_TENSOR_VALUES} values; refused")


def shape_of(value: Any) -> Shape:
    """The shape in a ValueInfoProto, -1 where it is not known."""
    return tuple(d.dim_value if d.HasField("dim_value") else -1 for d in value.type.tensor_type.shape.dim)


def inputs_of(model: Any) -> dict[str, Shape]:
    """Inputs with their shapes, of a model from `ready`."""
    return {value.name: shape_of(value) for value in model.graph.input}


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
