"""Triangle rasterisation on one CPU core (numba).

Convention: sample (column i, row j) lies at screen coordinates (i, j); a triangle covers a sample
whose three edge functions are all >= 0 (either winding) unless culled. Depth is 1/distance along
the view axis (greater is nearer, 0 is empty), linear on the screen.
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

MIN_AREA = 1e-9


@njit(cache=True, fastmath=True)
def raster_ids(
    xs: Floats, ys: Floats, inv: Floats, tri: Ints, cull: Bytes,
    depth: Floats, ids: Ints, bary: Floats,
) -> None:
    """Draw opaque triangles into depth (H, W), ids (H, W), bary (H, W, 2), in place.

    xs, ys (V,) screen coordinates; inv (V,) 1/distance; tri (T, 3); cull (T,) 1 drops triangles
    whose screen area is <= 0 (facing away). bary holds the perspective-correct weights of corners
    0 and 1. Triangles with a vertex behind the camera (inv <= 0) are dropped.
    """
    height, width = depth.shape
    for t in range(tri.shape[0]):
        a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
        wa, wb, wc = inv[a], inv[b], inv[c]
        if wa <= 0 or wb <= 0 or wc <= 0:
            continue
        ax, ay, bx, by, cx, cy = xs[a], ys[a], xs[b], ys[b], xs[c], ys[c]
        # y runs downwards, so a triangle that faces the viewer has a negative area here.
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < MIN_AREA or (cull[t] == 1 and area > 0):
            continue
        x0 = max(0, math.ceil(min(ax, bx, cx)))
        x1 = min(width - 1, math.floor(max(ax, bx, cx)))
        y0 = max(0, math.ceil(min(ay, by, cy)))
        y1 = min(height - 1, math.floor(max(ay, by, cy)))
        scale = 1.0 / area
        for j in range(y0, y1 + 1):
            for i in range(x0, x1 + 1):
                u = ((bx - i) * (cy - j) - (by - j) * (cx - i)) * scale
                v = ((cx - i) * (ay - j) - (cy - j) * (ax - i)) * scale
                w = 1.0 - u - v
                if u < 0 or v < 0 or w < 0:
                    continue
                z = u * wa + v * wb + w * wc
                if z > depth[j, i]:
                    depth[j, i] = z
                    ids[j, i] = t
                    bary[j, i, 0] = u * wa / z
                    bary[j, i, 1] = v * wb / z


@njit(cache=True, fastmath=True)
def raster_depth(
    xs: Floats, ys: Floats, near: Floats, tri: Ints, tri_uv: Floats, alpha: Bytes,
    has_alpha: Bytes, depth: Floats,
) -> None:
    """Draw depth only, for an orthographic light: near (V,) greater is nearer the light.

    tri_uv (T, 3, 2) texture coordinates 0..1 with v upwards; alpha (H, W) texture; has_alpha (T,)
    1 drops samples whose alpha is below one half.
    """
    height, width = depth.shape
    th, tw = alpha.shape
    for t in range(tri.shape[0]):
        a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
        ax, ay, bx, by, cx, cy = xs[a], ys[a], xs[b], ys[b], xs[c], ys[c]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < MIN_AREA:
            continue
        x0 = max(0, math.ceil(min(ax, bx, cx)))
        x1 = min(width - 1, math.floor(max(ax, bx, cx)))
        y0 = max(0, math.ceil(min(ay, by, cy)))
        y1 = min(height - 1, math.floor(max(ay, by, cy)))
        scale = 1.0 / area
        for j in range(y0, y1 + 1):
            for i in range(x0, x1 + 1):
                u = ((bx - i) * (cy - j) - (by - j) * (cx - i)) * scale
                v = ((cx - i) * (ay - j) - (cy - j) * (ax - i)) * scale
                w = 1.0 - u - v
                if u < 0 or v < 0 or w < 0:
                    continue
                z = u * near[a] + v * near[b] + w * near[c]
                if z <= depth[j, i]:
                    continue
                if has_alpha[t] == 1:
                    tu = u * tri_uv[t, 0, 0] + v * tri_uv[t, 1, 0] + w * tri_uv[t, 2, 0]
                    tv = u * tri_uv[t, 0, 1] + v * tri_uv[t, 1, 1] + w * tri_uv[t, 2, 1]
                    col = min(max(int(tu * tw), 0), tw - 1)
                    row = min(max(int((1.0 - tv) * th), 0), th - 1)
                    if alpha[row, col] < 128:
                        continue
                depth[j, i] = z


@njit(cache=True, fastmath=True)
def bilinear(texture: Bytes, u: float, v: float, out: Floats) -> None:
    """Sample texture (H, W, C) uint8 at u, v (v upwards, clamped) into out (C,), 0..255."""
    height, width, channels = texture.shape
    x = min(max(u * width - 0.5, 0.0), width - 1.001)
    y = min(max((1.0 - v) * height - 0.5, 0.0), height - 1.001)
    i, j = int(x), int(y)
    fx, fy = x - i, y - j
    for c in range(channels):
        top = texture[j, i, c] * (1 - fx) + texture[j, i + 1, c] * fx
        bottom = texture[j + 1, i, c] * (1 - fx) + texture[j + 1, i + 1, c] * fx
        out[c] = top * (1 - fy) + bottom * fy


@njit(cache=True, fastmath=True)
def blend_sorted(  # noqa: C901, PLR0915 - one loop over samples, inlined for speed
    order: Ints, xs: Floats, ys: Floats, inv: Floats, tri: Ints, tri_uv: Floats, light: Floats,
    sheen: Floats, cover: Floats, texture: Floats, gain: float, bias: float, depth: Floats,
    image: Floats, veil: Floats,
) -> None:
    """Blend transparent triangles, far to near by `order`, over premultiplied image (H, W, 4).

    light, sheen (V, 3) linear radiance factor and added highlight per vertex; cover (V,) factor of
    alpha (hair thins out at its outline); texture (H, W, 5)
    float32 linear RGB, alpha 0..1 and rank; gain multiplies alpha before clamping to 1 (hair density);
    bias in relative depth lets a layer win against the surface it lies on; veil (H, W): how much
    this layer covers, brought up to date in place.
    """
    height, width = depth.shape
    th, tw = texture.shape[0], texture.shape[1]
    for k in range(order.shape[0]):
        t = order[k]
        a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
        wa, wb, wc = inv[a], inv[b], inv[c]
        if wa <= 0 or wb <= 0 or wc <= 0:
            continue
        ax, ay, bx, by, cx, cy = xs[a], ys[a], xs[b], ys[b], xs[c], ys[c]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < MIN_AREA:
            continue
        x0 = max(0, math.ceil(min(ax, bx, cx)))
        x1 = min(width - 1, math.floor(max(ax, bx, cx)))
        y0 = max(0, math.ceil(min(ay, by, cy)))
        y1 = min(height - 1, math.floor(max(ay, by, cy)))
        scale = 1.0 / area
        for j in range(y0, y1 + 1):
            for i in range(x0, x1 + 1):
                u = ((bx - i) * (cy - j) - (by - j) * (cx - i)) * scale
                v = ((cx - i) * (ay - j) - (cy - j) * (ax - i)) * scale
                w = 1.0 - u - v
                if u < 0 or v < 0 or w < 0:
                    continue
                z = u * wa + v * wb + w * wc
                if z * (1.0 + bias) < depth[j, i]:
                    continue
                p, q = u * wa / z, v * wb / z
                r = 1.0 - p - q
                tu = p * tri_uv[t, 0, 0] + q * tri_uv[t, 1, 0] + r * tri_uv[t, 2, 0]
                tv = p * tri_uv[t, 0, 1] + q * tri_uv[t, 1, 1] + r * tri_uv[t, 2, 1]
                x = min(max(tu * tw - 0.5, 0.0), tw - 1.001)
                y = min(max((1.0 - tv) * th - 0.5, 0.0), th - 1.001)
                ti, tj = int(x), int(y)
                fx, fy = x - ti, y - tj
                k00, k10 = (1 - fx) * (1 - fy), fx * (1 - fy)
                k01, k11 = (1 - fx) * fy, fx * fy
                alpha = gain * (texture[tj, ti, 3] * k00 + texture[tj, ti + 1, 3] * k10
                                + texture[tj + 1, ti, 3] * k01 + texture[tj + 1, ti + 1, 3] * k11)
                keep = p * cover[a] + q * cover[b] + r * cover[c]
                if keep < 0.999:
                    # Strands go one after the other, by their rank.
                    alpha *= min(max((texture[tj, ti, 4] - 1.0) / 0.7 + keep * 2.43, 0.0), 1.0)
                alpha = min(alpha, 1.0)
                if alpha < 0.004:
                    continue
                for ch in range(3):
                    tone = (texture[tj, ti, ch] * k00 + texture[tj, ti + 1, ch] * k10
                            + texture[tj + 1, ti, ch] * k01 + texture[tj + 1, ti + 1, ch] * k11)
                    lit = p * light[a, ch] + q * light[b, ch] + r * light[c, ch]
                    shine = p * sheen[a, ch] + q * sheen[b, ch] + r * sheen[c, ch]
                    value = tone * (lit + shine) + 0.25 * shine * tone
                    image[j, i, ch] = image[j, i, ch] * (1 - alpha) + value * alpha
                image[j, i, 3] = image[j, i, 3] * (1 - alpha) + alpha
                veil[j, i] = veil[j, i] * (1 - alpha) + alpha


@njit(cache=True, fastmath=True)
def vertex_normals(points: Floats, tri: Ints) -> Floats:
    """Area-weighted unit normals (V, 3) of vertices (V, 3)."""
    out = np.zeros_like(points)
    for t in range(tri.shape[0]):
        a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
        ux, uy, uz = (points[b, 0] - points[a, 0], points[b, 1] - points[a, 1],
                      points[b, 2] - points[a, 2])
        vx, vy, vz = (points[c, 0] - points[a, 0], points[c, 1] - points[a, 1],
                      points[c, 2] - points[a, 2])
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for k in (a, b, c):
            out[k, 0] += nx
            out[k, 1] += ny
            out[k, 2] += nz
    for k in range(out.shape[0]):
        length = math.sqrt(out[k, 0] ** 2 + out[k, 1] ** 2 + out[k, 2] ** 2)
        if length > 1e-12:
            out[k, 0] /= length
            out[k, 1] /= length
            out[k, 2] /= length
    return out


@njit(cache=True, fastmath=True)
def blend_rigid(points: Floats, weights: Floats, moves: Floats) -> Floats:
    """Points (P, 3) moved by rigid transforms (G, 3, 4), blended by weights (G, P)."""
    out = np.zeros_like(points)
    for g in range(weights.shape[0]):
        m = moves[g]
        for k in range(points.shape[0]):
            w = weights[g, k]
            if w > 1e-4:
                x, y, z = points[k, 0], points[k, 1], points[k, 2]
                for c in range(3):
                    out[k, c] += w * (m[c, 0] * x + m[c, 1] * y + m[c, 2] * z + m[c, 3])
    return out


@njit(cache=True, fastmath=True)
def surface_gradients(points: Floats, tri: Ints, uv: Floats, limit: float) -> Floats:
    """Surface gradients (T, 2, 3) of u and v over triangles (T, 3) with uv (T, 3, 2), clipped to
    +-limit."""
    out = np.empty((tri.shape[0], 2, 3), np.float32)
    for t in range(tri.shape[0]):
        a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
        ux, uy, uz = (points[b, 0] - points[a, 0], points[b, 1] - points[a, 1],
                      points[b, 2] - points[a, 2])
        vx, vy, vz = (points[c, 0] - points[a, 0], points[c, 1] - points[a, 1],
                      points[c, 2] - points[a, 2])
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        scale = 1.0 / max(nx * nx + ny * ny + nz * nz, 1e-12)
        px, py, pz = vy * nz - vz * ny, vz * nx - vx * nz, vx * ny - vy * nx
        qx, qy, qz = ny * uz - nz * uy, nz * ux - nx * uz, nx * uy - ny * ux
        for k in range(2):
            d1, d2 = uv[t, 1, k] - uv[t, 0, k], uv[t, 2, k] - uv[t, 0, k]
            out[t, k, 0] = min(max((d1 * px + d2 * qx) * scale, -limit), limit)
            out[t, k, 1] = min(max((d1 * py + d2 * qy) * scale, -limit), limit)
            out[t, k, 2] = min(max((d1 * pz + d2 * qz) * scale, -limit), limit)
    return out


@njit(cache=True, fastmath=True)
def gather_corners(values: Floats, tri: Ints, count: int) -> Floats:
    """Sum (count, 3) over the corners of triangles (T, 3) of a value (T, 3) per triangle."""
    out = np.zeros((count, 3), np.float32)
    for t in range(tri.shape[0]):
        for k in range(3):
            for c in range(3):
                out[tri[t, k], c] += values[t, c]
    return out


@njit(cache=True, fastmath=True)
def interpolate(ids: Ints, bary: Floats, tri: Ints, values: Floats, out: Floats) -> None:
    """out (H, W) = a value (V,) per point, interpolated over the triangles that samples show."""
    for j in range(ids.shape[0]):
        for i in range(ids.shape[1]):
            t = ids[j, i]
            if t >= 0:
                p, q = bary[j, i, 0], bary[j, i, 1]
                out[j, i] = (p * values[tri[t, 0]] + q * values[tri[t, 1]]
                             + (1 - p - q) * values[tri[t, 2]])
