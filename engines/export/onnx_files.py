"""A PyTorch network as ONNX: fp32, fp16 and INT8, each held to PyTorch's own output.

fp16: weights and activations in half, inputs and outputs in float; what FiLM and AdaIN scale stays in float (livecam/runtimes/_half.py).
INT8: NNCF's post-training quantisation (QDQ), weights per channel, with seven bits in use: without VNNI, AVX2's multiply-add saturates at eight.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from livecam.runtimes import _graph, _half

Arrays = dict[str, NDArray[np.float32]]
OPSET = 17


@dataclass(frozen=True, slots=True)
class Signature:
    """Names of inputs and outputs, in the order of the network's arguments and results."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def write_fp32(network: nn.Module, example: Sequence[Tensor], signature: Signature, path: Path) -> None:
    """`network` traced at the example's shapes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the new exporter writes convolutions that OpenVINO fuses less well
        torch.onnx.export(
            network.eval(), tuple(example), str(path), dynamo=False, opset_version=OPSET, input_names=list(signature.inputs),
            output_names=list(signature.outputs),
        )  # fmt: skip
    onnx.checker.check_model(str(path))


def write_fp16(fp32: Path, path: Path) -> None:
    """Half precision as livecam's own GPU runtimes make it (livecam/runtimes/_half.py)."""
    onnx.save(_half.halved(_graph.ready(fp32.read_bytes(), str(fp32))), str(path))


def rounded(fp32: Path) -> bytes:
    """The arithmetic of `write_fp16` in a float graph, to be measured: ONNX Runtime's CPU runs a half graph in float and rounds nothing."""
    return _half.emulated(_graph.ready(fp32.read_bytes(), str(fp32))).SerializeToString()


def write_int8(fp32: Path, path: Path, calibration: Sequence[Arrays], in_float: Sequence[str]) -> None:
    """Quantised, but for the nodes whose names match one of the regular expressions `in_float`; ranges from `calibration`."""
    logging.getLogger("nncf").setLevel(logging.ERROR)
    quantised: Any = nncf.quantize(
        onnx.load(str(fp32)),
        nncf.Dataset(calibration),
        subset_size=len(calibration),
        preset=nncf.QuantizationPreset.MIXED,
        target_device=nncf.TargetDevice.CPU,
        ignored_scope=nncf.IgnoredScope(patterns=list(in_float), validate=False),
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
    )
    onnx.save(quantised, str(path))


def run(model: Path | bytes, inputs: Sequence[Arrays]) -> list[Arrays]:
    """ONNX Runtime's output for each input."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model if isinstance(model, bytes) else str(model), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return [dict(zip(names, session.run(names, one), strict=True)) for one in inputs]


def difference(found: Sequence[Arrays], wanted: Sequence[Arrays]) -> dict[str, dict[str, float]]:
    """Per output: greatest absolute difference and PSNR in dB for a peak of 1."""
    out: dict[str, dict[str, float]] = {}
    for name in wanted[0]:
        error = np.stack([f[name].astype(np.float64) - w[name] for f, w in zip(found, wanted, strict=True)])
        out[name] = {"max_abs": float(np.abs(error).max()), "psnr_db": float(-10 * np.log10(max(float(np.square(error).mean()), 1e-12)))}
    return out
