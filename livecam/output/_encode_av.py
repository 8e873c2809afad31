"""Recordings with the extra `audio` (PyAV): H.264 where FFmpeg has an encoder, the sound of a source file kept and in step.

The MP4 is written in fragments and gets its ordinary index at the end, so that it plays even when the program is killed in between.
"""

from __future__ import annotations

import contextlib
import importlib
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from livecam.errors import MissingExtraError, OutputError, OutputLostError
from livecam.types import U8, VideoFormat

if TYPE_CHECKING:
    from collections.abc import Iterator

VIDEO_CODECS = ("libx264", "libopenh264", "h264_videotoolbox", "h264_mf", "mpeg4")
"""Tried in this order; hardware encoders that need a device to be there come after those that always work."""

VIDEO_OPTIONS = {"libx264": {"preset": "veryfast", "crf": "20", "rc-lookahead": "10"}}
"""veryfast costs about 10 ms a frame at 720p, as much as superfast, for half the size. The encoder holds back the pictures it looks ahead at."""

KEYFRAME_S = 1.0
"""A fragment ends at every key frame: a killed recording loses this much, and what the encoder holds back."""

FRAGMENTS = ("hybrid_fragmented+frag_keyframe", "frag_keyframe+empty_moov")
"""movflags, best first; the first one needs FFmpeg 7.1."""

COPIED_SOUND = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"})
"""Sound that an MP4 or Matroska file holds as it is; other sound becomes AAC."""

BT601 = 6
"""FFmpeg's number of SMPTE 170M, for matrix, primaries and transfer: what cv2.cvtColor computes."""
MPEG_RANGE = 1


def import_av() -> Any:
    """PyAV, which has no type stubs. Raises MissingExtraError."""
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise MissingExtraError("av", "audio", "recording H.264 with sound") from error


class Sound:
    """The sound of `source`, copied packet by packet or as AAC, into `container` up to a given time."""

    def __init__(self, av: Any, source: Path, container: Any, path: Path) -> None:
        try:
            self._input = av.open(str(source))
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise OutputError(f"the sound of {source} cannot be read: {why}; leave out audio= or name a film or sound file") from error
        streams = self._input.streams.audio
        self.codec = str(streams[0].codec_context.codec.canonical_name) if streams else ""
        self._stream: Any = None
        self._encode = False
        if not streams:
            self._input.close()
            return
        self._encode = self.codec not in COPIED_SOUND or path.suffix.lower() == ".avi"
        if self._encode:
            self._stream = container.add_stream("aac", rate=streams[0].codec_context.sample_rate)
            self._resampler = av.AudioResampler(format="fltp", layout=streams[0].codec_context.layout.name, rate=streams[0].codec_context.sample_rate)
        else:
            self._stream = container.add_stream_from_template(streams[0])
        self._container = container
        self._origin_s = self._video_start_s()
        self._packets = self._make_packets(streams[0])
        self._offset_s = 0.0
        self._next: Any = None

    @property
    def there(self) -> bool:
        """Whether the source has sound at all."""
        return self._stream is not None

    def describe(self) -> str:
        return f"sound {self.codec}{' as aac' if self._encode else ''}"

    def _video_start_s(self) -> float:
        """When the source's pictures begin on its own clock; sound is kept in step with them."""
        video = self._input.streams.video
        if not video or video[0].start_time is None:
            return 0.0
        return float(video[0].start_time * video[0].time_base)

    def _make_packets(self, stream: Any) -> Iterator[Any]:
        """Packets for the file, in order of time. `time_base` of each is set."""
        for packet in self._input.demux(stream):
            if packet.dts is None and not self._encode:
                continue
            if not self._encode:
                yield packet
                continue
            for frame in packet.decode():
                for piece in self._resampler.resample(frame):
                    yield from self._stream.encode(piece)
        if self._encode:
            yield from self._stream.encode(None)

    def start(self, offset_s: float) -> None:
        """The source's first picture is at `offset_s` in the file."""
        self._offset_s = offset_s - self._origin_s

    def feed(self, until_s: float) -> None:
        """Writes the sound up to the file's time `until_s`."""
        while True:
            packet = self._next if self._next is not None else next(self._packets, None)
            self._next = packet
            if packet is None or float(packet.pts * packet.time_base) + self._offset_s > until_s:
                return
            shift = round(self._offset_s / packet.time_base)
            packet.pts += shift
            packet.dts += shift
            packet.stream = self._stream
            self._next = None
            if packet.pts >= 0:  # an encoder's run-up lies before 0; with it the muxer would move the pictures
                self._container.mux(packet)

    def close(self) -> None:
        if self._stream is not None:
            self._input.close()


class AvEncoder:
    """PyAV's muxer and encoder. Gaps in the index cost nothing: the picture before stays for longer. source: file whose sound is kept."""

    def __init__(self, path: Path, fmt: VideoFormat, source: Path | None) -> None:
        self._av = import_av()
        self._path = path
        self._rate = Fraction(fmt.fps).limit_denominator(1001)
        self._width, self._height = fmt.width_px & ~1, fmt.height_px & ~1
        self._i420: U8 = np.empty((self._height * 3 // 2, self._width), np.uint8)
        self._sound: Sound | None = None
        self._sound_from: int | None = None
        self._end = 0
        failures: list[str] = []
        for codec, movflags in self._choices():
            try:
                self._begin(codec, movflags, source)
            except (self._av.FFmpegError, ValueError) as error:
                failures.append(f"{codec}: {error}")
                with contextlib.suppress(self._av.FFmpegError, ValueError):
                    self._container.close()
                continue
            self.codec = codec
            return
        raise OutputError(f"{path} cannot be written as video: {'; '.join(failures)}")

    def _choices(self) -> Iterator[tuple[str, str]]:
        there = [codec for codec in VIDEO_CODECS if codec in self._av.codecs_available]
        return ((codec, movflags) for codec in there for movflags in FRAGMENTS)

    def _begin(self, codec: str, movflags: str, source: Path | None) -> None:
        fragmented = self._path.suffix.lower() in (".mp4", ".m4v", ".mov")
        self._container = self._av.open(str(self._path), "w", options={"movflags": movflags} if fragmented else {})
        stream = self._container.add_stream(codec, rate=self._rate)
        stream.width, stream.height, stream.pix_fmt = self._width, self._height, "yuv420p"
        stream.options = VIDEO_OPTIONS.get(codec, {})
        context = stream.codec_context
        context.gop_size = max(1, round(KEYFRAME_S * self._rate))
        context.max_b_frames = 0  # with B-frames a fragmented file would begin two pictures late
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = MPEG_RANGE, BT601, BT601, BT601
        if codec == "mpeg4":
            context.bit_rate = self._width * self._height * 4
        self._stream = stream
        if source is not None:
            sound = Sound(self._av, source, self._container, self._path)
            self._sound = sound if sound.there else None
        self._container.start_encoding()

    def write(self, image: U8, index: int) -> None:
        cv2.cvtColor(np.ascontiguousarray(image[: self._height, : self._width]), cv2.COLOR_BGR2YUV_I420, dst=self._i420)
        frame = self._av.VideoFrame.from_ndarray(self._i420, format="yuv420p")
        frame.pts, frame.time_base = index, 1 / self._rate
        try:
            self._container.mux(self._stream.encode(frame))
            self._end = index + 1
            if self._sound is not None and self._sound_from is not None:
                self._sound.feed(float(self._end / self._rate))
        except self._av.FFmpegError as error:
            raise OutputLostError(f"{self._path} cannot be written any more: {error.strerror}; what is there so far plays") from error

    def start_sound(self, index: int) -> None:
        if self._sound is not None and self._sound_from is None:
            self._sound_from = index
            self._sound.start(float(index / self._rate))

    def describe(self) -> str:
        return f"{self.codec}, {self._sound.describe() if self._sound is not None else 'no sound'}"

    def close(self) -> None:
        with contextlib.suppress(self._av.FFmpegError):  # a full disk: the fragments so far play
            self._container.mux(self._stream.encode(None))
        with contextlib.suppress(self._av.FFmpegError):
            self._container.close()
        if self._sound is not None:
            self._sound.close()
