"""Embedder: who is it, in 128 numbers of unit length.

    picture (N, 3, 112, 112) RGB 0..1, aligned to ArcFace's template  ->  (N, 128)
    conv stride 2; three stages of stride 2 with residual blocks; depthwise 7x7 over what is left (MobileFaceNet, Chen et al. 2018); linear

Batch normalisation folds into the convolutions at export. It learns to say what SFace says, and to tell rendered people apart whatever their
expression, light and pose, so personas' embeddings of either are near each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

LENGTH = 128
SIDE_PX = 112


@dataclass(frozen=True, slots=True)
class IdentityConfig:
    """widths: channels of the stem and the three stages; blocks: residual blocks a stage."""

    widths: tuple[int, int, int, int] = (24, 48, 80, 136)
    blocks: tuple[int, int, int] = (1, 2, 2)


CONFIGS = {"identity": IdentityConfig(), "tiny": IdentityConfig((4, 4, 8, 8), (1, 0, 0))}


def _conv(fan_in: int, width: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(fan_in, width, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(width))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _conv(width, width), _conv(width, width)
        self.slope = nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(self.slope(self.first(x))))


class Identity(nn.Module):
    """See the module."""

    def __init__(self, config: IdentityConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = [_conv(3, config.widths[0], stride=2), nn.PReLU(config.widths[0])]
        for fan_in, width, count in zip(config.widths, config.widths[1:], config.blocks, strict=False):
            layers += [_conv(fan_in, width, stride=2), nn.PReLU(width), *(_Residual(width) for _ in range(count))]
        last = config.widths[-1]
        self.trunk = nn.Sequential(*layers)
        self.gather = nn.Conv2d(last, last, SIDE_PX // 16, groups=last, bias=False)
        self.normal = nn.BatchNorm1d(last)
        self.last = nn.Linear(last, LENGTH)

    def forward(self, picture: Tensor) -> Tensor:
        """picture: (N, 3, 112, 112) RGB 0..1."""
        x = self.gather(self.trunk(picture * 2.0 - 1.0)).flatten(1)
        return nnf.normalize(self.last(self.normal(x)), dim=1)
