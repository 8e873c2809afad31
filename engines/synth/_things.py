"""Objects that are drawn before a face by distance functions: what `occluders` places, hands apart.

Each drawer returns a straight linear RGB picture (H, W, 3) and its alpha (H, W), float32; those that a hand may hold also a grip,
(2,) pixels. Convention: an object's own coordinates are millimetres, x to its right, y down.
"""

# pyright: reportUntypedFunctionDecorator=false
from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from engines.synth.assets import Floats
from engines.synth.light import Light
from engines.synth.skin import to_linear

if TYPE_CHECKING:
    from engines.synth.occluders import Spot

Rng = np.random.Generator
HAIR_SRGB = ((24, 19, 17), (52, 35, 26), (88, 60, 40), (150, 112, 70), (196, 160, 110), (120, 56, 30), (150, 150, 150))
MASK_SRGB = ((150, 190, 214), (226, 230, 232), (34, 35, 38), (214, 172, 182), (120, 150, 130))
MASK_OUTLINE = ((0, 24, 6), (-14, 30, 2), (-34, 40, -14), (-56, 50, -44), (-66, 56, -66), (-60, 90, -58), (-46, 112, -40),
                (-24, 126, -16), (0, 130, -8))
"""Left half of a medical mask on a face: x, y and depth in millimetres from the middle of the eyes."""


def linear(srgb: tuple[float, float, float]) -> Floats:
    """RGB 0..255 as linear light (3,)."""
    return np.asarray(to_linear(np.array(srgb, np.float32)), np.float32)


def dyed(rng: Rng) -> tuple[float, float, float]:
    """A colour of cloth or plastic, RGB 0..255: often dark, white or dull."""
    kind = rng.random()
    if kind < 0.35:
        v = float(rng.choice([rng.uniform(12, 60), rng.uniform(190, 245)]))
        return (v, v * float(rng.uniform(0.95, 1.05)), min(v * float(rng.uniform(0.93, 1.08)), 250.0))
    r, g, b = colorsys.hsv_to_rgb(float(rng.random()), float(rng.uniform(0.1, 0.7)), float(rng.uniform(0.12, 0.9)))
    return (r * 255, g * 255, b * 255)


def lit(normals: Floats, light: Light, gloss: float = 0.0, sharp: float = 30.0) -> Floats:
    """Light (..., 3) on normals (..., 3), 1 on what faces the viewer, and a highlight on top."""
    shape = normals.shape
    if not any(normals.strides[:-1]):  # one normal, broadcast
        normals = normals.reshape(-1, 3)[:1]
    ambient, lamps = light.ambient_rows(), light.lamp_rows(1.0)
    halves = lamps[:, :3] + np.array([0, 0, 1], np.float32)
    halves /= np.maximum(np.linalg.norm(halves, axis=1, keepdims=True), 1e-6)
    level = float(ambient[0].mean() + ambient[3].mean() + sum(r[3:6].mean() * max(r[2], 0.0) for r in lamps))
    out = np.empty((normals.size // 3, 3), np.float32)
    _lit(np.ascontiguousarray(normals, np.float32).reshape(-1, 3), ambient, lamps, halves.astype(np.float32), 1 / max(level, 0.05), gloss, sharp, out)
    return out.reshape(shape) if len(out) * 3 == np.prod(shape) else np.broadcast_to(out[0], shape)


@njit(cache=True, fastmath=True, error_model="numpy")
def _lit(normals: Floats, ambient: Floats, lamps: Floats, halves: Floats, scale: float, gloss: float, sharp: float, out: Floats) -> None:
    f = np.float32
    # A power below this adds less than a millionth.
    least = f(10.0 ** (-6.0 / sharp)) if gloss > 0 else f(2)
    for k in range(normals.shape[0]):
        x, y, z = normals[k, 0], normals[k, 1], normals[k, 2]
        r = ambient[0, 0] + x * ambient[1, 0] + y * ambient[2, 0] + z * ambient[3, 0]
        g = ambient[0, 1] + x * ambient[1, 1] + y * ambient[2, 1] + z * ambient[3, 1]
        b = ambient[0, 2] + x * ambient[1, 2] + y * ambient[2, 2] + z * ambient[3, 2]
        shine = f(0)
        for q in range(lamps.shape[0]):
            facing = max(x * lamps[q, 0] + y * lamps[q, 1] + z * lamps[q, 2], f(0))
            r, g, b = r + lamps[q, 3] * facing, g + lamps[q, 4] * facing, b + lamps[q, 5] * facing
            mirrored = min(x * halves[q, 0] + y * halves[q, 1] + z * halves[q, 2], f(1))
            if mirrored > least:
                shine += mirrored ** f(sharp) * lamps[q, 6]
        shine *= f(gloss)
        out[k, 0], out[k, 1], out[k, 2] = ((max(r, f(0.03)) + shine) * f(scale), (max(g, f(0.03)) + shine) * f(scale),
                                           (max(b, f(0.03)) + shine) * f(scale))


def grid(spot: Spot, centre_px: NDArray[np.floating], turn_deg: float) -> tuple[Floats, Floats]:
    """An object's own x and y (H, W) of each pixel; turn clockwise from the face's upright."""
    width, height = spot.size
    a = np.deg2rad(spot.roll_deg + turn_deg)
    px = (np.arange(width, dtype=np.float32) - centre_px[0])[None] / spot.scale_px
    py = (np.arange(height, dtype=np.float32) - centre_px[1])[:, None] / spot.scale_px
    c, s = np.float32(np.cos(a)), np.float32(np.sin(a))
    return (c * px + s * py), (-s * px + c * py)


def inside(distance_mm: Floats, spot: Spot, soft_px: float = 0.8) -> Floats:
    """Alpha 0..1 of a signed distance (negative inside), antialiased."""
    return np.clip(0.5 - distance_mm * spot.scale_px / soft_px, 0, 1).astype(np.float32)


def box(x: Floats, y: Floats, half: tuple[float, float], corner: float) -> Floats:
    """Signed distance to a rounded rectangle (I. Quilez, 2D distance functions)."""
    qx, qy = np.abs(x) - half[0] + corner, np.abs(y) - half[1] + corner
    return np.hypot(np.maximum(qx, 0), np.maximum(qy, 0)) + np.minimum(np.maximum(qx, qy), 0) - corner


def round_normals(x: Floats, y: Floats, radius: float | Floats) -> Floats:
    """Normals (H, W, 3) of a ball's front (y down in the picture is -y for the light)."""
    nx, ny = x / radius, y / radius
    length = np.maximum(np.hypot(nx, ny), 1e-6)
    k = np.minimum(1, 0.98 / length)
    nx, ny = nx * k, ny * k
    return np.stack([nx, -ny, np.sqrt(np.clip(1 - nx * nx - ny * ny, 0.02, 1))], -1).astype(np.float32)


def tube_normals(x: Floats, radius: float | Floats) -> Floats:
    """Normals (H, W, 3) of an upright cylinder's front."""
    nx = np.clip(x / radius, -0.98, 0.98)
    return np.stack([nx, np.zeros_like(nx), np.sqrt(1 - nx * nx)], -1).astype(np.float32)


def grain(rng: Rng, size: tuple[int, int], sigma_px: float) -> Floats:
    """Smooth noise (H, W) of unit strength."""
    noise = rng.standard_normal((size[1], size[0]), np.float32)
    if sigma_px > 0.3:
        noise = cv2.GaussianBlur(noise, (0, 0), sigma_px)
    return noise / max(float(noise.std()), 1e-6)


def put(image: Floats, alpha: Floats, colour: Floats, cover: Floats) -> None:
    """Lay colour (H, W, 3) or (3,) with cover (H, W) over straight image and alpha, in place."""
    if colour.ndim == 1:
        colour = np.broadcast_to(colour, image.shape)
    _put(image, alpha, np.asarray(colour, np.float32), np.asarray(cover, np.float32))


@njit(cache=True, fastmath=True, error_model="numpy")
def _put(image: Floats, alpha: Floats, colour: Floats, cover: Floats) -> None:
    f = np.float32
    for j in range(alpha.shape[0]):
        for i in range(alpha.shape[1]):
            total = cover[j, i] + alpha[j, i] * (f(1) - cover[j, i])
            k = cover[j, i] / max(total, f(1e-4))
            for c in range(3):
                image[j, i, c] += (colour[j, i, c] - image[j, i, c]) * k
            alpha[j, i] = total


def blank(spot: Spot) -> tuple[Floats, Floats]:
    """An empty picture and its alpha."""
    width, height = spot.size
    return np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)


def microphone(rng: Rng, spot: Spot, light: Light) -> tuple[Floats, Floats]:
    """A foam ball on a stick, a studio capsule, or a headset's boom before the mouth."""
    image, alpha = blank(spot)
    kind, dark = rng.random(), linear((rng.uniform(14, 60),) * 3)
    centre = spot.at(np.array([rng.normal(0, 22), rng.uniform(62, 135)]))
    turn = float(rng.normal(0, 22))
    if kind < 0.25:
        _boom(rng, spot, light, image, alpha)
        return image, alpha
    x, y = grid(spot, centre, turn)
    if kind < 0.65:
        ball, stick = float(rng.uniform(22, 36)), float(rng.uniform(9, 15))
        body = np.maximum(np.abs(x) - stick * (1 - y / 900), -y)
        put(image, alpha, dark * lit(tube_normals(x, stick), light, 0.25), inside(body, spot))
        foam = linear(dyed(rng)) if rng.random() < 0.3 else dark * 1.3
        rough = 1 + 0.22 * grain(rng, spot.size, max(0.5, spot.scale_px * 0.9))[..., None]
        put(image, alpha, foam * rough * lit(round_normals(x, y, ball), light),
            inside(np.hypot(x, y * float(rng.uniform(0.8, 1.0))) - ball, spot, 1.4))
        return image, alpha
    half = (float(rng.uniform(22, 34)), float(rng.uniform(58, 95)))
    metal = linear(dyed(rng))
    mesh = 0.55 + 0.45 * (np.sin(x * 2.4) * np.sin(y * 2.4) > 0)
    tone = np.where((y < half[1] * 0.1)[..., None], linear((90, 90, 94)) * mesh[..., None], metal)
    tone = np.where((np.abs(y - half[1] * 0.1) < 3)[..., None], linear((170, 170, 172)), tone)
    put(image, alpha, tone * lit(tube_normals(x, half[0]), light, 0.35), inside(box(x, y, half, half[0] * 0.8), spot))
    stem = np.maximum(np.abs(x) - 9, half[1] - 4 - y)
    put(image, alpha, dark * lit(tube_normals(x, 9.0), light, 0.3), inside(stem, spot))
    return image, alpha


def _boom(rng: Rng, spot: Spot, light: Light, image: Floats, alpha: Floats) -> None:
    side = float(rng.choice([-1, 1]))
    tip = spot.at(np.array([side * rng.uniform(14, 34), rng.uniform(68, 92)]))
    bend, ear = spot.at(np.array([[side * 58, 84], [side * 78, 20]]))
    t = np.linspace(0, 1, 24)[:, None]
    curve = (1 - t) ** 2 * tip + 2 * t * (1 - t) * bend + t ** 2 * ear
    canvas = np.zeros(alpha.shape, np.uint8)
    cv2.polylines(canvas, [np.rint(curve * 16).astype(np.int32)], False, 255, max(1, round(4 * spot.scale_px)), cv2.LINE_AA, 4)
    dark = linear((rng.uniform(14, 45),) * 3)
    put(image, alpha, np.broadcast_to(dark, image.shape), canvas.astype(np.float32) / 255)
    x, y = grid(spot, tip, side * 20)
    put(image, alpha, dark * lit(round_normals(x, y, 10), light), inside(np.hypot(x / 1.25, y) - rng.uniform(7, 11), spot))


def cup(rng: Rng, spot: Spot, light: Light) -> tuple[Floats, Floats, Floats]:
    """A mug, paper cup or can at the mouth."""
    image, alpha = blank(spot)
    top, high = float(rng.uniform(32, 46)), float(rng.uniform(80, 125))
    taper = float(rng.uniform(0.72, 1.02))
    turn = float(rng.normal(0, 16))
    centre = spot.at(np.array([rng.normal(0, 14), 66 + high / 2 + rng.normal(4, 14)]))
    x, y = grid(spot, centre, turn)
    flat = float(rng.uniform(-0.32, 0.42))
    t = np.clip(y / high + 0.5, 0, 1)
    radius = top * (1 - t * (1 - taper))
    bow = flat * np.sqrt(np.clip(1 - (x / radius) ** 2, 0, 1)) * radius
    body = np.maximum(np.abs(x) - radius, np.maximum(-high / 2 + bow * 0 - y, y - high / 2 - bow))
    colour = linear(dyed(rng))
    tone = np.broadcast_to(colour, image.shape)
    if rng.random() < 0.5:
        band = np.abs(y - rng.uniform(-0.2, 0.3) * high) < rng.uniform(6, 26)
        tone = np.where(band[..., None], linear(dyed(rng)), tone)
    if rng.random() < 0.4:
        side = float(rng.choice([-1, 1]))
        ring = np.abs(np.hypot(x - side * top * 0.98, y * 0.85) - high * 0.26) - high * 0.055
        put(image, alpha, colour * lit(round_normals(x - side * top, y, high * 0.4), light, 0.4), inside(ring, spot))
    put(image, alpha, tone * lit(tube_normals(x, radius), light, 0.45), inside(body, spot))
    if flat > 0:  # the opening is seen
        rim = np.hypot(x / top, (y + high / 2) / max(flat * top, 1.0) * 1.0)
        put(image, alpha, colour * lit(np.broadcast_to(np.float32([0, 0.5, 0.85]), image.shape), light), inside((rim - 1) * flat * top, spot))
        put(image, alpha, linear((60, 38, 24)) * np.float32(0.5), inside((rim - 0.9) * flat * top, spot))
    else:  # the bottom
        low = np.hypot(x / (top * taper), (y - high / 2) / max(-flat * top * taper, 1.0))
        put(image, alpha, colour * lit(np.broadcast_to(np.float32([0, -0.6, 0.8]), image.shape), light),
            inside((low - 1) * -flat * top * taper, spot))
    a = np.deg2rad(spot.roll_deg + turn)
    side = float(rng.choice([-1, 1])) * top * 0.55
    grip = centre + spot.scale_px * np.array([np.cos(a) * side - np.sin(a) * 12, np.sin(a) * side + np.cos(a) * 12])
    return image, alpha, np.asarray(grip, np.float32)


def phone(rng: Rng, spot: Spot, light: Light) -> tuple[Floats, Floats, Floats]:
    """A phone, its back or its screen to the viewer, before the face or at the ear."""
    image, alpha = blank(spot)
    half = (float(rng.uniform(34, 40)), float(rng.uniform(68, 80)))
    if rng.random() < 0.4:
        side = float(rng.choice([-1, 1]))
        centre, turn = spot.at(np.array([side * rng.uniform(58, 82), rng.uniform(20, 60)])), side * -float(rng.uniform(8, 30))
    else:
        centre, turn = spot.at(rng.normal((0, 55), (26, 40))), float(rng.normal(0, 22))
    if rng.random() < 0.2:
        turn += 90
    x, y = grid(spot, centre, turn)
    x = (x + y * float(rng.normal(0, 0.06))) / float(rng.uniform(0.6, 1.0))
    slab = box(x, y, half, 10.0)
    normal = np.array([rng.normal(0, 0.15), rng.normal(0.05, 0.15), 1.0], np.float32)
    shine = lit(np.broadcast_to(normal / np.linalg.norm(normal), image.shape), light, 0.25, 8.0)
    put(image, alpha, linear((rng.uniform(60, 190),) * 3) * shine, inside(slab, spot))
    if rng.random() < 0.65:
        put(image, alpha, linear(dyed(rng)) * shine, inside(slab + 2.2, spot))
        corner = box(x + half[0] * 0.45, y + half[1] * 0.68, (13.0, 14.0), 5.0)
        put(image, alpha, linear((22, 22, 24)) * shine, inside(corner, spot))
        for dy in (-6.5, 6.5):
            put(image, alpha, linear((50, 54, 70)) * shine, inside(np.hypot(x + half[0] * 0.45, y + half[1] * 0.68 + dy) - 4.6, spot))
    else:
        glow = np.clip(0.5 + 0.5 * grain(rng, spot.size, 12 * spot.scale_px)[..., None], 0, 1)
        put(image, alpha, linear(dyed(rng)) * (0.3 + glow), inside(slab + 3.5, spot))
    a = np.deg2rad(spot.roll_deg + turn)
    grip = centre + spot.scale_px * 45 * np.array([-np.sin(a), np.cos(a)])
    return image, alpha, np.asarray(grip, np.float32)


def paper(rng: Rng, spot: Spot, light: Light) -> tuple[Floats, Floats, Floats]:
    """A sheet or a book's cover with lines of text."""
    image, alpha = blank(spot)
    half = (float(rng.uniform(45, 80)), float(rng.uniform(60, 105)))
    centre = spot.at(rng.normal((0, 80), (35, 30)))
    turn = float(rng.normal(0, 15))
    x, y = grid(spot, centre, turn)
    sheet = linear((236, 234, 228)) if rng.random() < 0.6 else linear(dyed(rng))
    shade = lit(np.broadcast_to(np.float32([0.05, 0.1, 0.99]), image.shape), light) * (1 + 0.0015 * x[..., None])
    put(image, alpha, sheet * shade, inside(box(x, y, half, 1.0), spot))
    lines = (np.sin(y * 1.1) > 0.3) & (np.abs(x) < half[0] * (0.75 + 0.1 * np.sin(y * 3.3))) & (np.abs(y) < half[1] * 0.85)
    put(image, alpha, linear((50, 50, 54)) * shade, lines.astype(np.float32) * 0.75 * inside(box(x, y, half, 1.0), spot))
    a = np.deg2rad(spot.roll_deg + turn)
    grip = centre + spot.scale_px * half[1] * 0.9 * np.array([-np.sin(a), np.cos(a)])
    return image, alpha, np.asarray(grip, np.float32)


def medical_mask(rng: Rng, spot: Spot, light: Light) -> tuple[Floats, Floats]:
    """A pleated or shaped mask over nose, mouth and chin, with its ear loops."""
    image, alpha = blank(spot)
    left = np.array(MASK_OUTLINE, np.float32)
    left[:, :2] *= rng.normal(1, 0.04, (1, 2))
    if rng.random() < 0.15:  # worn below the nose
        left[:4, 1] += np.array([30, 27, 20, 10], np.float32)
    left[:, 1] += rng.normal(0, 3)
    right = left[::-1][1:-1] * np.array([-1, 1, 1], np.float32)
    turn = spot.yaw * 0.9
    loop = np.concatenate([left, right])

    def seen(p: Floats) -> Floats:
        return spot.at(np.stack([p[:, 0] * np.cos(turn) + p[:, 2] * np.sin(turn), p[:, 1]], 1))

    outline = smooth_loop(seen(loop))
    colour = linear(MASK_SRGB[int(rng.choice(len(MASK_SRGB), p=[0.4, 0.25, 0.2, 0.08, 0.07]))])
    ends = np.array([[s * 75, y, -70] for s in (-1, 1) for y in (14, 44)], np.float32)
    strap = np.zeros(alpha.shape, np.uint8)
    for start, end in zip(seen(left[[4, 5]]).tolist() + seen(right[[2, 3]]).tolist()[::-1], seen(ends), strict=True):
        ends16 = np.rint(np.array([start, end]) * 16).astype(np.int32)
        cv2.polylines(strap, [ends16], False, 255, max(1, round(2.5 * spot.scale_px)), cv2.LINE_AA, 4)
    put(image, alpha, np.broadcast_to(linear((225, 225, 225)), image.shape), strap.astype(np.float32) / 255)
    canvas = np.zeros(alpha.shape, np.uint8)
    cv2.fillPoly(canvas, [np.rint(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    x, y = grid(spot, spot.at(np.array([22 * np.sin(turn), 82.0])), 0.0)
    normals = round_normals(x, y * 0.8, 84.0)
    if rng.random() < 0.7:
        pleat = np.sin((y + 0.0025 * x * x + 4) / float(rng.uniform(15, 19)) * 2 * np.pi)
        normals[..., 1] += 0.22 * pleat ** 3
    else:
        normals[..., 0] += 0.35 * np.tanh(x / 6)
    weave = 1 + 0.03 * grain(rng, spot.size, 0.6)[..., None] + 0.05 * grain(rng, spot.size, 6 * spot.scale_px)[..., None]
    put(image, alpha, colour * weave * lit(normals, light), canvas.astype(np.float32) / 255)
    return image, alpha


def smooth_loop(points: Floats, steps: int = 8) -> Floats:
    """A closed Catmull-Rom curve through points (N, 2): (N * steps, 2)."""
    p0, p1, p2, p3 = (np.roll(points, k, 0)[:, None] for k in (1, 0, -1, -2))
    t = (np.arange(steps, dtype=np.float32) / steps)[None, :, None]
    out = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t ** 2 + (3 * p1 - p0 - 3 * p2 + p3) * t ** 3)
    return out.reshape(-1, 2).astype(np.float32)


def strands(rng: Rng, spot: Spot, light: Light) -> tuple[Floats, Floats]:
    """A few locks of hair that hang over the face."""
    image, alpha = blank(spot)
    own = spot.hair_srgb if spot.hair_srgb is not None else HAIR_SRGB[int(rng.integers(len(HAIR_SRGB)))]
    base = np.array(own, np.float32) * float(rng.uniform(0.8, 1.2))
    side = float(rng.choice([-1, 1]))
    t = np.linspace(0, 1, 20, dtype=np.float32)[:, None]
    for _ in range(int(rng.integers(2, 8))):
        start = np.array([side * rng.uniform(-5, 62), rng.uniform(-95, -70)])
        end = np.array([side * rng.uniform(-10, 70), rng.uniform(10, 150)])
        middle = (start + end) / 2 + rng.normal(0, 18, 2)
        width, hairs = float(rng.uniform(1.5, 7)), int(rng.integers(8, 34))
        tone = linear(tuple(np.clip(base * rng.uniform(0.75, 1.35), 2, 250).tolist()))
        for _hair in range(hairs):
            off = rng.normal(0, width, 2) * np.array([1, 0.3])
            curve = (1 - t) ** 2 * (start + off) + 2 * t * (1 - t) * (middle + off + rng.normal(0, 3, 2)) + t ** 2 * (end + off * 0.35)
            _hair_line(spot, curve, image, alpha, tone, light, float(rng.uniform(0.35, 0.9)))
    return image, alpha


def _hair_line(spot: Spot, curve_mm: Floats, image: Floats, alpha: Floats, tone: Floats, light: Light, cover: float) -> None:
    p = spot.at(curve_mm)
    low = np.clip(np.floor(p.min(0)).astype(int) - 3, 0, np.array(spot.size) - 1)
    high = np.clip(np.ceil(p.max(0)).astype(int) + 4, 1, np.array(spot.size))
    if (high <= low).any():
        return
    part = np.s_[low[1]:high[1], low[0]:high[0]]
    canvas = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    thick = max(1, round(0.55 * spot.scale_px))
    cv2.polylines(canvas, [np.rint((p - low) * 16).astype(np.int32)], False, 255, thick, cv2.LINE_AA, 4)
    row = np.linspace(-1, 1, canvas.shape[0], dtype=np.float32)[:, None, None]
    shine = 0.7 + 0.5 * np.exp(-((row + 0.45) / 0.25) ** 2) * light.lamps[0].highlight
    put(image[part], alpha[part], np.broadcast_to(tone * shine, (*canvas.shape, 3)), canvas.astype(np.float32) / 255 * cover)


def anything(rng: Rng, spot: Spot, light: Light) -> tuple[Floats, Floats]:
    """A smooth lump, ball, board or bar of any colour and pattern."""
    image, alpha = blank(spot)
    centre = spot.at(rng.normal((0, 50), (45, 50)))
    x, y = grid(spot, centre, float(rng.uniform(-90, 90)))
    radius = float(rng.uniform(14, 55))
    kind = int(rng.integers(4))
    if kind == 0:
        angle = np.arctan2(y, x)
        wave = sum(rng.normal(0, 0.12) * np.cos(k * angle + rng.uniform(0, 6)) for k in (2, 3, 4, 5))
        distance = np.hypot(x, y) - radius * (1 + wave)
    elif kind == 1:
        distance = (np.hypot(x, y * float(rng.uniform(0.6, 1.5))) - radius).astype(np.float32)
    elif kind == 2:
        distance = box(x, y, (radius, radius * float(rng.uniform(0.4, 1.8))), float(rng.uniform(0.5, 14)))
    else:
        distance = box(x, y, (float(rng.uniform(4, 14)), 240.0), 3.0)
    normals = tube_normals(x, 14.0) if kind == 3 else round_normals(x, y, radius * float(rng.uniform(1.1, 3)))
    tone = pattern(rng, spot, x, y)
    put(image, alpha, tone * lit(normals, light, float(rng.uniform(0, 0.4))), inside(distance, spot))
    return image, alpha


def pattern(rng: Rng, spot: Spot, x: Floats, y: Floats) -> Floats:
    """Two colours (H, W, 3), linear: plain, striped, checked or mottled, over an object's own x and y (H, W)."""
    a, b = linear(dyed(rng)), linear(dyed(rng))
    kind, pitch = int(rng.integers(4)), float(rng.uniform(4, 16))
    if kind == 0:
        return np.broadcast_to(a, (*x.shape, 3))
    if kind == 1:
        share = 0.5 + 0.5 * np.tanh(4 * np.sin(x * 2 * np.pi / pitch))
    elif kind == 2:
        share = 0.5 + 0.5 * np.tanh(6 * np.sin(x * 2 * np.pi / pitch) * np.sin(y * 2 * np.pi / pitch))
    else:
        share = np.clip(0.5 + 0.4 * grain(rng, spot.size, float(rng.uniform(1, 6)) * spot.scale_px), 0, 1)
    return (a + (b - a) * share[..., None]).astype(np.float32)
