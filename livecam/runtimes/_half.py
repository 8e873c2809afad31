"""FP32 ONNX to FP16, types written into the graph, for builders that take them from there ("strongly typed").

Inputs and outputs stay float32. In float32 stays what half precision would spoil, at next to no cost:
    - statistics (means, variances, roots, exponents) and what makes them: AdaIN's overflow in half, which shows as noise;
    - where they are applied: a multiplication, addition, subtraction or division by a computed value per channel (AdaIN, FiLM);
    - vectors: whatever has no extent in the picture, such as the last numbers of a landmark network (a half near 190 px is 0.125 px off).
Source: Huang and Belongie 2017 (AdaIN), Perez et al. 2018 (FiLM); Micikevicius et al. 2018 (reductions in FP32).

`emulated` gives the same arithmetic as a float32 graph: every half tensor is rounded where it is made. ONNX Runtime's CPU runs a half graph in
float32 and drops the casts between, so its half is none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from livecam.runtimes._graph import FLOAT, FLOAT16, Shape, onnx, shape_of

REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "GlobalAveragePool")
NORMALISATIONS = ("InstanceNormalization", "LayerNormalization", "GroupNormalization", "LpNormalization", "MeanVarianceNormalization")
STATISTICS = frozenset((*REDUCTIONS, *NORMALISATIONS, "Softmax", "LogSoftmax", "Exp", "Log", "Pow", "Sqrt", "Reciprocal"))
ALWAYS_FLOAT = frozenset(("Cast", "ConstantOfShape", "DequantizeLinear", "QuantizeLinear", "Range", "EyeLike", "RandomNormal", "RandomUniform"))
"""Operators whose types are not those of their float input."""
MODULATIONS = frozenset(("Mul", "Add", "Sub", "Div"))
FLOAT_INPUTS = {"Resize": (1, 2), "Upsample": (1,)}
"""Inputs that ONNX wants in float32 whatever the rest is."""
LARGEST_HALF = 65504.0


def halved(model: Any, half_too: frozenset[str] = frozenset()) -> Any:
    """A copy of `model` (from _graph.ready) in half precision but for what the module's text names. half_too: operators that are half in any case,
    because the builder has no float32 ones. Returns a ModelProto."""
    converter = _Converter.of(model, emulate=False)
    nodes = converter.model.graph.node
    return replace(converter, kept=frozenset(i for i in converter.kept if nodes[i].op_type not in half_too)).converted()


def emulated(model: Any, everything: bool = False) -> Any:
    """The same arithmetic in a float32 graph; everything: with nothing kept in float, to see what keeping is worth. Returns a ModelProto."""
    converter = _Converter.of(model, emulate=True)
    return (replace(converter, kept=frozenset()) if everything else converter).converted()


def kept_in_float(model: Any) -> tuple[str, ...]:
    """Operators that stay in float32, in file order."""
    known = _Known.of(model)
    return tuple(node.op_type for i, node in enumerate(model.graph.node) if i in _kept(model.graph, known))


@dataclass(frozen=True, slots=True)
class _Known:
    """Types and shapes of all tensors, and which are constants."""

    types: Mapping[str, int]
    shapes: Mapping[str, Shape]
    constants: frozenset[str]

    @staticmethod
    def of(model: Any) -> _Known:
        graph = model.graph
        types = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info, *graph.output)}
        shapes = {v.name: shape_of(v) for v in (*graph.input, *graph.value_info, *graph.output)}
        types |= {t.name: t.data_type for t in graph.initializer}
        shapes |= {t.name: tuple(t.dims) for t in graph.initializer}
        constants = {t.name for t in graph.initializer} | {n.output[0] for n in graph.node if n.op_type == "Constant"}
        return _Known(types, shapes, frozenset(constants))

    def is_float(self, name: str) -> bool:
        """Whether it is a tensor of float32."""
        return self.types.get(name) == FLOAT

    def is_vector(self, name: str) -> bool:
        """Whether a tensor has no extent in the picture: (N, C), (N, C, 1, 1), (N, 1, 1, C) and shorter ones."""
        shape = self.shapes.get(name, ())
        return len(shape) <= 2 or math.prod(shape[1:]) == max(shape[1:])


def _kept(graph: Any, known: _Known) -> frozenset[int]:
    """Numbers of the nodes that stay in float32."""
    kept = {i for i, node in enumerate(graph.node) if _stays(node, known)}
    makers = {name: i for i, node in enumerate(graph.node) for name in node.output}
    takers: dict[str, set[int]] = {}
    for i, node in enumerate(graph.node):
        for name in node.input:
            takers.setdefault(name, set()).add(i)
    # Between a value that stays and a statistic of it (the square in a variance).
    for i, node in enumerate(graph.node):
        if node.op_type not in MODULATIONS or i in kept:
            continue
        before = {makers[name] for name in node.input if name in makers}
        after = set[int]().union(*(takers.get(name, set()) for name in node.output))
        if before and after and before <= kept and after <= kept:
            kept.add(i)
    return frozenset(kept)


def _stays(node: Any, known: _Known) -> bool:
    if node.op_type in STATISTICS or node.op_type in ALWAYS_FLOAT:
        return True
    outputs = [name for name in node.output if known.is_float(name)]
    if not outputs:
        return False
    if all(known.is_vector(name) for name in outputs):
        return True
    if node.op_type not in MODULATIONS:
        return False
    return any(known.is_float(name) and known.is_vector(name) and name not in known.constants for name in node.input)


@dataclass(slots=True)
class _Converter:
    """One conversion. half: tensors that are half now (when emulating: rounded to it); made: {(tensor, half)}: its name in that type."""

    model: Any
    known: _Known
    kept: frozenset[int]
    emulate: bool
    half: set[str] = field(default_factory=set[str])
    made: dict[tuple[str, bool], str] = field(default_factory=dict[tuple[str, bool], str])
    nodes: list[Any] = field(default_factory=list[Any])
    constants: dict[str, Any] = field(default_factory=dict[str, Any])

    @staticmethod
    def of(model: Any, emulate: bool) -> _Converter:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        _constants_to_initializers(copy.graph)
        known = _Known.of(copy)
        return _Converter(copy, known, _kept(copy.graph, known), emulate)

    def converted(self) -> Any:
        graph = self.model.graph
        self.constants = {t.name: t for t in graph.initializer}
        results = {value.name for value in graph.output}
        for i, node in enumerate(graph.node):
            self._convert(node, i not in self.kept, results)
        del graph.node[:]
        graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input} | results
        del graph.initializer[:]
        graph.initializer.extend(t for t in self.constants.values() if t.name in used)
        del graph.value_info[:]
        return self.model

    def _convert(self, node: Any, half: bool, results: set[str]) -> None:
        half = half and any(self.known.is_float(name) for name in (*node.input, *node.output))
        in_float = FLOAT_INPUTS.get(node.op_type, ())
        for i, name in enumerate(node.input):
            if name and self.known.is_float(name):
                node.input[i] = self._as(name, half and i not in in_float)
        self.nodes.append(node)
        if not half:
            return
        for i, name in enumerate(node.output):
            if not self.known.is_float(name):
                continue
            if self.emulate:
                node.output[i] = f"{name}__exact"
                self._round(f"{name}__exact", name)
            elif name in results:
                node.output[i] = f"{name}__half"
                self.made[name, True] = f"{name}__half"
                self._cast(f"{name}__half", name, FLOAT)
                continue
            self.half.add(name)

    def _as(self, name: str, half: bool) -> str:
        """The name under which tensor `name` is to be had in half or in float."""
        if (name in self.half) == half or (self.emulate and name in self.half):
            return name
        if (name, half) not in self.made:
            other = f"{name}__{'half' if half else 'float'}"
            self.made[name, half] = other
            if name in self.constants:
                self.constants[other] = self._rounded_constant(name, other)
            elif self.emulate:
                self._round(name, other)
            else:
                self._cast(name, other, FLOAT16 if half else FLOAT)
        return self.made[name, half]

    def _rounded_constant(self, name: str, other: str) -> Any:
        values = np.clip(onnx.numpy_helper.to_array(self.constants[name]), -LARGEST_HALF, LARGEST_HALF).astype(np.float16)
        return onnx.numpy_helper.from_array(values.astype(np.float32) if self.emulate else values, other)

    def _cast(self, name: str, other: str, to: int) -> None:
        self.nodes.append(onnx.helper.make_node("Cast", [name], [other], name=f"cast/{other}", to=to))

    def _round(self, name: str, other: str) -> None:
        self._cast(name, f"{other}__16", FLOAT16)
        self._cast(f"{other}__16", other, FLOAT)


def _constants_to_initializers(graph: Any) -> None:
    """Constant nodes of tensors become initializers, so that there is one form of constants."""
    rest: list[Any] = []
    for node in graph.node:
        tensor = next((a.t for a in node.attribute if a.name == "value"), None) if node.op_type == "Constant" else None
        if tensor is None:
            rest.append(node)
            continue
        graph.initializer.add().CopyFrom(tensor)
        graph.initializer[-1].name = node.output[0]
    del graph.node[:]
    graph.node.extend(rest)
