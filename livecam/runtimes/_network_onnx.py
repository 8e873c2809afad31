"""ONNX files into `Graph`, without the `onnx` package. Field numbers: onnx/onnx.proto, beside those in `_protobuf`."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from livecam.errors import ModelFileError
from livecam.runtimes import TensorSpec
from livecam.runtimes import _protobuf as pb
from livecam.runtimes._network import Graph, Node

NODE_DOMAIN = 7
ATTRIBUTE_F, ATTRIBUTE_S, ATTRIBUTE_T, ATTRIBUTE_G, ATTRIBUTE_FLOATS, ATTRIBUTE_INTS, ATTRIBUTE_STRINGS = 2, 4, 5, 6, 7, 8, 9
VALUE_TYPE, TYPE_TENSOR, TENSOR_ELEMENT, TENSOR_SHAPE, SHAPE_DIM, DIM_VALUE = 2, 1, 1, 2, 1, 1
ELEMENTS = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}
"""ONNX's TensorProto.DataType -> NumPy's name."""


def read(model: bytes) -> Graph:
    """The graph of an ONNX file. Raises ModelFileError: no such file, operators of another domain, subgraphs, weights elsewhere."""
    graph = pb.find_graph(model)
    items = list(pb.read_fields(graph))
    constants = dict(pb.read_tensor(item.bytes) for item in items if item.number == pb.GRAPH_INITIALIZER)
    inputs = tuple(spec for item in items if item.number == pb.GRAPH_INPUT and (spec := _spec(item.bytes)).name not in constants)
    outputs = tuple(_spec(item.bytes) for item in items if item.number == pb.GRAPH_OUTPUT)
    nodes = tuple(_node(item.bytes) for item in items if item.number == pb.GRAPH_NODE)
    if not inputs or not outputs or not nodes:
        raise ModelFileError(f"not a valid ONNX file: it has {len(inputs)} inputs, {len(nodes)} nodes and {len(outputs)} outputs (truncated?)")
    return Graph(inputs, outputs, nodes, constants)


def _node(message: memoryview) -> Node:
    inputs: list[str] = []
    outputs: list[str] = []
    attributes: dict[str, Any] = {}
    op = domain = ""
    for field in pb.read_fields(message):
        if field.number == pb.NODE_INPUT:
            inputs.append(field.text)
        elif field.number == pb.NODE_OUTPUT:
            outputs.append(field.text)
        elif field.number == pb.NODE_OP_TYPE:
            op = field.text
        elif field.number == NODE_DOMAIN:
            domain = field.text
        elif field.number == pb.NODE_ATTRIBUTE:
            name, value = _attribute(field.bytes)
            attributes[name] = value
    if domain not in ("", "ai.onnx"):
        raise ModelFileError(f"operator {op} is of the domain {domain!r}; only ONNX's own are known")
    return Node(op, tuple(inputs), tuple(outputs), attributes)


def _attribute(message: memoryview) -> tuple[str, Any]:
    fields: dict[int, list[pb.Field]] = {}
    for field in pb.read_fields(message):
        fields.setdefault(field.number, []).append(field)
    name = fields[pb.ATTRIBUTE_NAME][0].text if pb.ATTRIBUTE_NAME in fields else "?"
    if ATTRIBUTE_G in fields:
        raise ModelFileError(f"attribute {name} holds a graph of its own (If, Loop), which is not supported")
    if pb.ATTRIBUTE_I in fields:
        return name, pb.read_ints(fields[pb.ATTRIBUTE_I][0])[0]
    if ATTRIBUTE_F in fields:
        return name, struct.unpack("<f", fields[ATTRIBUTE_F][0].bytes)[0]
    if ATTRIBUTE_S in fields:
        return name, fields[ATTRIBUTE_S][0].text
    if ATTRIBUTE_T in fields:
        return name, pb.read_tensor(fields[ATTRIBUTE_T][0].bytes)[1]
    if ATTRIBUTE_FLOATS in fields:
        return name, _floats(fields[ATTRIBUTE_FLOATS]).tolist()
    if ATTRIBUTE_STRINGS in fields:
        return name, [field.text for field in fields[ATTRIBUTE_STRINGS]]
    return name, [number for field in fields.get(ATTRIBUTE_INTS, []) for number in pb.read_ints(field)]


def _floats(fields: list[pb.Field]) -> NDArray[np.float32]:
    """Numbers of a repeated float field, packed or not."""
    try:
        return np.concatenate([np.frombuffer(field.bytes, "<f4") for field in fields])
    except ValueError as error:
        raise ModelFileError(f"not a valid ONNX file: a list of numbers: {error}") from error


def _spec(message: memoryview) -> TensorSpec:
    """Name, shape and type of a ValueInfoProto."""
    name, shape, kind = "", list[int](), 1
    for field in pb.read_fields(message):
        if field.number == pb.VALUE_NAME:
            name = field.text
        elif field.number == VALUE_TYPE:
            for part in (p for t in pb.read_fields(field.bytes) if t.number == TYPE_TENSOR for p in pb.read_fields(t.bytes)):
                if part.number == TENSOR_ELEMENT and isinstance(part.value, int):
                    kind = part.value
                elif part.number == TENSOR_SHAPE:
                    shape = [_dimension(d.bytes) for d in pb.read_fields(part.bytes) if d.number == SHAPE_DIM]
    if kind not in ELEMENTS:
        raise ModelFileError(f"tensor {name} has ONNX data type {kind}; known are {', '.join(ELEMENTS.values())}")
    return TensorSpec(name, tuple(shape), ELEMENTS[kind])


def _dimension(message: memoryview) -> int:
    return next((f.value for f in pb.read_fields(message) if f.number == DIM_VALUE and isinstance(f.value, int)), -1)
