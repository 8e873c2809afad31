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
