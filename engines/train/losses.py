"""Losses of the generators. Each weight stands in a config with its source; pictures are RGB 0..1, masks 0..1."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as nnf

EMPHASIS = 4.0
"""Extra weight of eyes and (by shards.MOUTH_EMPHASIS) mouth: small, and what people look at."""
HIDDEN = 0.05
"""Weight of what an occluder hides: the mask room lets the camera's picture through there, so it need not be drawn."""
OUTSIDE = 0.02
"""Weight outside the oval, where nothing is drawn: enough that it stays tame."""


def weights(oval: Tensor, occluder: Tensor, emphasis: Tensor) -> Tensor:
    """(N, 1, S, S) weight of each pixel."""
    return torch.maximum(oval * (1.0 + EMPHASIS * emphasis), torch.full_like(oval, OUTSIDE)) * (1.0 - (1.0 - HIDDEN) * occluder)


def weighted(error: Tensor, weight: Tensor) -> Tensor:
    """Mean of |error| (N, C, S, S) under a weight (N, 1, S, S)."""
    return (error.abs() * weight).sum() / (weight.sum() * error.shape[1]).clamp_min(1e-6)


def laplacian(error: Tensor, weight: Tensor, levels: int = 3) -> Tensor:
    """Mean of |error| in the bands of a Laplacian pyramid, the finest first (Bojanowski et al., ICML 2018); what makes pictures sharp.

    The pyramid is linear, so it is taken of the difference at once.
    """
    total = error.new_zeros(())
    for _ in range(levels):
        small, below = nnf.avg_pool2d(error, 2), nnf.avg_pool2d(weight, 2)
        total = total + weighted(error - _doubled(small), weight)
        error, weight = small, below
    return total


def contrast(drawn: Tensor, wanted: Sequence[Tensor], weight: Tensor, levels: int = 3) -> Tensor:
    """Local contrast (deviation of the bands of a Laplacian pyramid in windows of 9 pixels) against the highest among the pictures `wanted`: a soft
    picture costs, a sharp one that lies half a pixel beside truth does not, which no difference of pixels says."""
    total, pictures = drawn.new_zeros(()), [drawn, *wanted]
    for _ in range(levels):
        small = [nnf.avg_pool2d(p, 2) for p in pictures]
        own, *others = (_deviation(p - _doubled(s)) for p, s in zip(pictures, small, strict=True))
        highest = torch.stack(others).amax(0)
        total = total + weighted(own - highest, nnf.avg_pool2d(weight, 9, 4, 4))
        pictures, weight = small, nnf.avg_pool2d(weight, 2)
    return total


def _doubled(picture: Tensor) -> Tensor:
    return nnf.interpolate(picture, scale_factor=2.0, mode="bilinear", align_corners=False)


def _deviation(band: Tensor) -> Tensor:
    return (nnf.avg_pool2d(band.square(), 9, 4, 4) + 1e-6).sqrt()


def steepness(flow: Tensor) -> Tensor:
    """Mean difference of neighbours in a flow (N, 2, H, W): what would tear the drawing."""
    return (flow[..., :, 1:] - flow[..., :, :-1]).abs().mean() + (flow[..., 1:, :] - flow[..., :-1, :]).abs().mean()


def displacement(flow: Tensor, size: int, places: Tensor, moves: Tensor) -> Tensor:
    """Pixels by which a flow (N, 2, H, W), pixels at side `size`, misses what landmarks say: at `places` (N, K, 2) it is to be `moves` (N, K, 2).

    Huber's error (1964) with its bend at a pixel; points that are not known (NaN) are left out."""
    grid = (places + 0.5) * (2.0 / size) - 1.0
    said = nnf.grid_sample(flow, grid[:, None], "bilinear", "border", align_corners=False)[:, :, 0].transpose(1, 2)
    known = torch.isfinite(moves)
    error = nnf.smooth_l1_loss(said, torch.where(known, moves, said), reduction="sum")
    return error / known.sum().clamp_min(1)


def composite(drawn: Tensor, truth: Tensor, oval: Tensor) -> Tensor:
    """What is judged as a picture: the generator's inside the oval, the camera's (which is truth's) outside."""
    return truth + (drawn - truth) * oval


def identity(drawn: Tensor, truth: Tensor) -> Tensor:
    """1 - cosine of two embeddings (N, D) (SimSwap, eq. 5)."""
    return (1.0 - nnf.cosine_similarity(drawn, truth)).mean()


def matching(drawn: list[Tensor], real: list[Tensor]) -> Tensor:
    """Weak feature matching: mean difference of features, each relative to the real one's mean (SimSwap, eq. 8)."""
    pairs = zip(drawn, real, strict=True)
    terms = [nnf.l1_loss(d, r.detach()) / r.detach().abs().mean().clamp_min(1e-6) for d, r in pairs]
    return torch.stack(terms).mean()


def psnr(drawn: Tensor, truth: Tensor, weight: Tensor) -> float:
    """dB of (N, 3, S, S) under a weight (N, 1, S, S), mean over pictures."""
    square = ((drawn - truth).square() * weight).sum(dim=(1, 2, 3)) / (3.0 * weight.sum(dim=(1, 2, 3))).clamp_min(1e-6)
    return float((-10.0 * torch.log10(square.clamp_min(1e-8))).mean())


def sharpness(drawn: Tensor, truth: Tensor, weight: Tensor) -> float:
    """Gradient energy of the drawn picture as a share of truth's, under a weight."""
    return _gradient_energy(drawn, weight) / max(_gradient_energy(truth, weight), 1e-9)


def _gradient_energy(picture: Tensor, weight: Tensor) -> float:
    grey = picture.mean(dim=1, keepdim=True)
    across = (grey[..., :, 1:] - grey[..., :, :-1]).square() * weight[..., :, 1:]
    down = (grey[..., 1:, :] - grey[..., :-1, :]).square() * weight[..., 1:, :]
    return float(across.sum() + down.sum())
