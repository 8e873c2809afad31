"""Values that pass between rooms. All are frozen and slotted; arrays in them are not to be written to unless a field says so.

Convention (all of livecam):
    Pixel coordinates are (x, y), x to the right, y down, in *pixel-centre* units: the centre of the top-left pixel is (0.0, 0.0),
    so a picture of width W covers [-0.5, W - 0.5].  This is OpenCV's `warpAffine` convention.
    An affine matrix M is 2x3 float64 and maps a *frame* point to a *crop* point: crop = M @ (x, y, 1).
    "Left" and "right" of a face are the *subject's* own, except where a name says `image_left`.
    Pictures are BGR, uint8, (H, W, 3), C-contiguous.
    Times are nanoseconds of `time.monotonic_ns()`, which all processes of one machine share.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

MESH_POINTS = 468
"""Points of MediaPipe's face mesh."""
MESH_POINTS_WITH_IRIS = 478
"""Mesh plus iris: 468..472 the subject's right iris (centre, then 4 contour points), 473..477 the left."""


RIGHT_IRIS, LEFT_IRIS = slice(468, 473), slice(473, 478)
"""Those points, the subject's own right and left."""


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """What a camera delivers or an output takes: size in pixels, frames per second (float), FourCC or codec name if known."""

    width_px: int
    height_px: int
    fps: float
    pixel_format: str = "BGR"


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A device that `livecam devices` lists. `room`: "capture" or "output"; `spec`: what to type to choose it; `note`: a trap, or ""."""

    room: str
    kind: str
    spec: str
    name: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a camera.

    image: (H, W, 3) uint8 BGR, C-contiguous; the holder of the frame may draw into it.
    capture_ns: monotonic time at which the picture was received from the driver.
    seq: counts the source's pictures from 0 (gaps are dropped pictures).
    position: index inside a looped file or clip (demo labels are looked up by it), -1 for live sources.
    """

    image: U8
    capture_ns: int
    seq: int
    position: int = -1


@dataclass(frozen=True, slots=True)
class Detection:
    """A face that the whole-frame search found.

    box_px: (4,) float32 x0, y0, x1, y1 in frame pixels; may reach outside the frame.
    five_px: (5, 2) float32: eye, eye, nose tip, mouth corner, mouth corner; the image-left one first; None if the detector has no points.
    score: 0..1.
    """

    box_px: F32
    score: float
    five_px: F32 | None = None


@dataclass(frozen=True, slots=True)
class Face:
    """A tracked face of one frame.

    track_id: stays the same while the face is followed, never used again for another.
    box_px: (4,) float32 tight box around the landmarks, frame pixels.
    five_px: (5, 2) float32 alignment points (ArcFace order, image-left first), smoothed.
    mesh_px: (478, 3) float32 x, y in frame pixels, z in the same scale (smaller is nearer), smoothed; None for trackers without a mesh.
    score: 0..1, how sure the landmark model is that this is a face.
    gaze_deg: (2, 2) float32 yaw (positive: image-right), pitch (positive: down) for image-left and image-right eye, relative to the head;
        None if unknown.
    eye_open: (2,) float32 lid opening for image-left and image-right eye; 0 is shut, about 1 is wide open; None if unknown.
    """

    track_id: int
    box_px: F32
    five_px: F32
    score: float
    mesh_px: F32 | None = None
    gaze_deg: F32 | None = None
    eye_open: F32 | None = None


@dataclass(frozen=True, slots=True)
class CropSpec:
    """How a generator wants its crop: ArcFace's 112-px template * scale, moved by offset, at size_px.

    size_px: side of the square crop. template: "arcface_112_v2". scale: 1.0 is ArcFace's own tightness, smaller shows more of the head.
    offset: (dx, dy) shift of the template as share of the crop's side.
    """

    size_px: int
    template: str = "arcface_112_v2"
    scale: float = 0.78
    offset: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Alignment:
    """Similarity that takes a frame to a crop. matrix: (2, 3) float64, frame -> crop (see Convention). size_px: side of the crop."""

    matrix: F64
    size_px: int


@dataclass(frozen=True, slots=True)
class Swapped:
    """What a generator drew.

    crop: (S, S, 3) uint8 BGR. mask: (S, S) uint8, 255 where the drawing may replace the frame.
    """

    crop: U8
    mask: U8


@dataclass(frozen=True, slots=True)
class Persona:
    """Another face to wear. Arrays as in the persona file (see livecam/persona/__init__.py); texts from its metadata.

    images: decoded pictures by name ("neutral", "open_mouth", "closed_eyes": (H, W, 3) uint8 BGR; "eye_left", ...: BGRA).
    meshes: (478, 3) float32 landmarks on "neutral", "open_mouth", "closed_eyes".
    embedding: (128,) float32 of length 1, the neutral portrait's identity by the embedder that metadata "embedding_model" names; None: not in the
        file.
    """

    id: str
    name: str
    kind: str
    description: str
    licence: str
    images: Mapping[str, U8]
    meshes: Mapping[str, F32]
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    embedding: F32 | None = None


class State(enum.IntEnum):
    """What is on air (DESIGN.md, Guard)."""

    SLATE = 0
    COVER = 1
    HOLD = 2
    LIVE = 3
    REVEAL = 4


class Verdict(enum.IntEnum):
    """What the worker says of a frame that it publishes: a finished, safe one, or one that it pixelated."""

    COVER = 1
    LIVE = 3
