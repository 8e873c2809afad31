"""What machine this is, and how fast a fixed piece of work runs on it now."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

import livecam

CALIBRATION_ROUNDS = 15
PACKAGES = ("numpy", "opencv-python-headless", "numba", "openvino", "onnxruntime")


def calibration_ms() -> float:
    """Median CPU ms, on one thread, of a fixed kernel: a 720p blur, resize and colour conversion of fixed noise."""
    image = np.random.default_rng(0).integers(0, 255, (720, 1280, 3), np.uint8)
    times: list[float] = []
    for _ in range(CALIBRATION_ROUNDS):
        begin = time.thread_time_ns()
        small = cv2.resize(cv2.GaussianBlur(image, (5, 5), 1.2), (640, 360), interpolation=cv2.INTER_AREA)
        cv2.cvtColor(small, cv2.COLOR_BGR2LAB)
        times.append((time.thread_time_ns() - begin) / 1e6)
    return round(float(np.median(times)), 3)


def describe() -> dict[str, Any]:
    """JSON-ready: processor, cores, memory, system, versions, calibration."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_mb": psutil.virtual_memory().total >> 20,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "livecam": livecam.__version__,
        "commit": commit(),
        "calibration_cpu_ms": calibration_ms(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def commit() -> str:
    """Short hash of the source tree's commit, with "+" when files were changed; "" for an installed package."""
    folder = Path(livecam.__file__).parent.parent
    try:
        words = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--exclude=*"]
        return subprocess.run(words, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
