"""Capture from a camera by OpenCV: V4L2 on Linux, Media Foundation or DirectShow on Windows, AVFoundation on macOS.

What OpenCV says of a camera (`get`) is not trusted: size comes from the pictures, the rate from their times, the pixel format from the driver.
"""

from __future__ import annotations

import sys
import threading

import cv2
import numpy as np
from numpy.typing import NDArray

from livecam.capture._camera import RELEASE_S, SILENCE_S, Camera, ask
from livecam.capture._ffmpeg import silent
from livecam.capture._pump import Pump, VideoSource
from livecam.config import CaptureConfig
from livecam.errors import CaptureError, DeviceAbsentError
from livecam.types import DeviceInfo

FIRST_PICTURE_S = 10.0
"""A slow camera's start."""
PROBE_INDICES = 5
PROBE_S = 2.0


def accepts(spec: str) -> bool:
    """An index ("0"), a device path ("/dev/video2"), or the name, or a part of it, of a camera that is there."""
    return spec.isdigit() or spec.startswith("/dev/") or (bool(spec) and any(spec.lower() in device.name.lower() for device in devices()))


def devices() -> tuple[DeviceInfo, ...]:
    """Cameras that are there. On Linux by their names, livecam's own virtual camera left out; elsewhere OpenCV knows numbers only, and tries them."""
    if sys.platform == "linux":
        from livecam.capture import _linux

        return _linux.devices()
    return _probed(_other_backends()[0][1])


def open(spec: str, config: CaptureConfig) -> Camera:
    """The camera `spec`. Raises DeviceAbsentError, DeviceBusyError, FormatError (delivers nothing, or nothing usable), CaptureError (no permission),
    UsageError (a name that fits several)."""
    if sys.platform == "linux":
        from livecam.capture import _linux

        return _linux.open_camera(spec, config)
    return _open_other(spec, config)


class PumpGrabber:
    """Reads a capture that offers nothing to poll."""

    def __init__(self, source: VideoSource, what: str) -> None:
        self._pump = Pump(source, what)
        self._timeout_s = FIRST_PICTURE_S

    def read(self) -> tuple[NDArray[np.generic] | None, int, int]:
        """(image, capture_ns, seq). Raises CaptureLostError."""
        image, capture_ns, seq = self._pump.read(self._timeout_s)
        self._timeout_s = SILENCE_S
        return image, capture_ns, seq

    def close(self) -> None:
        self._pump.close()
        self._pump.join(RELEASE_S)


def _other_backends() -> tuple[tuple[str, int], ...]:
    if sys.platform == "win32":
        return ("Media Foundation", cv2.CAP_MSMF), ("DirectShow", cv2.CAP_DSHOW)
    if sys.platform == "darwin":
        return (("AVFoundation", cv2.CAP_AVFOUNDATION),)
    return (("OpenCV's own choice", cv2.CAP_ANY),)


def _open_other(spec: str, config: CaptureConfig) -> Camera:
    """Tries each back end, keeps every failure, and tells them all."""
    index = spec if spec.isdigit() else next((device.spec for device in devices() if spec.lower() in device.name.lower()), "")
    if not index:
        raise DeviceAbsentError(f"expected a camera named {spec!r}, found none; choose one by its number (`livecam devices`)")
    failures: list[str] = []
    for name, backend in _other_backends():
        with silent():
            source = cv2.VideoCapture(int(index), backend)
            opened = source.isOpened()
            if opened:
                ask(source, "MJPG" if config.pixel_format == "auto" and sys.platform == "win32" else "", config)
        if not opened:
            source.release()
            failures.append(f"{name}: not opened")
            continue
        try:
            return Camera(PumpGrabber(source, f"camera {index}"), f"camera {index}", "unknown", config)
        except CaptureError as error:
            failures.append(f"{name}: {error}")
    raise DeviceAbsentError(
        f"camera {index}: expected a camera that can be opened, found: {'; '.join(failures)}; it may be absent, in use by another program, "
        "or forbidden by the system's privacy settings"
    )


def _probed(backend: int) -> tuple[DeviceInfo, ...]:
    """Cameras by number: without names OpenCV can only try. Ends after two seconds with what was found by then."""
    found: list[DeviceInfo] = []

    def probe() -> None:
        for index in range(PROBE_INDICES):
            with silent():
                source = cv2.VideoCapture(index, backend)
                opened = source.isOpened()
                source.release()
            if not opened:
                return
            found.append(DeviceInfo("capture", "opencv", str(index), f"Camera {index}", ""))

    prober = threading.Thread(target=probe, name="livecam-capture-probe", daemon=True)
    prober.start()
    prober.join(PROBE_S)
    return tuple(found)
