"""Training of the embedder on rendered people: SFace's judgement distilled, and people told apart.

A batch holds the same personas several times, in other scenes, so that the contrast has something to compare: half of it is drawn at random, the
other half from the same personas again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from engines.nets.identity import Identity, IdentityConfig
from engines.nets.sface import SFace, aligned
from engines.train import augment, checkpoint
from engines.train.augment import Strength
from engines.train.errors import DivergedError
from engines.train.pairs import CLIP, CROP, SCAN_EVERY, write_grid
from engines.train.shards import Pool


@dataclass(frozen=True, slots=True)
class IdentityWeights:
    """distil: 1 - cosine to SFace's embedding of the same crop (Hinton et al. 2015); contrast: supervised contrastive (Khosla et al., NeurIPS 2020)
    at `temperature`."""

    distil: float = 1.0
    contrast: float = 0.1
    temperature: float = 0.1


@dataclass(frozen=True, slots=True)
class IdentityOptions:
    """As engines.train.pairs.Options."""

    config: IdentityConfig = field(default_factory=IdentityConfig)
    weights: IdentityWeights = field(default_factory=IdentityWeights)
    strength: Strength = field(default_factory=Strength)
    batch: int = 32
    lr: float = 1e-3
    seed: int = 1
    rank: int = 0
    device: str = "cpu"


class IdentityTask:
    """See engines.train.loop.Task."""

    name = "identity"

    def __init__(self, options: IdentityOptions, pool: Pool, face: SFace) -> None:
        torch.manual_seed(options.seed)
        self._options, self._pool = options, pool
        self._device = torch.device(options.device)
        self._net, self._face = Identity(options.config).to(self._device), face.to(self._device)
        self._same: defaultdict[int, list[int]] = defaultdict(list)
        self._known = 0
        self.modules: dict[str, nn.Module] = {"model": self._net}
        self.optimizers: dict[str, torch.optim.Optimizer] = {"model": torch.optim.AdamW(self._net.parameters(), options.lr, weight_decay=0.01)}
        self.peak = options.lr
        self.config = checkpoint.to_json(asdict(options.config))
        self.recipe: Mapping[str, object] = {
            "batch": options.batch, "lr": options.lr, "seed": options.seed, "losses": asdict(options.weights), "samples": len(pool),
            "teacher": "sface", "sources": "people rendered by engines.synth",
        }  # fmt: skip

    def state(self) -> dict[str, object]:
        """The shards in their order."""
        return {"shards": list(self._pool.names)}

    def step(self, step: int, progress: float) -> dict[str, float]:
        """One step."""
        del progress
        if step % SCAN_EVERY == 0:
            self._pool.scan()
        crops, people = self._batch(np.random.default_rng((self._options.seed, step, self._options.rank)))
        self._net.train()
        found = self._net(crops)
        weights = self._options.weights
        distil = 1 - (found * self._taught(crops)).sum(dim=1).mean()
        terms = {"distil": distil, "contrast": contrastive(found, people, weights.temperature)}
        total = sum((getattr(weights, key) * value for key, value in terms.items()), found.new_zeros(()))
        if not bool(torch.isfinite(total)):
            raise DivergedError(f"step {step}: the loss is {float(total.detach())}")
        self.optimizers["model"].zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self._net.parameters(), CLIP)
        self.optimizers["model"].step()
        return {key: float(value.detach()) for key, value in terms.items()}

    def _taught(self, crops: Tensor) -> Tensor:
        with torch.no_grad():
            return nnf.normalize(self._face(crops), dim=1)

    def _batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Crops (N, 3, 112, 112) and persona numbers (N,)."""
        self._index()
        half = rng.integers(0, len(self._pool), self._options.batch // 2).tolist()
        again = [int(rng.choice(self._same[self._persona(i)])) for i in half]
        pictures, people = [], []
        for index in half + again:
            samples, row = self._pool.find(index)
            varied = augment.vary(samples, row, rng, self._options.strength)
            pictures.append(np.ascontiguousarray(varied.truth[..., ::-1].transpose(2, 0, 1)))
            people.append(int(samples.b[row]))
        return self._crops(np.stack(pictures)), torch.tensor(people, device=self._device)

    def _crops(self, levels: np.ndarray) -> Tensor:
        return aligned(torch.from_numpy(levels).to(self._device).float() / 255, CROP)

    def _persona(self, index: int) -> int:
        samples, row = self._pool.find(index)
        return int(samples.b[row])

    def _index(self) -> None:
        """Where each persona is found, for shards that are new."""
        for index in range(self._known, len(self._pool)):
            self._same[self._persona(index)].append(index)
        self._known = len(self._pool)

    @torch.no_grad()
    def checkup(self, model: nn.Module, picture: Path) -> dict[str, float]:
        """Cosine to SFace on held-out samples, and how often the nearest other crop is the same persona's; their crops as a picture."""
        model.eval()
        held = self._pool.held_out
        crops = self._crops(np.ascontiguousarray(held.truth[..., ::-1].transpose(0, 3, 1, 2)))
        found, taught = model(crops), self._taught(crops)
        near = found @ found.T - 2 * torch.eye(len(found), device=found.device)
        people = torch.from_numpy(held.b.astype(np.int64)).to(found.device)
        several = (people[:, None] == people).sum(dim=1) > 1
        right = (people[near.argmax(dim=1)] == people)[several].float()
        write_grid(picture, crops)
        return {"cosine": float((found * taught).sum(dim=1).mean()), "nearest": float(right.mean()) if len(right) else 0.0}


def contrastive(found: Tensor, people: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss of unit embeddings (N, D) with labels (N,)."""
    others = ~torch.eye(len(found), dtype=torch.bool, device=found.device)
    logits = (found @ found.T / temperature).masked_fill(~others, -1e9)
    same = (people[:, None] == people) & others
    gain = logits - torch.logsumexp(logits, dim=1, keepdim=True)
    return -(gain * same).sum() / same.sum().clamp_min(1)
