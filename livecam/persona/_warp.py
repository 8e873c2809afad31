"""Smooth warps of portraits between sets of landmarks, and what of a portrait is skin.

Convention: points are (x, y) in pixels, integer pixel centres. A warp looks backwards: for each pixel of the result, where it is in the source.
Method: thin-plate splines (Bookstein 1989) through the landmarks and fixed points on the picture's rim, evaluated on a coarse grid. Unlike a warp by
triangles it has no creases, so that hair, ears and neck, where there are no landmarks, follow too.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np

from livecam.types import F32, F64, MESH_POINTS, U8

GRID_PX = 8
"""Spacing of the grid on which a warp is worked out: what moves two landmarks differently moves the skin between them smoothly."""
RIM_POINTS = 9
"""Fixed points along each side of the picture."""
STIFFNESS = 1e-4
"""Added to the spline's diagonal: landmarks that lie upon each other (shut lips) would make it singular."""
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
EYES = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
BROWS = ((46, 53, 52, 65, 55, 107, 66, 105, 63, 70), (276, 283, 282, 295, 285, 336, 296, 334, 293, 300))
INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
CHEEKS = (50, 280, 101, 330, 205, 425, 117, 346)
CHIN = (199, 200, 175, 208, 428, 18)
SKIN_CHROMA, SKIN_LUMA = 0.10, 0.75
"""Log differences to the face's own skin at which a pixel outside the face is half skin."""
LUMA = np.array([0.114, 0.587, 0.299], np.float32)


class Warp:
    """From several sources to one set of landmarks. target: (N, 2 or 3) landmarks of the result; size: its width and height."""

    def __init__(self, target: F32, size: tuple[int, int]) -> None:
        self._size = size
        self._rim = _rim(size)
        self._points = np.concatenate([target[:, :2], self._rim]).astype(np.float64) / max(size)
        count = len(self._points)
        self._system = np.zeros((count + 3, count + 3))
        self._system[:count, :count] = _kernel(self._points, self._points) + STIFFNESS * np.eye(count)
        self._system[:count, count:] = np.c_[np.ones(count), self._points]
        self._system[count:, :count] = self._system[:count, count:].T
        width, height = ((side + GRID_PX - 1) // GRID_PX + 1 for side in size)
        x, y = np.meshgrid(np.arange(width) * GRID_PX, np.arange(height) * GRID_PX)
        grid = np.stack([x.ravel(), y.ravel()], axis=1) / max(size)
        self._basis = np.concatenate([_kernel(grid, self._points), np.ones((len(grid), 1)), grid], axis=1).astype(np.float32)
        self._grid = (height, width)

    def __call__(self, picture: U8, source: F32) -> U8:
        """`picture` with its landmarks `source` moved to the target's."""
        moved = np.concatenate([source[:, :2], self._rim]).astype(np.float64) - self._points * max(self._size)
        weights = np.linalg.solve(self._system, np.concatenate([moved, np.zeros((3, 2))])).astype(np.float32)
        coarse = (self._basis @ weights).reshape(*self._grid, 2)
        x, y = np.meshgrid(np.arange(self._size[0], dtype=np.float32), np.arange(self._size[1], dtype=np.float32))
        at_x, at_y = x / GRID_PX, y / GRID_PX
        shift = [cv2.remap(np.ascontiguousarray(coarse[..., k]), at_x, at_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE) for k in (0, 1)]
        return cast(U8, cv2.remap(picture, x + shift[0], y + shift[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101))


def _rim(size: tuple[int, int]) -> F64:
    along = np.linspace(0.0, 1.0, RIM_POINTS)[:-1]
    sides = [np.c_[along, 0 * along], np.c_[0 * along + 1, along], np.c_[1 - along, 0 * along + 1], np.c_[0 * along, 1 - along]]
    return np.concatenate(sides) * (np.array(size) - 1.0)


def _kernel(a: F64, b: F64) -> F64:
    """(A, B) r^2 log r of all distances."""
    square = np.maximum((a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None] - 2.0 * (a @ b.T), 1e-12)
    return 0.5 * square * cv2.log(square)


def region(mesh: F32, index: tuple[int, ...], size: tuple[int, int], soft_px: float, grow_px: float = 0.0) -> F32:
    """(H, W) 1 inside the polygon of landmarks, 0 outside, soft over about `soft_px`; grown (or shrunk, below 0) by `grow_px` first."""
    mask = np.zeros((size[1], size[0]), np.uint8)
    cv2.fillPoly(mask, [np.rint(mesh[list(index), :2]).astype(np.int32)], (255,))
    if grow_px > 0:
        mask = np.where(cv2.distanceTransform(255 - mask, cv2.DIST_L2, 5) <= grow_px, 255, 0).astype(np.uint8)
    elif grow_px < 0:
        mask = np.where(cv2.distanceTransform(mask, cv2.DIST_L2, 5) > -grow_px, 255, 0).astype(np.uint8)
    return cv2.GaussianBlur(mask.astype(np.float32) / 255.0, (0, 0), max(soft_px, 0.3)).astype(np.float32)


def skin_colour(picture: U8, mesh: F32, index: tuple[int, ...] = CHEEKS) -> F64:
    """(3,) log of the median B, G, R around landmarks (the cheeks)."""
    radius = max(2, round(0.02 * float(np.ptp(mesh[:MESH_POINTS, 0]))))
    patches: list[U8] = []
    for x, y in np.rint(mesh[list(index), :2]).astype(int):
        patch = picture[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1].reshape(-1, 3)
        patches.append(patch)
    return np.log(np.median(np.concatenate(patches), axis=0).astype(np.float64) + 4.0)


def skin_share(picture: U8, mesh: F32, eyes_open: bool = True) -> F32:
    """(H, W) how much each pixel is the face's skin: all of the face but eyes and mouth, and near its outline and outside what has its colour."""
    size = (picture.shape[1], picture.shape[0])
    off = np.log(picture.astype(np.float32) + 4.0) - skin_colour(picture, mesh).astype(np.float32)
    luma = off @ LUMA
    chroma = np.abs(off - luma[..., None]).max(axis=2)
    like = np.exp(-0.69 * ((chroma / SKIN_CHROMA) ** 2 + (luma / SKIN_LUMA) ** 2)).astype(np.float32)
    like = cv2.GaussianBlur(like, (0, 0), 1.5)
    width = float(np.ptp(mesh[:MESH_POINTS, 0]))
    # The tracker's outline runs beside the jaw here and there: what is background there is not to be lit.
    face = region(mesh, OVAL, size, 0.03 * width, -0.09 * width)
    out = np.maximum(face, like)
    for hole in (*(EYES if eyes_open else ()), INNER_LIPS):
        out = out * (1.0 - region(mesh, hole, size, 1.2))
    return out.astype(np.float32)
