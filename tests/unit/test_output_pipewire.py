"""The output `pipewire` without a daemon: PODs, pixel conversion, and what is said when PipeWire is not there."""

from __future__ import annotations

import ctypes as ct
import socket
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from livecam.config import OutputConfig
from livecam.errors import OutputError, UsageError
from livecam.output import _pipewire_lib as pw
from livecam.output import _pipewire_pod as spa
from livecam.output import pipewire
from livecam.types import VideoFormat

FMT = VideoFormat(640, 360, 30.0)
BY_NAME = {layout.name: layout for layout in spa.LAYOUTS}


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A session without a PipeWire socket."""
    for variable in ("PIPEWIRE_REMOTE", "PIPEWIRE_RUNTIME_DIR", "USERPROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


# ---------- PODs ----------


def test_pods_are_the_bytes_that_spa_defines() -> None:
    assert spa.pod_int(-2) == struct.pack("=IIi4x", 4, 4, -2)
    assert spa.pod_id(7) == struct.pack("=III4x", 4, 3, 7)
    assert spa.pod_rectangle(1280, 720) == struct.pack("=IIII", 8, 10, 1280, 720)
    assert spa.pod_fraction(Fraction(30000, 1001)) == struct.pack("=IIII", 8, 11, 30000, 1001)
    assert spa.pod_choice_int(spa.CHOICE_RANGE, 4, 2, 8) == struct.pack("=II4I3i4x", 28, 19, 1, 0, 4, 4, 4, 2, 8)
    assert spa.pod_object(0x40005, 6, ((1, spa.pod_id(1)),)) == struct.pack("=IIII II III4x", 32, 15, 0x40005, 6, 1, 0, 4, 3, 1)


@pytest.mark.parametrize("layout", spa.LAYOUTS, ids=lambda x: x.name)
def test_an_offer_is_read_back_as_what_was_offered(layout: spa.PixelLayout) -> None:
    offer = spa.format_offer(layout, 1280, 720, 30.0)
    assert len(offer) % 8 == 0
    ids = spa.chosen_ids(offer)
    assert ids[spa.VIDEO_FORMAT] == layout.spa_id
    assert ids[spa.COLOR_MATRIX] == (spa.MATRIX_BT601 if layout.yuv else spa.MATRIX_RGB)
    assert ids[spa.COLOR_RANGE] == (spa.RANGE_16_235 if layout.yuv else spa.RANGE_0_255)
    assert spa.VIDEO_SIZE not in ids


def test_a_choice_gives_its_default_and_other_types_are_passed_over() -> None:
    choice = spa.pod(spa.TYPE_CHOICE, struct.pack("=IIIIII", 3, 0, 4, spa.TYPE_ID, 12, 13))
    data = spa.pod_object(1, 2, ((5, spa.pod_int(9)), (6, choice), (7, spa.pod_rectangle(1, 2)), (8, spa.pod_id(3))))
    assert spa.chosen_ids(data) == {6: 12, 8: 3}


@pytest.mark.parametrize("data", [b"", b"\0" * 8, spa.pod_int(3) + b"\0" * 8, spa.pod_object(1, 2, ((1, spa.pod_id(1)),))[:-4]])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="object POD"):
        spa.chosen_ids(data)


@pytest.mark.parametrize(
    ("fps", "rate"),
    [(30.0, "30"), (29.97, "30000/1001"), (59.94, "60000/1001"), (23.976, "24000/1001"), (60.0, "60"), (12.5, "25/2"), (7.5, "15/2"), (30.001, "30")],
)
def test_frame_rates(fps: float, rate: str) -> None:
    assert spa.frame_rate(fps) == Fraction(rate)


def test_pod_array_points_at_the_pods() -> None:
    pods = (spa.pod_int(1), spa.format_offer(spa.LAYOUTS[0], 64, 48, 30.0))
    array, memory = pw.pod_array(*pods)
    assert len(memory) == 2
    assert tuple(pw.pod_bytes(array[i] or 0) for i in range(2)) == (pods[0][:12], pods[1])


def test_structures_have_the_sizes_of_the_c_headers() -> None:
    """On the 64-bit machines that livecam supports; from spa/buffer/buffer.h, meta.h and pipewire/stream.h."""
    assert ct.sizeof(ct.c_void_p) == 8
    sizes = {pw.Chunk: 16, pw.Data: 40, pw.Meta: 16, pw.SpaBuffer: 24, pw.Header: 32, pw.StreamEvents: 96}
    assert {kind: ct.sizeof(kind) for kind in sizes} == sizes
    assert pw.StreamEvents.process.offset == 64


# ---------- pixels ----------


@pytest.mark.parametrize(
    ("name", "back", "worst"), [("I420", cv2.COLOR_YUV2BGR_I420, 3), ("YUY2", cv2.COLOR_YUV2BGR_YUY2, 3), ("BGRx", cv2.COLOR_BGRA2BGR, 0)]
)
def test_conversion_writes_into_the_given_memory(name: str, back: int, worst: int) -> None:
    y, x = np.mgrid[0:90, 0:160]
    image = np.dstack((40 + x // 2, 60 + y, 200 - x // 2)).astype(np.uint8)
    image = np.ascontiguousarray(image.reshape(45, 2, 80, 2, 3)[:, :1, :, :1].repeat(2, 1).repeat(2, 3).reshape(90, 160, 3))
    layout = BY_NAME[name]
    size = layout.size_bytes(160, 90)
    memory = np.full(size + 64, 77, np.uint8)
    pipewire.convert(image, layout, memory[:size])
    assert (memory[size:] == 77).all(), "written past the end"
    shape = {"I420": (135, 160), "YUY2": (90, 160, 2), "BGRx": (90, 160, 4)}[name]
    decoded = cv2.cvtColor(memory[:size].reshape(shape), back)
    assert np.abs(decoded.astype(int) - image).max() <= worst


def test_white_and_black_are_limited_range_bt601() -> None:
    image = np.zeros((2, 4, 3), np.uint8)
    image[:, 2:] = 255
    memory = np.empty(12, np.uint8)
    pipewire.convert(image, BY_NAME["I420"], memory)
    assert memory[:4].tolist() == [16, 16, 235, 235]
    image[:] = (0, 0, 255)
    pipewire.convert(image, BY_NAME["I420"], memory)
    assert abs(int(memory[0]) - 82) <= 1, "luma of pure red: 82 in BT.601, 63 in BT.709"


# ---------- no PipeWire ----------


def test_no_daemon(nowhere: Path) -> None:
    assert pipewire.devices() == ()
    try:
        pw.load()
    except OutputError:
        pytest.skip("libpipewire is not installed")
    with pytest.raises(OutputError, match=r"no PipeWire service answers at .*pipewire-0.*systemctl --user start pipewire.*livecam devices"):
        pipewire.open("", FMT, OutputConfig(), None)


def test_a_stale_socket_is_no_daemon(nowhere: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(nowhere / "pipewire-0"))
    assert "no PipeWire service answers" in pw.why_absent()
    with socket.socket(socket.AF_UNIX) as alive:
        (nowhere / "pipewire-0").unlink()
        alive.bind(str(nowhere / "pipewire-0"))
        alive.listen()
        assert pw.why_absent() == ""


def test_where_the_socket_is(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pw.socket_path() == nowhere / "pipewire-0"
    monkeypatch.setenv("PIPEWIRE_RUNTIME_DIR", "/run/pw")
    monkeypatch.setenv("PIPEWIRE_REMOTE", "other")
    assert pw.socket_path() == Path("/run/pw/other")
    monkeypatch.setenv("PIPEWIRE_REMOTE", "/tmp/socket")
    assert pw.socket_path() == Path("/tmp/socket")
    for variable in ("PIPEWIRE_REMOTE", "PIPEWIRE_RUNTIME_DIR", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(variable)
    assert pw.socket_path() is None
    assert "XDG_RUNTIME_DIR" in pw.why_absent()


def test_a_daemon_that_hangs_up_gives_an_error_and_no_crash(nowhere: Path) -> None:
    """In a process of its own: what is tested is that the C library's failure path leaves Python alive."""
    code = (
        "from livecam.output import pipewire, _pipewire_lib as pw\n"
        "from livecam.config import OutputConfig\n"
        "from livecam.errors import OutputError\n"
        "from livecam.types import VideoFormat\n"
        "pipewire.CONNECT_TIMEOUT_S = 0.5\n"
        "for _ in range(3):\n"
        "    try:\n"
        "        pipewire.open('', VideoFormat(640, 360, 30.0), OutputConfig(), None)\n"
        "    except OutputError as error:\n"
        "        print('SAID', error)\n"
    )
    with socket.socket(socket.AF_UNIX) as fake:
        fake.bind(str(nowhere / "pipewire-0"))
        fake.listen(64)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("SAID") == 3


def test_the_library_is_not_installed(monkeypatch: pytest.MonkeyPatch, nowhere: Path) -> None:
    monkeypatch.setattr(pw, "SONAME", "libpipewire-absent.so.9")
    pw.load.cache_clear()
    try:
        with pytest.raises(OutputError, match=r"libpipewire-absent\.so\.9.*apt install pipewire"):
            pipewire.open("", FMT, OutputConfig(), None)
    finally:
        pw.load.cache_clear()


@pytest.mark.parametrize("name", ['a"b', "a\\b", "x" * 61, "new\nline"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(UsageError, match="camera's name"):
        pipewire.open(name, FMT, OutputConfig(), None)
