"""Runtime `tensorrt`: NVIDIA cards by `tensorrt-rtx` or `tensorrt`, in FP16, static shapes. Extra `tensorrt`.

An engine is built on first use (seconds; `livecam engine build` does it ahead of time) and kept under seal (_engines). Like every runtime that is not
exact it comes through the parity gate of `runtimes.load`.

**Never executed on a card by this project**: no machine at hand runs TensorRT. Building is tested for real; opening and running are tested against a
stand-in for the card.

Options: "shapes": {input name: shape} fixes input shapes; "package": "tensorrt-rtx" or "tensorrt"; "progress": see _trt.Progress; "ranges":
{input: (least, greatest value)} for the gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from livecam._sealed import SealedCache
from livecam.errors import ModelFileError, ModelShapeError, RuntimeAbsentError, StageError
from livecam.runtimes import TensorSpec, _cuda, _nvidia, _trt
from livecam.runtimes._cuda import Buffer, Device

if TYPE_CHECKING:
    from livecam.runtimes import _engines

EXTRA = _trt.EXTRA


class TensorRtRuntime:
    """An engine at work. Inputs are copied into pinned memory; outputs are views of pinned memory, valid until the next `run`."""

    approximate = True
    """Half precision: `runtimes.load` holds it to the reference."""

    def __init__(self, package: _trt.Package, plan: bytes, device: Device, kernels: bytes | None = None) -> None:
        """kernels: what was compiled on this card before (RTX). Raises ModelFileError (a plan for another card or version), StageError."""
        trt = package.module
        self._device = device
        self._reader = _trt.reader(package)
        self._engine = self._reader.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise ModelFileError(f"{package.name} {package.version} does not take the engine: it is for another card or version; it is built anew")
        self._compiled: Any = None
        self._context: Any = self._make_context(kernels)
        if self._context is None:
            raise StageError(f"{package.name}: no room for the engine on the card; close other programs that use it")
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        given = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        specs = {name: _spec(trt, self._engine, name) for name in names}
        self.inputs = tuple(specs[name] for name in given)
        self.outputs = tuple(specs[name] for name in names if name not in given)
        self._buffers: dict[str, Buffer] = {name: Buffer(device, specs[name]) for name in names}
        for name, buffer in self._buffers.items():
            self._context.set_tensor_address(name, buffer.address)

    def _make_context(self, kernels: bytes | None) -> Any:
        """With the RTX package kernels are compiled here, and kept for the next time."""
        if not hasattr(self._engine, "create_runtime_config"):
            return self._engine.create_execution_context()
        config = self._engine.create_runtime_config()
        if hasattr(config, "create_runtime_cache"):
            self._compiled = config.create_runtime_cache()
            if kernels is not None:
                self._compiled.deserialize(kernels)
            config.set_runtime_cache(self._compiled)
        return self._engine.create_execution_context(config)

    def close(self) -> None:
        """Gives the card's memory back, when the engine is not to be used. Arrays that `run` returned are no more."""
        self._context = None
        self._device.close()

    def kernels(self) -> bytes | None:
        """What was compiled on this card, for the next time; None when the package does not say."""
        return None if self._compiled is None else bytes(self._compiled.serialize())

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[Any]]:
        """One forward pass. Raises StageError for a missing or unknown input, another shape, and whatever the card refuses."""
        wanted = {spec.name: spec.shape for spec in self.inputs}
        if inputs.keys() != wanted.keys():
            raise StageError(f"the network takes the inputs {sorted(wanted)}, given were {sorted(inputs)}")
        for name, array in inputs.items():
            if array.shape != wanted[name]:
                described = ", ".join(f"{s.name} {list(s.shape)} {s.dtype}" for s in self.inputs)
                raise StageError(f"TensorRT could not run on {name} {array.shape}; the network takes {described}")
            buffer = self._buffers[name]
            np.copyto(buffer.host, array, casting="unsafe")
            self._device.upload(buffer)
        if not self._context.execute_async_v3(self._device.stream):
            raise StageError("TensorRT could not queue the network; look at `livecam doctor`")
        for spec in self.outputs:
            self._device.download(self._buffers[spec.name])
        self._device.wait()
        return {spec.name: self._buffers[spec.name].host for spec in self.outputs}


def answer(options: Mapping[str, object] | None = None) -> str:
    """What it would run on, asked cheaply. Raises MissingExtraError, RuntimeAbsentError."""
    there = _trt.installed()
    if not there:
        _trt.load("tensorrt-rtx")
    _cuda.bindings()
    found = _card()
    return f"{there[0]} on {found.gpus[0].name} ({found.gpus[0].arch}), driver {found.driver}"


def _card() -> _nvidia.Nvidia:
    found = _nvidia.read()
    if found is None:
        raise RuntimeAbsentError("no NVIDIA driver answers on this machine")
    if not found.gpus:
        raise RuntimeAbsentError(f"the NVIDIA driver {found.driver} sees no card")
    return found


def open(model: Path | bytes, threads: int = 1, cache_dir: Path | None = None, options: Mapping[str, object] | None = None) -> TensorRtRuntime:
    """`model` (ONNX or TensorFlow Lite) as an engine on the first card, from the cache or built now (seconds). `threads` is not used.

    Raises MissingExtraError, RuntimeAbsentError (no card), ModelFileError (not readable, or TensorRT does not take it), ModelShapeError, StageError.
    """
    from livecam.runtimes import _engines  # with it come ONNX and its runtime, which a machine without a card is spared

    data, name = _engines.read_model(model, options)
    options, shapes = options or {}, _engines.shapes_of(options)
    kept = None if cache_dir is None else _engines.cache(cache_dir)
    package, key = _key(data, name, options)
    built = _engine(kept, data, key, package, shapes, cast("_engines.Told", options.get("progress")))
    kernel_key = replace(key, kind=_engines.KERNELS)
    before = None if kept is None else kept.get(kernel_key.wanted())
    try:
        runtime = _at_work(package, built.plan, before)
    except ModelFileError:
        if built.fresh or kept is None:
            raise
        before = None
        kept.drop(built.key.wanted())
        runtime = _at_work(package, _engines.engine(kept, data, key, package, shapes).plan, None)
    if kept is not None and before is None:
        # Kernels that cannot be kept are compiled again at the next start.
        with suppress(OSError):
            _keep(kept, kernel_key, runtime.kernels())
    return runtime


def is_built(model: Path | bytes, cache_dir: Path, options: Mapping[str, object] | None = None) -> bool:
    """Whether `open` would find an engine for the card of this machine. Raises MissingExtraError, RuntimeAbsentError, ModelFileError."""
    from livecam.runtimes import _engines

    _, key = _key(*_engines.read_model(model, options), options or {})
    kept = _engines.cache(cache_dir)
    return any(kept.get(one.wanted()) is not None for one in (key, replace(key, driver=_engines.AHEAD)))


def _key(data: bytes, name: str, options: Mapping[str, object]) -> tuple[_trt.Package, _engines.EngineKey]:
    """The package that serves this machine's card, and the key of a model's engine for it."""
    from livecam.runtimes import _engines

    found = _card()
    arch = found.gpus[0].arch
    package = _trt.load(str(options["package"])) if "package" in options else _trt.choose(arch)
    return package, _engines.engine_key(data, name, package, arch, found.driver, _engines.shapes_of(options))


def _engine(
    kept: SealedCache | None, data: bytes, key: _engines.EngineKey, package: _trt.Package, shapes: _engines.Shapes, progress: _engines.Told
) -> _engines.Built:
    """The card's own engine, or one that was built ahead of time, which holds under every driver."""
    from livecam.runtimes import _engines

    if kept is not None and package.arches:
        ahead = replace(key, driver=_engines.AHEAD)
        plan = kept.get(ahead.wanted())
        if plan is not None:
            return _engines.Built(ahead, plan)
    return _engines.engine(kept, data, key, package, shapes, progress)


def _at_work(package: _trt.Package, plan: bytes, kernels: bytes | None) -> TensorRtRuntime:
    """An engine on the card, run once; all is given back when that fails."""
    device = Device()
    try:
        runtime = TensorRtRuntime(package, plan, device, kernels)
        _warm(runtime)
    except BaseException:
        device.close()
        raise
    return runtime


def _warm(runtime: TensorRtRuntime) -> None:
    """One pass on zeros, so that kernels are compiled and loaded before the first frame."""
    runtime.run({spec.name: np.zeros(spec.shape, spec.dtype) for spec in runtime.inputs})


def _keep(kept: SealedCache, key: _engines.EngineKey, kernels: bytes | None) -> None:
    if kernels:
        with kept.building():
            kept.put(key.wanted(), kernels)


def _spec(trt: Any, engine: Any, name: str) -> TensorSpec:
    shape = tuple(int(n) for n in engine.get_tensor_shape(name))
    if min(shape, default=1) < 1:
        raise ModelShapeError(f"the engine's tensor {name} has the free shape {list(shape)}; only fixed shapes are taken")
    return TensorSpec(name, shape, np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name)


