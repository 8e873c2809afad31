"""What `livecam doctor` says of runtimes: driver and cards, packages that do not go together, and a tiny graph really run by each."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distributions, version

from livecam.cli._finding import FAIL, OK, WARN, Finding
from livecam.config import RunConfig
from livecam.errors import LivecamError, MissingExtraError, RuntimeAbsentError
from livecam.runtimes import _choice, _nvidia, _trt, onnx

ORT_OWNERS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
CUDA_OF = {"tensorrt-rtx-cu13": "13.0", "tensorrt-rtx-cu12": "12.9"}
"""Packages and the CUDA that the driver must serve for them."""
PLAIN = ("onnx", "openvino")
"""Runtimes without which livecam does not run."""
TENSORRT = "pip install 'livecam[tensorrt]'"


def driver(_: RunConfig) -> list[Finding]:
    """The NVIDIA driver, what CUDA it serves, and its cards."""
    try:
        found = _nvidia.read()
    except RuntimeAbsentError as error:
        return [Finding(FAIL, "NVIDIA driver", *str(error).split("; ", 1))]
    if found is None:
        return [Finding(OK, "NVIDIA driver", "none; everything runs on the CPU", "")]
    cards = [Finding(OK, "card", f"{gpu.name} ({gpu.arch}, {gpu.memory_mb} MB)") for gpu in found.gpus]
    none = [Finding(FAIL, "card", "the driver sees none", "look at its power and seat; in a container start it with --gpus all")]
    return [Finding(OK, "NVIDIA driver", f"{found.driver}, CUDA up to {found.cuda}"), *(cards or none)]


def mismatches(_: RunConfig) -> list[Finding]:
    """Packages that hurt each other, or do not fit driver or card."""
    there = frozenset(d.metadata["Name"].lower().replace("_", "-") for d in distributions() if d.metadata["Name"])
    findings: list[Finding] = []
    owners = sorted(there.intersection(ORT_OWNERS))
    if len(owners) > 1:
        way_out = f"they overwrite each other: pip uninstall {' '.join(owners)}, then install one, e.g. pip install 'onnxruntime-gpu[cuda,cudnn]'"
        findings.append(Finding(FAIL, "one ONNX Runtime", ", ".join(owners), way_out))
    try:
        found = _nvidia.read()
    except RuntimeAbsentError:
        return findings
    if found is None or not found.gpus:
        return findings
    for package, least in CUDA_OF.items():
        if package in there and _number(found.cuda) < _number(least):
            text = f"wants CUDA {least}, the driver {found.driver} serves up to {found.cuda}"
            findings.append(Finding(FAIL, package, text, "update the NVIDIA driver (580 or newer for CUDA 13)"))
    if "torch" in there and version("torch").endswith("+cpu"):
        text = f"{version('torch')} is built for the CPU, and there is a card"
        findings.append(Finding(WARN, "torch", text, "pip install --force-reinstall torch, by the command for your CUDA on pytorch.org"))
    return findings + _card_fits(found.gpus[0])


def _card_fits(gpu: _nvidia.Gpu) -> list[Finding]:
    """Whether an installed TensorRT package builds for the card."""
    try:
        _trt.choose(gpu.arch)
    except MissingExtraError:
        return [Finding(WARN, "tensorrt", "not installed, and there is a card", TENSORRT)]
    except LivecamError as error:
        return [Finding(WARN, "tensorrt", *str(error).rsplit("; ", 1))]
    return []


def tried(_: RunConfig) -> list[Finding]:
    """A tiny graph really run by each runtime, and by each provider of ONNX Runtime."""
    findings = [_tried(name) for name in _choice.ORDER]
    findings += [_tried("onnx", {"provider": name}) for name in onnx.providers() if name != onnx.CPU]
    return findings


def _tried(name: str, options: Mapping[str, object] | None = None) -> Finding:
    what = f"runtime {name}" + (f", provider {options['provider']}" if options else "")
    answer = _choice.ask(name, str((options or {}).get("provider", onnx.CPU)))
    if not answer.works:
        return Finding(FAIL if name in PLAIN else OK, what, f"not used: {answer.said}")
    try:
        _choice.try_out(name, options)
    except LivecamError as error:
        return Finding(FAIL if name in PLAIN and not options else WARN, what, str(error))
    except Exception as error:  # noqa: BLE001 - whatever a broken package throws is what the user came to see
        return Finding(FAIL, what, f"{type(error).__name__}: {error}", _reinstall(name))
    return Finding(OK, what, f"works: {answer.said}")


def _reinstall(name: str) -> str:
    try:
        return f"install it again: pip install --force-reinstall {name}=={version(name)}"
    except PackageNotFoundError:
        return "install it again"


def _number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


CHECKS = (driver, mismatches, tried)
