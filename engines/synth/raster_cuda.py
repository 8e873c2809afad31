"""The rasteriser on an NVIDIA GPU (numba.cuda): the functions of `raster`, same arguments, same results.

    raster = raster_cuda.choose("cuda")     # or "cpu": the module `raster` itself

Opaque triangles race for samples by an atomic maximum over (depth, triangle) packed into 64 bits; transparent ones are binned to tiles of 16 x 16
samples in their order, and each sample blends its tile's list (as in tile renderers; Laine & Karras, HPG 2011, bin the same way). Arrays are
NumPy's, copied to the GPU and back by each call; device arrays (numba.cuda.to_device) are taken as they are and stay there, so a chain of calls
pays no copies. Functions of points alone, which cost little, are the CPU's.

Convention: as in `raster`. Two triangles whose depths differ by less than 2^-31 of the nearest count as equally far: the first one wins.
"""

# pyright: reportUntypedFunctionDecorator=false
from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
from numba import cuda

from engines.synth import raster
from engines.synth.raster import MIN_AREA, affine, blend_rigid, bound_points, bulged, gather_corners, project, surface_gradients, vertex_normals

THREADS = 128
TILE = 16
"""Side of a tile in samples; a block of TILE x TILE threads blends one."""
DEPTH_STEPS = 2147483647.0
"""Depth in steps of the nearest vertex's, in the upper bits of a key..."""
INDEX_STEPS = 16777216
"""... over the triangle's number in the lower 24, counted down, so that the first one wins among equals."""
NAMES = ("cpu", "cuda")


class RasterError(RuntimeError):
    """There is no such rasteriser, or no GPU for it; the message tells the way out."""


def choose(name: str) -> ModuleType:
    """The rasteriser "cpu" or "cuda" as a module of the same functions. Raises RasterError."""
    if name not in NAMES:
        raise RasterError(f"rasteriser {name!r} is unknown; choose one of: {', '.join(NAMES)}")
    if name == "cpu":
        return raster
    if not cuda.is_available():
        raise RasterError("expected an NVIDIA GPU with its driver for the rasteriser cuda, found none; use cpu")
    import sys

    return sys.modules[__name__]


def _blocks(count: int) -> int:
    return max(1, (count + THREADS - 1) // THREADS)


def _up(array: Any) -> Any:
    """The array on the GPU; one that is there already as it is."""
    return array if hasattr(array, "copy_to_host") else cuda.to_device(np.ascontiguousarray(array))


def _down(device: Any, array: Any) -> None:
    """Bring a result back into the caller's NumPy array; one of the GPU's already holds it."""
    if device is not array:
        device.copy_to_host(array)


@cuda.jit(device=True)
def _box(lowest: float, highest: float, size: int) -> tuple[int, int]:  # pragma: no cover - runs on the GPU
    return max(0, math.ceil(lowest)), min(size - 1, math.floor(highest))


@cuda.jit
def _race(xs, ys, inv, tri, cull, scale, keys):  # type: ignore[no-untyped-def]
    """Each thread one triangle: the packed depth of every sample that it covers."""
    t = cuda.grid(1)
    if t >= tri.shape[0]:
        return
    a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
    wa, wb, wc = inv[a], inv[b], inv[c]
    if wa <= 0 or wb <= 0 or wc <= 0:
        return
    ax, ay, bx, by, cx, cy = xs[a], ys[a], xs[b], ys[b], xs[c], ys[c]
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    if abs(area) < MIN_AREA or (cull[t] == 1 and area > 0):
        return
    height, width = keys.shape
    x0, x1 = _box(min(ax, bx, cx), max(ax, bx, cx), width)
    y0, y1 = _box(min(ay, by, cy), max(ay, by, cy), height)
    for j in range(y0, y1 + 1):
        for i in range(x0, x1 + 1):
            u = ((bx - i) * (cy - j) - (by - j) * (cx - i)) / area
            v = ((cx - i) * (ay - j) - (cy - j) * (ax - i)) / area
            w = 1.0 - u - v
            if u >= 0 and v >= 0 and w >= 0:
                step = int(min((u * wa + v * wb + w * wc) * scale, DEPTH_STEPS))
                cuda.atomic.max(keys, (j, i), step * INDEX_STEPS + (INDEX_STEPS - 1 - t))


@cuda.jit
def _resolve(xs, ys, inv, tri, keys, depth, ids, bary):  # type: ignore[no-untyped-def]
    """Each thread one sample: the winner's depth and weights, where it is nearer than what was there."""
    i, j = cuda.grid(2)
    if j >= keys.shape[0] or i >= keys.shape[1] or keys[j, i] < 0:
        return
    t = INDEX_STEPS - 1 - int(keys[j, i] % INDEX_STEPS)
    a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
    ax, ay, bx, by, cx, cy = xs[a], ys[a], xs[b], ys[b], xs[c], ys[c]
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    u = ((bx - i) * (cy - j) - (by - j) * (cx - i)) / area
    v = ((cx - i) * (ay - j) - (cy - j) * (ax - i)) / area
    z = u * inv[a] + v * inv[b] + (1.0 - u - v) * inv[c]
    if z > depth[j, i]:
        depth[j, i] = z
        ids[j, i] = t
        bary[j, i, 0] = u * inv[a] / z
        bary[j, i, 1] = v * inv[b] / z


def raster_ids(xs: Any, ys: Any, inv: Any, tri: Any, cull: Any, depth: Any, ids: Any, bary: Any) -> None:
    """As `raster.raster_ids`: opaque triangles into depth (H, W), ids (H, W), bary (H, W, 2), in place. Raises RasterError (too many)."""
    if tri.shape[0] >= INDEX_STEPS:
        raise RasterError(f"expected fewer than {INDEX_STEPS} triangles, found {tri.shape[0]}; draw them in parts")
    if not tri.shape[0]:
        return
    nearest = float(np.max(inv.copy_to_host() if hasattr(inv, "copy_to_host") else inv))
    points = [_up(v) for v in (xs, ys, inv, tri)]
    keys = cuda.to_device(np.full(depth.shape, -1, np.int64))
    _race[_blocks(tri.shape[0]), THREADS](*points, _up(cull), DEPTH_STEPS / max(nearest, 1e-12), keys)
    results = [_up(v) for v in (depth, ids, bary)]
    _resolve[_tiles(depth.shape), (TILE, TILE)](*points, keys, *results)
    for device, array in zip(results, (depth, ids, bary), strict=True):
        _down(device, array)


def _tiles(shape: tuple[int, ...]) -> tuple[int, int]:
    return (shape[1] + TILE - 1) // TILE, (shape[0] + TILE - 1) // TILE


@cuda.jit
def _depths(xs, ys, near, tri, tri_uv, alpha, has_alpha, depth):  # type: ignore[no-untyped-def]
    t = cuda.grid(1)
    if t >= tri.shape[0]:
        return
    a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
    ax, ay, bx, by, cx, cy = xs[a], ys[a], xs[b], ys[b], xs[c], ys[c]
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    if abs(area) < MIN_AREA:
        return
    height, width = depth.shape
    th, tw = alpha.shape
    x0, x1 = _box(min(ax, bx, cx), max(ax, bx, cx), width)
    y0, y1 = _box(min(ay, by, cy), max(ay, by, cy), height)
    for j in range(y0, y1 + 1):
        for i in range(x0, x1 + 1):
            u = ((bx - i) * (cy - j) - (by - j) * (cx - i)) / area
            v = ((cx - i) * (ay - j) - (cy - j) * (ax - i)) / area
            w = 1.0 - u - v
            if u < 0 or v < 0 or w < 0:
                continue
            if has_alpha[t] == 1:
                tu = u * tri_uv[t, 0, 0] + v * tri_uv[t, 1, 0] + w * tri_uv[t, 2, 0]
                tv = u * tri_uv[t, 0, 1] + v * tri_uv[t, 1, 1] + w * tri_uv[t, 2, 1]
                col = min(max(int(tu * tw), 0), tw - 1)
                row = min(max(int((1.0 - tv) * th), 0), th - 1)
                if alpha[row, col] < 128:
                    continue
            cuda.atomic.max(depth, (j, i), u * near[a] + v * near[b] + w * near[c])


def raster_depth(xs: Any, ys: Any, near: Any, tri: Any, tri_uv: Any, alpha: Any, has_alpha: Any, depth: Any) -> None:
    """As `raster.raster_depth`: depth (H, W) only, for an orthographic light, in place."""
    if not tri.shape[0]:
        return
    result = _up(depth)
    _depths[_blocks(tri.shape[0]), THREADS](*(_up(v) for v in (xs, ys, near, tri, tri_uv, alpha, has_alpha)), result)
    _down(result, depth)


@cuda.jit
def _bin(order, xs, ys, inv, tri, width, height, fill, starts, counts, lists):  # type: ignore[no-untyped-def]
    """Each thread one tile: its triangles in their order; first (fill 0) only counted."""
    tile = cuda.grid(1)
    if tile >= counts.shape[0]:
        return
    across = (width + TILE - 1) // TILE
    x0, y0 = (tile % across) * TILE, (tile // across) * TILE
    count = 0
    for k in range(order.shape[0]):
        t = order[k]
        a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
        if inv[a] <= 0 or inv[b] <= 0 or inv[c] <= 0:
            continue
        if max(xs[a], xs[b], xs[c]) < x0 or min(xs[a], xs[b], xs[c]) > x0 + TILE - 1:
            continue
        if max(ys[a], ys[b], ys[c]) < y0 or min(ys[a], ys[b], ys[c]) > y0 + TILE - 1:
            continue
        if fill == 1:
            lists[starts[tile] + count] = t
        count += 1
    counts[tile] = count


@cuda.jit
def _blend(xs, ys, inv, tri, tri_uv, light, sheen, cover, texture, gain, bias, starts, counts, lists, depth, image, veil):  # type: ignore[no-untyped-def]
    i, j = cuda.grid(2)
    height, width = depth.shape
    if j >= height or i >= width:
        return
    tile = (j // TILE) * ((width + TILE - 1) // TILE) + i // TILE
    th, tw = texture.shape[0], texture.shape[1]
    for k in range(counts[tile]):
        t = lists[starts[tile] + k]
        a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
        ax, ay, bx, by, cx, cy = xs[a], ys[a], xs[b], ys[b], xs[c], ys[c]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < MIN_AREA:
            continue
        u = ((bx - i) * (cy - j) - (by - j) * (cx - i)) / area
        v = ((cx - i) * (ay - j) - (cy - j) * (ax - i)) / area
        w = 1.0 - u - v
        if u < 0 or v < 0 or w < 0:
            continue
        z = u * inv[a] + v * inv[b] + w * inv[c]
        if z * (1.0 + bias) < depth[j, i]:
            continue
        p, q = u * inv[a] / z, v * inv[b] / z
        r = 1.0 - p - q
        x = (p * tri_uv[t, 0, 0] + q * tri_uv[t, 1, 0] + r * tri_uv[t, 2, 0]) * tw - 0.5
        y = (1.0 - (p * tri_uv[t, 0, 1] + q * tri_uv[t, 1, 1] + r * tri_uv[t, 2, 1])) * th - 0.5
        x, y = min(max(x, 0.0), tw - 1.001), min(max(y, 0.0), th - 1.001)
        ti, tj = int(x), int(y)
        fx, fy = x - ti, y - tj
        k00, k10, k01, k11 = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
        alpha = gain * (texture[tj, ti, 3] * k00 + texture[tj, ti + 1, 3] * k10 + texture[tj + 1, ti, 3] * k01 + texture[tj + 1, ti + 1, 3] * k11)
        keep = p * cover[a] + q * cover[b] + r * cover[c]
        if keep < 0.999:
            alpha *= min(max((texture[tj, ti, 4] - 1.0) / 0.7 + keep * 2.43, 0.0), 1.0)
        alpha = min(alpha, 1.0)
        if alpha < 0.004:
            continue
        for ch in range(3):
            tone = texture[tj, ti, ch] * k00 + texture[tj, ti + 1, ch] * k10 + texture[tj + 1, ti, ch] * k01 + texture[tj + 1, ti + 1, ch] * k11
            lit = p * light[a, ch] + q * light[b, ch] + r * light[c, ch]
            shine = p * sheen[a, ch] + q * sheen[b, ch] + r * sheen[c, ch]
            image[j, i, ch] = image[j, i, ch] * (1 - alpha) + (tone * (lit + shine) + 0.25 * shine * tone) * alpha
        image[j, i, 3] = image[j, i, 3] * (1 - alpha) + alpha
        veil[j, i] = veil[j, i] * (1 - alpha) + alpha


def blend_sorted(order: Any, xs: Any, ys: Any, inv: Any, tri: Any, tri_uv: Any, light: Any, sheen: Any, cover: Any, texture: Any, gain: float,
                 bias: float, depth: Any, image: Any, veil: Any) -> None:
    """As `raster.blend_sorted`: transparent triangles, far to near by `order`, over premultiplied image (H, W, 4) and veil
    (H, W), in place."""
    if not order.shape[0]:
        return
    height, width = depth.shape
    across, down = _tiles(depth.shape)
    points = [_up(v) for v in (xs, ys, inv, tri)]
    line, counts = _up(order), cuda.to_device(np.zeros(across * down, np.int32))
    nothing = cuda.to_device(np.zeros(1, np.int32))
    _bin[_blocks(across * down), THREADS](line, *points, width, height, 0, nothing, counts, nothing)
    ends = np.cumsum(counts.copy_to_host(), dtype=np.int64)
    starts = cuda.to_device(np.concatenate([[0], ends[:-1]]).astype(np.int64))
    lists = cuda.to_device(np.zeros(max(int(ends[-1]), 1), np.int32))
    _bin[_blocks(across * down), THREADS](line, *points, width, height, 1, starts, counts, lists)
    results = [_up(image), _up(veil)]
    parts = [_up(v) for v in (tri_uv, light, sheen, cover, texture)]
    _blend[(across, down), (TILE, TILE)](*points, *parts, gain, bias, starts, counts, lists, _up(depth), *results)
    for device, array in zip(results, (image, veil), strict=True):
        _down(device, array)


@cuda.jit
def _interpolate(ids, bary, tri, values, out):  # type: ignore[no-untyped-def]
    i, j = cuda.grid(2)
    if j < ids.shape[0] and i < ids.shape[1] and ids[j, i] >= 0:
        t = ids[j, i]
        p, q = bary[j, i, 0], bary[j, i, 1]
        out[j, i] = p * values[tri[t, 0]] + q * values[tri[t, 1]] + (1 - p - q) * values[tri[t, 2]]


def interpolate(ids: Any, bary: Any, tri: Any, values: Any, out: Any) -> None:
    """As `raster.interpolate`: out (H, W) = a value (V,) per point over the triangles that samples show, in place."""
    result = _up(out)
    _interpolate[_tiles(ids.shape), (TILE, TILE)](_up(ids), _up(bary), _up(tri), _up(values), result)
    _down(result, out)


__all__ = ["RasterError", "affine", "blend_rigid", "blend_sorted", "bound_points", "bulged", "choose", "gather_corners", "interpolate",
           "project", "raster_depth", "raster_ids", "surface_gradients", "vertex_normals"]
