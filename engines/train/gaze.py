"""Training of the gaze network on the eyes of rendered people.

    python -m engines train gaze --data DIR --held DIR --out DIR [--photos DIR] [--minutes M | --steps N] [--resume]

Labels are exact. Photos of people who do not exist, if there are some, keep the network from reading rendered eyes only: on their eyes it is to say
what MediaPipe's irises say, every PHOTOS_EVERYth one kept back. A batch depends on the seed and the step alone. CPU, one thread by default.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from engines.evaluate import stats
from engines.nets.gaze import CONFIGS, SIDE_PX, Gaze, GazeConfig
from engines.train import _gaze_data as data
from engines.train import checkpoint
from engines.train._gaze_data import Eyes
from engines.train.errors import DataError, DivergedError, TrainingError
from engines.train.loop import LAST, Plan, train
from livecam.config import RunConfig
from livecam.errors import LivecamError
from livecam.store import Store
from livecam.track._landmarks import FaceMesh

ERROR_UNIT_DEG = 5.0
"""Errors up to this count by their square, larger ones by their size (Huber)."""
HEAD_NOISE_DEG = 2.0
PHOTOS_EVERY = 8
CLIP = 2.0
SHEET = 48


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a run depends on besides its data. photos: share of a batch that is of photos, when there are some."""

    batch: int = 128
    lr: float = 4e-3
    decay: float = 1e-2
    seed: int = 1
    photos: float = 0.25


@dataclass(frozen=True, slots=True)
class Sets:
    """trained, judged: rendered eyes; photos, judged_photos: photographed ones, without exact labels. names: of the shards trained on."""

    trained: Eyes
    judged: Eyes
    photos: Eyes | None
    judged_photos: Eyes | None
    names: tuple[str, ...]


def read_sets(folder: Path, held: Path, photos: Path | None, first: Sequence[str] = ()) -> Sets:
    """first: names of the shards, if only these are to be read (a resumed run). Raises DataError."""
    mesh = FaceMesh(Store(RunConfig().cache_dir), 1)
    paths = [folder / name for name in first] or sorted(folder.glob("pairs-*.npz"))
    judged = sorted(held.glob("pairs-*.npz"))
    if not paths or not judged:
        found = f"{len(paths)} and {len(judged)}"
        raise DataError(f"expected pairs-*.npz in {folder} and {held}, found {found}; render them with: python -m engines synth pairs")
    pictures = sorted(p for p in photos.glob("*") if p.suffix.lower() in (".jpg", ".png")) if photos else []
    if photos and len(pictures) < PHOTOS_EVERY:
        raise DataError(f"expected at least {PHOTOS_EVERY} pictures (.jpg, .png) in {photos}, found {len(pictures)}; name another --photos")
    sets = Sets(
        _joined(paths, mesh), _joined(judged, mesh),
        data.read_photos([p for i, p in enumerate(pictures) if i % PHOTOS_EVERY]) if photos else None,
        data.read_photos(pictures[::PHOTOS_EVERY]) if photos else None, tuple(p.name for p in paths),
    )  # fmt: skip
    if not len(sets.trained) or not len(sets.judged):
        raise DataError(f"expected open eyes in {folder} and {held}, found {len(sets.trained)} and {len(sets.judged)}")
    return sets


def _joined(paths: Sequence[Path], mesh: FaceMesh) -> Eyes:
    return data.joined([data.read_shard(path, mesh) for path in paths])


def vary(eye: Tensor, head: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Eyes (N, 64, 64, 3) 0..1 under other lights, cameras and regions, and heads read otherwise, as cameras and trackers have them."""
    n = len(eye)

    def draw(*shape: int) -> Tensor:
        return torch.randn(n, *shape, generator=rng)

    x = eye.permute(0, 3, 1, 2)
    gain = (0.6 + 0.7 * torch.rand(n, 1, 1, 1, generator=rng)) * (1 + 0.15 * draw(3, 1, 1))
    x = (x * gain + 0.08 * draw(1, 1, 1)).clamp(0.001, 1) ** torch.exp(0.25 * draw(1, 1, 1))
    turn, grow, shift = 0.06 * draw(), torch.exp(0.06 * draw()), 0.05 * draw(2)
    rows = [torch.stack([grow * turn.cos(), -grow * turn.sin(), shift[:, 0]], 1), torch.stack([grow * turn.sin(), grow * turn.cos(), shift[:, 1]], 1)]
    grid = nnf.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    x = nnf.grid_sample(x, grid, padding_mode="border", align_corners=False)
    coarse = torch.rand(n, generator=rng) < 0.35
    if bool(coarse.any()):
        by = int(torch.randint(2, 5, (1,), generator=rng))
        x[coarse] = nnf.interpolate(nnf.avg_pool2d(x[coarse], by), size=(SIDE_PX, SIDE_PX), mode="bilinear")
    grain = 0.05 * torch.rand(n, 1, 1, 1, generator=rng) * draw(3, SIDE_PX, SIDE_PX)
    return (x + grain).clamp(0, 1).permute(0, 2, 3, 1), head + HEAD_NOISE_DEG * draw(2)


class GazeTask:
    """A task for `loop.Trainer`."""

    name = "gaze"

    def __init__(self, config: GazeConfig, recipe: Recipe, sets: Sets) -> None:
        torch.manual_seed(recipe.seed)
        self._recipe, self._sets = recipe, sets
        net = Gaze(config)
        self.config = checkpoint.to_json(asdict(config))
        self.recipe: Mapping[str, object] = asdict(recipe) | {"eyes": len(sets.trained), "photographed_eyes": len(sets.photos or ())}
        self.modules: dict[str, nn.Module] = {"model": net}
        self.optimizers: dict[str, torch.optim.Optimizer] = {"model": torch.optim.AdamW(net.parameters(), recipe.lr, weight_decay=recipe.decay)}
        self.peak = recipe.lr

    def state(self) -> dict[str, object]:
        """What batches depend on."""
        return {"shards": list(self._sets.names), "photos": len(self._sets.photos or ())}

    def _batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        recipe, rng = self._recipe, np.random.default_rng([self._recipe.seed, 7, step])
        photos = self._sets.photos
        few = round(recipe.batch * recipe.photos) if photos is not None else 0
        eyes = _some(self._sets.trained, rng, recipe.batch - few)
        if photos is not None:
            eyes = data.joined((eyes, _some(photos, rng, few)))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        eye, head = vary(torch.from_numpy(eyes.eye).float() / 255, torch.from_numpy(eyes.head), generator)
        return eye, head, torch.from_numpy(eyes.gaze)

    def step(self, step: int, progress: float) -> dict[str, float]:
        """One batch. Raises DivergedError before anything is changed."""
        del progress
        net, optimizer = self.modules["model"], self.optimizers["model"]
        eye, head, gaze = self._batch(step)
        net.train()
        loss = nnf.smooth_l1_loss(net(eye, head) / ERROR_UNIT_DEG, gaze / ERROR_UNIT_DEG)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        if not bool(torch.isfinite(loss) & torch.isfinite(norm)):
            raise DivergedError(f"expected a finite loss, found {float(loss.detach())} with a gradient of {float(norm)} at step {step}")
        optimizer.step()
        return {"loss": float(loss.detach())}

    def checkup(self, model: nn.Module, picture: Path) -> dict[str, float]:
        """Figures on eyes that were not trained on; a sheet of them with true gaze in green and found gaze in red."""
        figures = judge(model, self._sets.judged)
        if (photos := self._sets.judged_photos) is not None:
            figures |= {f"photos_{key}": value for key, value in judge(model, photos).items()}
        draw_sheet(model, self._sets.judged, picture)
        return figures


def _some(eyes: Eyes, rng: np.random.Generator, count: int) -> Eyes:
    at = rng.integers(0, len(eyes), count)
    return Eyes(eyes.eye[at], eyes.head[at], eyes.gaze[at])


@torch.no_grad()
def read(net: nn.Module, eyes: Eyes) -> data.F32:
    """(N, 2) what the network says of eyes as they are."""
    net.eval()
    parts = [net(torch.from_numpy(eyes.eye[k : k + 256]).float() / 255, torch.from_numpy(eyes.head[k : k + 256])) for k in range(0, len(eyes), 256)]
    return np.asarray(torch.cat(parts).numpy(), np.float32)


def judge(net: nn.Module, eyes: Eyes) -> dict[str, float]:
    """Root mean square error, correlation and slope of yaw and pitch, one eye at a time; and the mean angle between found and true sight."""
    seen = read(net, eyes)
    out: dict[str, float] = {}
    for k, name in enumerate(("yaw", "pitch")):
        true, said = eyes.gaze[:, k].astype(np.float64), seen[:, k].astype(np.float64)
        line = stats.linear_error(said, true)
        out[f"{name}_rmse_deg"] = float(np.sqrt(np.mean((said - true) ** 2)))
        out |= {f"{name}_correlation": line["correlation"], f"{name}_slope": line["slope"]}
    out["angle_deg"] = float(np.degrees(np.arccos(np.clip((_sight(seen) * _sight(eyes.gaze)).sum(1), -1, 1))).mean())
    return out


def _sight(gaze_deg: data.F32) -> data.F64:
    yaw, pitch = np.radians(gaze_deg.astype(np.float64)).T
    return np.stack([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)], 1)


def draw_sheet(net: nn.Module, eyes: Eyes, path: Path) -> None:
    """Eyes, true gaze in green and found gaze in red, relative to the head."""
    at = np.linspace(0, len(eyes) - 1, min(SHEET, len(eyes))).astype(int)
    some = Eyes(eyes.eye[at], eyes.head[at], eyes.gaze[at])
    tiles = []
    for eye, true, seen in zip(some.eye, some.gaze, read(net, some), strict=True):
        tile = cv2.resize(eye[..., ::-1], (128, 128), interpolation=cv2.INTER_CUBIC)
        for gaze, colour in ((true, (0, 255, 0)), (seen, (0, 0, 255))):
            x, y = (64 + 60 * math.sin(math.radians(float(g))) for g in gaze)
            cv2.arrowedLine(tile, (64, 64), (round(x), round(y)), colour, 1, cv2.LINE_AA)
        tiles.append(tile)
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.vstack([np.hstack(tiles[k : k + 8]) for k in range(0, len(tiles), 8)]))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m engines train gaze", description="Train the gaze network on the eyes of rendered people.")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of pairs-*.npz (python -m engines synth pairs)")
    parser.add_argument("--held", type=Path, required=True, metavar="DIR", help="pairs of other people, to judge by")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="pictures of people who do not exist, without labels")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for log, sheets, checkpoint and weights")
    parser.add_argument("--config", choices=sorted(CONFIGS), default="gaze64")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training in all; a resumed run counts on")
    parser.add_argument("--steps", type=int, default=0, help="instead of minutes")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    for name, kind in (("batch", int), ("lr", float), ("seed", int)):
        parser.add_argument(f"--{name}", type=kind, default=getattr(Recipe(), name))
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    try:
        print(_run(args))
    except (TrainingError, LivecamError) as error:
        print(f"engines train: {error}", file=sys.stderr)
        return 2
    return 0


def _run(args: argparse.Namespace) -> Path:
    return train(GazeTask.name, lambda saved: _task(args, saved), Plan(args.out, args.minutes, args.steps), args.resume)


def _task(args: argparse.Namespace, saved: dict[str, str]) -> GazeTask:
    state = json.loads(saved["state"]) if saved else {}
    sets = read_sets(args.data, args.held, args.photos, state.get("shards", ()))
    task = GazeTask(CONFIGS[args.config], Recipe(args.batch, args.lr, seed=args.seed), sets)
    before, now = state.get("photos", 0), task.state()["photos"]
    if saved and before != now:
        raise TrainingError(f"{args.out / LAST} was trained with {before} photographed eyes, found {now}; name the same --photos")
    return task


def read_gaze(path: Path) -> tuple[Gaze, dict[str, str]]:
    """A trained network from its weights file, and the file's metadata. Raises CheckpointError."""
    tensors, about = checkpoint.read(path, checkpoint.WEIGHTS, GazeTask.name)
    held = json.loads(about["config"])
    net = Gaze(GazeConfig(tuple(held["widths"]), held["hidden"]))
    checkpoint.load_into(net, tensors, path)
    return net.eval(), about
