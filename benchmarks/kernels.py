"""CPU milliseconds of the crop's way, kernel by kernel: crop, mesh swap, mask, colour match, paste; beside the plain versions.

    python benchmarks/kernels.py [--out benchmarks/results/kernels.json] [--persona ID]

One thread. The face is 380 px wide at 720p and 570 px at 1080p. Wearer and persona are two shipped portraits (no camera, no model, no network).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import cv2
import numpy as np

from livecam import image, mask, persona, swap
from livecam.align import align
from livecam.bench import machine
from livecam.blend.colour import ColourMatch
from livecam.config import SwapConfig
from livecam.swap import mesh
from livecam.types import CropSpec, Face

ROUNDS = 60
FIVE = ((33, 133), (362, 263), (4, 4), (61, 61), (291, 291))
SCENES = {"720p": (1280, 720, 380.0, 256), "1080p": (1920, 1080, 570.0, 384)}


def cpu_ms(call: Callable[[], object]) -> dict[str, float]:
    """Median and least CPU time of one call."""
    call()
    times: list[float] = []
    for _ in range(ROUNDS):
        begin = time.thread_time_ns()
        call()
        times.append((time.thread_time_ns() - begin) / 1e6)
    return {"median_cpu_ms": round(float(np.median(times)), 3), "min_cpu_ms": round(min(times), 3)}


def scene(width: int, height: int, face_px: float, wearer: str) -> tuple[np.ndarray, Face]:
    """A frame with the portrait of `wearer` in its middle, the face `face_px` wide, and its landmarks."""
    worn = persona.load(wearer)
    points = worn.meshes["neutral"].astype(np.float32).copy()
    scale = face_px / float(np.ptp(points[:468, 0]))
    middle = points[:468, :2].mean(axis=0)
    matrix = np.array([[scale, 0, width / 2 - scale * middle[0]], [0, scale, height / 2 - scale * middle[1]]])
    frame = cv2.warpAffine(np.ascontiguousarray(worn.images["neutral"]), matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    points[:, :2] = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    points[:, 2] *= scale
    five = np.stack([(points[a, :2] + points[b, :2]) / 2 for a, b in FIVE]).astype(np.float32)
    box = np.array([*points[:468, :2].min(axis=0), *points[:468, :2].max(axis=0)], np.float32)
    return np.ascontiguousarray(frame), Face(1, box, five, 1.0, points, None, np.full(2, 0.9, np.float32))


def measure(width: int, height: int, face_px: float, crop_px: int, wearer: str, worn: str) -> dict[str, dict[str, float]]:
    """All stages on one scene."""
    frame, face = scene(width, height, face_px, wearer)
    alignment = align(face.five_px, CropSpec(crop_px))
    swapper = mesh.MeshSwapper(SwapConfig())
    swapper.wear(persona.load(worn))
    crop = image.crop(frame, alignment)
    swapped = swapper.swap(crop, face, alignment)
    alpha, match = mask.alpha(swapped, face, alignment), ColourMatch()
    return {
        "crop": cpu_ms(lambda: image.crop(frame, alignment)),
        "swap": cpu_ms(lambda: swapper.swap(crop, face, alignment)),
        "mask": cpu_ms(lambda: mask.alpha(swapped, face, alignment)),
        "colour": cpu_ms(lambda: match.match(swapped.crop, crop, alpha, 1)),
        "paste": cpu_ms(lambda: image.paste(frame, alignment, swapped.crop, alpha)),
        "paste_plain": cpu_ms(lambda: image.paste_plain(frame, alignment, swapped.crop, alpha)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/kernels.json"))
    parser.add_argument("--persona", default="")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    names = persona.names()
    worn = args.persona or names[0]
    wearer = next(name for name in names if name != worn)
    begin = time.perf_counter()
    image.warm_up()
    swap.warm_up("mesh")
    warm_s = time.perf_counter() - begin
    stages = {name: measure(*size, wearer, worn) for name, size in SCENES.items()}
    result = {"command": " ".join(["python benchmarks/kernels.py", *sys.argv[1:]]), "machine": machine.describe(), "warm_up_s": round(warm_s, 2)}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({**result, "stages": stages}, indent=1) + "\n", encoding="utf-8")
    for name, stage in stages.items():
        print(name, ", ".join(f"{k} {v['median_cpu_ms']:.2f}" for k, v in stage.items()), "CPU-ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
