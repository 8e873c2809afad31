"""SimSwap (Chen et al., ACM MM 2020): encoder, nine ID-blocks with AdaIN, decoder.

    picture (N, 3, S, S) RGB 0..1, identity (N, 128) of unit length  ->  rgb (N, 3, S, S) 0..1
    7x7 to w, three convolutions of stride 2 to 8w at S/8; nine blocks: conv, AdaIN, ReLU, conv, AdaIN, added; three times x2 and conv; 7x7 to 3

As the paper, but for its width: 44 instead of 64 channels at the start, so that FP16 weights stay under 48 MB. AdaIN's statistics are worked out in
float32 whatever the rest runs in: in half they overflow, which shows as noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

IDENTITY_LENGTH = 128
EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class SimswapConfig:
    """size: crop side in pixels, a multiple of 8; width: channels of the first layer; blocks: ID-blocks."""

    size: int = 128
    width: int = 44
    blocks: int = 9


CONFIGS = {
    "simswap128": SimswapConfig(),
    "simswap224": SimswapConfig(size=224),
    "simswap224-paper": SimswapConfig(size=224, width=64),
    "tiny": SimswapConfig(size=32, width=4, blocks=2),
}


class AdaIn(nn.Module):
    """Instance normalisation, then a scale and a shift from the identity (Huang and Belongie, ICCV 2017)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.style = nn.Linear(IDENTITY_LENGTH, 2 * width)
        with torch.no_grad():
            self.style.bias.copy_(torch.cat([torch.ones(width), torch.zeros(width)]))

    def forward(self, x: Tensor, identity: Tensor) -> Tensor:
        """x: (N, C, H, W); identity: (N, 128)."""
        wide = x.float()
        centred = wide - wide.mean(dim=(2, 3), keepdim=True)
        normal = centred * torch.rsqrt(centred.square().mean(dim=(2, 3), keepdim=True) + EPSILON)
        scale, shift = self.style(identity).float()[:, :, None, None].chunk(2, dim=1)
        return (normal * scale + shift).to(x.dtype)


class IdBlock(nn.Module):
    """Residual block of the identity injection module."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect") for _ in range(2))
        self.inject_first, self.inject_second = AdaIn(width), AdaIn(width)

    def forward(self, x: Tensor, identity: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        hidden = torch.relu(self.inject_first(self.first(x), identity))
        return x + self.inject_second(self.second(hidden), identity)


def _stage(fan_in: int, width: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(fan_in, width, kernel, stride=stride, padding=kernel // 2, padding_mode="reflect")
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU())


class Simswap(nn.Module):
    """See the module."""

    def __init__(self, config: SimswapConfig) -> None:
        super().__init__()
        self.config = config
        w = config.width
        self.encoder = nn.Sequential(_stage(3, w, 7), _stage(w, 2 * w, stride=2), _stage(2 * w, 4 * w, stride=2), _stage(4 * w, 8 * w, stride=2))
        self.blocks = nn.ModuleList(IdBlock(8 * w) for _ in range(config.blocks))
        self.decoder = nn.ModuleList(_stage(2 * n * w, n * w) for n in (4, 2, 1))
        self.head = nn.Conv2d(w, 3, 7, padding=3, padding_mode="reflect")

    def forward(self, picture: Tensor, identity: Tensor) -> Tensor:
        """picture: (N, 3, S, S) RGB 0..1; identity: (N, 128)."""
        x = self.encoder(picture * 2.0 - 1.0)
        for block in self.blocks:
            x = block(x, identity)
        for stage in self.decoder:
            x = stage(nnf.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False))
        return (torch.tanh(self.head(x)) + 1.0) * 0.5
