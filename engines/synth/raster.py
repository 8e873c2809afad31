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
LEAST_PASSED = 1e-6
"""What shows through less than this of what lies before it is not drawn."""
FAR = 1e9
SLACK = 1e-6
"""A row's samples are looked for so much (in samples) before and behind a triangle's computed edges."""


@njit(cache=True, fastmath=True, error_model="numpy")
def _area(xs: Floats, ys: Floats, a: int, b: int, c: int) -> float:
    return (xs[b] - xs[a]) * (ys[c] - ys[a]) - (ys[b] - ys[a]) * (xs[c] - xs[a])


@njit(cache=True, fastmath=True, error_model="numpy")
def _range(a: float, b: float, c: float, size: int) -> tuple[int, int]:
    """First and last sample 0..size - 1 from the least to the greatest of three coordinates."""
    low, high = max(min(a, b, c), np.float32(0)), min(max(a, b, c), np.float32(size - 1))
    return math.ceil(low), math.floor(high)


@njit(cache=True, fastmath=True, error_model="numpy")
def _weights(xs: Floats, ys: Floats, a: int, b: int, c: int, area: float, i: int, j: int
             ) -> tuple[float, float, float, float, float, float]:
    """Weights u, v of corners a, b at sample (i, j), and how they change by one column and by one row.

    In float64: along a row they are sums, and who covers a sample must not depend on the way to it.
    """
    ax, ay, bx, by = np.float64(xs[a]), np.float64(ys[a]), np.float64(xs[b]), np.float64(ys[b])
    cx, cy, scale = np.float64(xs[c]), np.float64(ys[c]), 1.0 / np.float64(area)
    return (((bx - i) * (cy - j) - (by - j) * (cx - i)) * scale,
            ((cx - i) * (ay - j) - (cy - j) * (ax - i)) * scale,
            (by - cy) * scale, (cy - ay) * scale, (cx - bx) * scale, (ax - cx) * scale)


@njit(cache=True, fastmath=True, error_model="numpy")
def _inverse(step: float) -> float:
    return 1.0 / step if step != 0 else FAR


@njit(cache=True, fastmath=True, error_model="numpy")
def _inside(u: float, v: float, du: float, dv: float, ru: float, rv: float, rw: float, last: int
            ) -> tuple[int, int]:
    """First and last step 0..last along a row at which u, v and 1 - u - v are >= 0, but for rounding:
    each sample is still to be asked. ru, rv, rw: 1 over the change of each by a step."""
    pu, pv, pw = -u * ru, -v * rv, (u + v - 1.0) * rw
    dw = -du - dv
    low = max(pu if du > 0 else -FAR, pv if dv > 0 else -FAR, pw if dw > 0 else -FAR) - SLACK
    high = min(pu if du < 0 else FAR, pv if dv < 0 else FAR, pw if dw < 0 else FAR) + SLACK
    if high < low:
        return 0, -1
    # Truncation instead of rounding up: one sample more at most, and cheaper.
    return int(max(low + 1.0, 0.0)), int(min(high, np.float64(last)))


@njit(cache=True, fastmath=True, error_model="numpy")
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
        # y runs downwards, so a triangle that faces the viewer has a negative area here.
        area = _area(xs, ys, a, b, c)
        if abs(area) < MIN_AREA or (cull[t] == 1 and area > 0):
            continue
        x0, x1 = _range(xs[a], xs[b], xs[c], width)
        y0, y1 = _range(ys[a], ys[b], ys[c], height)
        if x1 < x0 or y1 < y0 or inv[a] <= 0 or inv[b] <= 0 or inv[c] <= 0:
            continue
        wa, wb, wc = np.float64(inv[a]), np.float64(inv[b]), np.float64(inv[c])
        u0, v0, du, dv, eu, ev = _weights(xs, ys, a, b, c, area, x0, y0)
        ru, rv, rw = _inverse(du), _inverse(dv), _inverse(-du - dv)
        for j in range(y0, y1 + 1):
            u1, v1 = u0 + eu * (j - y0), v0 + ev * (j - y0)
            first, last = _inside(u1, v1, du, dv, ru, rv, rw, x1 - x0)
            for k in range(first, last + 1):
                u, v = u1 + du * k, v1 + dv * k
                w = 1.0 - u - v
                z = u * wa + v * wb + w * wc
                if min(u, v, w) >= 0 and z > depth[j, x0 + k]:
                    depth[j, x0 + k] = z
                    ids[j, x0 + k] = t
                    share = 1.0 / z
                    bary[j, x0 + k, 0] = u * wa * share
                    bary[j, x0 + k, 1] = v * wb * share


@njit(cache=True, fastmath=True, error_model="numpy")
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
        area = _area(xs, ys, a, b, c)
        x0, x1 = _range(xs[a], xs[b], xs[c], width)
        y0, y1 = _range(ys[a], ys[b], ys[c], height)
        if abs(area) < MIN_AREA or x1 < x0 or y1 < y0:
            continue
        za, zb, zc = np.float64(near[a]), np.float64(near[b]), np.float64(near[c])
        u0, v0, du, dv, eu, ev = _weights(xs, ys, a, b, c, area, x0, y0)
        ru, rv, rw = _inverse(du), _inverse(dv), _inverse(-du - dv)
        for j in range(y0, y1 + 1):
            u1, v1 = u0 + eu * (j - y0), v0 + ev * (j - y0)
            first, last = _inside(u1, v1, du, dv, ru, rv, rw, x1 - x0)
            for k in range(first, last + 1):
                u, v = u1 + du * k, v1 + dv * k
                w = 1.0 - u - v
                z = u * za + v * zb + w * zc
                if min(u, v, w) < 0 or z <= depth[j, x0 + k]:
                    continue
                if has_alpha[t] == 1:
                    tu = u * tri_uv[t, 0, 0] + v * tri_uv[t, 1, 0] + w * tri_uv[t, 2, 0]
                    tv = u * tri_uv[t, 0, 1] + v * tri_uv[t, 1, 1] + w * tri_uv[t, 2, 1]
                    col = min(max(int(tu * tw), 0), tw - 1)
                    row = min(max(int((1.0 - tv) * th), 0), th - 1)
                    if alpha[row, col] < 128:
                        continue
                depth[j, x0 + k] = z


@njit(cache=True, fastmath=True, error_model="numpy")
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


@njit(cache=True, fastmath=True, error_model="numpy")
def _bounds(xs: Floats, ys: Floats, tri: Ints, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the samples of a picture (H, W) that triangles may cover."""
    x0, y0, x1, y1 = shape[1], shape[0], 0, 0
    for t in range(tri.shape[0]):
        low, high = _range(xs[tri[t, 0]], xs[tri[t, 1]], xs[tri[t, 2]], shape[1])
        x0, x1 = min(x0, low), max(x1, high + 1)
        low, high = _range(ys[tri[t, 0]], ys[tri[t, 1]], ys[tri[t, 2]], shape[0])
        y0, y1 = min(y0, low), max(y1, high + 1)
    return x0, y0, x1, y1


@njit(cache=True, fastmath=True, error_model="numpy")
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
    left, top, right, bottom = _bounds(xs, ys, tri, (height, width))
    if right <= left or bottom <= top:
        return
    # From near to far: what lies behind full coverage, most of a head of hair, need not be drawn.
    front = np.zeros((bottom - top, right - left, 4), np.float32)
    passed = np.ones((bottom - top, right - left), np.float32)
    for k in range(order.shape[0] - 1, -1, -1):
        t = order[k]
        a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
        area = _area(xs, ys, a, b, c)
        x0, x1 = _range(xs[a], xs[b], xs[c], width)
        y0, y1 = _range(ys[a], ys[b], ys[c], height)
        if abs(area) < MIN_AREA or x1 < x0 or y1 < y0 or inv[a] <= 0 or inv[b] <= 0 or inv[c] <= 0:
            continue
        wa, wb, wc = np.float64(inv[a]), np.float64(inv[b]), np.float64(inv[c])
        u0, v0, du, dv, eu, ev = _weights(xs, ys, a, b, c, area, x0, y0)
        ru, rv, rw = _inverse(du), _inverse(dv), _inverse(-du - dv)
        for j in range(y0, y1 + 1):
            u1, v1 = u0 + eu * (j - y0), v0 + ev * (j - y0)
            first, last = _inside(u1, v1, du, dv, ru, rv, rw, x1 - x0)
            for i in range(x0 + first, x0 + last + 1):
                left_over = passed[j - top, i - left]
                if left_over <= LEAST_PASSED:
                    continue
                u, v = u1 + du * (i - x0), v1 + dv * (i - x0)
                w = 1.0 - u - v
                z = u * wa + v * wb + w * wc
                if min(u, v, w) < 0 or z * (1.0 + bias) < depth[j, i]:
                    continue
                share = 1.0 / z
                p, q = u * wa * share, v * wb * share
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
                part = alpha * left_over
                for ch in range(3):
                    tone = (texture[tj, ti, ch] * k00 + texture[tj, ti + 1, ch] * k10
                            + texture[tj + 1, ti, ch] * k01 + texture[tj + 1, ti + 1, ch] * k11)
                    lit = p * light[a, ch] + q * light[b, ch] + r * light[c, ch]
                    shine = p * sheen[a, ch] + q * sheen[b, ch] + r * sheen[c, ch]
                    value = tone * (lit + shine) + 0.25 * shine * tone
                    front[j - top, i - left, ch] += value * part
                front[j - top, i - left, 3] += part
                passed[j - top, i - left] = left_over * (1 - alpha)
    for j in range(top, bottom):
        for i in range(left, right):
            rest = passed[j - top, i - left]
            if rest < 1:
                for ch in range(4):
                    image[j, i, ch] = image[j, i, ch] * rest + front[j - top, i - left, ch]
                veil[j, i] = 1 - (1 - veil[j, i]) * rest


@njit(cache=True, fastmath=True, error_model="numpy")
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


@njit(cache=True, fastmath=True, error_model="numpy")
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


@njit(cache=True, fastmath=True, error_model="numpy")
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


@njit(cache=True, fastmath=True, error_model="numpy")
def gather_corners(values: Floats, tri: Ints, count: int) -> Floats:
    """Sum (count, 3) over the corners of triangles (T, 3) of a value (T, 3) per triangle."""
    out = np.zeros((count, 3), np.float32)
    for t in range(tri.shape[0]):
        for k in range(3):
            for c in range(3):
                out[tri[t, k], c] += values[t, c]
    return out


@njit(cache=True, fastmath=True, error_model="numpy")
def interpolate(ids: Ints, bary: Floats, tri: Ints, values: Floats, out: Floats) -> None:
    """out (H, W) = a value (V,) per point, interpolated over the triangles that samples show."""
    for j in range(ids.shape[0]):
        for i in range(ids.shape[1]):
            t = ids[j, i]
            if t >= 0:
                p, q = bary[j, i, 0], bary[j, i, 1]
                out[j, i] = (p * values[tri[t, 0]] + q * values[tri[t, 1]]
                             + (1 - p - q) * values[tri[t, 2]])


@njit(cache=True, error_model="numpy")
def project(points: Floats, position: Floats, focal: float, x0: float, y0: float
            ) -> tuple[Floats, Floats, Floats]:
    """x, y and 1/distance of points (P, 3) before a pinhole at `position` (3,) with its centre at x0,
    y0. Not reordered for speed: who covers a sample hangs on the last bit."""
    count = points.shape[0]
    f = np.float32
    xs, ys, inv = np.empty(count, f), np.empty(count, f), np.empty(count, f)
    focal, x0, y0 = f(focal), f(x0), f(y0)
    for k in range(count):
        w = f(1) / max(-(points[k, 2] - position[2]), f(0.05))
        xs[k] = x0 + focal * (points[k, 0] - position[0]) * w
        ys[k] = y0 - focal * (points[k, 1] - position[1]) * w
        inv[k] = w
    return xs, ys, inv


@njit(cache=True, error_model="numpy")
def affine(points: Floats, xf: Floats) -> tuple[Floats, Floats, Floats]:
    """x, y, z (P,) of points (P, 3) moved by an affine map (3, 4)."""
    count = points.shape[0]
    xs, ys, zs = np.empty(count, np.float32), np.empty(count, np.float32), np.empty(count, np.float32)
    for k in range(count):
        x, y, z = points[k, 0], points[k, 1], points[k, 2]
        xs[k] = x * xf[0, 0] + y * xf[0, 1] + z * xf[0, 2] + xf[0, 3]
        ys[k] = x * xf[1, 0] + y * xf[1, 1] + z * xf[1, 2] + xf[1, 3]
        zs[k] = x * xf[2, 0] + y * xf[2, 1] + z * xf[2, 2] + xf[2, 3]
    return xs, ys, zs


@njit(cache=True, error_model="numpy")
def bound_points(base: Floats, corners: Ints, weights: Floats, offsets: Floats, scale: Floats) -> Floats:
    """Points (P, 3): of base (V, 3) at corners (P, 3) by weights (P, 3), and offsets (P, 3) times scale (3,)."""
    out = np.empty((corners.shape[0], 3), np.float32)
    for k in range(corners.shape[0]):
        a, b, c = corners[k, 0], corners[k, 1], corners[k, 2]
        for x in range(3):
            out[k, x] = (weights[k, 0] * base[a, x] + weights[k, 1] * base[b, x]
                         + weights[k, 2] * base[c, x]) + offsets[k, x] * scale[x]
    return out


@njit(cache=True, error_model="numpy")
def bulged(points: Floats, normals: Floats, ends: Ints, share: float) -> Floats:
    """Points (P + M, 3): the given ones (P, 3), then the middle of each pair `ends` (M, 2), moved by `share` from the chord to the
    tangent planes of its ends."""
    f = np.float32
    count = points.shape[0]
    out = np.empty((count + ends.shape[0], 3), f)
    out[:count] = points
    for k in range(ends.shape[0]):
        a, b = ends[k, 0], ends[k, 1]
        to_a, to_b = f(0), f(0)
        for c in range(3):
            chord = (points[a, c] + points[b, c]) / f(2)
            to_a += (chord - points[a, c]) * normals[a, c]
            to_b += (chord - points[b, c]) * normals[b, c]
        for c in range(3):
            chord = (points[a, c] + points[b, c]) / f(2)
            on_planes = ((chord - normals[a, c] * to_a) + (chord - normals[b, c] * to_b)) / f(2)
            out[count + k, c] = chord + f(share) * (on_planes - chord)
    return out
