"""What every member of the room capture promises."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from capture_clips import MjpegCamera, mjpeg_server, numbered, red_corner, write_clip, write_presenter

from livecam import capture, registry
from livecam.capture import Capture
from livecam.config import CaptureConfig
from livecam.errors import CaptureError, EndOfStreamError
from livecam.types import DeviceInfo, Frame

MEMBERS = ("video", "picture", "demo", "network", "opencv", "stamped")
"""Every member; file twice, for its two kinds."""
KIND = {"video": "file", "picture": "file"}
ABSENT = {
    "file": "nothing/here.mp4",
    "demo": "demo:nothing/here",
    "network": "http://127.0.0.1:9/x.mjpg",
    "opencv": "/dev/video997",
    "stamped": "stamped:nothing/here.mp4",
}
CONFIG = CaptureConfig(realtime=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "clip.mp4", 12)
    cv2.imwrite(str(folder / "still.png"), numbered(5))
    write_presenter(folder / "presenter", 12)
    return folder


@pytest.fixture(params=MEMBERS)
def member(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[str, str]]:
    """(name of the module, spec)."""
    name: str = request.param
    if name == "network":
        with mjpeg_server(MjpegCamera()) as address:
            yield name, address
        return
    if name == "opencv":
        there = capture.load("opencv").devices()
        if not there:
            pytest.skip("no camera on this machine; tests/devices runs this kind on the kernel's virtual cameras")
        yield name, there[0].spec
        return
    specs = {
        "video": folder / "clip.mp4",
        "picture": folder / "still.png",
        "demo": f"demo:{folder / 'presenter'}",
        "stamped": f"stamped:demo:{folder / 'presenter'}",
    }
    yield KIND.get(name, name), str(specs[name])


@pytest.fixture
def opened(member: tuple[str, str]) -> Iterator[Callable[[CaptureConfig], Capture]]:
    """Opens the member; what it opened is closed afterwards."""
    sources: list[Capture] = []

    def open_it(config: CaptureConfig = CONFIG) -> Capture:
        sources.append(capture.load(member[0]).open(member[1], config))
        return sources[-1]

    yield open_it
    for source in sources:
        source.close()


Opened = Callable[..., Capture]


def test_every_file_of_the_room_is_a_member_under_test() -> None:
    assert {KIND.get(name, name) for name in MEMBERS} == set(registry.names("capture"))


def test_spec_is_accepted_by_its_member_alone(member: tuple[str, str]) -> None:
    assert [name for name in registry.names("capture") if capture.load(name).accepts(member[1])] == [member[0]]


@pytest.mark.parametrize("name", registry.names("capture"))
def test_devices_lists_what_the_member_accepts(name: str) -> None:
    module = capture.load(name)
    for device in module.devices():
        assert isinstance(device, DeviceInfo)
        assert (device.room, device.kind) == ("capture", name)
        assert module.accepts(device.spec)


@pytest.mark.parametrize("name", registry.names("capture"))
def test_what_is_absent_is_refused_with_what_was_expected(name: str) -> None:
    with pytest.raises(CaptureError, match="expected") as caught:
        capture.load(name).open(ABSENT[name], CONFIG)
    assert type(caught.value).__name__ == "DeviceAbsentError"
    assert "\n" not in str(caught.value)


def test_frames_are_pictures_in_the_order_of_time(opened: Opened) -> None:
    before_ns = time.monotonic_ns()
    source = opened()
    frames = [source.read() for _ in range(4)]
    for frame in frames:
        assert isinstance(frame, Frame)
        assert frame.image.dtype == np.uint8 and frame.image.ndim == 3 and frame.image.shape[2] == 3
        assert frame.image.flags.c_contiguous and frame.image.flags.writeable
        assert before_ns <= frame.capture_ns <= time.monotonic_ns()
        before_ns = frame.capture_ns
    assert all(earlier.seq < later.seq for earlier, later in itertools.pairwise(frames))


def test_format_is_that_of_the_pictures(opened: Opened) -> None:
    source = opened()
    frame = source.read()
    assert (source.format.height_px, source.format.width_px) == frame.image.shape[:2]
    assert source.format.fps > 0
    assert isinstance(source.notes, tuple)


def test_drawing_into_a_frame_changes_no_other(opened: Opened) -> None:
    source = opened()
    held = [source.read() for _ in range(3)]
    copies = [frame.image.copy() for frame in held[1:]]
    held[0].image[:] = 77
    later = source.read()
    assert not np.shares_memory(held[0].image, later.image)
    assert later.image.std() > 10
    for frame, copy in zip(held[1:], copies, strict=True):
        np.testing.assert_array_equal(frame.image, copy)


@pytest.mark.parametrize(
    ("rotate_deg", "mirror", "bottom_right"),
    [
        *[(0, False, (0, 0)), (0, True, (0, 1)), (90, False, (0, 1)), (90, True, (0, 0))],
        *[(180, False, (1, 1)), (180, True, (1, 0)), (270, False, (1, 0)), (270, True, (1, 1))],
    ],
)
def test_rotation_is_clockwise_and_comes_before_mirroring(
    member: tuple[str, str], opened: Opened, rotate_deg: int, mirror: bool, bottom_right: tuple[int, int]
) -> None:
    if member[0] == "network" and (rotate_deg, mirror) != (90, True):
        pytest.skip("one turn is enough for a slow start")
    source = opened(replace(CONFIG, rotate_deg=rotate_deg, mirror=mirror))
    frame = source.read()
    assert (frame.image.shape[0] > frame.image.shape[1]) == (rotate_deg in (90, 270))
    assert (source.format.height_px, source.format.width_px) == frame.image.shape[:2]
    if member[0] != "opencv":
        assert red_corner(frame.image) == bottom_right


def test_close_from_another_thread_ends_the_reader(opened: Opened) -> None:
    source = opened(replace(CONFIG, realtime=True, fps=1.0))
    source.read()
    raised: list[BaseException] = []

    def read_on() -> None:
        try:
            while True:
                source.read()
        except CaptureError as error:
            raised.append(error)

    reader = threading.Thread(target=read_on, daemon=True)
    reader.start()
    source.close()
    reader.join(10)
    assert not reader.is_alive()
    assert type(raised[0]).__name__ == "CaptureLostError"


def test_a_closed_source_gives_nothing(member: tuple[str, str]) -> None:
    with capture.load(member[0]).open(member[1], CONFIG) as source:
        source.read()
    with pytest.raises(CaptureError):
        source.read()


def test_played_once_it_ends(member: tuple[str, str], opened: Opened) -> None:
    counts = {"clip.mp4": 12, "still.png": 1, "presenter": 12}
    count = counts.get(Path(member[1]).name)
    if count is None:
        pytest.skip("a live source has no end")
    source = opened(replace(CONFIG, loop=False))
    positions = [source.read().position for _ in range(count)]
    assert positions == list(range(count))
    with pytest.raises(EndOfStreamError):
        source.read()
