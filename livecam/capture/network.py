"""Capture from the network: rtsp://, rtsps://, rtmp://, udp://, srt://, http(s):// (MJPEG, HLS or a file), by OpenCV's FFmpeg."""

from __future__ import annotations

import socket
from types import TracebackType
from urllib.parse import SplitResult, urlsplit

import cv2

from livecam.capture._clip import LEAST_FPS, MOST_FPS, USUAL_FPS, Pacer
from livecam.capture._ffmpeg import open_video
from livecam.capture._pump import Pump
from livecam.capture._shape import RateMeter, Shaper
from livecam.config import CaptureConfig
from livecam.errors import CaptureError, CaptureLostError, DeviceAbsentError, EndOfStreamError, FormatError
from livecam.types import DeviceInfo, Frame, VideoFormat

PORTS = {"rtsp": 554, "rtsps": 322, "rtmp": 1935, "http": 80, "https": 443}
"""Schemes over TCP, with their usual ports."""
SCHEMES = frozenset(PORTS) | {"udp", "rtp", "srt", "tcp"}
TIMEOUT_S = 5.0
"""For opening, and for reading: longer silence is a loss."""
LOW_DELAY = "rtsp_transport;tcp|fflags;nobuffer|flags;low_delay"
"""FFmpeg's demuxer must not gather pictures: they would arrive late for ever after."""
RELEASE_S = 0.5
"""How long `close` waits for FFmpeg to let go of the connection; after that it happens in the background."""


def accepts(spec: str) -> bool:
    """An address with one of the schemes."""
    return "://" in spec and spec.split("://", 1)[0].lower() in SCHEMES


def devices() -> tuple[DeviceInfo, ...]:
    """None: streams are chosen by their address."""
    return ()


def open(spec: str, config: CaptureConfig) -> Stream:
    """The stream at `spec`. Raises DeviceAbsentError (nothing answers within 5 s), FormatError (what answers is no video)."""
    address = urlsplit(spec)
    what = shown(address)
    _check_answers(address, what)
    source = open_video(spec, LOW_DELAY, int(TIMEOUT_S * 1000), int(TIMEOUT_S * 1000))
    if not source.isOpened():
        source.release()
        raise FormatError(f"{what}: expected a video stream, found an answer that is none; check the path, the user name and the password")
    return Stream(source, what, config)


def shown(address: SplitResult) -> str:
    """The address without user name, password and query, fit for messages."""
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"


def _check_answers(address: SplitResult, what: str) -> None:
    try:
        port = address.port or PORTS.get(address.scheme.lower())
    except ValueError as error:
        raise DeviceAbsentError(f"{address.scheme}://{address.hostname}: expected a port between 0 and 65535 ({error}); check the address") from error
    if address.scheme.lower() not in PORTS or port is None:
        return
    if not address.hostname:
        raise DeviceAbsentError(f"{what}: expected an address like {address.scheme}://host/path, found no host in it; check the address")
    try:
        socket.create_connection((address.hostname, port), TIMEOUT_S).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise DeviceAbsentError(f"{what}: expected a stream, found that nothing answers ({reason}); check the address and the network") from error


class Stream:
    """A network stream; only its newest picture is kept while nobody reads. A finite one (a file behind an address) plays at its own speed."""

    def __init__(self, source: cv2.VideoCapture, what: str, config: CaptureConfig) -> None:
        """Waits for the first picture. Raises FormatError (none comes, or it is too small)."""
        self._what = what
        self._shaper = Shaper(what, config, limit=True)
        self._meter = RateMeter()
        stated = source.get(cv2.CAP_PROP_FPS)
        self._stated_fps = stated if LEAST_FPS <= stated <= MOST_FPS else USUAL_FPS
        finite = source.get(cv2.CAP_PROP_FRAME_COUNT) > 0
        self._ends = finite and not config.loop
        pacer = Pacer(self._stated_fps) if finite else None
        self._pump = Pump(source, what, pacer.wait if pacer else None)
        try:
            first, _, _ = self._pump.read(TIMEOUT_S)
            shaped = self._shaper.shape(first)
        except CaptureError as error:
            self._pump.close()
            raise FormatError(str(error)) from error
        self._size_px = (shaped.shape[1], shaped.shape[0])

    @property
    def format(self) -> VideoFormat:
        """Size of the newest picture; the rate is measured (until a second picture has come, what the stream states)."""
        return VideoFormat(*self._size_px, self._meter.fps or self._stated_fps, "stream")

    @property
    def notes(self) -> tuple[str, ...]:
        return self._shaper.notes

    def read(self) -> Frame:
        """The newest picture not yet read. Raises CaptureLostError (broken, silent, closed), EndOfStreamError (finite, not looped), FormatError."""
        try:
            image, capture_ns, seq = self._pump.read(TIMEOUT_S)
        except CaptureLostError as error:
            if self._ends and not self._pump.closed:
                raise EndOfStreamError(f"{self._what}: ended") from error
            raise
        shaped = self._shaper.shape(image)
        self._size_px = (shaped.shape[1], shaped.shape[0])
        self._meter.add(capture_ns)
        return Frame(shaped, capture_ns, seq)

    def close(self) -> None:
        self._pump.close()
        self._pump.join(RELEASE_S)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
