"""Device memory, copies and a stream, by NVIDIA's own bindings (package `cuda-bindings`, 31 MB; torch would be some gigabytes). Extra `tensorrt`.

One `Device` belongs to one network. Every call that CUDA refuses raises StageError with CUDA's own name for it.
"""

from __future__ import annotations

import ctypes
import importlib
import math
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from livecam.errors import MissingExtraError, StageError
from livecam.runtimes import TensorSpec

EXTRA = "tensorrt"
MODULE = "cuda.bindings.runtime"


def bindings() -> Any:
    """The module of CUDA's runtime calls. Raises MissingExtraError."""
    try:
        return importlib.import_module(MODULE)
    except ImportError as error:
        raise MissingExtraError("cuda-bindings", EXTRA, "running TensorRT engines") from error


class Buffer:
    """A tensor in pinned host memory and on the device. host: array over the pinned memory; address: of the device's copy."""

    def __init__(self, device: Device, spec: TensorSpec) -> None:
        dtype = np.dtype(spec.dtype)
        self.size_bytes = max(1, math.prod(spec.shape) * dtype.itemsize)
        raw = (ctypes.c_uint8 * self.size_bytes).from_address(device.allocate("cudaMallocHost", "cudaFreeHost", self.size_bytes))
        self.host: NDArray[Any] = np.frombuffer(cast(Any, raw), dtype, math.prod(spec.shape)).reshape(spec.shape)
        self.address = device.allocate("cudaMalloc", "cudaFree", self.size_bytes)


class Device:
    """The first card's stream and buffers. Used by one thread at a time; `close` gives all back."""

    def __init__(self, runtime: Any = None) -> None:
        """runtime: CUDA's calls, `bindings()` by default. Raises MissingExtraError, StageError (no card, no memory)."""
        self._runtime = runtime or bindings()
        count = self.ask("cudaGetDeviceCount")
        if not count:
            raise StageError("CUDA found no card; look at `livecam doctor`")
        _, highest = self.ask("cudaDeviceGetStreamPriorityRange")
        self._stream: Any = self.ask("cudaStreamCreateWithPriority", int(self._runtime.cudaStreamNonBlocking), highest)
        self._held: list[tuple[str, int]] = []

    @property
    def stream(self) -> int:
        """The stream's handle, as TensorRT takes it."""
        return int(self._stream)

    def allocate(self, call: str, free: str, size_bytes: int) -> int:
        """Memory by `call`, given back by `free` at `close`; its address. Raises StageError."""
        address = int(self.ask(call, size_bytes))
        self._held.append((free, address))
        return address

    def upload(self, buffer: Buffer) -> None:
        """Queues the copy to the device."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self.ask("cudaMemcpyAsync", buffer.address, buffer.host.ctypes.data, buffer.size_bytes, kind, self._stream)

    def download(self, buffer: Buffer) -> None:
        """Queues the copy from the device."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self.ask("cudaMemcpyAsync", buffer.host.ctypes.data, buffer.address, buffer.size_bytes, kind, self._stream)

    def wait(self) -> None:
        """Until all that was queued is done; what went wrong on the device is raised here."""
        self.ask("cudaStreamSynchronize", self._stream)

    def close(self) -> None:
        """Frees everything, as far as a card that is gone allows. May be called again."""
        for free, address in self._held:
            getattr(self._runtime, free)(address)
        if self._stream is not None:
            self._runtime.cudaStreamDestroy(self._stream)
        self._held, self._stream = [], None

    def ask(self, call: str, *values: Any) -> Any:
        """What a CUDA call gives beside its error code. Raises StageError."""
        code, *results = getattr(self._runtime, call)(*values)
        if int(code) != 0:
            raise StageError(f"CUDA: {call} answered {getattr(code, 'name', code)}; look at `livecam doctor`")
        return results[0] if len(results) == 1 else results
