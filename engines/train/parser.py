"""Train the parser: python -m engines.train.parser --data DIR --out DIR [--held DIR] [--minutes M] [--steps N].

Goes on where the checkpoint in --out stands: the same weights, optimiser and batches as if it had never stopped (a batch depends on seed and
step alone). Writes checkpoint.safetensors, log.jsonl and a sheet of masks. A loss that is not finite stops the run; the last good checkpoint stays.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as nnf

from engines.nets.parser import CLASSES, CONFIGS, Parser, ParserConfig
from engines.train import _parser_data as data

CLASS_WEIGHT, DICE_WEIGHT = 0.35, 0.5
"""Of the classes' cross entropy and the occluder's soft Dice loss (Milletari et al., 3DV 2016), beside its binary cross entropy."""
RARE = {2: 2.0, 3: 2.0, 4: 2.0, 6: 2.0, 8: 1.5}
"""Classes of few pixels count more."""
EMA = 0.998
WARM_STEPS = 100
EVALUATE_EVERY = 500


class TrainingError(RuntimeError):
    """A checkpoint does not fit, or the loss is not finite; the message tells the way out."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that a run depends on. steps: at which the learning rate reaches zero; pool: occluders drawn before the start."""

    config: str = "parser128"
    batch: int = 16
    steps: int = 5000
    rate: float = 2e-3
    decay: float = 1e-4
    extra: float = 0.6
    pool: int = 1400
    seed: int = 1


class State:
    """What a checkpoint holds: network, averaged network, optimiser, step, seconds trained."""

    def __init__(self, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.config: ParserConfig = CONFIGS[recipe.config]
        self.net, self.mean = Parser(self.config), Parser(self.config)
        self.mean.load_state_dict(self.net.state_dict())
        self.optimiser = torch.optim.AdamW(self.net.parameters(), recipe.rate, weight_decay=recipe.decay)
        self.step, self.seconds = 0, 0.0

    def save(self, path: Path) -> None:
        """Write all of it; the file before is replaced only when the new one is whole. Raises OSError (full disk)."""
        tensors: dict[str, Tensor] = {}
        for prefix, net in (("net", self.net), ("mean", self.mean)):
            tensors |= {f"{prefix}.{k}": v.detach().clone().contiguous() for k, v in net.state_dict().items()}
        for number, held in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{number}.{k}": v.detach().clone() for k, v in held.items()}
        about = {"recipe": json.dumps(asdict(self.recipe)), "config": json.dumps(asdict(self.config)), "step": str(self.step),
                 "seconds": f"{self.seconds:.1f}", "kind": "livecam-parser"}
        part = path.with_suffix(".part")
        save_file(tensors, str(part), about)
        part.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint. Raises TrainingError when it is damaged or of another architecture or recipe."""
        about, tensors = read_checkpoint(path)
        if json.loads(about.get("config", "{}")) != json.loads(json.dumps(asdict(self.config))):
            raise TrainingError(f"expected a checkpoint of {asdict(self.config)} in {path}, found {about.get('config')}; name another --out")
        for prefix, net in (("net", self.net), ("mean", self.mean)):
            net.load_state_dict({k.removeprefix(f"{prefix}."): v for k, v in tensors.items() if k.startswith(f"{prefix}.")})
        state = self.optimiser.state_dict()
        held: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("adam."):
                _, number, name = key.split(".")
                held.setdefault(int(number), {})[name] = value
        state["state"] = held
        self.optimiser.load_state_dict(state)
        self.step, self.seconds = int(about["step"]), float(about["seconds"])


def read_checkpoint(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a checkpoint. Raises TrainingError when it cannot be read."""
    try:
        with safe_open(str(path), "pt") as file:
            about = file.metadata() or {}
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 - not a dict
    except Exception as error:
        raise TrainingError(f"expected a checkpoint in {path}, found a damaged file: {error}; delete it or name another --out") from error
    if about.get("kind") != "livecam-parser":
        raise TrainingError(f"expected a parser's checkpoint in {path}, found {about.get('kind', 'another file')}; name another --out")
    return about, tensors


def losses(net: Parser, x: Tensor, classes: Tensor, cover: Tensor) -> dict[str, Tensor]:
    """Loss parts: occluder (binary cross entropy), dice, classes."""
    logits, occluder = net.logits(x)
    weights = torch.ones(len(CLASSES))
    for index, weight in RARE.items():
        weights[index] = weight
    seen = torch.sigmoid(occluder)
    both = (seen * cover).sum((1, 2, 3))
    dice = 1 - (2 * both + 20) / (seen.sum((1, 2, 3)) + cover.sum((1, 2, 3)) + 20)
    return {"occluder": nnf.binary_cross_entropy_with_logits(occluder, cover), "dice": dice.mean(),
            "classes": nnf.cross_entropy(logits, classes, weights)}


def rate_at(recipe: Recipe, step: int) -> float:
    """Learning rate: a short rise, then half a cosine down to zero at `steps`."""
    rise = min(1.0, (step + 1) / WARM_STEPS)
    return recipe.rate * rise * max(0.5 * (1 + math.cos(math.pi * min(step / max(recipe.steps, 1), 1.0))), 0.002)


def train_step(state: State, samples: data.Samples, pool: data.Pool) -> dict[str, float]:
    """One batch. Raises TrainingError when the loss is not finite; the network is then as before."""
    recipe = state.recipe
    rng = np.random.default_rng([recipe.seed, 3, state.step])
    x, classes, cover = data.make_batch(samples, pool, rng, recipe.batch, state.config.size, data.Change(recipe.extra))
    for group in state.optimiser.param_groups:
        group["lr"] = rate_at(recipe, state.step)
    state.net.train()
    parts = losses(state.net, torch.from_numpy(x), torch.from_numpy(classes), torch.from_numpy(cover))
    total = parts["occluder"] + DICE_WEIGHT * parts["dice"] + CLASS_WEIGHT * parts["classes"]
    if not torch.isfinite(total):
        raise TrainingError(f"expected a finite loss, found {float(total)} at step {state.step}; the last good checkpoint is kept: lower --rate")
    state.optimiser.zero_grad(set_to_none=True)
    total.backward()
    torch.nn.utils.clip_grad_norm_(state.net.parameters(), 2.0)
    state.optimiser.step()
    state.step += 1
    keep = min(EMA, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        for mean, now in zip(state.mean.state_dict().values(), state.net.state_dict().values(), strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(now, 1 - keep)
            else:
                mean.copy_(now)
    return {k: float(v.detach()) for k, v in parts.items()} | {"loss": float(total.detach())}


@torch.no_grad()
def evaluate(net: Parser, samples: data.Samples, pool: data.Pool, count: int, extra: float, seed: int = 99) -> dict[str, float]:
    """On samples as they are, `extra` of them with an occluder of `pool`: IoU of the occluder over all pixels (threshold one half), over
    pictures with at least 1 % of it, IoU of the classes' mean, and the share of pixels opened for nothing in pictures without any."""
    net.eval()
    hit = union = 0.0
    each: list[float] = []
    false: list[float] = []
    table = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    change = data.Change(extra, 0.0)
    for k in range(0, count, 16):
        x, classes, cover = data.make_batch(samples, pool, np.random.default_rng([seed, k]), min(16, count - k), net.config.size, change)
        logits, seen = net(torch.from_numpy(x))
        found, truth = seen.numpy()[:, 0] >= 0.5, cover[:, 0] >= 0.5
        hit, union = hit + float((found & truth).sum()), union + float((found | truth).sum())
        for f, t in zip(found, truth, strict=True):
            if t.mean() >= 0.01:
                each.append(float((f & t).sum() / max((f | t).sum(), 1)))
            elif not t.any():
                false.append(float(f.mean()))
        np.add.at(table, (classes.ravel(), logits.argmax(1).numpy().ravel()), 1)
    there = table.sum(1) > 0
    per_class = np.diag(table) / np.maximum(table.sum(0) + table.sum(1) - np.diag(table), 1)
    out = {"iou": hit / max(union, 1.0), "iou_each": float(np.mean(each)) if each else 0.0, "classes_iou": float(per_class[there].mean()),
           "opened_for_nothing": float(np.mean(false)) if false else 0.0, "worst_opened": float(np.max(false)) if false else 0.0}
    return out | {f"iou_{name}": float(v) for name, v, seen_at_all in zip(CLASSES, per_class, there, strict=True) if seen_at_all}


@torch.no_grad()
def draw_sheet(net: Parser, samples: data.Samples, pool: data.Pool, path: Path, count: int = 32, degree: float = 0.5) -> None:
    """Inputs with what the parser takes for an occluder in red, its edge in truth in green."""
    net.eval()
    x, _, cover = data.make_batch(samples, pool, np.random.default_rng(5), count, net.config.size, data.Change(0.7, degree))
    _, seen = net(torch.from_numpy(x))
    tiles = []
    for picture, found, truth in zip(x, seen.numpy()[:, 0], cover[:, 0], strict=True):
        image = np.ascontiguousarray(picture.transpose(1, 2, 0)[..., ::-1] * 255)
        image[..., 2] += (255 - image[..., 2]) * 0.55 * found
        edges, _ = cv2.findContours((truth >= 0.5).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        tiles.append(cv2.drawContours(image.astype(np.uint8), edges, -1, (0, 255, 0), 1))
    rows = [np.hstack(tiles[k:k + 8]) for k in range(0, len(tiles) // 8 * 8, 8)]
    cv2.imwrite(str(path), np.vstack(rows))


def log(path: Path, line: Mapping[str, Any]) -> None:
    """Append one JSON line; numbers with five digits."""
    short = {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in line.items()}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(short) + "\n")


def run(args: argparse.Namespace) -> State:
    """Train for --minutes or up to --steps. Raises TrainingError, DataError."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    shards = sorted(args.data.glob("pairs-*.npz"))
    held = sorted(args.held.glob("pairs-*.npz")) if args.held else shards[-1:]
    shards = shards if args.held else shards[:-1] or shards
    recipe = Recipe(args.config, args.batch, args.steps, args.rate, pool=args.pool, seed=args.seed)
    state = State(recipe)
    checkpoint = out / "checkpoint.safetensors"
    if checkpoint.exists():
        state.load(checkpoint)
    samples, judged = data.read_shards(shards, args.most), data.read_shards(held, 512)
    pool = data.make_pool(recipe.pool, recipe.seed, data.standard_five())
    unseen = data.make_pool(max(recipe.pool // 6, 8), recipe.seed + 1000, data.standard_five())
    log(out / "log.jsonl", {"start": state.step, "samples": len(samples), "held": len(judged), **asdict(recipe)})
    end = time.monotonic() + args.minutes * 60
    sums: dict[str, float] = {}
    while state.step < recipe.steps and time.monotonic() < end:
        begin = time.monotonic()
        for name, value in train_step(state, samples, pool).items():
            sums[name] = sums.get(name, 0.0) + value / 50
        state.seconds += time.monotonic() - begin
        if state.step % 50 == 0:
            log(out / "log.jsonl", {"step": state.step, **sums, "rate": rate_at(recipe, state.step), "seconds": round(state.seconds, 1)})
            sums = {}
        if state.step % EVALUATE_EVERY == 0:
            _look(state, judged, unseen, out)
    _look(state, judged, unseen, out)
    return state


def _look(state: State, judged: data.Samples, unseen: data.Pool, out: Path) -> None:
    found = evaluate(state.mean, judged, unseen, 256, 0.6)
    log(out / "log.jsonl", {"step": state.step, "held": found})
    draw_sheet(state.mean, judged, unseen, out / "sheet.png")
    state.save(out / "checkpoint.safetensors")


def main(argv: list[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(prog="engines.train.parser", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="folder of pairs-*.npz")
    parser.add_argument("--held", type=Path, help="folder of held-out pairs-*.npz; without it the last shard of --data is held out")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint, log and sheet")
    parser.add_argument("--config", choices=sorted(CONFIGS), default="parser128")
    parser.add_argument("--minutes", type=float, default=10.0)
    for name, kind in (("batch", int), ("steps", int), ("rate", float), ("pool", int), ("seed", int)):
        parser.add_argument(f"--{name}", type=kind, default=getattr(Recipe(), name))
    parser.add_argument("--most", type=int, default=0, help="samples read at the most (0: all)")
    try:
        state = run(parser.parse_args(argv))
    except (TrainingError, data.DataError, OSError) as error:
        print(f"train parser: {error}", file=sys.stderr)
        return 2
    print(f"step {state.step} of {state.recipe.steps}, {state.seconds / 60:.1f} minutes of training")
    return 0


if __name__ == "__main__":
    sys.exit(main())
