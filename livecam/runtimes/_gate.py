"""Refuse ONNX files that would hurt before a runtime sees them: too big, weights outside the file, a few bytes that ask for terabytes.

This is a gate, not a sandbox: a graph can still compute a huge size. The process that runs foreign networks may die of one; then
the guard shows the slate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from livecam.errors import ModelFileError
from livecam.runtimes import _protobuf as pb

MAX_FILE_BYTES = 2_000_000_000
"""Protocol buffers end at 2 GiB; the largest generator known (inswapper_128) has 554 MB."""
MAX_TENSOR_VALUES = 1 << 27
"""Values that one node may be told to make: 512 MB of float32."""
MAX_SHAPE_VALUES = 16
GROWING_OPS = frozenset({"ConstantOfShape", "Expand", "Tile", "Resize"})
"""Operators whose output may be any times larger than their data, by a constant input that says so."""
ATTRIBUTE_TENSOR = 5


def read_file(path: Path) -> bytes:
    """The bytes of a model file. Raises ModelFileError: missing, empty, larger than MAX_FILE_BYTES."""
    try:
        size = path.stat().st_size
        if not 0 < size <= MAX_FILE_BYTES or not path.is_file():
            found = f"{size} bytes" if path.is_file() else "no file"
            raise ModelFileError(f"{path} should be a model file of 1 to {MAX_FILE_BYTES} bytes, found {found}")
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelFileError(f"model file {path} does not exist") from None
    except OSError as error:
        raise ModelFileError(f"model file {path} cannot be read: {error}") from error


def check_onnx(data: bytes, name: str) -> None:
    """Raises ModelFileError, naming the file, when `data` is no ONNX file, keeps weights elsewhere or asks for huge tensors."""
    try:
        graph = pb.find_graph(data)
        shapes: dict[str, list[int]] = {}
        items = [item for item in pb.read_fields(graph) if item.number in (pb.GRAPH_INITIALIZER, pb.GRAPH_NODE)]
        for item in items:
            if item.number == pb.GRAPH_INITIALIZER:
                _note_shape(item.bytes, shapes)
        # Nodes stand before the initializers in the file, so they are looked at second.
        for item in items:
            if item.number == pb.GRAPH_NODE:
                _check_node(item.bytes, shapes)
    except ModelFileError as error:
        raise ModelFileError(f"{name}: {error}") from error


def last_initializer(data: bytes) -> memoryview | None:
    """The last initializer of an ONNX file's graph, where inswapper keeps its embedding projection."""
    last = None
    for item in pb.read_fields(pb.find_graph(data)):
        if item.number == pb.GRAPH_INITIALIZER:
            last = item.bytes
    return last


def op_types(data: bytes) -> Iterator[str]:
    """Operator names of the graph's nodes, in file order."""
    for item in pb.read_fields(pb.find_graph(data)):
        if item.number == pb.GRAPH_NODE:
            yield next((f.text for f in pb.read_fields(item.bytes) if f.number == pb.NODE_OP_TYPE), "")


def _note_shape(tensor: memoryview, shapes: dict[str, list[int]]) -> None:
    """Checks one tensor's claims against its bytes; keeps the values of a small integer one."""
    external, raw_bytes, dims = False, None, list[int]()
    for field in pb.read_fields(tensor):
        external |= field.number == pb.TENSOR_EXTERNAL or (field.number == pb.TENSOR_LOCATION and bool(field.value))
        if field.number == pb.TENSOR_DIMS:
            dims += pb.read_ints(field)
        elif field.number == pb.TENSOR_RAW:
            raw_bytes = len(field.bytes)
    if external:
        raise ModelFileError("it keeps weights in other files (external data), which is refused; convert it into one file first")
    count = math.prod(dims)
    if min(dims, default=0) < 0 or count > len(tensor) * 8 or (raw_bytes == 0 and count > 0):
        raise ModelFileError(f"tensor {pb.tensor_name(tensor) or '?'} claims the shape {dims}, but has {len(tensor)} bytes")
    if count <= MAX_SHAPE_VALUES:
        try:
            name, values = pb.read_tensor(tensor)
        except ModelFileError:
            return
        if values.dtype.kind == "i":
            shapes[name] = [int(v) for v in values.reshape(-1)]


def _check_node(node: memoryview, shapes: dict[str, list[int]]) -> None:
    fields = list(pb.read_fields(node))
    op = next((f.text for f in fields if f.number == pb.NODE_OP_TYPE), "")
    if op == "Constant":
        _note_constant(fields, shapes)
    if op not in GROWING_OPS:
        return
    for field in fields:
        told = shapes.get(field.text, []) if field.number == pb.NODE_INPUT else []
        if math.prod(abs(n) for n in told if n) > MAX_TENSOR_VALUES:
            raise ModelFileError(f"a node {op} asks for a tensor of shape {told}, more than {MAX_TENSOR_VALUES} values; refused")


def _note_constant(fields: list[pb.Field], shapes: dict[str, list[int]]) -> None:
    output = next((f.text for f in fields if f.number == pb.NODE_OUTPUT), "")
    for attribute in (f.bytes for f in fields if f.number == pb.NODE_ATTRIBUTE):
        for field in pb.read_fields(attribute):
            if field.number == ATTRIBUTE_TENSOR and field.wire == pb.BYTES:
                inner: dict[str, list[int]] = {}
                _note_shape(field.bytes, inner)
                for values in inner.values():
                    shapes[output] = values
