"""Kernels of the mesh swapper: textured triangles, eyeballs and the inside of the mouth, drawn into a crop in place.

Convention:
    Crop points are (x, y, z), z smaller is nearer. Textures are "lanes": (H, W) uint64 holding B, G, R, alpha in 16 bits each, so that one bilinear
    sample of all four is a few integer operations. Texture points are (x, y) with integer pixel centres.
All kernels release the GIL and are kept on disk after their first compilation (`mesh.warm_up`); their array types never vary.
"""

from __future__ import annotations

import math

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from livecam.types import U8

U64 = NDArray[np.uint64]

BEHIND = 1.0e4
"""Added to the depth of triangles that face away: they fill what nothing else covers, and hide nothing."""
_BLUE, _GREEN, _RED = np.float32(0.114), np.float32(0.587), np.float32(0.299)
_EDGE, _EDGE_FAR = np.float32(-1e-4), np.float32(1.0001)
LASH_WIDTH = 0.035
"""Of the dark line along the upper lid, as share of the eye's width."""
CAVITY = (34.0, 30.0, 62.0)
"""B, G, R of an open mouth where neither teeth nor tongue are; with half of it, and dark up to a quarter of the width, corners were black holes."""
CORNER = 0.15
"""Width of the mouth's corners, which are darker, as share of its own."""
WIDE = 16
"""Numbers per vertex: 15 and one of padding, a whole vector register."""
_LANES = np.uint64(0x00FF00FF00FF00FF)
_HALF = np.uint64(0x0080008000800080)


def to_lanes(picture: U8) -> U64:
    """Lanes of a (H, W, 4) uint8 picture."""
    # Each byte widened to two, lowest first: four of them are one number.
    return np.ascontiguousarray(picture).astype("<u2").view("<u8")[..., 0].astype(np.uint64, copy=False)


def shrink(picture: U8, factor: float) -> U8:
    """(H, W, 4) made smaller by `factor`; alpha-weighted, so that hidden colours do not bleed in."""
    if factor <= 1.0:
        return picture
    size = (max(2, round(picture.shape[1] / factor)), max(2, round(picture.shape[0] / factor)))
    alpha = picture[..., 3:].astype(np.float32) + 0.5
    colour = cv2.resize(picture[..., :3].astype(np.float32) * alpha, size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
    out = np.concatenate([colour / small[..., None], small[..., None] - 0.5], axis=-1)
    return np.rint(np.clip(out, 0, 255)).astype(np.uint8)


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _sample(lanes, x, y):  # type: ignore[no-untyped-def]
    """Bilinear sample at (x, y), clamped to the picture: lanes of 8 significant bits."""
    height, width = lanes.shape
    x = min(max(x, 0.0), width - 1.001)
    y = min(max(y, 0.0), height - 1.001)
    column, row = np.int32(x), np.int32(y)
    fx, fy = np.uint64(np.int32((x - column) * 256.0)), np.uint64(np.int32((y - row) * 256.0))
    i, j, one = np.uint64(column), np.uint64(row), np.uint64(1)  # unsigned places: signed ones are asked whether they count from the end
    w11 = (fx * fy + np.uint64(128)) >> np.uint64(8)
    total = (
        lanes[j, i] * (np.uint64(256) - fx - fy + w11)
        + lanes[j, i + one] * (fx - w11)
        + lanes[j + one, i] * (fy - w11)
        + lanes[j + one, i + one] * w11
        + _HALF
    )
    return (total >> np.uint64(8)) & _LANES


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _lane(sample, k):  # type: ignore[no-untyped-def]
    return np.float32((sample >> np.uint64(16 * k)) & np.uint64(255))


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _to_byte(value):  # type: ignore[no-untyped-def]
    """Rounded, with a shoulder above 225 so that a lit highlight keeps its shape."""
    if value > 225.0:
        value = 225.0 + (value - 225.0) * 0.6
    return np.uint8(min(max(value + 0.5, 0.0), 255.0))


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _mix(under, over, share):  # type: ignore[no-untyped-def]
    """Lanes of under + (over - under) * share, share 0..1."""
    w = np.uint64(min(max(share, 0.0), 1.0) * 256.0)
    return ((over * w + under * (np.uint64(256) - w) + _HALF) >> np.uint64(8)) & _LANES


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _shade(out, y, x, sample, here):  # type: ignore[no-untyped-def]
    """One pixel of the face: the portrait's own difference from plain skin, on the skin's colour in this light. here: (WIDE,), see draw_triangles."""
    blue, green, red = _lane(sample, 0), _lane(sample, 1), _lane(sample, 2)
    ratio = (_BLUE * blue + _GREEN * green + _RED * red) / (_BLUE * here[5] + _GREEN * here[6] + _RED * here[7])
    lit = np.float32(1.0) + (ratio - np.float32(1.0)) * (here[11] if ratio > 1.0 else here[13])
    hue = here[12] / max(ratio, np.float32(1.0))
    luma = (_BLUE * here[8] + _GREEN * here[9] + _RED * here[10]) * lit
    if luma > here[14]:
        lit, hue = lit * here[14] / luma, hue * here[14] / luma
    out[y, x, 0] = _to_byte(here[8] * lit + (blue - here[5] * ratio) * hue)
    out[y, x, 1] = _to_byte(here[9] * lit + (green - here[6] * ratio) * hue)
    out[y, x, 2] = _to_byte(here[10] * lit + (red - here[7] * ratio) * hue)


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def draw_triangles(out, mask, depth, points, triangles, open_lanes, shut_lanes, vertex, upright):  # type: ignore[no-untyped-def]
    """Draw `triangles` ((T, 3) int32) nearest first by `depth` ((S, S) float32, in and out) into out ((S, S, 3) uint8) and mask ((S, S) uint8).

    points: (N, 3) float32 in the crop. vertex: (N, WIDE) float32: x, y on open_lanes; x, y on shut_lanes; share of shut_lanes; B, G, R of the
    persona's plain skin here; B, G, R that this skin is to have; share of what is brighter than the skin; share of what is of another hue; share of
    what is darker; greatest brightness; padding. (Highlights are light, not skin, and a hue's difference times a large gain would be garish:
    neither takes the skin's whole gain.)
    upright: sign of the area of triangles that face the camera.
    """
    height, width = mask.shape
    here, row, step_x, step_y = np.empty(WIDE, np.float32), np.empty(WIDE, np.float32), np.empty(WIDE, np.float32), np.empty(WIDE, np.float32)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by, cx, cy = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        x0, x1 = max(math.ceil(min(ax, bx, cx)), 0), min(math.floor(max(ax, bx, cx)), width - 1)
        y0, y1 = max(math.ceil(min(ay, by, cy)), 0), min(math.floor(max(ay, by, cy)), height - 1)
        if abs(area) < 1e-3 or x0 > x1 or y0 > y1:
            continue
        away = np.float32(BEHIND if area * upright < 0 else 0.0)
        scale = np.float32(1.0) / area
        bx_, by_, cx_, cy_ = (cy - ay) * scale, (ax - cx) * scale, (ay - by) * scale, (bx - ax) * scale
        for k in range(WIDE):
            to_b, to_c = vertex[b, k] - vertex[a, k], vertex[c, k] - vertex[a, k]
            step_x[k] = to_b * bx_ + to_c * cx_
            step_y[k] = to_b * by_ + to_c * cy_
        zx = (points[b, 2] - points[a, 2]) * bx_ + (points[c, 2] - points[a, 2]) * cx_
        zy = (points[b, 2] - points[a, 2]) * by_ + (points[c, 2] - points[a, 2]) * cy_
        mixed = vertex[a, 4] + vertex[b, 4] + vertex[c, 4] > 0.0
        for y in range(y0, y1 + 1):
            dy = np.float32(y - ay)
            for k in range(WIDE):
                row[k] = vertex[a, k] + step_y[k] * dy
            for x in range(x0, x1 + 1):
                dx = np.float32(x - ax)
                wb, wc = bx_ * dx + by_ * dy, cx_ * dx + cy_ * dy
                z = points[a, 2] + zx * dx + zy * dy + away
                if wb < _EDGE or wc < _EDGE or wb + wc > _EDGE_FAR or z >= depth[y, x]:
                    continue
                depth[y, x] = z
                for k in range(WIDE):
                    here[k] = row[k] + step_x[k] * dx
                sample = _sample(open_lanes, here[0], here[1])
                mask[y, x] = np.uint8(sample >> np.uint64(48))
                if mixed:
                    sample = _mix(sample, _sample(shut_lanes, here[2], here[3]), here[4])
                _shade(out, y, x, sample, here)


@numba.njit(nogil=True, cache=True)
def curves_of(mesh, upper, lower, frame, curves):  # type: ignore[no-untyped-def]
    """Frame (5,) and curves (2, P) of the opening between two lines of `mesh` ((N, 3) float32), written; False when it is seen so much from
    the side that nothing shows. upper, lower: (K,) intp from corner to corner. A curve's heights are those of the line over the frame's axis at P
    even steps; where the line runs back, it stands still."""
    a, b = mesh[upper[0]], mesh[upper[-1]]
    along_x, along_y = b[0] - a[0], b[1] - a[1]
    length = math.sqrt(along_x * along_x + along_y * along_y)
    deep = b[2] - a[2]
    if length < 2.0 or length < 0.3 * math.sqrt(length * length + deep * deep) or along_x < 0.2 * length:
        return False
    frame[0], frame[1], frame[2], frame[3], frame[4] = a[0], a[1], along_x / length, along_y / length, length
    count, last = curves.shape[1], len(upper) - 1
    u, v = np.empty(last + 1, np.float64), np.empty(last + 1, np.float64)
    for side in range(2):
        index = upper if side == 0 else lower
        for i in range(last + 1):
            x, y = mesh[index[i], 0] - frame[0], mesh[index[i], 1] - frame[1]
            u[i] = (x * frame[2] + y * frame[3]) / frame[4]
            v[i] = y * frame[2] - x * frame[3]
            if i and u[i] < u[i - 1]:
                u[i] = u[i - 1]
        i = 0
        for n in range(count):
            at = n / (count - 1)
            while i < last and u[i + 1] <= at:
                i += 1
            if at <= u[0] and i == 0:
                curves[side, n] = v[0]
            elif i == last:
                curves[side, n] = v[last]
            else:
                curves[side, n] = v[i] + (v[i + 1] - v[i]) * (at - u[i]) / (u[i + 1] - u[i])
    return True


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _opening(frame, curves, x, y):  # type: ignore[no-untyped-def]
    """Where a crop point lies in an opening: share along it 0..1, and pixels below its upper and above its lower line (negative: outside).

    frame: (5,) float32 origin x, y (one corner), unit vector to the other corner, distance. curves: (2, n) float32 heights of upper and lower line.
    """
    dx, dy = x - frame[0], y - frame[1]
    u = (dx * frame[2] + dy * frame[3]) / frame[4]
    v = dy * frame[2] - dx * frame[3]
    last = curves.shape[1] - 1
    place = min(max(u, 0.0), 0.9999) * last
    i = int(place)
    f = place - i
    upper = curves[0, i] + (curves[0, i + 1] - curves[0, i]) * f
    lower = curves[1, i] + (curves[1, i + 1] - curves[1, i]) * f
    return u, v - upper, lower - v


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _height(curves):  # type: ignore[no-untyped-def]
    """Of an opening, at its widest. By hand, as in `_bounds`: NumPy's reductions take a second to compile."""
    most = curves[1, 0] - curves[0, 0]
    for i in range(1, curves.shape[1]):
        most = max(most, curves[1, i] - curves[0, i])
    return most


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _bounds(frame, curves, reach, width, height):  # type: ignore[no-untyped-def]
    """Pixels x0, x1, y0, y1 (inclusive) around an opening."""
    low, high = curves[0, 0], curves[1, 0]
    for i in range(1, curves.shape[1]):
        low, high = min(low, curves[0, i]), max(high, curves[1, i])
    low, high = low - reach, high + reach
    x0, x1, y0, y1 = 1e9, -1e9, 1e9, -1e9
    for u in (-reach, frame[4] + reach):
        for v in (low, high):
            x, y = frame[0] + frame[2] * u - frame[3] * v, frame[1] + frame[3] * u + frame[2] * v
            x0, x1, y0, y1 = min(x0, x), max(x1, x), min(y0, y), max(y1, y)
    return max(int(x0), 0), min(int(x1) + 1, width - 1), max(int(y0), 0), min(int(y1) + 1, height - 1)


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def draw_eye(out, depth, frame, curves, ball, turn, lanes, picture, look):  # type: ignore[no-untyped-def]
    """Draw an eyeball between its lids and the lashes' line along the upper one, where nothing nearer (the nose of a turned head) was drawn before.

    depth: (S, S) float32 of draw_triangles; look[9], look[10]: depth at the frame's two corners, with what may pass for noise added.
    ball: (3,) float32 centre x, y and radius in the crop. turn: (3, 3) float32 takes a direction seen in the crop to one on the picture.
    lanes: the eyeball's picture; picture: (3,) float32 its centre x, y and the ball's radius on it.
    look: (11,) float32 gain of B, G, R; lid softness px; lash darkness 0..1; lid shadow 0..1; highlight x, y (share of the radius), strength; depths.
    """
    height, width = out.shape[:2]
    soft = max(look[3], np.float32(0.35))
    tall = max(_height(curves), np.float32(1e-3))
    rim = LASH_WIDTH * frame[4]
    x0, x1, y0, y1 = _bounds(frame, curves, 2.0 * max(soft, rim), width, height)
    for y in range(y0, y1 + 1):
        for x in range(x0, x1 + 1):
            u, top, bottom = _opening(frame, curves, x, y)
            ends = min(u, 1.0 - u) * frame[4]
            if ends <= 0.0 or depth[y, x] < look[9] + (look[10] - look[9]) * u:
                continue
            lash = 1.0 - look[4] * math.exp(-(top * top) / (rim * rim)) * min(1.0, ends / (4.0 * rim))
            cover = min(min(top, bottom) / soft + 0.5, ends / soft + 0.5, 1.0) * min(tall / soft, 1.0)
            if cover <= 0.0:
                if lash < 0.99:
                    for k in range(3):
                        out[y, x, k] = np.uint8(out[y, x, k] * lash)
                continue
            qx, qy = (x - ball[0]) / ball[2], (y - ball[1]) / ball[2]
            flat = qx * qx + qy * qy
            if flat > 0.98:
                shorten = math.sqrt(0.98 / flat)
                qx, qy, flat = qx * shorten, qy * shorten, 0.98
            qz = -math.sqrt(1.0 - flat)
            nx = turn[0, 0] * qx + turn[0, 1] * qy + turn[0, 2] * qz
            ny = turn[1, 0] * qx + turn[1, 1] * qy + turn[1, 2] * qz
            sample = _sample(lanes, picture[0] + picture[2] * nx, picture[1] + picture[2] * ny)
            shade = 1.0 - look[5] * math.exp(-max(top, 0.0) / (0.28 * tall)) - 0.25 * look[5] * math.exp(-max(bottom, 0.0) / (0.2 * tall))
            corner = max(0.0, 1.0 - ends / (0.22 * frame[4]))
            shade *= 1.0 - 0.35 * corner * corner
            hx, hy = qx - look[6], qy - look[7]
            spot = 255.0 * look[8] * math.exp(-(hx * hx + hy * hy) / 0.0045) * min(1.0, max(top, 0.0) / (0.15 * tall))
            for k in range(3):
                tint = shade * (1.0 - 0.12 * corner * (2 - k))
                value = (_lane(sample, k) * look[k] * tint + spot) * lash
                under = np.float32(out[y, x, k]) * lash
                out[y, x, k] = _to_byte(under + (value - under) * cover)


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def draw_mouth(out, frame, curves, lanes, maps, sizes, look):  # type: ignore[no-untyped-def]
    """Draw the line between closed lips and the inside of an open mouth: a dark cavity, and sprites over it, in order.

    lanes: (K, H, W) uint64 sprites, padded. maps: (K, 2, 3) float32 crop -> sprite. sizes: (K, 2) float32 width, height.
    look: (6,) float32 gain of B, G, R; lip softness px; brightness at the lips' edge and deep inside, 0..1.
    """
    height, width = out.shape[:2]
    soft = max(look[3], np.float32(0.35))
    rim = 0.014 * frame[4]
    x0, x1, y0, y1 = _bounds(frame, curves, 2.0 * max(soft, rim), width, height)
    for y in range(y0, y1 + 1):
        for x in range(x0, x1 + 1):
            u, top, bottom = _opening(frame, curves, x, y)
            ends = min(u, 1.0 - u) * frame[4]
            if ends <= 0.0:
                continue
            away = max(-top, -bottom, 0.0) / rim
            dark = 1.0 - 0.5 * math.exp(-away * away) * min(1.0, ends / (4.0 * rim))
            cover = min(max(min(top, bottom) / soft + 0.5, 0.0), 1.0) * min(max((bottom + top) / 0.8 - 1.0, 0.0), 1.0)
            if cover <= 0.0:
                if dark < 0.99:
                    for k in range(3):
                        out[y, x, k] = np.uint8(out[y, x, k] * dark)
                continue
            blue, green, red = CAVITY
            for n in range(maps.shape[0]):
                sx = maps[n, 0, 0] * x + maps[n, 0, 1] * y + maps[n, 0, 2]
                sy = maps[n, 1, 0] * x + maps[n, 1, 1] * y + maps[n, 1, 2]
                if sx <= 0.0 or sy <= 0.0 or sx >= sizes[n, 0] - 1.0 or sy >= sizes[n, 1] - 1.0:
                    continue
                sample = _sample(lanes[n], sx, sy)
                share = _lane(sample, 3) / 255.0
                blue += (_lane(sample, 0) - blue) * share
                green += (_lane(sample, 1) - green) * share
                red += (_lane(sample, 2) - red) * share
            near = 1.0 - math.exp(-max(top, 0.0) / (0.05 * frame[4])) * 0.55
            side = min(1.0, ends / (CORNER * frame[4]))
            shade = near * (look[4] + (look[5] - look[4]) * side)
            for k in range(3):
                value = (blue if k == 0 else green if k == 1 else red) * look[k] * shade
                under = np.float32(out[y, x, k]) * dark
                out[y, x, k] = _to_byte(under + (value - under) * cover)
