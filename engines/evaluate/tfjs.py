"""A TensorFlow.js graph model (.json with its .bin) as an OpenVINO network: the operations that plain face embedders use.

Tensors stay NHWC as in the file; each convolution is wrapped into two transpositions, which OpenVINO removes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as op

from livecam.errors import ModelFileError

Node = Mapping[str, Any]


def convert(topology: Path, weights: Path, output: str) -> ov.Model:
    """The network from its placeholder to the node `output`. Raises ModelFileError: damaged, or with an operation that is not known here."""
    try:
        data = json.loads(topology.read_text("utf-8"))
        nodes = {n["name"]: n for n in data["modelTopology"]["node"]}
        constants = _constants(data["weightsManifest"][0]["weights"], weights.read_bytes())
    except (KeyError, ValueError, IndexError) as error:
        raise ModelFileError(f"{topology} and {weights.name} are no TensorFlow.js graph model: {type(error).__name__}: {error}") from error
    return _Converter(nodes, constants, topology).model(output)


def _constants(entries: list[Node], data: bytes) -> dict[str, NDArray[Any]]:
    out: dict[str, NDArray[Any]] = {}
    offset = 0
    for entry in entries:
        stored = np.dtype(entry.get("quantization", {}).get("dtype", entry["dtype"]))
        count = int(np.prod(entry["shape"], dtype=np.int64))
        values = np.frombuffer(data, stored, count, offset)
        out[entry["name"]] = values.reshape(entry["shape"]).astype(entry["dtype"])
        offset += count * stored.itemsize
    if offset != len(data):
        raise ValueError(f"weights of {offset} bytes expected, found {len(data)}")
    return out


class _Converter:
    def __init__(self, nodes: Mapping[str, Node], constants: Mapping[str, NDArray[Any]], path: Path) -> None:
        self._nodes, self._constants, self._path = nodes, constants, path
        self._made: dict[str, Any] = {}
        self._inputs: list[Any] = []

    def model(self, output: str) -> ov.Model:
        if output not in self._nodes:
            raise ModelFileError(f"{self._path} has no node {output!r}")
        return ov.Model([self._node(output)], self._inputs, self._path.stem)

    def _node(self, name: str) -> Any:
        name = name.split(":")[0]
        if name not in self._made:
            node = self._nodes[name]
            self._made[name] = self._make(node)
        return self._made[name]

    def _make(self, node: Node) -> Any:
        kind = str(node["op"])
        if kind == "Const":
            return op.constant(self._constants[node["name"]])
        if kind == "Placeholder":
            dims = [int(d["size"]) for d in node["attr"]["shape"]["shape"]["dim"]]
            self._inputs.append(op.parameter([1, *dims[1:]], np.float32, name=node["name"]))
            return self._inputs[-1]
        inputs = [self._node(i) for i in node["input"] if not i.startswith("^")]
        if kind in SIMPLE:
            return SIMPLE[kind](*inputs)
        maker = getattr(self, f"_{kind.lstrip('_').lower()}", None)
        if maker is None:
            raise ModelFileError(f"{self._path}: operation {kind!r} is not known to the converter; add it to engines/evaluate/tfjs.py")
        return maker(node, inputs)

    def _value(self, node: Node, index: int) -> NDArray[Any]:
        return self._constants[node["input"][index].split(":")[0]]

    def _conv2d(self, node: Node, inputs: list[Any]) -> Any:
        return _nhwc(op.convolution, inputs[0], np.transpose(self._value(node, 1), (3, 2, 0, 1)), node)

    def _depthwiseconv2dnative(self, node: Node, inputs: list[Any]) -> Any:
        high, wide, channels, times = self._value(node, 1).shape
        kernel = np.transpose(self._value(node, 1), (2, 3, 0, 1)).reshape(channels, times, 1, high, wide)
        return _nhwc(op.group_convolution, inputs[0], kernel, node)

    def _fusedconv2d(self, node: Node, inputs: list[Any]) -> Any:
        return _fused(self._conv2d(node, inputs), node, inputs)

    def _fuseddepthwiseconv2dnative(self, node: Node, inputs: list[Any]) -> Any:
        return _fused(self._depthwiseconv2dnative(node, inputs), node, inputs)

    def _matmul(self, node: Node, inputs: list[Any]) -> Any:
        return op.matmul(inputs[0], inputs[1], False, bool(node["attr"].get("transpose_b", {}).get("b", False)))

    def _pad(self, node: Node, inputs: list[Any]) -> Any:
        ends = self._value(node, 1).astype(np.int64)
        return op.pad(inputs[0], op.constant(ends[:, 0]), op.constant(ends[:, 1]), "constant", op.constant(np.float32(0)))

    def _reshape(self, node: Node, inputs: list[Any]) -> Any:
        shape = self._value(node, 1).astype(np.int64)
        return op.reshape(inputs[0], op.constant(shape), False)

    def _squeeze(self, node: Node, inputs: list[Any]) -> Any:
        return op.squeeze(inputs[0], op.constant(np.array([int(i) for i in node["attr"]["squeeze_dims"]["list"]["i"]])))

    def _sum(self, node: Node, inputs: list[Any]) -> Any:
        return op.reduce_sum(inputs[0], op.constant(np.atleast_1d(self._value(node, 1)).astype(np.int64)), _keeps(node))

    def _mean(self, node: Node, inputs: list[Any]) -> Any:
        return op.reduce_mean(inputs[0], op.constant(np.atleast_1d(self._value(node, 1)).astype(np.int64)), _keeps(node))


def _rsqrt(x: Any) -> Any:
    return op.power(x, op.constant(np.float32(-0.5)))


def _square(x: Any) -> Any:
    return op.multiply(x, x)


SIMPLE: Mapping[str, Callable[..., Any]] = {
    "Add": op.add, "AddV2": op.add, "Sub": op.subtract, "Mul": op.multiply, "Maximum": op.maximum, "Minimum": op.minimum,
    "Relu": op.relu, "Abs": op.abs, "Sigmoid": op.sigmoid, "Square": _square, "Rsqrt": _rsqrt,
}  # fmt: skip


def _keeps(node: Node) -> bool:
    return bool(node["attr"].get("keep_dims", {}).get("b", False))


def _text(code: str) -> str:
    return base64.b64decode(code).decode()


def _nhwc(convolution: Callable[..., Any], x: Any, kernel: NDArray[Any], node: Node) -> Any:
    attr = node["attr"]
    strides = [int(i) for i in attr["strides"]["list"]["i"]][1:3]
    pad = {"SAME": "same_upper", "VALID": "valid"}[_text(attr["padding"]["s"])]
    first = op.transpose(x, op.constant(np.array([0, 3, 1, 2])))
    out = convolution(first, op.constant(np.ascontiguousarray(kernel)), strides, [0, 0], [0, 0], [1, 1], pad)
    return op.transpose(out, op.constant(np.array([0, 2, 3, 1])))


def _fused(out: Any, node: Node, inputs: list[Any]) -> Any:
    for kind in (_text(s) for s in node["attr"]["fused_ops"]["list"]["s"]):
        if kind not in ("BiasAdd", "Relu"):
            raise ModelFileError(f"fused operation {kind!r} is not known to the converter")
        out = op.add(out, inputs[2]) if kind == "BiasAdd" else op.relu(out)
    return out
