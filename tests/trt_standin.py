"""A stand-in for a card: TensorRT's calls over ONNX Runtime, and CUDA's over this process's memory. It counts, and can be made to fail.

What it cannot show is that a real card does the same; only that every call is made, in order, with memory of the right size.
"""

# ruff: noqa: N802, N815 - the names are CUDA's and TensorRT's
from __future__ import annotations

import ctypes
import enum
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

from livecam.runtimes import _nvidia, _trt

CARD = _nvidia.Nvidia("580.65.06", "13.0", (_nvidia.Gpu("stand-in", "sm89", 8192),))


class Mode(enum.Enum):
    INPUT, OUTPUT = range(2)


class Cuda:
    """CUDA's runtime calls. fails: {call: error code} from now on."""

    cudaStreamNonBlocking = 1

    def __init__(self) -> None:
        self.calls, self.fails = Counter[str](), dict[str, int]()
        self.memory: dict[int, Any] = {}
        self.cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)

    def _did(self, call: str, *results: Any) -> tuple[Any, ...]:
        self.calls[call] += 1
        return (self.fails.get(call, 0), *results)

    def _made(self, call: str, size: int) -> tuple[Any, ...]:
        memory = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(memory)] = memory
        return self._did(call, ctypes.addressof(memory))

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        return self._made("cudaMalloc", size)

    def cudaMallocHost(self, size: int) -> tuple[Any, ...]:
        return self._made("cudaMallocHost", size)

    def _freed(self, call: str, address: int) -> tuple[Any, ...]:
        del self.memory[address]
        return self._did(call)

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        return self._freed("cudaFree", address)

    def cudaFreeHost(self, address: int) -> tuple[Any, ...]:
        return self._freed("cudaFreeHost", address)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: int) -> tuple[Any, ...]:
        assert len(self.memory[to]) == len(self.memory[source]) == size and stream == 77 and kind in (1, 2)
        ctypes.memmove(to, source, size)
        return self._did("cudaMemcpyAsync")

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        return self._did("cudaGetDeviceCount", 1)

    def cudaDeviceGetStreamPriorityRange(self) -> tuple[Any, ...]:
        return self._did("cudaDeviceGetStreamPriorityRange", 0, -5)

    def cudaStreamCreateWithPriority(self, flags: int, priority: int) -> tuple[Any, ...]:
        assert (flags, priority) == (1, -5)
        return self._did("cudaStreamCreateWithPriority", 77)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any, ...]:
        return self._did("cudaStreamSynchronize")

    def cudaStreamDestroy(self, stream: int) -> tuple[Any, ...]:
        return self._did("cudaStreamDestroy")


class Context:
    """An execution context over memory addresses."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.addresses = engine, dict[str, int]()

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        feeds: dict[str, Any] = {}
        session, memory = self.engine.session, self.engine.cuda.memory
        for arg in session.get_inputs():
            feeds[arg.name] = np.frombuffer(memory[self.addresses[arg.name]], np.float32, int(np.prod(arg.shape))).reshape(arg.shape)
        names = [arg.name for arg in session.get_outputs()]
        for name, result in zip(names, session.run(names, feeds), strict=True):
            data = (np.asarray(result) * self.engine.gain).astype(np.float32).tobytes()
            ctypes.memmove(self.addresses[name], data, len(data))
        return not self.engine.refuses


class Engine:
    """An engine whose plan is an ONNX file. gain: what its outputs are multiplied by (1 is right); refuses: it queues nothing."""

    gain, refuses = 1.0, False

    def __init__(self, plan: bytes, cuda: Cuda, trt: Trt) -> None:
        self.session, self.cuda, self.trt = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"]), cuda, trt
        self.gain = trt.gain
        self.specs = {a.name: (Mode.INPUT, a) for a in self.session.get_inputs()} | {a.name: (Mode.OUTPUT, a) for a in self.session.get_outputs()}
        self.num_io_tensors = len(self.specs)

    def get_tensor_name(self, index: int) -> str:
        return list(self.specs)[index]

    def get_tensor_mode(self, name: str) -> Mode:
        return self.specs[name][0]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.specs[name][1].shape)

    def get_tensor_dtype(self, name: str) -> type:
        return np.float32

    def create_runtime_config(self) -> Any:
        trt = self.trt
        compiled = SimpleNamespace(serialize=lambda: b"kernels of the stand-in", deserialize=trt.kernels_read.append)
        return SimpleNamespace(create_runtime_cache=lambda: compiled, set_runtime_cache=lambda _: None)

    def create_execution_context(self, config: Any) -> Context:
        return Context(self)


class Trt:
    """The module tensorrt_rtx, as far as running goes."""

    TensorIOMode, __version__ = Mode, "1.7.1.116"

    class ILogger:
        Severity = SimpleNamespace(ERROR=1, INTERNAL_ERROR=0)

    def __init__(self, cuda: Cuda) -> None:
        self.cuda, self.gain = cuda, 1.0
        self.kernels_read: list[bytes] = []
        self.built, self.rejects = 0, 0

    def nptype(self, dtype: type) -> type:
        return dtype

    def Runtime(self, log: Any) -> Any:
        return SimpleNamespace(deserialize_cuda_engine=self._deserialized)

    def _deserialized(self, plan: bytes) -> Engine | None:
        """rejects: so many plans are not taken, as ones for another card are."""
        self.rejects -= 1
        return None if self.rejects >= 0 else Engine(plan, self.cuda, self)

    def package(self) -> _trt.Package:
        return _trt.Package("tensorrt-rtx", self, self.__version__, ("sm86", "sm89"))


def install(monkeypatch: Any) -> Trt:
    """Puts the stand-in in place of card, driver and packages."""
    trt = Trt(Cuda())

    def build(package: Any, network: bytes, *_: Any) -> bytes:
        trt.built += 1
        return network

    monkeypatch.setattr("livecam.runtimes._nvidia.read", lambda: CARD)
    monkeypatch.setattr("livecam.runtimes._cuda.bindings", lambda: trt.cuda)
    monkeypatch.setattr("livecam.runtimes._trt.choose", lambda arch="": trt.package())
    monkeypatch.setattr("livecam.runtimes._trt.load", lambda name: trt.package())
    monkeypatch.setattr("livecam.runtimes._trt.installed", lambda: ("tensorrt-rtx",))
    monkeypatch.setattr("livecam.runtimes._trt.build", build)
    return trt
