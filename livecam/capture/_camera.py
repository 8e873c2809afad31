"""An open camera: pictures from a grabber, checked, turned, measured."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from livecam.capture._pump import VideoSource
from livecam.capture._shape import RateMeter, Shaper, aspect_note
from livecam.config import CaptureConfig
from livecam.errors import CaptureLostError, FormatError
from livecam.types import U8, Frame, VideoFormat

DRIVER_BUFFERS = 2
"""Pictures that the driver may hold: one being filled while one is decoded. With 1 the driver has nowhere to write meanwhile, and many webcams
then deliver every second picture only; with OpenCV's 4 a stalled reader finds older ones."""
SILENCE_S = 2.0
"""Longer without a picture is a loss; the darkest webcams still deliver 5 a second."""
RELEASE_S = 0.8
"""How long `close` waits for a driver; after that it is released in the background."""
WARM_UP_FRAMES, MEASURED_FRAMES = 3, 9
"""Pictures thrown away, then measured, before a camera counts as open: a third of a second at 30 fps."""


class Grabber(Protocol):
    """The driver's side."""

    def read(self) -> tuple[NDArray[np.generic] | None, int, int]:
        """(image, capture_ns, seq). Raises CaptureLostError."""
        ...

    def close(self) -> None:
        """Ends a blocked `read`, gives the device back within a second."""
        ...


class Camera:
    """A camera. `format` is measured from its pictures."""

    def __init__(self, grabber: Grabber, what: str, pixel_format: str, config: CaptureConfig) -> None:
        """Reads and measures the first pictures. Raises FormatError (it delivers nothing, or nothing usable); closes the grabber then."""
        self._grabber = grabber
        self._shaper = Shaper(what, config, limit=False)
        self._meter = RateMeter()
        self._pixel_format = pixel_format
        self._size_px: tuple[int, int] = (0, 0)
        try:
            for index in range(WARM_UP_FRAMES + MEASURED_FRAMES):
                image, capture_ns, _ = grabber.read()
                self._taken(image, capture_ns if index >= WARM_UP_FRAMES else 0)
        except CaptureLostError as error:
            grabber.close()
            raise FormatError(f"{what}: expected pictures, found that it stops delivering ({error}); plug it in anew, or choose another") from error
        except FormatError:
            grabber.close()
            raise
        width_px, height_px = self._size_px
        came_px = (height_px, width_px) if config.rotate_deg in (90, 270) else (width_px, height_px)
        self._shaper.note(aspect_note((config.width_px, config.height_px), came_px))
        if self._meter.fps < 0.8 * config.fps:
            self._shaper.note(f"asked for {config.fps:g} fps, the camera delivers {self._meter.fps:.1f} (little light makes many cameras slower)")

    @property
    def format(self) -> VideoFormat:
        """Size of the newest picture (rotation included), rate measured over the newest 60, FourCC that the driver says."""
        return VideoFormat(*self._size_px, self._meter.fps, self._pixel_format)

    @property
    def notes(self) -> tuple[str, ...]:
        return self._shaper.notes

    def read(self) -> Frame:
        """The newest picture. Raises CaptureLostError (unplugged, silent for 2 s, closed), FormatError (unusable from now on)."""
        image, capture_ns, seq = self._grabber.read()
        return Frame(self._taken(image, capture_ns), capture_ns, seq)

    def _taken(self, image: NDArray[np.generic] | None, capture_ns: int) -> U8:
        shaped = self._shaper.shape(image)
        self._size_px = (shaped.shape[1], shaped.shape[0])
        if capture_ns:
            self._meter.add(capture_ns)
        return shaped

    def close(self) -> None:
        self._grabber.close()

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def ask(source: VideoSource, fourcc: str, config: CaptureConfig) -> None:
    """Asks `source` for pixel format ("" leaves it), size and rate. What it gives is seen in its pictures."""
    if fourcc:
        source.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*fourcc))
    source.set(cv2.CAP_PROP_FRAME_WIDTH, config.width_px)
    source.set(cv2.CAP_PROP_FRAME_HEIGHT, config.height_px)
    source.set(cv2.CAP_PROP_FPS, config.fps)
    source.set(cv2.CAP_PROP_BUFFERSIZE, DRIVER_BUFFERS)
