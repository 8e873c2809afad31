"""Real V4L2: v4l2loopback and the virtual webcam vivid, in a kernel that runs as an ordinary process (uml/build.py makes it, uml/boot.py starts it).

One boot serves all tests of a driver; what happens in the guest stands in uml/*_guest.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

UML = Path(__file__).parent / "uml"
sys.path.insert(0, str(UML))

import boot  # noqa: E402
import build  # noqa: E402

KERNEL = build.find_built() if sys.platform == "linux" else None
REASON = "user-mode Linux is not built; build it (10 CPU-minutes) with: python tests/devices/uml/build.py"
pytestmark = [pytest.mark.device, pytest.mark.skipif(KERNEL is None, reason=REASON), pytest.mark.timeout(600)]

BOOT_S = 420
"""Two cores shared with others; a quiet machine needs 20 to 60 s."""

Results = dict[str, dict[str, Any]]


def _boot(program: str) -> Results:
    assert KERNEL is not None
    return boot.boot(KERNEL, UML / program, BOOT_S)


@pytest.fixture(scope="module")
def loopback() -> Results:
    return _boot("loopback_guest.py")


@pytest.fixture(scope="module")
def vivid() -> Results:
    return _boot("vivid_guest.py")


def result(results: Results, name: str) -> dict[str, Any]:
    assert name in results, f"the guest ended before {name}; it told of {sorted(results)}"
    assert results[name]["ok"], results[name].get("error")
    return results[name]


def test_without_a_device_the_way_to_make_one_is_told(loopback: Results) -> None:
    said = result(loopback, "absent")
    assert said["devices"] == 0
    for words in (said["auto"], said["path"]):
        assert "sudo modprobe v4l2loopback" in words


def test_content_is_exact_and_in_time_as_i420(loopback: Results) -> None:
    said = result(loopback, "content_i420")
    assert (said["frames"], said["size"]) == (45, [360, 640])
    assert said["worst"] <= 1, "a pixel differs from the picture sent, once through BT.601 I420"
    assert said["numbers"] == sorted(said["numbers"]) and len(set(said["numbers"])) == 3
    assert "'livecam' at /dev/video10" in said["describe"]


def test_content_is_exact_as_yuyv(loopback: Results) -> None:
    said = result(loopback, "content_yuyv")
    assert said["frames"] == 20
    assert said["worst"] <= 1


def test_device_serves_again_after_use(loopback: Results) -> None:
    """With exclusive_caps=1 of v4l2loopback 0.12.7, whose output side a plain write()r takes with it."""
    for use in result(loopback, "second_use")["rounds"]:
        assert use == {"frames": 10, "worst": use["worst"], "note": ""}
        assert use["worst"] <= 1


def test_exclusive_caps_trap_is_named_and_healed(loopback: Results) -> None:
    said = result(loopback, "trap")
    assert said["stuck"] and said["refused"] == "Invalid argument", "the driver no longer has the fault; this test and v4l2.py want a look"
    assert "exclusive_caps=1" in said["note"] and "is not a video output device" in said["note"]
    assert said["frames"] == 10 and said["worst"] <= 1


def test_second_livecam_is_refused_and_a_killed_one_leaves_the_device_free(loopback: Results) -> None:
    said = result(loopback, "second_livecam")
    assert f"another livecam (process {said['pid']})" in said["words"]
    assert said["frames_after_kill"] == 5


def test_the_driver_shows_the_slate_when_livecam_is_stopped_or_killed(loopback: Results) -> None:
    said = result(loopback, "last_line")
    assert said["set"] == "1" and said["held"]
    for how in ("stopped", "killed"):
        assert said[how] == 8, "the reader got no pictures"
        assert said[f"{how}_worst"] <= 1, "the reader sees something else than the slate"


@pytest.mark.parametrize("name", ["busy_exclusive", "busy_shared"])
def test_device_that_another_program_writes_to_is_refused(loopback: Results, name: str) -> None:
    assert "is busy: another program writes to it (open in: python" in result(loopback, name)["words"]


def test_a_reader_that_stays_is_seen_and_served_in_its_size(loopback: Results) -> None:
    said = result(loopback, "lingering_reader")
    assert (said["unwatched"], said["watched"]) == (False, True)
    assert said["size"] == [360, 640] and "640x360" in said["describe"]
    assert said["bars"] <= 1, "4:3 pictures in a 16:9 device want bars at the sides"


def test_contract_of_the_room_holds_on_the_device(loopback: Results) -> None:
    said = result(loopback, "contract")
    assert said["code"] == 0 and "SKIPPED" not in said["said"], said["said"]


def test_recording_that_fills_the_disk_plays(loopback: Results) -> None:
    said = result(loopback, "disk_full")
    assert "is full" in said["words"] and "the file plays" in said["words"]
    assert said["encoded"] > 50
    assert said["played"] == said["encoded"]
    assert said["left"] == ["out.mp4"]
    assert "cannot record" in said["second"] and "make room" in said["second"]


def test_slow_consumer_gets_a_fresh_picture(vivid: Results) -> None:
    """By the driver's own time of each picture, which vivid stamps up to a period ahead."""
    said = result(vivid, "staleness")
    assert -2 * said["period_ms"] < said["age_ms"] < 1.5 * said["period_ms"]
    assert said["dropped"] > 25, "a consumer at 6 fps drops most of 30 fps"
    assert said["size"] == [640, 360]


def test_busy_and_absent_cameras_are_told_apart(vivid: Results) -> None:
    assert result(vivid, "busy")["kind"] == "DeviceBusyError"
    assert result(vivid, "absent_and_back")["kind"] == "DeviceAbsentError"


@pytest.mark.parametrize("how", ["unbind", "disconnect"])
def test_unplugged_camera_comes_back_by_itself(vivid: Results, how: str) -> None:
    said = result(vivid, how)
    assert said["noticed_s"] < 5
    assert "/dev/video20" in said["words"]
    assert not said["gap"], "a picture came out of an unplugged camera"
    assert (said["reopened"], said["lost_after"]) == (1, None)
    assert said["later"] and said["back_s"] < 40


def test_camera_that_comes_back_in_another_size(vivid: Results) -> None:
    said = result(vivid, "format_change")
    assert said["sizes"] == [[360, 640], [720, 1280]]
    assert said["format"] == [1280, 720]
