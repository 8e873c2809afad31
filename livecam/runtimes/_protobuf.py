"""Just enough of protocol buffers to look into an ONNX file without the `onnx` package: fields of a message, tensors of a graph.

Source: https://protobuf.dev/programming-guides/encoding/ and onnx/onnx.proto (field numbers below).
Everything read is bounded by the length of the bytes at hand; a file that claims more raises ModelFileError.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from livecam.errors import ModelFileError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_VARINT_BYTES = 10
MAX_TAG, MAX_VARINT = (1 << 32) - 1, (1 << 64) - 1
"""Larger ones are cut off by some readers and refused by others: two readers must not see two files."""

MODEL_GRAPH = 7
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT = 1, 5, 11, 12
NODE_INPUT, NODE_OUTPUT, NODE_OP_TYPE, NODE_ATTRIBUTE = 1, 2, 4, 5
ATTRIBUTE_NAME, ATTRIBUTE_I = 1, 3
VALUE_NAME = 1
TENSOR_DIMS, TENSOR_TYPE, TENSOR_FLOAT, TENSOR_INT32, TENSOR_INT64, TENSOR_NAME, TENSOR_RAW = 1, 2, 4, 5, 7, 8, 9
TENSOR_EXTERNAL, TENSOR_LOCATION = 13, 14

_DTYPES: dict[int, str] = {1: "<f4", 2: "|u1", 3: "|i1", 6: "<i4", 7: "<i8", 10: "<f2", 11: "<f8"}
"""ONNX's TensorProto.DataType -> NumPy."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message. value: int for VARINT, else bytes in place; raw: the whole field with its tag, to be copied as it is."""

    number: int
    wire: int
    value: int | memoryview
    raw: memoryview

    @property
    def bytes(self) -> memoryview:
        """The bytes of a length-delimited field. Raises ModelFileError when it is no such field."""
        if isinstance(self.value, int):
            raise ModelFileError(f"not a valid ONNX file: field {self.number} is a number where a message was expected")
        return self.value

    @property
    def text(self) -> str:
        """The field as a string."""
        return bytes(self.bytes).decode("utf-8", "replace")


def read_fields(message: memoryview) -> Iterator[Field]:
    """The fields of a message in file order. Raises ModelFileError when the bytes are no message."""
    at, end = 0, len(message)
    while at < end:
        start = at
        key, at = _varint(message, at)
        if not 8 <= key <= MAX_TAG:
            raise ModelFileError(f"not a valid ONNX file: no field has the number {key >> 3}, found at byte {start} of a message")
        wire = key & 7
        if wire == VARINT:
            value, at = _varint(message, at)
            yield Field(key >> 3, wire, value, message[start:at])
            continue
        if wire == BYTES:
            size, at = _varint(message, at)
        elif wire in (FIXED64, FIXED32):
            size = 8 if wire == FIXED64 else 4
        else:
            raise ModelFileError(f"not a valid ONNX file: wire type {wire} at byte {start} of a message")
        if size > end - at:
            raise ModelFileError(f"not a valid ONNX file: a field asks for {size} bytes where {end - at} are left (truncated?)")
        yield Field(key >> 3, wire, message[at : at + size], message[start : at + size])
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(MAX_VARINT_BYTES):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 127) << (7 * shift)
        if byte < 128 and value <= MAX_VARINT:
            return value, at
    raise ModelFileError("not a valid ONNX file: a number does not end (truncated?)")


def write_varint(value: int) -> bytes:
    """`value` >= 0 as a varint."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def write_field(number: int, value: int | bytes) -> bytes:
    """A varint or length-delimited field."""
    if isinstance(value, int):
        return write_varint(number << 3 | VARINT) + write_varint(value)
    return write_varint(number << 3 | BYTES) + write_varint(len(value)) + value


def find_graph(model: bytes) -> memoryview:
    """The GraphProto of an ONNX file. Raises ModelFileError when there is none."""
    for field in read_fields(memoryview(model)):
        if field.number == MODEL_GRAPH and field.wire == BYTES:
            return field.bytes
    raise ModelFileError("not a valid ONNX file: it holds no graph")


def tensor_name(tensor: memoryview) -> str:
    """The name of a TensorProto, "" if it has none."""
    return next((f.text for f in read_fields(tensor) if f.number == TENSOR_NAME), "")


def read_tensor(tensor: memoryview) -> tuple[str, NDArray[Any]]:
    """Name and values of a TensorProto. Raises ModelFileError: external data, types other than numbers, sizes that do not agree."""
    fields: dict[int, list[Field]] = {}
    for field in read_fields(tensor):
        fields.setdefault(field.number, []).append(field)
    name = fields[TENSOR_NAME][0].text if TENSOR_NAME in fields else "?"
    if TENSOR_EXTERNAL in fields or any(f.value for f in fields.get(TENSOR_LOCATION, [])):
        raise ModelFileError(f"tensor {name} keeps its values in another file, which is refused; convert the model into one file first")
    kind = fields[TENSOR_TYPE][0].value if TENSOR_TYPE in fields else 0
    if not isinstance(kind, int) or kind not in _DTYPES:
        raise ModelFileError(f"tensor {name} has ONNX data type {kind}; known are {sorted(_DTYPES)}")
    dims = [n for field in fields.get(TENSOR_DIMS, []) for n in read_ints(field)]
    count = math.prod(dims)
    try:
        values = _tensor_values(fields, np.dtype(_DTYPES[kind]))
    except (ValueError, OverflowError) as error:
        raise ModelFileError(f"tensor {name}: {error}") from error
    if values.size != count:
        raise ModelFileError(f"tensor {name} of shape {dims} needs {count} values, found {values.size}")
    return name, values.reshape(dims)


def _tensor_values(fields: dict[int, list[Field]], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The values wherever they stand: raw_data, float_data, or the integer fields (which hold int8 and its like as well)."""
    if TENSOR_RAW in fields:
        return np.frombuffer(fields[TENSOR_RAW][0].bytes, dtype)
    if TENSOR_FLOAT in fields:
        return np.concatenate([np.frombuffer(f.bytes, "<f4") for f in fields[TENSOR_FLOAT]]).astype(dtype)
    numbers = [n for field in fields.get(TENSOR_INT64, fields.get(TENSOR_INT32, [])) for n in read_ints(field)]
    return np.array(numbers, np.int64).astype(dtype)


def read_ints(field: Field) -> list[int]:
    """Numbers of a repeated int field, packed or not; two's complement of 64 bits."""
    if isinstance(field.value, int):
        numbers = [field.value]
    else:
        numbers, at = [], 0
        while at < len(field.value):
            number, at = _varint(field.value, at)
            numbers.append(number)
    return [n - (1 << 64) if n >> 63 else n for n in numbers]


def write_tensor(name: str, values: NDArray[np.float32]) -> bytes:
    """A TensorProto of float32 values."""
    dims = b"".join(write_field(TENSOR_DIMS, int(d)) for d in values.shape)
    raw = np.ascontiguousarray(values, "<f4").tobytes()
    return dims + write_field(TENSOR_TYPE, 1) + write_field(TENSOR_NAME, name.encode()) + write_field(TENSOR_RAW, raw)
