"""Kernels over the mesh's points, where a chain of small NumPy calls costs ten times as much. They release the GIL and are kept on disk after
their first compilation (`warm_up`); each is held to a plain form in tests.

Convention: as in _mesh_shape.
"""

from __future__ import annotations

import math

import numba
import numpy as np

POLAR_ROUNDS = 30
"""Bound of the iteration for the nearest rotation; four to eight are usual."""
POLAR_DONE = 1e-13


@numba.njit(nogil=True, cache=True)
def to_crop(points, matrix, out):  # type: ignore[no-untyped-def]
    """Writes points ((N, 3) float32, frame) taken through matrix ((2, 3) float64) to out (same shape); z is scaled as lengths are.
    Returns whether all are finite, how wide they are, and the greatest coordinate."""
    a, b, tx, c, d, ty = matrix[0, 0], matrix[0, 1], matrix[0, 2], matrix[1, 0], matrix[1, 1], matrix[1, 2]
    scale = math.sqrt(abs(a * d - b * c))
    low, high, most, check = np.inf, -np.inf, 0.0, 0.0
    for i in range(points.shape[0]):
        px, py = np.float64(points[i, 0]), np.float64(points[i, 1])
        x, y, z = a * px + b * py + tx, c * px + d * py + ty, points[i, 2] * scale
        out[i, 0], out[i, 1], out[i, 2] = x, y, z
        low, high, most = min(low, x), max(high, x), max(most, abs(x), abs(y), abs(z))
        check += (x + y + z) * 0.0
    return check == 0.0, high - low, most


@numba.njit(nogil=True, cache=True)
def _nearest_rotation(rotation):  # type: ignore[no-untyped-def]
    """The orthogonal factor of the polar decomposition of a (3, 3) float64 matrix, in place (Higham 1986, with scaling); False when its
    determinant is not above 0."""
    other = np.empty((3, 3))
    for _ in range(POLAR_ROUNDS):
        for j in range(3):
            for k in range(3):
                j1, j2, k1, k2 = (j + 1) % 3, (j + 2) % 3, (k + 1) % 3, (k + 2) % 3
                other[j, k] = rotation[j1, k1] * rotation[j2, k2] - rotation[j1, k2] * rotation[j2, k1]
        determinant = rotation[0, 0] * other[0, 0] + rotation[0, 1] * other[0, 1] + rotation[0, 2] * other[0, 2]
        if not determinant > 0.0:
            return False
        grow = determinant ** (-1.0 / 3.0)
        moved = 0.0
        for j in range(3):
            for k in range(3):
                newer = 0.5 * (grow * rotation[j, k] + other[j, k] / (determinant * grow))
                moved = max(moved, abs(newer - rotation[j, k]))
                rotation[j, k] = newer
        if moved < POLAR_DONE:
            break
    return True


@numba.njit(nogil=True, cache=True)
def fit_pose(persona, crop, index, rotation, shift):  # type: ignore[no-untyped-def]
    """The similarity of the points `index` (K,) of persona to those of crop ((N, 3) float32 both): writes rotation ((3, 3) float64) and
    shift ((3,) float64); returns the scale, 0 when the points tell of no rotation."""
    am, bm, spread, count = np.zeros(3), np.zeros(3), 0.0, index.shape[0]
    for n in range(count):
        i = index[n]
        for k in range(3):
            am[k] += persona[i, k] / count
            bm[k] += crop[i, k] / count
    both = np.zeros((3, 3))
    for n in range(count):
        i = index[n]
        for k in range(3):
            here = persona[i, k] - am[k]
            spread += here * here
            for j in range(3):
                both[j, k] += (crop[i, j] - bm[j]) * here
    for cell in range(9):
        rotation[cell // 3, cell % 3] = both[cell // 3, cell % 3]
    if not _nearest_rotation(rotation):
        return 0.0
    scale = 0.0
    for cell in range(9):
        scale += rotation[cell // 3, cell % 3] * both[cell // 3, cell % 3] / spread
    for j in range(3):
        shift[j] = bm[j] - scale * (rotation[j, 0] * am[0] + rotation[j, 1] * am[1] + rotation[j, 2] * am[2])
    return scale


@numba.njit(nogil=True, cache=True)
def move_lids(mesh, index, target, spread):  # type: ignore[no-untyped-def]
    """Puts the points `index` (K,) of mesh ((N, 3) float32, in place) at target ((K, 3) float32); the others follow by their spread (N, K)."""
    count = index.shape[0]
    moved = np.empty((count, 3), np.float32)
    for n in range(count):
        for k in range(3):
            moved[n, k] = target[n, k] - mesh[index[n], k]
    for i in range(mesh.shape[0]):
        x, y, z = np.float32(0.0), np.float32(0.0), np.float32(0.0)
        for n in range(count):
            share = spread[i, n]
            x += share * moved[n, 0]
            y += share * moved[n, 1]
            z += share * moved[n, 2]
        mesh[i, 0] += x
        mesh[i, 1] += y
        mesh[i, 2] += z
    for n in range(count):
        for k in range(3):
            mesh[index[n], k] = target[n, k]


def warm_up() -> None:
    """Compile (or load from the disk) the kernels; the first time takes some seconds."""
    points, index = np.arange(12, dtype=np.float32).reshape(4, 3) ** 2, np.arange(4)
    index.flags.writeable = False
    out = np.empty_like(points)
    to_crop(points, np.eye(2, 3), out)
    fit_pose(points, out, index, np.empty((3, 3)), np.empty(3))
    move_lids(out, index, points, np.zeros((4, 4), np.float32))
