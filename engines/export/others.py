"""`simswap` and `identity` as ONNX files (fp32, fp16) with a card."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engines.export import cards, onnx_files
from engines.export.lite import Exported
from engines.export.onnx_files import Signature
from engines.nets import simswap
from engines.nets.identity import SIDE_PX, Identity, IdentityConfig
from engines.nets.simswap import IDENTITY_LENGTH, Simswap, SimswapConfig
from engines.train import checkpoint

PARITY = 4
RANDOM = {name: config for name, config in simswap.CONFIGS.items() if name != "tiny"}
"""Forms that are exported untrained: SimSwap, which has no weights yet."""
UNTRAINED = 0.02


class ByteInput(nn.Module):
    """A network for pictures 0..255, as livecam feeds embedders."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, data: Tensor) -> Tensor:
        """data: (N, 3, H, W) RGB 0..255."""
        return self.network(data / 255.0)


@dataclass(frozen=True, slots=True)
class _Form:
    """How a task's network is built from its config, what it takes, and what its card says."""

    build: Callable[[Mapping[str, Any]], nn.Module]
    inputs: Mapping[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    purpose: str


def _simswap(config: Mapping[str, Any]) -> _Form:
    size = int(config["size"])
    shapes = {"target": (1, 3, size, size), "source": (1, IDENTITY_LENGTH)}
    return _Form(lambda c: Simswap(SimswapConfig(**c)), shapes, ("output",), f"identity injection at {size} px (SimSwap, Chen et al. 2020)")


def _identity(config: Mapping[str, Any]) -> _Form:
    del config
    shapes = {"data": (1, 3, SIDE_PX, SIDE_PX)}
    return _Form(lambda c: ByteInput(Identity(_identity_config(c))), shapes, ("embedding",), "who a persona is (128-d, unit length)")


def _identity_config(config: Mapping[str, Any]) -> IdentityConfig:
    return IdentityConfig(tuple(config["widths"]), tuple(config["blocks"]))


FORMS: Mapping[str, Callable[[Mapping[str, Any]], _Form]] = {"simswap": _simswap, "identity": _identity}


def export(task: str, weights: Path, out: Path, card_folder: Path | None) -> Exported:
    """Write both files and, if asked for, the card. Raises CheckpointError."""
    tensors, metadata = checkpoint.read(weights, checkpoint.WEIGHTS, task)
    config = json.loads(metadata["config"])
    form = FORMS[task](config)
    network = form.build(config).eval()
    checkpoint.load_into(network.network if isinstance(network, ByteInput) else network, tensors, weights)
    exported = _write(network, form, f"{task}{config.get('size', '')}", out)
    if card_folder:
        cards.write_plain(card_folder, exported.files["fp32"].stem, exported.files["fp32"], form.purpose, form.inputs, metadata, exported.report)
    return exported


def export_random(which: str, out: Path) -> Exported:
    """A generator that was never trained (one of RANDOM), for timing. No card: it is not to be run."""
    config = asdict(RANDOM[which])
    form = _simswap(config)
    torch.manual_seed(0)
    network = form.build(config).eval()
    for parameter in network.parameters():
        if not parameter.any():  # layers that begin as nothing would hide the others
            nn.init.normal_(parameter, 0.0, UNTRAINED)
    return _write(network, form, f"{which}-random", out)


def _write(network: nn.Module, form: _Form, name: str, out: Path) -> Exported:
    out.mkdir(parents=True, exist_ok=True)
    files = {"fp32": out / f"{name}.onnx", "fp16": out / f"{name}-fp16.onnx"}
    inputs = _inputs(form)
    example = [torch.from_numpy(inputs[0][key]) for key in form.inputs]
    onnx_files.write_fp32(network, example, Signature(tuple(form.inputs), form.outputs), files["fp32"])
    onnx_files.write_fp16(files["fp32"], files["fp16"])
    wanted = [_torch(network, form, one) for one in inputs]
    models = {"fp32": files["fp32"], "fp16": onnx_files.rounded(files["fp32"])}
    report: dict[str, object] = {role: onnx_files.difference(onnx_files.run(model, inputs), wanted) for role, model in models.items()}
    return Exported(files, report)


def _inputs(form: _Form) -> list[onnx_files.Arrays]:
    rng = np.random.default_rng(0)
    out: list[onnx_files.Arrays] = []
    for _ in range(PARITY):
        arrays = {name: rng.random(shape, np.float32) for name, shape in form.inputs.items()}
        if "source" in arrays:
            arrays["source"] = arrays["source"] - 0.5
            arrays["source"] /= np.linalg.norm(arrays["source"])
        if "data" in arrays:
            arrays["data"] *= 255
        out.append(arrays)
    return out


def _torch(network: nn.Module, form: _Form, inputs: onnx_files.Arrays) -> onnx_files.Arrays:
    with torch.no_grad():
        found = network(*(torch.from_numpy(inputs[key]) for key in form.inputs))
    return dict(zip(form.outputs, (one.numpy() for one in (found if isinstance(found, tuple) else (found,))), strict=True))
