"""NVIDIA cards and driver of this machine, asked of the driver's own library (NVML) without any package.

Source: NVML API reference, nvml.h.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from livecam.errors import RuntimeAbsentError

LIBRARIES = ("nvml.dll",) if sys.platform == "win32" else ("libnvidia-ml.so.1", "libnvidia-ml.so")
TEXT_BYTES = 96
TROUBLES = {
    9: "its kernel module is not loaded; sudo modprobe nvidia, or install the driver again",
    15: "the card has fallen off the bus; start the computer again",
    18: "library and kernel module are of different versions, as after an update; start the computer again",
}
"""nvmlReturn_t, and what mends it."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A card. arch: its architecture as builders call it ("sm89"); memory_mb: in all."""

    name: str
    arch: str
    memory_mb: int


@dataclass(frozen=True, slots=True)
class Nvidia:
    """driver: its version ("580.65.06"); cuda: the newest CUDA that it serves ("13.0"); gpus: in the driver's order."""

    driver: str
    cuda: str
    gpus: tuple[Gpu, ...]


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def library() -> Any | None:
    """NVML, loaded; None when there is no NVIDIA driver."""
    for name in LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def read(nvml: Any = None) -> Nvidia | None:
    """Driver and cards; None when there is no NVIDIA driver. nvml: the library, `library()` by default. Raises RuntimeAbsentError (one that is there
    does not answer, and what mends it)."""
    nvml = nvml or library()
    if nvml is None:
        return None
    try:
        with _started(nvml):
            cuda = ctypes.c_int()
            _ask(nvml.nvmlSystemGetCudaDriverVersion_v2(ctypes.byref(cuda)))
            count = ctypes.c_uint()
            _ask(nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)))
            gpus = tuple(_gpu(nvml, index) for index in range(count.value))
            return Nvidia(_text(nvml.nvmlSystemGetDriverVersion), f"{cuda.value // 1000}.{cuda.value % 1000 // 10}", gpus)
    except AttributeError as error:
        raise RuntimeAbsentError(f"the NVIDIA driver is too old for livecam ({error}); update it") from error


def _gpu(nvml: Any, index: int) -> Gpu:
    handle, major, minor, memory = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int(), _Memory()
    _ask(nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)))
    _ask(nvml.nvmlDeviceGetCudaComputeCapability(handle, ctypes.byref(major), ctypes.byref(minor)))
    _ask(nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)))
    return Gpu(_text(nvml.nvmlDeviceGetName, handle), f"sm{major.value}{minor.value}", memory.total >> 20)


@contextmanager
def _started(nvml: Any) -> Generator[None]:
    _ask(nvml.nvmlInit_v2())
    try:
        yield
    finally:
        nvml.nvmlShutdown()


def _text(ask: Any, *first: Any) -> str:
    text = ctypes.create_string_buffer(TEXT_BYTES)
    _ask(ask(*first, text, ctypes.c_uint(TEXT_BYTES)))
    return text.value.decode("utf-8", "replace")


def _ask(code: int) -> None:
    if code != 0:
        raise RuntimeAbsentError(f"the NVIDIA driver does not answer: {TROUBLES.get(code, f'NVML code {code}; start the computer again')}")
