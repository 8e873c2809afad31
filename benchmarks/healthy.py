"""The guard on healthy input: `python benchmarks/healthy.py --minutes 10`.

The demo clip, with its exact labels, goes through the worker's own pipeline frame by frame. While the presenter is fully in the picture every
COVER is a false one (its outline, every point of the label, inside the frame); faces found are counted on the frames on which the label calls the
face visible. Each time that the clip begins anew, the next persona is worn.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from livecam import capture, image, persona, swap
from livecam.app import second_check
from livecam.app.build import finders_of
from livecam.bench import machine
from livecam.capture import demo
from livecam.config import Config, SwapConfig
from livecam.guard.second import LOOKS_LIKE_YOU
from livecam.pipeline import Pipeline
from livecam.store import Store
from livecam.telemetry import Telemetry
from livecam.types import Frame, Verdict

SETTLE_FRAMES = 30
"""After the presenter came back, and at the start, the guard may cover for so long: that is its task."""
PERIOD_NS = 33_333_333
RESULT = Path(__file__).parent / "results" / "healthy.json"


def made(config: Config) -> tuple[Pipeline, str]:
    """The pipeline as it runs live, and what draws."""
    store = Store(config.run.cache_dir)
    image.warm_up()
    chosen = swap.choose(config.swap, store, 1)
    swap.warm_up(chosen.name)
    detector, tracker, occlusion = finders_of(config, store)
    return Pipeline(detector, tracker, chosen.swapper, config, Telemetry(), occlusion), chosen.name


def inside(labels: demo.Labels) -> NDArray[np.bool_]:
    """(N,) whether the whole face is in the frame, by the labels' outline (N, 36, 2)."""
    low, high = labels.oval_px.min(axis=1), labels.oval_px.max(axis=1)
    width, height = demo.CLIP_WIDTH_PX, demo.CLIP_HEIGHT_PX
    return (labels.present > 0) & (low >= 0).all(axis=1) & (high[:, 0] <= width - 1) & (high[:, 1] <= height - 1)


def run(minutes: float, swapper: str) -> dict[str, Any]:
    config = Config(swap=SwapConfig(swap=swapper))
    (pipeline, drew), labels = made(config), demo.labels()
    notes: list[str] = []
    check = second_check.begin(config, Store(config.run.cache_dir), notes.append)
    pipeline.examiner = check
    personas, worn, last = persona.names(), 0, 1 << 30
    whole = inside(labels)
    source = capture.choose(replace(config.capture, camera="demo", realtime=False))
    frames = round(minutes * 60e9 / PERIOD_NS)
    healthy = covered = covers = found = visible = 0
    since_away, before = 0, Verdict.LIVE
    reasons: dict[str, int] = {}
    with source.open() as camera:
        for seq in range(frames):
            shot = camera.read()
            if shot.position < last:
                chosen = persona.load(personas[worn % len(personas)])
                pipeline.wear(chosen)
                if check is not None:
                    check.knows(chosen)
                worn += 1
            last = shot.position
            done = pipeline.process(Frame(shot.image, seq * PERIOD_NS, seq, shot.position))
            since_away = since_away + 1 if whole[shot.position] else 0
            if labels.visible[shot.position]:
                visible += 1
                found += done.faces > 0
            if since_away > SETTLE_FRAMES:
                healthy += 1
                if done.verdict is Verdict.COVER:
                    covered += 1
                    covers += before is Verdict.LIVE
                    reasons[done.reason] = reasons.get(done.reason, 0) + 1
            before = done.verdict
    return {
        "command": f"python benchmarks/healthy.py --minutes {minutes:g} --swap {swapper}",
        "generator": drew,
        "personas_worn": min(worn, len(personas)),
        "machine": machine.describe(),
        "frames": frames,
        "healthy_frames": healthy,
        "false_covers": covers,
        "second_check": {"opinions": 0 if check is None else check.done, "covers": reasons.get(LOOKS_LIKE_YOU, 0), "notes": notes},
        "false_covers_per_10_minutes": round(covers / max(healthy, 1) * 18000, 3),
        "covered_share": round(covered / max(healthy, 1), 5),
        "reasons": reasons,
        "visible_frames": visible,
        "faces_found_share": round(found / max(visible, 1), 5),
        "stages_cpu_ms": {name: ring.percentiles() for name, ring in pipeline.telemetry.cpu_ms.items()},
        "stages_per_frame": {name: round(len(ring) / min(frames, 1024), 3) for name, ring in pipeline.telemetry.cpu_ms.items()},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--swap", default="auto")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    result = run(options.minutes, options.swap)
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1, default=float) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1, default=float))
