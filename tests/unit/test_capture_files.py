"""Files, the demo camera, network streams: good ones played exactly, bad ones refused in one clear line."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from capture_clips import MjpegCamera, mjpeg_server, number_of, numbered, write_clip, write_presenter

from livecam.capture import choose, demo, file, network
from livecam.capture._clip import Pacer
from livecam.config import CaptureConfig
from livecam.errors import CaptureError, CaptureLostError, DeviceAbsentError, EndOfStreamError, FormatError

FAST = CaptureConfig(realtime=False)
ONCE = replace(FAST, loop=False)


def test_a_looped_video_shows_every_picture_again_and_again(tmp_path: Path) -> None:
    with file.open(str(write_clip(tmp_path / "clip.mp4", 7)), FAST) as source:
        frames = [source.read() for _ in range(21)]
    assert [frame.position for frame in frames] == list(range(7)) * 3
    assert [number_of(frame.image) for frame in frames] == list(range(7)) * 3
    assert [frame.seq for frame in frames] == list(range(21))


def test_the_file_states_its_own_rate(tmp_path: Path) -> None:
    with file.open(str(write_clip(tmp_path / "clip.avi", 5, fps=12.0, fourcc="MJPG")), FAST) as source:
        assert source.format.fps == pytest.approx(12.0)
        assert source.format.pixel_format == "MJPG"


def test_a_late_reader_of_a_playing_video_skips_pictures_instead_of_lagging(tmp_path: Path) -> None:
    with file.open(str(write_clip(tmp_path / "clip.mp4", 60, fps=60.0)), CaptureConfig(loop=False)) as source:
        first = source.read()
        time.sleep(0.3)
        second = source.read()
    behind = (second.capture_ns - first.capture_ns) * 60e-9
    assert abs(second.position - behind) < 3
    assert second.position == second.seq == number_of(second.image)


def test_pacer_keeps_the_rate_and_says_how_much_it_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns, slept = [1_000_000_000], list[float]()
    pacer = Pacer(10.0)
    monkeypatch.setattr(time, "monotonic_ns", lambda: now_ns[0])

    def sleep(seconds: float) -> None:
        slept.append(round(seconds, 6))
        now_ns[0] += round(seconds * 1e9)

    monkeypatch.setattr(pacer._cancelled, "wait", sleep)
    assert [pacer.wait() for _ in range(3)] == [0, 0, 0]
    assert slept == [0.1, 0.1]
    now_ns[0] += 370_000_000
    assert pacer.wait() == 2
    now_ns[0] += 30_000_000_000
    assert pacer.wait() == 0, "after a suspended machine the clock starts anew"


def test_pictures_above_1080p_are_scaled_down_and_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "8k.jpg"
    cv2.imwrite(str(path), cv2.resize(numbered(77), (7680, 4320), interpolation=cv2.INTER_NEAREST))
    with file.open(str(path), FAST) as source:
        image = source.read().image
        assert image.shape == (1080, 1920, 3)
        assert number_of(image) == 77
        assert source.notes == ("7680x4320 is scaled down to 1920x1080",)


def test_an_8k_video_is_scaled_down_and_it_is_said(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "8k.avi", 2, size_px=(7680, 4320), fourcc="MJPG")
    with file.open(str(path), FAST) as source:
        assert [number_of(source.read().image) for _ in range(3)] == [0, 1, 0]
        assert (source.format.width_px, source.format.height_px) == (1920, 1080)
        assert source.notes == ("7680x4320 is scaled down to 1920x1080",)


OPEN_ALL = """
import sys
from livecam.capture import file
from livecam.config import CaptureConfig
from livecam.errors import CaptureError
refused = 0
for path in sys.argv[1:]:
    try:
        file.open(path, CaptureConfig())
    except CaptureError:
        refused += 1
print(refused)
"""
"""A fresh process: FFmpeg takes its log level at its first use."""


def bad_files(folder: Path) -> dict[str, tuple[Path, type[CaptureError], str]]:
    """name -> (path, error, word in its message)."""
    (folder / "text.mp4").write_text("this is no video\n" * 100)
    (folder / "text.png").write_text("this is no picture\n" * 100)
    (folder / "notes.txt").write_text("to do\n" * 500)
    (folder / "playlist.ffconcat").write_text("ffconcat version 1.0\nfile whole.mp4\n")
    (folder / "empty.mp4").touch()
    (folder / "folder.mp4").mkdir()
    clip = write_clip(folder / "whole.mp4", 20)
    (folder / "cut.mp4").write_bytes(clip.read_bytes()[:200])
    writer = cv2.VideoWriter(str(folder / "none.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, (64, 64))
    writer.release()
    header = bytearray(write_clip(folder / "headed.avi", 3, fourcc="MJPG").read_bytes())
    (folder / "headed.avi").write_bytes(header[: header.index(b"movi") + 4])
    cv2.imwrite(str(folder / "dot.png"), np.zeros((1, 1, 3), np.uint8))
    write_clip(folder / "small.avi", 3, size_px=(16, 16), fourcc="MJPG")
    good = cv2.imencode(".png", numbered(1))[1].tobytes()
    (folder / "flipped.png").write_bytes(good[:20] + b"\xff\xff\xff\xff" + good[24:])
    return {
        "missing": (folder / "missing.mp4", DeviceAbsentError, "nothing"),
        "text for a video": (folder / "text.mp4", FormatError, "expected a video"),
        "text for a picture": (folder / "text.png", FormatError, "expected a picture"),
        "notes": (folder / "notes.txt", FormatError, "expected a video"),
        "a playlist": (folder / "playlist.ffconcat", FormatError, "expected a video"),
        "empty": (folder / "empty.mp4", FormatError, "empty"),
        "a folder": (folder / "folder.mp4", FormatError, "folder"),
        "cut off": (folder / "cut.mp4", FormatError, "expected a video"),
        "no pictures": (folder / "none.mp4", FormatError, "video"),
        "a header alone": (folder / "headed.avi", FormatError, "video"),
        "1x1": (folder / "dot.png", FormatError, "found 1x1"),
        "16x16 video": (folder / "small.avi", FormatError, "found 16x16"),
        "flipped bytes": (folder / "flipped.png", FormatError, "expected a picture"),
    }


def test_bad_files_are_refused_in_one_line_with_the_way_out(tmp_path: Path) -> None:
    bad = bad_files(tmp_path)
    for name, (path, error, word) in bad.items():
        with pytest.raises(error, match=word) as caught:
            file.open(str(path), FAST).close()
        assert type(caught.value) is error, name
        assert "\n" not in str(caught.value) and ";" in str(caught.value), name
    paths = [str(path) for name, (path, _, _) in bad.items() if name != "flipped bytes"]  # libpng's own line cannot be switched off
    said = subprocess.run([sys.executable, "-c", OPEN_ALL, *paths], capture_output=True, text=True, check=True)
    assert (said.stdout, said.stderr) == (f"{len(paths)}\n", ""), "OpenCV and FFmpeg are not to write to the terminal"


def test_a_damaged_end_is_the_end(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", 20, fourcc="MJPG")
    data = clip.read_bytes()
    clip.write_bytes(data[: data.index(b"movi") + (len(data) - data.index(b"movi")) // 2])
    with file.open(str(clip), ONCE) as source:
        numbers: list[int] = []
        with pytest.raises(EndOfStreamError):
            while True:
                numbers.append(number_of(source.read().image))
    assert 5 <= len(numbers) <= 19
    assert numbers[:5] == [0, 1, 2, 3, 4]


def test_the_demo_camera_plays_at_any_size_in_16_to_9(tmp_path: Path) -> None:
    spec = f"demo:{write_presenter(tmp_path / 'presenter', 6)}"
    for asked, given in {(1280, 720): (1280, 720), (1920, 1080): (1920, 1080), (640, 480): (640, 360), (320, 180): (320, 180)}.items():
        with demo.open(spec, replace(ONCE, width_px=asked[0], height_px=asked[1])) as source:
            frames = [source.read() for _ in range(6)]
            assert frames[0].image.shape == (given[1], given[0], 3)
            assert [number_of(frame.image) for frame in frames] == [frame.position for frame in frames] == list(range(6))
            assert bool(source.notes) == (asked != given)
    with pytest.raises(FormatError, match="32x32"):
        demo.open(spec, replace(ONCE, width_px=20, height_px=20))


def test_labels_belong_to_positions_and_scale_as_the_picture_does(tmp_path: Path) -> None:
    spec = f"demo:{write_presenter(tmp_path / 'presenter', 6)}"
    labels = demo.labels(spec)
    assert (labels.fps, labels.box_px.shape, labels.five_px.shape) == (30.0, (6, 4), (6, 5, 2))
    assert not labels.box_px.flags.writeable
    row = np.float32(5)
    np.testing.assert_array_equal(labels.box_px[5], [row] * 4)
    half = labels.scaled(640, 360)
    np.testing.assert_allclose(half.five_px[5], (5 + 0.5) / 2 - 0.5)
    impulse = np.zeros((720, 1280, 3), np.uint8)
    impulse[300:304, 500:504] = 255
    small = cv2.resize(impulse, (640, 360), interpolation=cv2.INTER_AREA)[..., 0]
    y, x = np.argwhere(small > 0).mean(0)
    moved = replace(labels, five_px=np.full((1, 5, 2), (501.5, 301.5), np.float32)).scaled(640, 360)
    np.testing.assert_allclose(moved.five_px[0, 0], (x, y), atol=1e-4)


def test_bad_demo_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceAbsentError, match="install livecam again"):
        demo.labels(f"demo:{tmp_path}")
    folder = write_presenter(tmp_path / "presenter", 4)
    (folder / "presenter.npz").write_bytes(b"no archive")
    with pytest.raises(FormatError, match="expected arrays"):
        demo.labels(f"demo:{folder}")
    np.savez(folder / "presenter.npz", visible=np.ones(4))
    with pytest.raises(FormatError, match="expected arrays"):
        demo.labels(f"demo:{folder}")


def test_a_network_stream_delivers_the_newest_picture_to_a_slow_reader() -> None:
    camera = MjpegCamera()
    with mjpeg_server(camera) as address, network.open(address, CaptureConfig()) as source:
        first = source.read()
        wanted = camera.sent + 40
        while camera.sent < wanted:
            time.sleep(0.02)
        frame = source.read()
        behind = camera.sent - 1 - number_of(frame.image)
        assert 0 <= behind <= 15, "forty pictures were sent meanwhile: older ones must not queue up"
        assert frame.seq - first.seq >= 25
        assert source.format.fps > 0


def test_a_silent_network_stream_can_be_closed_at_once() -> None:
    with mjpeg_server(MjpegCamera(count=20, stall=True)) as address, network.open(address, CaptureConfig()) as source:
        caught: list[BaseException] = []

        def read_on() -> None:
            try:
                while True:
                    source.read()
            except CaptureError as error:
                caught.append(error)

        reader = threading.Thread(target=read_on)
        reader.start()
        time.sleep(1.0)
        source.close()
        reader.join()
        assert not source._pump.join(0.0), "closing does not wait for FFmpeg, which is still in its read"
        assert isinstance(caught[0], CaptureLostError)


def test_bad_addresses_are_refused_without_showing_the_password() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = unused.getsockname()[1]
    for scheme in ("http", "rtsp"):
        with pytest.raises(DeviceAbsentError, match="nothing answers") as caught:
            network.open(f"{scheme}://me:secret@127.0.0.1:{closed}/x?key=secret", CaptureConfig())
        assert "secret" not in str(caught.value)
    for odd in ("http://", "http://127.0.0.1:99999/x"):
        with pytest.raises(DeviceAbsentError, match="expected"):
            network.open(odd, CaptureConfig())
    with mjpeg_server(MjpegCamera()) as address, pytest.raises(FormatError, match="an answer that is none"):
        network.open(address.replace("camera.mjpg", "text"), CaptureConfig())


def test_a_video_file_behind_an_address_plays_at_its_own_speed_and_ends(tmp_path: Path) -> None:
    import functools
    import http.server

    write_clip(tmp_path / "clip.avi", 15, fps=30.0, fourcc="MJPG")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        with network.open(f"http://127.0.0.1:{server.server_port}/clip.avi", CaptureConfig(loop=False)) as source:
            numbers: list[int] = []
            with pytest.raises(EndOfStreamError):
                while True:
                    numbers.append(number_of(source.read().image))
        assert numbers == sorted(set(numbers))
        assert numbers[-1] == 14
    finally:
        server.shutdown()
        server.server_close()


def test_choose_says_what_there_is_when_nothing_fits() -> None:
    with pytest.raises(DeviceAbsentError, match="expected auto, demo, a file"):
        choose(CaptureConfig(camera="no such camera"))


def test_silence_ends_only_when_the_last_thread_leaves_it() -> None:
    from livecam.capture._ffmpeg import silent

    before = cv2.utils.logging.getLogLevel()
    first, second = silent(), silent()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert cv2.utils.logging.getLogLevel() == 0
    second.__exit__(None, None, None)
    assert cv2.utils.logging.getLogLevel() == before


@pytest.mark.skipif(not (demo.DATA / "presenter.mp4").is_file(), reason="the demo camera's clip is not in this checkout")
def test_the_presenter_that_ships_has_a_label_for_every_picture() -> None:
    labels = demo.labels()
    with demo.open("demo", replace(ONCE, width_px=320, height_px=180)) as source:
        positions: list[int] = []
        with pytest.raises(EndOfStreamError):
            while True:
                positions.append(source.read().position)
        assert source.format.fps == pytest.approx(labels.fps)
    assert positions == list(range(len(labels.visible)))
    seen = labels.present > 0.5
    assert 0.3 < seen.mean() < 1.0, "the presenter leaves and comes back"
    points = labels.five_px[labels.visible > 0.5]
    inside = ((points > -0.5) & (points < (1279.5, 719.5))).all((1, 2))
    assert inside.mean() > 0.8
