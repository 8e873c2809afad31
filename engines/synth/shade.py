"""Light: what each visible sample sends to the camera (numba, linear colour).

The sum of directional lights (wrapped diffuse, the first with a soft shadow), an ambient light
that depends on direction, ambient occlusion, highlights (two GGX lobes, Schlick Fresnel), and for
skin a reddened terminator. Diffuse light and reflectance are kept apart so that the light can be
blurred under the skin before they are multiplied (Jensen et al. 2001, in its screen-space form).
What every sample needs alike is computed in lanes (see `lanes`).
"""

# pyright: reportUntypedFunctionDecorator=false
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engines.synth import lanes
from engines.synth.lanes import (
    AB,
    AG,
    AR,
    BX,
    BY,
    BZ,
    DB,
    DG,
    DR,
    FLIP,
    GLOSS,
    KEEP,
    LANES,
    LIT,
    NX,
    NY,
    NZ,
    OCC,
    ROUGH,
    ROWS,
    SB,
    SCALE,
    SG,
    SKIN_ROW,
    SMOOTH,
    SR,
    STRENGTH,
    VX,
    VY,
    VZ,
    WB,
    WG,
    WR,
)

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Bytes = NDArray[np.uint8]

SKIN, EYE, TEETH, TONGUE, CLOTH = 0, 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Stage:
    """What shines on samples. camera (3,); lamps (L, 8), ambient (4, 3) as in `light`; shadow (S, S) map and xf (3, 4), affine from the
    scene to it; near, wide: mean distances around each sample (see `screen`)."""

    camera: Floats
    lamps: Floats
    ambient: Floats
    shadow: Floats
    xf: Floats
    near: Floats
    wide: Floats



# Per material: wrap of the diffuse light in R, G, B; specular strength; roughness of the two lobes.
MATERIALS = np.array([
    [0.34, 0.16, 0.11, 0.024, 0.55, 0.36],
    [0.45, 0.40, 0.38, 0.045, 0.20, 0.06],
    [0.40, 0.34, 0.30, 0.050, 0.25, 0.12],
    [0.45, 0.20, 0.15, 0.050, 0.35, 0.18],
    [0.10, 0.10, 0.10, 0.010, 0.70, 0.60],
], np.float32)


EYE_LOBES = 0.35
"""Eyes' highlights are windows above all: their lobes count so much."""
AO_REACH_DM, AO_CAP_DM, AO_STRENGTH = (0.035, 0.12), (0.10, 0.22), (0.75, 0.6)
"""Screen-space occlusion, near and wide: its blur, the depth at which it is full, how much it takes."""
AO_GAIN = np.array([0.30, 0.95, 0.50, 0.60, 0.45], np.float32)
"""How much screen-space occlusion darkens skin, eyes, teeth, tongue and clothes."""
F = np.float32
ONE = np.uintp(1)


@njit(cache=True, fastmath=True, error_model="numpy")
def _place(u: float, size: int) -> tuple[np.uintp, float]:
    """Texel before a texture coordinate 0..1, and how far beyond it."""
    x = min(max(u * F(size) - F(0.5), F(0)), F(size) - F(1.001))
    i = int(x)
    return np.uintp(i), x - F(i)


@njit(cache=True, fastmath=True, error_model="numpy")
def _texel(texture: Bytes, u: float, v: float, lut: Floats, b: Floats, k: np.uintp) -> None:
    """Albedo of sample k at u, v (v upwards)."""
    i, fx = _place(u, texture.shape[1])
    j, fy = _place(F(1) - v, texture.shape[0])
    k00, k10 = (F(1) - fx) * (F(1) - fy), fx * (F(1) - fy)
    k01, k11 = (F(1) - fx) * fy, fx * fy
    b[AR + k] = (lut[texture[j, i, 0]] * k00 + lut[texture[j, i + ONE, 0]] * k10
                 + lut[texture[j + ONE, i, 0]] * k01 + lut[texture[j + ONE, i + ONE, 0]] * k11)
    b[AG + k] = (lut[texture[j, i, 1]] * k00 + lut[texture[j, i + ONE, 1]] * k10
                 + lut[texture[j + ONE, i, 1]] * k01 + lut[texture[j + ONE, i + ONE, 1]] * k11)
    b[AB + k] = (lut[texture[j, i, 2]] * k00 + lut[texture[j, i + ONE, 2]] * k10
                 + lut[texture[j + ONE, i, 2]] * k01 + lut[texture[j + ONE, i + ONE, 2]] * k11)


@njit(cache=True, fastmath=True, error_model="numpy")
def _slope(slopes: NDArray[np.int8], u: float, v: float) -> tuple[float, float]:
    i, fx = _place(u, slopes.shape[1])
    j, fy = _place(F(1) - v, slopes.shape[0])
    scale = F(1 / 127.0)
    k00, k10 = (F(1) - fx) * (F(1) - fy) * scale, fx * (F(1) - fy) * scale
    k01, k11 = (F(1) - fx) * fy * scale, fx * fy * scale
    return (F(slopes[j, i, 0]) * k00 + F(slopes[j, i + ONE, 0]) * k10
            + F(slopes[j + ONE, i, 0]) * k01 + F(slopes[j + ONE, i + ONE, 0]) * k11,
            F(slopes[j, i, 1]) * k00 + F(slopes[j, i + ONE, 1]) * k10
            + F(slopes[j + ONE, i, 1]) * k01 + F(slopes[j + ONE, i + ONE, 1]) * k11)


def _spiral(turns: int, taps: int) -> Floats:
    """Offsets (turns, taps, 2) of golden-angle spirals in a unit disk, each turned further."""
    k = np.arange(taps)
    out = np.zeros((turns, taps, 2), np.float32)
    for t in range(turns):
        angle = 2.399963 * k + 1.5708 * 0.61 * t
        r = np.sqrt((k + 0.5) / taps)
        out[t, :, 0], out[t, :, 1] = r * np.cos(angle), r * np.sin(angle)
    return out


SPIRAL = _spiral(4, 10)


@njit(cache=True, fastmath=True, error_model="numpy")
def shadow_at(shadow: Floats, x: float, y: float, near: float, radius: float, turn: int) -> float:
    """Share 0..1 of light that arrives: taps on a spiral around (x, y) of a shadow map."""
    height, width = shadow.shape
    lit = F(0)
    taps = SPIRAL.shape[1]
    x, y, near, radius = F(x), F(y), F(near), F(radius)
    within = (min(x, y) >= radius and x + radius < F(width) - F(1)
              and y + radius < F(height) - F(1))
    for k in range(taps):
        i = int(x + radius * SPIRAL[turn, k, 0] + F(0.5))
        j = int(y + radius * SPIRAL[turn, k, 1] + F(0.5))
        if not within and (i < 0 or j < 0 or i >= width or j >= height):
            lit += F(1)
            continue
        lit += F(1) - min(max((shadow[np.uintp(j), np.uintp(i)] - near) * F(20), F(0)), F(1))
    return lit / F(taps)


@njit(cache=True, fastmath=True, error_model="numpy")
def _blurred(plane: Floats, i: int, j: int, across: float, down: float) -> float:
    """A smaller plane at sample (i, j), bilinear; across, down: its size over the samples'."""
    height, width = plane.shape
    x = min(max((F(i) + F(0.5)) * across - F(0.5), F(0)), F(width - 1))
    y = min(max((F(j) + F(0.5)) * down - F(0.5), F(0)), F(height - 1))
    c, r = np.uintp(min(int(x), width - 2)), np.uintp(min(int(y), height - 2))
    fx, fy = x - F(c), y - F(r)
    top = plane[r, c] * (F(1) - fx) + plane[r, c + ONE] * fx
    bottom = plane[r + ONE, c] * (F(1) - fx) + plane[r + ONE, c + ONE] * fx
    return top * (F(1) - fy) + bottom * fy


@njit(cache=True, fastmath=True, error_model="numpy")
def _behind(near: Floats, wide: Floats, depth: Floats, i: int, j: int, gain: float) -> float:
    """What occlusion by the surroundings on the screen leaves of the light at a sample."""
    height, width = depth.shape
    distance = F(1) / max(depth[j, i], F(1e-6))
    mean = _blurred(near, i, j, F(near.shape[1] / width), F(near.shape[0] / height))
    out = F(1) - gain * F(AO_STRENGTH[0]) * min(max((distance - mean) / F(AO_CAP_DM[0]), F(0)), F(1))
    mean = _blurred(wide, i, j, F(wide.shape[1] / width), F(wide.shape[0] / height))
    out *= F(1) - gain * F(AO_STRENGTH[1]) * min(max((distance - mean) / F(AO_CAP_DM[1]), F(0)), F(1))
    return min(max(out, F(0.06)), F(1))


@njit(cache=True, fastmath=True, error_model="numpy")
def _eye_normal(b: Floats, k: np.uintp, p0: float, p1: float, p2: float, eyes: Floats) -> None:
    """Normal of the cornea's clear bulge or the smooth white, for highlights of sample k at p.

    eyes (2, 7): centre, forward axis, radius.
    """
    best = 0
    if abs(p0 - eyes[1, 0]) + abs(p1 - eyes[1, 1]) < abs(p0 - eyes[0, 0]) + abs(p1 - eyes[0, 1]):
        best = 1
    radius = eyes[best, 6]
    x, y, z = p0 - eyes[best, 0], p1 - eyes[best, 1], p2 - eyes[best, 2]
    along = x * eyes[best, 3] + y * eyes[best, 4] + z * eyes[best, 5]
    off = math.sqrt(max(x * x + y * y + z * z - along * along, F(0))) / radius
    bulge = F(0.42) * radius * min(max((F(0.56) - off) / F(0.06), F(0)), F(1))
    x, y, z = x - bulge * eyes[best, 3], y - bulge * eyes[best, 4], z - bulge * eyes[best, 5]
    scale = F(-1) / (math.sqrt(x * x + y * y + z * z) + F(1e-9))
    b[BX + k], b[BY + k], b[BZ + k] = x * scale, y * scale, z * scale


@njit(cache=True, fastmath=True, error_model="numpy")
def pick_samples(ids: Ints, depth: Floats, material: Bytes, sparse: bool) -> tuple[Ints, Ints]:
    """Which samples are shaded: at (M,) their places in the flattened picture; slot (H, W): whose light
    each sample shows, an index into `at`, -1 where ids (H, W) < 0.

    sparse: one sample of four inside surfaces (for samples of two by two a pixel), all at outlines
    and in eyes.
    """
    height, width = ids.shape
    slot = np.empty((height, width), np.int32)
    at = np.empty(height * width, np.int32)
    count = 0
    for j in range(height):
        for i in range(width):
            t = ids[j, i]
            if t < 0:
                slot[j, i] = -1
                continue
            if sparse and (i & 1 or j & 1) and material[t] != EYE:
                near = ids[j & ~1, i & ~1]
                if near >= 0 and material[near] == material[t] and (
                        abs(depth[j & ~1, i & ~1] - depth[j, i]) < F(0.003) * depth[j, i]):
                    slot[j, i] = slot[j & ~1, i & ~1]
                    continue
            slot[j, i] = count
            at[count] = j * width + i
            count += 1
    return slot, at[:count]


@njit(cache=True, fastmath=True, error_model="numpy")
def shade_samples(  # noqa: C901, PLR0915 - one loop over samples, inlined for speed
    at: Ints, ids: Ints, bary: Floats, tri: Ints, tri_uv: Floats, material: Bytes, points: Floats,
    normals: Floats, occlusion: Floats, grad: Floats, camera: Floats, lights: Floats,
    ambient: Floats, shadow: Floats, shadow_xf: Floats, eyes: Floats, skin: Bytes,
    slopes: NDArray[np.int8], gloss_map: Bytes, eye_tex: Bytes, teeth_tex: Bytes,
    tongue_tex: Bytes, cloth_tex: Bytes, lut: Floats, params: Floats, bump: float,
    near: Floats, wide: Floats, depth: Floats,
) -> Floats:
    """Diffuse light, reflectance and highlights (M, 9) of the samples `at` (M,) of ids (H, W).

    points, normals (V, 3); occlusion (V,) 0..1; grad (T, 2, 3) surface gradients of u and v;
    camera (3,); lights (L, 8): direction, colour, highlight scale, shadow radius; ambient (4, 3):
    base colour and its change along x, y, z; shadow, shadow_xf (3, 4): map and affine from the scene
    to its x, y, near; near, wide: mean distance around, at a part of the samples' size; lut (256,)
    sRGB to linear; depth (H, W).
    """
    width = np.uintp(ids.shape[1])
    j, row_end = np.uintp(0), width
    out = np.empty((at.shape[0], 9), np.float32)
    b = np.zeros(ROWS * LANES, np.float32)
    of_eyes = np.empty(LANES, np.uintp)
    for first in range(0, at.shape[0], LANES):
        count, eye_count = np.uintp(min(LANES, at.shape[0] - first)), 0
        for k in range(count):
            place = np.uintp(at[np.uintp(first) + k])
            while place >= row_end:  # they come row by row: no division
                j, row_end = j + ONE, row_end + width
            i = place - (row_end - width)
            t = np.uintp(ids[j, i])
            # Unsigned, as an index that may be negative costs a comparison.
            a, c, d = np.uintp(tri[t, 0]), np.uintp(tri[t, 1]), np.uintp(tri[t, 2])
            b0, b1 = bary[j, i, 0], bary[j, i, 1]
            b2 = F(1) - b0 - b1
            p0 = b0 * points[a, 0] + b1 * points[c, 0] + b2 * points[d, 0]
            p1 = b0 * points[a, 1] + b1 * points[c, 1] + b2 * points[d, 1]
            p2 = b0 * points[a, 2] + b1 * points[c, 2] + b2 * points[d, 2]
            b[NX + k] = b0 * normals[a, 0] + b1 * normals[c, 0] + b2 * normals[d, 0]
            b[NY + k] = b0 * normals[a, 1] + b1 * normals[c, 1] + b2 * normals[d, 1]
            b[NZ + k] = b0 * normals[a, 2] + b1 * normals[c, 2] + b2 * normals[d, 2]
            b[VX + k], b[VY + k], b[VZ + k] = camera[0] - p0, camera[1] - p1, camera[2] - p2
            u = b0 * tri_uv[t, 0, 0] + b1 * tri_uv[t, 1, 0] + b2 * tri_uv[t, 2, 0]
            v = b0 * tri_uv[t, 0, 1] + b1 * tri_uv[t, 1, 1] + b2 * tri_uv[t, 2, 1]
            kind = np.uintp(material[t])
            b[OCC + k] = ((b0 * occlusion[a] + b1 * occlusion[c] + b2 * occlusion[d])
                          * _behind(near, wide, depth, i, j, AO_GAIN[kind]))
            b[WR + k], b[WG + k], b[WB + k] = params[kind, 0], params[kind, 1], params[kind, 2]
            b[STRENGTH + k], b[ROUGH + k], b[SMOOTH + k] = params[kind, 3], params[kind, 4], params[kind, 5]
            b[GLOSS + k], b[KEEP + k], b[SCALE + k] = F(1), F(1), F(1)
            b[SKIN_ROW + k], b[FLIP + k] = F(0), F(0)
            b[BX + k], b[BY + k], b[BZ + k] = F(0), F(0), F(0)
            if kind == SKIN:
                _texel(skin, u, v, lut, b, k)
                row = min(int((F(1) - v) * F(gloss_map.shape[0])), gloss_map.shape[0] - 1)
                b[GLOSS + k] = F(gloss_map[row, min(int(u * F(gloss_map.shape[1])), gloss_map.shape[1] - 1)]) * F(1 / 128.0)
                s0, s1 = _slope(slopes, u, v)
                s0, s1 = s0 * F(bump), s1 * F(bump)
                b[BX + k] = s0 * grad[t, 0, 0] + s1 * grad[t, 1, 0]
                b[BY + k] = s0 * grad[t, 0, 1] + s1 * grad[t, 1, 1]
                b[BZ + k] = s0 * grad[t, 0, 2] + s1 * grad[t, 1, 2]
                b[SKIN_ROW + k] = F(1)
            elif kind == EYE:
                _texel(eye_tex, u, v, lut, b, k)
                _eye_normal(b, k, p0, p1, p2, eyes)
                b[KEEP + k], b[SCALE + k] = F(0), F(EYE_LOBES)
                of_eyes[eye_count] = k
                eye_count += 1
            elif kind == TEETH:
                _texel(teeth_tex, u, v, lut, b, k)
            elif kind == TONGUE:
                _texel(tongue_tex, u, v, lut, b, k)
            else:
                _texel(cloth_tex, u, v, lut, b, k)
                b[FLIP + k] = F(1)
            x = shadow_xf[0, 0] * p0 + shadow_xf[0, 1] * p1 + shadow_xf[0, 2] * p2
            y = shadow_xf[1, 0] * p0 + shadow_xf[1, 1] * p1 + shadow_xf[1, 2] * p2
            z = shadow_xf[2, 0] * p0 + shadow_xf[2, 1] * p1 + shadow_xf[2, 2] * p2
            b[LIT + k] = shadow_at(shadow, x + shadow_xf[0, 3], y + shadow_xf[1, 3],
                                   z + shadow_xf[2, 3] + F(0.06), lights[0, 7], (int(i) & 1) + 2 * (int(j) & 1))
        lanes.turn_normals(b, count)
        for q in range(lights.shape[0]):
            lanes.add_lamp(b, count, lights[q], q == 0)
            for e in range(eye_count):
                lanes.add_window(b, of_eyes[e], lights[q], q == 0)
        lanes.add_sky(b, count, ambient)
        for k in range(count):
            n = first + int(k)
            out[n, 0], out[n, 1], out[n, 2] = b[DR + k], b[DG + k], b[DB + k]
            out[n, 3], out[n, 4], out[n, 5] = b[AR + k], b[AG + k], b[AB + k]
            out[n, 6], out[n, 7], out[n, 8] = b[SR + k], b[SG + k], b[SB + k]
    return out


@njit(cache=True, fastmath=True, error_model="numpy")
def shade_points(
    points: Floats, normals: Floats, tangents: Floats, occlusion: Floats, camera: Floats,
    lights: Floats, ambient: Floats, shadow: Floats, shadow_xf: Floats, shine: float,
    out_light: Floats, out_sheen: Floats,
) -> None:
    """Light (V, 3) and highlight (V, 3) of hair at its points (Kajiya & Kay 1989, softened)."""
    for k in range(points.shape[0]):
        px, py, pz = points[k, 0], points[k, 1], points[k, 2]
        nx, ny, nz = normals[k, 0], normals[k, 1], normals[k, 2]
        vx, vy, vz = camera[0] - px, camera[1] - py, camera[2] - pz
        length = math.sqrt(vx * vx + vy * vy + vz * vz) + 1e-9
        vx, vy, vz = vx / length, vy / length, vz / length
        if nx * vx + ny * vy + nz * vz < 0:
            nx, ny, nz = -nx, -ny, -nz
        tx, ty, tz = tangents[k, 0], tangents[k, 1], tangents[k, 2]
        x = shadow_xf[0, 0] * px + shadow_xf[0, 1] * py + shadow_xf[0, 2] * pz + shadow_xf[0, 3]
        y = shadow_xf[1, 0] * px + shadow_xf[1, 1] * py + shadow_xf[1, 2] * pz + shadow_xf[1, 3]
        z = shadow_xf[2, 0] * px + shadow_xf[2, 1] * py + shadow_xf[2, 2] * pz + shadow_xf[2, 3]
        lit0 = shadow_at(shadow, x, y, z + 0.10, lights[0, 7] * 1.3, 0)
        occ = occlusion[k]
        for ch in range(3):
            sky = (ambient[0, ch] + ambient[1, ch] * nx + ambient[2, ch] * ny
                   + ambient[3, ch] * nz)
            out_light[k, ch] = max(sky, 0.0) * occ
            out_sheen[k, ch] = 0.0
        for q in range(lights.shape[0]):
            lit = (0.2 + 0.8 * lit0) if q == 0 else 0.3 + 0.7 * occ
            lx, ly, lz = lights[q, 0], lights[q, 1], lights[q, 2]
            n_l = nx * lx + ny * ly + nz * lz
            d = max((n_l + 0.35) / 1.35, 0.0) * lit * (0.4 + 0.6 * occ)
            hx, hy, hz = lx + vx, ly + vy, lz + vz
            length = math.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
            t_h = (tx * hx + ty * hy + tz * hz) / length
            ring = max(1 - t_h * t_h, 0.0) ** 14
            for ch in range(3):
                out_light[k, ch] += d * lights[q, 3 + ch]
                out_sheen[k, ch] += shine * ring * d * lights[q, 3 + ch]
