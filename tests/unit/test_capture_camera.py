"""Cameras without a camera: a pipe stands for the driver's descriptor, scripted pictures for what it delivers."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from livecam import capture
from livecam.capture import Source, choose, opencv
from livecam.capture._camera import Camera
from livecam.capture._pump import Pump
from livecam.capture._shape import RateMeter, Shaper, aspect_note, fitted_px
from livecam.config import CaptureConfig
from livecam.errors import CaptureError, CaptureLostError, DeviceAbsentError, DeviceBusyError, FormatError, UsageError
from livecam.types import DeviceInfo

linux = pytest.mark.skipif(sys.platform != "linux", reason="V4L2 is Linux")
if sys.platform == "linux":
    from livecam.capture import _linux, _v4l2
    from livecam.capture._linux import V4L2Grabber, best, fourcc_order

CONFIG = CaptureConfig()


class Driver:
    """A cv2.VideoCapture on a driver with a queue: `deliver` puts a picture, `unplug` takes the device away."""

    def __init__(self) -> None:
        self.fd, self._into = os.pipe()
        self.decoded: list[int] = []
        self.grabbed = 0
        self.released = 0
        self.grab_works = self.retrieve_works = True
        self.error: cv2.error | None = None

    def deliver(self, count: int = 1) -> None:
        os.write(self._into, b"p" * count)

    def unplug(self) -> None:
        os.close(self._into)

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def grab(self) -> bool:
        if self.error is not None:
            raise self.error
        if self.grab_works:
            os.read(self.fd, 1)
            self.grabbed += 1
        return self.grab_works

    def retrieve(self) -> tuple[bool, NDArray[np.uint8] | None]:
        self.decoded.append(self.grabbed)
        image = np.full((48, 64, 3), self.grabbed, np.uint8)
        return (True, image) if self.retrieve_works else (False, None)

    def set(self, propId: int, value: float) -> bool:
        return True

    def get(self, propId: int) -> float:
        return 0.0

    def release(self) -> None:
        self.released += 1


@linux
def test_what_has_queued_up_in_the_driver_is_thrown_away_undecoded() -> None:
    driver = Driver()
    grabber = V4L2Grabber(driver, "cam", driver.fd)
    driver.deliver(3)
    image, _, seq = grabber.read()
    assert image is not None
    assert (image[0, 0, 0], seq, driver.decoded) == (3, 2, [3])
    driver.deliver()
    assert grabber.read()[2] == 3


@linux
def test_a_driver_that_is_faster_than_we_are_cannot_hold_us_for_ever() -> None:
    driver = Driver()
    driver.deliver(1000)
    assert V4L2Grabber(driver, "cam", driver.fd).read()[2] < 10


@linux
def test_an_unplugged_camera_is_noticed_at_once() -> None:
    driver = Driver()
    grabber = V4L2Grabber(driver, "cam", driver.fd, silence_s=60.0)
    driver.deliver()
    grabber.read()
    driver.unplug()
    with pytest.raises(CaptureLostError, match="gone"):
        grabber.read()


@linux
def test_a_silent_camera_is_lost_after_a_while() -> None:
    driver = Driver()
    with pytest.raises(CaptureLostError, match=r"none for 0\.05 s"):
        V4L2Grabber(driver, "cam", driver.fd, silence_s=0.05).read()
    assert driver.grabbed == 0, "OpenCV would have blocked in it"


@linux
@pytest.mark.parametrize("fault", ["grab", "retrieve", "exception"])
def test_what_opencv_says_of_a_vanished_camera_becomes_a_loss(fault: str) -> None:
    driver = Driver()
    driver.deliver()
    driver.grab_works = fault != "grab"
    driver.retrieve_works = fault != "retrieve"
    driver.error = cv2.error("broken") if fault == "exception" else None
    with pytest.raises(CaptureLostError, match="expected a picture"):
        V4L2Grabber(driver, "cam", driver.fd).read()


@linux
def test_close_ends_a_waiting_read_and_releases_once() -> None:
    driver = Driver()
    grabber = V4L2Grabber(driver, "cam", driver.fd, silence_s=60.0)
    caught: list[CaptureError] = []

    def read() -> None:
        try:
            grabber.read()
        except CaptureError as error:
            caught.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    grabber.close()
    reader.join(10)
    assert not reader.is_alive()
    assert (str(caught[0]), driver.released) == ("cam: closed", 1)


class Endless:
    """A cv2.VideoCapture on Windows or macOS that blocks in `grab` until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Semaphore(0)
        self.released = threading.Event()
        self.works = True

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def grab(self) -> bool:
        self.let_go.acquire()
        return self.works

    def retrieve(self) -> tuple[bool, NDArray[np.uint8] | None]:
        return True, np.zeros((48, 64, 3), np.uint8)

    def set(self, propId: int, value: float) -> bool:
        return True

    def get(self, propId: int) -> float:
        return 0.0

    def release(self) -> None:
        self.released.set()


def test_a_pump_ends_a_blocked_read_and_releases_when_the_driver_lets_go() -> None:
    source = Endless()
    pump = Pump(source, "cam")
    source.let_go.release()
    assert pump.read(10.0)[2] == 0
    with pytest.raises(CaptureLostError, match=r"none for 0\.01 s"):
        pump.read(0.01)
    pump.close()
    with pytest.raises(CaptureLostError, match="closed"):
        pump.read(10.0)
    assert not source.released.is_set()
    source.let_go.release()
    assert pump.join(10.0)
    assert source.released.is_set()


def test_a_pump_tells_that_its_source_has_failed() -> None:
    source = Endless()
    source.works = False
    source.let_go.release()
    pump = Pump(source, "cam")
    for _ in range(2):
        with pytest.raises(CaptureLostError, match="gone"):
            pump.read(10.0)
    assert pump.join(10.0)


class Pictures:
    """A grabber that delivers one size at one rate; `sizes` overrides single pictures."""

    def __init__(self, size_px: tuple[int, int], fps: float, sizes: dict[int, tuple[int, int]] | None = None, last: int = 1000) -> None:
        self.size_px, self.period_ns, self.sizes, self.last = size_px, round(1e9 / fps), sizes or {}, last
        self.seq = -1
        self.closed = 0

    def read(self) -> tuple[NDArray[np.uint8] | None, int, int]:
        self.seq += 1
        if self.seq == self.last:
            raise CaptureLostError("gone")
        width_px, height_px = self.sizes.get(self.seq, self.size_px)
        return np.zeros((height_px, width_px, 3), np.uint8), 1_000_000_000 + self.seq * self.period_ns, self.seq

    def close(self) -> None:
        self.closed += 1


def test_a_camera_is_described_by_what_it_delivers() -> None:
    camera = Camera(Pictures((640, 480), 14.5), "cam", "YUYV", CONFIG)
    assert (camera.format.width_px, camera.format.height_px, camera.format.pixel_format) == (640, 480, "YUYV")
    assert camera.format.fps == pytest.approx(14.5)
    four_to_three, slow = camera.notes
    assert "1280x720 (16:9)" in four_to_three and "640x480 (4:3)" in four_to_three
    assert "asked for 30 fps" in slow and "14.5" in slow
    assert Camera(Pictures((1280, 720), 30.0), "cam", "MJPG", CONFIG).notes == ()
    assert Camera(Pictures((1280, 720), 30.0), "cam", "MJPG", replace(CONFIG, rotate_deg=90)).notes == ()


def test_a_format_that_changes_while_open_is_followed_and_said() -> None:
    camera = Camera(Pictures((1280, 720), 30.0, {seq: (640, 480) for seq in range(14, 1000)}), "cam", "MJPG", CONFIG)
    shapes = [camera.read().image.shape[:2] for _ in range(4)]
    assert shapes[0] == (720, 1280) and shapes[-1] == (480, 640)
    assert (camera.format.width_px, camera.format.height_px) == (640, 480)
    assert camera.notes == ("the picture changed from 1280x720 to 640x480 while running",)


@pytest.mark.parametrize(("grabber", "word"), [(Pictures((16, 16), 30.0), "found 16x16"), (Pictures((64, 48), 30.0, last=5), "stops delivering")])
def test_a_camera_that_delivers_nothing_usable_is_refused_and_given_back(grabber: Pictures, word: str) -> None:
    with pytest.raises(FormatError, match=word):
        Camera(grabber, "cam", "MJPG", CONFIG)
    assert grabber.closed == 1


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 1), (48, 64, 3), (48, 64, 4)])
def test_grey_and_alpha_become_colour(shape: tuple[int, ...]) -> None:
    image = np.full(shape, 90, np.uint8)
    assert np.array_equal(Shaper("cam", CONFIG, limit=False).shape(image), np.full((48, 64, 3), 90, np.uint8))


@pytest.mark.parametrize("image", [None, np.zeros((48, 64, 2), np.uint8), np.zeros((48, 64, 3), np.uint16), np.zeros(99, np.uint8)])
def test_what_is_no_picture_is_refused(image: NDArray[np.generic] | None) -> None:
    with pytest.raises(FormatError, match="cam: expected"):
        Shaper("cam", CONFIG, limit=False).shape(image)


def test_sizes_fit_into_1080p_either_way_round() -> None:
    sizes = {(1920, 1080): (1920, 1080), (1080, 1920): (1080, 1920), (7680, 4320): (1920, 1080), (2160, 3840): (1080, 1920), (4000, 100): (1920, 48)}
    assert {size: fitted_px(*size) for size in sizes} == sizes
    assert aspect_note((1280, 720), (854, 480)) == ""


def test_rate_needs_two_pictures() -> None:
    meter = RateMeter()
    assert meter.fps == 0.0
    meter.add(1)
    assert meter.fps == 0.0
    meter.add(500_000_001)
    assert meter.fps == pytest.approx(2.0)


@linux
def test_mjpg_comes_first_where_raw_is_slower() -> None:
    both = ("YUYV", "MJPG", "NV12")
    assert fourcc_order(both, 30.0, CONFIG) == ("YUYV", "MJPG")
    assert fourcc_order(both, 10.0, CONFIG) == ("MJPG", "YUYV")
    assert fourcc_order(both, 0.0, CONFIG) == ("MJPG", "YUYV")
    assert fourcc_order(("YUYV",), 5.0, CONFIG) == ("YUYV",)
    assert fourcc_order(("NV12",), 0.0, CONFIG) == ("",)
    assert fourcc_order(both, 30.0, replace(CONFIG, pixel_format="MJPG")) == ("MJPG",)
    with pytest.raises(FormatError, match="found YUYV"):
        fourcc_order(("YUYV",), 0.0, replace(CONFIG, pixel_format="MJPG"))


@linux
@pytest.mark.parametrize(
    ("rates", "listed", "chosen", "starts"),
    [
        ({"MJPG": 30.0, "YUYV": 10.0}, {}, "MJPG", ["MJPG"]),
        ({"MJPG": 12.0, "YUYV": 30.0}, {}, "YUYV", ["MJPG", "YUYV"]),
        ({"MJPG": 15.0, "YUYV": 10.0}, {}, "MJPG", ["MJPG", "YUYV", "MJPG"]),
        ({"MJPG": 15.0, "YUYV": 10.0}, {"YUYV": 10.0}, "MJPG", ["MJPG"]),
        ({"MJPG": 0.0, "YUYV": 10.0}, {"YUYV": 10.0}, "YUYV", ["MJPG", "YUYV"]),
    ],
)
def test_the_measured_rate_decides_between_formats(rates: dict[str, float], listed: dict[str, float], chosen: str, starts: list[str]) -> None:
    started: list[str] = []
    grabbers: list[Pictures] = []

    def start(fourcc: str) -> Camera:
        started.append(fourcc)
        if not rates[fourcc]:
            raise FormatError("does not start")
        grabbers.append(Pictures((1280, 720), rates[fourcc]))
        return Camera(grabbers[-1], "cam", fourcc, CONFIG)

    camera = best(start, ("MJPG", "YUYV"), CONFIG, listed)
    assert (camera.format.pixel_format, started) == (chosen, starts)
    assert [grabber.closed for grabber in grabbers] == [1] * (len(grabbers) - 1) + [0]
    with pytest.raises(FormatError, match="does not start"):
        rates.update(MJPG=0.0, YUYV=0.0)
        best(start, ("MJPG", "YUYV"), CONFIG, listed)


CAPTURE_CAPS, META_CAPS = 0x04200001, 0x04A00000


def fake_nodes(monkeypatch: pytest.MonkeyPatch, *nodes: tuple[str, str, str, int, tuple[str, ...]]) -> None:
    made = tuple(_v4l2.Node(*node) for node in nodes)
    monkeypatch.setattr(_v4l2, "nodes", lambda: made)


WEBCAM = ("/dev/video0", "HD Webcam C920", "uvcvideo", CAPTURE_CAPS, ("YUYV", "MJPG"))
METADATA = ("/dev/video1", "HD Webcam C920", "uvcvideo", META_CAPS, ())
INFRARED = ("/dev/video2", "HD IR Camera", "uvcvideo", CAPTURE_CAPS, ("GREY",))
OWN = ("/dev/video10", "livecam", "v4l2 loopback", CAPTURE_CAPS, ("YU12",))
OBS = ("/dev/video11", "OBS Virtual Camera", "v4l2 loopback", CAPTURE_CAPS, ("YU12",))
SECOND = ("/dev/video4", "Studio Webcam", "uvcvideo", CAPTURE_CAPS, ("MJPG",))


@linux
def test_devices_leave_out_metadata_and_our_own_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nodes(monkeypatch, INFRARED, WEBCAM, METADATA, OWN, OBS)
    found = opencv.devices()
    assert [(device.spec, bool(device.note)) for device in found] == [("/dev/video2", True), ("/dev/video0", False), ("/dev/video11", True)]
    listed = [device for device in capture.devices() if device.kind != "demo"]
    assert listed == list(found)


@linux
def test_a_camera_is_found_by_index_path_and_name(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nodes(monkeypatch, WEBCAM, METADATA, INFRARED, SECOND)
    specs = {"0": "/dev/video0", "/dev/video2": "/dev/video2", "c920": "/dev/video0", "Studio Webcam": "/dev/video4", "hd ir camera": "/dev/video2"}
    assert {spec: _linux.path_of(spec) for spec in specs} == specs
    assert all(opencv.accepts(spec) for spec in specs)
    assert not opencv.accepts("Logitech")
    with pytest.raises(UsageError, match="fits several"):
        _linux.path_of("webcam")
    with pytest.raises(DeviceAbsentError, match="'Studio Webcam'"):
        _linux.path_of("Logitech")


@linux
def test_auto_takes_real_cameras_in_turn_and_falls_back_to_the_demo_with_every_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nodes(monkeypatch, INFRARED, OBS, OWN, WEBCAM, SECOND)
    asked: list[str] = []
    outcome: dict[str, object] = {"/dev/video0": DeviceBusyError("video0 is taken"), "/dev/video4": FormatError("video4 is silent"), "demo": "demo"}

    class Member:
        @staticmethod
        def devices() -> tuple[DeviceInfo, ...]:
            return opencv.devices()

        @staticmethod
        def open(spec: str, config: CaptureConfig) -> object:
            asked.append(spec)
            result = outcome[spec]
            if isinstance(result, Exception):
                raise result
            return result

    monkeypatch.setattr("livecam.capture._choose._member", lambda kind: Member)
    source = choose(CONFIG)
    assert source.open() == "demo"
    assert asked == ["/dev/video0", "/dev/video4", "demo"]
    assert (source.kind, source.reason) == ("demo", "the demo camera is shown, because: video0 is taken; video4 is silent")
    outcome["demo"] = FormatError("demo is broken")
    with pytest.raises(FormatError, match="demo is broken"):
        source.open()
    assert asked[3:] == ["demo"], "once decided it stays with it"
    source = choose(CONFIG)
    with pytest.raises(DeviceAbsentError, match=r"video0 is taken; video4 is silent; demo is broken"):
        source.open()
    outcome["/dev/video4"] = "camera"
    source = choose(CONFIG)
    assert source.open() == "camera"
    assert source.kind == "opencv" and source.reason.endswith("because: video0 is taken")


@linux
def test_a_camera_that_comes_back_under_another_number_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nodes(monkeypatch, WEBCAM, SECOND)
    there = {"/dev/video0"}

    def open_if_there(spec: str, config: CaptureConfig) -> str:
        if spec not in there:
            raise DeviceAbsentError(f"{spec} is absent")
        return spec

    monkeypatch.setattr(opencv, "open", open_if_there)
    source = choose(replace(CONFIG, camera="/dev/video0"))
    assert source.open() == "/dev/video0"
    there.clear()
    fake_nodes(monkeypatch, SECOND)
    with pytest.raises(DeviceAbsentError, match="video0 is absent"):
        source.open()
    moved = ("/dev/video6", *WEBCAM[1:])
    fake_nodes(monkeypatch, SECOND, moved)
    there.update(("/dev/video4", "/dev/video6"))
    assert source.open() == "/dev/video6"
    there.clear()
    fake_nodes(monkeypatch, WEBCAM, ("/dev/video8", *WEBCAM[1:]))
    with pytest.raises(DeviceAbsentError, match="video6 is absent"):
        source.open()


@linux
def test_auto_without_a_camera_is_the_demo_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nodes(monkeypatch, INFRARED, OWN)
    source = choose(CONFIG)
    assert isinstance(source, Source)
    assert (source.kind, source.spec) == ("demo", "demo")
    assert "no camera was found" in source.reason
    assert "HD IR Camera (/dev/video2) is infrared" in source.reason
    assert not source.lossless
    assert choose(replace(CONFIG, realtime=False)).lossless


def test_only_files_and_the_demo_wait_for_their_reader() -> None:
    fast = replace(CONFIG, realtime=False)
    lossless = {"demo": True, "stamped:demo": True, "clip.mp4": True, "http://host/x.mjpg": False, "/dev/video0": False, "stamped:/dev/video0": False}
    assert {spec: choose(replace(fast, camera=spec)).lossless for spec in lossless} == lossless


Answer = Callable[[int, bytearray], None]


def fake_driver(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> str:
    """The path of a device whose ioctl is `answer`."""

    def ioctl(fd: int, request: int, raw: bytearray) -> int:
        answer(request, raw)
        return 0

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    return "/dev/null"


def answer_as_webcam(request: int, raw: bytearray) -> None:
    if request == _v4l2.QUERYCAP:
        struct.pack_into("16s32s32sIII", raw, 0, b"uvcvideo", "Caméra HD".encode(), b"usb", 0x060100, 0x84A00001, CAPTURE_CAPS)
        return
    index = struct.unpack_from("I", raw)[0]
    if request == _v4l2.ENUM_FMT and index < 2:
        struct.pack_into("4s", raw, 44, (b"MJPG", b"YUYV")[index])
        return
    if request == _v4l2.ENUM_FRAMEINTERVALS and index < 2:
        struct.pack_into("III", raw, 16, 1, 1, (10, 5)[index])
        return
    if request == _v4l2.G_FMT:
        struct.pack_into("III4s", raw, 0, 1, 0, 1280, b"\0\0\0\0")
        struct.pack_into("II4s", raw, 8, 1280, 720, b"MJPG")
        return
    raise OSError(errno.EINVAL, "Invalid argument")


@linux
def test_the_drivers_answers_are_read_where_the_kernel_puts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    path = fake_driver(monkeypatch, answer_as_webcam)
    node = _v4l2.query(path)
    assert (node.card, node.driver, node.formats) == ("Caméra HD", "uvcvideo", ("MJPG", "YUYV"))
    assert node.captures and not node.virtual and not node.own and not node.colour_free
    assert _v4l2.rates(path, "YUYV", 1280, 720) == (10.0, 5.0)
    assert _v4l2.delivered_format(0) == "MJPG"


@linux
def test_request_numbers_are_the_kernels() -> None:
    def number(direction: int, code: int, size: int) -> int:
        return direction << 30 | size << 16 | ord("V") << 8 | code

    assert number(2, 0, 104) == _v4l2.QUERYCAP
    assert [number(3, code, size) for code, size in ((2, 64), (4, 208), (8, 20), (75, 52))] == [
        _v4l2.ENUM_FMT,
        _v4l2.G_FMT,
        _v4l2.REQBUFS,
        _v4l2.ENUM_FRAMEINTERVALS,
    ]


@linux
def test_a_busy_camera_is_told_from_an_absent_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def busy(request: int, raw: bytearray) -> None:
        if request == _v4l2.REQBUFS:
            raise OSError(errno.EBUSY, "Device or resource busy")
        answer_as_webcam(request, raw)

    path = fake_driver(monkeypatch, busy)
    with pytest.raises(DeviceBusyError, match="close that program"):
        opencv.open(path, CONFIG)
    monkeypatch.undo()
    with pytest.raises(DeviceAbsentError, match="no such device"):
        opencv.open("/dev/video997", CONFIG)
    with pytest.raises(FormatError, match="expected a camera"):
        opencv.open("/dev/null", CONFIG)


@linux
@pytest.mark.parametrize(("number", "error"), [(errno.EACCES, CaptureError), (errno.EBUSY, DeviceBusyError), (errno.ENODEV, DeviceAbsentError)])
def test_what_the_system_says_at_opening_is_told_apart(monkeypatch: pytest.MonkeyPatch, number: int, error: type[CaptureError]) -> None:
    def refuse(path: str, flags: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(error) as caught:
        _v4l2.query("/dev/video0")
    assert type(caught.value) is error


@linux
def test_metadata_nodes_and_idle_loopbacks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for node, word in ((METADATA, "metadata"), (("/dev/video11", "OBS", "v4l2 loopback", 0x05200002, ()), "start the program")):
        monkeypatch.setattr(_v4l2, "query", lambda path, node=node: _v4l2.Node(*node))
        with pytest.raises(FormatError, match=word):
            opencv.open(node[0], CONFIG)


@linux
def test_the_descriptor_that_opencv_opened_is_found() -> None:
    before = _v4l2.own_fds("/dev/zero")
    fd = os.open("/dev/zero", os.O_RDONLY)
    try:
        assert _v4l2.stream_fd("/dev/zero", before) == fd
    finally:
        os.close(fd)
    assert _v4l2.stream_fd("/dev/zero", before) is None


def test_other_systems_try_each_back_end_and_tell_every_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    class Closed(Endless):
        def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
            return False

    def open_none(index: int, backend: int) -> Closed:
        tried.append(backend)
        return Closed()

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(cv2, "VideoCapture", open_none)
    with pytest.raises(DeviceAbsentError, match="Media Foundation: not opened; DirectShow: not opened"):
        opencv.open("1", CONFIG)
    assert tried == [cv2.CAP_MSMF, cv2.CAP_DSHOW]
    assert opencv.devices() == ()


def test_other_systems_list_cameras_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    class Some(Endless):
        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

        def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
            return self.index < 2

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(cv2, "VideoCapture", lambda index, backend: Some(index))
    assert [(device.spec, device.kind) for device in opencv.devices()] == [("0", "opencv"), ("1", "opencv")]
