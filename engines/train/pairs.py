"""Training of a generator (`lite`, `simswap`) on rendered truth.

The loss, its weights and their sources are `Weights`. The judge (PatchGAN) enters in the last part of the run, when reconstruction has settled:
from the start it costs half as much again per step and buys nothing that truth does not say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from engines.nets.discriminator import PatchConfig, PatchGan, hinge_discriminator, hinge_generator, r1_penalty
from engines.nets.lite import MASK, Lite, LiteConfig, base_of
from engines.nets.sface import SFace, aligned
from engines.nets.simswap import Simswap, SimswapConfig
from engines.train import batches, checkpoint, losses
from engines.train.augment import Strength
from engines.train.batches import Ablation, Batch
from engines.train.errors import DivergedError
from engines.train.people import People
from engines.train.shards import Pool
from livecam.types import CropSpec

CROP = CropSpec(128, "arcface_112_v2", 0.78, (0.0, -0.06))
"""The crop of `livecam.swap.mesh` and of the training set; its size here has no meaning."""
SCAN_EVERY = 50
"""Steps between two looks for new shards."""
CLIP = 1.0
"""Greatest norm of the gradient."""
GRID_ROWS = 8


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of the losses.

    reconstruction: L1 against truth (pix2pix, Isola et al. 2017); laplacian: of its pyramid (Bojanowski et al. 2018); contrast: of local
    contrast, for sharpness (losses.contrast); mask: L1 of the mask against the oval; steepness: of lite's flow; displacement: its error at
    landmarks, pixels (losses.displacement; supervised flow: FlowNet, Dosovitskiy et al. 2015); identity: 1 - cosine of SFace against
    truth's own (SimSwap, Chen et al. 2020, gives it 10 against a reconstruction of 10; here truth says most of it already); persona: the
    same against the persona's portrait, which is SimSwap's own; feature: SFace's early features against truth's (Johnson et al. 2016);
    adversarial, matching: hinge and weak feature matching (SimSwap: 1 and 10); penalty: R1 (Mescheder et al. 2018), every `penalty_every` steps.
    Self-reconstruction (SimSwap) is a share of the samples: augment.Strength.oneself.
    """

    reconstruction: float = 1.0
    laplacian: float = 0.5
    contrast: float = 0.5
    mask: float = 0.25
    steepness: float = 0.005
    displacement: float = 0.0
    identity: float = 0.2
    persona: float = 0.2
    feature: float = 0.05
    identity_every: int = 6
    identity_count: int = 6
    adversarial: float = 0.01
    matching: float = 0.1
    penalty: float = 1.0
    penalty_every: int = 8
    judge_from: float = 0.7


@dataclass(frozen=True, slots=True)
class Options:
    """batch: samples a step and process; lr: peak of AdamW's rate; rank: this process under torchrun."""

    config: LiteConfig | SimswapConfig = field(default_factory=LiteConfig)
    weights: Weights = field(default_factory=Weights)
    strength: Strength = field(default_factory=Strength)
    without: Ablation = field(default_factory=Ablation)
    batch: int = 8
    lr: float = 1e-3
    seed: int = 1
    rank: int = 0
    device: str = "cpu"


Forward = Callable[[nn.Module, Batch], tuple[Tensor, Tensor | None]]
"""A network's output for a batch, (N, 4, S, S) colour and mask before clamping, or (N, 3, S, S) colour alone; and its flow, if it has one."""


def _refined(net: nn.Module, batch: Batch) -> tuple[Tensor, Tensor | None]:
    return net(batch.x.contiguous(memory_format=torch.channels_last), batch.embedding)  # type: ignore[no-any-return]


def _injected(net: nn.Module, batch: Batch) -> tuple[Tensor, Tensor | None]:
    return net(batch.wearer, batch.embedding), None


def _network(config: LiteConfig | SimswapConfig) -> tuple[str, nn.Module, Forward]:
    if isinstance(config, SimswapConfig):
        return "simswap", Simswap(config), _injected
    return "lite", Lite(config), _refined


class PairTask:
    """See engines.train.loop.Task."""

    def __init__(self, options: Options, pool: Pool, people: People, face: SFace | None, parallel: bool = False) -> None:
        """face: None leaves the identity loss out. parallel: under torchrun, after init_process_group."""
        torch.manual_seed(options.seed)
        self._options, self._pool, self._people = options, pool, people
        self._device = torch.device(options.device)
        self.name, model, self._forward = _network(options.config)
        self._model = model.to(self._device, memory_format=torch.channels_last)
        self._judge = PatchGan(PatchConfig()).to(self._device)
        self._face = face.to(self._device) if face else None
        self._net: nn.Module = DistributedDataParallel(self._model) if parallel else self._model
        self._judging: nn.Module = DistributedDataParallel(self._judge) if parallel else self._judge
        self.modules: dict[str, nn.Module] = {"model": self._model, "judge": self._judge}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "model": torch.optim.AdamW(self._model.parameters(), options.lr, betas=(0.9, 0.99), weight_decay=1e-4),
            "judge": torch.optim.AdamW(self._judge.parameters(), options.lr, betas=(0.5, 0.99), weight_decay=0.0),
        }
        self.peak = options.lr
        self.config = checkpoint.to_json(asdict(options.config))
        self.recipe: Mapping[str, object] = {
            "batch": options.batch, "lr": options.lr, "seed": options.seed, "losses": asdict(options.weights),
            "augmentation": asdict(options.strength), "without": asdict(options.without),
            "embedder": people.model, "samples": len(pool), "sources": "people rendered by engines.synth",
        }  # fmt: skip

    def state(self) -> dict[str, object]:
        """The shards in their order."""
        return {"shards": list(self._pool.names)}

    def step(self, step: int, progress: float) -> dict[str, float]:
        """One step of the generator, and of the judge towards the end."""
        if step % SCAN_EVERY == 0:
            self._pool.scan()
        options = self._options
        batch, indices = batches.draw(
            self._pool, self._people, options.batch, (options.seed, step, options.rank), options.strength, options.without
        )
        batch = batch.to(self._device)
        judged = options.weights.adversarial > 0 and progress >= options.weights.judge_from
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
            out, flow = self._forward(self._net, batch)
        out = out.float()
        terms = self._terms(out, batch, step)
        if flow is not None:
            terms["steepness"] = losses.steepness(flow)
            if batch.moves.shape[1]:
                terms["displacement"] = losses.displacement(flow.float(), out.shape[-1], batch.places, batch.moves)
        figures = {key: float(value.detach()) for key, value in terms.items()}
        if judged:
            terms |= self._judged(out, batch)
            figures |= {key: float(value.detach()) for key, value in terms.items()}
        total = sum((getattr(options.weights, key) * value for key, value in terms.items()), out.new_zeros(()))
        self._update("model", total, step, indices)
        if judged:
            figures["judge"] = self._teach_judge(out.detach(), batch, step, indices)
        return figures | {"total": float(total.detach()), "samples": float(len(self._pool))}

    def _terms(self, out: Tensor, batch: Batch, step: int) -> dict[str, Tensor]:
        weight = losses.weights(batch.oval, batch.occluder, batch.emphasis)
        error = out[:, 0:3] - batch.truth
        terms = {
            "reconstruction": losses.weighted(error, weight),
            "laplacian": losses.laplacian(error, weight),
            "contrast": losses.contrast(out[:, 0:3], self._sharp(batch), weight),
        }
        if out.shape[1] > MASK:
            terms["mask"] = losses.weighted(out[:, MASK : MASK + 1] - batch.oval, torch.ones_like(batch.oval))
        every = self._options.weights.identity_every
        if self._face is not None and every and step % every == 0:
            few = slice(0, self._options.weights.identity_count)
            drawn = losses.composite(out[few, 0:3].clamp(0, 1), batch.truth[few], batch.oval[few])
            found, near = self._face.with_features(aligned(drawn, CROP))
            with torch.no_grad():
                wanted, real = self._face.with_features(aligned(batch.truth[few], CROP))
            terms["identity"] = losses.identity(found, wanted)
            if self._people.model == "sface":
                terms["persona"] = losses.identity(found, batch.embedding[few])
            terms["feature"] = losses.matching(near, real)
        return terms

    def _sharp(self, batch: Batch) -> list[Tensor]:
        """Pictures than which a drawing is not to be softer: truth; for a refiner the drawing too, whose camera may have been a better one."""
        if not isinstance(self._options.config, LiteConfig):
            return [batch.truth]
        return [batch.truth, base_of(batch.x)]

    def _judged(self, out: Tensor, batch: Batch) -> dict[str, Tensor]:
        self._judge.requires_grad_(False)
        drawn = losses.composite(out[:, 0:3].clamp(0, 1), batch.truth, batch.oval)
        logits, features = self._judge(drawn)
        with torch.no_grad():
            _, real = self._judge(batch.truth)
        self._judge.requires_grad_(True)
        return {"adversarial": hinge_generator(logits), "matching": losses.matching(features[1:], real[1:])}

    def _teach_judge(self, out: Tensor, batch: Batch, step: int, indices: Any) -> float:
        weights = self._options.weights
        fake, _ = self._judging(losses.composite(out[:, 0:3].clamp(0, 1), batch.truth, batch.oval))
        real, _ = self._judging(batch.truth)
        loss = hinge_discriminator(real, fake)
        if step % weights.penalty_every == 0:
            loss = loss + weights.penalty * weights.penalty_every * r1_penalty(self._judge, batch.truth)
        self._update("judge", loss, step, indices)
        return float(loss.detach())

    def _update(self, name: str, loss: Tensor, step: int, indices: Any) -> None:
        """One step of an optimizer. Raises DivergedError before the weights are touched."""
        optimizer, module = self.optimizers[name], self.modules[name]
        if not bool(torch.isfinite(loss)):
            raise DivergedError(f"step {step}: the loss of {name} is {float(loss.detach())}, on the samples {self._pool.where(indices)}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(module.parameters(), CLIP)
        if not bool(torch.isfinite(norm)):
            raise DivergedError(f"step {step}: the gradient of {name} is not finite, on the samples {self._pool.where(indices)}")
        optimizer.step()

    @torch.no_grad()
    def checkup(self, model: nn.Module, picture: Path) -> dict[str, float]:
        """PSNR, L1, sharpness and SFace's cosine of held-out samples, of ours and of the drawing; grid: wearer, drawing, ours, truth, mask."""
        batch = batches.all_of(self._pool.held_out, self._people, self._options.without).to(self._device)
        out, flow = self._forward(model, batch)
        out = out.float().clamp(0, 1)
        seen = batch.oval * (1 - batch.occluder)
        drawing = batch.x[:, 3:6]
        figures: dict[str, float] = {}
        for name, drawn in (("", out[:, 0:3]), ("drawing_", drawing)):
            figures[f"{name}psnr"] = losses.psnr(drawn, batch.truth, seen)
            figures[f"{name}l1"] = float(losses.weighted(drawn - batch.truth, seen))
            figures[f"{name}sharpness"] = losses.sharpness(drawn, batch.truth, seen)
            if self._face is not None:
                pair = (self._face(aligned(losses.composite(p, batch.truth, batch.oval), CROP)) for p in (drawn, batch.truth))
                figures[f"{name}cosine"] = 1 - float(losses.identity(*pair))
        if flow is not None and batch.moves.shape[1]:
            still = torch.zeros_like(flow)
            for name, said in (("", flow.float()), ("drawing_", still)):
                figures[f"{name}displacement"] = float(losses.displacement(said, out.shape[-1], batch.places, batch.moves))
        mask = out[:, MASK : MASK + 1] if out.shape[1] > MASK else batch.oval
        rows = torch.cat([batch.wearer, batch.x[:, 3:6], out[:, 0:3], batch.truth, mask.expand(-1, 3, -1, -1)], dim=3)[:GRID_ROWS]
        write_grid(picture, rows)
        return figures


def read_lite(path: Path) -> tuple[Lite, dict[str, str]]:
    """Weights of `lite` and their metadata. Raises CheckpointError."""
    tensors, metadata = checkpoint.read(path, checkpoint.WEIGHTS, "lite")
    lite = Lite(LiteConfig(**json.loads(metadata["config"])))
    checkpoint.load_into(lite, tensors, path)
    return lite.eval(), metadata


def write_grid(path: Path, rows: Tensor) -> None:
    """Rows of pictures (N, 3, S, W) RGB 0..1, two beside each other, as a PNG at twice their size."""
    levels = (rows.clamp(0, 1).cpu().numpy() * 255 + 0.5).astype(np.uint8).transpose(0, 2, 3, 1)[..., ::-1]
    pairs = [np.concatenate(list(levels[i : i + 2]), axis=1) for i in range(0, len(levels) - 1, 2)] or [levels[0]]
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet = np.concatenate(pairs, axis=0)
    cv2.imwrite(str(path), cv2.resize(sheet, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC))
