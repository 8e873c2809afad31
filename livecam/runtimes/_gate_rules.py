"""What an ONNX file must be to be run: one plain graph of ONNX's own operators, weights inside, every size within bounds.

Each message of the file is held to a table of the fields that it may have; what is not in it (functions, subgraphs, sparse tensors, external data,
training parts, fields of the future) is refused. A field that may stand once and stands twice is refused as well: readers differ in which one they
take. Every field read counts against one bound, so that no file keeps the gate busy.
Source: onnx/onnx.proto (field numbers), https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping

import numpy as np

from livecam.errors import ModelFileError
from livecam.runtimes import _protobuf as pb
from livecam.runtimes._protobuf import BYTES, FIXED32, FIXED64, VARINT, Field

MAX_FIELDS = 250_000
"""Of the whole file. SimSwap's largest export has some 30,000."""
MAX_TENSORS, MAX_NODES = 20_000, 20_000
MAX_INPUTS, MAX_OUTPUTS = 16, 64
MAX_NAME_BYTES = 1024
MAX_RANK = 8
MAX_TENSOR_VALUES = 1 << 27
"""Values of one tensor: 512 MB of float32. The largest known has 10 million."""
MAX_SHAPE_VALUES = 16
"""Constants of so few values may be a shape, and are looked into."""
MAX_ATTRIBUTE_VALUES = 4096
"""Of a list of numbers that a node has; an output split into so many parts is the longest known use."""
MAX_GROWTH = 4096
"""How many times larger one node may make its input, by scales or repeats that the file states."""
MAX_STEP, MAX_PAD = 128, 4096
OPSETS = range(7, 27)
"""Older than 7 ONNX Runtime does not promise to read; later than 26 is later than this list of operators."""
IR_VERSIONS = range(3, 15)
OWN_DOMAINS = ("", "ai.onnx")

OPERATORS = frozenset(
    {
        "Abs", "Add", "And", "ArgMax", "ArgMin", "AveragePool", "BatchNormalization", "Cast", "CastLike", "Ceil", "Clip", "Concat", "Constant",
        "ConstantOfShape", "Conv", "ConvInteger", "ConvTranspose", "Cos", "DepthToSpace", "DequantizeLinear", "Div", "Dropout",
        "DynamicQuantizeLinear", "Einsum", "Elu", "Equal", "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "GatherElements", "GatherND",
        "Gelu", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "Greater", "GreaterOrEqual", "GridSample", "GroupNormalization", "HardSigmoid",
        "HardSwish", "Identity", "InstanceNormalization", "LRN", "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax",
        "LpNormalization", "MatMul", "MatMulInteger", "Max", "MaxPool", "Mean", "MeanVarianceNormalization", "Min", "Mish", "Mod", "Mul", "Neg",
        "Not", "Or", "PRelu", "Pad", "Pow", "QLinearConv", "QLinearMatMul", "QuantizeLinear", "RMSNormalization", "Range", "Reciprocal",
        "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu",
        "Reshape", "Resize", "Round", "ScatterElements", "ScatterND", "Selu", "Shape", "Sigmoid", "Sign", "Sin", "Size", "Slice", "Softmax",
        "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Swish", "Tanh", "ThresholdedRelu", "Tile", "TopK",
        "Transpose", "Trilu", "Unsqueeze", "Upsample", "Where", "Xor",
    }
)
"""What generators, detectors, embedders and segmentation networks are made of. Not among them: control flow (If, Loop, Scan), sequences, optionals,
texts, random numbers, recurrent layers, NonMaxSuppression."""
TO_SHAPE = frozenset({"ConstantOfShape", "Expand"})
"""A constant input is the shape of what they make."""
GROWING = TO_SHAPE | {"Resize", "Upsample", "Tile", "Pad", "Range"}
"""Operators whose result may be any times larger than their data, by a constant input that says so."""
SIZES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
"""TensorProto.DataType -> bytes a value. Not: texts, complex numbers, floats of 8 bits and less."""
TYPED = {1: 4, 2: 5, 3: 5, 4: 5, 5: 5, 6: 5, 7: 7, 9: 5, 10: 5, 11: 10, 12: 11, 13: 11, 16: 5}
"""TensorProto.DataType -> the field of TensorProto that holds its values when raw_data does not."""
STEPS = frozenset({"strides", "dilations", "blocksize"})
PADS = frozenset({"pads", "output_padding", "kernel_shape"})

Rules = Mapping[int, tuple[bool, tuple[int, ...]]]
"""Field number -> (may stand more than once, wire types)."""
ONE_V, ONE_B, MANY_B = (False, (VARINT,)), (False, (BYTES,)), (True, (BYTES,))
INTS, FLOATS, DOUBLES = (True, (VARINT, BYTES)), (True, (FIXED32, BYTES)), (True, (FIXED64, BYTES))
MODEL: Rules = {1: ONE_V, 2: ONE_B, 3: ONE_B, 4: ONE_B, 5: ONE_V, 6: ONE_B, 7: ONE_B, 8: MANY_B, 14: MANY_B}
OPSET: Rules = {1: ONE_B, 2: ONE_V}
GRAPH: Rules = {1: MANY_B, 2: ONE_B, 5: MANY_B, 10: ONE_B, 11: MANY_B, 12: MANY_B, 13: MANY_B, 14: MANY_B, 16: MANY_B}
NODE: Rules = {1: MANY_B, 2: MANY_B, 3: ONE_B, 4: ONE_B, 5: MANY_B, 6: ONE_B, 7: ONE_B, 9: MANY_B}
ATTRIBUTE: Rules = {1: ONE_B, 2: (False, (FIXED32,)), 3: ONE_V, 4: ONE_B, 5: ONE_B, 7: FLOATS, 8: INTS, 9: MANY_B, 13: ONE_B, 20: ONE_V}
TENSOR: Rules = {1: INTS, 2: ONE_V, 4: FLOATS, 5: INTS, 7: INTS, 8: ONE_B, 9: ONE_B, 10: DOUBLES, 11: INTS, 12: ONE_B, 14: ONE_V, 16: MANY_B}
VALUE: Rules = {1: ONE_B, 2: ONE_B, 3: ONE_B, 4: MANY_B}
TYPE: Rules = {1: ONE_B, 6: ONE_B}
TENSOR_TYPE: Rules = {1: ONE_V, 2: ONE_B}
SHAPE: Rules = {1: MANY_B}
DIMENSION: Rules = {1: ONE_V, 2: ONE_B, 3: ONE_B}
NAMED: Mapping[tuple[str, int], str] = {
    ("the model", 20): "a part for training",
    ("the model", 25): "functions of its own",
    ("the graph", 15): "sparse tensors",
    ("a node", 8): "an overload",
    ("a node", 10): "a plan for several devices",
    ("an attribute", 6): "a graph of its own (If, Loop)",
    ("an attribute", 11): "graphs of its own (If, Loop)",
    ("an attribute", 21): "the argument of a function",
    ("an attribute", 22): "sparse tensors",
    ("a tensor", 3): "a segment of a larger tensor",
    ("a tensor", 6): "texts",
    ("a tensor", 13): "weights in other files (external data); convert it into one file first",
}
"""What the fields are that are refused, for people."""
Numbers = dict[str, tuple[float, ...]]


def check(data: bytes) -> None:
    """Raises ModelFileError, saying what was expected and found, when `data` is not such a file."""
    _Gate().model(memoryview(data))


class _Gate:
    """One look at one file. Knows the small constants by name, and every name that was given."""

    def __init__(self) -> None:
        self._left = MAX_FIELDS
        self._numbers: Numbers = {}
        self._known: set[str] = set()

    def _fields(self, message: memoryview, rules: Rules, what: str) -> dict[int, list[Field]]:
        """The fields of a message, each as its table allows."""
        found: dict[int, list[Field]] = {}
        for field in pb.read_fields(message):
            self._left -= 1
            if self._left < 0:
                raise ModelFileError(f"it has more than {MAX_FIELDS} parts, which no network needs; refused")
            many, wires = rules.get(field.number, (False, ()))
            if not wires:
                if (what, field.number) not in NAMED:
                    raise ModelFileError(f"not a valid ONNX file, or of a newer form: {what} holds the field {field.number}, which is refused")
                raise ModelFileError(f"{what} holds {NAMED[what, field.number]}, which is refused")
            if field.wire not in wires:
                raise ModelFileError(f"not a valid ONNX file: field {field.number} of {what} is of the wire type {field.wire}")
            if not many and field.number in found:
                raise ModelFileError(f"not a valid ONNX file: field {field.number} of {what} stands there twice")
            found.setdefault(field.number, []).append(field)
        return found

    def model(self, data: memoryview) -> None:
        """The whole file."""
        fields = self._fields(data, MODEL, "the model")
        if pb.MODEL_GRAPH not in fields:
            raise ModelFileError("not a valid ONNX file: it holds no graph")
        ir = _number(fields, 1)
        versions = [self._opset(field) for field in fields.get(8, [])]
        own = [version for domain, version in versions if domain in OWN_DOMAINS]
        if ir not in IR_VERSIONS or len(own) != 1 or own[0] not in OPSETS:
            raise ModelFileError(
                f"expected ONNX's own operators of opset {OPSETS[0]} to {OPSETS[-1]} (IR version {IR_VERSIONS[0]} to {IR_VERSIONS[-1]}), found opset "
                f"{', '.join(map(str, own)) or 'none'} (IR version {ir}); export the model anew"
            )
        self._graph(fields[pb.MODEL_GRAPH][0].bytes)

    def _opset(self, field: Field) -> tuple[str, int]:
        fields = self._fields(field.bytes, OPSET, "an opset")
        return _text(fields, 1), _number(fields, 2)

    def _graph(self, message: memoryview) -> None:
        fields = self._fields(message, GRAPH, "the graph")
        tensors, nodes = fields.get(pb.GRAPH_INITIALIZER, []), fields.get(pb.GRAPH_NODE, [])
        if not 0 < len(nodes) <= MAX_NODES or len(tensors) > MAX_TENSORS:
            raise ModelFileError(f"expected 1 to {MAX_NODES} nodes and at most {MAX_TENSORS} tensors, found {len(nodes)} and {len(tensors)}")
        for field in tensors:
            name, values = self._tensor(field.bytes)
            self._new(name)
            self._numbers[name] = values
        constants = set(self._known)
        inputs = [name for name in (self._value(f.bytes, "input") for f in fields.get(pb.GRAPH_INPUT, [])) if name not in constants]
        for name in inputs:
            self._new(name)
        wanted: set[str] = set()
        growing = [grown for field in nodes if (grown := self._node(field.bytes, wanted)) is not None]
        for op, given in growing:  # when all constants are known: nodes may stand in any order
            self._growth(op, [self._numbers.get(name, ()) for name in given])
        outputs = [self._value(f.bytes, "output") for f in fields.get(pb.GRAPH_OUTPUT, [])]
        for field in fields.get(13, []):
            self._value(field.bytes, "value")
        lost = sorted((wanted | set(outputs)) - self._known - {""})
        if lost:
            raise ModelFileError(f"not a valid ONNX file: nothing gives {lost[0]!r}")
        # SFace's file still lists as inputs the weights that its quantised ones replaced: what no node takes does not count.
        taken = sum(name in wanted for name in inputs)
        if not 0 < taken <= MAX_INPUTS or not 0 < len(outputs) <= MAX_OUTPUTS:
            raise ModelFileError(f"expected 1 to {MAX_INPUTS} inputs and 1 to {MAX_OUTPUTS} outputs, found {taken} and {len(outputs)}")

    def _new(self, name: str) -> None:
        """Each name is given once, or readers could differ in what it means."""
        if not name or name in self._known:
            what = f"the name {name!r} is given twice" if name else "a tensor has no name"
            raise ModelFileError(f"not a valid ONNX file: {what}")
        self._known.add(name)

    def _value(self, message: memoryview, what: str) -> str:
        """An input, an output, or a value in between: its name. Its type must be a tensor of numbers, its shape within bounds."""
        fields = self._fields(message, VALUE, "a value")
        name, dims = _text(fields, 1), list[int]()
        for kind in fields.get(2, []):
            typed = self._fields(kind.bytes, TYPE, "a type")
            if 1 not in typed:
                raise ModelFileError(f"{what} {name!r} is no tensor; refused")
            tensor = self._fields(typed[1][0].bytes, TENSOR_TYPE, "a tensor type")
            if what != "value" and _number(tensor, 1) not in SIZES:
                raise ModelFileError(f"{what} {name!r} has the ONNX data type {_number(tensor, 1)}; known are {sorted(SIZES)}")
            for shape in tensor.get(2, []):
                for dim in self._fields(shape.bytes, SHAPE, "a shape").get(1, []):
                    dims.append(_signed(_number(self._fields(dim.bytes, DIMENSION, "a dimension"), 1)))
        if what != "value" and 2 not in fields:
            raise ModelFileError(f"{what} {name!r} has no type")
        if len(dims) > MAX_RANK or math.prod(max(n, 1) for n in dims) > MAX_TENSOR_VALUES:
            raise ModelFileError(f"{what} {name!r} asks for a tensor of shape {dims}; at most {MAX_TENSOR_VALUES} values and {MAX_RANK} axes")
        return name

    def _tensor(self, message: memoryview) -> tuple[str, tuple[float, ...]]:
        """Checks a tensor's claims against its bytes; its name, and the values of a small one."""
        fields = self._fields(message, TENSOR, "a tensor")
        name, kind = _text(fields, pb.TENSOR_NAME), _number(fields, pb.TENSOR_TYPE)
        if _number(fields, pb.TENSOR_LOCATION):
            raise ModelFileError(f"a tensor holds {NAMED['a tensor', pb.TENSOR_EXTERNAL]}, which is refused")
        if kind not in SIZES:
            raise ModelFileError(f"tensor {name!r} has the ONNX data type {kind}; known are {sorted(SIZES)}")
        dims = [n for field in fields.get(pb.TENSOR_DIMS, []) for n in _few_ints(field, MAX_RANK, name)]
        count = math.prod(dims)
        if len(dims) > MAX_RANK or min(dims, default=0) < 0 or count > MAX_TENSOR_VALUES:
            raise ModelFileError(f"tensor {name!r} has the shape {dims[:MAX_RANK]}; expected at most {MAX_RANK} axes and {MAX_TENSOR_VALUES} values")
        held = _held(fields, kind)
        if held != count:
            raise ModelFileError(f"tensor {name!r} claims the shape {dims}, but holds {held} values; the file is damaged")
        return name, _values(fields, kind) if count <= MAX_SHAPE_VALUES else ()

    def _node(self, message: memoryview, wanted: set[str]) -> tuple[str, list[str]] | None:
        """Checks a node, adds what it takes to `wanted`; its operator and inputs if it may make something larger."""
        fields = self._fields(message, NODE, "a node")
        op, domain = _text(fields, pb.NODE_OP_TYPE), _text(fields, 7)
        if domain not in OWN_DOMAINS or op not in OPERATORS:
            raise ModelFileError(
                f"the operator {op!r} (domain {domain or 'ai.onnx'!r}) is not one that livecam runs: only ONNX's own, and of these the "
                f"{len(OPERATORS)} that face networks are made of (docs/security.md); export the model with those"
            )
        inputs, outputs = ([_name(field) for field in fields.get(number, [])] for number in (pb.NODE_INPUT, pb.NODE_OUTPUT))
        for name in outputs:
            if name:
                self._new(name)
        for field in fields.get(pb.NODE_ATTRIBUTE, []):
            self._attribute(field.bytes, op, outputs[0] if outputs else "")
        wanted.update(inputs)
        return (op, inputs) if op in GROWING else None

    def _attribute(self, message: memoryview, op: str, output: str) -> None:
        fields = self._fields(message, ATTRIBUTE, "an attribute")
        name = _text(fields, 1)
        if 5 in fields:
            _, values = self._tensor(fields[5][0].bytes)
            if op == "Constant" and name == "value":
                self._numbers[output] = values
        ints = tuple(float(n) for field in fields.get(8, []) for n in _few_ints(field, MAX_ATTRIBUTE_VALUES, name))
        floats = tuple(n for field in fields.get(7, []) for n in _few_floats(field))
        if op == "Constant" and name in ("value_ints", "value_floats"):
            self._numbers[output] = ints or floats
        if op == "Constant" and name == "value_int":
            self._numbers[output] = (float(_signed(_number(fields, 3))),)
        most = MAX_STEP if name in STEPS else MAX_PAD if name in PADS else math.inf
        if any(abs(n) > most for n in (*ints, float(_signed(_number(fields, 3))))):
            raise ModelFileError(f"a node {op} has {name} {[int(n) for n in ints] or _number(fields, 3)}, more than {most}; refused")
        if name == "output_shape" and _product(ints) > MAX_TENSOR_VALUES:
            raise ModelFileError(f"a node {op} asks for a tensor of shape {[int(n) for n in ints]}, more than {MAX_TENSOR_VALUES} values; refused")
        if name == "scales" and _product(floats) > MAX_GROWTH:
            raise ModelFileError(f"a node {op} makes its input {floats} times larger, more than {MAX_GROWTH} times in all; refused")

    def _growth(self, op: str, given: list[tuple[float, ...]]) -> None:
        """What a node makes of constants that say how large its result is to be."""
        for told in given[3:] if op == "Resize" else given[-1:] if op in TO_SHAPE else []:
            if _product(told) > MAX_TENSOR_VALUES:
                raise ModelFileError(f"a node {op} asks for a tensor of shape {list(map(int, told))}, more than {MAX_TENSOR_VALUES} values; refused")
        scales = given[2:3] if op == "Resize" and len(given) > 2 else given[1:2] if op in ("Upsample", "Tile", "Resize") else []
        if any(_product(told) > MAX_GROWTH for told in scales):
            raise ModelFileError(f"a node {op} makes its input {scales[0]} times larger, more than {MAX_GROWTH} times in all; refused")
        pads = given[1] if op == "Pad" and len(given) > 1 else ()
        both = tuple(abs(a) + abs(b) for a, b in zip(pads[: len(pads) // 2], pads[len(pads) // 2 :], strict=False))
        if any(abs(n) > MAX_PAD for n in pads) or _product(both) > MAX_TENSOR_VALUES:
            raise ModelFileError(f"a node Pad adds {pads} values at the edges, more than {MAX_PAD}; refused")
        if op == "Range" and all(given) and len(given) == 3 and abs(given[1][0] - given[0][0]) > MAX_TENSOR_VALUES * abs(given[2][0]):
            raise ModelFileError(f"a node Range counts from {given[0][0]} to {given[1][0]} by {given[2][0]}; refused")


def _product(values: tuple[float, ...]) -> float:
    """How much larger these make something: what is below 1 (or no number) makes nothing smaller here."""
    return math.prod(max(abs(n), 1.0) if math.isfinite(n) else math.inf for n in values)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _number(fields: Mapping[int, list[Field]], number: int) -> int:
    field = fields.get(number)
    return field[0].value if field and isinstance(field[0].value, int) else 0


def _name(field: Field) -> str:
    if len(field.bytes) > MAX_NAME_BYTES:
        raise ModelFileError(f"a name has {len(field.bytes)} bytes, more than {MAX_NAME_BYTES}; refused")
    return field.text


def _text(fields: Mapping[int, list[Field]], number: int) -> str:
    return _name(fields[number][0]) if number in fields else ""


def _few_ints(field: Field, most: int, name: str) -> list[int]:
    """The numbers of a field that holds at most `most`."""
    if not isinstance(field.value, int) and len(field.value) > most * pb.MAX_VARINT_BYTES:
        raise ModelFileError(f"{name!r} has more than {most} numbers; refused")
    return pb.read_ints(field)


def _few_floats(field: Field) -> tuple[float, ...]:
    data = bytes(field.bytes)
    if len(data) % 4 or len(data) > 4 * MAX_ATTRIBUTE_VALUES:
        raise ModelFileError(f"not a valid ONNX file: a list of numbers has {len(data)} bytes; at most {MAX_ATTRIBUTE_VALUES} floats are expected")
    return struct.unpack(f"<{len(data) // 4}f", data)


def _held(fields: Mapping[int, list[Field]], kind: int) -> int:
    """How many values a tensor really holds. Raises ModelFileError when they stand in a field that is not their type's, or in two."""
    places = {number for number in (4, 5, 7, 9, 10, 11) if number in fields}
    typed = TYPED[kind]
    if len(places) > 1 or not places <= {typed, pb.TENSOR_RAW}:
        raise ModelFileError(f"not a valid ONNX file: values of a tensor of type {kind} stand in the fields {sorted(places)}")
    if pb.TENSOR_RAW in places:
        size, rest = divmod(len(fields[pb.TENSOR_RAW][0].bytes), SIZES[kind])
        return -1 if rest else size
    held = 0
    for field in fields.get(typed, []):
        if typed in (4, 10) and len(field.bytes) % SIZES[kind]:
            return -1
        if field.wire != BYTES:
            held += 1
        elif typed in (4, 10):
            held += len(field.bytes) // SIZES[kind]
        else:
            held += int(np.count_nonzero(np.frombuffer(field.bytes, np.uint8) < 128))
    return held


def _values(fields: Mapping[int, list[Field]], kind: int) -> tuple[float, ...]:
    """The values of a small tensor; () for types that say nothing of shapes."""
    message = b"".join(bytes(field.raw) for found in fields.values() for field in found)
    if kind not in (1, 2, 3, 6, 7):
        return ()
    return tuple(float(v) for v in pb.read_tensor(memoryview(message))[1].reshape(-1).tolist())
