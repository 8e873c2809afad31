"""TensorFlow Lite files into `Graph`, without TensorFlow: the float operators of MediaPipe's landmark networks.

A flatbuffer is read by hand (https://flatbuffers.dev/internals/; field numbers: tensorflow/lite/schema/schema.fbs). TFLite is NHWC, the graph NCHW:
a picture is transposed where it enters, and where it leaves or is reshaped; a runtime with channels-last memory does that for nothing.
Every read is bounded by the bytes at hand.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from livecam.errors import ModelFileError
from livecam.runtimes import TensorSpec
from livecam.runtimes._network import Graph, Node

MAGIC = b"TFL3"
"""Bytes 4..8."""
MODEL_CODES, MODEL_GRAPHS, MODEL_BUFFERS = 1, 2, 4
GRAPH_TENSORS, GRAPH_INPUTS, GRAPH_OUTPUTS, GRAPH_OPERATORS = 0, 1, 2, 3
TENSOR_SHAPE, TENSOR_TYPE, TENSOR_BUFFER, TENSOR_NAME = 0, 1, 2, 3
OPERATOR_CODE, OPERATOR_INPUTS, OPERATOR_OUTPUTS, OPERATOR_OPTIONS = 0, 1, 2, 4
DTYPES = {0: "<f4", 1: "<f2", 2: "<i4", 4: "<i8"}
MAX_ITEMS = 10_000
"""Tensors, operators, or numbers of a shape: MediaPipe's networks have some hundreds."""
SAME = 0
"""Padding; the other is VALID."""
FUSED = {0: "", 1: "Relu", 3: "Relu6"}
NCHW, NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


@dataclass(frozen=True, slots=True)
class _Table:
    """A flatbuffer table at `at`."""

    data: memoryview
    at: int

    def _place(self, number: int) -> int:
        """Where field `number` lies; 0 when it has its default."""
        vtable = self.at - self._read("<i", self.at)
        slot = 4 + 2 * number
        if slot >= self._read("<H", vtable):
            return 0
        offset = self._read("<H", vtable + slot)
        return self.at + offset if offset else 0

    def _read(self, form: str, at: int) -> int:
        if at < 0:
            raise ModelFileError("not a valid TensorFlow Lite file: a place before its start")
        try:
            return struct.unpack_from(form, self.data, at)[0]
        except struct.error:
            raise ModelFileError(f"not a valid TensorFlow Lite file: byte {at} of {len(self.data)} is asked for (truncated?)") from None

    def number(self, number: int, form: str = "<i", default: int = 0) -> int:
        """A scalar field."""
        at = self._place(number)
        return self._read(form, at) if at else default

    def table(self, number: int) -> _Table | None:
        """A table field."""
        at = self._place(number)
        return _Table(self.data, at + self._read("<I", at)) if at else None

    def _vector(self, number: int, size: int) -> tuple[int, int]:
        """First byte and length of a vector of elements of `size` bytes."""
        at = self._place(number)
        if not at:
            return 0, 0
        at += self._read("<I", at)
        count = self._read("<I", at)
        if count * size > len(self.data) - at - 4:
            raise ModelFileError(f"not a valid TensorFlow Lite file: {count} elements of {size} bytes where {len(self.data) - at - 4} are left")
        return at + 4, count

    def _few(self, number: int) -> tuple[int, int]:
        at, count = self._vector(number, 4)
        if count > MAX_ITEMS:
            raise ModelFileError(f"not a valid TensorFlow Lite file: a list of {count} items; at most {MAX_ITEMS} are expected")
        return at, count

    def tables(self, number: int) -> list[_Table]:
        """A vector of tables."""
        at, count = self._few(number)
        return [_Table(self.data, at + 4 * i + self._read("<I", at + 4 * i)) for i in range(count)]

    def numbers(self, number: int) -> list[int]:
        """A vector of int32."""
        at, count = self._few(number)
        return cast("list[int]", np.frombuffer(self.data[at : at + 4 * count], "<i4").tolist())

    def raw(self, number: int) -> memoryview:
        """A vector of bytes, or a text."""
        at, count = self._vector(number, 1)
        return self.data[at : at + count]


@dataclass(slots=True)
class _Reader:
    """Nodes and constants as they come. names, shapes: by tensor number, as the file has them (NHWC)."""

    names: list[str]
    shapes: list[list[int]]
    constants: dict[str, NDArray[Any]]
    nodes: list[Node] = field(default_factory=list[Node])
    made: int = 0

    def add(self, op: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """A node with one output, which is named here when it has no name."""
        self.made += 1
        output = output or f"{inputs[0]}/{op}{self.made}"
        self.nodes.append(Node(op, tuple(inputs), (output,), attributes))
        return output

    def constant(self, tensor: int, what: str) -> NDArray[Any]:
        """The values of a constant tensor."""
        name = self.names[tensor]
        if name not in self.constants:
            raise ModelFileError(f"TensorFlow Lite: {what} of {name} is expected to be constant")
        return self.constants[name]

    def keep(self, name: str, values: NDArray[Any]) -> str:
        """A new constant."""
        self.constants[name] = np.ascontiguousarray(values)
        return name

    def pads(self, tensor: int, sides: Sequence[int], strides: Sequence[int], padding: int) -> list[int]:
        """ONNX's pads (top, left, bottom, right) of TensorFlow's SAME; zeros for VALID."""
        if padding != SAME:
            return [0, 0, 0, 0]
        whole = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(self.shapes[tensor][1:3], sides, strides, strict=True)]
        return [n // 2 for n in whole] + [n - n // 2 for n in whole]


def read(model: bytes) -> Graph:
    """The graph of a TensorFlow Lite file of float operators. Raises ModelFileError: no such file, an operator that is not known."""
    if model[4:8] != MAGIC or len(model) < 8:
        raise ModelFileError("not a TensorFlow Lite file: bytes 4 to 8 are not TFL3")
    try:
        return _read(model)
    except (IndexError, ZeroDivisionError, ValueError, TypeError, OverflowError) as error:
        raise ModelFileError(f"not a valid TensorFlow Lite file: a number of its own, a shape or a stride does not fit: {error}") from error


def _read(model: bytes) -> Graph:
    """The same; what does not fit together is told by whatever it breaks."""
    root = _Table(memoryview(model), int.from_bytes(model[:4], "little"))
    graphs, buffers = root.tables(MODEL_GRAPHS), root.tables(MODEL_BUFFERS)
    if len(graphs) != 1:
        raise ModelFileError(f"TensorFlow Lite: one graph is expected, found {len(graphs)}")
    tensors = graphs[0].tables(GRAPH_TENSORS)
    names = [bytes(t.raw(TENSOR_NAME)).decode("utf-8", "replace") for t in tensors]
    reader = _Reader(names, [t.numbers(TENSOR_SHAPE) for t in tensors], {})
    for tensor, name in zip(tensors, names, strict=True):
        values = _values(tensor, buffers, name)
        if values is not None:
            reader.constants[name] = values
    return _graph(reader, graphs[0], [max(c.number(0, "<b"), c.number(3)) for c in root.tables(MODEL_CODES)])


def _graph(reader: _Reader, graph: _Table, codes: list[int]) -> Graph:
    given, wanted = graph.numbers(GRAPH_INPUTS), graph.numbers(GRAPH_OUTPUTS)
    inputs, outputs = ([TensorSpec(reader.names[i], tuple(reader.shapes[i]), "float32") for i in which] for which in (given, wanted))
    for i in given:
        if len(reader.shapes[i]) == 4:
            reader.names[i] = reader.add("Transpose", [reader.names[i]], perm=NCHW)
    for operator in graph.tables(GRAPH_OPERATORS):
        code = codes[operator.number(OPERATOR_CODE, "<I")]
        if code not in _OPERATORS:
            raise ModelFileError(f"TensorFlow Lite's operator {code} is not known; known are {sorted(_OPERATORS)}")
        options = operator.table(OPERATOR_OPTIONS) or _Table(memoryview(bytes(8)), 4)
        _OPERATORS[code](reader, operator.numbers(OPERATOR_INPUTS), operator.numbers(OPERATOR_OUTPUTS)[0], options)
    for i, spec in zip(wanted, outputs, strict=True):
        if len(spec.shape) == 4:
            reader.add("Transpose", [reader.names[i]], spec.name, perm=NHWC)
        else:
            reader.add("Identity", [reader.names[i]], spec.name)
    return Graph(tuple(inputs), tuple(outputs), tuple(reader.nodes), reader.constants)


def _values(tensor: _Table, buffers: list[_Table], name: str) -> NDArray[Any] | None:
    """What a constant tensor holds; None when it holds nothing. Half floats become floats."""
    index = tensor.number(TENSOR_BUFFER, "<I")
    raw = buffers[index].raw(0) if index < len(buffers) else memoryview(b"")
    if not len(raw):
        return None
    kind, shape = tensor.number(TENSOR_TYPE, "<b"), tensor.numbers(TENSOR_SHAPE)
    if kind not in DTYPES:
        raise ModelFileError(f"TensorFlow Lite: tensor {name} is of type {kind}; known are {sorted(DTYPES)} (quantised networks are not read)")
    try:
        values = np.frombuffer(raw, DTYPES[kind]).reshape(shape)
    except ValueError as error:
        raise ModelFileError(f"TensorFlow Lite: tensor {name}: {error}") from error
    return values.astype(np.float32) if kind == 1 else values


def _activated(reader: _Reader, output: int, value: str, fused: int) -> None:
    """The operator's own activation, and its result under the tensor's number."""
    if fused not in FUSED:
        raise ModelFileError(f"TensorFlow Lite: the fused activation {fused} is not known")
    if FUSED[fused]:
        value = reader.add("Clip", [value], min=0.0, max=6.0) if FUSED[fused] == "Relu6" else reader.add("Relu", [value])
    reader.names[output] = value


def _convolve(reader: _Reader, inputs: list[int], output: int, options: _Table, depthwise: bool) -> None:
    weights = reader.constant(inputs[1], "the weights")
    at = 4 if depthwise else 3
    strides, dilations = [options.number(2), options.number(1)], [options.number(at + 2, default=1), options.number(at + 1, default=1)]
    # (1, H, W, C) of depthwise ones, (O, H, W, I) of others, both as (O, I, H, W).
    turned = weights.transpose(3, 0, 1, 2) if depthwise else weights.transpose(0, 3, 1, 2)
    names = [reader.names[inputs[0]], reader.keep(f"{reader.names[inputs[1]]}/oihw", turned)]
    if len(inputs) > 2 and inputs[2] >= 0:
        names.append(reader.names[inputs[2]])
    sides = [(k - 1) * d + 1 for k, d in zip(turned.shape[2:], dilations, strict=True)]
    pads = reader.pads(inputs[0], sides, strides, options.number(0, "<b"))
    group = reader.shapes[inputs[0]][3] if depthwise else 1
    value = reader.add("Conv", names, strides=strides, dilations=dilations, pads=pads, group=group)
    _activated(reader, output, value, options.number(at, "<b"))


def _pool(reader: _Reader, inputs: list[int], output: int, options: _Table) -> None:
    strides, sides = [options.number(2), options.number(1)], [options.number(4), options.number(3)]
    pads = reader.pads(inputs[0], sides, strides, options.number(0, "<b"))
    value = reader.add("MaxPool", [reader.names[inputs[0]]], kernel_shape=sides, strides=strides, pads=pads)
    _activated(reader, output, value, options.number(5, "<b"))


def _add(reader: _Reader, inputs: list[int], output: int, options: _Table) -> None:
    _activated(reader, output, reader.add("Add", [reader.names[i] for i in inputs]), options.number(0, "<b"))


def _prelu(reader: _Reader, inputs: list[int], output: int, options: _Table) -> None:
    del options
    slope = reader.constant(inputs[1], "the slope").reshape(-1)[:, None, None]
    reader.names[output] = reader.add("PRelu", [reader.names[inputs[0]], reader.keep(f"{reader.names[inputs[1]]}/chw", slope)])


def _pad(reader: _Reader, inputs: list[int], output: int, options: _Table) -> None:
    del options
    rows = reader.constant(inputs[1], "the padding")[NCHW]
    pads = reader.keep(f"{reader.names[inputs[1]]}/nchw", rows.T.reshape(-1).astype(np.int64))
    reader.names[output] = reader.add("Pad", [reader.names[inputs[0]], pads])


def _reshape(reader: _Reader, inputs: list[int], output: int, options: _Table) -> None:
    del options
    value, wanted = reader.names[inputs[0]], reader.shapes[output]
    if len(reader.shapes[inputs[0]]) == 4:
        value = reader.add("Transpose", [value], perm=NHWC)
    value = reader.add("Reshape", [value, reader.keep(f"{value}/shape", np.array(wanted, np.int64))])
    reader.names[output] = reader.add("Transpose", [value], perm=NCHW) if len(wanted) == 4 else value


def _dequantize(reader: _Reader, inputs: list[int], output: int, options: _Table) -> None:
    """Half floats, which `_values` has widened."""
    del options
    reader.constants[reader.names[output]] = reader.constant(inputs[0], "what is dequantised")


_OPERATORS: dict[int, Callable[[_Reader, list[int], int, _Table], None]] = {
    0: _add,
    3: lambda reader, inputs, output, options: _convolve(reader, inputs, output, options, False),
    4: lambda reader, inputs, output, options: _convolve(reader, inputs, output, options, True),
    6: _dequantize,
    17: _pool,
    22: _reshape,
    34: _pad,
    54: _prelu,
}
"""TFLite's BuiltinOperator -> what it becomes."""
