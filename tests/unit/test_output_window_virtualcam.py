"""The outputs that need extras: with stand-ins for the packages, and with pygame-ce itself where it is installed."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from livecam.config import OutputConfig
from livecam.errors import MissingExtraError, OutputError, OutputLostError, UsageError
from livecam.output import virtualcam, window
from livecam.types import U8, State, VideoFormat

FORMAT = VideoFormat(64, 36, 30.0)
CONFIG = OutputConfig()


class Commands:
    """A control surface that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def command(self, name: str, value: str = "") -> None:
        self.told.append((name, value))

    def snapshot(self) -> dict[str, Any]:
        return {}

    def portrait_jpeg(self, persona_id: str) -> bytes | None:
        return None


class FakeCamera:
    """pyvirtualcam.Camera."""

    error: Exception | None = None

    def __init__(self, width: int, height: int, fps: float, **options: Any) -> None:
        if self.error is not None:
            raise self.error
        self.width, self.height, self.fps, self.options = width, height, fps, options
        self.device, self.backend = options.get("device") or "OBS Virtual Camera", options.get("backend") or "obs"
        self.sent: list[U8] = []
        self.closed = 0
        self.failure: Exception | None = None

    def send(self, frame: U8) -> None:
        if self.failure is not None:
            raise self.failure
        assert frame.flags.c_contiguous and frame.shape == (self.height, self.width, 3)
        self.sent.append(frame.copy())

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> type[FakeCamera]:
    fake = type("Camera", (FakeCamera,), {})
    monkeypatch.setitem(sys.modules, "pyvirtualcam", SimpleNamespace(Camera=fake, PixelFormat=SimpleNamespace(BGR="24BG")))
    return fake


def test_virtualcam_sends_contiguous_bgr(package: type[FakeCamera]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (36, 128, 3), dtype=np.uint8)[:, ::2]
    assert not image.flags.c_contiguous
    with virtualcam.open("", FORMAT, CONFIG, None) as output:
        camera = output._camera
        output.send(image, 0, State.LIVE)
        assert output.watched() and "'OBS Virtual Camera'" in output.describe()
    np.testing.assert_array_equal(camera.sent[0], image)
    assert camera.options == {"fmt": "24BG"}
    assert camera.closed == 1


@pytest.mark.parametrize(("target", "options"), [("obs", {"backend": "obs"}), ("My Camera", {"device": "My Camera"})])
def test_virtualcam_target_is_a_back_end_or_a_device(package: type[FakeCamera], target: str, options: dict[str, str]) -> None:
    with virtualcam.open(target, FORMAT, CONFIG, None) as output:
        assert output._camera.options == {"fmt": "24BG", **options}


def test_virtualcam_that_stops_taking_pictures_is_lost(package: type[FakeCamera]) -> None:
    with virtualcam.open("", FORMAT, CONFIG, None) as output:
        output._camera.failure = RuntimeError("shared memory is gone")
        with pytest.raises(OutputLostError, match="shared memory is gone"):
            output.send(np.zeros((36, 64, 3), np.uint8), 0, State.LIVE)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("'obs' backend: not installed"), "no virtual camera could be opened: 'obs' backend: not installed; "),
        (RuntimeError("Device /dev/video10 is not a video output device."), "exclusive_caps=1 forgot its output side"),
        (KeyError("unitycapture"), "no back end 'unitycapture'"),
    ],
)
def test_virtualcam_refusals_say_why(package: type[FakeCamera], error: Exception, words: str) -> None:
    package.error = error
    with pytest.raises(OutputError, match=words):
        virtualcam.open("unitycapture", FORMAT, CONFIG, None)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has device files")
def test_virtualcam_notices_a_device_file_that_is_gone(package: type[FakeCamera], monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    now = [0.0]
    monkeypatch.setattr(virtualcam.time, "monotonic", lambda: now[0])
    output = virtualcam.open("/dev/null", FORMAT, CONFIG, None)
    output._path = tmp_path / "video10"
    output.send(np.zeros((36, 64, 3), np.uint8), 0, State.LIVE)
    now[0] = virtualcam.LOOK_S
    with pytest.raises(OutputLostError, match="video10 is gone"):
        output.send(np.zeros((36, 64, 3), np.uint8), 0, State.LIVE)
    output.close()


@pytest.mark.parametrize(("module", "package_name", "extra"), [(virtualcam, "pyvirtualcam", "virtualcam"), (window, "pygame", "window")])
def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, module: Any, package_name: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, package_name, None)
    with pytest.raises(MissingExtraError, match=rf"{package_name}.*pip install 'livecam\[{extra}\]'"):
        module.open("", FORMAT, CONFIG, None)


def test_window_takes_no_target() -> None:
    with pytest.raises(UsageError, match="window takes no target"):
        window.open("big", FORMAT, CONFIG, None)


@pytest.fixture
def pygame(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    return pytest.importorskip("pygame", reason="the extra window is not installed")


def shown(pygame: Any) -> U8:
    """The window's pixels, BGR."""
    return np.ascontiguousarray(pygame.surfarray.array3d(pygame.display.get_surface()).transpose(1, 0, 2)[..., ::-1])


def test_window_shows_the_picture_and_hands_keys_on(pygame: Any) -> None:
    image = np.random.default_rng(2).integers(0, 256, (36, 64, 3), dtype=np.uint8)
    commands = Commands()
    keys = (pygame.K_SPACE, pygame.K_c, pygame.K_n, pygame.K_p, pygame.K_x, pygame.K_q, pygame.K_ESCAPE)
    with window.open("", FORMAT, CONFIG, commands) as output:
        output.send(image, 0, State.LIVE)
        np.testing.assert_array_equal(shown(pygame), image)
        for key in keys:
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))
        pygame.event.post(pygame.event.Event(pygame.QUIT))
        output.send(image, 0, State.LIVE)
        assert output.frames == 2
    quits = [("quit", "")] * 3
    assert commands.told == [("cover", ""), ("cover", ""), ("persona", "next"), ("persona", "previous"), *quits]


def test_window_keeps_the_shape_when_it_is_resized(pygame: Any) -> None:
    with window.open("", FORMAT, CONFIG, None) as output:
        pygame.display.set_mode((128, 128), pygame.RESIZABLE)
        output.send(np.full((36, 64, 3), 200, np.uint8), 0, State.LIVE)
        seen = shown(pygame)
    assert seen.shape == (128, 128, 3)
    assert (seen[28:100] == 200).all() and not seen[:28].any() and not seen[100:].any()


def test_closed_window_without_a_surface_is_lost(pygame: Any) -> None:
    with window.open("", FORMAT, CONFIG, None) as output:
        pygame.event.post(pygame.event.Event(pygame.QUIT))
        with pytest.raises(OutputLostError, match="closed"):
            output.send(np.zeros((36, 64, 3), np.uint8), 0, State.LIVE)


@pytest.mark.parametrize("driver", ["nosuchdriver", "dummy"])
def test_window_without_a_screen_points_to_the_page(pygame: Any, monkeypatch: pytest.MonkeyPatch, driver: str) -> None:
    """SDL refuses, or takes a driver that nobody asked for and that shows nothing."""
    pygame.display.quit()
    monkeypatch.setenv("SDL_VIDEODRIVER", driver)
    if driver == "dummy":
        monkeypatch.setattr(window.os, "environ", {})
    with pytest.raises(OutputError, match="use the output web"):
        window.open("", FORMAT, CONFIG, None)
