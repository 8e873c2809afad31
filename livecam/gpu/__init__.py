"""The frame on an NVIDIA card: what livecam/image.py and its neighbours do on the CPU, as kernels in Triton (extra `torch`).

kernels.py   the kernels themselves: sample (crop, the detector's picture), paste, encode, decode, fill and compose of the generator lite
ops.py       the same as functions of torch tensors, checked like their CPU twins
card.py      one card: its streams, its pinned memory, the frame on it, and what is recorded as CUDA graphs
lite.py      the generator lite between its drawing and its picture

Every kernel is held to the plain CPU version within one grey level, in Triton's interpreter (TRITON_INTERPRET=1) where there is no card.
The package lies below the rooms, which may call it, and above runtimes, image and geometry, which it calls. torch is imported by none of this before
a card was asked for.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import sys

from livecam.errors import MissingExtraError, UsageError

DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
CUDA_SUCCESS = 0


def why_not() -> str:
    """Why no frame can be drawn on a card here, "" when one may: asked of the driver itself, without loading torch."""
    missing = [name for name in ("torch", "triton") if importlib.util.find_spec(name) is None]
    if missing:
        return str(MissingExtraError(missing[0], "torch", "drawing on an NVIDIA card"))
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return f"no NVIDIA driver is installed ({DRIVER} is not found)"
    status, count = driver.cuInit(0), ctypes.c_int(0)
    if status == CUDA_SUCCESS:
        status = driver.cuDeviceGetCount(ctypes.byref(count))
    if status != CUDA_SUCCESS or not count.value:
        return f"the NVIDIA driver finds no card (CUDA error {status}, {count.value} cards)"
    return ""


def chosen(device: str) -> str:
    """"cuda" or "cpu" for the setting `device` ("auto", "cuda", "cpu"). Raises UsageError when a card is asked for and there is none."""
    if device == "cpu":
        return "cpu"
    reason = why_not()
    if reason and device == "cuda":
        raise UsageError(f"--device cuda expected an NVIDIA card: {reason}; use --device cpu")
    return "cpu" if reason else "cuda"
