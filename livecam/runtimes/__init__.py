"""Room `runtimes`: tensors in, tensors out; knows no model by name. One file per runtime: openvino, onnx.

Each member module has
`open(model: Path | bytes, threads: int = 1, cache_dir: Path | None = None, options: Mapping[str, object] | None = None) -> Runtime`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from livecam import registry


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, shape (-1 where dynamic) and NumPy dtype name of an input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Opener(Protocol):
    """Opens a network somewhere; arguments and errors as `load`."""

    def __call__(self, model: Path | bytes, threads: int, cache_dir: Path | None, options: Mapping[str, object] | None) -> Runtime: ...


class Runtime(Protocol):
    """A compiled network. Called from one thread."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[Any]]:
        """One forward pass. The arrays returned are valid until the next call. Raises StageError."""
        ...


def place(
    elsewhere: Opener | None, model: Path | bytes, threads: int, cache_dir: Path | None, options: Mapping[str, object] | None = None
) -> Runtime:
    """`model` where the run's networks are: opened by `elsewhere` (a card), or by OpenVINO on the CPU. Raises as `load`."""
    return load("openvino", model, threads, cache_dir, options) if elsewhere is None else elsewhere(model, threads, cache_dir, options)


def load(name: str, model: Path | bytes, threads: int = 1, cache_dir: Path | None = None, options: Mapping[str, object] | None = None) -> Runtime:
    """`model` compiled by runtime `name`. Raises UsageError, MissingExtraError, ModelFileError (unreadable), ModelShapeError."""
    return registry.load_module("runtimes", name).open(model, threads, cache_dir, options)
