"""Pictures to tensors and back, as a card says, and the face's oval when a network draws no mask."""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from livecam import geometry
from livecam.errors import StageError
from livecam.swap._mesh_triangles import OVAL
from livecam.swap._onnx_card import Pixels
from livecam.types import F32, U8, Alignment, Face

OVAL_SHRINK = 0.97
"""The oval's own points lie on the skin's edge; a little inside, hair and background stay the wearer's."""
BLUR_SHARE = 0.05
"""Softness of the oval's edge as share of the crop's side."""
ELLIPSE_EYES = (1.05, 1.3)
"""Half axes of the face's ellipse in distances between the eyes, across and along, when there are only five points."""
ELLIPSE_CENTRE = 0.45
"""Its centre, from between the eyes (0) to between the mouth's corners (1)."""


def to_tensor(image: U8, pixels: Pixels) -> F32:
    """(S, S, 3) uint8 BGR -> (1, 3, S, S) or (1, S, S, 3) float32, normalised."""
    factor = 1.0 / (255.0 * np.array(pixels.std))
    shift = -np.array(pixels.mean) / np.array(pixels.std)
    channels = image[..., ::-1] if pixels.colour == "RGB" else image
    values = channels * factor.astype(np.float32) + shift.astype(np.float32)
    return np.ascontiguousarray(values[None] if pixels.layout == "NHWC" else values.transpose(2, 0, 1)[None], np.float32)


def to_image(tensor: NDArray[Any], pixels: Pixels) -> U8:
    """The inverse of `to_tensor`, rounded and clipped. Raises StageError when a value is not finite."""
    values = np.asarray(tensor[0], np.float32)
    values = values if pixels.layout == "NHWC" else values.transpose(1, 2, 0)
    if not np.isfinite(values).all():
        raise StageError("the generator's picture holds NaN or infinity; the model file may be damaged or in float16 that overflows")
    values = (values * np.array(pixels.std, np.float32) + np.array(pixels.mean, np.float32)) * 255.0
    bytes_ = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(bytes_[..., ::-1] if pixels.colour == "RGB" else bytes_)


def to_mask(tensor: NDArray[Any], size_px: int) -> U8:
    """(1, 1, S, S), (1, S, S, 1) or (1, S, S) values in 0..1 -> (S, S) uint8. Raises StageError when a value is not finite."""
    values = np.asarray(tensor, np.float32).reshape(size_px, size_px)
    if not np.isfinite(values).all():
        raise StageError("the generator's mask holds NaN or infinity; the model file may be damaged")
    return np.clip(np.rint(values * 255.0), 0, 255).astype(np.uint8)


def oval_mask(face: Face, alignment: Alignment) -> U8:
    """A soft oval over the face in its crop, (S, S) uint8: from the mesh's outline, else an ellipse from the five points.

    Raises StageError when they are not finite."""
    size = alignment.size_px
    outline = _outline(face, alignment)
    if not np.isfinite(outline).all():
        raise StageError("the face's landmarks hold NaN or infinity; the face is to be found again")
    mask = np.zeros((size, size), np.uint8)
    # fillPoly takes fixed-point numbers with 3 fractional bits.
    cv2.fillPoly(mask, [np.clip(np.rint(outline * 8), -(1 << 20), 1 << 20).astype(np.int32)], (255,), cv2.LINE_AA, 3)
    side = 2 * max(1, round(BLUR_SHARE * size / 2)) + 1
    return cast(U8, cv2.blur(cv2.blur(mask, (side, side)), (side, side)))


def _outline(face: Face, alignment: Alignment) -> NDArray[np.float64]:
    if face.mesh_px is not None:
        points = geometry.apply(alignment.matrix, face.mesh_px[list(OVAL), :2])
        centre = points.mean(axis=0)
        return centre + OVAL_SHRINK * (points - centre)
    left, right, _, *mouth = geometry.apply(alignment.matrix, face.five_px)
    middle = (left + right) / 2
    down = (mouth[0] + mouth[1]) / 2 - middle
    length = max(float(np.hypot(*down)), 1e-3)
    eyes = max(float(np.hypot(*(right - left))), length)
    angle = float(np.degrees(np.arctan2(down[1], down[0]))) - 90.0
    axes = (ELLIPSE_EYES[0] * eyes, ELLIPSE_EYES[1] * eyes)
    turn = np.deg2rad(np.arange(0, 360, 5))
    ring = np.stack((axes[0] * np.cos(turn), axes[1] * np.sin(turn)), axis=1)
    matrix = geometry.similarity(1.0, angle, middle + ELLIPSE_CENTRE * down)
    return geometry.apply(matrix, ring)
