"""Training of the parser on rendered pairs, with more things before the face.

    python -m engines train parser --data DIR --out DIR [--held DIR] [--photos DIR] [--minutes M | --steps N] [--resume]

Renders alone do not teach what a photo's wrinkles, beards and glasses are not; photos with drawn things before them do (Recipe.photos). The
first PHOTOS_HELD of them are not trained on: on them is judged what is opened for nothing. A batch depends on the seed and the step alone. CPU,
one thread by default.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from engines.nets.parser import CLASSES, CONFIGS, Parser, ParserConfig, grow
from engines.train import _parser_data as data
from engines.train import checkpoint
from engines.train.errors import DataError, DivergedError, TrainingError
from engines.train.loop import LAST, Plan, train

COVER_WEIGHT, CLASS_WEIGHT, DICE_WEIGHT = 2.0, 0.15, 1.0
"""Of the occluder's binary cross entropy, the classes' cross entropy and the occluder's soft Dice loss (Milletari et al., 3DV 2016)."""
OUTSIDE = 0.15
"""Weight of pixels outside the zone in which a generator draws: what is opened there changes nothing."""
RARE = {2: 2.0, 3: 2.0, 4: 2.0, 6: 2.0, 8: 1.5}
"""Classes of few pixels count more."""
DICE_FLOOR = 20.0
"""Pixels added to both sides, so that a picture without an occluder is no division by nothing."""
CLIP = 2.0
SCAN_EVERY = 100
"""Steps between two looks for new shards."""
JUDGED = 256
"""Held-out pictures looked at in a checkup."""
PHOTOS_HELD = 220
"""Photos, first in order of their names, that are only judged by."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a run depends on besides its data. extra: share of samples that get one more occluder; pool: occluders drawn at the start;
    photos: share of the batches that are of photos, when there are some."""

    batch: int = 8
    lr: float = 2e-3
    decay: float = 1e-4
    extra: float = 0.6
    pool: int = 1400
    seed: int = 1
    photos: float = 0.45


class Shards:
    """The training set, which may grow while it is trained on, and the samples to judge by."""

    def __init__(self, folder: Path, held: Path | None, first: Sequence[str] = (), photos: Path | None = None) -> None:
        """held: folder of held-out shards; without it the first shard of `folder`. first: names to begin with, in this order (a resumed
        run). photos: folder of pictures of people who do not exist. Raises DataError."""
        self.photos = self.judged_photos = None
        if photos:
            pictures = sorted(p for p in photos.glob("*") if p.suffix.lower() in (".jpg", ".png"))
            if len(pictures) <= PHOTOS_HELD:
                raise DataError(f"expected more than {PHOTOS_HELD} pictures (.jpg, .png) in {photos}, found {len(pictures)}; name another --photos")
            self.photos, self.judged_photos = data.read_photos(pictures[PHOTOS_HELD:]), data.read_photos(pictures[:PHOTOS_HELD])
        self._folder = folder
        judged = sorted((held or folder).glob("pairs-*.npz"))[: None if held else 1]
        self._not = {path.resolve() for path in judged}
        self.judged = data.read_shards(judged, 2 * JUDGED)
        self.names = list(first)
        new = [folder / name for name in first] or self._new()
        self.names = [path.name for path in new]
        self.samples = data.read_shards(new)

    def _new(self) -> list[Path]:
        there = sorted(self._folder.glob("pairs-*.npz"))
        return [path for path in there if path.name not in self.names and path.resolve() not in self._not]

    def scan(self) -> int:
        """Take up shards that were written since; how many."""
        new = self._new()
        if new:
            self.samples = self.samples.joined(data.read_shards(new))
            self.names += [path.name for path in new]
        return len(new)


class ParserTask:
    """A task for `loop.Trainer`."""

    name = "parser"

    def __init__(self, config: ParserConfig, recipe: Recipe, shards: Shards) -> None:
        torch.manual_seed(recipe.seed)
        self._net_config, self._recipe, self._shards = config, recipe, shards
        self._pool = data.make_pool(recipe.pool, recipe.seed, data.standard_five())
        self._unseen = data.make_pool(max(recipe.pool // 6, 8), recipe.seed + 1000, data.standard_five())
        net = Parser(config).to(memory_format=torch.channels_last)
        self.config = checkpoint.to_json(asdict(config))
        self.recipe: Mapping[str, object] = asdict(recipe)
        self.modules: dict[str, nn.Module] = {"model": net}
        self.optimizers: dict[str, torch.optim.Optimizer] = {"model": torch.optim.AdamW(net.parameters(), recipe.lr, weight_decay=recipe.decay)}
        self.peak = recipe.lr

    def state(self) -> dict[str, object]:
        """What batches depend on: the shards that were read, in their order, and how many photos."""
        return {"shards": list(self._shards.names), "photos": len(self._shards.photos or ())}

    def step(self, step: int, progress: float) -> dict[str, float]:
        """One batch. Raises DivergedError before anything is changed."""
        del progress
        if step % SCAN_EVERY == 0:
            self._shards.scan()
        recipe, net, optimizer = self._recipe, self.modules["model"], self.optimizers["model"]
        rng = np.random.default_rng([recipe.seed, 3, step])
        photos = self._shards.photos if rng.random() < recipe.photos else None
        size, change = self._net_config.size, data.Change(recipe.extra)
        x, classes, cover, zone = data.make_batch(photos or self._shards.samples, self._pool, rng, recipe.batch, size, change)
        net.train()
        there = torch.from_numpy(x).contiguous(memory_format=torch.channels_last)
        parts = losses(net, there, torch.from_numpy(classes), torch.from_numpy(cover), torch.from_numpy(zone))
        total = COVER_WEIGHT * parts["occluder"] + DICE_WEIGHT * parts["dice"] + CLASS_WEIGHT * parts["classes"]
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        if not (torch.isfinite(total) and torch.isfinite(norm)):
            raise DivergedError(f"expected a finite loss, found {float(total.detach())} with a gradient of {float(norm)} at step {step}")
        optimizer.step()
        return {k: float(v.detach()) for k, v in parts.items()} | {"loss": float(total.detach())}

    def checkup(self, model: nn.Module, picture: Path) -> dict[str, float]:
        """Figures on held-out samples with unseen occluders; a sheet of masks."""
        figures = evaluate(model, self._net_config.size, self._shards.judged, self._unseen, JUDGED, 0.6)
        if photos := self._shards.judged_photos:
            on_photos = evaluate(model, self._net_config.size, photos, self._unseen, JUDGED, 0.6)
            names = ("iou", "iou_each", "iou_everywhere", "opened_for_nothing", "worst_opened")
            figures |= {f"photos_{name}": on_photos[name] for name in names}
            draw_sheet(model, self._net_config.size, photos, self._unseen, picture.with_stem(f"{picture.stem}-photos"))
        draw_sheet(model, self._net_config.size, self._shards.judged, self._unseen, picture)
        return figures


def losses(net: nn.Module, x: Tensor, classes: Tensor, cover: Tensor, zone: Tensor) -> dict[str, Tensor]:
    """Loss parts: occluder (binary cross entropy), dice, classes. zone (N, 1, S, S): where the occluder counts in full."""
    logits, occluder = net.logits(x)  # type: ignore[operator]
    weights = torch.ones(len(CLASSES))
    for index, weight in RARE.items():
        weights[index] = weight
    seen = torch.sigmoid(occluder)
    both = (seen * cover * zone).sum((1, 2, 3))
    dice = 1 - (2 * both + DICE_FLOOR) / ((seen * zone).sum((1, 2, 3)) + (cover * zone).sum((1, 2, 3)) + DICE_FLOOR)
    share = OUTSIDE + (1 - OUTSIDE) * zone
    known = bool((classes != data.UNKNOWN).any())
    kinds = nnf.cross_entropy(logits, classes, weights, ignore_index=data.UNKNOWN) if known else logits.sum() * 0.0
    covered = nnf.binary_cross_entropy_with_logits(occluder, cover, share, reduction="sum") / share.sum()
    return {"occluder": covered, "dice": dice.mean(), "classes": kinds}


@torch.no_grad()
def evaluate(net: nn.Module, size: int, samples: data.Samples, pool: data.Pool, count: int, extra: float, seed: int = 99) -> dict[str, float]:
    """On samples as they are, `extra` of them with an occluder of `pool`: IoU of the occluder (threshold one half) over all pixels of the zone
    in which a generator draws, its mean over pictures with at least 1 % of it, over all pixels everywhere, IoU of the classes' mean, and the
    share of the zone opened for nothing in pictures without any."""
    net.eval()
    hit = union = hit_all = union_all = 0.0
    each: list[float] = []
    false: list[float] = []
    table = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    change = data.Change(extra, 0.0)
    for k in range(0, count, 16):
        x, classes, cover, zone = data.make_batch(samples, pool, np.random.default_rng([seed, k]), min(16, count - k), size, change)
        logits, seen = net(torch.from_numpy(x))
        found, truth, inside = seen.numpy()[:, 0] >= 0.5, cover[:, 0] >= 0.5, zone[:, 0] >= 0.5
        hit_all, union_all = hit_all + float((found & truth).sum()), union_all + float((found | truth).sum())
        found, truth = found & inside, truth & inside
        hit, union = hit + float((found & truth).sum()), union + float((found | truth).sum())
        for f, t, here in zip(found, truth, inside, strict=True):
            if t.mean() >= 0.01:
                each.append(float((f & t).sum() / max((f | t).sum(), 1)))
            elif not t.any():
                false.append(float(f.sum() / max(here.sum(), 1)))
        known = classes != data.UNKNOWN
        np.add.at(table, (classes[known], logits.argmax(1).numpy()[known]), 1)
    there = table.sum(1) > 0
    per_class = np.diag(table) / np.maximum(table.sum(0) + table.sum(1) - np.diag(table), 1)
    out = {"iou": hit / max(union, 1.0), "iou_each": float(np.mean(each)) if each else 0.0,
           "iou_everywhere": hit_all / max(union_all, 1.0), "classes_iou": float(per_class[there].mean()),
           "opened_for_nothing": float(np.mean(false)) if false else 0.0, "worst_opened": float(np.max(false)) if false else 0.0}
    return out | {f"iou_{name}": float(v) for name, v, seen_at_all in zip(CLASSES, per_class, there, strict=True) if seen_at_all}


@torch.no_grad()
def draw_sheet(net: nn.Module, size: int, samples: data.Samples, pool: data.Pool, path: Path, count: int = 32, degree: float = 0.5) -> None:
    """Inputs with what the parser takes for an occluder in red, its edge in truth in green."""
    net.eval()
    x, _, cover, _ = data.make_batch(samples, pool, np.random.default_rng(5), count, size, data.Change(0.7, degree))
    _, seen = net(torch.from_numpy(x))
    tiles = []
    for picture, found, truth in zip(x, seen.numpy()[:, 0], cover[:, 0], strict=True):
        image = np.ascontiguousarray(picture.transpose(1, 2, 0)[..., ::-1] * 255)
        image[..., 2] += (255 - image[..., 2]) * 0.55 * found
        edges, _ = cv2.findContours((truth >= 0.5).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        tiles.append(cv2.drawContours(image.astype(np.uint8), edges, -1, (0, 255, 0), 1))
    rows = [np.hstack(tiles[k:k + 8]) for k in range(0, len(tiles) // 8 * 8, 8)]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.vstack(rows))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m engines train parser", description="Train the parser on rendered people.")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of pairs-*.npz (python -m engines synth pairs)")
    parser.add_argument("--held", type=Path, metavar="DIR", help="held-out shards; without it the first shard of --data")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="pictures of people who do not exist, without labels")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for log, sheets, checkpoint and weights")
    parser.add_argument("--config", choices=sorted(CONFIGS), default="parser128")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training in all; a resumed run counts on")
    parser.add_argument("--steps", type=int, default=0, help="instead of minutes")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--init", type=Path, metavar="FILE", help="start from these weights, also of a smaller network")
    for name, kind in (("batch", int), ("lr", float), ("pool", int), ("seed", int), ("extra", float)):
        parser.add_argument(f"--{name}", type=kind, default=getattr(Recipe(), name))
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    try:
        print(_run(args))
    except TrainingError as error:
        print(f"engines train: {error}", file=sys.stderr)
        return 2
    return 0


def _run(args: argparse.Namespace) -> Path:
    return train(ParserTask.name, lambda saved: _task(args, saved), Plan(args.out, args.minutes, args.steps), args.resume)


def _task(args: argparse.Namespace, saved: dict[str, str]) -> ParserTask:
    state = json.loads(saved["state"]) if saved else {}
    recipe = Recipe(args.batch, args.lr, extra=args.extra, pool=args.pool, seed=args.seed)
    task = ParserTask(CONFIGS[args.config], recipe, Shards(args.data, args.held, state.get("shards", ()), args.photos))
    before, now = state.get("photos", 0), task.state()["photos"]
    if saved and before != now:
        raise TrainingError(f"{args.out / LAST} was trained with {before} photos, found {now}; name the same --photos")
    if args.init and not saved:
        try:
            task.modules["model"].load_state_dict(grow(read_parser(args.init)[0], CONFIGS[args.config]).state_dict())
        except ValueError as error:
            raise TrainingError(f"{args.init} is too large for --config {args.config}: {error}") from error
    return task


def read_parser(path: Path) -> tuple[Parser, dict[str, str]]:
    """A trained parser from its weights file, and the file's metadata. Raises CheckpointError."""
    tensors, about = checkpoint.read(path, checkpoint.WEIGHTS, ParserTask.name)
    held = json.loads(about["config"])
    net = Parser(ParserConfig(held["size"], tuple(held["widths"]), tuple(held["blocks"])))
    checkpoint.load_into(net, tensors, path)
    return net.eval(), about


if __name__ == "__main__":
    sys.exit(main())
