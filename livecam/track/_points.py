"""Kernels over a few hundred points, where a chain of small NumPy calls costs ten times as much.

Convention: a matrix is (2, 3) float64 and takes (x, y, 1) of the source to the destination, as in livecam/geometry.py. All release the GIL and are
kept on disk after their first compilation (`warm_up`); arguments are C-contiguous.
"""

from __future__ import annotations

import math

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def carry(points, matrix, out):  # type: ignore[no-untyped-def]
    """Writes points ((N, 3) float32, a network's) taken through matrix to out ((N, 2 or 3) float64); z, if asked for, is scaled as lengths are."""
    a, b, tx, c, d, ty = matrix[0, 0], matrix[0, 1], matrix[0, 2], matrix[1, 0], matrix[1, 1], matrix[1, 2]
    scale = math.sqrt(abs(a * d - b * c))
    for i in range(points.shape[0]):
        x, y = np.float64(points[i, 0]), np.float64(points[i, 1])
        out[i, 0], out[i, 1] = a * x + b * y + tx, c * x + d * y + ty
        if out.shape[1] == 3:
            out[i, 2] = points[i, 2] * scale


@numba.njit(nogil=True, cache=True)
def place(mesh, eye, matrix, region, iris, rim):  # type: ignore[no-untyped-def]
    """Writes an eye ((R + I, 2) in its own frame) into mesh ((N, 3)): rows `region` (R,), and from `iris` on, which get the mean depth of the first
    `rim` points of the region. matrix: own frame -> frame pixels."""
    depth = 0.0
    for i in range(rim):
        depth += mesh[region[i], 2] / rim
    for i in range(eye.shape[0]):
        row = region[i] if i < len(region) else iris + i - len(region)
        mesh[row, 0] = matrix[0, 0] * eye[i, 0] + matrix[0, 1] * eye[i, 1] + matrix[0, 2]
        mesh[row, 1] = matrix[1, 0] * eye[i, 0] + matrix[1, 1] * eye[i, 1] + matrix[1, 2]
        if i >= len(region):
            mesh[row, 2] = depth


@numba.njit(nogil=True, cache=True)
def extent(points, c, s):  # type: ignore[no-untyped-def]
    """Least and greatest x and y of points ((N, >= 2) float64) in axes turned by the angle of cosine c and sine s: x0, y0, x1, y1.
    NaN when a number is not finite."""
    x0, y0, x1, y1, total = np.inf, np.inf, -np.inf, -np.inf, 0.0
    for i in range(points.shape[0]):
        x, y = points[i, 0] * c + points[i, 1] * s, points[i, 1] * c - points[i, 0] * s
        x0, y0, x1, y1 = min(x0, x), min(y0, y), max(x1, x), max(y1, y)
        for k in range(points.shape[1]):
            total += points[i, k] * 0.0
    return x0 + total, y0 + total, x1 + total, y1 + total


def warm_up() -> None:
    """Compile (or load from the disk) the kernels; the first time takes about a second."""
    mesh, matrix = np.zeros((4, 3)), np.eye(2, 3)
    carry(np.zeros((4, 3), np.float32), matrix, mesh)
    carry(np.zeros((2, 3), np.float32), matrix, np.zeros((2, 2)))
    place(mesh, np.zeros((3, 2)), matrix, np.arange(2), 2, 1)
    extent(mesh, 1.0, 0.0)
