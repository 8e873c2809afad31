"""Planar similarities and affine matrices: estimate, invert, apply, compose, take apart.

Convention:
    A matrix is (2, 3) float64, [[a, b, tx], [c, d, ty]], and takes a column (x, y, 1) of the source to a point of the destination.
    Points are (x, y), x right, y down, in pixel-centre units: (0, 0) is the *centre* of the top-left pixel, as in OpenCV's `warpAffine`.
    `warpAffine(image, M, size)` with M: source -> destination (and no WARP_INVERSE_MAP) therefore puts the source's point p at M @ p.
    Rotation is positive clockwise as seen on the screen (x turns towards y).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from livecam.types import F64

ARCFACE_112_V2: tuple[tuple[float, float], ...] = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""ArcFace's five points on a 112-px crop (insightface's `arcface_dst`): image-left eye, image-right eye, nose tip, mouth corners alike."""

MIN_SPREAD_PX2 = 1e-12
"""Points whose mean squared distance from their centre is smaller count as one point: no scale or turn can be read from them."""


@dataclass(frozen=True, slots=True)
class Similarity:
    """A similarity taken apart. scale: > 0. rotation_deg: -180..180, clockwise on the screen. shift_px: (2,) float64 image of the origin."""

    scale: float
    rotation_deg: float
    shift_px: F64


def motion(before: ArrayLike, after: ArrayLike) -> tuple[float, float, float]:
    """How far a face's five points (5, 2) moved on average (pixels), by how many degrees (0..180) the line between the eyes turned, and by what
    factor they spread (root mean square from their middle; 1 for points that coincide)."""
    # Python numbers: on five points arrays cost five times as much.
    a, b = np.asarray(before).tolist(), np.asarray(after).tolist()
    (ax, ay, a_spread), (bx, by, b_spread) = _middle(a), _middle(b)
    moved = math.hypot(bx - ax, by - ay)
    grown = math.sqrt(b_spread / a_spread) if a_spread > 0.0 else 1.0
    (x0, y0), (x1, y1) = ((eyes[1][0] - eyes[0][0], eyes[1][1] - eyes[0][1]) for eyes in (a, b))
    return moved, abs(math.degrees(math.atan2(x0 * y1 - y0 * x1, x0 * x1 + y0 * y1))), grown


def _middle(points: list[list[float]]) -> tuple[float, float, float]:
    """(x, y) of their middle, and the sum of their squared distances from it."""
    count = len(points)
    x, y = sum(p[0] for p in points) / count, sum(p[1] for p in points) / count
    return x, y, sum((p[0] - x) ** 2 + (p[1] - y) ** 2 for p in points)


def umeyama(src: ArrayLike, dst: ArrayLike) -> F64:
    """The similarity (scale, turn, shift; no reflection) that takes `src` to `dst` with the least sum of squared distances.

    src, dst: (N, 2), N >= 2, finite. Returns (2, 3) float64.
    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991; in the plane its SVD has this closed form,
    the regression of dst on src as complex numbers.
    Raises ValueError when shapes differ, a value is not finite, or all source points coincide.
    """
    s = np.asarray(src, dtype=np.float64)
    d = np.asarray(dst, dtype=np.float64)
    if s.ndim != 2 or s.shape != d.shape or s.shape[1] != 2 or s.shape[0] < 2:
        raise ValueError(f"umeyama expects two arrays of one shape (N, 2), N >= 2; found {s.shape} and {d.shape}")
    source_mean = np.add.reduce(s) / len(s)
    target_mean = np.add.reduce(d) / len(d)
    sc = s - source_mean
    dc = d - target_mean
    spread = float((sc * sc).sum())
    real = float((sc * dc).sum())
    imaginary = float((sc[:, 0] * dc[:, 1] - sc[:, 1] * dc[:, 0]).sum())
    if not math.isfinite(spread + real + imaginary):
        raise ValueError("umeyama expects finite points; found NaN or infinity")
    if spread < MIN_SPREAD_PX2 * s.shape[0]:
        raise ValueError("umeyama expects source points that are apart; found all of them in one place")
    a, b = real / spread, imaginary / spread
    return np.array(
        [
            [a, -b, target_mean[0] - a * source_mean[0] + b * source_mean[1]],
            [b, a, target_mean[1] - b * source_mean[0] - a * source_mean[1]],
        ]
    )


def invert(matrix: F64) -> F64:
    """The affine matrix of the way back: compose(invert(M), M) is the identity. matrix: (2, 3). Raises ValueError when it is singular."""
    (a, b, tx), (c, d, ty) = matrix.tolist()
    determinant = a * d - b * c
    if not math.isfinite(determinant) or abs(determinant) < 1e-15:
        raise ValueError(f"an affine matrix with a determinant other than 0 is needed to go back; found {determinant}")
    ia, ib, ic, id_ = d / determinant, -b / determinant, -c / determinant, a / determinant
    return np.array([[ia, ib, -(ia * tx + ib * ty)], [ic, id_, -(ic * tx + id_ * ty)]])


def apply(matrix: F64, points: ArrayLike) -> F64:
    """`points` taken through `matrix`. points: (..., 2), or (..., 3), whose z is scaled as lengths are. float64, same shape."""
    p = np.asarray(points, dtype=np.float64)
    if p.ndim < 1 or p.shape[-1] not in (2, 3):
        raise ValueError(f"apply expects points of shape (..., 2) or (..., 3); found {p.shape}")
    out = np.empty_like(p)
    out[..., :2] = p[..., :2] @ matrix[:, :2].T + matrix[:, 2]
    if p.shape[-1] == 3:
        out[..., 2] = p[..., 2] * scale_of(matrix)
    return out


def compose(second: F64, first: F64) -> F64:
    """The matrix that does `first`, then `second`: apply(compose(B, A), p) == apply(B, apply(A, p))."""
    out = second[:, :2] @ first
    out[:, 2] += second[:, 2]
    return out


def decompose(matrix: F64) -> Similarity:
    """Scale, turn and shift of a similarity. Of a general affine matrix: those of the nearest one. Raises ValueError for a reflection."""
    a = (matrix[0, 0] + matrix[1, 1]) / 2
    b = (matrix[1, 0] - matrix[0, 1]) / 2
    scale = math.hypot(a, b)
    determinant = float(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0])
    if not scale > 0 or determinant < 0:
        raise ValueError(f"decompose expects a similarity without reflection; found determinant {determinant}, scale {scale}")
    return Similarity(scale, math.degrees(math.atan2(b, a)), matrix[:, 2].copy())


def similarity(scale: float, rotation_deg: float, shift_px: ArrayLike) -> F64:
    """The (2, 3) matrix of a similarity; `decompose` read backwards."""
    turn = math.radians(rotation_deg)
    a, b = scale * math.cos(turn), scale * math.sin(turn)
    tx, ty = np.asarray(shift_px, dtype=np.float64).tolist()
    return np.array([[a, -b, tx], [b, a, ty]])


def scale_of(matrix: F64) -> float:
    """How much longer lengths become, as the square root of the area's factor. matrix: (2, 3)."""
    return math.sqrt(abs(float(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0])))


def corners_px(size_px: int) -> F64:
    """(4, 2) centres of the corner pixels of a square crop: top-left, top-right, bottom-right, bottom-left."""
    last = size_px - 1.0
    return np.array([[0.0, 0.0], [last, 0.0], [last, last], [0.0, last]])


def iou(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of boxes (x0, y0, x1, y1) in pixels: first (N, 4), second (M, 4) -> (N, M), 0 for empty boxes."""
    a = np.asarray(first, dtype=np.float64).reshape(-1, 1, 4)
    b = np.asarray(second, dtype=np.float64).reshape(1, -1, 4)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.maximum(sides, 0.0), axis=-1)
    area_a = np.prod(np.maximum(a[..., 2:] - a[..., :2], 0.0), axis=-1)
    area_b = np.prod(np.maximum(b[..., 2:] - b[..., :2], 0.0), axis=-1)
    return shared / np.maximum(area_a + area_b - shared, 1e-12)
