"""Clips made on the spot from portraits: pan, zoom, roll, lids and jaw that move, sensor noise. Nothing of them is kept.

Convention: landmarks are (478, 2 or 3) in pixels of the portrait; frames are 1280x720 BGR.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from livecam import geometry
from livecam.detect import Detector
from livecam.errors import UsageError
from livecam.track import Tracker
from livecam.types import F64, U8, Frame

WIDTH_PX, HEIGHT_PX = 1280, 720
FACE_PX = 210.0
"""Width of the face in the clip at zoom 1."""
FADE_SHARE = 0.06
"""The portrait, which moves, fades into a blurred wall, which does not, over this share of its side."""
NOISE_LEVELS = 3.5
"""Standard deviation of the sensor's noise, grey levels."""
CALM_FRAMES = 120
"""A clip shorter than this moves less far, not faster: heads turn and shift at the pace of somebody who talks."""
STILL_SHARE = 0.2
"""The first part of a clip in which nothing moves but the noise."""
CLOSED_MOUTH = 0.05
"""Gap of the lips as share of the mouth's width below which the mouth is shut, so that an open one needs an inside drawn."""
JAW_DROP = 0.30
"""How far the lower lip comes down at most, in widths of the mouth."""
UPPER_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
LOWER_LIP = (84, 17, 314, 181, 405, 91, 321, 87, 14, 317, 178, 402)
CHIN = (148, 152, 377, 176, 400, 150, 379, 149, 378)
FIXED = (13, 82, 312, 0, 37, 267, 39, 269, 61, 291, 4, 2, 98, 327, 234, 454, 132, 361, 58, 288)
LIDS = (
    ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133)),
    ((362, 398, 384, 385, 386, 387, 388, 466, 263), (362, 382, 381, 380, 374, 373, 390, 249, 263)),
)
"""Upper and lower lid of the image-left and the image-right eye."""


@dataclass(frozen=True, slots=True)
class Moment:
    """shift_px: (dx, dy) of the face; zoom; roll_deg; shut: lids 0..1; jaw: 0..1; still: nothing moves here."""

    shift_px: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0
    roll_deg: float = 0.0
    shut: float = 0.0
    jaw: float = 0.0
    still: bool = False


def script(frames: int) -> list[Moment]:
    """A clip's moments: still, then pan, zoom and roll while the jaw opens twice and the lids shut three times."""
    out: list[Moment] = []
    far = min(frames / CALM_FRAMES, 1.0)
    for i in range(frames):
        t = (i / max(frames - 1, 1) - STILL_SHARE) / (1 - STILL_SHARE)
        if t < 0:
            out.append(Moment(still=True))
            continue
        turn = 2 * math.pi * t
        ease = far * min(t * 8, 1.0)
        shift = (ease * 120 * math.sin(turn), ease * 25 * math.sin(2 * turn))
        jaw = max(0.0, math.sin(turn * 2)) ** 0.7
        shut = max(max(0.0, 1 - abs(t - at) / 0.05) for at in (0.32, 0.55, 0.85))
        out.append(Moment(shift, 1 + ease * 0.15 * math.sin(turn + 0.7), ease * 12 * math.sin(turn), min(shut * 1.4, 1.0), jaw))
    return out


class Portrait:
    """Draws a portrait at a moment."""

    def __init__(self, name: str, picture: U8, mesh: F64) -> None:
        """picture: (H, W, 3) uint8 BGR. mesh: (478, >= 2), its landmarks."""
        self.name = name
        width = float(np.ptp(mesh[:468, 0]))
        k = FACE_PX / width
        large = np.asarray(cv2.resize(picture, None, fx=k, fy=k, interpolation=cv2.INTER_CUBIC if k > 1 else cv2.INTER_AREA), np.uint8)
        self._canvas, self._wall, self._fade = large, _wall(large), _fade(large)
        self.mesh: F64 = (mesh[:, :2] + 0.5) * k - 0.5
        self._centre = self.mesh[:468].mean(axis=0)
        self._cache: dict[tuple[float, float], U8] = {}

    def matrix(self, moment: Moment) -> F64:
        """(2, 3): portrait -> frame."""
        out = geometry.similarity(moment.zoom, moment.roll_deg, (0.0, 0.0))
        out[:, 2] = np.array([WIDTH_PX / 2 + moment.shift_px[0], HEIGHT_PX / 2 + moment.shift_px[1]]) - out[:, :2] @ self._centre
        return out

    def draw(self, moment: Moment) -> U8:
        """(720, 1280, 3) uint8, without noise."""
        canvas = self._expression(round(moment.shut, 2), round(moment.jaw, 2))
        matrix, size = self.matrix(moment), (WIDTH_PX, HEIGHT_PX)
        drawn = cv2.warpAffine(canvas, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
        alpha = cv2.warpAffine(self._fade, matrix, size, flags=cv2.INTER_LINEAR)[..., None]
        return np.clip(self._wall + (drawn - self._wall) * alpha + np.float32(0.5), 0, 255).astype(np.uint8)

    def frames(self, moments: list[Moment], seed: int = 0) -> Iterator[U8]:
        """The clip, with sensor noise."""
        rng = np.random.default_rng(seed)
        noise = rng.normal(0.0, NOISE_LEVELS, (HEIGHT_PX + 64, WIDTH_PX + 64, 3)).astype(np.float32)
        for moment in moments:
            y, x = rng.integers(0, 64, 2)
            sign = 1.0 if rng.random() < 0.5 else -1.0
            grain = noise[y : y + HEIGHT_PX, x : x + WIDTH_PX]
            yield np.clip(self.draw(moment) + np.float32(sign) * grain + np.float32(0.5), 0, 255).astype(np.uint8)

    def _expression(self, shut: float, jaw: float) -> U8:
        key = (shut, jaw)
        if key not in self._cache:
            self._cache.clear()
            canvas = self._canvas
            if jaw > 0:
                canvas = _jaw(canvas, self.mesh, jaw)
            for upper, lower in LIDS if shut > 0 else ():
                canvas = _shut(canvas, self.mesh[list(upper)], self.mesh[list(lower)], shut)
            self._cache[key] = canvas
        return self._cache[key]


def gather(folder: Path | None, count: int, detector: Detector, tracker: Tracker) -> list[Portrait]:
    """scikit-image's astronaut (public domain), then `count - 1` portraits at even steps through `folder`, as far as a face is found in them."""
    pictures: list[tuple[str, U8]] = [("astronaut", _astronaut())]
    if folder is not None:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        if not files:
            raise UsageError(f"{folder}: expected pictures of faces (.jpg, .png), found none")
        chosen = files[:: max(len(files) // max(count - 1, 1), 1)][: count - 1]
        pictures += [(path.stem, np.asarray(cv2.imread(str(path)), np.uint8)) for path in chosen]
    meshes = [(name, picture, find_mesh(_padded(picture), detector, tracker)) for name, picture in pictures]
    # A detector wants some room around a face; the clip shows the picture as it is.
    return [Portrait(name, picture, mesh[:, :2] - _edge_px(picture)) for name, picture, mesh in meshes if mesh is not None]


def find_mesh(picture: U8, detector: Detector, tracker: Tracker) -> F64 | None:
    """(478, 3) landmarks of the largest face in a picture, or None."""
    tracker.reset()
    faces = tracker.update(Frame(picture, 0, 0), detector.detect(picture))
    faces = tuple(face for face in faces if face.mesh_px is not None)
    if not faces:
        return None
    mesh = max(faces, key=lambda f: float(f.box_px[2] - f.box_px[0])).mesh_px
    return None if mesh is None else mesh.astype(np.float64)


def _astronaut() -> U8:
    try:
        from skimage import data
    except ImportError as error:
        raise UsageError("the photoreal clips begin with scikit-image's astronaut; install it with: pip install scikit-image") from error
    return np.ascontiguousarray(data.astronaut()[:240, 105:345, ::-1])


def _edge_px(picture: U8) -> int:
    return picture.shape[0] // 5


def _padded(picture: U8) -> U8:
    edge = _edge_px(picture)
    return np.asarray(cv2.copyMakeBorder(picture, edge, edge, edge, edge, cv2.BORDER_REFLECT), np.uint8)


def _wall(picture: U8) -> U8:
    """(720, 1280, 3) uint8: what stands still behind the portrait, in its own colours."""
    small = cv2.GaussianBlur(cv2.resize(picture, (64, 36), interpolation=cv2.INTER_AREA), (0, 0), 6)
    return np.asarray(cv2.resize(small, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_CUBIC), np.uint8)


def _fade(picture: U8) -> NDArray[np.float32]:
    """(H, W) float32: 1 inside, 0 at the picture's edges."""
    height, width = picture.shape[:2]
    fade = max(FADE_SHARE * min(height, width), 1.0)
    ramps = [np.clip((np.minimum(np.arange(n), np.arange(n)[::-1]) - 1) / fade, 0, 1) for n in (height, width)]
    return np.minimum.outer(*ramps).astype(np.float32)


def _jaw(canvas: U8, mesh: F64, jaw: float) -> U8:
    """Chin and lower lip drawn down; the teeth that are seen stay, and below them the inside of a mouth appears."""
    wide = float(np.linalg.norm(mesh[61] - mesh[291]))
    drop = _down(mesh) * (JAW_DROP * wide * jaw)
    moving, fixed = [*LOWER_LIP, *CHIN], list(FIXED)
    shifts = np.concatenate([np.tile(drop, (len(LOWER_LIP), 1)), np.tile(drop * 0.9, (len(CHIN), 1)), np.zeros((len(fixed), 2))])
    out = _pulled(canvas, mesh[[*moving, *fixed]], shifts, 0.45 * wide)
    _inside(out, canvas, mesh, drop, wide)
    return out


def _down(mesh: F64) -> F64:
    across = mesh[291] - mesh[61]
    return np.array([-across[1], across[0]]) / max(float(np.linalg.norm(across)), 1e-9)


def _inside(out: U8, canvas: U8, mesh: F64, drop: F64, wide: float) -> None:
    """Draws into `out` what is between the inner lip lines, the lower one having come down by `drop` in its middle: what `canvas` shows between
    them, then the dark of the mouth; upper teeth at its top when the lips were shut."""
    upper, lower = mesh[list(UPPER_INNER)], mesh[list(LOWER_INNER)]
    arch = (np.sin(np.linspace(0, math.pi, len(lower))) ** 0.6)[:, None]
    low = lower + arch * drop
    outline = np.concatenate([upper, lower, low])
    origin, end = np.floor(outline.min(axis=0)).astype(int) - 6, np.ceil(outline.max(axis=0)).astype(int) + 7
    window = (slice(origin[1], end[1]), slice(origin[0], end[0]))
    part, before = out[window].astype(np.float32), canvas[window].astype(np.float32)
    light = float(before.mean()) / 255
    closed = float(np.linalg.norm(mesh[13] - mesh[14])) < CLOSED_MOUTH * wide
    deep = np.full(part.shape, np.array([38.0, 32.0, 62.0]) * light, np.float32)
    if closed:
        edge = upper + np.minimum(0.45 * arch * np.linalg.norm(drop), 0.09 * wide) * _down(mesh)
        deep += _filled(upper, edge, origin, part, 1.0)[..., None] * np.array([150.0, 160.0, 165.0], np.float32) * light
    else:
        shown = _filled(upper, lower, origin, part, 1.5)[..., None]
        deep += (before - deep) * shown
    cover = _filled(upper, low, origin, part, 1.2)[..., None]
    out[window] = np.clip(part + (deep - part) * cover, 0, 255).astype(np.uint8)


def _filled(upper: F64, lower: F64, origin: NDArray[np.integer], like: NDArray[np.float32], soft_px: float) -> NDArray[np.float32]:
    """(H, W) float32 0..1: the area between two lines, soft at its edge."""
    area = np.zeros(like.shape[:2], np.float32)
    points = np.concatenate([upper, lower[::-1]]) - origin
    cv2.fillPoly(area, [np.round(points * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    return np.asarray(cv2.GaussianBlur(area, (0, 0), soft_px), np.float32)


def _pulled(canvas: U8, points: F64, shifts: F64, reach_px: float) -> U8:
    """`canvas` with `points` moved by `shifts`, smoothly in between (Gaussian radial basis functions)."""

    def kernel(a: F64, b: F64) -> F64:
        return np.exp(-((a[:, None] - b[None]) ** 2).sum(axis=-1) / (2 * reach_px**2))

    moved = points + shifts
    weights = np.linalg.solve(kernel(moved, moved) + 2e-3 * np.eye(len(moved)), shifts)
    low = np.floor(moved.min(axis=0) - 3 * reach_px).astype(int).clip(0)
    high = np.ceil(moved.max(axis=0) + 3 * reach_px).astype(int).clip(None, [canvas.shape[1], canvas.shape[0]])
    # The field is smooth: every eighth pixel is enough.
    xs, ys = np.meshgrid(np.arange(low[0], high[0] + 8, 8), np.arange(low[1], high[1] + 8, 8))
    field = (kernel(np.stack([xs.ravel(), ys.ravel()], axis=1).astype(np.float64), moved) @ weights).reshape(*xs.shape, 2)
    wide, tall = int(high[0] - low[0]), int(high[1] - low[1])
    dense = cv2.warpAffine(field, np.array([[8.0, 0, 0], [0, 8.0, 0]]), (wide, tall), flags=cv2.INTER_LINEAR)
    at = np.stack(np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1])), axis=-1)
    source = (at - dense).astype(np.float32)
    out = canvas.copy()
    part = cv2.remap(canvas, source[..., 0], source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    out[low[1] : high[1], low[0] : high[0]] = part
    return out


def _shut(canvas: U8, upper: F64, lower: F64, shut: float) -> U8:
    """`canvas` with the upper lid drawn down by the share `shut`, column by column: skin above it is stretched, the eye is squeezed under it."""
    upper, lower = upper[np.argsort(upper[:, 0])], lower[np.argsort(lower[:, 0])]
    left, right = math.ceil(lower[0, 0]), int(lower[-1, 0])
    room = 0.5 * float(lower[-1, 0] - lower[0, 0])
    out = canvas.copy()
    for x in range(left, right + 1):
        up, low = float(np.interp(x, upper[:, 0], upper[:, 1])) - 2.0, float(np.interp(x, lower[:, 0], lower[:, 1])) + 1.0
        top = int(up - room)
        rows = np.arange(top, int(low) + 1)
        edge = up + shut * max(low - up - 1.0, 0.0)
        source = np.interp(rows, [top, edge, max(low, edge + 0.01)], [top, up, low])
        first = np.floor(source).astype(int)
        part = (source - first)[:, None]
        out[rows, x] = (canvas[first, x] * (1 - part) + canvas[first + 1, x] * part + 0.5).astype(np.uint8)
    return out
