"""Landmark lines as a picture: what tells the generator the wearer's expression and gaze, in the form that it was trained with.

Training and the live loop draw with this one function.
Convention: landmarks in crop pixels, x right, y down, pixel centres at integers, as `mesh_px` taken to the crop.
Source of the lines: mediapipe, `face_mesh_connections.py`.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from livecam.types import F32, LEFT_IRIS, RIGHT_IRIS, U8

OVAL = np.array(
    [
        10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
        152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
    ]
)  # fmt: skip
BROWS = (np.array([46, 53, 52, 65, 55, 107, 66, 105, 63, 70]), np.array([276, 283, 282, 295, 285, 336, 296, 334, 293, 300]))
NOSE = (np.array([168, 6, 197, 195, 5, 4]), np.array([129, 64, 98, 97, 2, 326, 327, 294, 358]))
EYES = (
    np.array([33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246]),
    np.array([263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466]),
)
OUTER_LIPS = np.array([61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185])
INNER_LIPS = np.array([78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191])

SHIFT = 4
"""Fractional bits of cv2's coordinates: lines move by sixteenths of a pixel, so that a slow motion does not step."""
REACH_PX = 4.0
"""Points are kept within this many crop sizes of the crop: cv2's fixed-point coordinates overflow far outside."""
VEIL = 0.035
"""Deviation of the blur before the wearer's crop, as share of its side: an eye is 0.15 wide."""
LIPS_REACH = 0.05
"""How far around the lips nothing of the wearer is shown, share of the crop's side: an open mouth is dark, and was taken for a shadow on the chin of
a persona whose mouth is smaller."""
FARTHER, FARTHER_SHARE, LEAST = 3.0, 0.02, 1e-6
"""What is shown there comes from as near as there is skin: a wider blur, times the other's deviation, has this weight, and the place's own this."""
LIPS_CHANNEL = 2
VEIL_PX = 32
"""The blur is done on a picture of this side: that is as good and costs a fraction."""
LINE, OPENING, IRIS = 255, 80, 170
"""Values of lines, of the filled openings of eyes and mouth, and of irises."""
EYES_CHANNEL = 1


def draw(landmarks: F32, size: int) -> U8:
    """The lines as (size, size, 3) uint8. Channel 0: oval, brows, nose; 1: eyes, filled, and what of the irises is between the lids; 2: outer and
    inner lips, the inner filled.

    landmarks: (478, 2 or more) float, crop pixels at that size; without irises (468) channel 1 has the eyes alone.
    """
    points = np.nan_to_num(landmarks[:, :2], nan=-size, posinf=size * REACH_PX, neginf=-size * REACH_PX)
    fixed = np.rint(np.clip(points, -size * REACH_PX, size * REACH_PX) * (1 << SHIFT)).astype(np.int32)
    face, eyes, irises, lips = (np.zeros((size, size), np.uint8) for _ in range(4))
    _lines(face, [fixed[OVAL], fixed[BROWS[0]], fixed[BROWS[1]]], closed=True)
    _lines(face, [fixed[NOSE[0]], fixed[NOSE[1]]], closed=False)
    contours = [fixed[EYES[0]], fixed[EYES[1]]]
    for contour in contours:
        cv2.fillPoly(eyes, [contour], OPENING, cv2.LINE_AA, SHIFT)
    if len(points) >= LEFT_IRIS.stop:
        _disc(irises, points[RIGHT_IRIS])
        _disc(irises, points[LEFT_IRIS])
        np.maximum(eyes, cv2.bitwise_and(irises, irises, mask=eyes), out=eyes)
    _lines(eyes, contours, closed=True)
    cv2.fillPoly(lips, [fixed[INNER_LIPS]], OPENING, cv2.LINE_AA, SHIFT)
    _lines(lips, [fixed[INNER_LIPS], fixed[OUTER_LIPS]], closed=True)
    return cv2.merge([face, eyes, lips])  # type: ignore[return-value]


def open_eyes(lines: U8) -> U8:
    """(size, size) uint8: 255 between the lids and on their edges, of lines (size, size, 3)."""
    eyes = cv2.convertScaleAbs(cv2.extractChannel(lines, EYES_CHANNEL), alpha=255.0 / OPENING)
    return cv2.dilate(eyes, np.ones((3, 3), np.uint8))  # type: ignore[return-value]


def _lines(image: U8, lines: list[NDArray[np.int32]], closed: bool) -> None:
    cv2.polylines(image, lines, closed, LINE, 1, cv2.LINE_AA, SHIFT)


def _disc(image: U8, iris: F32) -> None:
    """One iris: a disc around its first point, as wide as the others lie from it."""
    offset = iris[1:] - iris[0]
    radius = min(float(np.sqrt((offset * offset).sum(axis=1)).mean()), image.shape[0])
    scale = 1 << SHIFT
    x, y = np.clip(iris[0], -image.shape[0], 2 * image.shape[0]) * scale
    cv2.circle(image, (round(float(x)), round(float(y))), round(radius * scale), IRIS, cv2.FILLED, cv2.LINE_AA, SHIFT)


def veiled(wearer: U8, lines: U8) -> U8:
    """The wearer's crop (S, S, 3) as the generator may see it: light, tone and pose, and no feature of the face.

    lines: (S, S, 3) of `draw`; where the lips are, the skin around them is shown instead. What the network never saw it cannot let through, whatever
    it has learnt; the expression comes by the lines and the drawing.
    """
    size = VEIL_PX
    small = cv2.resize(wearer, (size, size), interpolation=cv2.INTER_AREA)
    reach = 2 * max(1, round(LIPS_REACH * size)) + 1
    lips = cv2.dilate(cv2.resize(lines[..., LIPS_CHANNEL], (size, size), interpolation=cv2.INTER_AREA), np.ones((reach, reach), np.uint8))
    share = np.where(lips > 0, np.float32(LEAST), np.float32(1.0))
    # The mean of what is left, under the blur's own weights: normalised convolution (Knutsson & Westin, CVPR 1993).
    seen = np.dstack([small * share[..., None], share])
    near, far = (cv2.GaussianBlur(seen, (0, 0), VEIL * size * wide) for wide in (1.0, FARTHER))
    four = cv2.addWeighted(near, 1.0 - FARTHER_SHARE, far, FARTHER_SHARE, 0.0)
    soft = np.asarray(four[..., :3] / four[..., 3:] + np.float32(0.5), np.uint8)
    return cv2.resize(soft, (wearer.shape[1], wearer.shape[0]), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]
