"""Runtime `openvino`: .onnx, .tflite and OpenVINO .xml on the CPU.

Always full float32 inside (`INFERENCE_PRECISION_HINT`): bfloat16 is four times slower on CPUs without its instructions, and less exact.

Options: "shapes": {input name: shape} fixes or changes input shapes before compiling.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from livecam._lean import OPENVINO_EXTRAS, without
from livecam.errors import ModelFileError, ModelShapeError, StageError
from livecam.runtimes import TensorSpec, _compiled, _fold

with without(*OPENVINO_EXTRAS):
    import openvino as ov

TFLITE_MAGIC = b"TFL3"
"""Bytes 4..8 of a TensorFlow Lite file."""


class OpenVinoRuntime:
    """A network compiled by OpenVINO. Inputs are read in place; outputs are views of OpenVINO's own buffers, valid until the next `run`.

    An array that comes again (the same object) is already bound: reuse input arrays.
    """

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self.inputs = tuple(spec_of(port) for port in compiled.inputs)
        self.outputs = tuple(spec_of(port) for port in compiled.outputs)
        self._request = compiled.create_infer_request()
        self._index = {spec.name: i for i, spec in enumerate(self.inputs)}
        self._dtypes = [np.dtype(spec.dtype) for spec in self.inputs]
        self._bound: dict[int, NDArray[Any]] = {}

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[Any]]:
        """One forward pass. Raises StageError for a missing or unknown input and for a shape that the network does not take."""
        if inputs.keys() != self._index.keys():
            raise StageError(f"the network takes the inputs {sorted(self._index)}, given were {sorted(inputs)}")
        try:
            for name, array in inputs.items():
                i = self._index[name]
                if self._bound.get(i) is array:
                    continue
                # The tensor shares the array's memory, so the array must live as long as it is bound.
                held = np.ascontiguousarray(array, self._dtypes[i])
                self._request.set_input_tensor(i, ov.Tensor(held, shared_memory=True))
                self._bound[i] = held
            self._request.infer()
        except RuntimeError as error:
            shapes = {name: array.shape for name, array in inputs.items()}
            raise StageError(f"OpenVINO could not run on {shapes}; the network takes {describe(self.inputs)}: {_first_line(error)}") from error
        return {spec.name: self._request.get_output_tensor(i).data for i, spec in enumerate(self.outputs)}


def open(model: Path | bytes, threads: int = 1, cache_dir: Path | None = None, options: Mapping[str, object] | None = None) -> OpenVinoRuntime:
    """`model` compiled for `threads` CPU threads and least latency; `cache_dir` keeps the compiled form for the next start.

    Raises ModelFileError (not readable as ONNX, TFLite or OpenVINO), ModelShapeError (asked-for shapes do not fit).
    """
    core = ov.Core()
    shapes = cast("Mapping[str, Sequence[int]]", (options or {}).get("shapes") or {})
    if isinstance(model, Path) and cache_dir is not None and not shapes:
        kept = _by_path(core, model, threads, cache_dir)
        if kept is not None:
            return kept
    network = read(model, core)
    if shapes:
        try:
            network.reshape({name: ov.PartialShape(list(shape)) for name, shape in shapes.items()})
        except RuntimeError as error:
            given = {port.any_name: str(port.get_partial_shape()) for port in network.inputs}
            raise ModelShapeError(f"{_name(model)}: inputs {given} cannot take the shapes {dict(shapes)}: {_first_line(error)}") from error
    try:
        if cache_dir is None:
            return OpenVinoRuntime(core.compile_model(network, "CPU", _settings(threads)))
        folder = _compiled.folder_for(cache_dir, model)
        with _compiled.sealed(folder):
            core.set_property({"CACHE_DIR": str(folder)})
            return OpenVinoRuntime(core.compile_model(network, "CPU", _settings(threads)))
    except (RuntimeError, OSError) as error:
        raise ModelFileError(f"{_name(model)} cannot be compiled by OpenVINO {ov.__version__}: {_first_line(error)}") from error


def _by_path(core: ov.Core, model: Path, threads: int, cache_dir: Path) -> OpenVinoRuntime | None:
    """`model` compiled by its path: when the compiled form is kept, the file is not even parsed (0.25 -> 0.05 CPU-s at each start). None when it
    cannot be; reading it first tells why, or mends it."""
    try:
        folder = _compiled.folder_for(cache_dir, model)
        with _compiled.sealed(folder):
            core.set_property({"CACHE_DIR": str(folder)})
            return OpenVinoRuntime(core.compile_model(str(model), "CPU", _settings(threads)))
    except (RuntimeError, OSError):
        return None


def _settings(threads: int) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        # Pinned threads fight with the capture thread for one core.
        "ENABLE_CPU_PINNING": False,
    }


def read(model: Path | bytes, core: ov.Core | None = None) -> ov.Model:
    """`model` as OpenVINO's graph, not compiled. Raises ModelFileError."""
    core = core or ov.Core()
    if isinstance(model, Path) and not model.is_file():
        raise ModelFileError(f"model file {model} does not exist")
    try:
        if isinstance(model, Path):
            return core.read_model(str(model))
        if model[4:8] == TFLITE_MAGIC:
            with tempfile.TemporaryDirectory(prefix="livecam-") as folder:
                path = Path(folder) / "model.tflite"
                path.write_bytes(model)
                return core.read_model(str(path))
        return core.read_model(io.BytesIO(model))
    except (RuntimeError, OSError) as error:
        if folded := _folded(model):
            return core.read_model(io.BytesIO(folded))
        raise ModelFileError(
            f"{_name(model)} is not a model that OpenVINO {ov.__version__} reads (.onnx, .tflite or .xml with its .bin): {_first_line(error)}"
        ) from error


def _folded(model: Path | bytes) -> bytes | None:
    """The model with plain weights, if it is an ONNX file whose block-wise quantised ones may be what OpenVINO refused."""
    try:
        data = model if isinstance(model, bytes) else model.read_bytes()
        folded = _fold.fold_dequantize(data) if _fold.is_blockwise(data) else data
    except (OSError, ModelFileError):
        return None
    return folded if folded != data else None


def spec_of(port: Any) -> TensorSpec:
    """Name, shape and type of an input or output of a network."""
    # A tensor has several names after graph passes; the file's own one stands on its Result node.
    friendly = str(port.get_node().get_friendly_name()).split("/sink_port_")[0]
    names: set[str] = set(port.get_names())
    name = friendly if friendly in names or not names else str(port.get_any_name())
    shape = tuple(-1 if d.is_dynamic else int(d.get_length()) for d in port.get_partial_shape())
    return TensorSpec(name, shape, port.get_element_type().to_dtype().name)


def describe(specs: Sequence[TensorSpec]) -> str:
    """Names, shapes and types of tensors for a message."""
    return ", ".join(f"{s.name} {list(s.shape)} {s.dtype}" for s in specs)


def _name(model: Path | bytes) -> str:
    return str(model) if isinstance(model, Path) else f"the model of {len(model)} bytes"


def _first_line(error: BaseException) -> str:
    """The line of OpenVINO's text that says something, without its source positions."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith(("Exception from", "Check "))]
    return (lines or [type(error).__name__])[0][:300]
