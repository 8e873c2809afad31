"""The same frames through a pipeline built the popular tools' way, so that the difference is measured and not claimed.

What they do, and this does: search every frame letterboxed into a 640x640 square with a detector of SCRFD-10G's size, landmarks again from the
fresh box, colour transfer in LAB on the crop, then paste back over the *whole frame* in float: warp the crop and a white mask to frame size, erode
and blur the mask, blend three float32 planes; at last BGR to RGB, as pyvirtualcam takes it. In one thread, as they do.

What is counted: all CPU time of the process from the camera's `read` (decoding included) to the picture that is ready for the output, over all
frames but the first few, just as livecam's own figure counts all its processes, capture and publishing included.  Left out here and there: the
generator, and the virtual camera itself.  Left out here only, in the reference's favour: what else those tools run a face (recognition, 3-D
landmarks, age and gender).

Their detector's weights may not be shipped, so a network of its shape with random weights (_scrfd_size.py) takes the time, and livecam's own
detector, on the same square, says where the face is. Two figures are given: with the time of theirs, and with the time of livecam's in its place
("light").
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from livecam import align, capture, detect, image, track
from livecam.bench._scrfd_size import Standin
from livecam.config import Config
from livecam.store import Store
from livecam.telemetry import Telemetry
from livecam.types import F32, U8, CropSpec, Detection, Frame

SEARCH_PX = 640
"""Side of the square that the popular tools search (insightface's usual `det_size`)."""
WARM_FRAMES = 5
"""Left out at the start: first touch of memory."""
CROP_PX = 224
FEATHER = 10
"""Mask erosion and blur: a tenth of the face's size, as inswapper's paste-back has it."""


def run(config: Config, frames: int) -> dict[str, Any]:
    """CPU ms a frame (mean) with a detector of their size and with livecam's, CPU and wall ms a stage, over `frames` frames of the demo camera."""
    store = Store(config.run.cache_dir)
    detector = detect.load(config.detect.detector, replace(config.detect, search_px=SEARCH_PX), store, 1)
    tracker = track.load(config.track.tracker, config.track, store, 1)
    threads_before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return _measured(config, frames, _Search(detector), tracker)
    finally:
        cv2.setNumThreads(threads_before)


class _Search:
    """livecam's detector for the answer, theirs for the time. light_ns, theirs_ns: CPU time of each; the stage "search" is theirs."""

    def __init__(self, detector: detect.Detector) -> None:
        self._detector, self._standin = detector, Standin()
        self.light_ns = self.theirs_ns = 0

    def __call__(self, picture: U8, telemetry: Telemetry) -> tuple[Detection, ...]:
        begin_ns = time.process_time_ns()
        found = search_square(picture, self._detector)
        middle_ns = time.process_time_ns()
        with telemetry.span("search"):
            self._standin.run(letterboxed(picture)[0])
        self.light_ns += middle_ns - begin_ns
        self.theirs_ns += time.process_time_ns() - middle_ns
        return found


def _measured(config: Config, frames: int, search: _Search, tracker: track.Tracker) -> dict[str, Any]:
    telemetry, begin_ns = Telemetry(), 0
    source = capture.choose(replace(config.capture, camera="demo", realtime=False))
    with source.open() as camera:
        for index in range(WARM_FRAMES + frames):
            if index == WARM_FRAMES:
                telemetry, search.light_ns, search.theirs_ns, begin_ns = Telemetry(), 0, 0, time.process_time_ns()
            with telemetry.span("capture"):
                frame = camera.read()
            _frame(frame, search, tracker, telemetry)
            telemetry.end_frame()
        both_ms = (time.process_time_ns() - begin_ns) / 1e6 / frames
    light_ms, theirs_ms = search.light_ns / 1e6 / frames, search.theirs_ns / 1e6 / frames
    stages = {name: {"wall_ms": ring.percentiles(), "cpu_ms": telemetry.cpu_ms[name].percentiles()} for name, ring in telemetry.wall_ms.items()}
    return {
        "frames": frames,
        "cpu_ms_per_frame": round(both_ms - light_ms, 3),
        "cpu_ms_per_frame_light_detector": round(both_ms - theirs_ms, 3),
        "stages": stages,
    }


def _frame(frame: Frame, search: _Search, tracker: track.Tracker, telemetry: Telemetry) -> U8:
    picture = frame.image
    found = search(picture, telemetry)
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
    with telemetry.span("output"):
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def search_square(picture: U8, detector: detect.Detector) -> tuple[Detection, ...]:
    """Faces of `picture` ((H, W, 3) uint8), searched in a black SEARCH_PX square with the picture in its top-left corner; in frame pixels."""
    square, scale = letterboxed(picture)

    def to_frame(points: F32) -> F32:
        return ((points + 0.5) / scale - 0.5).astype(np.float32)

    found = detector.detect(square)
    return tuple(replace(d, box_px=to_frame(d.box_px), five_px=None if d.five_px is None else to_frame(d.five_px)) for d in found)


def letterboxed(picture: U8) -> tuple[U8, float]:
    """The square that is searched, (SEARCH_PX, SEARCH_PX, 3), and by how much the picture in it was scaled."""
    height, width = picture.shape[:2]
    scale = SEARCH_PX / max(height, width)
    small = cv2.resize(picture, (round(width * scale), round(height * scale)))
    square = np.zeros((SEARCH_PX, SEARCH_PX, 3), np.uint8)
    square[: small.shape[0], : small.shape[1]] = small
    return square, scale


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
