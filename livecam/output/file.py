"""Output `file`: a recording.

Target: `out.mp4` (also .m4v .mov .mkv .avi), with options after a question mark, joined by `&`:
    overwrite=1      an existing file may be replaced (refused otherwise)
    audio=clip.mp4   keep the sound of this file, in step: it begins with the first picture that is no slate, and is played once
                     (needs the extra `audio`)
    every_frame=1    for conversions: each picture becomes the next one of the file, none is dropped, and `send` waits for the encoder;
                     without it the file's clock is the wall's, and pictures are dropped or shown longer to keep to it

With the extra `audio` the file is H.264 and plays even when livecam is killed; without, OpenCV writes MPEG-4 part 2, and an .mp4 that was not
closed does not play (.mkv and .avi do).  A reserve on disk and a look at the free space before every picture see to it that a recording which
fills the disk is closed playable.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import queue
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np

from livecam.config import OutputConfig
from livecam.errors import LivecamError, MissingExtraError, OutputError, OutputLostError, UsageError
from livecam.output import Surface, _disk, _encode, _encode_av, _fit, _pace, _target
from livecam.types import U8, DeviceInfo, State, VideoFormat

QUEUE = 4
"""Pictures that may wait for the encoder: 130 ms at 30 fps, 11 MB at 720p."""

FALLBACK_FPS = 30.0
"""For a source that does not know its rate."""

OPTIONS = frozenset({"overwrite", "audio", "every_frame"})


class FileOutput:
    """An open recording; its own thread encodes. frames: pictures given to the encoder; dropped: those that it had no time for;
    surplus: those that came before their turn on the file's clock."""

    def __init__(self, path: Path, encoder: _encode.Encoder, space: _disk.Space, fmt: VideoFormat, *, every_frame: bool) -> None:
        self.path = path
        self.frames = 0
        self.dropped = 0
        self.surplus = 0
        self._encoder = encoder
        self._space = space
        self._every_frame = every_frame
        self._grid = _pace.Grid(fmt.fps)
        self._index = -1
        self._fit = _fit.Fitter(fmt.width_px, fmt.height_px)
        self._lost: OutputLostError | None = None
        self._closed = False
        self._free: queue.SimpleQueue[U8] = queue.SimpleQueue()
        for _ in range(QUEUE):
            self._free.put(np.empty((fmt.height_px, fmt.width_px, 3), np.uint8))
        self._waiting: queue.SimpleQueue[tuple[U8, int, bool] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._encode, name="livecam-file", daemon=True)
        self._thread.start()

    def send(self, image: U8, capture_ns: int, state: State) -> None:
        """Hands a copy to the encoder; waits only with every_frame. Raises OutputLostError when the recording had to end."""
        index = self._index + 1 if self._every_frame else self._grid.index()
        if self._lost is not None:
            raise self._lost
        if index <= self._index:
            self.surplus += 1
            return
        try:
            buffer = self._free.get(block=self._every_frame)
        except queue.Empty:
            self.dropped += 1
            return
        self._index = index
        np.copyto(buffer, self._fit.fit(image))
        self._waiting.put((buffer, index, state != State.SLATE))

    def watched(self) -> bool:
        """Always: a recording wants its pictures."""
        return True

    def describe(self) -> str:
        return f"recording to {self.path} ({self._encoder.describe()})"

    def close(self) -> None:
        """Encodes what waits and finishes the file. A recording without a single picture leaves no file."""
        if self._closed:
            return
        self._closed = True
        self._waiting.put(None)
        self._thread.join()
        if self.frames == 0:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)

    def __enter__(self) -> FileOutput:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _encode(self) -> None:
        """The encoder's thread: until None comes. After a failure the file is finished at once and later pictures are passed over."""
        while (item := self._waiting.get()) is not None:
            buffer, index, is_source = item
            if self._lost is None:
                try:
                    self._encode_one(buffer, index, is_source)
                except OutputLostError as error:
                    self._give_up(error)
                except Exception as error:  # noqa: BLE001 - whatever fails here, the sender must hear of it instead of waiting for ever
                    self._give_up(OutputLostError(f"recording to {self.path} failed: {type(error).__name__}: {error}"))
            self._free.put(buffer)
        if self._lost is None:
            self._finish()

    def _encode_one(self, image: U8, index: int, is_source: bool) -> None:
        if not self._space.enough(self.frames):
            raise OutputLostError(f"the disk of {self.path} is full: recording ended after {self.frames} pictures, and the file plays; make room")
        if is_source:
            self._encoder.start_sound(index)
        self._encoder.write(image, index)
        self.frames += 1

    def _give_up(self, error: OutputLostError) -> None:
        """Finishes first: whoever is told that the recording ended finds it playable."""
        self._finish()
        self._lost = error

    def _finish(self) -> None:
        self._space.release()
        self._encoder.close()


def open(target: str, fmt: VideoFormat, config: OutputConfig, surface: Surface | None) -> FileOutput:
    """A recording. Raises UsageError (no name, unknown ending or option, file exists), OutputError (folder, disk, encoder), MissingExtraError."""
    name, options = _target.split(target, OPTIONS)
    fmt = fmt if fmt.fps > 0 else replace(fmt, fps=FALLBACK_FPS)
    path = _checked(name, overwrite=_target.flag(options, "overwrite"))
    every_frame = _target.flag(options, "every_frame")
    source = _sound_source(options.get("audio", ""), path)
    was_there = path.exists()
    space = _disk.Space(path)
    try:
        encoder = _encoder(path, fmt, source)
    except (LivecamError, OSError):
        space.release()
        if not was_there:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        raise
    return FileOutput(path, encoder, space, fmt, every_frame=every_frame)


def _has_av() -> bool:
    return importlib.util.find_spec("av") is not None


def _encoder(path: Path, fmt: VideoFormat, source: Path | None) -> _encode.Encoder:
    if _has_av():
        return _encode_av.AvEncoder(path, fmt, source)
    return _encode.CvEncoder(path, fmt)


def _sound_source(name: str, path: Path) -> Path | None:
    if not name:
        return None
    source = Path(name).expanduser()
    if not source.is_file():
        raise OutputError(f"audio={name}: there is no such file; name the film whose sound is to be kept")
    if path.exists() and source.samefile(path):
        raise UsageError(f"audio={name} is the file that is to be written; write to another one")
    if not _has_av():
        raise MissingExtraError("av", "audio", "keeping the sound of a file")
    return source


def _checked(name: str, *, overwrite: bool) -> Path:
    """The path to write, after all that can be said beforehand."""
    if not name:
        raise UsageError("output file needs a name: file:out.mp4")
    path = Path(name).expanduser()
    if path.suffix.lower() not in _encode.CODECS:
        known = ", ".join(_encode.CODECS)
        raise UsageError(f"{path}: the ending {path.suffix or '(none)'!r} is no kind of film that can be written; use one of: {known}")
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file in it: {path / 'out.mp4'}")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists already; choose another name, or allow replacing it: file:{name}?overwrite=1")
    if not path.parent.is_dir():
        raise OutputError(f"the folder {path.parent} does not exist; make it first: mkdir -p {path.parent}")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise OutputError(f"{path} may not be written by this user; choose a folder of your own")
    return path


def devices() -> tuple[DeviceInfo, ...]:
    """One: a file can always be written; the note says what is missing."""
    note = "" if _has_av() else "MPEG-4 without sound; for H.264 and sound: pip install 'livecam[audio]'"
    return (DeviceInfo("output", "file", "file:out.mp4", "recording", note),)
