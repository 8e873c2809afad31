"""PatchGAN (Isola et al., CVPR 2017): judges overlapping patches; one step smaller than the paper's, for 128 px."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf


@dataclass(frozen=True, slots=True)
class PatchConfig:
    """width: channels of the first layer; layers: convolutions of stride 2."""

    width: int = 32
    layers: int = 3
    in_channels: int = 3


class PatchGan(nn.Module):
    """Logits (N, 1, h, w), above zero where a patch looks real, and the features of each layer, of pictures (N, 3, S, S) 0..1."""

    def __init__(self, config: PatchConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width * min(2**i, 8) for i in range(config.layers)]
        fan_ins = [config.in_channels, *widths[:-1]]
        self.stages = nn.ModuleList(nn.Conv2d(i, o, 4, stride=2, padding=1) for i, o in zip(fan_ins, widths, strict=True))
        self.last = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, picture: Tensor) -> tuple[Tensor, list[Tensor]]:
        """picture: (N, 3, S, S)."""
        x, features = picture * 2.0 - 1.0, []
        for stage in self.stages:
            x = nnf.leaky_relu(stage(x), 0.2)
            features.append(x)
        return self.last(x), features


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of the judge (Lim and Ye 2017)."""
    return torch.relu(1.0 - real).mean() + torch.relu(1.0 + fake).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    """Hinge loss of the judged."""
    return -fake.mean()


def r1_penalty(judge: PatchGan, real: Tensor) -> Tensor:
    """Half the squared gradient at real pictures (Mescheder et al., ICML 2018)."""
    real = real.detach().requires_grad_(True)
    logits, _ = judge(real)
    (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return 0.5 * gradient.square().sum(dim=(1, 2, 3)).mean()
