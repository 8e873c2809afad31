"""The same frames through a pipeline built the popular tools' way, so that the difference is measured and not claimed.

What they do, and this does with the same networks' outputs: search every frame at 640 px, landmarks again from the fresh box, colour transfer
in LAB on the crop, then paste back over the *whole frame* in float: warp the crop and a white mask to frame size, erode and blur the mask,
blend three float32 planes. The generator's cost is left out here and there. In one thread, as they do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from livecam import align, capture, detect, image, track
from livecam.config import Config
from livecam.store import Store
from livecam.telemetry import Ring, Telemetry
from livecam.types import U8, CropSpec, Frame

SEARCH_PX = 640
"""What the popular tools search at."""
CROP_PX = 224
FEATHER = 10
"""Mask erosion and blur: a tenth of the face's size, as inswapper's paste-back has it."""


def run(config: Config, frames: int) -> dict[str, Any]:
    """CPU and wall ms a frame and a stage over `frames` frames of the demo camera."""
    store = Store(config.run.cache_dir)
    detector = detect.load(config.detect.detector, replace(config.detect, search_px=SEARCH_PX), store, 1)
    tracker = track.load(config.track.tracker, config.track, store, 1)
    telemetry, total = Telemetry(), Ring()
    for frame in _frames(config, frames):
        begin = time.process_time_ns()
        _frame(frame, detector, tracker, telemetry)
        telemetry.end_frame()
        total.add((time.process_time_ns() - begin) / 1e6)
    stages = {name: {"wall_ms": ring.percentiles(), "cpu_ms": telemetry.cpu_ms[name].percentiles()} for name, ring in telemetry.wall_ms.items()}
    return {"frames": frames, "cpu_ms_per_frame": total.percentiles().get("p50", 0.0), "stages": stages}


def _frames(config: Config, frames: int) -> Iterator[Frame]:
    source = capture.choose(replace(config.capture, camera="demo", realtime=False))
    with source.open() as camera:
        for _ in range(frames):
            yield camera.read()


def _frame(frame: Frame, detector: detect.Detector, tracker: track.Tracker, telemetry: Telemetry) -> None:
    picture = frame.image
    with telemetry.span("search"):
        found = detector.detect(picture)
    with telemetry.span("track"):
        tracker.reset()
        faces = tracker.update(frame, found)
    for face in faces:
        alignment = align.align(face.five_px, CropSpec(CROP_PX))
        with telemetry.span("crop"):
            crop = image.crop(picture, alignment)
        with telemetry.span("colour"):
            crop = lab_transfer(crop, crop)
        with telemetry.span("paste"):
            picture = paste_full_frame(picture, crop, alignment.matrix)


def lab_transfer(source: U8, target: U8) -> U8:
    """Reinhard et al. 2001 in LAB, float: source takes the target's mean and deviation. Both (S, S, 3) uint8."""
    a = cv2.cvtColor(source, cv2.COLOR_BGR2LAB).astype(np.float32)
    b = cv2.cvtColor(target, cv2.COLOR_BGR2LAB).astype(np.float32)
    mean_a, mean_b = a.mean((0, 1)), b.mean((0, 1))
    std_a, std_b = a.std((0, 1)) + 1e-6, b.std((0, 1))
    moved = np.clip((a - mean_a) * (std_b / std_a) + mean_b, 0, 255).astype(np.uint8)
    return cv2.cvtColor(moved, cv2.COLOR_LAB2BGR)  # type: ignore[return-value]


def paste_full_frame(picture: U8, crop: U8, matrix: NDArray[np.float64]) -> U8:
    """A new frame with `crop` blended over the whole of it in float32. matrix: (2, 3), frame to crop."""
    height, width = picture.shape[:2]
    inverse = cv2.invertAffineTransform(matrix)
    drawn = cv2.warpAffine(crop, inverse, (width, height), borderValue=0.0)
    white = np.full(crop.shape[:2], 255, np.float32)
    mask = cv2.warpAffine(white, inverse, (width, height), borderValue=0.0)
    mask[mask > 20] = 255
    ys, xs = np.where(mask == 255)
    if not len(xs):
        return picture
    size = int(np.sqrt((int(np.ptp(ys)) + 1) * (int(np.ptp(xs)) + 1)))
    k = max(size // FEATHER, FEATHER)
    mask = cv2.erode(mask, np.ones((k, k), np.uint8), iterations=1)
    k = max(size // (2 * FEATHER), FEATHER // 2)
    blur = cv2.GaussianBlur(mask, (2 * k + 1, 2 * k + 1), 0) / 255.0
    weight = blur.reshape(height, width, 1)
    return (weight * drawn.astype(np.float32) + (1.0 - weight) * picture.astype(np.float32)).astype(np.uint8)
