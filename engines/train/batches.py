"""Batches: seeded by (seed, step, rank) alone, so a resumed run sees what an unbroken one would have seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.train import augment
from engines.train.augment import Strength, Varied
from engines.train.people import People
from engines.train.shards import Pool, Samples
from livecam.swap._lite_lines import veiled
from livecam.types import F32


@dataclass(frozen=True, slots=True)
class Ablation:
    """Inputs that are taken away, to see what they are worth: the drawing is replaced by the wearer under an empty mask; lines by black."""

    drawing: bool = False
    lines: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """x: (N, 10, S, S), what `lite` sees; wearer, truth: (N, 3, S, S) RGB; oval, occluder, emphasis: (N, 1, S, S), all float32 0..1;
    embedding: (N, 128); places, moves: (N, K, 2) float32 pixels as in Samples; a, b: (N,) int64 identities."""

    x: Tensor
    wearer: Tensor
    truth: Tensor
    oval: Tensor
    occluder: Tensor
    emphasis: Tensor
    embedding: Tensor
    places: Tensor
    moves: Tensor
    a: Tensor
    b: Tensor

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        return Batch(*(getattr(self, key).to(device, non_blocking=True) for key in self.__slots__))


def draw(pool: Pool, people: People, count: int, key: tuple[int, ...], strength: Strength, without: Ablation) -> tuple[Batch, NDArray[np.int64]]:
    """A batch for `key` (seed, step, rank) and the samples' indices. The same key and pool give the same batch."""
    rng = np.random.default_rng(key)
    indices = rng.integers(0, len(pool), count)
    varied: list[Varied] = []
    ids: list[tuple[int, int]] = []
    for index in indices:
        samples, row = pool.find(int(index))
        varied.append(augment.vary(samples, row, rng, strength))
        ids.append((int(samples.a[row]), int(samples.b[row])))
    embedding = people.embeddings([b for _, b in ids])
    embedding = embedding + rng.normal(0, strength.identity, embedding.shape).astype(np.float32)
    return _batch(varied, ids, embedding, without), indices


def all_of(samples: Samples, people: People, without: Ablation) -> Batch:
    """Samples as they are."""
    ids = [(int(a), int(b)) for a, b in zip(samples.a, samples.b, strict=True)]
    return _batch([augment.plain(samples, row) for row in range(len(samples))], ids, people.embeddings([b for _, b in ids]), without)


def _batch(varied: list[Varied], ids: list[tuple[int, int]], embedding: F32, without: Ablation) -> Batch:
    embedding = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    x = np.stack([_planes(v, without) for v in varied])
    one = {key: _unit(np.stack([getattr(v, key) for v in varied])[:, None]) for key in ("oval", "occluder", "emphasis")}
    wearer, truth = (_unit(np.stack([getattr(v, key)[..., ::-1].transpose(2, 0, 1) for v in varied])) for key in ("wearer", "truth"))
    numbers = torch.tensor(ids, dtype=torch.int64)
    shown = {key: torch.from_numpy(np.stack([getattr(v, key) for v in varied])) for key in ("places", "moves")}
    known = torch.from_numpy(embedding.astype(np.float32))
    return Batch(_unit(x), wearer, truth, **one, embedding=known, **shown, a=numbers[:, 0], b=numbers[:, 1])


def _planes(v: Varied, without: Ablation) -> NDArray[np.uint8]:
    wearer = veiled(v.wearer, v.lines)
    drawing, mask = (wearer, np.zeros_like(v.mesh_mask)) if without.drawing else (v.mesh, v.mesh_mask)
    drawn = np.zeros_like(v.lines) if without.lines else v.lines
    return np.dstack([wearer[..., ::-1], drawing[..., ::-1], mask, drawn]).transpose(2, 0, 1)


def _unit(levels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(levels)).float().div_(255.0)
