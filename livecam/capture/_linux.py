"""Cameras on Linux: V4L2 by OpenCV, with the device itself polled first.

A vanished camera gives OpenCV (False, None) at once and for ever, or blocks its `read` for 10 s; the poll sees it in time, and sees queued pictures.
"""

from __future__ import annotations

import math
import select
import threading
import time
from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from livecam.capture import _v4l2
from livecam.capture._camera import DRIVER_BUFFERS, RELEASE_S, SILENCE_S, Camera, ask
from livecam.capture._ffmpeg import silent
from livecam.capture._pump import VideoSource
from livecam.config import CaptureConfig
from livecam.errors import CaptureError, CaptureLostError, DeviceAbsentError, FormatError, UsageError
from livecam.types import DeviceInfo

POLL_S = 0.1
"""How soon a waiting `read` sees that it was closed."""
GOOD_SHARE = 0.7
"""Of the rate asked for: below it another pixel format is tried."""


def devices() -> tuple[DeviceInfo, ...]:
    """Cameras that are there; livecam's own virtual camera and nodes that deliver no pictures are left out."""
    return tuple(DeviceInfo("capture", "opencv", node.path, node.card, _trap(node)) for node in _v4l2.nodes() if node.captures and not node.own)


def _trap(node: _v4l2.Node) -> str:
    if node.virtual:
        return "a virtual camera: shows what some program writes to it; not taken by auto"
    return "infrared or depth only; not taken by auto" if node.colour_free else ""


def open_camera(spec: str, config: CaptureConfig) -> Camera:
    """The camera `spec` (see opencv.open)."""
    return _open_v4l2(path_of(spec), config)


def path_of(spec: str) -> str:
    """The device of a camera's number, path or name. Raises DeviceAbsentError, UsageError (a name that fits several)."""
    if spec.isdigit():
        return f"/dev/video{spec}"
    if spec.startswith("/dev/"):
        return spec
    listed = [node for node in _v4l2.nodes() if node.captures]
    exact = [node for node in listed if node.card.lower() == spec.lower()]
    fitting = exact or [node for node in listed if spec.lower() in node.card.lower()]
    if not fitting:
        there = ", ".join(f"{node.card!r} ({node.path})" for node in listed) or "none"
        raise DeviceAbsentError(f"expected a camera named {spec!r}, found: {there}; plug it in, or choose one of these")
    if len({node.card for node in fitting}) > 1:
        several = ", ".join(f"{node.card!r} ({node.path})" for node in fitting)
        raise UsageError(f"camera {spec!r} fits several: {several}; give the whole name or the path")
    return fitting[0].path


def _open_v4l2(path: str, config: CaptureConfig) -> Camera:
    node = _v4l2.query(path)
    if not node.captures:
        hint = "start the program that writes to it first" if node.virtual else "it is the camera's metadata or an output; choose another node"
        raise FormatError(f"{path} ({node.card}): expected a camera, found a device that delivers no pictures now; {hint}")
    _v4l2.check_free(path)
    what = f"{node.card} ({path})"
    raw_fps = _listed_rate(path, config)
    order = fourcc_order(node.formats, raw_fps, config)
    return best(lambda fourcc: _start_v4l2(path, what, fourcc, config), order, config, {"YUYV": raw_fps} if raw_fps else {})


def _listed_rate(path: str, config: CaptureConfig) -> float:
    """Fastest raw rate that the driver lists for the size asked for; 0.0 when it lists none."""
    return max(_v4l2.rates(path, "YUYV", config.width_px, config.height_px), default=0.0)


def fourcc_order(formats: tuple[str, ...], raw_fps: float, config: CaptureConfig) -> tuple[str, ...]:
    """Pixel formats to try, "" for the driver's own choice: MJPG before raw where raw is slower than asked (raw_fps, 0.0 unknown), else raw."""
    if config.pixel_format != "auto":
        if formats and config.pixel_format not in formats:
            raise FormatError(f"expected the pixel format {config.pixel_format}, found {', '.join(formats)}; use --pixel-format auto")
        return (config.pixel_format,)
    order = ("YUYV", "MJPG") if raw_fps >= config.fps * GOOD_SHARE else ("MJPG", "YUYV")
    return tuple(fourcc for fourcc in order if fourcc in formats) or ("",)


def best(start: Callable[[str], Camera], order: tuple[str, ...], config: CaptureConfig, listed: Mapping[str, float]) -> Camera:
    """The first of the formats that reaches the rate asked for; else the fastest. Raises what the last one raised when none starts.

    listed: fastest rate that the driver lists for a format; one that cannot beat what was measured is not tried (a dark room slows them all).
    """
    rates: dict[str, float] = {}
    failures: list[CaptureError] = []
    waiting = order
    while waiting:
        fourcc, waiting = waiting[0], waiting[1:]
        try:
            camera = start(fourcc)
        except CaptureError as error:
            failures.append(error)
            continue
        fps = rates[fourcc] = camera.format.fps
        waiting = () if fps >= config.fps * GOOD_SHARE else tuple(other for other in waiting if listed.get(other, math.inf) > fps)
        if not waiting and fps >= max(rates.values()):
            return camera
        camera.close()
    if not rates:
        raise failures[-1]
    return start(max(rates, key=lambda fourcc: rates[fourcc]))


def _start_v4l2(path: str, what: str, fourcc: str, config: CaptureConfig) -> Camera:
    before = _v4l2.own_fds(path)
    with silent():
        source = cv2.VideoCapture(path, cv2.CAP_V4L2)
        if not source.isOpened():
            source.release()
            _v4l2.check_free(path)
            raise FormatError(f"{what}: expected a camera that OpenCV can use, found one that it refuses; choose another (`livecam devices`)")
        ask(source, fourcc, config)
        fd = _v4l2.stream_fd(path, before)
        if not source.grab():
            source.release()
            _v4l2.check_free(path)
            raise FormatError(f"{what}: expected pictures, found that it delivers nothing; plug it in anew, or choose another (`livecam devices`)")
    delivered = (_v4l2.delivered_format(fd) if fd is not None else "") or fourcc or "unknown"
    return Camera(V4L2Grabber(source, what, fd), what, delivered, config)


class V4L2Grabber:
    """Reads a V4L2 capture without ever blocking for long, and always its newest picture: what has queued up meanwhile is left undecoded."""

    def __init__(self, source: VideoSource, what: str, fd: int | None, silence_s: float = SILENCE_S) -> None:
        """fd: the descriptor to poll; None: OpenCV's own wait is used (up to 10 s)."""
        self._source = source
        self._what = what
        self._silence_s = silence_s
        self._poll = select.poll() if fd is not None else None
        if self._poll is not None and fd is not None:
            self._poll.register(fd, select.POLLIN)
        self._lock = threading.Lock()
        self._closing = False
        self._seq = -1

    def read(self) -> tuple[NDArray[np.generic] | None, int, int]:
        """(image, capture_ns, seq). Raises CaptureLostError."""
        with self._lock:
            self._wait()
            try:
                return self._newest()
            except cv2.error as error:
                raise CaptureLostError(f"{self._what}: expected a picture, OpenCV gave up: {str(error.err)[:120]}") from error

    def _newest(self) -> tuple[NDArray[np.generic] | None, int, int]:
        grabbed = self._source.grab()
        self._seq += 1
        for _ in range(DRIVER_BUFFERS):
            if not grabbed or self._poll is None or not self._ready(0.0):
                break
            grabbed = self._source.grab()
            self._seq += 1
        capture_ns = time.monotonic_ns()
        if not grabbed:
            raise CaptureLostError(f"{self._what}: expected a picture, found the camera gone; plug it in again")
        ok, image = self._source.retrieve()
        if not ok:
            raise CaptureLostError(f"{self._what}: expected a picture, found one that cannot be decoded")
        return image, capture_ns, self._seq

    def _wait(self) -> None:
        until = time.monotonic() + self._silence_s
        while not self._closing:
            if self._poll is None or self._ready(POLL_S):
                break
            if time.monotonic() > until:
                raise CaptureLostError(
                    f"{self._what}: expected a picture, found none for {self._silence_s:g} s; is its cable, or the program behind it, there?"
                )
        if self._closing:
            raise CaptureLostError(f"{self._what}: closed")

    def _ready(self, timeout_s: float) -> bool:
        assert self._poll is not None
        events = self._poll.poll(timeout_s * 1000)
        if not events:
            return False
        if events[0][1] & select.POLLIN:
            return True
        raise CaptureLostError(f"{self._what}: expected a picture, found the camera gone; plug it in again")

    def close(self) -> None:
        self._closing = True
        if self._lock.acquire(timeout=RELEASE_S):
            with silent():
                self._source.release()
            self._lock.release()
        else:
            threading.Thread(target=self._release_late, name="livecam-capture-release", daemon=True).start()

    def _release_late(self) -> None:
        with self._lock, silent():
            self._source.release()
