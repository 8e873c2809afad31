"""Where a persona's features go on a wearer's face, learnt from rendered answers: a linear map from shapes to displacements.

    python -m engines train shape --data DIR [DIR ...] --out livecam/weights [--cards livecam/cards]

Of each pair of wearer and persona in the shards: what `mesh` knows of them (the persona's neutral mesh less the wearer's mean one, in the
persona's frame), and by how much the answer's landmarks lie off the wearer's own in the same scene, mean over the pair's samples. The map goes
through the first PARTS principal components of the former (ridge regression). Judged on personas that were left out, five parts of the data in turn.

Lengths are in distances between the persona's eyes. One core, about a minute for a thousand samples.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from engines.evaluate.dataset import Pairs
from engines.evaluate.estimate import EXPRESSION, Estimator, eye_distance
from engines.export import cards
from engines.train import checkpoint
from engines.train.errors import DataError, TrainingError
from livecam import persona
from livecam.config import RunConfig
from livecam.errors import LivecamError
from livecam.store import Store
from livecam.swap import _mesh_shape as shape
from livecam.swap._mesh_map import FORMAT, Map
from livecam.types import F32, F64, MESH_POINTS

PARTS = 16
LEAST_SHARE = 1e-3
"""Components that are shorter than this share of the first are rounding."""
RIDGE = 5.0
"""Weight of the penalty, in pairs' mean number of samples."""
FOLDS = 5
MOST_YAW_DEG = 30.0
"""Heads turned further show one side only."""
MOST_COVERED = 0.1
LEAST_SCORE = 0.8
LEAST_PAIRS = 40
FILE = "shape.safetensors"


@dataclass(slots=True)
class _Pair:
    """What was seen of one persona on one wearer. local: the wearer's meshes in the persona's frame, with how much each counts."""

    moved: list[F64] = field(default_factory=list[F64])
    local: list[tuple[float, F64]] = field(default_factory=list[tuple[float, F64]])


@dataclass(frozen=True, slots=True)
class Measured:
    """offset (P, 468, 3): persona less wearer; moved (P, 468, 3): answer less wearer; count (P,) samples; persona (P,) whose."""

    offset: F64
    moved: F64
    count: NDArray[np.int64]
    persona: NDArray[np.int64]


def measure(folders: Sequence[Path], estimator: Estimator) -> Measured:
    """All pairs of the shards. Raises DataError: too few."""
    found: dict[tuple[str, int, int], _Pair] = {}
    rests: dict[tuple[str, int], F32] = {}
    wearers: dict[tuple[str, int], list[F32]] = {}
    for folder in folders:
        pairs = Pairs.open(folder)
        for sample in pairs.samples():
            wearers.setdefault((str(folder), sample.a), []).append(np.asarray(sample.data["landmarks"], np.float32)[:MESH_POINTS])
            if abs(float(sample.data["head"][0])) > MOST_YAW_DEG or float(sample.picture("occluder").mean()) > 255 * MOST_COVERED:
                continue
            near = np.asarray(sample.data["landmarks"], np.float64)
            truth, wearer = (estimator.read(sample.picture(name), near) for name in ("truth", "wearer"))
            if min(truth.score, wearer.score) < LEAST_SCORE:
                continue
            who = (str(folder), sample.b)
            if who not in rests:
                rests[who] = _rest(pairs.people[sample.b])
            pair = found.setdefault((str(folder), sample.a, sample.b), _Pair())
            pair.moved.append((truth.mesh[:MESH_POINTS] - wearer.mesh[:MESH_POINTS]) / eye_distance(wearer.mesh) @ wearer.rotation)
    _add_wearers(wearers, found, rests)
    rows = [(key, pair) for key, pair in found.items() if pair.local]
    if len(rows) < LEAST_PAIRS:
        where = ", ".join(map(str, folders))
        raise DataError(f"expected at least {LEAST_PAIRS} pairs of wearer and persona in {where}, found {len(rows)}; render more")
    return Measured(
        np.array([rests[key[0], key[2]] - _mean(pair.local) for key, pair in rows]), np.array([np.mean(pair.moved, axis=0) for _, pair in rows]),
        np.array([len(pair.moved) for _, pair in rows]), np.array([key[2] for key, _ in rows]),
    )  # fmt: skip


def _rest(path: Path) -> F32:
    """(468, 3) the persona's neutral mesh as `mesh` has it, at an eye distance of 1."""
    neutral = persona.read_unsigned(path).meshes["neutral"]
    rest = neutral[:MESH_POINTS] - neutral[list(shape.RIGID)].mean(axis=0)
    return (rest / eye_distance(rest)).astype(np.float32)


def _add_wearers(wearers: dict[tuple[str, int], list[F32]], found: dict[tuple[str, int, int], _Pair], rests: dict[tuple[str, int], F32]) -> None:
    """Every picture of a wearer tells of that wearer's shape, whoever they wear in it."""
    for (folder, a, b), pair in found.items():
        for points in wearers[folder, a]:
            pose = shape.fit_pose(rests[folder, b], points)
            local = pose.undo(points).astype(np.float64)
            jaw = float(np.linalg.norm(local[13] - local[14])) / float(np.ptp(local[:, 0]))
            weight = max(0.0, 2.0 * float(pose.rotation[2, 2]) - 1.0) * max(0.05, 1.0 - 4.0 * jaw)
            pair.local.append((weight, local))


def _mean(rows: list[tuple[float, F64]]) -> F64:
    total = sum(weight for weight, _ in rows)
    return np.asarray(sum(weight * local for weight, local in rows) / max(total, 1e-6), np.float64)


def fit(data: Measured, keep: NDArray[np.bool_]) -> Map:
    """The map of the pairs `keep` (P,)."""
    offset, moved = (part[keep].reshape(int(keep.sum()), -1) for part in (data.offset, data.moved))
    weight = data.count[keep].astype(np.float64)
    centre, base = (np.average(part, axis=0, weights=weight) for part in (offset, moved))
    _, lengths, parts = np.linalg.svd(offset - centre, full_matrices=False)
    parts = parts[:PARTS][lengths[:PARTS] > LEAST_SHARE * lengths[0]]
    seen = (offset - centre) @ parts.T
    scale = seen.std(axis=0)
    seen /= scale
    gram = (seen * weight[:, None]).T @ seen + RIDGE * weight.mean() * np.eye(len(parts))
    give = np.linalg.solve(gram, (seen * weight[:, None]).T @ (moved - base))
    return Map(*(np.asarray(part, np.float32) for part in (centre, parts / scale[:, None], give, base)))


def applied(made: Map, offsets: F64) -> F64:
    """(P, 468, 3) displacements of offsets (P, 468, 3), by what the live loop runs."""
    return np.array([made.apply(offset.astype(np.float32)) for offset in offsets], np.float64)


def judge(data: Measured) -> dict[str, float]:
    """Mean distance of mouth and eye landmarks from the answer's, of personas that the map was not fitted on; without a map as well."""
    error = np.zeros(len(data.count))
    for fold in range(FOLDS):
        out = data.persona % FOLDS == fold
        if out.any() and not out.all():
            error[out] = _error(applied(fit(data, ~out), data.offset[out]), data.moved[out])
    none = _error(np.zeros_like(data.moved), data.moved)
    mean = {name: float(np.average(value, weights=data.count)) for name, value in (("error", error), ("error_without", none))}
    return mean | {"pairs": float(len(data.count)), "samples": float(data.count.sum())}


def _error(found: F64, wanted: F64) -> F64:
    return np.asarray(np.linalg.norm(found[:, EXPRESSION, :2] - wanted[:, EXPRESSION, :2], axis=2).mean(axis=1), np.float64)


def write(out: Path, card_folder: Path | None, made: Map, figures: dict[str, float]) -> Path:
    """The file, half precision, and its card."""
    path = out / FILE
    out.mkdir(parents=True, exist_ok=True)
    tensors = {name: np.ascontiguousarray(getattr(made, name), np.float16) for name in ("centre", "see", "give", "base")}
    save_file(tensors, str(path), {"format": FORMAT})
    if card_folder is not None:
        head = cards._head("mesh_shape", path, "where a persona's features go on a wearer's face") | {"used_by": ["swap/mesh", "swap/lite"]}
        people = "rendered from CC0 assets by engines.synth: nobody who exists"
        training = {"parts": PARTS, "ridge": RIDGE, "commit": checkpoint.commit(), "people": people, **figures}
        cards._write(card_folder, "mesh_shape", head, (), (), {"training": training})
    return path


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m engines train shape", description="Learn where a persona's features go on a wearer's face.")
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="folders of pairs (python -m engines synth pairs)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="livecam/weights")
    parser.add_argument("--cards", type=Path, metavar="DIR", help="also write the card there (livecam/cards)")
    args = parser.parse_args(argv)
    try:
        data = measure(args.data, Estimator(Store(RunConfig().cache_dir)))
        figures = judge(data)
        path = write(args.out, args.cards, fit(data, np.ones(len(data.count), bool)), figures)
    except (TrainingError, LivecamError) as error:
        print(f"engines train: {error}", file=sys.stderr)
        return 2
    print(json.dumps({"file": str(path)} | figures, indent=1))
    return 0
