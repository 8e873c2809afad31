"""The V4L2 writer without a device: bytes, errors and their words. The real device is in tests/devices/test_v4l2_uml.py."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from livecam.config import OutputConfig
from livecam.errors import OutputError, OutputLostError, UsageError
from livecam.output import _v4l2, v4l2
from livecam.types import U8, State, VideoFormat

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="V4L2 is Linux's")
FORMAT = VideoFormat(64, 36, 30.0)
CONFIG = OutputConfig()
BOTH = _v4l2.CAP_VIDEO_CAPTURE | _v4l2.CAP_VIDEO_OUTPUT


class FakeDriver:
    """Stands in for the kernel: one v4l2loopback node at /dev/null."""

    def __init__(self) -> None:
        self.caps = _v4l2.CAP_VIDEO_OUTPUT
        self.driver = _v4l2.LOOPBACK_DRIVER
        self.granted: _v4l2.Granted | None = None
        self.heals = True
        self.flows = False
        self.open_error = self.write_error = self.format_error = 0
        self.short = 0
        self.has_timeout, self.timeout_error = True, 0
        self.timeout: tuple[bytes, int] | None = None
        self.written: list[bytes] = []
        self.calls: list[str] = []


class FakeNode:
    """_v4l2.Node over a FakeDriver."""

    driver: FakeDriver

    def __init__(self, path: Path, *, nonblocking: bool = False) -> None:
        self.path = path
        self._fail(self.driver.open_error)
        self._streamed = False

    @staticmethod
    def _fail(number: int) -> None:
        if number:
            raise OSError(number, os.strerror(number))

    def capability(self) -> _v4l2.Capability:
        return _v4l2.Capability(self.driver.driver, "livecam", self.driver.caps)

    def set_format(self, width_px: int, height_px: int, pixel_format: str) -> _v4l2.Granted:
        self._fail(self.driver.format_error)
        self.driver.calls.append(f"format {pixel_format} {width_px}x{height_px}")
        return self.driver.granted or _v4l2.Granted(width_px, height_px, pixel_format)

    def set_fps(self, fps: float) -> None:
        self.driver.calls.append(f"fps {fps}")

    def has_timeout_picture(self) -> bool:
        return self.driver.has_timeout

    def set_timeout_picture(self, picture: memoryview, timeout_ms: int) -> None:
        self._fail(self.driver.timeout_error)
        self.driver.timeout = (bytes(picture), timeout_ms)

    def stream_on(self) -> None:
        self._streamed = True
        self.driver.calls.append("stream on")

    def write(self, picture: memoryview) -> int:
        self._fail(self.driver.write_error)
        self.driver.written.append(bytes(picture))
        return picture.nbytes - self.driver.short

    def read_some(self, buffer: bytearray) -> bool:
        self.driver.calls.append("read")
        return self.driver.flows and self.driver.calls.count("read") > 1

    def close(self) -> None:
        self.driver.calls.append("close")
        if self._streamed and self.driver.heals:
            self.driver.caps |= _v4l2.CAP_VIDEO_OUTPUT

    def __enter__(self) -> FakeNode:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeDriver:
    fake = FakeDriver()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(FakeNode, "driver", fake, raising=False)
    monkeypatch.setattr(_v4l2, "Node", FakeNode)
    monkeypatch.setattr(_v4l2, "loopback_paths", lambda: (Path("/dev/null"),))
    monkeypatch.setattr(_v4l2, "card_name", lambda _: "livecam")
    monkeypatch.setattr(_v4l2, "is_streaming", lambda _: fake.flows)
    monkeypatch.setattr(_v4l2, "loopback_version", lambda: None)
    return fake


def open_output(target: str = "", fmt: VideoFormat = FORMAT) -> v4l2.V4l2Output:
    return v4l2.open(target, fmt, CONFIG, None)


def noise() -> U8:
    return np.random.default_rng(9).integers(0, 256, (36, 64, 3), dtype=np.uint8)


def test_ioctl_numbers_are_the_kernels() -> None:
    """As linux/videodev2.h gives them on 64-bit machines."""
    assert [_v4l2.QUERYCAP, _v4l2.S_FMT, _v4l2.S_PARM, _v4l2.STREAMON] == [0x80685600, 0xC0D05605, 0xC0CC5616, 0x40045612]


def test_ioctl_numbers_of_the_timeout_picture_are_the_kernels() -> None:
    found = [_v4l2.REQBUFS, _v4l2.QUERYBUF, _v4l2.QBUF, _v4l2.S_CTRL, _v4l2.QUERYCTRL]
    assert found == [0xC0145608, 0xC0585609, 0xC058560F, 0xC008561C, 0xC0445624]


def test_the_driver_is_given_the_last_line(driver: FakeDriver) -> None:
    picture = noise()
    with open_output() as output:
        output.send(picture, 0, State.LIVE)
        output.set_last_line(picture)
        assert output.has_last_line
    assert driver.timeout == (driver.written[0], v4l2.SILENT_MS)


def test_a_slow_camera_has_a_longer_silence(driver: FakeDriver) -> None:
    with open_output(fmt=VideoFormat(64, 36, 1.0)) as output:
        output.set_last_line(noise())
    assert driver.timeout is not None and driver.timeout[1] == 3000


@pytest.mark.parametrize(("has_timeout", "error"), [(False, 0), (True, errno.EINVAL)])
def test_a_driver_without_a_timeout_picture_is_used_all_the_same(driver: FakeDriver, has_timeout: bool, error: int) -> None:
    driver.has_timeout, driver.timeout_error = has_timeout, error
    with open_output() as output:
        output.set_last_line(noise())
        output.send(noise(), 0, State.LIVE)
        assert not output.has_last_line and len(driver.written) == 1


def plain_luma(image: U8) -> np.ndarray[Any, np.dtype[np.float64]]:
    """ITU-R BT.601, limited range."""
    blue, green, red = (image[..., channel].astype(np.float64) for channel in range(3))
    return 16 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255


@pytest.mark.parametrize(("target", "size", "luma"), [("", 64 * 54, slice(0, 64 * 36)), ("?format=YUYV", 64 * 72, slice(0, None, 2))])
def test_bytes_are_bt601_in_limited_range(driver: FakeDriver, target: str, size: int, luma: slice) -> None:
    image = noise()
    with open_output(target) as output:
        output.send(image, 0, State.LIVE)
    (picture,) = driver.written
    assert len(picture) == size
    found = np.frombuffer(picture, np.uint8)[luma].reshape(36, 64)
    assert np.abs(found - plain_luma(image)).max() <= 1.0


def test_i420_has_blue_before_red(driver: FakeDriver) -> None:
    blue = np.zeros((36, 64, 3), np.uint8)
    blue[..., 0] = 255
    with open_output() as output:
        output.send(blue, 0, State.LIVE)
    planes = np.frombuffer(driver.written[0], np.uint8)[64 * 36 :].reshape(2, -1)
    assert planes[0].min() >= 239 and planes[1].max() <= 111


def test_vanished_device_is_lost_and_not_silent(driver: FakeDriver) -> None:
    output = open_output()
    output.send(noise(), 0, State.LIVE)
    driver.write_error = errno.ENODEV
    with pytest.raises(OutputLostError, match=r"/dev/null is gone .*No such device; bring it back with: sudo modprobe"):
        output.send(noise(), 0, State.LIVE)
    output.close()
    output.close()
    assert output.written == 1


def test_full_device_drops_and_counts(driver: FakeDriver) -> None:
    with open_output() as output:
        driver.write_error = errno.EAGAIN
        output.send(noise(), 0, State.LIVE)
        assert (output.written, output.dropped) == (0, 1)


def test_changed_format_under_the_writer_is_lost(driver: FakeDriver) -> None:
    with open_output() as output:
        driver.short = 100
        with pytest.raises(OutputLostError, match="took 3356 of 3456 bytes"):
            output.send(noise(), 0, State.LIVE)


def test_stuck_device_is_healed_before_use(driver: FakeDriver) -> None:
    driver.caps = 0
    assert 'is not a video output device"' in v4l2.devices()[0].note
    driver.calls.clear()
    with open_output():
        assert driver.calls.index("stream on") < driver.calls.index("format YU12 64x36")


def test_stuck_device_that_stays_stuck_is_named(driver: FakeDriver) -> None:
    driver.caps, driver.heals = 0, False
    with pytest.raises(OutputError, match=r"exclusive_caps=1 lost its output side.*modprobe -r v4l2loopback && .*exclusive_caps=0, or 0\.13"):
        open_output()


@pytest.mark.parametrize(("version", "streams"), [(None, True), ((0, 12, 7), True), ((0, 15, 4), False)])
def test_only_old_drivers_are_told_to_stream(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...] | None, streams: bool
) -> None:
    monkeypatch.setattr(_v4l2, "loopback_version", lambda: version)
    with open_output():
        assert ("stream on" in driver.calls) is streams


def test_device_with_another_writer_is_busy(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.flows, driver.caps = True, BOTH
    monkeypatch.setattr(v4l2._openers, "find", lambda _: (("obs", "obs"), False))
    with pytest.raises(OutputError, match=r"is busy: another program writes to it \(open in: obs\)"):
        open_output()


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EBUSY, "is busy"), (errno.EACCES, "usermod -aG video"), (errno.ENOTTY, "is no video device; choose one of: /dev/null")],
)
def test_refusals_of_the_system_say_what_to_do(driver: FakeDriver, number: int, words: str) -> None:
    driver.open_error = number
    with pytest.raises(OutputError, match=words):
        open_output("/dev/null")


def test_second_livecam_is_refused_and_the_lock_is_given_back(driver: FakeDriver) -> None:
    with open_output(), pytest.raises(OutputError, match=rf"another livecam \(process {os.getpid()}\)"):
        open_output("/dev/null")
    driver.format_error = errno.EIO
    with pytest.raises(OutputError, match="cannot be opened for writing"):
        open_output()
    driver.format_error = 0
    open_output().close()


def test_camera_is_no_output(driver: FakeDriver) -> None:
    driver.driver, driver.caps = "uvcvideo", _v4l2.CAP_VIDEO_CAPTURE
    with pytest.raises(OutputError, match=r"'livecam' \(driver uvcvideo\), a camera and no virtual camera"):
        open_output("/dev/null")


def test_device_held_to_another_size_gets_fitted_pictures(driver: FakeDriver) -> None:
    driver.granted = _v4l2.Granted(96, 36, "YU12")
    with open_output() as output:
        assert "96x36" in output.describe()
        output.send(np.full((36, 64, 3), 200, np.uint8), 0, State.LIVE)
    back = cv2.cvtColor(np.frombuffer(driver.written[0], np.uint8).reshape(54, 96), cv2.COLOR_YUV2BGR_I420)
    assert back[:, 17:79].min() > 190 and back[:, :15].max() < 10


def test_device_held_to_another_kind_of_picture_is_refused(driver: FakeDriver) -> None:
    driver.granted = _v4l2.Granted(64, 36, "NV12")
    with pytest.raises(OutputError, match="held to NV12 64x36"):
        open_output()


@pytest.mark.parametrize("target", ["", "livecam", "LIVE", "/dev/null"])
def test_device_is_found_by_path_and_by_name(driver: FakeDriver, target: str) -> None:
    with open_output(target) as output:
        assert output.describe().startswith("camera 'livecam' at /dev/null")


def test_unknown_name_lists_those_there_are(driver: FakeDriver) -> None:
    with pytest.raises(OutputError, match=r"named 'obs'; there are: /dev/null \(livecam\)"):
        open_output("obs")


def test_unknown_format_lists_the_known_ones(driver: FakeDriver) -> None:
    with pytest.raises(UsageError, match="I420, YUYV"):
        open_output("?format=RGB")


def test_without_the_module_the_command_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_v4l2, "loopback_paths", lambda: ())
    monkeypatch.setattr(_v4l2, "LOOPBACK_MODULE", tmp_path / "absent")
    with pytest.raises(OutputError, match=r"sudo modprobe v4l2loopback .*apt install v4l2loopback-dkms"):
        open_output()
    monkeypatch.setattr(_v4l2, "LOOPBACK_MODULE", tmp_path)
    with pytest.raises(OutputError, match=r"although v4l2loopback is loaded; load it anew: sudo modprobe -r"):
        open_output()
