"""TensorFlow Lite to ONNX, for runtimes that read only the latter. Needs the package `onnx` (extra `tensorrt`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from livecam.errors import ModelFileError
from livecam.runtimes import TensorSpec, _network_tflite
from livecam.runtimes._graph import FLOAT, need_onnx, onnx
from livecam.runtimes._network import Node

OPSET, IR = 17, 8


def is_tflite(data: bytes) -> bool:
    """Whether it is a TensorFlow Lite file."""
    return data[4:8] == _network_tflite.MAGIC


def to_onnx(data: bytes, name: str) -> bytes:
    """The network in a TensorFlow Lite file as an ONNX file, names and layout of its inputs and outputs kept. Raises MissingExtraError,
    ModelFileError (unreadable, or an operator that is not known here)."""
    need_onnx()
    try:
        network = _network_tflite.read(data)
    except ModelFileError as error:
        raise ModelFileError(f"{name}: {error}; use --runtime openvino") from error
    constants = dict(network.constants)
    nodes = [_node(k, node, constants) for k, node in enumerate(network.nodes)]
    used = {value for node in nodes for value in node.input}
    tensors = [onnx.numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in constants.items() if k in used]
    inputs, outputs = ([_info(spec) for spec in specs] for specs in (network.inputs, network.outputs))
    graph = onnx.helper.make_graph(nodes, "tflite", inputs, outputs, tensors)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR)
    return bytes(model.SerializeToString())


def _node(number: int, node: Node, constants: dict[str, Any]) -> Any:
    """A node as ONNX has it from opset 11 on: a clip's bounds are inputs."""
    inputs, attributes = list(node.inputs), dict(node.attributes)
    if node.op == "Clip":
        for bound in ("min", "max"):
            inputs.append(f"{node.outputs[0]}/{bound}")
            constants[inputs[-1]] = np.float32(attributes.pop(bound))
    return onnx.helper.make_node(node.op, inputs, list(node.outputs), name=f"{node.op}{number}", **attributes)


def _info(spec: TensorSpec) -> Any:
    return onnx.helper.make_tensor_value_info(spec.name, FLOAT, list(spec.shape))
