"""Where a persona's features go on a wearer's face, learnt from rendered answers: a small network from shapes to displacements.

    python -m engines train shape --data DIR [DIR ...] --held DIR --out livecam/weights [--cards livecam/cards]

Of each sample in the shards: what `mesh` knows of wearer and persona (livecam.swap._mesh_map.Shapes), and by how much the answer's landmarks, read by
the live tracker, lie off the wearer's own. A wearer's mean shape is that of all of their samples. Principal components of the shapes and of the
displacements are taken from the data; between them two hidden layers learn, with noise on what they see. Judged on the people of --held.

Lengths are in distances between the persona's eyes. One core, about 20 ms a sample, most of it reading landmarks, and a minute of training.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn

from engines.evaluate.dataset import Pairs
from engines.evaluate.estimate import EXPRESSION, Estimator, eye_distance
from engines.export import cards
from engines.train import checkpoint
from engines.train.errors import DataError, TrainingError
from livecam import persona
from livecam.config import RunConfig
from livecam.errors import LivecamError
from livecam.store import Store
from livecam.swap import _mesh_map
from livecam.swap import _mesh_shape as shape
from livecam.swap._mesh_map import FORMAT, MOST_SPREAD, Map, Shapes
from livecam.types import F32, F64, MESH_POINTS

PARTS = {"now": 48, "offset": 24, "rest": 16}
"""Principal components of each shape that the network sees, and below of displacements that it says."""
GIVEN_PARTS = 48
GIVEN_UNIT = 0.05
PCA_SAMPLES = 3000
LEAST_SAMPLES = 200
HIDDEN, EPOCHS, BATCH, RATE, DECAY, DROPPED = 192, 30, 128, 2e-3, 1e-2, 0.3
NOISE = {"now": 0.15, "slow": 0.3, "others": 0.05}
"""Deviation of what is added to what the network sees: the tracker's, and people's."""
EXPRESSION_WEIGHT, RIGID_WEIGHT = 4.0, 2.0
LEAST_SCORE = 0.8
FARTHEST = 0.5
"""Displacements beyond it are misread."""
FILE = "shape.safetensors"


@dataclass(frozen=True, slots=True)
class Measured:
    """now, mean, rest: (N, 468, 3) shapes of the wearer now, on the mean, and of the persona; rotation: (N, 3, 3); lids: (N, 2); moved: (N, 468, 2)
    the answer's landmarks less the wearer's. All in the persona's frame."""

    now: F32
    mean: F32
    rest: F32
    rotation: F64
    lids: F64
    moved: F32

    def __len__(self) -> int:
        return len(self.now)

    def shapes(self) -> dict[str, F32]:
        """What the network sees, under the names that PARTS has."""
        return {"now": self.now, "offset": self.rest - self.mean, "rest": self.rest}


def measure(folders: Sequence[Path], estimator: Estimator) -> Measured:
    """All samples of the shards. Raises DataError: too few."""
    parts = [_folder(folder, estimator) for folder in folders]
    data = Measured(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Measured)))
    if len(data) < LEAST_SAMPLES:
        where = ", ".join(map(str, folders))
        raise DataError(f"expected at least {LEAST_SAMPLES} samples in {where}, found {len(data)}; render more")
    return data


def _folder(folder: Path, estimator: Estimator) -> Measured:
    pairs = Pairs.open(folder)
    rests: dict[int, F32] = {}
    rows: list[tuple[F32, F32, F64, F64, F32]] = []
    local: dict[int, list[tuple[float, F32]]] = {}
    wearers: list[int] = []
    for sample in pairs.samples():
        points = np.asarray(sample.data["landmarks"], np.float32)[:MESH_POINTS]
        if sample.b not in rests:
            rests[sample.b] = _rest(pairs.people[sample.b])
        rest = rests[sample.b]
        pose = shape.fit_pose(rest, points)
        now = pose.undo(points)
        weight = shape.teaches(float(pose.rotation[2, 2]), shape.jaw_open(now, float(np.ptp(now[:, 0]))))
        local.setdefault(sample.a, []).append((weight + 1e-6, now))
        truth = estimator.read(sample.picture("truth"), points)
        moved = ((truth.mesh[:MESH_POINTS] - points) @ pose.rotation / pose.scale).astype(np.float32)[:, :2]
        if truth.score < LEAST_SCORE or float(np.abs(moved).max()) > FARTHEST:
            continue
        rows.append((now, rest, pose.rotation, np.asarray(sample.data["eye_open"], np.float64), moved))
        wearers.append(sample.a)
    if not rows:
        raise DataError(f"expected samples with faces in {folder}, found none; render more")
    means = {a: _mean(seen) for a, seen in local.items()}
    now, rest, rotation, lids, moved = (np.array(part) for part in zip(*rows, strict=True))
    return Measured(now, np.array([means[a] for a in wearers]), rest, rotation, lids, moved)


def _rest(path: Path) -> F32:
    """(468, 3) the persona's neutral mesh as `mesh` has it, at an eye distance of 1."""
    neutral = persona.read_unsigned(path).meshes["neutral"]
    rest = neutral[:MESH_POINTS] - neutral[list(shape.RIGID)].mean(axis=0)
    return (rest / eye_distance(rest)).astype(np.float32)


def _mean(seen: list[tuple[float, F32]]) -> F32:
    total = sum(weight for weight, _ in seen)
    return np.asarray(sum(np.float32(weight / total) * local for weight, local in seen), np.float32)


def components(shapes: F32, count: int) -> tuple[F32, F32]:
    """Mean (D,) and components (K, D), scaled so that what they see has deviation 1. shapes: (N, ...)."""
    flat = shapes.reshape(len(shapes), -1).astype(np.float64)
    mean = flat.mean(axis=0)
    some = flat[:: max(1, len(flat) // PCA_SAMPLES)] - mean
    _, lengths, parts = np.linalg.svd(some, full_matrices=False)
    parts = parts[:count][lengths[:count] > 1e-3 * lengths[0]]
    parts /= ((flat - mean) @ parts.T).std(axis=0)[:, None]
    return mean.astype(np.float32), parts.astype(np.float32)


def fit(data: Measured, seed: int = 1, epochs: int = EPOCHS) -> Map:
    """The network of these samples; the same seed gives the same one."""
    torch.manual_seed(seed)
    parts: dict[str, F32] = {}
    for name, shapes in data.shapes().items():
        parts[f"{name}_mean"], parts[name] = components(shapes, PARTS[name])
    base, give = components(data.moved, GIVEN_PARTS)
    # Components of what is said are to have length 1.
    give /= np.linalg.norm(give, axis=1, keepdims=True)
    net = _network(sum(len(parts[name]) for name in PARTS) + _mesh_map.OTHERS, len(give))
    _train(net, _seen(data, parts), data.moved, (base, give), len(parts["now"]), epochs)
    for name, layer in zip(("first", "second", "third"), (m for m in net if isinstance(m, nn.Linear)), strict=True):
        parts[name] = np.ascontiguousarray(layer.weight.detach().numpy().T)
        parts[f"{name}_bias"] = layer.bias.detach().numpy()
    return Map(parts | {"give": give * np.float32(GIVEN_UNIT), "base": base})


def _network(seen: int, given: int) -> nn.Sequential:
    def layer(into: int) -> list[nn.Module]:
        return [nn.Linear(into, HIDDEN), nn.SiLU(), nn.Dropout(DROPPED)]

    return nn.Sequential(*layer(seen), *layer(HIDDEN), nn.Linear(HIDDEN, given))


def _seen(data: Measured, parts: dict[str, F32]) -> Tensor:
    columns = []
    for name, shapes in data.shapes().items():
        seen = (shapes.reshape(len(shapes), -1) - parts[f"{name}_mean"]) @ parts[name].T
        columns.append(np.clip(seen, -MOST_SPREAD, MOST_SPREAD))
    columns.append(np.array([_mesh_map.others(*row) for row in zip(data.rotation, data.lids, strict=True)]))
    return torch.from_numpy(np.concatenate(columns, axis=1).astype(np.float32))


def _train(net: nn.Sequential, seen: Tensor, moved: F32, given: tuple[F32, F32], now: int, epochs: int) -> None:
    noise = torch.full((seen.shape[1],), NOISE["slow"])
    noise[:now], noise[-_mesh_map.OTHERS :] = NOISE["now"], NOISE["others"]
    weight = torch.ones(MESH_POINTS)
    weight[list(shape.RIGID)], weight[torch.from_numpy(EXPRESSION)] = RIGID_WEIGHT, EXPRESSION_WEIGHT
    base, give = (torch.from_numpy(part) for part in given)
    wanted = torch.from_numpy(moved)
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * -(-len(seen) // BATCH))
    net.train()
    for _ in range(epochs):
        order = torch.randperm(len(seen))
        for rows in order.split(BATCH):
            x = seen[rows]
            said = (net(x + noise * torch.randn_like(x)) * GIVEN_UNIT @ give + base).view(-1, MESH_POINTS, 2)
            apart = torch.sqrt(((said - wanted[rows]) ** 2).sum(dim=2) + 1e-5)
            optimizer.zero_grad()
            (apart * weight).mean().backward()
            optimizer.step()
            rate.step()
    net.eval()


def applied(made: Map, data: Measured) -> F32:
    """(N, 468, 2) displacements, by what the live loop runs."""
    rows = zip(data.now, data.rest - data.mean, data.rest, data.rotation, data.lids, strict=True)
    return np.array([made.apply(Shapes(*row)) for row in rows])


def judge(made: Map, data: Measured) -> dict[str, float]:
    """Mean distance of mouth and eye landmarks from the answer's; without the map as well."""
    error, none = (_error(said, data.moved) for said in (applied(made, data), np.zeros_like(data.moved)))
    return {"held_out_error": error, "held_out_error_without": none, "held_out_samples": float(len(data))}


def _error(found: F32, wanted: F32) -> float:
    return float(np.linalg.norm(found[:, EXPRESSION] - wanted[:, EXPRESSION], axis=2).mean())


def rounded(made: Map) -> Map:
    """The map as its file, half precision, gives it back."""
    return Map({name: part.astype(np.float16).astype(np.float32) for name, part in made.parts.items()})


def write(out: Path, card_folder: Path | None, made: Map, figures: dict[str, float]) -> Path:
    """The file, half precision, and its card."""
    path = out / FILE
    out.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(part, np.float16) for name, part in made.parts.items()}, str(path), {"format": FORMAT})
    if card_folder is not None:
        head = cards._head("mesh_shape", path, "where a persona's features go on a wearer's face") | {"used_by": ["swap/mesh", "swap/lite"]}
        people = "rendered from CC0 assets by engines.synth: nobody who exists"
        recipe = {"hidden": HIDDEN, "epochs": EPOCHS, "rate": RATE, "commit": checkpoint.commit(), "people": people}
        cards._write(card_folder, "mesh_shape", head, (), (), {"training": recipe | figures})
    return path


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m engines train shape", description="Learn where a persona's features go on a wearer's face.")
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="folders of pairs (python -m engines synth pairs)")
    parser.add_argument("--held", type=Path, required=True, metavar="DIR", help="pairs of other people, to judge by")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="livecam/weights")
    parser.add_argument("--cards", type=Path, metavar="DIR", help="also write the card there (livecam/cards)")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        estimator = Estimator(Store(RunConfig().cache_dir))
        held, data = measure([args.held], estimator), measure(args.data, estimator)
        made = fit(data)
        figures = {"samples": float(len(data))} | judge(rounded(made), held)
        path = write(args.out, args.cards, made, figures)
    except (TrainingError, LivecamError) as error:
        print(f"engines train: {error}", file=sys.stderr)
        return 2
    print(json.dumps({"file": str(path)} | figures, indent=1))
    return 0
