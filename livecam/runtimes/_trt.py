"""Building TensorRT engines: one way over `tensorrt-rtx` (GeForce and workstation RTX cards) and `tensorrt` (all cards), whose calls are the same.

Networks are strongly typed: precision stands in the graph (_half). `tensorrt-rtx` builds for any architecture that it lists, with no card in the
machine; the card's own kernels are compiled when the engine is first opened on it. `tensorrt` builds on the card, for that card.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from livecam.errors import MissingExtraError, ModelFileError, UsageError
from livecam.runtimes import _gate

EXTRA = "tensorrt"
MODULES = {"tensorrt-rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}
"""Package -> module, the smaller and faster one first."""
WORKSPACE_BYTES = 512 << 20
"""What an engine may want beside its weights: all networks together are to stay under 1.5 GB."""
TURING = "sm75"
NO_FLOAT_MATRICES = frozenset(("Gemm", "MatMul"))
"""tensorrt-rtx 1.7.1 for Turing: "FP32 GEMM is not supported"; its convolutions in float32 are."""
NO_ARCHES = ("NONE", "CURRENT")

Progress = Callable[[float, str], object]
"""Told while an engine is built: share done (0 to 1), and what is being done."""


@dataclass(frozen=True, slots=True)
class Package:
    """An installed package. module: imported; arches: the architectures ("sm89") that it builds for ahead of time, none for `tensorrt`."""

    name: str
    module: Any
    version: str
    arches: tuple[str, ...]


def installed() -> tuple[str, ...]:
    """Names of the packages that are there, without importing them."""
    return tuple(name for name, module in MODULES.items() if importlib.util.find_spec(module) is not None)


def load(name: str) -> Package:
    """The package `name`. Raises UsageError (unknown), MissingExtraError, ModelFileError (there, but its libraries do not load)."""
    if name not in MODULES:
        raise UsageError(f"package {name!r} is unknown; choose one of: {', '.join(MODULES)}")
    if name not in installed():
        raise MissingExtraError(name, EXTRA, "TensorRT")
    return _load(name)


@cache
def _load(name: str) -> Package:
    try:
        module = importlib.import_module(MODULES[name])
    except (ImportError, OSError, RuntimeError) as error:
        way_out = f"install it again: pip install --force-reinstall {name}"
        raise ModelFileError(f"the package {name} is installed but does not load: {error}; {way_out}") from error
    listed = getattr(getattr(module, "ComputeCapability", None), "__members__", {})
    return Package(name, module, str(module.__version__), tuple(a.lower() for a in listed if a not in NO_ARCHES))


def choose(arch: str = "") -> Package:
    """The first installed package that can serve a card of `arch` ("" any). Raises MissingExtraError, ModelFileError (none of them can)."""
    said: list[str] = []
    for name in installed():
        package = load(name)
        if not arch or not package.arches or arch in package.arches:
            return package
        said.append(f"{name} {package.version} knows {', '.join(package.arches)}")
    if not said:
        raise MissingExtraError("tensorrt-rtx", EXTRA, "TensorRT")
    raise ModelFileError(f"no installed package builds for {arch}: {'; '.join(said)}; for other cards: pip install tensorrt")


def half_only(package: Package, arch: str) -> frozenset[str]:
    """ONNX operators that the package has for an architecture in half precision alone."""
    return NO_FLOAT_MATRICES if package.arches and arch == TURING else frozenset()


def build(package: Package, network: bytes, name: str, arch: str, progress: Progress | None = None) -> bytes:
    """The engine of an ONNX network whose types are final. arch: "sm89", or "" for the card of this machine. Takes seconds; releases the GIL.

    Raises ModelFileError (an operator or a form that TensorRT does not take), UsageError (an architecture that the package does not build for).
    """
    if arch and arch not in package.arches:
        known = ", ".join(package.arches) or "only the card of this machine"
        raise UsageError(f"{package.name} {package.version} does not build for {arch!r}; it builds for: {known}")
    trt, log = package.module, _log(package)
    log.errors.clear()
    builder = trt.Builder(log)
    graph = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(graph, log)
    foreign = sorted(op for op in set(_gate.op_types(network)) if not parser.supports_operator(op))
    if foreign:
        raise ModelFileError(f"{name}: {package.name} {package.version} has no operator {', '.join(foreign)}; run it with --runtime onnx")
    if not parser.parse(network):
        told = [_told(parser.get_error(i)) for i in range(parser.num_errors)]
        raise ModelFileError(f"{name}: {package.name} {package.version} does not take it: {_short(told or log.errors)}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    if progress is not None:
        config.progress_monitor = _monitor(trt, progress)
    if arch:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, arch.upper()), 0)
    plan = builder.build_serialized_network(graph, config)
    if plan is None:
        raise ModelFileError(f"{name}: {package.name} {package.version} could not build it: {_short(log.errors)}")
    return bytes(plan)


@cache
def _log(package: Package) -> Any:
    """A TensorRT logger that keeps errors and is otherwise silent; one a process, because TensorRT itself keeps the first one that it is given."""
    trt = package.module

    class Log(trt.ILogger):
        """Keeps what went wrong."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, text: str) -> None:
            """Called by TensorRT, in any thread."""
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(text)

    return Log()


def reader(package: Package) -> Any:
    """What makes engines of their bytes (trt.Runtime)."""
    return package.module.Runtime(_log(package))


def _monitor(trt: Any, progress: Progress) -> Any:
    """TensorRT's progress in phases within phases, as one share: that of the outermost."""

    class Monitor(trt.IProgressMonitor):
        """Called by TensorRT while it builds."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._outermost, self._steps, self._done, self._doing = "", 1, 0, ""

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            if parent is None:
                self._outermost, self._steps = name, max(1, steps)
            self._doing = name
            progress(self._done / self._steps, name)

        def step_complete(self, name: str, step: int) -> bool:
            if name == self._outermost:
                self._done = step + 1
                progress(self._done / self._steps, self._doing)
            return True

        def phase_finish(self, name: str) -> None:
            if name == self._outermost:
                progress(1.0, name)

    return Monitor()


def _told(error: Any) -> str:
    return f"{error.node_operator()} {error.node_name()}: {error.desc()}"


def _short(lines: list[str]) -> str:
    return " ".join("; ".join(lines[:2]).split())[:300] or "it gave no reason"
