"""Pictures of rendered people per CPU-second: a wearer's picture, 256 px, with all labels; and where the time goes.

    python benchmarks/renderer.py [--out benchmarks/results/renderer.json] [--assets DIR] [--cache DIR] [--scenes N] [--cases NAME ...]

One thread. "training": scenes as the training set draws them (faces 88 to 220 px wide in the frame, then cropped to 256 px with their labels);
"frame_256": the same scenes with the face so wide that the whole frame is 256 px; "glasses": training's scenes of the same people, in turn
without and with glasses. Each picture is the scene drawn, filmed and cropped by its true
five points, with oval, veil, classes, landmarks and pose; no tracker, no swapper, no second person. People are built before (about 9 s each, kept
under --cache); a first pass over the same scenes, which compiles and fills caches, is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import cv2
import numpy as np

from engines.synth import assets, cast, glasses, occluders, picture, raster, sampler, scene, scenes, screen, shade
from engines.synth import camera as webcam
from engines.synth.live import SPEC
from engines.synth.person import Person
from livecam import align, geometry, image
from livecam.bench import machine

PEOPLE = (0, 2, 3, 7, 14, 16, 18, 10)
"""Seeds whose hair is of all kinds, one of them bald."""
SCENES = 48
FRAME_256_FACE_PX = 256 / picture.FRAME_SHARE
CASES = {"training": None, "frame_256": FRAME_256_FACE_PX}
"""Width of the face in the frame; None: as training has it."""
PARTS: tuple[tuple[Any, str], ...] = (
    (Person, "pose"), (picture, "camera_of"), (raster, "raster_ids"), (raster, "raster_depth"), (scene.Renderer, "_shadow"),
    (scene.Renderer, "_hair"), (scene.Renderer, "_shade"), (shade, "shade_samples"), (screen, "mean_distances"), (screen, "compose"),
    (raster, "blend_sorted"), (scene.Renderer, "draw"), (picture, "backdrop"), (picture, "_weight_plane"), (picture, "_oval"),
    (picture, "_labels"), (picture, "label_face"), (picture, "plain"), (occluders, "place"), (occluders, "over"), (webcam, "apply"))
"""What is timed apart; the time of a part within another is not the other's."""


class Shares:
    """Own CPU time of each wrapped function."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._within: list[float] = [0.0]

    def wrap(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._within.append(0.0)
            begin = time.process_time()
            try:
                return call(*args, **kwargs)
            finally:
                took = time.process_time() - begin
                self.seconds[name] += took - self._within.pop()
                self._within[-1] += took
        return timed


def one(actor: cast.Actor, chosen: scenes.Scene) -> list[np.ndarray]:
    """What a sample of the training set holds of its wearer."""
    shot = picture.portray(actor, chosen)
    frame = shot.filmed(chosen.camera, chosen.noise_seed)
    alignment = align.align(shot.of_wearer.five_px, SPEC)
    size = (SPEC.size_px, SPEC.size_px)
    planes = [cv2.warpAffine(p, alignment.matrix, size) for p in (shot.oval, shot.veil)]
    return [image.crop(frame, alignment), *(np.rint(255 * np.clip(p, 0, 1)).astype(np.uint8) for p in planes),
            cv2.warpAffine(shot.classes, alignment.matrix, size, flags=cv2.INTER_NEAREST),
            geometry.apply(alignment.matrix, shot.of_wearer.five_px), geometry.apply(alignment.matrix, shot.dense)]


def drawn(actors: list[cast.Actor], count: int, face_px: float | None) -> list[float]:
    """CPU seconds of each of `count` pictures."""
    seconds: list[float] = []
    for k in range(count):
        chosen = scenes.sample(np.random.default_rng([k, 0x5C]), face_px)
        begin = time.process_time()
        one(actors[k % len(actors)], chosen)
        seconds.append(time.process_time() - begin)
    return seconds


def measure(actors: list[cast.Actor], count: int, face_px: float | None) -> dict[str, Any]:
    """Pictures per CPU-second, and in a second pass the CPU-ms of each part."""
    drawn(actors, count, face_px)
    seconds = np.array(drawn(actors, count, face_px))
    shares = Shares()
    kept = [(owner, name, getattr(owner, name)) for owner, name in PARTS]
    for owner, name, call in kept:
        setattr(owner, name, shares.wrap(call, name.strip("_")))
    timed = np.array(drawn(actors, count, face_px))
    for owner, name, call in kept:
        setattr(owner, name, call)
    parts = {name: round(1000 * s / count, 2) for name, s in sorted(shares.seconds.items(), key=lambda p: -p[1])}
    rest = 1000 * (timed.sum() - sum(shares.seconds.values())) / count
    return {"pictures_per_cpu_second": round(count / float(seconds.sum()), 2), "mean_cpu_ms": round(1000 * float(seconds.mean()), 2),
            "median_cpu_ms": round(1000 * float(np.median(seconds)), 2), "pictures": count, "cpu_ms_of_parts": {**parts, "rest": round(rest, 2)}}


def glasses_cost(people: cast.Cast, count: int) -> dict[str, Any]:
    """Mean CPU-ms of a picture of people without glasses and with, drawn in turn."""
    looks = [sampler.sample(k).look for k in PEOPLE]
    worn = [glasses.any_glasses(np.random.default_rng(k)) for k in PEOPLE]
    kinds = [[people.actor(replace(look, glasses=g)) for look, g in zip(looks, chosen, strict=True)] for chosen in ([None] * len(looks), worn)]
    seconds = np.zeros((2, 2, count))
    for part in range(2):  # the first pass compiles and fills caches
        for k in range(count):
            chosen = scenes.sample(np.random.default_rng([k, 0x5C]))
            for kind, actors in enumerate(kinds):
                begin = time.process_time()
                one(actors[k % len(actors)], chosen)
                seconds[part, kind, k] = time.process_time() - begin
    bare, with_ = (1000 * seconds[1]).mean(1).tolist()
    ratios = seconds[1, 1] / seconds[1, 0]
    return {"bare_cpu_ms": round(bare, 2), "glasses_cpu_ms": round(with_, 2), "ratio": round(with_ / bare, 3),
            "median_ratio": round(float(np.median(ratios)), 3), "pictures": 2 * count}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/renderer.json"))
    parser.add_argument("--assets", type=Path, default=None)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "livecam-renderer-people")
    parser.add_argument("--scenes", type=int, default=SCENES)
    parser.add_argument("--cases", nargs="+", choices=(*CASES, "glasses"), default=(*CASES, "glasses"))
    args = parser.parse_args()
    cv2.setNumThreads(1)
    people = cast.Cast(assets.find_assets(args.assets), args.cache)
    actors = [people.actor(replace(sampler.sample(k).look, glasses=None)) for k in PEOPLE]
    cases = {name: measure(actors, args.scenes, CASES[name]) for name in args.cases if name in CASES}
    if "glasses" in args.cases:
        cases["glasses"] = glasses_cost(people, args.scenes)
    result = {"command": " ".join(["python benchmarks/renderer.py", *sys.argv[1:]]), "machine": machine.describe(),
              "malloc": {k: v for k, v in os.environ.items() if k.startswith("MALLOC_")},
              "cases": cases}
    text = json.dumps(result, indent=1)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
