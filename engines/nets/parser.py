"""Network `parser`: what each pixel of a face crop shows, and how much of it stands before the face.

    x (N, 3, 128, 128)   wearer RGB 0..1
      conv stride 2   ->  24 at 64       skip ------------------------------------+
      conv stride 2   ->  40 at 32       blocks, skip ---------------+            |
      conv stride 2   ->  64 at 16       blocks, skip ----+          |            |
      conv stride 2   -> 112 at 8        blocks           |          |            |
      1x1, nearest x2 ->  64 at 16       + skip, conv  <--+          |            |
      1x1, nearest x2 ->  40 at 32       + skip, conv  <-------------+            |
      1x1, nearest x2 ->  24 at 64       + skip, conv  <--------------------------+
      1x1 conv, 14                       10 classes at 64; 4 -> PixelShuffle(2) -> occluder at 128

A U-Net (Ronneberger et al., MICCAI 2015) with residual blocks (He et al., CVPR 2016). Full 3x3 convolutions and ReLU throughout, no
normalisation at run time: batch norms of the training are folded into the convolutions by `fold`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

CLASSES = ("background", "skin", "brows", "eyes", "mouth inside", "hair", "glasses", "occluder", "lips", "neck and clothes")
OCCLUDER_CHANNELS = 4
"""A two-by-two block of the occluder's map at full size."""


@dataclass(frozen=True, slots=True)
class ParserConfig:
    """size: side of the input in pixels, a multiple of 16. widths: channels at a half, quarter, eighth and sixteenth of it. blocks: residual
    blocks at the last three."""

    size: int = 128
    widths: tuple[int, int, int, int] = (24, 40, 64, 112)
    blocks: tuple[int, int, int] = (1, 2, 3)


CONFIGS = {"parser128": ParserConfig(), "tiny": ParserConfig(32, (8, 8, 8, 16), (0, 0, 1))}
"""Configs by name; `tiny` is for tests."""


class Conv(nn.Module):
    """3x3 (or 1x1) convolution and batch norm; what follows decides on the activation."""

    def __init__(self, fan_in: int, width: int, stride: int = 1, side: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(fan_in, width, side, stride, side // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, fan_in, H, W) -> (N, width, H / stride, W / stride)."""
        return self.norm(self.conv(x))


class Block(nn.Module):
    """Two convolutions with a residual around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = Conv(width, width), Conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, width, H, W), same out."""
        return torch.relu(x + self.second(torch.relu(self.first(x))))


class Up(nn.Module):
    """Twice the size, plus the skip, one convolution."""

    def __init__(self, fan_in: int, width: int) -> None:
        super().__init__()
        self.reduce, self.conv = Conv(fan_in, width, side=1), Conv(width, width)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """x: (N, fan_in, H, W); skip: (N, width, 2H, 2W), same out."""
        joined = torch.relu(nnf.interpolate(self.reduce(x), scale_factor=2.0, mode="nearest") + skip)
        return torch.relu(self.conv(joined))


def _blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Block(width) for _ in range(count)))


class Parser(nn.Module):
    """See the module's drawing."""

    def __init__(self, config: ParserConfig) -> None:
        super().__init__()
        self.config = config
        w2, w4, w8, w16 = config.widths
        n4, n8, n16 = config.blocks
        self.stem = Conv(3, w2, 2)
        self.down1, self.at32 = Conv(w2, w4, 2), _blocks(w4, n4)
        self.down2, self.at16 = Conv(w4, w8, 2), _blocks(w8, n8)
        self.down3, self.at8 = Conv(w8, w16, 2), _blocks(w16, n16)
        self.up3, self.up2, self.up1 = Up(w16, w8), Up(w8, w4), Up(w4, w2)
        self.head = nn.Conv2d(w2, len(CLASSES) + OCCLUDER_CHANNELS, 1)

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Classes (N, 10, S / 2, S / 2) and occluder (N, 1, S, S) before softmax and sigmoid. x: (N, 3, S, S) 0..1."""
        half = torch.relu(self.stem(x - 0.5))
        quarter = self.at32(torch.relu(self.down1(half)))
        eighth = self.at16(torch.relu(self.down2(quarter)))
        deep = self.at8(torch.relu(self.down3(eighth)))
        out = self.head(self.up1(self.up2(self.up3(deep, eighth), quarter), half))
        return out[:, : len(CLASSES)], nnf.pixel_shuffle(out[:, len(CLASSES) :], 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Classes' logits (N, 10, S / 2, S / 2), the occluder's share of each pixel (N, 1, S, S) 0..1: what is exported."""
        classes, occluder = self.logits(x)
        return classes, torch.sigmoid(occluder)


def fold(parser: Parser) -> Parser:
    """A copy for inference, its batch norms in the convolutions' weights."""
    out = copy.deepcopy(parser).eval()
    for part in out.modules():
        if isinstance(part, Conv) and isinstance(part.norm, nn.BatchNorm2d):
            part.conv = torch.nn.utils.fusion.fuse_conv_bn_eval(part.conv.eval(), part.norm.eval())
            part.norm = nn.Identity()
    return out


@torch.no_grad()
def grow(small: Parser, config: ParserConfig) -> Parser:
    """A larger parser that gives what `small` gives: new channels are not yet listened to, new blocks add nothing (Chen, Goodfellow & Shlens,
    Net2Net, ICLR 2016). Raises ValueError when `config` is smaller somewhere."""
    old = small.config
    if any(a > b for a, b in zip((*old.widths, *old.blocks), (*config.widths, *config.blocks), strict=True)):
        raise ValueError(f"expected widths and blocks of at least {old.widths} and {old.blocks}, found {config.widths} and {config.blocks}")
    out = Parser(config)
    there = small.state_dict()
    for name, part in out.named_modules():
        if isinstance(part, Block) and f"{name}.first.conv.weight" not in there:
            nn.init.zeros_(part.second.norm.weight)  # type: ignore[arg-type]
    for name, value in out.state_dict().items():
        if name in there:
            kept = there[name]
            if value.ndim == 4:
                value[: len(kept)] = 0
            value[tuple(slice(0, n) for n in kept.shape)] = kept
    return out.train(small.training)


def parameters(parser: nn.Module) -> int:
    """How many numbers it learns."""
    return sum(p.numel() for p in parser.parameters())
