"""Whether a face that turned was a head or a flat picture of one.

The landmarks of a flat picture, however it is held, follow a plane homography from one view to the next; those of a head do not, because the nose
stands before the eyes.  Measure: fit the homography from the frontal to the turned landmarks (normalised DLT; Hartley and Zisserman, Multiple View
Geometry, 2nd ed., algorithm 4.2), and take the root mean square of what is left over, as share of the distance of the outer eye corners in the
frontal view.  A picture that is tilted so far that the tracker takes it for a turned head is squeezed much more than a head that turns so far, whose
front is round: such a view counts as flat, whatever is left over (by then the tracker is at a loss).

Convention: points are (x, y) in frame pixels, in MediaPipe's order.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

POINTS = (
    33, 133, 362, 263,  # corners of the eyes
    168, 6, 197, 195, 5, 4, 1, 2,  # bridge and tip of the nose
    98, 327, 48, 278,  # its wings
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,  # brows
    10, 151, 9, 109, 338,  # forehead
    50, 280, 101, 330, 117, 346,  # cheeks
)  # fmt: skip
"""Landmarks on bone and skin that moves little; neither lips nor the outline, which slides over the head as it turns."""
LEAST_DEPARTURE = 0.024
"""A turned face whose landmarks depart less from a plane is a flat picture. Rendered heads and flat pictures of them lie on either side
(benchmarks/results/consent-live.json)."""
MOST_SQUEEZE = 0.10
"""A head that turned by y degrees is squeezed to about cos(y); one that is squeezed to less than that by so much is a tilted picture."""
LEAST_SPAN_PX = 8.0


def head(front: NDArray[np.floating], turned: NDArray[np.floating], turn_deg: float) -> float:
    """`departure`, and 0.0, which counts as flat, for a view that is squeezed more than a head is that turned by turn_deg."""
    squeezed = squeeze(front, turned)
    return departure(front, turned) if squeezed >= math.cos(math.radians(turn_deg)) - MOST_SQUEEZE else 0.0


def squeeze(front: NDArray[np.floating], turned: NDArray[np.floating]) -> float:
    """Least over greatest scale of the affine map from the frontal to the turned view: 1 when nothing is foreshortened, 0.0 when there is no map."""
    a, b = (np.ascontiguousarray(view[list(POINTS), :2], np.float64) for view in (front, turned))
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return 0.0
    scales = np.linalg.svd(_linear(a, b), compute_uv=False)
    return float(scales[1] / max(float(scales[0]), 1e-9))


def departure(front: NDArray[np.floating], turned: NDArray[np.floating]) -> float:
    """How far the turned view is from any flat picture of the frontal one: 0 for a plane. front, turned: (>= 468, 2 or 3) landmarks.

    0.0, which counts as flat, when no homography can be fitted."""
    a, b = (np.ascontiguousarray(view[list(POINTS), :2], np.float64) for view in (front, turned))
    span = float(np.linalg.norm(a[0] - a[3]))
    if span < LEAST_SPAN_PX or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return 0.0
    try:
        matrix = np.asarray(cv2.findHomography(a, b, 0)[0], np.float64)
    except cv2.error:
        return 0.0
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        return 0.0
    left = cv2.perspectiveTransform(a[None], matrix)[0] - b
    # Measured in the frontal view's size: a picture that came nearer would have larger errors.
    scale = float(np.sqrt(abs(np.linalg.det(_linear(a, b)))))
    return float(np.sqrt((left**2).sum(axis=1).mean())) / (span * max(scale, 1e-3))


def _linear(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, 2) the affine part that takes a to b, for the change of size."""
    return np.asarray(np.linalg.lstsq(a - a.mean(axis=0), b - b.mean(axis=0), rcond=None)[0], np.float64)
