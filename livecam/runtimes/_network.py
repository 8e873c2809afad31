"""A network file as plain data: its nodes in order, its constants, what goes in and what comes out.

Operators are ONNX's, whatever the file was (https://onnx.ai/onnx/operators/): `_network_onnx` and `_network_tflite` read into this, a runtime that
builds its own network (torch) reads from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from livecam.runtimes import TensorSpec


@dataclass(frozen=True, slots=True)
class Node:
    """One operation. inputs: names of values, "" where an optional one is left out. attributes: numbers, texts, lists of them, or arrays."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Graph:
    """inputs, outputs: as the file states them (-1 where a dimension is free). nodes: in an order in which they can run."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, NDArray[Any]]
