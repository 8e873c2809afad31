"""Runtime `onnx`: ONNX Runtime, on the CPU or by another of its providers: CUDA (NVIDIA), DirectML (Windows), CoreML (Apple).

Models whose weights lie in other files ("external data") are refused: such a file may name any path of the machine.
A provider that gives the network, or a part of it, to the CPU instead is refused by name: ONNX Runtime does so without a word.

Options: "name": of a model given as bytes, for messages; "shapes": {symbolic dimension name: size} fixes free dimensions;
"provider": "cpu" (default), "cuda", "directml", "coreml", or "auto", the
first of these that is there and not the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state  # pyright: ignore[reportAttributeAccessIssue]

from livecam.errors import ModelFileError, ModelShapeError, RuntimeAbsentError, StageError, UsageError
from livecam.runtimes import TensorSpec, _fold, _gate, named

CPU, AUTO = "cpu", "auto"
PROVIDERS = {"cuda": "CUDAExecutionProvider", "directml": "DmlExecutionProvider", "coreml": "CoreMLExecutionProvider", CPU: "CPUExecutionProvider"}
"""Ours to ONNX Runtime's, in the order in which "auto" tries them."""
WAYS_OUT = {
    "cuda": "pip uninstall onnxruntime, then pip install 'onnxruntime-gpu[cuda,cudnn]'",
    "directml": "on Windows: pip uninstall onnxruntime, then pip install onnxruntime-directml",
    "coreml": "it comes with onnxruntime on macOS alone",
}
ERROR_SEVERITY = 3
"""onnxruntime's log level at which only errors are written."""

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}

FAILURES: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    MemoryError,
    *(v for v in vars(onnxruntime_pybind11_state).values() if isinstance(v, type) and issubclass(v, Exception)),
)
"""onnxruntime raises classes of its own that share no base but Exception."""


class OnnxRuntime:
    """A network run by ONNX Runtime."""

    def __init__(self, session: ort.InferenceSession, provider: str) -> None:
        self._session = session
        self.approximate = provider != CPU
        self.inputs = tuple(_spec(arg) for arg in session.get_inputs())
        self.outputs = tuple(_spec(arg) for arg in session.get_outputs())
        self._names = [spec.name for spec in self.outputs]
        self._dtypes = {spec.name: np.dtype(spec.dtype) for spec in self.inputs}

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[Any]]:
        """One forward pass. Raises StageError for a missing or unknown input and for a shape that the network does not take."""
        if inputs.keys() != self._dtypes.keys():
            raise StageError(f"the network takes the inputs {sorted(self._dtypes)}, given were {sorted(inputs)}")
        feeds = {name: np.ascontiguousarray(array, self._dtypes[name]) for name, array in inputs.items()}
        try:
            results = self._session.run(self._names, feeds)
        except FAILURES as error:
            shapes = {name: array.shape for name, array in inputs.items()}
            wanted = ", ".join(f"{s.name} {list(s.shape)} {s.dtype}" for s in self.inputs)
            raise StageError(f"ONNX Runtime could not run on {shapes}; the network takes {wanted}: {_first_line(error)}") from error
        return dict(zip(self._names, cast("Sequence[NDArray[Any]]", results), strict=True))


def open(model: Path | bytes, threads: int = 1, cache_dir: Path | None = None, options: Mapping[str, object] | None = None) -> OnnxRuntime:
    """`model` loaded for `threads` CPU threads. `cache_dir` is not used: sessions start fast.

    Raises ModelFileError (missing, not ONNX, weights outside the file), ModelShapeError (asked-for shapes do not fit), RuntimeAbsentError (the
    provider is not there, or leaves the network to the CPU), UsageError (unknown provider).
    """
    provider = _provider(str((options or {}).get("provider", CPU)))
    data = model if isinstance(model, bytes) else _gate.read_file(model)
    name = named(model, options)
    _gate.check_onnx(data, name)
    if _fold.is_blockwise(data):
        data = _fold.fold_dequantize(data)
    shapes = cast("Mapping[str, int]", (options or {}).get("shapes") or {})
    try:
        # From bytes, onnxruntime knows no folder and refuses external data.
        session = ort.InferenceSession(data, _session_options(threads, shapes, provider), providers=[PROVIDERS[provider]])
    except FAILURES as error:
        text = _first_line(error)
        if provider != CPU:
            raise RuntimeAbsentError(f"ONNX Runtime's provider {provider} does not run all of {name}: {text}") from error
        if "external" in text.lower():
            raise ModelFileError(f"{name} keeps its weights in other files, which is refused; convert it into one file first: {text}") from error
        if isinstance(error, MemoryError) or "alloc" in text.lower():
            raise ModelFileError(f"{name} asks for more memory than this process may take, and is refused: {text}") from error
        kind = ModelShapeError if shapes else ModelFileError
        raise kind(f"{name} is not a model that ONNX Runtime {ort.__version__} can load: {text}") from error
    used = session.get_providers()
    if used[:1] != [PROVIDERS[provider]]:
        raise RuntimeAbsentError(f"ONNX Runtime's provider {provider} silently left {name} to {', '.join(used)}; look at `livecam doctor`")
    return OnnxRuntime(session, provider)


def answer(options: Mapping[str, object] | None = None) -> str:
    """What it would run on. Raises RuntimeAbsentError, UsageError."""
    return f"ONNX Runtime {ort.__version__}, provider {_provider(str((options or {}).get('provider', CPU)))}"


def providers() -> tuple[str, ...]:
    """Those of PROVIDERS that this build of ONNX Runtime says it has."""
    there = ort.get_available_providers()
    return tuple(name for name, own in PROVIDERS.items() if own in there)


def _provider(asked: str) -> str:
    """The provider to use. Raises UsageError (unknown), RuntimeAbsentError (not in this build)."""
    if asked not in (*PROVIDERS, AUTO):
        raise UsageError(f"provider {asked!r} is unknown; choose one of: {', '.join((AUTO, *PROVIDERS))}")
    there = providers()
    chosen = there[0] if asked == AUTO else asked
    if chosen not in there:
        raise RuntimeAbsentError(f"ONNX Runtime {ort.__version__} here has no provider {asked}, only {', '.join(there)}; {WAYS_OUT[asked]}")
    return chosen


def _session_options(threads: int, shapes: Mapping[str, int], provider: str) -> Any:
    options: Any = ort.SessionOptions()
    if provider != CPU:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = ERROR_SEVERITY
    # The arena never gives memory back; without it a network holds what it needs, at no measurable cost for one network.
    options.enable_cpu_mem_arena = False
    # Threads that spin between frames would burn a core for nothing.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for dimension, size in shapes.items():
        options.add_free_dimension_override_by_name(dimension, int(size))
    return options


def _spec(arg: Any) -> TensorSpec:
    shape = tuple(d if isinstance(d, int) else -1 for d in arg.shape)
    return TensorSpec(arg.name, shape, _DTYPES.get(arg.type, str(arg.type)))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
