"""ONNX Runtime's providers: what is not there is named, and what is silently left to the CPU too. NVML: what the driver's library says."""

# ruff: noqa: N802 - the names are NVML's
from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx_models
import onnxruntime
import pytest

from livecam import runtimes
from livecam.cli import _doctor_runtimes
from livecam.config import RunConfig
from livecam.errors import RuntimeAbsentError, UsageError
from livecam.runtimes import _choice, _nvidia
from livecam.runtimes import onnx as member


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return onnx_models.generator(tmp_path / "generator.onnx", 32, length=8)


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this build of ONNX Runtime has CUDA")
def test_a_provider_that_is_not_there_is_named_with_the_way_out(model: Path) -> None:
    with pytest.raises(RuntimeAbsentError, match=r"no provider cuda, only .*cpu; pip uninstall onnxruntime"):
        runtimes.load("onnx", model, options={"provider": "cuda"})
    with pytest.raises(UsageError, match="provider 'tpu' is unknown"):
        runtimes.load("onnx", model, options={"provider": "tpu"})


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this build of ONNX Runtime has CUDA")
def test_a_silent_fallback_to_the_cpu_is_found_and_named(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The build says that it has CUDA, and then runs on the CPU: what happens when CUDA's libraries are missing."""
    there = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(member.ort, "get_available_providers", lambda: there)
    session = member.ort.InferenceSession
    monkeypatch.setattr(member.ort, "InferenceSession", lambda data, options, providers: session(data, providers=["CPUExecutionProvider"]))
    with pytest.raises(RuntimeAbsentError, match=r"provider cuda silently left .*generator\.onnx to CPUExecutionProvider"):
        runtimes.load("onnx", model, options={"provider": "auto"})
    assert [f.level for f in _doctor_runtimes.tried(RunConfig()) if "provider cuda" in f.what] == ["note"]


def test_auto_takes_the_cpu_when_there_is_nothing_else(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member.ort, "get_available_providers", lambda: ["AzureExecutionProvider", "CPUExecutionProvider"])
    assert member.providers() == ("cpu",) and member.answer({"provider": "auto"}).endswith("provider cpu")
    assert not getattr(runtimes.load("onnx", model, options={"provider": "auto"}), "approximate", True)


class Nvml:
    """The driver's library with one card."""

    def __init__(self, init: int = 0) -> None:
        self._init = init
        self.shut = 0

    def nvmlInit_v2(self) -> int:
        return self._init

    def nvmlShutdown(self) -> int:
        self.shut += 1
        return 0

    def nvmlSystemGetCudaDriverVersion_v2(self, out: Any) -> int:
        out._obj.value = 13000
        return 0

    def nvmlDeviceGetCount_v2(self, out: Any) -> int:
        out._obj.value = 1
        return 0

    def nvmlSystemGetDriverVersion(self, text: Any, size: Any) -> int:
        text.value = b"580.65.06"
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, out: Any) -> int:
        return 0

    def nvmlDeviceGetCudaComputeCapability(self, handle: Any, major: Any, minor: Any) -> int:
        major._obj.value, minor._obj.value = 8, 9
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: Any, out: Any) -> int:
        out._obj.total = 24 << 30
        return 0

    def nvmlDeviceGetName(self, handle: Any, text: ctypes.Array[Any], size: Any) -> int:
        text.value = b"NVIDIA GeForce RTX 4090"
        return 0


def test_the_driver_is_read() -> None:
    nvml = Nvml()
    assert _nvidia.read(nvml) == _nvidia.Nvidia("580.65.06", "13.0", (_nvidia.Gpu("NVIDIA GeForce RTX 4090", "sm89", 24576),))
    assert nvml.shut == 1


def test_a_driver_that_does_not_answer_says_what_mends_it() -> None:
    with pytest.raises(RuntimeAbsentError, match="different versions, as after an update; start the computer again"):
        _nvidia.read(Nvml(init=18))
    with pytest.raises(RuntimeAbsentError, match="NVML code 999"):
        _nvidia.read(Nvml(init=999))


def test_doctor_names_mismatches(monkeypatch: pytest.MonkeyPatch) -> None:
    def package(name: str) -> SimpleNamespace:
        return SimpleNamespace(metadata={"Name": name})

    monkeypatch.setattr(_doctor_runtimes, "distributions", lambda: map(package, ("onnxruntime", "onnxruntime-gpu", "tensorrt_rtx_cu13", "torch")))
    monkeypatch.setattr(_doctor_runtimes, "version", lambda _: "2.13.0+cpu")
    monkeypatch.setattr(_nvidia, "read", lambda: _nvidia.Nvidia("550.1", "12.4", (_nvidia.Gpu("RTX 3060", "sm86", 12288),)))
    monkeypatch.setattr(_doctor_runtimes._trt, "installed", tuple)
    found = {f.what: f for f in _doctor_runtimes.mismatches(RunConfig())}
    assert "pip uninstall onnxruntime onnxruntime-gpu" in found["one ONNX Runtime"].way_out
    assert "wants CUDA 13.0, the driver 550.1 serves up to 12.4" in found["tensorrt-rtx-cu13"].found
    assert "built for the CPU" in found["torch"].found and "livecam[tensorrt]" in found["tensorrt"].way_out
    assert [f.level for f in _doctor_runtimes.driver(RunConfig())] == ["ok", "ok"]
    monkeypatch.setattr(_nvidia, "read", lambda: None)
    assert [f.what for f in _doctor_runtimes.mismatches(RunConfig())] == ["one ONNX Runtime"]


def test_doctor_really_runs_a_tiny_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = {f.what: (f.level, f.found) for f in _doctor_runtimes.tried(RunConfig())}
    assert levels["runtime onnx"][0] == levels["runtime openvino"][0] == "ok" and "works" in levels["runtime onnx"][1]
    wrong = SimpleNamespace(run=lambda _: {"y": np.zeros((1, 4), np.float32)})
    monkeypatch.setattr(_choice.runtimes, "load", lambda *_: wrong)
    assert {f.level for f in _doctor_runtimes.tried(RunConfig()) if f.what in ("runtime onnx", "runtime openvino")} == {"fail"}
