"""TensorFlow Lite to ONNX, for runtimes that read only the latter: OpenVINO reads the file, and its operators are written down as ONNX's.

Knows the operators of MediaPipe's landmark networks; another one is refused by name. Needs the package `onnx` (extra `tensorrt`).
Source: OpenVINO's operation sets (opset 8), ONNX operators (opset 17).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from livecam.errors import ModelFileError
from livecam.runtimes import openvino
from livecam.runtimes._graph import FLOAT, need_onnx, onnx

OPSET, IR = 17, 8
Attributes = dict[str, Any]


def is_tflite(data: bytes) -> bool:
    """Whether it is a TensorFlow Lite file."""
    return data[4:8] == openvino.TFLITE_MAGIC


def to_onnx(data: bytes, name: str) -> bytes:
    """The network in a TensorFlow Lite file as an ONNX file, names and layout of its inputs and outputs kept. Raises MissingExtraError,
    ModelFileError (unreadable, or an operator that is not known here)."""
    need_onnx()
    return _Writer(name).written(openvino.read(data))


class _Writer:
    """Nodes and constants of one graph. Tensors are called after their nodes; results have the file's own names."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._results: dict[str, str] = {}

    def written(self, network: Any) -> bytes:
        inputs, outputs = [], []
        for node in network.get_ordered_ops():
            kind, names = node.get_type_name(), [_called(source.get_source_output()) for source in node.inputs()]
            if kind == "Parameter":
                inputs.append(_info(_called(node.output(0)), node.output(0)))
            elif kind == "Constant":
                self._constants[_called(node.output(0))] = np.asarray(node.data)
            elif kind != "Result":
                self._add(kind, node, names)
        for port in network.outputs:
            source, final = port.get_node().input(0).get_source_output(), openvino.spec_of(port).name
            self._nodes.append(onnx.helper.make_node("Identity", [_called(source)], [final], name=f"result/{final}"))
            outputs.append(_info(final, source))
        used = {name for node in self._nodes for name in node.input}
        tensors = [onnx.numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in self._constants.items() if k in used]
        graph = onnx.helper.make_graph(self._nodes, "tflite", inputs, outputs, tensors)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR)
        return model.SerializeToString()

    def _add(self, kind: str, node: Any, names: list[str]) -> None:
        write = WRITERS.get(kind)
        if write is None:
            known = ", ".join(WRITERS)
            raise ModelFileError(f"{self._name}: operator {kind} is not one that livecam turns into ONNX ({known}); use --runtime openvino")
        op, inputs, attributes = write(self, node, names)
        self._nodes.append(onnx.helper.make_node(op, inputs, [_called(node.output(0))], name=node.get_friendly_name(), **attributes))

    def constant(self, name: str) -> Any:
        """The values of a constant input. Raises ModelFileError when it is none."""
        if name not in self._constants:
            raise ModelFileError(f"{self._name}: a shape or weight ({name}) is computed while running, which is not taken; use --runtime openvino")
        return self._constants[name]

    def new(self, name: str, values: Any) -> str:
        """A new constant."""
        self._constants[name] = values
        return name


def _called(port: Any) -> str:
    return f"{port.get_node().get_friendly_name()}:{port.get_index()}"[: None if port.get_index() else -2]


def _info(name: str, port: Any) -> Any:
    return onnx.helper.make_tensor_value_info(name, FLOAT, [d.get_length() for d in port.get_partial_shape()])


def _windows(node: Any) -> Attributes:
    """Strides, dilations and paddings, which both standards write alike."""
    had = node.get_attributes()
    out: Attributes = {"strides": list(had["strides"])}
    if "dilations" in had:
        out["dilations"] = list(had["dilations"])
    auto = str(had.get("auto_pad", "explicit")).lower()
    if auto in ("same_upper", "same_lower", "valid"):
        return out | {"auto_pad": auto.upper()}
    return out | {"pads": [*had["pads_begin"], *had["pads_end"]]}


def _plain(op: str) -> Callable[[_Writer, Any, list[str]], tuple[str, list[str], Attributes]]:
    return lambda _, __, names: (op, names, {})


def _convolution(writer: _Writer, node: Any, names: list[str]) -> tuple[str, list[str], Attributes]:
    return "Conv", names, _windows(node)


def _grouped(writer: _Writer, node: Any, names: list[str]) -> tuple[str, list[str], Attributes]:
    weights = writer.constant(names[1])
    groups, out_each, *rest = weights.shape
    name = writer.new(f"{names[1]}/oihw", weights.reshape(groups * out_each, *rest))
    return "Conv", [names[0], name], _windows(node) | {"group": groups}


def _max_pool(writer: _Writer, node: Any, names: list[str]) -> tuple[str, list[str], Attributes]:
    had = node.get_attributes()
    ceil = {"ceil_mode": 1} if str(had.get("rounding_type", "floor")).lower().startswith("ceil") else {}
    return "MaxPool", names, _windows(node) | {"kernel_shape": list(had["kernel"])} | ceil


def _transpose(writer: _Writer, node: Any, names: list[str]) -> tuple[str, list[str], Attributes]:
    return "Transpose", names[:1], {"perm": [int(v) for v in writer.constant(names[1])]}


def _reshape(writer: _Writer, node: Any, names: list[str]) -> tuple[str, list[str], Attributes]:
    shape = np.array([d.get_length() for d in node.output(0).get_partial_shape()], np.int64)
    return "Reshape", [names[0], writer.new(f"{names[1]}/static", shape)], {}


def _pad(writer: _Writer, node: Any, names: list[str]) -> tuple[str, list[str], Attributes]:
    mode = str(node.get_attributes().get("pad_mode", "constant")).lower()
    if mode != "constant":
        raise ModelFileError(f"a padding of mode {mode!r} is not taken, only constant ones; use --runtime openvino")
    sizes = np.concatenate([writer.constant(names[1]), writer.constant(names[2])]).astype(np.int64)
    return "Pad", [names[0], writer.new(f"{names[1]}/both", sizes), *names[3:]], {"mode": "constant"}


WRITERS: Mapping[str, Callable[[_Writer, Any, list[str]], tuple[str, list[str], Attributes]]] = {
    "Convolution": _convolution,
    "GroupConvolution": _grouped,
    "MaxPool": _max_pool,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Pad": _pad,
    "Add": _plain("Add"),
    "Multiply": _plain("Mul"),
    "PRelu": _plain("PRelu"),
    "Relu": _plain("Relu"),
    "Sigmoid": _plain("Sigmoid"),
}
