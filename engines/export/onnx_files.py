"""A PyTorch network as ONNX: fp32, fp16 and INT8, each held to PyTorch's own output.

fp16: weights and activations in half, inputs and outputs in float; what FiLM scales and what is added to the picture stay in float.
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
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import Tensor, nn

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


def write_fp16(fp32: Path, path: Path, in_float: Sequence[str], parts_in_float: Sequence[str] = ()) -> None:
    """Half precision but for the nodes whose names begin with one of `in_float`, or have one of `parts_in_float` in them."""
    model = onnx.load(str(fp32))
    names = [node.name for node in model.graph.node]
    kept = [name for name in names if name.startswith(tuple(in_float)) or any(part in name for part in parts_in_float)]
    half = convert_float_to_float16(model, keep_io_types=True, node_block_list=kept)
    once = {node.output[0]: node for node in reversed(half.graph.node)}
    # The converter casts a tensor anew, under one name, for each node that wants it in float.
    kept_nodes = [node for node in half.graph.node if once[node.output[0]] is node]
    del half.graph.node[:]
    half.graph.node.extend(kept_nodes)
    onnx.save(half, str(path))


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


def run(path: Path, inputs: Sequence[Arrays]) -> list[Arrays]:
    """ONNX Runtime's output for each input."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return [dict(zip(names, session.run(names, one), strict=True)) for one in inputs]


def difference(found: Sequence[Arrays], wanted: Sequence[Arrays]) -> dict[str, dict[str, float]]:
    """Per output: greatest absolute difference and PSNR in dB for a peak of 1."""
    out: dict[str, dict[str, float]] = {}
    for name in wanted[0]:
        error = np.stack([f[name].astype(np.float64) - w[name] for f, w in zip(found, wanted, strict=True)])
        out[name] = {"max_abs": float(np.abs(error).max()), "psnr_db": float(-10 * np.log10(max(float(np.square(error).mean()), 1e-12)))}
    return out
