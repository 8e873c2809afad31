"""Identity: is the output taken for the persona, among all personas of the set, as often as truth is?

Gallery: per persona, what the judge sees of its truth on *other* samples than the probe's (other wearers, poses, expressions, light), or, with
`gallery="portrait"`, its three portraits. A probe is never compared with its own truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.evaluate import stats
from engines.evaluate.dataset import Pairs, Sample
from engines.evaluate.judge import Judge
from livecam import persona
from livecam.types import F64, U8

PORTRAITS = ("neutral", "open_mouth", "closed_eyes")
FIVE_OF_MESH = (468, 473, 4, 61, 291)
LEAST_TRUTH = 0.90
"""A judge that finds fewer of truth's own faces is no judge."""


@dataclass(slots=True)
class _Seen:
    output: list[F64] = field(default_factory=list[Any])
    truth: list[F64] = field(default_factory=list[Any])
    persona: list[int] = field(default_factory=list[int])


class Identity:
    """Collects embeddings sample by sample, then ranks them."""

    def __init__(self, judges: Sequence[Judge], gallery: str = "truth") -> None:
        self.judges, self.gallery = judges, gallery
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
            self._portraits = {number: self._portrait(str(path)) for number, path in pairs.people.items()}

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
        everything = np.concatenate([truth, np.array(list(self._portraits.values()))]) if self._portraits else truth
        centre = everything.mean(axis=0)
        output, truth = _unit(output - centre), _unit(truth - centre)
        own, others = self._scores(output, truth, who, centre)
        own_truth, others_truth = self._scores(truth, truth, who, centre)
        best, best_truth = own > others.max(axis=1), own_truth > others_truth.max(axis=1)
        missing = ~np.isfinite(own_truth)
        self.about = {
            "judge": self.name,
            "gallery": self.gallery,
            "personas": len(np.unique(who)),
            "centred": "embeddings less the mean of all of truth's",
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

    def _scores(self, probes: F64, truth: F64, who: NDArray[np.int64], centre: F64) -> tuple[F64, F64]:
        """(N,) cosine to the own persona's entry, (N, G - 1) to the others'. NaN where the own persona has no other sample."""
        names = np.unique(who)
        if self.gallery == "portrait":
            entries = _unit(np.array([self._portraits[int(n)] for n in names]) - centre)
            scores = probes @ entries.T
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

    def _portrait(self, path: str) -> F64:
        worn = persona.load(path)
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
