"""Light: what each visible sample sends to the camera (numba, linear colour).

The sum of directional lights (wrapped diffuse, the first with a soft shadow), an ambient light
that depends on direction, ambient occlusion, highlights (two GGX lobes, Schlick Fresnel), and for
skin a reddened terminator. Diffuse light and reflectance are kept apart so that the light can be
blurred under the skin before they are multiplied (Jensen et al. 2001, in its screen-space form).
"""

# pyright: reportUntypedFunctionDecorator=false
from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Bytes = NDArray[np.uint8]

SKIN, EYE, TEETH, TONGUE, CLOTH = 0, 1, 2, 3, 4

# Per material: wrap of the diffuse light in R, G, B; specular strength; roughness of the two lobes.
MATERIALS = np.array([
    [0.34, 0.16, 0.11, 0.024, 0.55, 0.36],
    [0.45, 0.40, 0.38, 0.045, 0.20, 0.06],
    [0.40, 0.34, 0.30, 0.050, 0.25, 0.12],
    [0.45, 0.20, 0.15, 0.050, 0.35, 0.18],
    [0.10, 0.10, 0.10, 0.010, 0.70, 0.60],
], np.float32)


@njit(cache=True, fastmath=True)
def _texel(texture: Bytes, u: float, v: float, lut: Floats, out: Floats) -> None:
    height, width = texture.shape[0], texture.shape[1]
    x = min(max(u * width - 0.5, 0.0), width - 1.001)
    y = min(max((1.0 - v) * height - 0.5, 0.0), height - 1.001)
    i, j = int(x), int(y)
    fx, fy = x - i, y - j
    for c in range(3):
        top = lut[texture[j, i, c]] * (1 - fx) + lut[texture[j, i + 1, c]] * fx
        bottom = lut[texture[j + 1, i, c]] * (1 - fx) + lut[texture[j + 1, i + 1, c]] * fx
        out[c] = top * (1 - fy) + bottom * fy


@njit(cache=True, fastmath=True)
def _slope(slopes: NDArray[np.int8], u: float, v: float, out: Floats) -> None:
    height, width = slopes.shape[0], slopes.shape[1]
    x = min(max(u * width - 0.5, 0.0), width - 1.001)
    y = min(max((1.0 - v) * height - 0.5, 0.0), height - 1.001)
    i, j = int(x), int(y)
    fx, fy = x - i, y - j
    for c in range(2):
        top = slopes[j, i, c] * (1 - fx) + slopes[j, i + 1, c] * fx
        bottom = slopes[j + 1, i, c] * (1 - fx) + slopes[j + 1, i + 1, c] * fx
        out[c] = (top * (1 - fy) + bottom * fy) / 127.0


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


@njit(cache=True, fastmath=True)
def shadow_at(shadow: Floats, x: float, y: float, near: float, radius: float, turn: int) -> float:
    """Share 0..1 of light that arrives: taps on a spiral around (x, y) of a shadow map."""
    height, width = shadow.shape
    lit = 0.0
    taps = SPIRAL.shape[1]
    for k in range(taps):
        i = int(x + radius * SPIRAL[turn, k, 0] + 0.5)
        j = int(y + radius * SPIRAL[turn, k, 1] + 0.5)
        if i < 0 or j < 0 or i >= width or j >= height:
            lit += 1.0
            continue
        over = (shadow[j, i] - near) * 20.0
        lit += 1.0 - min(max(over, 0.0), 1.0)
    return lit / taps


@njit(cache=True, fastmath=True)
def _ggx(n_h: float, rough: float) -> float:
    a2 = rough * rough * rough * rough
    d = n_h * n_h * (a2 - 1) + 1
    return a2 / (math.pi * d * d + 1e-7)


@njit(cache=True, fastmath=True)
def _unit(v: Floats) -> None:
    length = math.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]) + 1e-9
    v[0] /= length
    v[1] /= length
    v[2] /= length


@njit(cache=True, fastmath=True)
def _bump(n: Floats, slope: Floats, du: Floats, dv: Floats, strength: float) -> None:
    for k in range(3):
        n[k] -= strength * (slope[0] * du[k] + slope[1] * dv[k])
    _unit(n)


@njit(cache=True, fastmath=True)
def _eye_normal(n: Floats, p: Floats, eyes: Floats) -> None:
    """Normal of the cornea's clear bulge or the smooth white, for highlights.

    eyes (2, 7): centre, forward axis, radius.
    """
    best = 0
    if (abs(p[0] - eyes[1, 0]) + abs(p[1] - eyes[1, 1])
            < abs(p[0] - eyes[0, 0]) + abs(p[1] - eyes[0, 1])):
        best = 1
    radius = eyes[best, 6]
    along = 0.0
    for k in range(3):
        along += (p[k] - eyes[best, k]) * eyes[best, 3 + k]
    off2 = -along * along
    for k in range(3):
        off2 += (p[k] - eyes[best, k]) ** 2
    off = math.sqrt(max(off2, 0.0)) / radius
    bulge = 0.42 * radius * min(max((0.56 - off) / 0.06, 0.0), 1.0)
    for k in range(3):
        n[k] = p[k] - eyes[best, k] - bulge * eyes[best, 3 + k]
    _unit(n)


@njit(cache=True, fastmath=True)
def _window(n: Floats, view: Floats, light: Floats, size: float) -> float:
    """Mirror image 0..1 of a square soft box of half-angle `size` (tangent) around a light."""
    vn = n[0] * view[0] + n[1] * view[1] + n[2] * view[2]
    rx, ry, rz = (2 * vn * n[0] - view[0], 2 * vn * n[1] - view[1], 2 * vn * n[2] - view[2])
    along = rx * light[0] + ry * light[1] + rz * light[2]
    if along <= 0.1:
        return 0.0
    # Axes across the light: horizontal and the rest.
    hx, hz = light[2], -light[0]
    length = math.sqrt(hx * hx + hz * hz) + 1e-9
    hx, hz = hx / length, hz / length
    across = (rx * hx + rz * hz) / along
    ux, uy, uz = -hz * light[1], hz * light[0] - hx * light[2], hx * light[1]
    up = (rx * ux + ry * uy + rz * uz) / along
    edge = 0.25 * size
    a = min(max((size - abs(across)) / edge + 0.5, 0.0), 1.0)
    b = min(max((size - abs(up)) / edge + 0.5, 0.0), 1.0)
    return a * b


@njit(cache=True, fastmath=True)
def _add_light(
    n: Floats, ns: Floats, view: Floats, light: Floats, material: int, params: Floats,
    lit: float, gloss: float, diffuse: Floats, spec: Floats,
) -> None:
    """Add one directional light; light (7,): direction to it, colour, highlight scale."""
    n_l = n[0] * light[0] + n[1] * light[1] + n[2] * light[2]
    for c in range(3):
        wrap = params[c]
        d = (n_l + wrap) / (1 + wrap)
        if d > 0:
            # The wrapped part lies where no direct light falls: shadow reaches it in red last.
            share = lit * (1.35 - 0.35 * lit) if c == 0 and material == 0 else lit
            diffuse[c] += d * d / (d + 0.08) * light[3 + c] * share
    m_l = ns[0] * light[0] + ns[1] * light[1] + ns[2] * light[2]
    if m_l <= 0:
        return
    hx, hy, hz = light[0] + view[0], light[1] + view[1], light[2] + view[2]
    length = math.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
    n_h = max((ns[0] * hx + ns[1] * hy + ns[2] * hz) / length, 0.0)
    v_h = max((view[0] * hx + view[1] * hy + view[2] * hz) / length, 0.0)
    edge = (1 - v_h) * (1 - v_h)
    fresnel = params[3] + (1 - params[3]) * edge * edge * (1 - v_h)
    lobe = 0.8 * _ggx(n_h, params[4]) + 0.2 * _ggx(n_h, params[5])
    value = fresnel * lobe * m_l * lit * gloss * light[6]
    if material == 1:
        value = 0.35 * value + 0.55 * _window(ns, view, light, 0.32) * lit * light[6]
    for c in range(3):
        spec[c] += value * light[3 + c]


@njit(cache=True, fastmath=True)
def shade_samples(  # noqa: C901, PLR0915 - one loop over samples, inlined for speed
    ids: Ints, bary: Floats, tri: Ints, tri_uv: Floats, material: Bytes, points: Floats,
    normals: Floats, occlusion: Floats, grad: Floats, camera: Floats, lights: Floats,
    ambient: Floats, shadow: Floats, shadow_xf: Floats, eyes: Floats, skin: Bytes,
    slopes: NDArray[np.int8], gloss_map: Bytes, eye_tex: Bytes, teeth_tex: Bytes,
    tongue_tex: Bytes, cloth_tex: Bytes, lut: Floats, params: Floats, bump: float,
    shade_ao: Floats, depth: Floats, sparse: bool, out_light: Floats, out_albedo: Floats, out_spec: Floats,
) -> None:
    """Fill out_light, out_albedo, out_spec (H, W, 3) where ids (H, W) >= 0.

    points, normals (V, 3); occlusion (V,) 0..1; grad (T, 2, 3) surface gradients of u and v;
    camera (3,); lights (L, 7) as `_add_light`; ambient (4, 3): base colour and its change along x,
    y, z; shadow, shadow_xf (3, 4): map and affine from the scene to its x, y, near; shade_ao (H, W)
    screen-space occlusion; lut (256,) sRGB to linear; depth (H, W); sparse: shade one sample of
    four inside surfaces (for samples of two by two a pixel).
    """
    height, width = ids.shape
    n = np.zeros(3, np.float32)
    ns = np.zeros(3, np.float32)
    p = np.zeros(3, np.float32)
    view = np.zeros(3, np.float32)
    albedo = np.zeros(3, np.float32)
    diffuse = np.zeros(3, np.float32)
    spec = np.zeros(3, np.float32)
    slope = np.zeros(2, np.float32)
    for j in range(height):
        for i in range(width):
            t = ids[j, i]
            if t < 0:
                continue
            b0, b1 = bary[j, i, 0], bary[j, i, 1]
            b2 = 1.0 - b0 - b1
            a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
            kind = material[t]
            if sparse and kind != EYE and (i & 1 or j & 1):
                # Within a surface one shaded sample serves four; its outlines are shaded fully.
                near = ids[j & ~1, i & ~1]
                if near >= 0 and material[near] == kind and (
                        abs(depth[j & ~1, i & ~1] - depth[j, i]) < 0.003 * depth[j, i]):
                    for ch in range(3):
                        out_light[j, i, ch] = out_light[j & ~1, i & ~1, ch]
                        out_albedo[j, i, ch] = out_albedo[j & ~1, i & ~1, ch]
                        out_spec[j, i, ch] = out_spec[j & ~1, i & ~1, ch]
                    continue
            for k in range(3):
                p[k] = b0 * points[a, k] + b1 * points[b, k] + b2 * points[c, k]
                n[k] = b0 * normals[a, k] + b1 * normals[b, k] + b2 * normals[c, k]
                view[k] = camera[k] - p[k]
                diffuse[k] = 0.0
                spec[k] = 0.0
            _unit(n)
            _unit(view)
            u = b0 * tri_uv[t, 0, 0] + b1 * tri_uv[t, 1, 0] + b2 * tri_uv[t, 2, 0]
            v = b0 * tri_uv[t, 0, 1] + b1 * tri_uv[t, 1, 1] + b2 * tri_uv[t, 2, 1]
            occ = (b0 * occlusion[a] + b1 * occlusion[b] + b2 * occlusion[c]) * shade_ao[j, i]
            gloss = 1.0
            if kind == 0:
                _texel(skin, u, v, lut, albedo)
                gloss = gloss_map[min(int((1 - v) * gloss_map.shape[0]), gloss_map.shape[0] - 1),
                                  min(int(u * gloss_map.shape[1]), gloss_map.shape[1] - 1)] / 128.0
                _slope(slopes, u, v, slope)
            elif kind == 1:
                _texel(eye_tex, u, v, lut, albedo)
            elif kind == 2:
                _texel(teeth_tex, u, v, lut, albedo)
            elif kind == 3:
                _texel(tongue_tex, u, v, lut, albedo)
            else:
                _texel(cloth_tex, u, v, lut, albedo)
                if n[0] * view[0] + n[1] * view[1] + n[2] * view[2] < 0:
                    n[0], n[1], n[2] = -n[0], -n[1], -n[2]
            ns[0], ns[1], ns[2] = n[0], n[1], n[2]
            if kind == 0:
                _bump(ns, slope, grad[t, 0], grad[t, 1], bump)
                _bump(n, slope, grad[t, 0], grad[t, 1], bump * 0.5)
            elif kind == 1:
                _eye_normal(ns, p, eyes)
            x = shadow_xf[0, 0] * p[0] + shadow_xf[0, 1] * p[1] + shadow_xf[0, 2] * p[2]
            y = shadow_xf[1, 0] * p[0] + shadow_xf[1, 1] * p[1] + shadow_xf[1, 2] * p[2]
            z = shadow_xf[2, 0] * p[0] + shadow_xf[2, 1] * p[1] + shadow_xf[2, 2] * p[2]
            turn = (i & 1) + 2 * (j & 1)
            lit = shadow_at(shadow, x + shadow_xf[0, 3], y + shadow_xf[1, 3],
                            z + shadow_xf[2, 3] + 0.06, lights[0, 7], turn)
            for q in range(lights.shape[0]):
                share = lit if q == 0 else 0.25 + 0.75 * occ
                share = share * (0.55 + 0.45 * occ)
                _add_light(n, ns, view, lights[q], kind, params[kind], share, gloss * occ * occ,
                           diffuse, spec)
            for ch in range(3):
                sky = (ambient[0, ch] + ambient[1, ch] * n[0] + ambient[2, ch] * n[1]
                       + ambient[3, ch] * n[2])
                # Light that bounces within a fold takes the surface's colour (Jimenez 2016).
                fold = occ / (occ + (1 - occ) * (1 - 0.65 * albedo[ch]))
                diffuse[ch] += max(sky, 0.0) * fold
            graze = 1 - max(n[0] * view[0] + n[1] * view[1] + n[2] * view[2], 0.0)
            rim = graze * graze * graze * graze * graze
            for ch in range(3):
                spec[ch] += 0.10 * rim * ambient[0, ch] * occ * gloss
                out_light[j, i, ch] = diffuse[ch]
                out_albedo[j, i, ch] = albedo[ch]
                out_spec[j, i, ch] = spec[ch]


@njit(cache=True, fastmath=True)
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


@njit(cache=True, fastmath=True)
def compose(ids: Ints, light: Floats, albedo: Floats, spec: Floats, image: Floats) -> None:
    """image (H, W, 4) = light * albedo + spec, alpha 1, where ids (H, W) >= 0; highlights capped."""
    height, width = ids.shape
    for j in range(height):
        for i in range(width):
            if ids[j, i] >= 0:
                for c in range(3):
                    image[j, i, c] = min(light[j, i, c] * albedo[j, i, c] + spec[j, i, c], 2.5)
                image[j, i, 3] = 1.0
