"""What every output promises (livecam/output/__init__.py), run over every member of the room.

A member that cannot be opened here (no device, no daemon, extra not installed) must say so by an error of livecam's, and is skipped with its words.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livecam import output, registry
from livecam.config import OutputConfig
from livecam.errors import LivecamError, MissingExtraError, OutputError, UsageError
from livecam.types import U8, DeviceInfo, State, VideoFormat

MEMBERS = registry.names("output")
FORMAT = VideoFormat(320, 180, 30.0)
CONFIG = OutputConfig(open_browser=False)
TARGETS: dict[str, Callable[[Path], str]] = {"file": lambda folder: str(folder / "out.mp4")}
"""Members whose default target would write into the working folder."""


class Still:
    """A control surface without a run behind it."""

    def command(self, name: str, value: str = "") -> None: ...

    def snapshot(self) -> dict[str, Any]:
        figures = {"p50": 1.0, "p95": 1.0, "p99": 1.0}
        return {
            "state": "LIVE", "covered": False, "fps": 30.0, "frame_age_ms": figures, "stages_ms": {}, "drops": 0, "faces": 1, "persona": "a",
            "personas": [], "camera": "demo", "outputs": [], "notes": [],
        }  # fmt: skip

    def portrait_jpeg(self, persona_id: str) -> bytes | None:
        return None


def opened(name: str, folder: Path) -> output.Output:
    """The member on its default target; skips where it cannot be had."""
    try:
        return output.open_output(name, TARGETS.get(name, lambda _: "")(folder), FORMAT, CONFIG, Still())
    except MissingExtraError as error:
        assert f"livecam[{error.extra}]" in str(error)
        pytest.skip(str(error))
    except OutputError as error:
        pytest.skip(f"cannot be opened here: {error}")


def frame() -> U8:
    image = np.random.default_rng(4).integers(0, 256, (180, 320, 3), dtype=np.uint8)
    image.setflags(write=False)
    return image


def test_the_room_has_its_members() -> None:
    assert {"v4l2", "virtualcam", "window", "file", "null"} <= set(MEMBERS)


@pytest.mark.parametrize("name", MEMBERS)
def test_module_has_the_rooms_functions(name: str) -> None:
    module = registry.load_module("output", name)
    assert list(inspect.signature(module.open).parameters) == ["target", "fmt", "config", "surface"]
    assert not inspect.signature(module.devices).parameters
    assert module.__doc__ and module.open.__doc__


@pytest.mark.parametrize("name", MEMBERS)
def test_devices_are_listed_without_an_error(name: str) -> None:
    for device in registry.load_module("output", name).devices():
        assert isinstance(device, DeviceInfo)
        assert (device.room, device.kind) == ("output", name)
        assert device.spec.split(":")[0] == name and device.name


@pytest.mark.parametrize("name", MEMBERS)
def test_useless_target_ends_in_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(LivecamError) as caught:
        output.open_output(name, f"{tmp_path}/no/such/thing?no=such", FORMAT, CONFIG, Still()).close()
    assert isinstance(caught.value, UsageError | OutputError | MissingExtraError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", MEMBERS)
def test_life_of_an_output(name: str, tmp_path: Path) -> None:
    image = frame()
    before = image.copy()
    with opened(name, tmp_path) as sink:
        words = sink.describe()
        assert words and "\n" not in words
        for number, state in enumerate([State.SLATE, State.LIVE, State.HOLD, State.COVER, State.LIVE]):
            sink.send(image, number * 33_000_000, state)
        assert sink.watched() in (True, False)
    np.testing.assert_array_equal(image, before)
    sink.close()


@pytest.mark.parametrize("name", MEMBERS)
def test_output_can_be_opened_again_after_use(name: str, tmp_path: Path) -> None:
    for turn in ("first", "second"):
        folder = tmp_path / turn
        folder.mkdir()
        with opened(name, folder) as sink:
            sink.send(frame(), 0, State.LIVE)


def test_unknown_output_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'tape' is unknown; choose one of: .*file.*null"):
        output.open_output("tape", "", FORMAT, CONFIG, None)
