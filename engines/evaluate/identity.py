"""Identity: is the output taken for the persona, among all personas of the set, as often as truth is?

Gallery: per persona, what the judge sees of its truth on *other* samples than the probe's (other wearers, poses, expressions, light), or, with
`gallery="portrait"`, its three portraits. A probe is never compared with its own truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.evaluate import stats
from engines.evaluate.dataset import Pairs, Sample, landmarks_of
from engines.evaluate.judge import Judge
from livecam import persona
from livecam.track._landmarks import five_points
from livecam.types import F64, U8

SHRINK = 0.2
"""Share of an even spread mixed into the within-person covariance, which a few hundred pictures do not fix in a thousand dimensions."""
CALIBRATION_SAMPLES = 640
PORTRAITS = ("neutral", "open_mouth", "closed_eyes")
FIVE_OF_MESH = (468, 473, 4, 61, 291)
LEAST_TRUTH = 0.90
"""A judge that finds fewer of truth's own faces is no judge."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Within-class covariance normalisation (Hatch, Kajarekar, Stolcke 2006) of frozen embeddings: what varies within one person (pose, expression,
    light) counts less. Fitted on truth of *training* people, so that it knows none of those who are judged, and no output of any generator.

    mean: (D,). turn: (D, D). samples, people: what it was fitted on."""

    mean: F64
    turn: F64
    samples: int
    people: int

    def apply(self, rows: F64) -> F64:
        """(N, D) rows, normalised, at length 1."""
        return _unit((rows - self.mean) @ self.turn)


def fit_calibration(rows: F64, who: NDArray[np.integer]) -> Calibration:
    """rows: (N, D) embeddings of truth; who: (N,) whose."""
    names = np.unique(who)
    within = np.concatenate([rows[who == n] - rows[who == n].mean(axis=0) for n in names])
    covariance = within.T @ within / len(within)
    even = np.trace(covariance) / len(covariance)
    values, vectors = np.linalg.eigh((1 - SHRINK) * covariance + SHRINK * even * np.eye(len(covariance)))
    return Calibration(rows.mean(axis=0), vectors / np.sqrt(values), len(rows), len(names))


def calibrated(judges: Sequence[Judge], pairs: Pairs, limit: int = CALIBRATION_SAMPLES) -> Calibration:
    """The calibration on a training set, at even steps through it; embeddings are kept beside the set."""
    names = "-".join(j.name for j in judges)
    kept = pairs.folder / f"judge-{names}-{limit}.npz"
    if kept.is_file():
        with np.load(kept, allow_pickle=False) as file:
            return fit_calibration(file["rows"], file["who"])
    found, whose = list[F64](), list[int]()
    every = max(int(pairs.about.get("shard", 1)) * len(pairs.files) // limit, 1)
    collector = Identity(judges)
    for sample in pairs.samples():
        if sample.index % every == 0:
            found.append(collector.embed(sample.picture("truth"), five_points(landmarks_of(sample).astype(np.float64))))
            whose.append(sample.b)
    rows, who = np.array(found), np.array(whose, np.int64)
    np.savez(kept, rows=rows, who=who)
    return fit_calibration(rows, who)


@dataclass(slots=True)
class _Seen:
    output: list[F64] = field(default_factory=list[Any])
    truth: list[F64] = field(default_factory=list[Any])
    persona: list[int] = field(default_factory=list[int])


class Identity:
    """Collects embeddings sample by sample, then ranks them."""

    def __init__(self, judges: Sequence[Judge], gallery: str = "truth", calibration: Calibration | None = None) -> None:
        self.judges, self.gallery, self._calibration = judges, gallery, calibration
        self._seen = _Seen()
        self._portraits: dict[int, F64] = {}
        self.about: dict[str, Any] = {}

    @property
    def name(self) -> str:
        return " + ".join(j.name for j in self.judges)

    def start(self, pairs: Pairs) -> None:
        """Forget what was seen; read the portraits of the set's personas."""
        self._seen = _Seen()
        if self.gallery == "portrait":
            self._portraits = {number: self._portrait(path) for number, path in pairs.people.items()}

    def embed(self, picture: U8, five_px: F64) -> F64:
        """Embeddings of all judges side by side, at length 1."""
        joined = np.concatenate([j.embed(picture, five_px) for j in self.judges])
        return joined / max(float(np.linalg.norm(joined)), 1e-12)

    def add(self, sample: Sample, output: U8, truth: U8, five_px: F64) -> None:
        """One sample; both pictures are aligned by truth's landmarks."""
        self._seen.output.append(self.embed(output, five_px))
        self._seen.truth.append(self.embed(truth, five_px))
        self._seen.persona.append(sample.b)

    def finish(self) -> dict[str, list[float]]:
        """Per sample: top-1 of output and of truth, cosine of both to the own gallery entry, cosine of output to its truth. Sets `about`."""
        output, truth, who = np.array(self._seen.output), np.array(self._seen.truth), np.array(self._seen.persona, np.int64)
        if not len(who):
            return {}
        portraits = {n: self._ready(row[None], truth)[0] for n, row in self._portraits.items()}
        output, truth = self._ready(output, truth), self._ready(truth, truth)
        own, others = self._scores(output, truth, who, portraits)
        own_truth, others_truth = self._scores(truth, truth, who, portraits)
        best, best_truth = own > others.max(axis=1), own_truth > others_truth.max(axis=1)
        missing = ~np.isfinite(own_truth)
        self.about = {
            "judge": self.name,
            "gallery": self.gallery,
            "personas": len(np.unique(who)),
            "calibration": self._about_calibration(),
            "auc_output": stats.auc(own[~missing], others[~missing].reshape(-1)),
            "auc_truth": stats.auc(own_truth[~missing], others_truth[~missing].reshape(-1)),
            "cosine_different": float(others_truth[np.isfinite(others_truth)].mean()) if others_truth.size else None,
            "left_out": int(missing.sum()),
        }
        none = np.where(missing, np.nan, 1.0)
        columns = {
            "top1_output": best * none,
            "top1_truth": best_truth * none,
            "cosine_output_to_gallery": own * none,
            "cosine_truth_to_gallery": own_truth * none,
            "cosine_output_to_truth": (output * truth).sum(axis=1),
        }
        return {name: np.asarray(column, np.float64).tolist() for name, column in columns.items()}

    def _ready(self, rows: F64, truth: F64) -> F64:
        return self._calibration.apply(rows) if self._calibration is not None else _unit(rows - truth.mean(axis=0))

    def _about_calibration(self) -> str:
        made = self._calibration
        if made is None:
            return "none: embeddings less the mean of all of truth's"
        return f"within-class covariance normalisation on truth of {made.people} training personas, {made.samples} samples"

    def _scores(self, probes: F64, truth: F64, who: NDArray[np.int64], portraits: Mapping[int, F64]) -> tuple[F64, F64]:
        """(N,) cosine to the own persona's entry, (N, G - 1) to the others'. NaN where the own persona has no other sample."""
        names = np.unique(who)
        if self.gallery == "portrait":
            scores = probes @ np.array([portraits[int(n)] for n in names]).T
        else:
            sums = np.array([truth[who == n].sum(axis=0) for n in names])
            scores = probes @ _unit(sums).T
        place = np.searchsorted(names, who)
        rows = np.arange(len(who))
        if self.gallery != "portrait":
            without = sums[place] - truth
            lengths = np.linalg.norm(without, axis=1)
            alone = np.bincount(place)[place] < 2
            scores[rows, place] = np.where(alone, np.nan, (probes * without).sum(axis=1) / np.maximum(lengths, 1e-12))
        own = scores[rows, place]
        keep = np.ones(scores.shape, bool)
        keep[rows, place] = False
        return own, scores[keep].reshape(len(who), -1)

    def _portrait(self, path: Path) -> F64:
        worn = persona.read_unsigned(path)
        found = [self.embed(worn.images[n], np.asarray(worn.meshes[n][list(FIVE_OF_MESH), :2], np.float64)) for n in PORTRAITS if n in worn.images]
        return _unit(np.sum(found, axis=0)[None])[0]


def _unit(rows: F64) -> F64:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def share_of_truth(output: NDArray[np.float64], truth: NDArray[np.float64], groups: NDArray[np.int64]) -> stats.Estimate:
    """How often the output was recognised, as share of how often truth was. NaN rows (no gallery entry) are left out."""
    keep = np.isfinite(output) & np.isfinite(truth)
    if not keep.any():
        return stats.Estimate(np.nan, np.nan, np.nan, 0, 0)
    return stats.share(output[keep], truth[keep], groups[keep])
