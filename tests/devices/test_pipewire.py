"""The output `pipewire` on a real PipeWire daemon, read by another program."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from desktop import Child, Desktop, missing, wait_for

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
ABSENT = missing("pipewire", "wireplumber", "dbus-daemon", "pw-cli")
pytestmark = [pytest.mark.device, pytest.mark.skipif(bool(ABSENT), reason=ABSENT or "present")]


@pytest.fixture(scope="module")
def desktop() -> Iterator[Desktop]:
    with Desktop() as it:
        it.env["PYTHONPATH"] = str(ROOT)
        yield it


def writer(desktop: Desktop, width: int, height: int, seconds: int) -> Child:
    child = desktop.start(sys.executable, str(HERE / "pw_writer.py"), str(width), str(height), "30", str(seconds))
    wait_for(lambda: "PipeWire camera" in child.text() or child.process.poll() is not None, 20, "the camera")
    assert child.process.poll() is None, child.text()
    return child


def start_reader(desktop: Desktop, width: int, height: int, layout: str, seconds: float) -> Child:
    return desktop.start(sys.executable, str(HERE / "pw_reader.py"), "livecam", str(width), str(height), layout, str(seconds))


def reader(desktop: Desktop, width: int, height: int, layout: str, seconds: float) -> dict[str, Any]:
    return result(start_reader(desktop, width, height, layout, seconds))


def result(child: Child) -> dict[str, Any]:
    child.process.wait(60)
    assert child.process.returncode == 0, child.text()
    return json.loads(child.text().splitlines()[-1])


@pytest.mark.parametrize(
    ("layout", "width", "height", "spa_id", "matrix"),
    [("I420", 1280, 720, 2, 4), ("BGRx", 1280, 720, 8, 1), ("YUY2", 640, 360, 4, 4), ("I420", 1920, 1080, 2, 4)],
)
def test_reader_gets_every_frame_exact(desktop: Desktop, layout: str, width: int, height: int, spa_id: int, matrix: int) -> None:
    camera = writer(desktop, width, height, 30)
    got = reader(desktop, width, height, layout, 3)
    camera.end()
    assert got["frames"] >= 30, got
    assert got["back"] == 0, "a frame came twice or late"
    assert got["colour_error"] <= 3.0, got
    assert got["negotiated"]["0x20001"] == spa_id
    assert got["negotiated"]["0x2000d"] == matrix, "the colour matrix is declared"
    assert got["headers"] >= got["frames"]
    assert got["seq_rising"]
    assert got["pts_rising"]


def test_a_reader_that_stood_still_gets_fresh_frames_again(desktop: Desktop) -> None:
    camera = writer(desktop, 1280, 720, 30)
    watcher = start_reader(desktop, 1280, 720, "I420", 5)
    wait_for(lambda: "reading" in watcher.text(), 20, "the first frame")
    watcher.process.send_signal(signal.SIGSTOP)
    time.sleep(1.0)
    watcher.process.send_signal(signal.SIGCONT)
    got = result(watcher)
    camera.end()
    assert got["frames"] >= 40, got
    assert got["back"] == 0
    assert got["late_age_p50_ms"] < 60, "frames that waited during the stall still stand in the queue"


def test_nobody_linked_costs_nothing(desktop: Desktop) -> None:
    figures = result(writer(desktop, 1280, 720, 2))
    assert figures["sent"] == 0
    assert figures["idle_cpu_ms"] < 0.15, "a picture was converted although nobody looks"


def test_readers_come_and_go(desktop: Desktop) -> None:
    camera = writer(desktop, 640, 360, 40)
    for layout in ("I420", "BGRx", "I420"):
        assert reader(desktop, 640, 360, layout, 1)["frames"] >= 8
    camera.end()


@pytest.mark.parametrize("linked", [False, True])
def test_the_daemon_dies(linked: bool) -> None:
    with Desktop() as desktop:
        desktop.env["PYTHONPATH"] = str(ROOT)
        camera = writer(desktop, 640, 360, 30)
        if linked:
            watcher = start_reader(desktop, 640, 360, "I420", 20)
            wait_for(lambda: "Stream/Input/Video" in desktop.run("pw-cli", "ls", "Node"), 20, "the reader")
        desktop.pipewire.end(signal.SIGKILL)
        figures = result(camera)
        assert "livecam" in figures["lost"], figures
        assert "again" in figures["lost"]
        if linked:
            watcher.end()


def test_no_daemon_is_said_with_the_way_out(desktop: Desktop, tmp_path: Path) -> None:
    child = desktop.start(sys.executable, str(HERE / "pw_writer.py"), "640", "360", "30", "1", env={"XDG_RUNTIME_DIR": str(tmp_path)})
    assert child.process.wait(30) == 1
    assert "OutputError: the PipeWire camera needs a running PipeWire service; no PipeWire service answers at" in child.text()
    assert "livecam devices" in child.text()


def test_two_readers_at_once(desktop: Desktop) -> None:
    camera = writer(desktop, 640, 360, 40)
    both = [start_reader(desktop, 640, 360, "I420", 4) for _ in range(2)]
    for got in map(result, both):
        assert got["frames"] >= 40, got
        assert got["back"] == 0
        assert got["colour_error"] <= 3.0
    camera.end()


ENDINGS = {
    "falls off the end": "",
    "an exception": "raise SystemExit(7)",
    "dropped and collected": "del camera, callback\ngc.collect()",
    "closed while another thread sends": (
        "def go():\n  try:\n    while True: camera.send(image, 0, State.LIVE)\n  except OutputLostError: pass\n"
        "t = threading.Thread(target=go); t.start(); time.sleep(0.3); camera.close(); t.join()"
    ),
    "closed in another thread": "t = threading.Thread(target=camera.close); t.start(); t.join()",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_python_ends_well_however_it_is_closed(desktop: Desktop, ending: str) -> None:
    lines = (
        "import gc, threading, time, numpy as np",
        "from livecam.config import OutputConfig",
        "from livecam.errors import OutputLostError",
        "from livecam.output import pipewire",
        "from livecam.types import State, VideoFormat",
        "camera = pipewire.open('', VideoFormat(640, 360, 30.0), OutputConfig(), None)",
        "image, callback = np.zeros((360, 640, 3), np.uint8), camera.send",
        "print('PipeWire camera', flush=True)",
        "end = time.monotonic() + 20",
        "while not camera.watched() and time.monotonic() < end: time.sleep(0.01)",
        "for _ in range(10): callback(image, time.monotonic_ns(), State.LIVE); time.sleep(0.02)",
        ENDINGS[ending],
    )
    child = desktop.start(sys.executable, "-c", "\n".join(lines))
    wait_for(lambda: "PipeWire camera" in child.text() or child.process.poll() is not None, 20, "the camera")
    watcher = start_reader(desktop, 640, 360, "I420", 1)
    assert child.process.wait(30) == (7 if ending == "an exception" else 0), child.text()
    watcher.end()
