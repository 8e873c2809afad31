"""Generator `lite`: refines what `livecam.swap.mesh` draws, in one pass, cheap enough in INT8 for one CPU core.

    x (N, 10, S, S)          wearer RGB (veiled: see below), drawing RGB, the drawing's mask, landmark lines (3); all 0..1
      PixelUnshuffle(2), conv  ->  w at S/2          (of the 256-px tier: PixelUnshuffle(4), all at half of these sizes)
      conv stride 2            ->  2w at S/4         skip -------------------+
      conv stride 2            ->  4w at S/8         n blocks: conv, FiLM, ReLU, conv, +
      1x1, nearest x2          ->  2w at S/4         + skip, conv  <---------+
    what it gives, all zero at the start
      light  (N, 3, S/8, S/8)   from S/8: what the drawing is multiplied by, less one
      flow   (N, 2, S/4, S/4)   from S/4: where, seen from each pixel, the drawing's pixel lies, x and y, pixels at S
      change (N, 4, S/4, S/4)   from S/4: what is added to the colour (3) and to the mask
    of the 256-px tier, where these come from S/16 and S/8
      1x1, nearest x2          ->  w at S/4          + skip from the first convolution, conv
      flow, change at S/4      from that, and from flow and change at S/8 enlarged, as which they start

So both tiers' fields are as fine, seen from the picture, as the network's own pixels allow: 32 cells across of the small one, 64 of the large.

`composed` makes the picture of them; livecam's frame path has its own form of it (`livecam.swap._lite_tensor`), for drawings of any size.

    base = mask * drawing + (1 - mask) * wearer
    rgb  = base(at pixel + flow) * (1 + light) + change of colour        all enlarged bilinearly; between the lids neither light nor change
    mask = mask + its change, where that is more: what `mesh` hides stays hidden, whatever the network has learnt

Why so: what `mesh` gets wrong is mostly where a feature lies, and how the skin is lit. Moved, a feature stays as sharp as it was drawn; a network
that may repaint each pixel wipes out the old edge and paints a softer one (seen: pale brows, washed-out eyes). So detail is the drawing's, at
whatever size it was drawn, and the network's is all that varies more slowly. The heads start at zero, so an untrained network gives back the
drawing. The wearer comes blurred until no feature is left (`_lite_lines.veiled`, in training and live alike), so that nothing of the wearer's face
can be let through: with sharp pixels the network learnt first of all to give back the wearer, whose light and skin are nearest to the answer's.
Identity enters by FiLM (Perez et al., AAAI 2018): scales and shifts are inputs of the network, made by `Mapper` once per persona. No normalisation
layers (their statistics are what INT8 and FP16 get wrong), ReLU throughout (unsigned activations are what CPUs multiply fastest), full 3x3
convolutions (in INT8 about three times faster per operation than depthwise ones).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from livecam.swap._lite_lines import EYES_CHANNEL, OPENING
from livecam.swap._lite_tensor import FLOW_LIMIT

IDENTITY_LENGTH = 128
"""Length of the identity's embedding."""
LINES = 7
"""First channel of the lines in `x`."""
MASK = 3
"""Channel of the mask, after three of colour, in pictures and in `change`."""
FLOW, CHANGE = 2, 4
"""Channels of the fields."""
LARGE_STEM = 4
BILINEAR = (0.25, 0.5, 0.25)
"""A row of the kernel that makes of a field repeated twice the one enlarged bilinearly."""


@dataclass(frozen=True, slots=True)
class LiteConfig:
    """size: crop side in pixels, a multiple of 8 (of 16 with a 4x4 stem). width: channels at half size. blocks: residual blocks at an eighth.
    stem: side of the pixel block that the stem folds (2; 4 for the 256-px tier). in_channels: of `x`. hidden: of the mapper."""

    size: int = 128
    width: int = 32
    blocks: int = 4
    stem: int = 2
    in_channels: int = 10
    hidden: int = 256

    @property
    def fine(self) -> bool:
        """Whether there is the stage that gives the large tier its finer fields."""
        return self.stem == LARGE_STEM

    @property
    def film_dim(self) -> int:
        """Length of `film`: a scale and a shift for each channel of each block, and of each stage after upsampling."""
        return sum(film_lengths(self))


def film_lengths(config: LiteConfig) -> list[int]:
    """Lengths of scale, shift, scale, shift ... as they follow each other in `film`."""
    return [4 * config.width] * 2 * config.blocks + [2 * config.width] * 2 + [config.width] * 2 * config.fine


CONFIGS = {
    "lite128": LiteConfig(),
    "lite256": LiteConfig(size=256, width=48, blocks=6, stem=4),
    "tiny": LiteConfig(size=32, width=8, blocks=1, hidden=16),
    "tiny256": LiteConfig(size=64, width=12, blocks=2, stem=4, hidden=16),
}
"""Configs by name; `tiny` and `tiny256` are for tests."""


class Block(nn.Module):
    """Two 3x3 convolutions with FiLM between them and a residual around them. Starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """x: (N, C, H, W); scale, shift: (N, C, 1, 1)."""
        hidden = torch.relu(self.first(x) * scale + shift)
        return torch.relu(x + self.second(hidden))


class Up(nn.Module):
    """Twice the size: 1x1 convolution, nearest neighbour, plus the skip, 3x3 convolution with FiLM."""

    def __init__(self, fan_in: int, width: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(fan_in, width, 1)
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, skip: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """x: (N, C, H, W); skip: (N, width, 2H, 2W); scale, shift: (N, width, 1, 1)."""
        joined = torch.relu(nnf.interpolate(self.reduce(x), scale_factor=2.0, mode="nearest") + skip)
        return torch.relu(self.conv(joined) * scale + shift)


class Generator(nn.Module):
    """The convolutional part: what is exported. See the module's drawing."""

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.config = config
        self.bounds: tuple[float, float] | None = None
        """Greatest light and change of colour, where a network is to be kept from painting what it has never seen."""
        w = config.width
        self.stem = nn.Conv2d(config.in_channels * config.stem**2, w, 3, padding=1)
        self.down1 = nn.Conv2d(w, 2 * w, 3, stride=2, padding=1)
        self.down2 = nn.Conv2d(2 * w, 4 * w, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(Block(4 * w) for _ in range(config.blocks))
        self.up1 = Up(4 * w, 2 * w)
        self.flow = nn.Conv2d(2 * w, FLOW, 3, padding=1)
        self.change = nn.Conv2d(2 * w, CHANGE, 3, padding=1)
        self.light = nn.Conv2d(4 * w, 3, 1)
        for layer in (self.flow, self.change, self.light):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
        if config.fine:
            self.up2 = Up(2 * w, w)
            self.fine_flow, self.fine_change = (_fine(w, channels) for channels in (FLOW, CHANGE))

    def forward(self, x: Tensor, film: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x: (N, in_channels, S, S) float 0..1; film: (N, film_dim), scales around 1. Gives light, flow and change (see the module)."""
        films = iter(film[:, :, None, None].split(film_lengths(self.config), dim=1))
        half = torch.relu(self.stem(nnf.pixel_unshuffle(x, self.config.stem)))
        quarter = torch.relu(self.down1(half))
        deep = torch.relu(self.down2(quarter))
        for block in self.blocks:
            deep = block(deep, next(films), next(films))
        middle = self.up1(deep, quarter, next(films), next(films))
        flow, change = self.flow(middle), self.change(middle)
        if self.config.fine:
            near = self.up2(middle, half, next(films), next(films))
            flow, change = (
                layer(torch.cat([nnf.interpolate(field, scale_factor=2.0, mode="nearest"), near], dim=1))
                for layer, field in ((self.fine_flow, flow), (self.fine_change, change))
            )
        return self._bounded(self.light(deep), flow, change)

    def _bounded(self, light: Tensor, flow: Tensor, change: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.bounds is None:
            return light, flow, change
        most, greatest = self.bounds
        colour = change[:, :MASK].clamp(-greatest, greatest)
        return light.clamp(-most, most), flow, torch.cat([colour, change[:, MASK:]], dim=1)


def _fine(width: int, channels: int) -> nn.Conv2d:
    """A field at twice its size, from itself repeated and from `width` channels; at the start itself, enlarged bilinearly."""
    layer = nn.Conv2d(channels + width, channels, 3, padding=1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    row = torch.tensor(BILINEAR)
    with torch.no_grad():
        for c in range(channels):
            layer.weight[c, c] = row[:, None] * row
    return layer


def base_of(x: Tensor) -> Tensor:
    """The drawing over the veiled wearer (N, 3, S, S), as a network finds it in its input."""
    return x[:, 0:3] + x[:, 6:7] * (x[:, 3:6] - x[:, 0:3])


def composed(x: Tensor, light: Tensor, flow: Tensor, change: Tensor) -> Tensor:
    """The picture (N, 4, S, S): RGB and mask, before clamping (what losses look at, since a clamp has no gradient outside)."""
    size = x.shape[-1]
    limit = FLOW_LIMIT * size
    moved = nnf.grid_sample(base_of(x), _places(_enlarged(flow, size).clamp(-limit, limit)), "bilinear", "border", align_corners=False)
    added = _enlarged(change, size)
    skin = 1 - open_eyes(x)
    colour = moved + skin * (moved * _enlarged(light, size) + added[:, :MASK])
    return torch.cat([colour, x[:, 6:7] + torch.relu(added[:, MASK:])], dim=1)


def open_eyes(x: Tensor) -> Tensor:
    """(N, 1, S, S): `livecam.swap._lite_lines.open_eyes` of the lines in a network's input."""
    eyes = x[:, LINES + EYES_CHANNEL][:, None]
    return nnf.max_pool2d((eyes * (255.0 / OPENING)).clamp(max=1.0), 3, 1, 1)


def _enlarged(field: Tensor, size: int) -> Tensor:
    return nnf.interpolate(field, size=(size, size), mode="bilinear", align_corners=False)


def _places(flow: Tensor) -> Tensor:
    """Displacements (N, 2, S, S) in pixels as `grid_sample` wants its places: (N, S, S, 2), -1..1 between the picture's edges."""
    size = flow.shape[-1]
    along = torch.arange(size, device=flow.device, dtype=flow.dtype)
    x, y = along[None, None, :] + flow[:, 0], along[None, :, None] + flow[:, 1]
    return (torch.stack([x, y], dim=3) + 0.5) * (2.0 / size) - 1.0


class Mapper(nn.Module):
    """Embedding (N, 128) of unit length to film (N, film_dim): Linear, ReLU, Linear, plus one at the scales. Run in NumPy by livecam at `wear`."""

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.first = nn.Linear(IDENTITY_LENGTH, config.hidden)
        self.second = nn.Linear(config.hidden, config.film_dim)
        nn.init.normal_(self.first.weight, std=1.0)  # unit embeddings: each entry is about 0.09
        nn.init.normal_(self.second.weight, std=0.05 / config.hidden**0.5)
        with torch.no_grad():
            self.second.bias.copy_(_neutral(config))

    def forward(self, embedding: Tensor) -> Tensor:
        """embedding: (N, 128); film: (N, film_dim)."""
        return self.second(torch.relu(self.first(embedding)))


class Lite(nn.Module):
    """Generator and mapper: what is trained. Keys of its state: `generator.*`, `mapper.*`."""

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = Generator(config)
        self.mapper = Mapper(config)

    def forward(self, x: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """What it draws for embeddings (N, 128), see `composed`; and its flow."""
        light, flow, change = (part.float() for part in self.generator(x, self.mapper(embedding)))
        return composed(x.float(), light, flow, change), flow


def _neutral(config: LiteConfig) -> Tensor:
    """film that changes nothing: scales of one, shifts of zero."""
    return torch.cat([torch.full((length,), 1.0 - i % 2) for i, length in enumerate(film_lengths(config))])


@torch.no_grad()
def grow(small: Lite, config: LiteConfig) -> Lite:
    """A larger network that gives what `small` gives of the picture shrunk: new channels are not yet listened to, new blocks add nothing
    (Chen, Goodfellow & Shlens, Net2Net, ICLR 2016). Raises ValueError when `config` is smaller somewhere."""
    old = small.config
    smaller = any(getattr(config, key) < getattr(old, key) for key in ("width", "blocks", "stem"))
    if smaller or config.hidden != old.hidden or config.size * old.stem != old.size * config.stem:
        raise ValueError(f"expected at least the width and blocks of {old}, and its cells, found {config}")
    out = Lite(config)
    there = dict(small.generator.state_dict())
    there["stem.weight"] = _spread(there["stem.weight"], old.stem, config.stem)
    for key in ("flow.weight", "flow.bias"):
        there[key] = there[key] * (config.size / old.size)
    for name, value in out.generator.state_dict().items():
        if name in there:
            kept = there[name]
            if value.ndim == 4:
                value[: len(kept)] = 0
            value[tuple(slice(0, n) for n in kept.shape)] = kept
    _grow_mapper(small, out)
    return out


def _spread(weight: Tensor, old: int, new: int) -> Tensor:
    """A stem's kernels (C, P * old * old, 3, 3) for blocks of new * new pixels, each of which stands for its share of an old one."""
    ratio = new // old
    blocks = weight.unflatten(1, (-1, old, old))
    return (blocks.repeat_interleave(ratio, 2).repeat_interleave(ratio, 3) / ratio**2).flatten(1, 3)


def _grow_mapper(small: Lite, out: Lite) -> None:
    """Film for the channels there were, neutral for the new ones."""
    out.mapper.first.load_state_dict(small.mapper.first.state_dict())
    lengths, wanted = film_lengths(small.config), film_lengths(out.config)
    blocks = 2 * small.config.blocks
    groups = [*range(blocks), *range(2 * out.config.blocks, 2 * out.config.blocks + len(lengths) - blocks)]
    start = 0
    for length, group in zip(lengths, groups, strict=True):
        at = sum(wanted[:group])
        out.mapper.second.weight[at : at + length] = small.mapper.second.weight[start : start + length]
        out.mapper.second.bias[at : at + length] = small.mapper.second.bias[start : start + length]
        start += length
