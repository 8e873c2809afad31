"""Room `runtimes`: tensors in, tensors out; knows no model by name. One file per runtime: openvino, onnx, tensorrt.

Each member module has
`open(model: Path | bytes, threads: int = 1, cache_dir: Path | None = None, options: Mapping[str, object] | None = None) -> Runtime`,
and may have `answer(options) -> str`: cheaply, what it would run on; raises RuntimeAbsentError or MissingExtraError when that is nothing.
Options that a member does not know it leaves alone; all know "progress": Callable[[share, what], object], told while something is built, and "name":
what to call a model that is given as bytes.
A file of a user's own is never given by its path: `_gate.admit` reads and checks it, and those bytes are what is loaded.
A runtime that is not exact (half precision, a card's own arithmetic) says so by an attribute `approximate = True`: `load` then holds it to the
reference (_parity).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from livecam import registry
from livecam.errors import LivecamError


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, shape (-1 where dynamic) and NumPy dtype name of an input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: str


def named(model: Path | bytes, options: Mapping[str, object] | None) -> str:
    """What to call a model in messages."""
    return str((options or {}).get("name") or (model if isinstance(model, Path) else f"the model of {len(model)} bytes"))


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
    """`model` compiled by runtime `name`; one that is not exact only after it passed the parity gate (_parity).

    Raises UsageError, MissingExtraError, RuntimeAbsentError, ModelFileError (unreadable), ModelShapeError, ParityError (with its numbers)."""
    runtime: Runtime = registry.load_module("runtimes", name).open(model, threads, cache_dir, options)
    if getattr(runtime, "approximate", False):
        from livecam.runtimes import _engines, _parity  # both are built upon this module

        try:
            _parity.check(runtime, _engines.reference(model, cache_dir, options), name)
        except LivecamError:
            getattr(runtime, "close", lambda: None)()
            raise
    return runtime
