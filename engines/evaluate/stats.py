"""Means with intervals, ranks and areas under curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from livecam.types import F64

ROUNDS = 1000
SEED = 7


@dataclass(frozen=True, slots=True)
class Estimate:
    """value with its 95 % interval from `n` values in `groups` groups."""

    value: float
    low: float
    high: float
    n: int
    groups: int


def bootstrap(
    values: NDArray[np.floating], groups: NDArray[np.integer], statistic: Callable[[F64], float] | None = None, rounds: int = ROUNDS
) -> Estimate:
    """The mean (or another statistic) of `values` ((N,), NaN left out) and its interval by drawing whole groups (personas) anew, since pictures of
    one persona are not independent. All NaN gives NaN."""
    keep = np.isfinite(values)
    kept, of = np.asarray(values, np.float64)[keep], np.asarray(groups)[keep]
    names, index = np.unique(of, return_inverse=True)
    if not len(kept):
        return Estimate(np.nan, np.nan, np.nan, 0, 0)
    rng = np.random.default_rng(SEED)
    drawn = rng.integers(0, len(names), (rounds, len(names)))
    if statistic is None:
        sums, counts = np.bincount(index, kept, len(names)), np.bincount(index, minlength=len(names))
        found = sums[drawn].sum(axis=1) / np.maximum(counts[drawn].sum(axis=1), 1)
        value = float(kept.mean())
    else:
        rows = [np.nonzero(index == i)[0] for i in range(len(names))]
        found = np.array([statistic(kept[np.concatenate([rows[i] for i in draw])]) for draw in drawn])
        value = statistic(kept)
    low, high = np.percentile(found, [2.5, 97.5]).tolist()
    return Estimate(value, low, high, len(kept), len(names))


def share(part: NDArray[np.floating], whole: NDArray[np.floating], groups: NDArray[np.integer], rounds: int = ROUNDS) -> Estimate:
    """mean(part) / mean(whole), with an interval by drawing groups anew."""
    names, index = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(SEED)
    drawn = rng.integers(0, len(names), (rounds, len(names)))
    a, b = np.bincount(index, part, len(names)), np.bincount(index, whole, len(names))
    found = a[drawn].sum(axis=1) / np.maximum(b[drawn].sum(axis=1), 1e-12)
    low, high = np.percentile(found, [2.5, 97.5]).tolist()
    return Estimate(float(a.sum() / max(b.sum(), 1e-12)), low, high, len(part), len(names))


def auc(same: NDArray[np.floating], different: NDArray[np.floating]) -> float:
    """Chance that a pair of one person scores higher than a pair of two (ties count half)."""
    if not len(same) or not len(different):
        return float("nan")
    values = np.concatenate([same, different])
    order = np.argsort(values, kind="stable")
    ranks = np.empty(len(values))
    ranks[order] = np.arange(1, len(values) + 1)
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.bincount(inverse, ranks) / counts)[inverse]
    n, m = len(same), len(different)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def linear_error(seen: Sequence[float] | F64, true: Sequence[float] | F64) -> dict[str, float]:
    """How well an estimator's numbers follow the label: slope, correlation, and mean absolute error once offset and slope are taken out."""
    x, y = np.asarray(true, np.float64), np.asarray(seen, np.float64)
    keep = np.isfinite(x) & np.isfinite(y)
    x, y = x[keep], y[keep]
    if len(x) < 3 or np.ptp(x) < 1e-9 or np.ptp(y) < 1e-9:
        return {"n": float(len(x)), "slope": float("nan"), "correlation": float("nan"), "mean_abs_error": float("nan")}
    slope, offset = np.polyfit(x, y, 1).tolist()
    error = np.abs((y - offset) / slope - x) if abs(slope) > 1e-6 else np.full(len(x), np.nan)
    correlation = float(np.corrcoef(x, y)[0, 1])
    return {"n": float(len(x)), "slope": slope, "offset": offset, "correlation": correlation, "mean_abs_error": float(error.mean())}
