"""A photoreal moving face made on the spot from scikit-image's public-domain astronaut: pan, zoom, roll, lids and mouth that move, sensor noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from livecam import geometry
from livecam.types import F64, U8

WIDTH_PX, HEIGHT_PX = 1280, 720
ENLARGE = 2.6
"""The portrait's face is 85 px wide; so it is 220 px in the clip."""
NOISE_LEVELS = 4.0
"""Standard deviation of the sensor's noise, grey levels."""


@dataclass(frozen=True, slots=True)
class Pose:
    """shift_px: (dx, dy) of the face; zoom; roll_deg; shut: lids 0..1; jaw: 0..1."""

    shift_px: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0
    roll_deg: float = 0.0
    shut: float = 0.0
    jaw: float = 0.0


class Portrait:
    """Draws the portrait in a pose. mesh: (478, 2) landmarks of the plain portrait in its own pixels (find it once with the tracker under test)."""

    def __init__(self) -> None:
        from skimage import data

        photo = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)[:330]
        large = cv2.resize(photo, None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC)
        self.photo: U8 = np.asarray(cv2.copyMakeBorder(large, 0, 0, 200, 200, cv2.BORDER_REFLECT), np.uint8)
        self.mesh: F64 | None = None
        self.centre = np.array([225.0 * ENLARGE + 200, 118.0 * ENLARGE])

    def matrix(self, pose: Pose) -> F64:
        """(2, 3): portrait -> frame."""
        out = geometry.similarity(pose.zoom, pose.roll_deg, (0.0, 0.0))
        target = np.array([WIDTH_PX / 2 + pose.shift_px[0], HEIGHT_PX / 2 + pose.shift_px[1]])
        out[:, 2] = target - out[:, :2] @ self.centre
        return out

    def draw(self, pose: Pose) -> U8:
        """(720, 1280, 3) uint8, no noise yet."""
        photo = self._expression(pose) if self.mesh is not None and (pose.shut or pose.jaw) else self.photo
        return np.asarray(cv2.warpAffine(photo, self.matrix(pose), (WIDTH_PX, HEIGHT_PX), borderMode=cv2.BORDER_REFLECT), np.uint8)

    def _expression(self, pose: Pose) -> U8:
        assert self.mesh is not None
        m = self.mesh
        photo = self.photo
        for corners, pairs in (
            ((33, 133), ((246, 7), (161, 163), (160, 144), (159, 145), (158, 153), (157, 154), (173, 155))),
            ((362, 263), ((398, 382), (384, 381), (385, 380), (386, 374), (387, 373), (388, 390), (466, 249))),
        ):
            photo = _shut(photo, m[[corners[0], *[p[0] for p in pairs], corners[1]]], m[[corners[0], *[p[1] for p in pairs], corners[1]]], pose.shut)
        if pose.jaw:
            low, chin = m[[84, 17, 314, 181, 405]], m[[148, 152, 377, 176, 400]]
            top = m[[13, 0, 37, 267, 61, 291, 4]]
            drop = np.array([0.0, 0.25 * float(np.linalg.norm(m[61] - m[291])) * pose.jaw])
            points = np.concatenate([low, chin, top])
            photo = _pulled(photo, points, np.concatenate([np.tile(drop, (10, 1)), np.zeros_like(top)]), 30.0)
        return photo

    def frames(self, poses: list[Pose], seed: int = 0) -> Iterator[U8]:
        """The clip, with sensor noise."""
        rng = np.random.default_rng(seed)
        noise = rng.normal(0.0, NOISE_LEVELS, (HEIGHT_PX + 64, WIDTH_PX + 64, 3)).astype(np.float32)
        for pose in poses:
            y, x = rng.integers(0, 64, 2)
            flip = 1.0 if rng.random() < 0.5 else -1.0
            yield np.clip(self.draw(pose) + flip * noise[y : y + HEIGHT_PX, x : x + WIDTH_PX] + 0.5, 0, 255).astype(np.uint8)


def _pulled(photo: U8, points: F64, shifts: F64, reach_px: float) -> U8:
    """`photo` with `points` moved by `shifts`, smoothly in between (Gaussian radial basis functions)."""

    def kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.exp(-((a[:, None] - b[None]) ** 2).sum(axis=-1) / (2 * reach_px**2))

    moved = points + shifts
    weights = np.linalg.solve(kernel(moved, moved) + 1e-3 * np.eye(len(moved)), shifts)
    low = np.floor(moved.min(axis=0) - 3 * reach_px).astype(int).clip(0)
    high = np.ceil(moved.max(axis=0) + 3 * reach_px).astype(int).clip(None, [photo.shape[1], photo.shape[0]])
    xs, ys = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
    grid = np.stack([xs.ravel(), ys.ravel()], axis=1).astype(np.float64)
    source = (grid - kernel(grid, moved) @ weights).astype(np.float32).reshape(*xs.shape, 2)
    out = photo.copy()
    out[low[1] : high[1], low[0] : high[0]] = cv2.remap(photo, source[..., 0], source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return out


def _shut(photo: U8, upper: F64, lower: F64, shut: float) -> U8:
    """`photo` with the upper lid drawn down by the share `shut`, column by column: skin above it is stretched, the eye is squeezed under it."""
    upper, lower = upper[np.argsort(upper[:, 0])], lower[np.argsort(lower[:, 0])]
    left, right = int(np.ceil(lower[0, 0])), int(lower[-1, 0])
    room = 0.5 * float(lower[-1, 0] - lower[0, 0])
    out = photo.copy()
    for x in range(left, right + 1):
        up, low = float(np.interp(x, upper[:, 0], upper[:, 1])) - 2.0, float(np.interp(x, lower[:, 0], lower[:, 1])) + 1.0
        top = int(up - room)
        rows = np.arange(top, int(low) + 1)
        edge = up + shut * max(low - up - 1.0, 0.0)
        source = np.interp(rows, [top, edge, max(low, edge + 0.01)], [top, up, low])
        first = np.floor(source).astype(int)
        part = (source - first)[:, None]
        out[rows, x] = (photo[first, x] * (1 - part) + photo[first + 1, x] * part + 0.5).astype(np.uint8)
    return out
