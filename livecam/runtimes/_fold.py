"""Turn block-wise quantised weights of an ONNX file into plain float32 ones.

OpenCV's zoo stores some networks ("int8bq") with DequantizeLinear nodes of `block_size` > 0 in front of each weight. Not every runtime takes all of
their forms (OpenVINO refuses SFace's bias, ONNX Runtime YuNet's); after folding all do, and the results are the same numbers.
Source: ONNX operators, DequantizeLinear-21.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from livecam.errors import ModelFileError
from livecam.runtimes import _protobuf as pb

RESHAPE, DEQUANTIZE = "Reshape", "DequantizeLinear"


def is_blockwise(model: bytes) -> bool:
    """Whether an ONNX file may hold block-wise quantised weights (a quick look for the attribute's name)."""
    return b"block_size" in model


@dataclass(slots=True)
class _Node:
    """What folding needs of a NodeProto."""

    op: str = ""
    inputs: list[str] = field(default_factory=list[str])
    outputs: list[str] = field(default_factory=list[str])
    numbers: dict[str, int] = field(default_factory=dict[str, int])


def fold_dequantize(model: bytes) -> bytes:
    """`model` with each DequantizeLinear of constants, and each Reshape of its result, replaced by a float32 initializer.

    A model without such nodes comes back as it is. Raises ModelFileError when it is not an ONNX file.
    """
    graph = pb.find_graph(model)
    tensors = {pb.tensor_name(f.bytes): f.bytes for f in pb.read_fields(graph) if f.number == pb.GRAPH_INITIALIZER}
    values: dict[str, NDArray[Any]] = {}
    rest: list[pb.Field] = []
    for item in pb.read_fields(graph):
        node = _read_node(item.bytes) if item.number == pb.GRAPH_NODE else None
        if node is None or not _fold(node, tensors, values):
            rest.append(item)
    if not values:
        return model
    used = {name for item in rest if item.number == pb.GRAPH_NODE for name in _read_node(item.bytes).inputs}
    kept = (item.raw for item in rest if _name(item) is None or _name(item) in used)
    added = (pb.write_field(pb.GRAPH_INITIALIZER, pb.write_tensor(name, v)) for name, v in values.items() if name in used)
    folded = b"".join((*kept, *added))
    return b"".join(pb.write_field(pb.MODEL_GRAPH, folded) if f.number == pb.MODEL_GRAPH else bytes(f.raw) for f in pb.read_fields(memoryview(model)))


def _name(item: pb.Field) -> str | None:
    """Name of an initializer or of a graph's input (quantised weights are often listed there too); None for other fields."""
    if item.number == pb.GRAPH_INITIALIZER:
        return pb.tensor_name(item.bytes)
    if item.number == pb.GRAPH_INPUT:
        return next((f.text for f in pb.read_fields(item.bytes) if f.number == pb.VALUE_NAME), "")
    return None


def _fold(node: _Node, tensors: dict[str, memoryview], values: dict[str, NDArray[Any]]) -> bool:
    """Puts the result of `node` into `values` when all of its inputs are constants. Returns whether it did."""
    if node.op == RESHAPE and len(node.inputs) == 2 == 1 + len(node.outputs) and node.inputs[0] in values and node.inputs[1] in tensors:
        shape = pb.read_tensor(tensors[node.inputs[1]])[1]
        try:
            values[node.outputs[0]] = values[node.inputs[0]].reshape(shape.tolist())
        except (ValueError, TypeError, OverflowError) as error:
            raise ModelFileError(f"not a valid ONNX file: Reshape of {node.inputs[0]!r}: {error}") from error
        return True
    if node.op != DEQUANTIZE or not all(name in tensors for name in node.inputs):
        return False
    if len(node.inputs) not in (2, 3) or len(node.outputs) != 1:
        raise ModelFileError(f"not a valid ONNX file: {DEQUANTIZE} takes 2 or 3 and gives 1, found {len(node.inputs)} and {len(node.outputs)}")
    constants = [pb.read_tensor(tensors[name])[1] for name in node.inputs]
    zero = constants[2] if len(constants) > 2 else np.zeros_like(constants[1])
    axis, block = node.numbers.get("axis", 1), node.numbers.get("block_size", 0)
    values[node.outputs[0]] = dequantize(constants[0], constants[1], zero, axis, block)
    return True


def dequantize(x: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any], axis: int, block: int) -> NDArray[np.float32]:
    """(x - zero) * scale in float32. scale, zero: one value, one a slice of `axis`, or (block > 0) one a block of `block` along `axis`.

    Raises ModelFileError when their shapes do not fit x's.
    """
    factors = [scale.astype(np.float32), zero.astype(np.float32)]
    try:
        if scale.size > 1:
            axis = range(x.ndim)[axis]
            # Looked at before anything is spread: what does not fit could become a table far larger than the weights.
            if block and any(f.ndim != x.ndim or f.shape[i] not in (1, n) for f in factors for i, n in enumerate(x.shape) if i != axis):
                raise ValueError
            if block:
                factors = [f.take(np.minimum(np.arange(x.shape[axis]) // max(block, 1), f.shape[axis] - 1), axis) for f in factors]
            elif scale.ndim == 1:
                factors = [f.reshape([-1 if i == axis else 1 for i in range(x.ndim)]) for f in factors]
        else:
            factors = [f.reshape(()) for f in factors]
        if any(np.broadcast_shapes(f.shape, x.shape) != x.shape for f in factors):
            raise ValueError
        return np.ascontiguousarray((x.astype(np.float32) - factors[1]) * factors[0], np.float32)
    except (ValueError, IndexError) as error:
        raise ModelFileError(f"DequantizeLinear: scales {scale.shape} (block {block}, axis {axis}) do not fit weights {x.shape}") from error


def _read_node(message: memoryview) -> _Node:
    node = _Node()
    for item in pb.read_fields(message):
        if item.number == pb.NODE_INPUT:
            node.inputs.append(item.text)
        elif item.number == pb.NODE_OUTPUT:
            node.outputs.append(item.text)
        elif item.number == pb.NODE_OP_TYPE:
            node.op = item.text
        elif item.number == pb.NODE_ATTRIBUTE:
            parts = {f.number: f for f in pb.read_fields(item.bytes)}
            number = parts.get(pb.ATTRIBUTE_I)
            if number is not None and isinstance(number.value, int) and pb.ATTRIBUTE_NAME in parts:
                node.numbers[parts[pb.ATTRIBUTE_NAME].text] = number.value
    return node
