"""Sums over runs, the figures that they give, and what these should be."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from livecam.soak.kinds import ENDS_WORKER

FORMAT, VERSION = "livecam-soak", 1
COUNTS = ("frames", "pictures", "sent", "live_pictures", "wrong", "planted_sent", "planted_found")
KEPT_WRONG = 100
LARGE_PX = 1280 * 720
FEW_FAULTS = 0.5
"""Slack of descriptors and threads: medians that differ by no whole one are equal."""


def empty() -> dict[str, Any]:
    """Nothing run yet."""
    return {"format": FORMAT, "version": VERSION, "totals": totals({}), "figures": {}, "runs": [], "parts": {}}


def added(before: dict[str, Any], part: str, counts: dict[str, Any], run: dict[str, Any], is_planted: bool) -> dict[str, Any]:
    """`before` with one run more; `before` stays as it is."""
    parts = {**before["parts"], part: {**_sum(before["parts"].get(part), counts), "planted": is_planted}}
    runs = [*before["runs"], run]
    return {"format": FORMAT, "version": VERSION, "totals": totals(parts), "figures": figures(parts, runs), "runs": runs, "parts": parts}


def _sum(a: dict[str, Any] | None, b: dict[str, Any]) -> dict[str, Any]:
    if a is None:
        return b
    kinds: dict[str, Any] = {}
    for kind in sorted({*a["kinds"], *b["kinds"]}):
        x, y = a["kinds"].get(kind), b["kinds"].get(kind)
        kinds[kind] = (x or y) if x is None or y is None else {
            **{name: x[name] + y[name] for name in ("faults", "unrecovered", "recovered_ms", "covered_ms")},
            "states": dict(Counter(x["states"]) + Counter(y["states"])),
        }  # fmt: skip
    return {
        "next": b["next"],
        **{name: a[name] + b[name] for name in COUNTS},
        "wrong_list": (a["wrong_list"] + b["wrong_list"])[:KEPT_WRONG],
        "healthy": dict(Counter(a["healthy"]) + Counter(b["healthy"])),
        "kinds": kinds,
    }


def totals(parts: dict[str, Any]) -> dict[str, Any]:
    """Of all parts but the planted ones. bound_95: with none wrong among N pictures the share of wrong ones is below 3 / N with 95 % confidence."""
    true = [part for part in parts.values() if not part["planted"]]
    out: dict[str, Any] = {name: sum(part[name] for part in true) for name in COUNTS}
    faults: Counter[str] = Counter()
    for part in true:
        faults.update({kind: found["faults"] for kind, found in part["kinds"].items()})
    real = {name: part for name, part in parts.items() if not part["planted"] and "real stages" in name}
    out["frames_real_stages"] = sum(part["frames"] for part in real.values())
    out["frames_720p_real_stages"] = sum(part["frames"] for name, part in real.items() if _pixels(name) >= LARGE_PX)
    out["faults"] = sum(count for kind, count in faults.items() if not kind.startswith("scene:"))
    out["scene_events"] = sum(count for kind, count in faults.items() if kind.startswith("scene:"))
    out["kinds_of_fault"] = sum(1 for kind, count in faults.items() if count and not kind.startswith("scene:"))
    out["unrecovered"] = sum(found["unrecovered"] for part in true for found in part["kinds"].values())
    out["bound_95"] = 3.0 / max(1, out["pictures"]) if not out["wrong"] else None
    return out


def _pixels(part: str) -> int:
    width, _, height = part.split(",")[0].partition("x")
    return int(width) * int(height)


def spread(values: list[float]) -> dict[str, float]:
    """{"count", "p50", "p95", "max"}; only the count when there is none."""
    if not values:
        return {"count": 0}
    p50, p95 = np.percentile(values, (50, 95))
    return {"count": len(values), "p50": round(float(p50)), "p95": round(float(p95)), "max": round(max(values))}


def group(kind: str) -> str:
    """Whose recovery a kind counts for."""
    room = kind.partition(":")[0]
    if kind in ENDS_WORKER or room == "worker":
        return "worker"
    return room if room in ("camera", "main", "output", "scene") else "stage"


def figures(parts: dict[str, Any], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Recovery by group over the parts with real stages (over all when there is none), and the longest run's slopes."""
    true = {name: part for name, part in parts.items() if not part["planted"]}
    real = {name: part for name, part in true.items() if "real stages" in name} or true
    recovered: dict[str, list[float]] = {}
    covered: list[float] = []
    for part in real.values():
        for kind, found in part["kinds"].items():
            recovered.setdefault(group(kind), []).extend(found["recovered_ms"])
            if group(kind) == "stage":
                covered.extend(found["covered_ms"])
    longest = max(runs, key=lambda run: run["seconds"], default=None)
    return {
        "recovery_ms": {name: spread(values) for name, values in sorted(recovered.items())},
        "stage_fault_to_cover_ms": spread(covered),
        "longest_run": {"seconds": longest["seconds"], "part": longest["part"], **longest["watch"]} if longest else {},
        "zombies": sum(run["watch"]["zombies"] for run in runs),
        "segments_left_behind": sum(run["watch"].get("segments_left_behind", 0) for run in runs),
        "highest_z": max((run["highest_z"] for run in runs), default=0.0),
    }


def _enough(total: dict[str, Any]) -> bool | None:
    return (total["faults"] >= 2000 and total["kinds_of_fault"] >= 40) or None


def goals(sums: dict[str, Any]) -> list[tuple[str, str, str, bool | None]]:
    """(what, found, goal, reached) for people; None: too little was run to say."""
    total, found = sums["totals"], sums["figures"]
    recovery, longest = found["recovery_ms"], found["longest_run"]
    rows: list[tuple[str, str, str, bool | None]] = [
        ("wrong pictures", f"{total['wrong']} of {total['pictures']}", "0", total["wrong"] == 0),
        ("frames", f"{total['frames']}", "1000000", total["frames"] >= 1_000_000 or None),
        ("of these at 720p, real stages", f"{total['frames_720p_real_stages']}", "100000", total["frames_720p_real_stages"] >= 100_000 or None),
        ("faults", f"{total['faults']} of {total['kinds_of_fault']} kinds", "2000 of 40", _enough(total)),
    ]
    if total["bound_95"] is not None:
        rows.insert(1, ("share of wrong ones is below", f"{total['bound_95']:.1e}", "", True))
    for name, limit_ms in (("camera", 2000), ("worker", 5000)):
        spread_ = recovery.get(name, {"count": 0})
        text = f"p50 {spread_['p50'] / 1e3:.2f}, p95 {spread_['p95'] / 1e3:.2f}, longest {spread_['max'] / 1e3:.2f} s" if spread_["count"] else "-"
        rows.append((f"recovery, {name}", text, f"p95 {limit_ms / 1e3:g} s", spread_["p95"] <= limit_ms if spread_["count"] else None))
    for who, slope in longest.get("mb_per_hour", {}).items():
        text = "too short to say" if slope is None else f"{slope:+.1f} MB/h"
        rows.append((f"memory, {who}", text, "1 MB/h", None if slope is None else slope <= 1.0))
    for name in ("main_fds", "main_threads", "worker_fds", "worker_threads"):
        ends = longest.get(name) or {}
        if ends:
            rows.append((name.replace("_", ", "), f"{ends['begin']:g} to {ends['end']:g}", "flat", ends["end"] - ends["begin"] <= FEW_FAULTS))
    rows.append(("zombies; segments left behind", f"{found['zombies']}; {found['segments_left_behind']}", "0; 0",
                 not found["zombies"] and not found["segments_left_behind"]))  # fmt: skip
    return rows
