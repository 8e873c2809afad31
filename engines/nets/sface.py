"""SFace (Zhong et al., IEEE TIP 2021) in PyTorch, with gradients, from the ONNX file of livecam's card `sface`.

A straight chain of convolutions, normalisations (folded into them where they follow one), PReLUs and a last linear layer; read from the file's own
graph, so nothing of it is repeated here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as nnf

from livecam.runtimes import _fold
from livecam.types import CropSpec

SIDE_PX = 112
IGNORED = frozenset({"Constant", "Dropout"})
FEATURES = (3, 7)
"""After which convolutions of stride 2 or PReLUs features are taken for `features` (counted in PReLUs)."""


class SFace(nn.Module):
    """Embedding (N, 128), not normalised, of pictures (N, 3, 112, 112) RGB 0..1. Frozen."""

    def __init__(self, path: Path) -> None:
        """path: the card's file. Raises ValueError when the graph has other operators."""
        super().__init__()
        model = onnx.load_from_string(_fold.fold_dequantize(path.read_bytes()))
        values = {t.name: torch.from_numpy(np.array(numpy_helper.to_array(t), np.float32)) for t in model.graph.initializer}
        layers: list[nn.Module] = []
        for node in model.graph.node:
            if node.op_type not in IGNORED:
                _append(layers, node, values)
        self.layers = nn.Sequential(*layers)
        self.requires_grad_(False)
        self.eval()

    def forward(self, picture: Tensor) -> Tensor:
        """picture: (N, 3, 112, 112) RGB 0..1; (N, 128)."""
        return self.layers(picture * 255.0)

    def with_features(self, picture: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The embedding and the features after FEATURES."""
        x, found, count = picture * 255.0, [], 0
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, nn.PReLU):
                count += 1
                if count in FEATURES:
                    found.append(x)
        return x, found


class _Affine(nn.Module):
    """x * scale + shift."""

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, x: Tensor) -> Tensor:
        shape = [1, -1] + [1] * (x.dim() - 2)
        return x * self.scale.view(shape) + self.shift.view(shape)


def _append(layers: list[nn.Module], node: onnx.NodeProto, values: dict[str, Tensor]) -> None:
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    given = [values[name] for name in node.input[1:] if name in values]
    makers: dict[str, Callable[[], nn.Module]] = {
        "Sub": lambda: _Affine(torch.ones(1), -given[0].reshape(1)),
        "Mul": lambda: _Affine(given[0].reshape(1), torch.zeros(1)),
        "Conv": lambda: _conv(attributes, given),
        "PRelu": lambda: _prelu(given[0]),
        "Flatten": nn.Flatten,
        "Gemm": lambda: _linear(given),
    }
    if node.op_type == "BatchNormalization":
        _normalise(layers, float(attributes["epsilon"]), given)
    elif node.op_type in makers:
        layers.append(makers[node.op_type]())
    else:
        raise ValueError(f"expected SFace's operators ({', '.join(makers)}, BatchNormalization), found {node.op_type}; is this the card's file?")


def _conv(attributes: dict[str, object], given: list[Tensor]) -> nn.Conv2d:
    weight = given[0]
    strides, pads, group = attributes["strides"], attributes["pads"], attributes["group"]
    assert isinstance(strides, list) and isinstance(pads, list) and isinstance(group, int)
    kernel = (weight.shape[2], weight.shape[3])
    layer = nn.Conv2d(weight.shape[1] * group, weight.shape[0], kernel, strides[0], pads[0], groups=group)
    layer.weight.data.copy_(weight)
    assert layer.bias is not None
    layer.bias.data.copy_(given[1] if len(given) > 1 else torch.zeros(weight.shape[0]))
    return layer


def _prelu(slope: Tensor) -> nn.PReLU:
    layer = nn.PReLU(slope.numel())
    layer.weight.data.copy_(slope.reshape(-1))
    return layer


def _linear(given: list[Tensor]) -> nn.Linear:
    layer = nn.Linear(given[0].shape[1], given[0].shape[0])
    layer.weight.data.copy_(given[0])
    layer.bias.data.copy_(given[1])
    return layer


def _normalise(layers: list[nn.Module], epsilon: float, given: list[Tensor]) -> None:
    """Batch normalisation with its stored statistics: into the convolution or linear layer before it, else as a scale and a shift."""
    gamma, beta, mean, variance = given
    scale = gamma / torch.sqrt(variance + epsilon)
    before = layers[-1] if layers else None
    if isinstance(before, nn.Conv2d | nn.Linear):
        before.weight.data.mul_(scale.view([-1] + [1] * (before.weight.dim() - 1)))
        before.bias.data.copy_((before.bias.data - mean) * scale + beta)
    else:
        layers.append(_Affine(scale, beta - mean * scale))


def aligned(pictures: Tensor, crop: CropSpec) -> Tensor:
    """Crops of the generator (N, 3, S, S) as ArcFace's 112-px crops, differentiable.

    Convention: as livecam.align.arcface: in shares of the side, template = (crop - 0.5 - offset) / scale + 0.5; grid_sample runs over -1..1.
    """
    x, y = crop.offset
    matrix = torch.tensor([[crop.scale, 0.0, 2.0 * x], [0.0, crop.scale, 2.0 * y]], dtype=pictures.dtype, device=pictures.device)
    grid = nnf.affine_grid(matrix.expand(len(pictures), 2, 3), [len(pictures), 3, SIDE_PX, SIDE_PX], align_corners=False)
    shrink = pictures.shape[-1] * crop.scale / SIDE_PX
    if shrink >= 1.5:
        pictures = nnf.avg_pool2d(pictures, round(shrink))
    return nnf.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)
