"""What of a persona is drawn into the openings of its face: the eyeballs, and teeth and tongue. Worked out once per persona."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from livecam.errors import PersonaError
from livecam.swap import _mesh_triangles as topology
from livecam.swap._mesh_light import LUMA
from livecam.swap._mesh_raster import U64, shrink, to_lanes
from livecam.types import F32, F64, MESH_POINTS, U8, Persona

IRIS_CONTRAST, IRIS_ASIDE = 80.0, 0.3
"""Grey levels off the white that count at most (a pupil no more than an iris); and how far aside of the ball's middle an iris may be, in radii."""
FIND_PX = 96
"""Side of the picture on which an iris is looked for."""
BALL_LEAST, BALL_MOST, IRIS_LEAST, IRIS_MOST = 0.2, 0.6, 0.2, 0.8
"""Bounds of what a file may say: of the ball's radius in sides of its picture, of the iris's in the ball's."""
BALL_PER_IRIS = 2.05
"""Radius of a human eyeball over that of its iris (12.0 and 5.9 mm), for persona files that do not say."""
SPRITES = ("tongue", "teeth_lower", "teeth_upper")
"""Of the mouth's inside, in the order in which they are drawn."""
SPRITE_LIGHT = (0.65, 0.8, 0.95)
"""How much of the light on the lips reaches each of them."""
SPRITE_REACH = (1.0, 0.7, 1.1)
"""Share of its half width up to which each is drawn in full: molars lie in the dark of the cheeks."""
SPRITE_WIDER = (1.2, 1.0, 1.0)
"""How much wider each is drawn: the tongue fills what is left between the teeth."""
SHADOW_FROM, SHADOW_TO = 52.0, 40.0
"""Grey levels between which what belongs to the teeth fades out: gums seen edge-on are dark slivers, which hang from canines like fangs."""
SPRITE_SIDE = 160
UPPER_ANCHOR = (2, 97, 326, 98, 327)
"""Base of the nose: moves with the skull, as the upper teeth do."""
LOWER_ANCHOR = (199, 200, 175, 152)
"""Chin: moves with the jaw, as the lower teeth and the tongue do."""


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


def eyeball(persona: Persona, name: str) -> Eyeball:
    """The eyeball of the picture `name`. Raises PersonaError."""
    picture = persona.images.get(name)
    if picture is None or picture.ndim != 3 or picture.shape[2] != 4:
        raise PersonaError(f"persona {persona.id!r}: expected a BGRA picture {name!r}, found {'nothing' if picture is None else picture.shape}")
    side = picture.shape[0]
    radius = float(persona.metadata.get("eye_ball_radius_px", 0.5 * side)) * 0.97
    centre = (side - 1) / 2
    radius = min(max(radius, BALL_LEAST * side), BALL_MOST * side)
    iris = min(max(float(persona.metadata.get("eye_iris_radius_px", radius / BALL_PER_IRIS)), IRIS_LEAST * radius), IRIS_MOST * radius)
    x, y = find_iris(picture, centre, radius, iris)
    solid = picture.copy()
    solid[..., :3] = grown(picture)
    lanes = tuple(to_lanes(shrink(solid, f)) for f in (1.0, 2.0, 4.0))
    return Eyeball(lanes, centre, radius, _towards((x - centre) / radius, (y - centre) / radius), iris / radius, _white(picture))


def find_iris(picture: U8, centre: float, radius: float, iris: float) -> tuple[float, float]:
    """Centre x, y in pixels, to two, of the iris of an eyeball's picture, which may look aside: the disc that is least like the white around it.

    centre, radius: of the ball; iris: radius. Red veins and dark corners are as unlike the white, but no such disc."""
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]] - centre
    out = x * x + y * y
    white = np.median(picture[(out < (0.75 * radius) ** 2) & (out > (0.55 * radius) ** 2)][:, :3], axis=0)
    off = np.maximum.reduce([np.abs(picture[..., k] - np.float32(white[k])) for k in range(3)])
    off = np.minimum(off, IRIS_CONTRAST) * (out < (0.95 * radius) ** 2)
    step = picture.shape[0] / FIND_PX
    seen = cv2.resize(off.astype(np.float32), (FIND_PX, FIND_PX), interpolation=cv2.INTER_AREA)
    apart = cv2.filter2D(seen, -1, _disc_and_ring(iris / step), borderType=cv2.BORDER_REPLICATE)
    middle = (FIND_PX - 1) / 2
    apart[np.hypot(*(np.mgrid[:FIND_PX, :FIND_PX] - middle)) > IRIS_ASIDE * radius / step] = -np.inf
    row, column = np.unravel_index(int(apart.argmax()), apart.shape)
    return (float(column) + 0.5) * step - 0.5, (float(row) + 0.5) * step - 0.5


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


def _without_shadows(picture: U8) -> U8:
    """A sprite of teeth (BGRA) without what is dark in it."""
    share = np.clip((picture[..., :3] @ LUMA - SHADOW_TO) / (SHADOW_FROM - SHADOW_TO), 0.0, 1.0)
    return np.dstack([picture[..., :3], np.rint(picture[..., 3] * share)]).astype(np.uint8)


def _gum_line(picture: U8) -> float:
    """Row of an upper teeth's picture (BGRA) at which, in its middle, tooth begins; 0 when it is all tooth."""
    width = picture.shape[1]
    middle = picture[:, round(0.35 * width) : round(0.65 * width)].astype(np.float32)
    bright = (middle[..., :3] @ LUMA) * (middle[..., 3] > 128)
    rows = np.median(bright, axis=1)
    return float(np.argmax(rows > 0.7 * rows.max())) if rows.max() > 0 else 0.0


def _white(picture: U8) -> float:
    """Brightness that three quarters of the solid pixels of a BGRA picture stay below."""
    solid = picture[..., :3][picture[..., 3] > 200]
    return max(float(np.percentile(solid.astype(np.float32) @ LUMA.astype(np.float32), 75)), 40.0) if len(solid) else 200.0


def grown(picture: U8) -> U8:
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


def mouth(persona: Persona, centre: F32) -> Mouth | None:
    """What is in the mouth; None when the file does not show it. centre: (3,) of the persona's frame."""
    mesh = persona.meshes.get("open_mouth")
    if mesh is None or any(persona.images.get(n) is None or f"{n}_xywh_px" not in persona.metadata for n in SPRITES):
        return None
    lanes = np.zeros((len(SPRITES), SPRITE_SIDE, SPRITE_SIDE), np.uint64)
    sizes, corners, steps, uppers, gum = [], [], [], [], 0.0
    depth = float(mesh[list(topology.MOUTH_UPPER[3:8]), 2].mean() + 0.02 * np.ptp(mesh[:MESH_POINTS, 0]))
    for n, name in enumerate(SPRITES):
        picture = persona.images[name] if name == "tongue" else _without_shadows(persona.images[name])
        small = shrink(picture, max(1.0, max(picture.shape[:2]) / SPRITE_SIDE))
        height, width = small.shape[:2]
        solid = np.dstack([grown(small), small[..., 3]])
        solid[..., :3] = np.rint(solid[..., :3] * SPRITE_LIGHT[n])
        solid[..., 3] = np.rint(solid[..., 3] * _window(width, SPRITE_REACH[n]))
        lanes[n, :height, :width] = to_lanes(solid)
        x, y, w, h = json.loads(persona.metadata[f"{name}_xywh_px"])
        x, w = x - w * (SPRITE_WIDER[n] - 1.0) / 2.0, w * SPRITE_WIDER[n]
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
