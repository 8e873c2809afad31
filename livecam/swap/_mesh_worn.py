"""A persona made ready to be drawn: textures in several sizes, its own light, its eyes and what is in its mouth."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from livecam.errors import PersonaError
from livecam.swap import _mesh_light as light
from livecam.swap import _mesh_map
from livecam.swap import _mesh_shape as shape
from livecam.swap import _mesh_triangles as topology
from livecam.swap._mesh_raster import U64, shrink, to_lanes
from livecam.types import F32, F64, MESH_POINTS, MESH_POINTS_WITH_IRIS, U8, Persona

LEVELS = (1.0, 1.414, 2.0, 2.83, 4.0, 5.66)
"""How much smaller each kept texture is; the one nearest to a texel per crop pixel is drawn."""
FADE_SHARE = 0.085
"""Width of the mask's fade inside the outline, as share of the face's width: a tenth at most, or eyes and brows of the wearer would be in it."""
FADE_AT_CHIN = 0.4
"""Share of that width at the chin, which trackers put too high on turned and laughing faces: the wearer's own would show there."""
LOWER_LIP, CHIN = 17, 152
"""Points of the mesh."""
IRIS_CONTRAST, IRIS_ASIDE = 80.0, 0.3
"""Grey levels off the white that count at most (a pupil no more than an iris); and how far aside of the ball's middle an iris may be, in radii."""
BALL_PER_IRIS = 2.05
"""Radius of a human eyeball over that of its iris (12.0 and 5.9 mm), for persona files that do not say."""
HAIR_LUMA, HAIR_CHROMA = 0.35, 0.16
"""Log difference to the face's median skin from which a pixel near the hairline is taken for hair."""
SIDE_SHARE = 0.36
"""Below the nose's tip only what is so far from the middle counts as hair (share of the face's width): a moustache or beard is to stay."""
BARE_SHRINK = 4
"""Hair is found and painted over on a picture so many times smaller; what is not hair keeps every pixel."""
HAIR_EDGE = 0.12
"""The same for the thin ends of strands, next to hair."""
EYE_SHARE = 0.06
"""Width of the line around the lids inside which nothing is taken for hair, nor for skin, in face widths."""
EDGE_SHARE = 0.12
"""Width of the rim of the face from which hair grows in, in face widths."""
NOSTRILS = (129, 358)
BROW_SHARE = 0.02
"""Brows, lids and what lies between them, widened by this share of the face's width, are never taken for hair."""
SPRITES = ("tongue", "teeth_lower", "teeth_upper")
"""Of the mouth's inside, in the order in which they are drawn."""
SPRITE_LIGHT = (0.65, 0.8, 0.95)
"""How much of the light on the lips reaches each of them."""
SPRITE_REACH = (1.0, 0.7, 1.1)
"""Share of its half width up to which each is drawn in full: molars lie in the dark of the cheeks."""
SPRITE_SIDE = 160
UPPER_ANCHOR = (2, 97, 326, 98, 327)
"""Base of the nose: moves with the skull, as the upper teeth do."""
LOWER_ANCHOR = (199, 200, 175, 152)
"""Chin: moves with the jaw, as the lower teeth and the tongue do."""


@dataclass(frozen=True, slots=True)
class Texture:
    """factor: portrait pixels per texel. open_lanes, shut_lanes: (H, W) uint64; the open one's alpha is the mask."""

    factor: float
    open_lanes: U64
    shut_lanes: U64


@dataclass(frozen=True, slots=True)
class Eyeball:
    """lanes: the picture at full size, half and quarter. centre_px, radius_px: the ball on the full one. ahead: (3, 3) turns (0, 0, 1) to where the
    picture's iris is. iris: its radius over the ball's. white: the ball's brightness, 0..255."""

    lanes: tuple[U64, ...]
    centre_px: float
    radius_px: float
    ahead: F64
    iris: float
    white: float


@dataclass(frozen=True, slots=True)
class Mouth:
    """lanes: (K, SIDE, SIDE) uint64. sizes: (K, 2) float32. corner, step: (K, 3) top-left of each sprite in the persona's frame relative to its
    anchor, and (K, 2) persona pixels per sprite pixel. upper: (K,) whether it is anchored to the skull.
    white: brightness of the teeth. gum: persona pixels from the top of the upper teeth's sprite to where its teeth begin."""

    lanes: U64
    sizes: F32
    corner: F32
    step: F32
    upper: NDArray[np.bool_]
    white: float
    gum: float


@dataclass(frozen=True, slots=True)
class Worn:
    """Everything of one persona that is worked out once.

    rest: (468, 3) neutral mesh in the persona's frame; open_uv, shut_uv: (468, 2) portrait points; skin: (468, 3) modelled skin colours;
    seen: (468, 3) the portrait's own blurred colours; weights: (468,) of skin; lid: (468,) 0 where the lids' picture may show, 1 where not;
    around_eyes: points of the lids and next to them.
    """

    id: str
    licence: str
    centre: F32
    rest: F32
    open_uv: F32
    shut_uv: F32
    textures: tuple[Texture, ...]
    skin: F64
    seen: F64
    weights: F32
    ring: light.Ring
    transfer: shape.Transfer
    lid: F32
    around_eyes: NDArray[np.intp]
    eyes: tuple[shape.Eye, shape.Eye]
    balls: tuple[Eyeball, Eyeball]
    mouth: Mouth | None
    upright: float


def prepare(persona: Persona, triangles: topology.I32) -> Worn:
    """`persona` made ready. Raises PersonaError when pictures or meshes are missing or have the wrong shape."""
    for name in ("neutral", "closed_eyes"):
        _check(persona, name)
    neutral, shut = persona.meshes["neutral"], persona.meshes["closed_eyes"]
    centre = neutral[list(shape.RIGID)].mean(axis=0).astype(np.float32)
    rest = (neutral[:MESH_POINTS] - centre).astype(np.float32)
    adjacent = topology.neighbours(triangles, MESH_POINTS)
    normals = vertex_normals(rest, triangles)
    weights = light.skin_weights(rest, adjacent)
    picture = _bare(persona.images["neutral"], neutral)
    seen = blurred_colours(picture, neutral[:MESH_POINTS], float(np.ptp(rest[:, 0])))
    skin = light.fit(seen.astype(np.float32), normals, weights).colours(normals)
    balls = (_eyeball(persona, "eye_right"), _eyeball(persona, "eye_left"))
    ids = ((topology.RIGHT_UPPER, topology.RIGHT_LOWER, topology.RIGHT_IRIS), (topology.LEFT_UPPER, topology.LEFT_LOWER, topology.LEFT_IRIS))
    eyes = [
        shape.make_eye(rest, shut[:MESH_POINTS] - centre, up, low, neutral[i : i + 5] - centre, 1.0 / ball.iris)
        for (up, low, i), ball in zip(ids, balls, strict=True)
    ]
    gap = np.minimum(*[_lid_share(rest, eye) for eye in eyes])
    around_eyes = np.flatnonzero(adjacent[list(eyes[0].index + eyes[1].index)].any(axis=0))
    shut_uv = shut[:MESH_POINTS, :2].astype(np.float32)
    for up, low, _ in ids:
        shut_uv[list(up)] = shut_uv[list(low)] = shape.shut_line(shut, up, low)[:, :2]
    areas = _areas(rest, triangles)
    return Worn(
        persona.id, persona.licence, centre, rest, neutral[:MESH_POINTS, :2].astype(np.float32), shut_uv,
        _textures(picture, _bare(persona.images["closed_eyes"], shut), neutral), skin, seen, weights, light.make_ring(rest, adjacent),
        shape.make_transfer(rest, _mesh_map.shipped()), gap.astype(np.float32), around_eyes, (eyes[0], eyes[1]),
        balls, _mouth(persona, centre), float(np.sign(np.median(areas))),
    )  # fmt: skip


def vertex_normals(mesh: F32, triangles: topology.I32) -> F32:
    """(N, 3) unit normals, area-weighted, turned to the camera side of a frontal face (z < 0)."""
    a, b, c = mesh[triangles[:, 0]], mesh[triangles[:, 1]], mesh[triangles[:, 2]]
    p, q = b - a, c - a
    face = np.empty_like(p)
    face[:, 0] = p[:, 1] * q[:, 2] - p[:, 2] * q[:, 1]
    face[:, 1] = p[:, 2] * q[:, 0] - p[:, 0] * q[:, 2]
    face[:, 2] = p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]
    corner = triangles.ravel()
    spread = np.repeat(face, 3, axis=0)
    out = np.stack([np.bincount(corner, spread[:, k], mesh.shape[0]) for k in range(3)], axis=1)
    out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)
    return (out if out[:, 2].sum() < 0 else -out).astype(np.float32)


def blurred_colours(picture: U8, mesh: F32, face_px: float) -> F64:
    """(N, 3) colours of `picture` at mesh points, averaged over about a fiftieth of the face's width."""
    factor = max(face_px / 48.0, 1.0)
    size = (max(2, round(picture.shape[1] / factor)), max(2, round(picture.shape[0] / factor)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    ratio = np.array([size[0] / picture.shape[1], size[1] / picture.shape[0]], np.float32)
    at = ((mesh[:, :2] + 0.5) * ratio - 0.5).astype(np.float32)
    return cv2.remap(small, at[:, 0], at[:, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).reshape(-1, 3).astype(np.float64)


def _check(persona: Persona, name: str) -> None:
    mesh, picture = persona.meshes.get(name), persona.images.get(name)
    if picture is None or picture.ndim != 3 or picture.shape[2] != 3:
        found = "nothing" if picture is None else str(picture.shape)
        raise PersonaError(f"persona {persona.id!r}: expected a BGR picture {name!r}, found {found}; the file is to be made again")
    if mesh is None or mesh.shape != (MESH_POINTS_WITH_IRIS, 3) or not np.isfinite(mesh).all():
        found = "nothing" if mesh is None else str(mesh.shape)
        raise PersonaError(f"persona {persona.id!r}: expected a finite mesh (478, 3) for {name!r}, found {found}; the file is to be made again")


def _lid_share(rest: F32, eye: shape.Eye) -> F64:
    """(468,) complement of the lids' share: 0 on the lids, 1 from 0.55 eye widths away."""
    gap = np.linalg.norm(rest[:, None, :2] - rest[None, list(eye.index), :2], axis=2).min(axis=1)
    step = np.clip((gap / eye.width - 0.2) / 0.35, 0.0, 1.0)
    return step * step * (3 - 2 * step)


def _areas(mesh: F32, triangles: topology.I32) -> F32:
    a, b, c = mesh[triangles[:, 0], :2], mesh[triangles[:, 1], :2], mesh[triangles[:, 2], :2]
    return ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).astype(np.float32)


def _textures(picture: U8, shut: U8, mesh: F32) -> tuple[Texture, ...]:
    outline = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillPoly(outline, [np.rint(mesh[list(topology.OVAL), :2]).astype(np.int32)], (255,))
    inside = cv2.distanceTransform(outline, cv2.DIST_L2, 5) / (FADE_SHARE * float(np.ptp(mesh[:MESH_POINTS, 0])))
    step = np.clip(inside / _fade_rows(mesh, picture.shape[0])[:, None], 0.0, 1.0)
    alpha = np.rint(255 * step * step * (3 - 2 * step)).astype(np.uint8)
    opened, closed = (cast(U8, cv2.merge([*cv2.split(p), alpha])) for p in (picture, shut))
    out: list[Texture] = []
    pairs: list[tuple[U8, U8]] = []
    for i, factor in enumerate(LEVELS):
        size = (round(picture.shape[1] / factor), round(picture.shape[0] / factor))
        # Halving the level before the last is ten times cheaper than starting from the portrait.
        a, b = (cast(U8, cv2.resize(p, size, interpolation=cv2.INTER_AREA)) for p in (pairs[i - 2] if i > 1 else (opened, closed)))
        pairs.append((a, b))
        out.append(Texture(picture.shape[1] / a.shape[1], to_lanes(a), to_lanes(b)))
    return tuple(out)


def _fade_rows(mesh: F32, height: int) -> F32:
    """(height,) width of the fade at each row of the portrait, as share of FADE_SHARE: less from mouth to chin."""
    lips, chin = float(mesh[LOWER_LIP, 1]), float(mesh[CHIN, 1])
    down = np.clip((np.arange(height) - lips) / max(chin - lips, 1.0), 0.0, 1.0)
    return (1.0 - (1.0 - FADE_AT_CHIN) * down).astype(np.float32)


def _bare(picture: U8, mesh: F32) -> U8:
    """`picture` with hair at temples and hairline, inside the outline of `mesh` and above the mouth, painted over with the skin beside it.

    The tracker's outline runs through hair; on another head that hair would hang in the middle of a cheek."""
    full = (picture.shape[1], picture.shape[0])
    small = cast(U8, cv2.resize(picture, (full[0] // BARE_SHRINK, full[1] // BARE_SHRINK), interpolation=cv2.INTER_AREA))
    points = mesh / np.float32(BARE_SHRINK)
    width = float(np.ptp(points[:MESH_POINTS, 0]))
    hair, near = _hair(small, points, width)
    clear = np.where(near & (hair == 0), 255, 0).astype(np.uint8)
    filled = cv2.GaussianBlur(_grown(np.dstack([small, clear])), (0, 0), 0.02 * width)
    share = cv2.GaussianBlur(hair.astype(np.float32), (0, 0), 0.008 * width)
    share = cv2.resize(share, full, interpolation=cv2.INTER_LINEAR)
    over = cv2.resize(filled, full, interpolation=cv2.INTER_LINEAR)
    return cast(U8, cv2.blendLinear(over, picture, share, 1.0 - share))


def _hair(picture: U8, points: F32, width: float) -> tuple[U8, NDArray[np.bool_]]:
    """(H, W) 1 where hair is to be painted over, and where skin to take for it may lie."""
    zone, kept, eyes = (np.zeros(picture.shape[:2], np.uint8) for _ in range(3))
    cv2.fillPoly(zone, [np.rint(points[list(topology.OVAL), :2]).astype(np.int32)], (1,))
    for lids in (topology.RIGHT_UPPER + topology.RIGHT_LOWER, topology.LEFT_UPPER + topology.LEFT_LOWER):
        hull = cv2.convexHull(np.rint(points[list(lids), :2]).astype(np.int32))
        cv2.fillPoly(eyes, [hull], (1,))
        cv2.polylines(eyes, [hull], True, (1,), max(1, round(EYE_SHARE * width)))
    # Sockets and the bridge of the nose lie in shadow, which is no hair.
    middle = topology.RIGHT_BROW + topology.LEFT_BROW + topology.RIGHT_LOWER + topology.LEFT_LOWER + NOSTRILS
    hull = cv2.convexHull(np.rint(points[list(middle), :2]).astype(np.int32))
    cv2.fillPoly(kept, [hull], (1,))
    cv2.polylines(kept, [hull], True, (1,), max(1, round(BROW_SHARE * width)))
    kept = cast(U8, (kept & cast(U8, cv2.erode(zone, _square(0.13 * width)))) | eyes)
    inner = cv2.erode(zone, _square(0.2 * width)) > 0
    zone = cast(U8, cv2.dilate(zone, _square(0.04 * width)))
    centre, reach = float(points[:MESH_POINTS, 0].min()) + width / 2, SIDE_SHARE * width
    zone[round(float(points[4, 1])) :, round(centre - reach) : round(centre + reach)] = 0
    zone[round(float(points[13, 1])) :] = 0
    colours = np.log(picture.astype(np.float32) + 8.0)
    off = colours - np.median(colours[inner], axis=0)
    luma = off @ light.LUMA
    hair = (np.abs(luma) > HAIR_LUMA) | (np.abs(off - luma[..., None]).max(axis=-1) > HAIR_CHROMA)
    sure = _reaching((hair & (zone > 0) & (kept == 0)).astype(np.uint8), cast(U8, cv2.erode(zone, _square(EDGE_SHARE * width))) == 0)
    fringe = (cv2.dilate(sure, _square(0.14 * width)) > 0) & (luma < -HAIR_EDGE)
    found = cast(U8, cv2.dilate(sure | fringe.astype(np.uint8), _square(0.035 * width)))
    return found & zone & (1 - kept), ((zone > 0) | inner) & (eyes == 0)


def _reaching(mask: U8, edge: NDArray[np.bool_]) -> U8:
    """The parts of mask (H, W) that reach the edge: hair grows in from outside, a shine on the forehead does not."""
    _, parts = cv2.connectedComponents(mask)
    wanted = np.unique(parts[edge & (mask > 0)])
    return np.isin(parts, wanted[wanted > 0]).astype(np.uint8)


def _square(side: float) -> U8:
    return np.ones((round(side) | 1,) * 2, np.uint8)


def _eyeball(persona: Persona, name: str) -> Eyeball:
    picture = persona.images.get(name)
    if picture is None or picture.ndim != 3 or picture.shape[2] != 4:
        raise PersonaError(f"persona {persona.id!r}: expected a BGRA picture {name!r}, found {'nothing' if picture is None else picture.shape}")
    side = picture.shape[0]
    radius = float(persona.metadata.get("eye_ball_radius_px", 0.5 * side)) * 0.97
    centre = (side - 1) / 2
    iris = float(persona.metadata.get("eye_iris_radius_px", radius / BALL_PER_IRIS))
    x, y = find_iris(picture, centre, radius, iris)
    solid = picture.copy()
    solid[..., :3] = _grown(picture)
    lanes = tuple(to_lanes(shrink(solid, f)) for f in (1.0, 2.0, 4.0))
    return Eyeball(lanes, centre, radius, _towards((x - centre) / radius, (y - centre) / radius), iris / radius, _white(picture))


def find_iris(picture: U8, centre: float, radius: float, iris: float) -> tuple[float, float]:
    """Centre x, y in pixels of the iris of an eyeball's picture, which may look aside: the disc of radius `iris` that is least like the white around it.

    centre, radius: of the ball. To two pixels. Red veins and dark corners are as unlike the white, but no such disc."""
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]] - centre
    out = x * x + y * y
    white = np.median(picture[(out < (0.75 * radius) ** 2) & (out > (0.55 * radius) ** 2)][:, :3], axis=0)
    off = np.maximum.reduce([np.abs(picture[..., k] - np.float32(white[k])) for k in range(3)])
    off = np.minimum(off, IRIS_CONTRAST) * (out < (0.95 * radius) ** 2)
    seen = cv2.resize(off.astype(np.float32), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    apart = cv2.filter2D(seen, -1, _disc_and_ring(iris / 2), borderType=cv2.BORDER_REPLICATE)
    middle = (seen.shape[0] - 1) / 2
    apart[np.hypot(*(np.mgrid[: seen.shape[0], : seen.shape[1]] - middle)) > IRIS_ASIDE * radius / 2] = -np.inf
    row, column = np.unravel_index(int(apart.argmax()), apart.shape)
    return 2.0 * float(column) + 0.5, 2.0 * float(row) + 0.5


def _disc_and_ring(radius: float) -> F32:
    """A kernel: mean of a disc less mean of the ring around it."""
    n = math.ceil(1.3 * radius)
    far = np.hypot(*np.mgrid[-n : n + 1, -n : n + 1])
    disc, ring = (far < 0.97 * radius).astype(np.float32), ((far > 1.03 * radius) & (far < 1.3 * radius)).astype(np.float32)
    return np.asarray(disc / disc.sum() - ring / max(ring.sum(), 1.0), np.float32)


def _towards(x: float, y: float) -> F64:
    """(3, 3) rotation that takes (0, 0, 1) to the unit vector (x, y, z) by the shortest way."""
    z = math.sqrt(max(1.0 - x * x - y * y, 0.0))
    share = 1.0 / (1.0 + z)
    return np.array([[1 - x * x * share, -x * y * share, x], [-x * y * share, 1 - y * y * share, y], [-x, -y, z]])


def _window(width: int, reach: float) -> F32:
    """(width,) 1 in the middle, falling to 0 over 0.25 of the half width past `reach`."""
    off = np.abs(np.linspace(-1.0, 1.0, width))
    return np.clip(1.0 - (off - reach) / 0.25, 0.0, 1.0).astype(np.float32)


def _gum_line(picture: U8) -> float:
    """Row of an upper teeth's picture (BGRA) at which, in its middle, tooth begins; 0 when it is all tooth."""
    width = picture.shape[1]
    middle = picture[:, round(0.35 * width) : round(0.65 * width)].astype(np.float32)
    bright = (middle[..., :3] @ light.LUMA) * (middle[..., 3] > 128)
    rows = np.median(bright, axis=1)
    return float(np.argmax(rows > 0.7 * rows.max())) if rows.max() > 0 else 0.0


def _white(picture: U8) -> float:
    """Brightness that three quarters of the solid pixels of a BGRA picture stay below."""
    solid = picture[..., :3][picture[..., 3] > 200]
    return max(float(np.percentile(solid.astype(np.float32) @ light.LUMA.astype(np.float32), 75)), 40.0) if len(solid) else 200.0


def _grown(picture: U8) -> U8:
    """Colours carried outwards over what is transparent, so that samples past the edge are not black."""
    solid = picture[..., 3] > 128
    known = np.dstack([picture[..., :3] * solid[..., None], 255 * solid]).astype(np.float32)
    small = cv2.resize(known, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    alpha = small[..., 3] / 255.0
    out = small[..., :3] / np.maximum(alpha, 1e-4)[..., None]
    alpha = np.ceil(alpha)
    for radius in (3, 5, 17, 49, 147):
        near = cv2.blur(out * alpha[..., None], (radius, radius))
        count = cv2.blur(alpha, (radius, radius))
        new = (alpha == 0) & (count > 1e-4)
        out[new] = near[new] / count[new][:, None]
        alpha[new] = 1.0
    beyond = cv2.resize(np.clip(out, 0, 255), (picture.shape[1], picture.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.where(solid[..., None], picture[..., :3], np.rint(beyond).astype(np.uint8))


def _mouth(persona: Persona, centre: F32) -> Mouth | None:
    mesh = persona.meshes.get("open_mouth")
    if mesh is None or any(persona.images.get(n) is None or f"{n}_xywh_px" not in persona.metadata for n in SPRITES):
        return None
    lanes = np.zeros((len(SPRITES), SPRITE_SIDE, SPRITE_SIDE), np.uint64)
    sizes, corners, steps, uppers, gum = [], [], [], [], 0.0
    depth = float(mesh[list(topology.MOUTH_UPPER[3:8]), 2].mean() + 0.02 * np.ptp(mesh[:MESH_POINTS, 0]))
    for n, name in enumerate(SPRITES):
        picture = persona.images[name]
        small = shrink(picture, max(1.0, max(picture.shape[:2]) / SPRITE_SIDE))
        height, width = small.shape[:2]
        solid = np.dstack([_grown(small), small[..., 3]])
        solid[..., :3] = np.rint(solid[..., :3] * SPRITE_LIGHT[n])
        solid[..., 3] = np.rint(solid[..., 3] * _window(width, SPRITE_REACH[n]))
        lanes[n, :height, :width] = to_lanes(solid)
        x, y, w, h = json.loads(persona.metadata[f"{name}_xywh_px"])
        upper = name == "teeth_upper"
        if upper:
            gum = _gum_line(small) * h / height
        anchor = mesh[list(UPPER_ANCHOR if upper else LOWER_ANCHOR)].mean(axis=0)
        sizes.append((width, height))
        corners.append(np.array([x, y, depth]) - anchor)
        steps.append((w / width, h / height))
        uppers.append(upper)
    white = _white(persona.images["teeth_upper"])
    return Mouth(lanes, np.array(sizes, np.float32), np.array(corners, np.float32), np.array(steps, np.float32), np.array(uppers), white, gum)
