"""A `Graph` as a `torch.fx.GraphModule`: straight-line code without the graph's shape arithmetic, ready for CUDA graphs and `torch.compile`.

Each node runs once on zeros while the network is built, so every shape is known then and whatever follows from shapes alone becomes a constant.

Precision: weights of products are of the type that is asked for, except those of the last ones, between which and an output no other product stands:
in half they would round landmarks at 190 px to an eighth of a pixel. Everything else is as `_torch_ops` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from livecam.errors import ModelFileError, ModelShapeError
from livecam.runtimes._network import Graph, Node
from livecam.runtimes._torch_ops import OPS, PRODUCTS

ELEMENTWISE = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max"})
"""Of these a constant of one number is kept without dimensions: such a one does not change the type of what it meets, and keeps its own exactness."""
MEETING = ELEMENTWISE | {"PRelu", "Concat"}
"""Of these, tables of numbers take the type of what they meet; elsewhere (normalisation) they stay float32."""
MAX_VALUES = 1 << 28
"""Numbers that one value may hold; more is a damaged or hostile file."""


@dataclass(slots=True)
class _Value:
    """what: the tensor that the node gave on zeros; made: the fx node that gives it; None for a constant."""

    what: Tensor
    made: fx.Node | None = None


def build(graph: Graph, shapes: Mapping[str, Sequence[int]], precision: torch.dtype) -> fx.GraphModule:
    """The network in evaluation mode on the CPU; called with the inputs in order, of the file's types, it gives a tuple of outputs.

    shapes: {input: shape}, for inputs with free dimensions or other shapes than the file's. Raises ModelFileError (an operator or attribute that is
    not known), ModelShapeError (a shape that is missing or does not fit).
    """
    return _Builder(graph, precision).run(shapes)


class _Builder:
    def __init__(self, graph: Graph, precision: torch.dtype) -> None:
        self._graph, self._precision = graph, precision
        self._last = _last_products(graph)
        self._root = torch.nn.Module()
        self._fx = fx.Graph()
        self._values: dict[str, _Value] = {}
        self._kept: dict[tuple[int, torch.dtype, bool], fx.Node] = {}

    @torch.no_grad()
    def run(self, shapes: Mapping[str, Sequence[int]]) -> fx.GraphModule:
        """See `build`."""
        unknown = shapes.keys() - {spec.name for spec in self._graph.inputs}
        if unknown:
            raise ModelShapeError(f"shapes of {sorted(unknown)} are given; the network's inputs are {[s.name for s in self._graph.inputs]}")
        for spec in self._graph.inputs:
            shape = tuple(shapes.get(spec.name, spec.shape))
            if len(shape) != len(spec.shape) or any(n < 1 for n in shape):
                raise ModelShapeError(f"input {spec.name} {list(spec.shape)} cannot take the shape {list(shape)}; state one for each free dimension")
            self._values[spec.name] = _Value(torch.zeros(shape, dtype=getattr(torch, spec.dtype)), self._fx.placeholder(f"in_{len(self._values)}"))
        for name, array in self._graph.constants.items():
            self._values[name] = _Value(torch.from_numpy(np.array(array)))
        for node in self._graph.nodes:
            self._add(node)
        self._fx.output(tuple(self._result(spec.name, spec.dtype) for spec in self._graph.outputs))
        self._fx.lint()
        return fx.GraphModule(self._root, self._fx).eval()

    def _result(self, name: str, dtype: str) -> fx.Node:
        if name not in self._values:
            raise ModelFileError(f"output {name} is made by no node (truncated?)")
        value = self._values[name]
        made = self._constant(value.what, value.what.dtype, False) if value.made is None else value.made
        return self._fx.call_method("to", (made, getattr(torch, dtype)))

    def _add(self, node: Node) -> None:
        if node.op == "Constant":
            self._values[node.outputs[0]] = _Value(_stated(node))
            return
        if node.op not in OPS:
            raise ModelFileError(f"operator {node.op} is not known to the torch runtime; use another runtime")
        op = OPS[node.op]
        keywords = _keywords(node, op.ignored)
        if node.op == "Split":
            keywords["count"] = len(node.outputs)
        given = [self._value(name, node) if name else None for name in node.inputs]
        if node.op == "QuantizeLinear":
            steps = torch.iinfo(given[2].what.dtype if len(given) > 2 and given[2] is not None else torch.uint8)
            keywords |= {"low": steps.min, "high": steps.max}
        tensors = [None if v is None else (_numbers(v, node) if i in op.static else v.what) for i, v in enumerate(given)]
        moving = node.op != "Shape" and any(v is not None and v.made is not None for v in given)
        results = _called(node, op.call, tensors, keywords)
        if not moving:
            self._keep(node, [(result, None) for result in results])
            return
        dtype = torch.float32 if id(node) in self._last else self._precision
        arguments = [
            tensors[i] if v is None or i in op.static else self._argument(v, node.op, dtype if i in op.weights else None) for i, v in enumerate(given)
        ]
        if node.op == "MatMul" and arguments[1] is not None and given[1] is not None and given[1].made is not None:
            arguments[1] = self._fx.call_method("to", (arguments[1], dtype))
        call = self._fx.call_function(op.call, tuple(arguments), keywords)
        if len(node.outputs) == 1 or node.op in ("Dropout", "BatchNormalization", "MaxPool"):
            self._keep(node, [(results[0], call)])
            return
        self._keep(node, [(r, self._fx.call_function(_item, (call, i))) for i, r in enumerate(results)])

    def _value(self, name: str, node: Node) -> _Value:
        if name not in self._values:
            raise ModelFileError(f"{node.op} takes {name}, which no node before it makes (truncated?)")
        return self._values[name]

    def _keep(self, node: Node, results: list[tuple[Tensor, fx.Node | None]]) -> None:
        for name, (what, made) in zip(node.outputs, results, strict=False):
            if what.numel() > MAX_VALUES:
                raise ModelFileError(f"{node.op} makes {tuple(what.shape)}; more than {MAX_VALUES} numbers are refused")
            self._values[name] = _Value(what, made)

    def _argument(self, value: _Value, op: str, dtype: torch.dtype | None) -> fx.Node:
        if value.made is not None:
            return value.made
        what = value.what
        if not what.is_floating_point():
            return self._constant(what, what.dtype, False)
        alone = what.numel() == 1 and op in ELEMENTWISE
        usual = self._precision if op in MEETING and not alone else torch.float32
        return self._constant(what, dtype or usual, alone)

    def _constant(self, what: Tensor, dtype: torch.dtype, alone: bool) -> fx.Node:
        key = (id(what), dtype, alone)
        if key not in self._kept:
            name = f"constant_{len(self._kept)}"
            kept = what.reshape(()) if alone else what
            kept = kept.to(dtype)
            self._root.register_buffer(name, kept.contiguous(memory_format=torch.channels_last) if kept.ndim == 4 else kept.clone())
            self._kept[key] = self._fx.get_attr(name)
        return self._kept[key]


def _item(parts: tuple[Tensor, ...], i: int) -> Tensor:
    return parts[i]


def _called(node: Node, call: Any, tensors: list[Any], keywords: dict[str, Any]) -> tuple[Tensor, ...]:
    try:
        result = call(*tensors, **keywords)
    except TypeError as error:
        raise ModelFileError(f"{node.op} of {list(node.inputs)} with {sorted(node.attributes)} is not supported: {error}") from error
    except (RuntimeError, ValueError, IndexError, KeyError) as error:
        shapes = [list(t.shape) if isinstance(t, Tensor) else t for t in tensors]
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelShapeError(f"{node.op} of {list(node.inputs)} does not take {shapes}: {text}") from error
    return result if isinstance(result, tuple) else (result,)


def _keywords(node: Node, ignored: tuple[str, ...]) -> dict[str, Any]:
    attributes = {name: value for name, value in node.attributes.items() if name not in ignored}
    return {name: torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value for name, value in attributes.items()}


def _stated(node: Node) -> Tensor:
    """The value of a Constant node."""
    for name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        if name in node.attributes:
            return torch.from_numpy(np.array(node.attributes[name], np.float32 if "float" in name else None))
    raise ModelFileError(f"Constant {list(node.outputs)} holds {sorted(node.attributes)}, which is not supported")


def _numbers(value: _Value, node: Node) -> list[Any] | None:
    """A static input as a flat list; None when it is empty."""
    if value.made is not None:
        raise ModelFileError(f"{node.op} of {list(node.inputs)}: shapes that depend on what is in the tensors are not supported")
    return value.what.reshape(-1).tolist() or None


def _last_products(graph: Graph) -> frozenset[int]:
    """`id` of the nodes with weights whose results reach an output past no other such node."""
    makers = {name: node for node in graph.nodes for name in node.outputs}
    found: set[int] = set()
    seen: set[str] = set()
    todo = [spec.name for spec in graph.outputs]
    while todo:
        name = todo.pop()
        node = makers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op in PRODUCTS:
            found.add(id(node))
        else:
            todo += [n for n in node.inputs if n]
    return frozenset(found)
