"""The ArcFace five-point template and the similarity that takes a face to it.

Convention:
    Points are in the order image-left eye, image-right eye, nose tip, image-left mouth corner, image-right mouth corner, as (x, y) in
    pixel-centre units (see livecam/types.py).  The matrix maps frame -> crop.
    The template's numbers are those of insightface's `arcface_dst` (112 px).  A crop of another size, scale or offset is the same picture resampled,
    so it is the template's *areas* that scale: with u = (t + 0.5) / 112 in 0..1,  px = ((u - 0.5) * scale + 0.5 + offset) * size_px - 0.5.
    scale 0.875 and offset (0, -0.0625) at 128 px are insightface's own 128-px template (t + (8, 0)).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from livecam.errors import ModelError, StageError
from livecam.geometry import ARCFACE_112_V2, umeyama
from livecam.types import F32, F64, Alignment, CropSpec

TEMPLATE_SIZE_PX = 112
TEMPLATES = {"arcface_112_v2": ARCFACE_112_V2}
MOST_REACH = 1.6
"""A crop drawn back further would hold a face too small to draw."""
REACH_MARGIN = 0.02
"""Share of the crop's side that stays free on each side: the mask fades there."""


@lru_cache(maxsize=32)
def template_px(spec: CropSpec) -> F64:
    """Where the five points lie in a crop of `spec`: (5, 2) float64, crop pixels, read-only. Raises ModelError for an unknown one."""
    if spec.template not in TEMPLATES:
        raise ModelError(f"crop template {spec.template!r} is unknown; the aligner has: {', '.join(sorted(TEMPLATES))}; correct the model's card")
    if spec.size_px < 1 or not spec.scale > 0 or not math.isfinite(spec.scale):
        raise ModelError(f"a crop of at least 1 px and a scale above 0 are expected; found {spec.size_px} px, {spec.scale}; correct the model's card")
    unit = (np.array(TEMPLATES[spec.template], dtype=np.float64) + 0.5) / TEMPLATE_SIZE_PX
    points = ((unit - 0.5) * spec.scale + 0.5 + np.array(spec.offset)) * spec.size_px - 0.5
    points.flags.writeable = False
    return points


def align(five_px: F32 | F64, spec: CropSpec) -> Alignment:
    """The similarity that brings a face's five points nearest to the template (Umeyama 1991).

    five_px: (5, 2), frame pixels, order as in the Convention. Raises StageError when the points are not finite or all in one place.
    """
    target = template_px(spec)
    try:
        matrix = umeyama(five_px, target)
    except ValueError as error:
        raise StageError(f"align: {error}") from error
    if matrix[0, 0] ** 2 + matrix[1, 0] ** 2 <= 0.0:
        raise StageError("align: the five points have no extent along the template; the face is to be lost, not drawn")
    return Alignment(matrix, spec.size_px)


def reach(alignment: Alignment, points_px: F32 | F64, most: float = MOST_REACH) -> Alignment:
    """`alignment`, drawn back from the face so far that `points_px` ((N, 2), frame pixels) fall inside the crop, by a factor of `most` at the most.

    Five points say how large a face is across; one turned aside or pulled long has a chin and a forehead beyond the template's square.
    """
    matrix, middle = alignment.matrix, (alignment.size_px - 1) / 2.0
    away = float(np.abs(points_px @ matrix[:, :2].T + (matrix[:, 2] - middle)).max())
    room = middle - REACH_MARGIN * alignment.size_px
    if not away > room:
        return alignment
    share = max(room / away, 1.0 / most)
    return Alignment(np.column_stack((matrix[:, :2] * share, (matrix[:, 2] - middle) * share + middle)), alignment.size_px)
