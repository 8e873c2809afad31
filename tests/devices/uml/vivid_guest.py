"""The kernel's virtual webcam (vivid) in the guest: livecam's capture against a camera that ages, changes, vanishes and comes back."""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import cv2
import guest
from numpy.typing import NDArray

from livecam.capture import Newest, _linux, opencv
from livecam.config import CaptureConfig
from livecam.errors import CaptureError
from livecam.types import Frame

DEVICE = Path("/dev/video20")
DRIVER = Path("/sys/bus/platform/drivers/vivid")
CONFIG = CaptureConfig(camera=str(DEVICE), width_px=640, height_px=360, fps=30.0, pixel_format="YUYV")
PERIOD_MS = 1000 / 30
BIND_TRIES = 8

stamps: dict[int, float] = {}
"""The driver's own time (monotonic ms) of each picture, by its checksum: vivid writes a running clock into its pictures, so no two are equal."""


class StampingCapture:
    """cv2.VideoCapture that notes the driver's time of what it hands out."""

    def __init__(self, *arguments: Any) -> None:
        self._inner = cv2.VideoCapture(*arguments)

    def retrieve(self) -> tuple[bool, NDArray[Any]]:
        stamp_ms = self._inner.get(cv2.CAP_PROP_POS_MSEC)
        ok, image = self._inner.retrieve()
        if ok:
            stamps[zlib.crc32(image)] = stamp_ms
        return ok, image

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class StampingCv2:
    """The module cv2 with that capture."""

    VideoCapture = StampingCapture

    def __getattr__(self, name: str) -> Any:
        return getattr(cv2, name)


def load() -> None:
    guest.load("vivid", n_devs=1, node_types=1, num_inputs=1, input_types=0, vid_cap_nr=20)
    guest.wait_for(DEVICE.exists, 5.0, str(DEVICE))


def take(newest: Newest, timeout_s: float = 5.0) -> Frame:
    frame = newest.take(timeout_s)
    assert frame is not None, f"no frame in {timeout_s} s: {newest.lost}"
    return frame


def staleness() -> dict[str, Any]:
    """Age of what a slow consumer (150 ms a frame) receives, by the driver's time of the picture."""
    stamps.clear()
    ages: list[float] = []
    said: list[float] = []
    with Newest(lambda: opencv.open(str(DEVICE), CONFIG)) as newest:
        for _ in range(25):
            frame = take(newest)
            now_ms = time.monotonic() * 1e3
            ages.append(now_ms - stamps[zlib.crc32(frame.image)])
            said.append(now_ms - frame.capture_ns / 1e6)
            time.sleep(0.15)
        dropped, fmt = newest.dropped + newest.skipped, newest.format
    assert fmt is not None
    result = {"age_ms": statistics.median(ages[3:]), "said_ms": statistics.median(said[3:]), "dropped": dropped, "period_ms": PERIOD_MS}
    return {**result, "fps": fmt.fps, "size": [fmt.width_px, fmt.height_px]}


def bind() -> None:
    """The camera is plugged in. A reader that is just looking for it can hold the old node for a moment, and the new one gets another number:
    then once more, so that what follows finds it where it was."""
    for _ in range(BIND_TRIES):
        (DRIVER / "bind").write_text("vivid.0")
        with contextlib.suppress(TimeoutError):
            guest.wait_for(DEVICE.exists, 2.0, "the device")
            return
        (DRIVER / "unbind").write_text("vivid.0")
        time.sleep(1.0)
    raise TimeoutError(f"{DEVICE} did not come back in {BIND_TRIES} tries")


def _replug(unplug: Any, plug: Any) -> dict[str, Any]:
    """Frames, loss, slate time, frames again."""
    with Newest(lambda: opencv.open(str(DEVICE), CONFIG)) as newest:
        before = take(newest)
        unplug()
        began = time.monotonic()
        guest.wait_for(lambda: newest.lost, 5.0, "the loss to be noticed")
        noticed_s, words = time.monotonic() - began, newest.lost
        gap = newest.take(0.3)
        plug()
        began = time.monotonic()
        after = guest.wait_for(lambda: newest.take(0.2), 40.0, "a frame after the camera came back")
        back_s, lost_after, reopened = time.monotonic() - began, newest.lost, newest.reopened
        result = {"noticed_s": noticed_s, "words": words, "gap": gap is not None, "back_s": back_s, "lost_after": lost_after, "reopened": reopened}
        return {**result, "later": after.capture_ns > before.capture_ns and after.seq > before.seq}


def unbind() -> dict[str, Any]:
    """The driver lets the device go, as at unplugging: the node vanishes."""

    return _replug(lambda: (DRIVER / "unbind").write_text("vivid.0"), bind)


def disconnect() -> dict[str, Any]:
    """vivid's own control: the device answers ENODEV until the driver is bound anew."""

    def plug() -> None:
        (DRIVER / "unbind").write_text("vivid.0")
        bind()

    return _replug(lambda: guest.set_control(str(DEVICE), "Disconnect", 1), plug)


def absent_and_back() -> dict[str, Any]:
    """Opening a camera that is not there."""
    (DRIVER / "unbind").write_text("vivid.0")
    try:
        opencv.open(str(DEVICE), CONFIG)
        kind, words = "", ""
    except CaptureError as error:
        kind, words = type(error).__name__, str(error)
    bind()
    guest.wait_for(DEVICE.exists, 5.0, str(DEVICE))
    return {"kind": kind, "words": words}


def busy() -> dict[str, Any]:
    """Opening a camera that another program streams from."""
    holder = guest.child(
        "import sys, cv2\ncapture = cv2.VideoCapture(sys.argv[1], cv2.CAP_V4L2)\n"
        "print(capture.read()[0], flush=True)\nfor _ in iter(lambda: capture.read()[0], False): pass",
        DEVICE,
    )
    assert holder.stdout is not None
    first = holder.stdout.readline().strip()
    try:
        opencv.open(str(DEVICE), CONFIG).close()
        kind, words = "", ""
    except CaptureError as error:
        kind, words = type(error).__name__, str(error)
    finally:
        holder.kill()
        holder.wait()
    return {"first": first, "kind": kind, "words": words}


def format_change() -> dict[str, Any]:
    """The camera comes back in another size (its only one then), while open."""
    sizes: list[list[int]] = []
    wanted = [CONFIG]
    with Newest(lambda: opencv.open(str(DEVICE), wanted[0])) as newest:
        sizes.append(list(take(newest).image.shape[:2]))
        wanted[0] = CaptureConfig(camera=str(DEVICE), width_px=1280, height_px=720, fps=30.0, pixel_format="YUYV")
        (DRIVER / "unbind").write_text("vivid.0")
        guest.wait_for(lambda: newest.lost, 5.0, "the loss")
        bind()
        frame = guest.wait_for(lambda: newest.take(0.2), 40.0, "a frame")
        sizes.append(list(frame.image.shape[:2]))
        fmt = newest.format
    assert fmt is not None
    return {"sizes": sizes, "format": [fmt.width_px, fmt.height_px]}


if __name__ == "__main__":
    cv2.setNumThreads(1)
    _linux.cv2 = StampingCv2()  # type: ignore[assignment]
    guest.seed_random()
    load()
    chosen = [staleness, busy, absent_and_back, unbind, disconnect, format_change]
    guest.run(*[scenario for scenario in chosen if not sys.argv[2:] or scenario.__name__ in sys.argv[2:]])
