"""The demo camera: a rendered presenter who talks, blinks, turns, is lit differently, leaves and comes back; with exact labels.

Convention: labels are in pixels of the clip (pixel-centre units); `Labels.scaled` takes them to another size just as cv2.resize takes the picture.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from livecam import _shipped
from livecam.capture._clip import Clip
from livecam.capture._shape import Shaper
from livecam.config import CaptureConfig
from livecam.errors import DeviceAbsentError, FormatError, ModelFileError
from livecam.types import F32, F64, U8, DeviceInfo, Frame, VideoFormat

DATA = Path(__file__).parent / "demo_data"
CLIP_WIDTH_PX, CLIP_HEIGHT_PX = 1280, 720
PREFIX = "demo:"
"""`demo:FOLDER` plays another presenter: a folder with presenter.mp4 and presenter.npz."""
WAY_OUT = "install livecam again, or name a camera or a file instead"


@dataclass(frozen=True, slots=True)
class Labels:
    """The truth about every picture of the clip; row i belongs to `Frame.position` i. N pictures.

    visible: (N,) whether (or what share of) it is seen, 0..1. present: (N,) whether the presenter is in the picture.
    box_px: (N, 4) float32 x0, y0, x1, y1. five_px: (N, 5, 2) float32, image-left first. oval_px: (N, K, 2) float32 outline of the face oval.
    yaw_pitch_roll_deg: (N, 3) float32. gaze_deg: (N, 2) float32. blink: (N, 2), jaw: (N,) float32, 0..1.
    light: (N,) float32, what lights the scene.
    fps: of the clip.
    """

    visible: F32
    present: F32
    box_px: F32
    five_px: F32
    oval_px: F32
    yaw_pitch_roll_deg: F32
    gaze_deg: F32
    blink: F32
    jaw: F32
    light: F32
    fps: float

    def scaled(self, width_px: int, height_px: int) -> Labels:
        """The same labels for pictures of another size."""
        share: F64 = np.array([width_px / CLIP_WIDTH_PX, height_px / CLIP_HEIGHT_PX])

        def moved(points: F32) -> F32:
            return (((points.reshape(-1, 2) + 0.5) * share - 0.5).reshape(points.shape)).astype(np.float32)

        return replace(self, box_px=moved(self.box_px), five_px=moved(self.five_px), oval_px=moved(self.oval_px))


def labels(spec: str = "demo") -> Labels:
    """The truth about the clip that `open(spec, ...)` plays. Raises DeviceAbsentError (not there), FormatError (not as described)."""
    path = _folder(spec) / "presenter.npz"
    names = [name for name in Labels.__dataclass_fields__ if name != "fps"]
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: np.asarray(data[name], np.float32) for name in names}
            fps = float(data["fps"])
    except FileNotFoundError:
        raise DeviceAbsentError(f"expected the demo camera's labels at {path}, found nothing; {WAY_OUT}") from None
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise FormatError(f"{path}: expected arrays {', '.join([*names, 'fps'])}, found {error}; {WAY_OUT}") from error
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise FormatError(f"{path}: expected one row a picture in every array, found {lengths}; {WAY_OUT}")
    for array in arrays.values():
        array.flags.writeable = False
    return Labels(**arrays, fps=fps)


def accepts(spec: str) -> bool:
    """ "demo", or "demo:FOLDER"."""
    return spec == "demo" or spec.startswith(PREFIX)


def devices() -> tuple[DeviceInfo, ...]:
    """The demo camera, if its clip is installed."""
    if not (DATA / "presenter.mp4").is_file():
        return ()
    return (DeviceInfo("capture", "demo", "demo", "Demo presenter", "a rendered person who does not exist; needs no camera"),)


def open(spec: str, config: CaptureConfig) -> Demo:
    """The presenter. Raises DeviceAbsentError (clip not installed), FormatError (a damaged one, or a size under 32 px)."""
    path = _folder(spec) / "presenter.mp4"
    if not path.is_file():
        raise DeviceAbsentError(f"expected the demo camera's clip at {path}, found nothing; {WAY_OUT}")
    try:
        _shipped.check_file(path)
    except ModelFileError as error:
        raise FormatError(str(error)) from error
    return Demo(path, config)


def _folder(spec: str) -> Path:
    return Path(spec.removeprefix(PREFIX)).expanduser() if spec.startswith(PREFIX) else DATA


def wide_px(width_px: int, height_px: int) -> tuple[int, int]:
    """The largest 16:9 size (even sides) within the size asked for."""
    share = min(width_px / CLIP_WIDTH_PX, height_px / CLIP_HEIGHT_PX)
    return round(CLIP_WIDTH_PX * share / 2) * 2, round(CLIP_HEIGHT_PX * share / 2) * 2


class Demo:
    """The presenter, looped or once, at the clip's own rate or as fast as it is read. `Frame.position` is the row of `labels()`."""

    def __init__(self, path: Path, config: CaptureConfig) -> None:
        self._shaper = Shaper("demo", config, limit=False)
        self._size_px = wide_px(config.width_px, config.height_px)
        if min(self._size_px) < 32:
            raise FormatError(f"demo: expected a size of at least 32x32 px, found {config.width_px}x{config.height_px}; ask for a larger one")
        if abs(self._size_px[0] - config.width_px) > 2 or abs(self._size_px[1] - config.height_px) > 2:
            self._shaper.note(f"the demo camera is 16:9: {self._size_px[0]}x{self._size_px[1]} instead of {config.width_px}x{config.height_px}")
        self._turned = config.rotate_deg in (90, 270)
        self._clip = Clip(path, config.loop, config.realtime)

    @property
    def format(self) -> VideoFormat:
        """The size delivered; the rate is the clip's."""
        width_px, height_px = self._size_px[::-1] if self._turned else self._size_px
        return VideoFormat(width_px, height_px, self._clip.fps, self._clip.codec)

    @property
    def notes(self) -> tuple[str, ...]:
        return self._shaper.notes

    def read(self) -> Frame:
        """The next picture. Raises EndOfStreamError (played once), CaptureLostError (closed)."""
        image, capture_ns, seq, position = self._clip.next()
        return Frame(self._shaper.shape(self._resized(image)), capture_ns, seq, position)

    def _resized(self, image: U8) -> U8:
        if (image.shape[1], image.shape[0]) == self._size_px:
            return image
        how = cv2.INTER_AREA if self._size_px[0] < image.shape[1] else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(image, self._size_px, interpolation=how), np.uint8)

    def close(self) -> None:
        self._clip.close()

    def __enter__(self) -> Demo:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
