"""v4l2loopback in the guest: livecam's writer against real readers. Each scenario leaves no process behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import guest
import numpy as np

from livecam.config import OutputConfig
from livecam.errors import OutputError, OutputLostError
from livecam.guard.cover import slate
from livecam.output import _openers, _v4l2, file, v4l2
from livecam.types import U8, State, VideoFormat

DEVICE = Path("/dev/video10")
FORMAT = VideoFormat(640, 360, 30.0)
CONFIG = OutputConfig()
KEPT = Path("/dev/shm/read.npy")

READER = """
import json, sys, time, cv2, numpy as np
device, kept = sys.argv[1:]
held = None
for line in sys.stdin:
    order, frames = json.loads(line)
    answer = {}
    if order == "hold":
        held = cv2.VideoCapture(device, cv2.CAP_V4L2)
        answer["held"] = held.read()[0]
    elif order == "release":
        held.release()
    elif order == "go on":
        images = [image for ok, image in (held.read() for _ in range(frames)) if ok]
        np.save(kept, np.array(images[-3:]))
        answer["frames"] = len(images)
    else:
        capture, images, times = cv2.VideoCapture(device, cv2.CAP_V4L2), [], []
        for _ in range(frames):
            ok, image = capture.read()
            if not ok: break
            images.append(image); times.append(time.monotonic())
        capture.release()
        np.save(kept, np.array(images[-3:]))
        fps = (len(times) - 1) / max(1e-6, times[-1] - times[0]) if times else 0.0
        answer.update(frames=len(images), fps=fps, size=images[-1].shape[:2] if images else None)
    print(json.dumps(answer), flush=True)
"""
"""A program with OpenCV that reads the camera on order (its start takes seconds in the guest, so there is one for all scenarios)."""

FOREIGN_WRITER = """
import sys, time
from pathlib import Path
from livecam.output import _v4l2
node = _v4l2.Node(Path(sys.argv[1]))
node.capability(); node.set_format(640, 360, "YU12")
picture, end = memoryview(bytes(640 * 360 * 3 // 2)), time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    node.write(picture); time.sleep(1 / 30)
"""
"""Writes as programs do that only call write(): no STREAMON, no lock."""

OTHER_LIVECAM = """
import sys, time
from livecam.config import OutputConfig
from livecam.output import v4l2
from livecam.types import VideoFormat
with v4l2.open(sys.argv[1], VideoFormat(640, 360, 30.0), OutputConfig(), None):
    print("open", flush=True); time.sleep(30)
"""


DYING_LIVECAM = """
import os, sys, time
import numpy as np
from livecam.config import OutputConfig
from livecam.guard.cover import slate
from livecam.output import v4l2
from livecam.types import State, VideoFormat
image = np.full((360, 640, 3), (40, 90, 200), np.uint8)
with v4l2.open(sys.argv[1], VideoFormat(640, 360, 30.0), OutputConfig(), None) as output:
    output.set_last_line(slate(640, 360, "livecam is not running"))
    print(int(output.has_last_line), flush=True)
    while True:
        output.send(image, 0, State.LIVE); time.sleep(1 / 30)
"""
"""Sends one plain picture until it is killed."""


def picture(index: int, fmt: VideoFormat = FORMAT) -> U8:
    """Colours that differ everywhere, and `index` as 16 blocks of black and white in the top rows."""
    x, y = np.meshgrid(np.arange(fmt.width_px), np.arange(fmt.height_px))
    image = np.stack([x * 255 // fmt.width_px, y * 255 // fmt.height_px, (x + y) * 255 // (fmt.width_px + fmt.height_px)], axis=2).astype(np.uint8)
    for bit in range(16):
        image[:16, bit * 16 : bit * 16 + 16] = 255 * (index >> bit & 1)
    return image


def index_of(image: U8) -> int:
    return sum(1 << bit for bit in range(16) if image[4:12, bit * 16 + 4 : bit * 16 + 12].mean() > 128)


class Sender(threading.Thread):
    """Sends numbered pictures at 30 fps until it is told to stop."""

    def __init__(self, output: v4l2.V4l2Output, fmt: VideoFormat = FORMAT) -> None:
        super().__init__()
        self.output, self.fmt, self.sent, self.ended = output, fmt, 0, threading.Event()
        self.pictures = [picture(index, fmt) for index in range(64)]

    def run(self) -> None:
        due = time.monotonic()
        while not self.ended.is_set():
            self.output.send(self.pictures[self.sent % len(self.pictures)], time.monotonic_ns(), State.LIVE)
            self.sent += 1
            due += 1 / self.fmt.fps
            time.sleep(max(0.0, due - time.monotonic()))


@contextlib.contextmanager
def sending(target: str = "", fmt: VideoFormat = FORMAT) -> Iterator[v4l2.V4l2Output]:
    """livecam's writer on air."""
    with v4l2.open(target, fmt, CONFIG, None) as output:
        sender = Sender(output, fmt)
        sender.start()
        try:
            yield output
        finally:
            sender.ended.set()
            sender.join()


@contextlib.contextmanager
def device(exclusive: int) -> Iterator[None]:
    guest.load("v4l2loopback", video_nr=DEVICE.name.removeprefix("video"), exclusive_caps=exclusive, card_label="livecam")
    guest.wait_for(DEVICE.exists, 5.0, f"{DEVICE}")
    try:
        yield
    finally:
        guest.unload("v4l2loopback")


READERS: list[Reader] = []


class Reader:
    """The other program."""

    def __init__(self) -> None:
        self.process = guest.child(READER, DEVICE, KEPT)

    def order(self, what: str, frames: int = 0) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps([what, frames]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def read(frames: int = 20) -> tuple[dict[str, Any], U8]:
    """What the other program reads, and its last three pictures."""
    said = READERS[0].order("read", frames)
    return said, np.load(KEPT)


def worst_difference(images: U8, coded: str) -> int:
    """Greatest difference of any pixel to what must come: the picture of that number, once through the same YUV."""
    there = {"I420": cv2.COLOR_BGR2YUV_I420, "YUYV": cv2.COLOR_BGR2YUV_YUY2}[coded]
    back = {"I420": cv2.COLOR_YUV2BGR_I420, "YUYV": cv2.COLOR_YUV2BGR_YUY2}[coded]
    worst = 0
    for image in images:
        expected = cv2.cvtColor(cv2.cvtColor(picture(index_of(image)), there), back)
        worst = max(worst, int(np.abs(expected.astype(int) - image.astype(int)).max()))
    return worst


def refusal(target: str = "", fmt: VideoFormat = FORMAT) -> str:
    """The words with which livecam refuses to open; fails when it does not."""
    try:
        v4l2.open(target, fmt, CONFIG, None).close()
    except OutputError as error:
        return str(error)
    raise AssertionError("opened, but a refusal was expected")


def absent() -> dict[str, Any]:
    return {"auto": refusal(), "path": refusal("/dev/video10"), "devices": len(v4l2.devices())}


def content_i420() -> dict[str, Any]:
    with device(exclusive=1), sending() as output:
        said, images = read(45)
        numbers = [index_of(image) for image in images]
        return {**said, "worst": worst_difference(images, "I420"), "numbers": numbers, "describe": output.describe(), "dropped": output.dropped}


def content_yuyv() -> dict[str, Any]:
    with device(exclusive=1), sending("livecam?format=YUYV"):
        said, images = read()
        return {**said, "worst": worst_difference(images, "YUYV")}


def second_use() -> dict[str, Any]:
    """The device after livecam has used it, a reader has captured, and livecam has gone: twice."""
    rounds: list[dict[str, Any]] = []
    with device(exclusive=1):
        for _ in range(2):
            with sending():
                said, images = read(10)
            rounds.append({"frames": said["frames"], "worst": worst_difference(images, "I420"), "note": v4l2.devices()[0].note})
    return {"rounds": rounds}


def trap() -> dict[str, Any]:
    """What another program leaves behind with exclusive_caps=1, what livecam says of it, and that it restores the device."""
    with device(exclusive=1):
        writer = guest.child(FOREIGN_WRITER, DEVICE, 4)
        guest.wait_for(lambda: _v4l2.is_streaming(DEVICE), 40.0, "the foreign writer")  # a Python starts slowly here
        read(10)
        writer.wait(40)
        with _v4l2.Node(DEVICE) as node:
            stuck = node.capability().is_stuck
            try:
                node.set_format(640, 360, "YU12")
                refused = ""
            except OSError as error:
                refused = error.strerror or ""
        note = v4l2.devices()[0].note
        with sending():
            said, images = read(10)
        return {"stuck": stuck, "refused": refused, "note": note, "frames": said["frames"], "worst": worst_difference(images, "I420")}


def second_livecam() -> dict[str, Any]:
    with device(exclusive=1):
        other = guest.child(OTHER_LIVECAM, DEVICE)
        assert other.stdout is not None
        other.stdout.readline()
        words = refusal(str(DEVICE))
        os.kill(other.pid, 9)
        other.wait()
        with sending():
            said, _ = read(5)
        return {"words": words, "pid": other.pid, "frames_after_kill": said["frames"]}


def last_line() -> dict[str, Any]:
    """What a reader sees when livecam is stopped, and when it is killed: the slate, from the driver itself."""
    told: dict[str, Any] = {}
    with device(exclusive=1):
        writer = guest.child(DYING_LIVECAM, DEVICE)
        assert writer.stdout is not None
        told["set"] = writer.stdout.readline().strip()
        told["held"] = READERS[0].order("hold")["held"]
        expected = cv2.cvtColor(cv2.cvtColor(slate(640, 360, "livecam is not running"), cv2.COLOR_BGR2YUV_I420), cv2.COLOR_YUV2BGR_I420)
        for name, number in (("stopped", signal.SIGSTOP), ("killed", signal.SIGKILL)):
            os.kill(writer.pid, number)
            told[name] = READERS[0].order("go on", 8)["frames"]
            images = np.load(KEPT)
            told[f"{name}_worst"] = int(np.abs(images[-1].astype(int) - expected).max()) if len(images) else -1
        writer.wait()
        READERS[0].order("release")
    return told


def _busy(exclusive: int) -> dict[str, Any]:
    with device(exclusive):
        writer = guest.child(FOREIGN_WRITER, DEVICE, 4)
        guest.wait_for(lambda: _v4l2.is_streaming(DEVICE), 40.0, "the foreign writer")  # a Python starts slowly here
        words, note = refusal(), v4l2.devices()[0].note
        writer.wait(40)
        return {"words": words, "note": note}


def busy_exclusive() -> dict[str, Any]:
    return _busy(1)


def busy_shared() -> dict[str, Any]:
    return _busy(0)


def is_watched(output: v4l2.V4l2Output) -> bool:
    output.watched()
    output._watch.settle()
    return output.watched()


def lingering_reader() -> dict[str, Any]:
    """A reader stays while livecam starts again in another size: the device keeps the old one, and pictures are fitted into it."""
    with device(exclusive=1):
        with sending() as output:
            unwatched = is_watched(output)
            READERS[0].order("hold")
            time.sleep(_openers.PERIOD_S + 0.1)
            watched = is_watched(output)
        with sending(fmt=VideoFormat(640, 480, 30.0)) as output:
            other = Reader()
            said = other.order("read", 10)
            images, describe = np.load(KEPT), output.describe()
            other.process.kill()
            other.process.wait()
        READERS[0].order("release")
    return {"unwatched": unwatched, "watched": watched, "size": said["size"], "describe": describe, "bars": int(images[-1][:, :70].max())}


def contract() -> dict[str, Any]:
    """The room's contract suite on the real device."""
    with device(exclusive=1):
        command = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "-k", "v4l2", "tests/contracts/test_output.py"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return {"code": done.returncode, "said": done.stdout[-2000:]}


def disk_full() -> dict[str, Any]:
    """A recording on a disk of 24 MB."""
    folder = Path("/dev/shm/disk")
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], check=True)
    noise = np.random.default_rng(5).integers(0, 256, (3, 480, 640, 3), dtype=np.uint8)
    target = folder / "out.mp4"
    words, sent = "", 0
    output = file.open(f"{target}?every_frame=1", VideoFormat(640, 480, 30.0), CONFIG, None)
    try:
        for sent in range(5000):
            output.send(noise[sent % 3], 0, State.LIVE)
    except OutputLostError as error:
        words = str(error)
    output.close()
    capture, played = cv2.VideoCapture(str(target)), 0
    while capture.read()[0]:
        played += 1
    left = [path.name for path in folder.iterdir()]
    try:
        file.open(str(folder / "more.mp4"), VideoFormat(640, 480, 30.0), CONFIG, None).close()
        second = ""
    except OutputError as error:
        second = str(error)
    return {"words": words, "sent": sent, "encoded": output.frames, "played": played, "left": left, "second": second}


if __name__ == "__main__":
    cv2.setNumThreads(1)
    READERS.append(Reader())
    chosen = [absent, content_i420, content_yuyv, second_use, trap, second_livecam, last_line, busy_exclusive, busy_shared]
    chosen += [lingering_reader, contract, disk_full]
    guest.run(*[scenario for scenario in chosen if not sys.argv[2:] or scenario.__name__ in sys.argv[2:]])
    READERS[0].process.kill()
