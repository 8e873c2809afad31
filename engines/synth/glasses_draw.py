"""Glasses in a picture: frame and lenses laid over a drawn person, on the samples of the same rasteriser.

The person is drawn first as if bare (but in the frame's shadow), so labels of what lies behind glasses stay exact. Frame samples are shaded
like any other surface. A lens dims what is behind it and shrinks or widens it by its power (about its middle, as the eye behind a thin
lens appears), and reflects lamps, a screen before the face and the room, by Fresnel's law (Schlick 1994) times its coating's colour.

Convention: planes (H, W) over samples; colours linear, premultiplied.
"""

# pyright: reportUntypedFunctionDecorator=false
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engines.synth import raster, shade
from engines.synth.assets import Bytes, Floats, Ints
from engines.synth.glasses import Glasses, paint
from engines.synth.glasses_fit import Fitted
from engines.synth.glasses_mesh import GLASS_EDGE, METAL, PLASTIC
from engines.synth.lanes import LANES, MX, MY, MZ, ROWS, VX, VY, VZ, mirrored_window
from engines.synth.skin import to_linear

HAIR_DM = 0.2
"""Hair that lies no further behind glasses hangs before them: it falls over them, they do not cut through it."""
EYE_BEHIND_M = 0.018
"""From a lens to what is seen through it: times dioptres, how much smaller or larger that appears."""
LENS_STRENGTH = 0.04
"""Reflected straight on by one of a lens' two surfaces."""
WINDOW_HALF, WINDOW_RADIANCE = 0.32, 3.5
"""A lamp's soft box in a reflection: tangent of half its angle; its radiance over the light it sends."""
SCREEN_HALF, SCREEN_DOWN, SCREEN_RADIANCE = (0.42, 0.25), 0.10, 3.0
"""The screen before a webcam's user, which the light's front part comes from: tangents of half its angles, how far below."""
LUT = to_linear(np.arange(256, dtype=np.float32))
PARAMETERS = shade.MATERIALS.copy()
PARAMETERS[PLASTIC] = (0.12, 0.12, 0.12, 0.045, 0.42, 0.18)
PARAMETERS[METAL] = (0.20, 0.20, 0.20, 0.42, 0.40, 0.20)
PARAMETERS[GLASS_EDGE] = (0.60, 0.60, 0.60, 0.080, 0.35, 0.15)


@dataclass(frozen=True, slots=True)
class Pair:
    """Somebody's glasses: how they look, their mesh, the frame's texture."""

    glasses: Glasses
    fitted: Fitted
    texture: Bytes


@dataclass(frozen=True, slots=True)
class Worn:
    """Which samples show glasses. points (P, 3) posed; depth: nearest of person and frame; ids, bary of the frame; front: nearest of
    person, frame and lenses; lens_ids, lens_bary of the lenses; middles (2, 2): lenses' middles in samples."""

    points: Floats
    depth: Floats
    ids: Ints
    bary: Floats
    front: Floats
    lens_ids: Ints
    lens_bary: Floats
    middles: Floats

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Samples that show frame or lens, unless hair lies before them."""
        return (self.ids >= 0) | (self.lens_ids >= 0)


def make_pair(glasses: Glasses, fitted: Fitted) -> Pair:
    """Fitted glasses with their texture."""
    return Pair(glasses, fitted, paint(glasses))


def find(pair: Pair, points: Floats, screen: Callable[[Floats], tuple[Floats, Floats, Floats]], depth: Floats) -> Worn:
    """The samples of glasses whose posed points (P, 3) are given, before a person's depth (H, W)."""
    xs, ys, inv = screen(points)
    fitted = pair.fitted
    inv = (inv / (1 - fitted.forward * inv)).astype(np.float32)
    planes: list[tuple[Floats, Ints, Floats]] = []
    nearest = depth
    for tri in (fitted.tri, fitted.lens_tri):
        nearest = nearest.copy()
        ids, bary = np.full(depth.shape, -1, np.int32), np.zeros((*depth.shape, 2), np.float32)
        raster.raster_ids(xs, ys, inv, tri, np.zeros(len(tri), np.uint8), nearest, ids, bary)
        planes.append((nearest, ids, bary))
    middles = np.array([[xs[k], ys[k]] for k in fitted.middles], np.float32)
    return Worn(points, *planes[0], *planes[1], middles)


def cast_shadow(pair: Pair, points: Floats, xf: Floats, depth: Floats) -> None:
    """Draw the frame (and lenses that let less than half pass) into a shadow map, in place."""
    none = np.zeros((2, 2), np.uint8)
    parts = [pair.fitted.tri] + ([pair.fitted.lens_tri] if max(pair.glasses.through) < 0.5 else [])
    for tri in parts:
        raster.raster_depth(*raster.affine(points, xf), tri, np.zeros((len(tri), 3, 2), np.float32), none, np.zeros(len(tri), np.uint8), depth)


def lay_over(pair: Pair, worn: Worn, stage: shade.Stage, image: Floats) -> None:
    """Lay frame and lenses over the person's picture (H, W, 4), in place."""
    bare = image.copy()
    _frame(pair, worn, stage, image)
    if not (worn.lens_ids >= 0).any():
        return
    fitted, g = pair.fitted, pair.glasses
    normals = raster.vertex_normals(worn.points, fitted.lens_tri)
    first = len(fitted.lens_tri) // 2
    _lenses(worn.lens_ids, worn.lens_bary, fitted.lens_tri, first, worn.points, normals, fitted.lens_up, stage.camera, stage.lamps, stage.ambient,
            np.array([g.through, g.through_low], np.float32), np.array(g.coat, np.float32), worn.middles,
            -g.power_dpt * EYE_BEHIND_M, worn.ids, bare, image.copy(), image)


def _frame(pair: Pair, worn: Worn, stage: shade.Stage, image: Floats) -> None:
    at = np.flatnonzero(worn.ids >= 0).astype(np.int32)
    if not len(at):
        return
    fitted, texture = pair.fitted, pair.texture
    normals = raster.vertex_normals(worn.points, fitted.tri)
    grad = np.zeros((len(fitted.tri), 2, 3), np.float32)
    small = np.zeros((2, 2, 2), np.uint8)
    shaded = shade.shade_samples(
        at, worn.ids, worn.bary, fitted.tri, fitted.uv, fitted.kind, worn.points, normals, np.full(len(worn.points), 0.92, np.float32), grad,
        stage.camera, stage.lamps, stage.ambient, stage.shadow, stage.xf, np.zeros((2, 7), np.float32), texture, small.astype(np.int8),
        small[..., 0], texture, texture, texture, texture, LUT, PARAMETERS, 0.0, stage.near, stage.wide, worn.depth)
    colour = np.minimum(shaded[:, :3] * shaded[:, 3:6] + shaded[:, 6:9], np.float32(2.5))
    opacity = np.where(fitted.kind[worn.ids.reshape(-1)[at]] == PLASTIC, np.float32(pair.glasses.opacity), np.float32(1))[:, None]
    flat = image.reshape(-1, 4)
    flat[at] = flat[at] * (1 - opacity) + np.concatenate([colour, np.ones_like(opacity)], 1) * opacity


@njit(cache=True, fastmath=True, error_model="numpy")
def _pick(image: Floats, x: float, y: float, c: int) -> float:
    """Channel c of image (H, W, 4) at a place, bilinear."""
    height, width = image.shape[0], image.shape[1]
    x, y = min(max(x, 0.0), width - 1.001), min(max(y, 0.0), height - 1.001)
    i, j = int(x), int(y)
    p, q = x - i, y - j
    top = image[j, i, c] * (1 - p) + image[j, i + 1, c] * p
    return top * (1 - q) + (image[j + 1, i, c] * (1 - p) + image[j + 1, i + 1, c] * p) * q


@njit(cache=True, fastmath=True, error_model="numpy")
def _screen_seen(rx: float, ry: float, rz: float) -> float:
    """How far 0..1 a direction points at the screen."""
    if rz <= 0.1:
        return 0.0
    across = min(max((SCREEN_HALF[0] - abs(rx / rz)) / 0.06 + 0.5, 0.0), 1.0)
    return across * min(max((SCREEN_HALF[1] - abs(ry / rz + SCREEN_DOWN)) / 0.06 + 0.5, 0.0), 1.0)


@njit(cache=True, fastmath=True, error_model="numpy")
def _reflected(b: Floats, lamps: Floats, ambient: Floats, out: Floats) -> None:
    """Light (3,) that the mirror in block b's first sample (rows m, v) shows, and its Fresnel share (out[3])."""
    nx, ny, nz, vx, vy, vz = b[MX], b[MY], b[MZ], b[VX], b[VY], b[VZ]
    vn = nx * vx + ny * vy + nz * vz
    rx, ry, rz = 2 * vn * nx - vx, 2 * vn * ny - vy, 2 * vn * nz - vz
    far = 1 - max(vn, 0.0)
    one = LENS_STRENGTH + (1 - LENS_STRENGTH) * far * far * far * far * far
    out[3] = 2 * one / (1 + one)
    shown = SCREEN_RADIANCE * _screen_seen(rx, ry, rz)
    for c in range(3):
        sky = ambient[0, c] + ambient[1, c] * rx + ambient[2, c] * ry + ambient[3, c] * rz
        out[c] = max(sky, 0.0) + shown * ambient[3, c]
    for q in range(lamps.shape[0]):
        if nx * lamps[q, 0] + ny * lamps[q, 1] + nz * lamps[q, 2] > 0:
            seen = WINDOW_RADIANCE * mirrored_window(b, np.uintp(0), lamps[q], WINDOW_HALF) * lamps[q, 6]
            for c in range(3):
                out[c] += seen * lamps[q, 3 + c]


@njit(cache=True, fastmath=True, error_model="numpy")
def _mirror(b: Floats, points: Floats, normals: Floats, camera: Floats, corners: Ints, p: float, q: float) -> None:
    """Normal, turned to the viewer, and direction to the viewer of a point by its corners' weights, into block b's first sample."""
    r = 1 - p - q
    n0, n1, n2, v0, v1, v2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(3):
        w = p if k == 0 else (q if k == 1 else r)
        a = corners[k]
        n0, n1, n2 = n0 + w * normals[a, 0], n1 + w * normals[a, 1], n2 + w * normals[a, 2]
        v0, v1, v2 = v0 - w * points[a, 0], v1 - w * points[a, 1], v2 - w * points[a, 2]
    v0, v1, v2 = v0 + camera[0], v1 + camera[1], v2 + camera[2]
    s = 1 / (math.sqrt(v0 * v0 + v1 * v1 + v2 * v2) + 1e-9)
    v0, v1, v2 = v0 * s, v1 * s, v2 * s
    s = 1 / (math.sqrt(n0 * n0 + n1 * n1 + n2 * n2) + 1e-9)
    s = -s if n0 * v0 + n1 * v1 + n2 * v2 < 0 else s
    b[MX], b[MY], b[MZ] = n0 * s, n1 * s, n2 * s
    b[VX], b[VY], b[VZ] = v0, v1, v2


@njit(cache=True, fastmath=True, error_model="numpy")
def _lenses(
    ids: Ints, bary: Floats, tri: Ints, first: int, points: Floats, normals: Floats, up: Floats, camera: Floats, lamps: Floats, ambient: Floats,
    through: Floats, coat: Floats, middles: Floats, shift: float, frame: Ints, bare: Floats, framed: Floats, image: Floats,
) -> None:
    """Lay lenses over image (H, W, 4), in place. first: triangles of the first lens; through (2, 3): of the top and the bottom; frame (H, W): ids
    of the frame; bare, framed (H, W, 4): what is behind, without and with the frame."""
    b = np.zeros(ROWS * LANES, np.float32)
    mirror = np.zeros(4, np.float32)
    height, width = ids.shape
    for j in range(height):
        for i in range(width):
            t = ids[j, i]
            if t < 0:
                continue
            p, q = bary[j, i, 0], bary[j, i, 1]
            _mirror(b, points, normals, camera, tri[t], p, q)
            _reflected(b, lamps, ambient, mirror)
            side = 0 if t < first else 1
            x, y = i + shift * (i - middles[side, 0]), j + shift * (j - middles[side, 1])
            col, row = min(max(int(x + 0.5), 0), width - 1), min(max(int(y + 0.5), 0), height - 1)
            # A rim is not bent into its own lens; a temple behind a lens stays where it is.
            own = frame[j, i] >= 0
            x, y = (float(i), float(j)) if own else (x, y)
            high = p * up[tri[t, 0]] + q * up[tri[t, 1]] + (1 - p - q) * up[tri[t, 2]]
            passed = 0.0
            for c in range(3):
                part = (through[0, c] * high + through[1, c] * (1 - high)) * (1 - mirror[3] * coat[c])
                behind = _pick(bare, x, y, c) if frame[row, col] >= 0 and not own else _pick(framed, x, y, c)
                image[j, i, c] = behind * part + mirror[c] * mirror[3] * coat[c]
                passed += part / 3
            alpha = _pick(bare, x, y, 3) if frame[row, col] >= 0 and not own else _pick(framed, x, y, 3)
            image[j, i, 3] = 1 - (1 - alpha) * passed


def lay_hair(front: Floats, worn: Worn, image: Floats) -> Bytes:
    """Lay hair that hangs before glasses, front (H, W, 4) premultiplied, over image (H, W, 4), in place; the samples (H, W) uint8 that show
    glasses after that."""
    mask = worn.mask
    some = front[mask]
    image[mask] = image[mask] * (1 - some[:, 3:]) + some
    return (mask & (front[..., 3] < 0.5)).astype(np.uint8)
