"""The table of figures: an output against rendered truth, sample by sample, then means with intervals and splits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.evaluate import measures, perceptual, stats
from engines.evaluate.dataset import Pairs, Sample, landmarks_of
from engines.evaluate.estimate import Estimator, Reading, expression_error, gaze_error_deg, pose_error_deg, yaw_pitch_deg
from engines.evaluate.identity import Identity, share_of_truth
from engines.evaluate.subjects import Drawn, Subject
from livecam.errors import LivecamError
from livecam.track._landmarks import five_points
from livecam.types import U8

COMPARE_PX = 128
INSIDE = 128
"""The oval label from which a pixel counts as the persona's."""
FRONT = 64
"""The occluder's label from which a pixel is not judged."""
SKIN = 1
LEAST_OPEN = 0.25
"""Gaze of a lid that is more shut than this says nothing."""
EDGE_PX = 2


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure to reach: `low` <= value <= `high`. text: as the table prints it."""

    row: str
    text: str
    low: float = -math.inf
    high: float = math.inf

    def met(self, value: float) -> bool | None:
        """None when there is no value."""
        return None if not math.isfinite(value) else self.low <= value <= self.high


GOALS = (
    Goal("identity_share", "identity: top-1 as share of truth's", low=0.974),
    Goal("pose_deg", "pose, output against truth, degrees", high=1.5),
    Goal("expression_share", "expression: mouth and eye landmarks, share of eye distance", high=0.020),
    Goal("gaze_deg", "gaze, degrees", high=4.0),
    Goal("psnr_db", "PSNR inside the mask, 128 px, dB", low=26.0),
    Goal("lpips", "LPIPS inside the mask, 128 px", high=0.10),
    Goal("large_gradient_ratio", "gradient energy after blending, face 380 px wide, times truth's", low=0.7, high=1.2),
    Goal("large_lpips", "LPIPS after blending, face 380 px wide", high=0.15),
    Goal("seam_de2000", "colour step across the seam, less truth's own, dE2000", high=3.0),
    Goal("flicker_ratio", "flicker of a still, noisy target, times truth's", high=1.0),
    Goal("int8_psnr_db", "against the other form of the same network (INT8, fp32), dB", low=38.0),
)


@dataclass(slots=True)
class Records:
    """What was measured, by name: one number a sample (NaN: nothing to measure). b: persona of each sample; kept: their places in the set."""

    values: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    personas: list[int] = field(default_factory=list[int])
    tags: list[Mapping[str, str]] = field(default_factory=list[Mapping[str, str]])
    refused: list[str] = field(default_factory=list[str])

    def add(self, sample: Sample, tags: Mapping[str, str], numbers: Mapping[str, float]) -> None:
        for name in numbers.keys() - self.values.keys():
            self.values[name] = [math.nan] * len(self.personas)
        for name, column in self.values.items():
            column.append(numbers.get(name, math.nan))
        self.personas.append(sample.b)
        self.tags.append(tags)

    def column(self, name: str) -> NDArray[np.float64]:
        return np.asarray(self.values.get(name, [math.nan] * len(self.personas)), np.float64)

    def groups(self) -> NDArray[np.int64]:
        return np.asarray(self.personas, np.int64)


class Bench:
    """The estimators, opened once. Judges one subject on one set."""

    def __init__(self, estimator: Estimator, identity: Identity, lpips: Callable[[int], perceptual.Lpips]) -> None:
        self._estimator, self._identity, self._lpips = estimator, identity, lpips
        self._blinks: list[int] = []

    def run(
        self,
        subject: Subject,
        pairs: Pairs,
        limit: int | None = None,
        against: Subject | None = None,
        seen: Callable[[Sample, Drawn, Mapping[str, float]], None] | None = None,
    ) -> Records:
        """Measures every sample; `seen` is shown each. A sample that the subject refuses is counted and left out."""
        records = Records()
        self._identity.start(pairs)
        self._blinks = [i for i, name in enumerate(pairs.about.get("actions", ())) if str(name).startswith("eyeBlink")]
        for sample in pairs.samples(limit):
            try:
                drawn = subject.draw(sample)
                numbers = self._measure(sample, drawn, subject)
                if against is not None:
                    other = against.draw(sample)
                    numbers["int8_psnr_db"] = measures.psnr_db(drawn.picture, other.picture, region_of(sample))
            except LivecamError as error:
                records.refused.append(f"{sample.index}: {error}")
                continue
            records.add(sample, tags_of(sample, pairs), numbers)
            if seen is not None:
                seen(sample, drawn, numbers)
        records.values.update(self._identity.finish())
        return records

    def large(self, subject: Subject, pairs: Pairs, limit: int | None = None) -> Records:
        """Only what is measured on large faces: sharpness and looks after blending, at the set's own size."""
        records = Records()
        for sample in pairs.samples(limit):
            try:
                drawn = subject.draw(sample)
            except LivecamError as error:
                records.refused.append(f"{sample.index}: {error}")
                continue
            region, truth = region_of(sample), sample.picture("truth")
            inner = measures.eroded(region, EDGE_PX)
            numbers = {
                "large_lpips": self._looks(drawn.picture, truth, region, sample.size_px),
                "large_gradient_ratio": _ratio(measures.gradient_energy(drawn.picture, inner), measures.gradient_energy(truth, inner)),
                "large_face_px": float(np.ptp(landmarks_of(sample)[:468, 0])),
            }
            records.add(sample, tags_of(sample, pairs), numbers)
        return records

    def _measure(self, sample: Sample, drawn: Drawn, subject: Subject) -> dict[str, float]:
        truth, near = sample.picture("truth"), landmarks_of(sample)
        true_reading, reading = self._estimator.read(truth, near), self._estimator.read(drawn.picture, near)
        region = region_of(sample)
        out = self._compared(sample, reading, true_reading)
        out |= self._pictures(drawn.picture, truth, region)
        skin = np.asarray(sample.data["classes"]) == SKIN if sample.has("classes") else np.ones(region.shape, bool)
        seam = measures.seam(drawn.picture, truth, drawn.alpha, skin & (sample.picture("occluder") < FRONT))
        out |= {"seam_de2000": seam.net, "seam_step_output": seam.output, "seam_step_truth": seam.truth}
        if sample.has("truth2") and sample.has("wearer2"):
            out |= self._twin(sample, drawn, subject, region, true_reading)
        self._identity.add(sample, drawn.picture, truth, five_points(true_reading.mesh))
        return out | labels_and_readings(sample, true_reading, self._blinks)

    def _compared(self, sample: Sample, reading: Reading, true_reading: Reading) -> dict[str, float]:
        opened = np.asarray(sample.data.get("eye_open", true_reading.eye_open), np.float64)
        counts = (bool(opened[0] > LEAST_OPEN), bool(opened[1] > LEAST_OPEN))
        return {
            "pose_deg": pose_error_deg(reading.rotation, true_reading.rotation),
            "expression_share": expression_error(reading, true_reading),
            "gaze_deg": gaze_error_deg(reading.gaze_deg, true_reading.gaze_deg, counts),
            "gaze_by_irises_deg": gaze_error_deg(reading.irises_deg, true_reading.irises_deg, counts),
            "found_share": float(reading.score > 0.5),
        }

    def _pictures(self, output: U8, truth: U8, region: measures.Region) -> dict[str, float]:
        small = measures.resized(region.astype(np.uint8) * 255, COMPARE_PX) > 127
        ours, theirs = measures.resized(output, COMPARE_PX), measures.resized(truth, COMPARE_PX)
        inner = measures.eroded(region, EDGE_PX)
        return {
            "psnr_db": measures.psnr_db(ours, theirs, small),
            "lpips": self._looks(ours, theirs, small, COMPARE_PX),
            "gradient_ratio": _ratio(measures.gradient_energy(output, inner), measures.gradient_energy(truth, inner)),
        }

    def _looks(self, output: U8, truth: U8, region: measures.Region, size: int) -> float:
        return float(self._lpips(size).map(output, truth)[region].mean()) if region.any() else math.nan

    def _twin(self, sample: Sample, drawn: Drawn, subject: Subject, region: measures.Region, reading: Reading) -> dict[str, float]:
        truth, truth2 = sample.picture("truth"), sample.picture("truth2")
        again = self._estimator.read(truth2, landmarks_of(sample))
        floor = {f"repeat_{k}": v for k, v in self._compared(sample, again, reading).items() if k != "found_share"}
        try:
            second = subject.draw(sample, second=True).picture
        except (LivecamError, KeyError):
            return floor
        inner = measures.eroded(region, EDGE_PX)
        energy = [
            measures.gradient_energy(a, inner) - measures.noise_energy(a, b, inner) for a, b in ((drawn.picture, second), (truth, truth2))
        ]
        own = measures.change(truth, truth2, region)
        ratio = _ratio(measures.change(drawn.picture, second, region), own)
        return floor | {"flicker_ratio": ratio, "gradient_ratio_without_noise": _ratio(*energy)}


def region_of(sample: Sample) -> measures.Region:
    """Where the persona should be seen: inside the oval, with nothing in front."""
    return (np.asarray(sample.data["oval"]) >= INSIDE) & (np.asarray(sample.data["occluder"]) < FRONT)


def _ratio(part: float, whole: float) -> float:
    return part / whole if math.isfinite(whole) and whole > 1e-9 else math.nan


def labels_and_readings(sample: Sample, reading: Reading, blinks: list[int]) -> dict[str, float]:
    """Exact labels and what the estimator reads from truth itself, for judging the estimator. blinks: columns of `actions` that shut the lids."""
    out: dict[str, float] = {}
    yaw, pitch = yaw_pitch_deg(reading.rotation)
    if sample.has("head"):
        out |= {"seen_head_yaw": yaw, "true_head_yaw": float(sample.data["head"][0])}
        out |= {"seen_head_pitch": pitch, "true_head_pitch": -float(sample.data["head"][1])}
    if sample.has("gaze"):
        for name, seen in (("gaze", reading.gaze_deg), ("irises", reading.irises_deg)):
            for k, axis in enumerate(("yaw", "pitch")):
                out |= {f"seen_{name}_{axis}": float(seen[:, k].mean()), f"true_{name}_{axis}": float(sample.data["gaze"][k])}
    if sample.has("actions") and blinks:
        out |= {"seen_eye_open": float(reading.eye_open.mean()), "true_eye_open": 1.0 - float(np.mean(sample.data["actions"][blinks]))}
    if sample.has("true_five"):
        true, seen = np.asarray(sample.data["true_five"], np.float64), five_points(reading.mesh)
        out["five_error_share"] = float(np.linalg.norm(seen - true, axis=1).mean()) / max(float(np.linalg.norm(true[0] - true[1])), 1e-6)
    return out


def tags_of(sample: Sample, pairs: Pairs) -> dict[str, str]:
    """Groups that the sample belongs to. Tone, glasses and fringe are the wearer's; the beard also the persona's."""
    wearer, worn = pairs.wearers.get(sample.a, {}), pairs.personas.get(sample.b, {})
    out = {name: _word(wearer[name]) for name in ("tone", "glasses", "fringe") if name in wearer}
    out |= {f"{name}_{end}": _word(who["beard"]) for name, end, who in (("beard", "wearer", wearer), ("beard", "persona", worn)) if "beard" in who}
    if sample.has("head"):
        yaw = abs(float(sample.data["head"][0]))
        out["yaw"] = "0-15" if yaw < 15 else "15-30" if yaw < 30 else "30+"
    out["occluder"] = "yes" if float((sample.picture("occluder") > FRONT).mean()) > 0.01 else "no"
    return out


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return "light" if value < 1 / 3 else "middle" if value < 2 / 3 else "dark"
    return str(value) or "none"


def summary(records: Records, large: Records | None) -> dict[str, Any]:
    """The table: every goal's row, then everything else that was measured; JSON-ready."""
    merged = {name: (records.column(name), records.groups()) for name in records.values}
    if large is not None:
        merged |= {name: (large.column(name), large.groups()) for name in large.values}
    rows: dict[str, Any] = {}
    for goal in GOALS:
        estimate = row_estimate(goal.row, records, merged)
        rows[goal.row] = {"what": goal.text, **as_json(estimate), "goal": _range(goal), "met": goal.met(estimate.value)}
    shown = {goal.row for goal in GOALS} | {n for n in merged if n.startswith(("seen_", "true_"))}
    others = {name: as_json(stats.bootstrap(*merged[name])) for name in sorted(merged) if name not in shown}
    return {"table": rows, "also": others, "refused": len(records.refused), "refusals": records.refused[:10]}


def row_estimate(row: str, records: Records, merged: Mapping[str, tuple[NDArray[np.float64], NDArray[np.int64]]]) -> stats.Estimate:
    """Value and interval of one row of the table."""
    if row == "identity_share":
        return share_of_truth(records.column("top1_output"), records.column("top1_truth"), records.groups())
    if row not in merged:
        return stats.Estimate(math.nan, math.nan, math.nan, 0, 0)
    return stats.bootstrap(*merged[row])


def splits(records: Records) -> dict[str, Any]:
    """The rows of the table for each group: by tone, glasses, beard, fringe, yaw, occluder."""
    out: dict[str, Any] = {}
    for kind in sorted({key for tags in records.tags for key in tags}):
        names = np.array([tags.get(kind, "") for tags in records.tags])
        out[kind] = {name: _split(records, names == name) for name in sorted(set(names.tolist()) - {""})}
    return out


def _split(records: Records, keep: NDArray[np.bool_]) -> dict[str, Any]:
    part = Records({n: np.asarray(v)[keep].tolist() for n, v in records.values.items()}, records.groups()[keep].tolist(), [], [])
    merged = {name: (part.column(name), part.groups()) for name in part.values}
    rows = {goal.row: as_json(row_estimate(goal.row, part, merged)) for goal in GOALS if not goal.row.startswith("large_")}
    return {"samples": int(keep.sum()), "rows": {k: v for k, v in rows.items() if v["n"]}}


def estimators(records: Records) -> dict[str, Any]:
    """Each estimator's own error on truth: against exact labels, and how far two readings of one scene under new camera noise differ."""
    names: Sequence[str] = ("head_yaw", "head_pitch", "gaze_yaw", "gaze_pitch", "irises_yaw", "irises_pitch", "eye_open")
    against = {n: stats.linear_error(records.column(f"seen_{n}"), records.column(f"true_{n}")) for n in names if f"true_{n}" in records.values}
    rounded = {n: {k: _round(v) for k, v in row.items()} for n, row in against.items()}
    repeat = {n: as_json(stats.bootstrap(records.column(n), records.groups())) for n in records.values if n.startswith("repeat_")}
    five = as_json(stats.bootstrap(records.column("five_error_share"), records.groups())) if "five_error_share" in records.values else None
    return {"against_labels": rounded, "same_scene_new_noise": repeat, "five_points_share_of_eye_distance": five}


def as_json(estimate: stats.Estimate) -> dict[str, Any]:
    """Rounded, with None for what is not a number."""
    low, high = _round(estimate.low), _round(estimate.high)
    return {"value": _round(estimate.value), "ci95": [low, high], "n": estimate.n, "personas": estimate.groups}


def _round(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _range(goal: Goal) -> str:
    if math.isfinite(goal.low) and math.isfinite(goal.high):
        return f"{goal.low:g} to {goal.high:g}"
    return f">= {goal.low:g}" if math.isfinite(goal.low) else f"<= {goal.high:g}"
