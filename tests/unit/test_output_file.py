"""Recordings: what is in the file afterwards, read back with OpenCV."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from livecam.config import OutputConfig
from livecam.errors import LivecamError, MissingExtraError, OutputError, OutputLostError, UsageError
from livecam.output import _disk, _encode, _pace, file
from livecam.types import U8, State, VideoFormat

FORMAT = VideoFormat(160, 96, 25.0)
CONFIG = OutputConfig()
LEVELS = 8
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def without_av(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "_has_av", lambda: False)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the file's clock believes in."""
    now = [100.0]
    monkeypatch.setattr(_pace.time, "monotonic_ns", lambda: round(now[0] * 1e9))
    return now


def grey(level: int, fmt: VideoFormat = FORMAT) -> U8:
    """A picture whose brightness says which it is."""
    return np.full((fmt.height_px, fmt.width_px, 3), 20 + 28 * (level % LEVELS), np.uint8)


def levels(path: Path) -> list[int]:
    """What `path` plays, picture by picture."""
    capture, found = cv2.VideoCapture(str(path)), list[int]()
    while True:
        ok, image = capture.read()
        if not ok:
            return found
        found.append(round((float(image.mean()) - 20) / 28))


def record(target: str, fmt: VideoFormat = FORMAT) -> file.FileOutput:
    return file.open(target, fmt, CONFIG, None)


def settle(output: file.FileOutput) -> None:
    """Waits until the encoder has taken everything."""
    buffers = [output._free.get() for _ in range(file.QUEUE)]
    for buffer in buffers:
        output._free.put(buffer)


@pytest.mark.usefixtures("without_av")
@pytest.mark.parametrize("ending", sorted(_encode.CODECS))
def test_every_frame_comes_once_and_in_order(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out{ending}"
    with record(f"{path}?every_frame=1") as output:
        for level in range(40):
            output.send(grey(level), 0, State.LIVE)
    assert levels(path) == [level % LEVELS for level in range(40)]
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == pytest.approx(25.0)
    assert (output.frames, output.dropped, output.surplus) == (40, 0, 0)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name], "the reserve is still there"


@pytest.mark.usefixtures("without_av")
def test_clock_repeats_for_a_pause_and_leaves_out_what_comes_too_soon(tmp_path: Path, clock: list[float]) -> None:
    path = tmp_path / "out.mp4"
    with record(str(path)) as output:
        for level, at_s in ((0, 0.0), (1, 0.04), (2, 0.045), (3, 0.08), (4, 0.28), (5, 0.32)):
            clock[0] = 100 + at_s
            settle(output)
            output.send(grey(level), 0, State.LIVE)
    assert levels(path) == [0, 1, 3, 3, 3, 3, 3, 4, 5]
    assert (output.surplus, output.dropped) == (1, 0)


@pytest.mark.usefixtures("without_av")
def test_what_is_sent_may_be_changed_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "out.avi"
    image = grey(5)
    with record(f"{path}?every_frame=1") as output:
        for _ in range(10):
            image[:] = grey(5)
            output.send(image, 0, State.LIVE)
            image[:] = 0
    assert levels(path) == [5] * 10


class StuckEncoder:
    """Encodes nothing until it is let go."""

    def __init__(self) -> None:
        self.go, self.indices, self.closed = threading.Event(), list[int](), 0

    def write(self, image: U8, index: int) -> None:
        self.go.wait(10)
        self.indices.append(index)

    def start_sound(self, index: int) -> None: ...

    def describe(self) -> str:
        return "stuck"

    def close(self) -> None:
        self.closed += 1


def with_encoder(monkeypatch: pytest.MonkeyPatch, encoder: Any) -> None:
    monkeypatch.setattr(file, "_encoder", lambda *_: encoder)


def test_slow_encoder_drops_and_counts_instead_of_blocking(tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = StuckEncoder()
    with_encoder(monkeypatch, encoder)
    output = record(str(tmp_path / "out.mp4"))
    for number in range(50):
        clock[0] = 100 + number / 25
        output.send(grey(0), 0, State.LIVE)
    encoder.go.set()
    output.close()
    assert encoder.indices == list(range(file.QUEUE))
    assert output.dropped == 50 - file.QUEUE
    assert encoder.closed == 1


def test_slow_encoder_loses_nothing_with_every_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = StuckEncoder()
    with_encoder(monkeypatch, encoder)
    output = record(str(tmp_path / "out.mp4?every_frame=1"))
    threading.Timer(0.2, encoder.go.set).start()
    for _ in range(50):
        output.send(grey(0), 0, State.LIVE)
    output.close()
    assert encoder.indices == list(range(50))
    assert output.dropped == 0


class BreakingEncoder(StuckEncoder):
    """Fails at the third picture."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, image: U8, index: int) -> None:
        if index == 2:
            raise self.error


@pytest.mark.parametrize("error", [OutputLostError("the stick was pulled"), RuntimeError("the stick was pulled")])
def test_failing_encoder_ends_in_an_error_and_never_in_a_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    encoder = BreakingEncoder(error)
    with_encoder(monkeypatch, encoder)
    output = record(str(tmp_path / "out.mp4?every_frame=1"))
    with pytest.raises(OutputLostError, match="the stick was pulled"):
        for _ in range(50):
            output.send(grey(0), 0, State.LIVE)
    output.close()
    output.close()
    assert encoder.closed == 1


@pytest.mark.usefixtures("without_av")
def test_disk_that_fills_ends_the_recording_playable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.mp4"
    output = record(f"{path}?every_frame=1")
    for level in range(20):
        output.send(grey(level), 0, State.LIVE)
    settle(output)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, _disk.MARGIN_BYTES - 1))
    with pytest.raises(OutputLostError, match=r"is full: recording ended after 20 pictures, and the file plays; make room"):
        for level in range(20, 60):
            output.send(grey(level), 0, State.LIVE)
    assert levels(path) == [level % LEVELS for level in range(20)], "playable at once, before close"
    output.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.usefixtures("without_av")
@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be deleted there")
def test_deleted_recording_is_lost_and_not_silent(tmp_path: Path) -> None:
    output = record(f"{tmp_path / 'out.mp4'}?every_frame=1")
    output.send(grey(0), 0, State.LIVE)
    settle(output)
    (tmp_path / "out.mp4").unlink()
    with pytest.raises(OutputLostError, match="is gone"):
        for _ in range(20):
            output.send(grey(0), 0, State.LIVE)
    output.close()


@pytest.mark.usefixtures("without_av")
def test_camera_that_changes_its_size_is_fitted_in(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with record(f"{path}?every_frame=1") as output:
        output.send(grey(6), 0, State.LIVE)
        output.send(grey(6, VideoFormat(96, 96, 25.0)), 0, State.LIVE)
    capture = cv2.VideoCapture(str(path))
    capture.read()
    _, second = capture.read()
    assert second.shape == (96, 160, 3)
    assert second[:, :24].mean() < 10 < 170 < second[:, 40:120].mean()


@pytest.mark.usefixtures("without_av")
def test_odd_sizes_are_cut_to_even_ones(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with record(f"{path}?every_frame=1", VideoFormat(161, 97, 25.0)) as output:
        for _ in range(3):
            output.send(grey(4, VideoFormat(161, 97, 25.0)), 0, State.LIVE)
    assert levels(path) == [4] * 3


@pytest.mark.usefixtures("without_av")
def test_recording_without_pictures_leaves_no_file(tmp_path: Path) -> None:
    record(str(tmp_path / "out.mp4")).close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("without_av")
def test_existing_file_is_kept_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"precious")
    with pytest.raises(UsageError, match=r"exists already.*file:.*\?overwrite=1"):
        record(str(path))
    assert path.read_bytes() == b"precious"
    with record(f"{path}?overwrite=1&every_frame=1") as output:
        output.send(grey(3), 0, State.LIVE)
    assert levels(path) == [3]


@pytest.mark.usefixtures("without_av")
@pytest.mark.parametrize(
    ("target", "kind", "words"),
    [
        ("", UsageError, "needs a name"),
        ("out.gif", UsageError, r"'\.gif'.*\.mp4"),
        ("out", UsageError, r"\(none\)"),
        ("absent/out.mp4", OutputError, r"does not exist; make it first: mkdir -p"),
        ("folder.mp4", OutputError, "is a folder"),
        ("out.mp4?audio=absent.mp4", OutputError, "no such file"),
        ("out.mp4?audio=here.mp4", MissingExtraError, r"livecam\[audio\]"),
        ("here.mp4?overwrite=1&audio=here.mp4", UsageError, "is the file that is to be written"),
        ("out.mp4?colour=1", UsageError, "colour.*audio, every_frame, overwrite"),
    ],
)
def test_bad_targets_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, kind: type[LivecamError], words: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "here.mp4").write_bytes(b"x")
    with pytest.raises(kind, match=words):
        record(target)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["folder.mp4", "here.mp4"]


KILLED = """
import os, signal, sys
import numpy as np
from livecam.config import OutputConfig
from livecam.output import file
from livecam.types import State, VideoFormat
file._has_av = lambda: bool(int(sys.argv[2]))
noise = np.random.default_rng(1).integers(0, 256, (480, 640, 3), dtype=np.uint8)
output = file.open(sys.argv[1] + "?every_frame=1", VideoFormat(640, 480, 25.0), OutputConfig(), None)
for _ in range(150):
    output.send(noise, 0, State.LIVE)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("ending", "extra"), [(".mkv", 0), (".avi", 0), (".mp4", 1)])
def test_killed_recording_plays(tmp_path: Path, ending: str, extra: int) -> None:
    if extra:
        pytest.importorskip("av", reason="the extra audio is not installed")
    path = tmp_path / f"out{ending}"
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path), str(extra)], check=False, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    capture, played = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        played += 1
    assert played > 75, "more than half of it"


def _clip(path: Path, fmt: VideoFormat, codec: str, flashes: set[int]) -> None:
    """Two seconds with a white picture and a beep of one picture's length at each of `flashes`."""
    av = pytest.importorskip("av", reason="the extra audio is not installed")
    from fractions import Fraction

    rate, count = 48000, 50
    container = av.open(str(path), "w")
    video = container.add_stream("mpeg4", rate=25)
    video.width, video.height, video.pix_fmt = fmt.width_px, fmt.height_px, "yuv420p"
    sound = container.add_stream(codec, rate=rate)
    for index in range(count):
        image = np.full((fmt.height_px, fmt.width_px, 3), 255 if index in flashes else 0, np.uint8)
        frame = av.VideoFrame.from_ndarray(image, format="bgr24")
        frame.pts, frame.time_base = index, Fraction(1, 25)
        container.mux(video.encode(frame))
    at = np.arange(count * rate // 25)
    wave = np.where(np.isin(at * 25 // rate, list(flashes)), np.sin(at * 2 * np.pi * 1000 / rate), 0) * 20000
    for start in range(0, len(wave), 1024):
        piece = av.AudioFrame.from_ndarray(wave[None, start : start + 1024].astype(np.int16), format="s16", layout="mono")
        piece.sample_rate, piece.pts, piece.time_base = rate, start, Fraction(1, rate)
        container.mux(sound.encode(piece))
    container.mux(video.encode(None))
    container.mux(sound.encode(None))
    container.close()


def _flashes_and_beeps(path: Path) -> tuple[list[float], list[float]]:
    """Times (s) at which pictures turn white and sound sets in."""
    import av

    with av.open(str(path)) as container:
        flashes = [float(frame.time) for frame in container.decode(video=0) if frame.to_ndarray(format="gray").mean() > 128]
    beeps: list[float] = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            wave = np.abs(frame.to_ndarray().astype(np.float64)).reshape(-1)
            loud = np.flatnonzero(wave > (0.15 if wave.max() <= 2 else 5000))
            if loud.size and (not beeps or frame.time - beeps[-1] > 0.3):
                beeps.append(float(frame.time) + int(loud[0]) / frame.sample_rate)
    return flashes, beeps


@pytest.mark.parametrize(("codec", "source", "ending"), [("aac", "clip.mp4", ".mp4"), ("pcm_s16le", "clip.mov", ".mp4"), ("aac", "clip.mp4", ".mkv")])
def test_sound_of_the_source_is_kept_in_step(tmp_path: Path, codec: str, source: str, ending: str) -> None:
    clip, path = tmp_path / source, tmp_path / f"out{ending}"
    _clip(clip, FORMAT, codec, {10, 35})
    with record(f"{path}?every_frame=1&audio={clip}") as output:
        capture = cv2.VideoCapture(str(clip))
        while True:
            ok, image = capture.read()
            if not ok:
                break
            output.send(image, 0, State.LIVE)
    flashes, beeps = _flashes_and_beeps(path)
    assert flashes == pytest.approx([0.4, 1.4], abs=0.021)
    assert beeps == pytest.approx(flashes, abs=0.03)


def test_sound_begins_with_the_first_picture_that_is_no_slate(tmp_path: Path, clock: list[float]) -> None:
    clip, path = tmp_path / "clip.mp4", tmp_path / "out.mp4"
    _clip(clip, FORMAT, "aac", {10, 35})
    with record(f"{path}?audio={clip}") as output:
        for index in range(75):
            clock[0] = 100 + index / 25
            settle(output)
            image = np.full((96, 160, 3), 255 if index in (30, 55) else 0, np.uint8)
            output.send(image, 0, State.SLATE if index < 20 else State.LIVE)
    flashes, beeps = _flashes_and_beeps(path)
    assert flashes == pytest.approx([1.2, 2.2], abs=0.021)
    assert beeps == pytest.approx(flashes, abs=0.03)
