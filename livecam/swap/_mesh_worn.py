"""A persona made ready to be drawn: textures in several sizes, its own light, its eyes and what is in its mouth."""

from __future__ import annotations

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
from livecam.swap._mesh_parts import Eyeball, Mouth, eyeball, grown, mouth
from livecam.swap._mesh_raster import U64, to_lanes
from livecam.types import F32, F64, MESH_POINTS, MESH_POINTS_WITH_IRIS, U8, Persona

LEVELS = (1.0, 1.414, 2.0, 2.83, 4.0, 5.66)
"""How much smaller each kept texture is; the one nearest to a texel per crop pixel is drawn."""
FADE_SHARE = 0.085
"""Width of the mask's fade inside the outline, as share of the face's width: a tenth at most, or eyes and brows of the wearer would be in it."""
FADE_AT_CHIN = 0.4
"""Share of that width at the chin, which trackers put too high on turned and laughing faces: the wearer's own would show there."""
LOWER_LIP, CHIN = 17, 152
"""Points of the mesh."""
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


@dataclass(frozen=True, slots=True)
class Texture:
    """factor: portrait pixels per texel. open_lanes, shut_lanes: (H, W) uint64; the open one's alpha is the mask."""

    factor: float
    open_lanes: U64
    shut_lanes: U64


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
    balls = (eyeball(persona, "eye_right"), eyeball(persona, "eye_left"))
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
        balls, mouth(persona, centre), float(np.sign(np.median(areas))),
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
    filled = cv2.GaussianBlur(grown(np.dstack([small, clear])), (0, 0), 0.02 * width)
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
