"""A synthetic camera: people before a room, in motion, with a canary on every face pixel, and events that try the guard.

Everything follows from (seed, index): any frame can be drawn at any time, in any process.

Convention: an actor's sprite has its face's middle at (0, 0); `Pose` takes sprite pixels to frame pixels (pixel centres).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from livecam import persona
from livecam.persona.embed import FIVE_OF_MESH
from livecam.soak.kinds import Event, Schedule
from livecam.soak.oracle import Canary
from livecam.types import F32, MESH_POINTS, U8, Persona

WEARER, OTHER = 0, 1
INTERIOR = 0.75
"""What of a face may never be seen: its outline drawn in by this factor. Outside, persona and wearer fade into each other."""
LARGEST_FACE = 0.55
"""Of the frame's height: sprites are kept no larger than this needs."""
BODY = 1.2
"""A portrait ends at the shoulders; below it, its last row goes on for this share of its height."""
WORN = "noor"
"""As app/build.py chooses."""
BACKDROP_APART = 14
"""Grey levels from a portrait's plain backdrop that are the person."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Where an actor is: middle of the face and height of the face in pixels of the frame, turn in the picture, squeeze across (a turned head)."""

    x_px: float
    y_px: float
    height_px: float
    roll_deg: float = 0.0
    squeeze: float = 1.0

    def matrix(self, face_height: float) -> NDArray[np.float64]:
        """(2, 3): sprite to frame."""
        scale, turn = self.height_px / face_height, np.radians(self.roll_deg)
        c, s = np.cos(turn) * scale, np.sin(turn) * scale
        return np.array(((c * self.squeeze, -s, self.x_px), (s * self.squeeze, c, self.y_px)))


@dataclass(frozen=True, slots=True)
class Sprite:
    """bgra: (h, w, 4) uint8. origin_px: the face's middle in it. oval_px: (N, 2) interior of the face (three quarters of its outline);
    five_px: (5, 2); both from the origin."""

    bgra: U8
    origin_px: tuple[float, float]
    oval_px: F32
    five_px: F32
    face_height: float


@dataclass(frozen=True, slots=True)
class Shown:
    """Truth: an actor in a frame. oval_px, five_px: frame pixels. inside: share of the oval that lies in the frame."""

    actor: int
    pose: Pose
    oval_px: F32
    five_px: F32
    inside: float


def sprite(portrait: Persona, face_height_px: int) -> Sprite:
    """The person of a portrait, cut out of its plain backdrop, the face `face_height_px` high."""
    picture, mesh = portrait.images["neutral"], portrait.meshes["neutral"][:MESH_POINTS, :2]
    alpha = _cut_out(picture)
    height, width = alpha.shape
    body = ((0, round(BODY * height)), (0, 0), cv2.BORDER_REPLICATE)
    bgra = np.dstack((_longer(picture, *body), _longer(alpha, *body)))
    low, high = mesh.min(axis=0), mesh.max(axis=0)
    scale = min(1.0, face_height_px / float(high[1] - low[1]))
    size = (max(1, round(width * scale)), max(1, round(bgra.shape[0] * scale)))
    small = cast(U8, cv2.resize(bgra, size, interpolation=cv2.INTER_AREA))
    share = np.array(size, np.float64) / (width, bgra.shape[0])
    origin = ((low + high) / 2.0 + 0.5) * share - 0.5

    def placed(points: F32) -> F32:
        return (((points + 0.5) * share - 0.5) - origin).astype(np.float32)

    hull = cast(F32, cv2.convexHull(np.ascontiguousarray(mesh, np.float32)).reshape(-1, 2))
    middle = hull.mean(axis=0)
    five = portrait.meshes["neutral"][list(FIVE_OF_MESH), :2]
    interior = placed(middle + (hull - middle) * np.float32(INTERIOR))
    return Sprite(small, (float(origin[0]), float(origin[1])), interior, placed(five), float(high[1] - low[1]) * float(share[1]))


def _cut_out(picture: U8) -> U8:
    """(H, W) uint8 alpha of a person before a plain backdrop; a head cut off by the picture's upper edge is rounded."""
    height, width = picture.shape[:2]
    backdrop = np.median(picture[: height // 3, : width // 40].reshape(-1, 3), axis=0)
    apart = np.abs(picture.astype(np.int16) - backdrop.astype(np.int16)).max(axis=2)
    alpha = np.where(apart > BACKDROP_APART, 255, 0).astype(np.uint8)
    alpha = cv2.morphologyEx(alpha, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    outside = np.pad(alpha, 1)
    cv2.floodFill(outside, None, (0, 0), 128)  # grey eyes and hair are holes, not backdrop
    alpha = np.where(outside[1:-1, 1:-1] == 128, 0, 255).astype(np.uint8)
    round_head = np.zeros_like(alpha)
    cv2.ellipse(round_head, (width // 2, height), (round(0.75 * width), height), 0, 180, 360, 255, -1)
    return cast(U8, cv2.GaussianBlur(cv2.bitwise_and(alpha, round_head), (5, 5), 0))


def _longer(picture: U8, down: tuple[int, int], across: tuple[int, int], how: int) -> U8:
    return cast(U8, cv2.copyMakeBorder(picture, *down, *across, how))


def two_people(seed: int) -> tuple[str, str]:
    """Two of the personas that ship, by seed; never the one that is worn when none is named."""
    names = [name for name in persona.names() if name != WORN]
    first, second = np.random.default_rng((seed, 4)).permutation(len(names))[:2]
    return names[first], names[second]


class Scene:
    """The camera's pictures. width_px, height_px: multiples of 4."""

    def __init__(self, seed: int, width_px: int, height_px: int, schedule: Schedule) -> None:
        self.seed, self.size_px, self.schedule = seed, (width_px, height_px), schedule
        self.canary = Canary(seed, width_px, height_px)
        largest = round(LARGEST_FACE * height_px)
        self.people = two_people(seed)
        self.sprites = tuple(sprite(persona.load(name), largest) for name in self.people)
        random = np.random.default_rng((seed, 1))
        self.room = _room(random, width_px, height_px)
        self._noise = [random.normal(0.0, 2.0, (height_px, width_px, 3)).astype(np.int16) for _ in range(5)]

    def cast(self, index: int) -> list[tuple[int, Pose]]:
        """Who is in the picture."""
        width, height = self.size_px
        t = index / 30.0
        wearer = Pose(
            width * (0.42 + 0.03 * np.sin(1.1 * t)), height * (0.45 + 0.012 * np.sin(1.7 * t)), height * (0.46 + 0.02 * np.sin(0.6 * t)),
            4.0 * float(np.sin(0.9 * t)), 1.0 - 0.06 * abs(float(np.sin(0.7 * t))),
        )
        event = self.schedule.at(index)
        if not event.active or event.kind.room != "scene":
            return [(WEARER, wearer)]
        return _played(event, np.random.default_rng((self.seed, 3, event.number)), wearer, self.size_px)

    def truth(self, index: int) -> list[Shown]:
        """Faces in frame `index`, those in front last."""
        width, height = self.size_px
        shown: list[Shown] = []
        for actor, pose in self.cast(index):
            sprite = self.sprites[actor]
            matrix = pose.matrix(sprite.face_height)
            oval = (sprite.oval_px @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
            inside = ((oval >= 0.0) & (oval <= (width - 1, height - 1))).all(axis=1).mean()
            if inside > 0.0:
                shown.append(Shown(actor, pose, oval, (sprite.five_px @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32), float(inside)))
        return shown

    def draw(self, index: int) -> U8:
        """(H, W, 3) uint8 BGR: the raw picture, the canary on every face."""
        image = self.room.copy()
        for actor, pose in self.cast(index):  # whoever is in front covers the canary behind
            sprite = self.sprites[actor]
            self._place(image, sprite, pose)
            matrix = pose.matrix(sprite.face_height)
            oval = sprite.oval_px @ matrix[:, :2].T + matrix[:, 2]
            region = np.zeros(image.shape[:2], np.uint8)
            cv2.fillConvexPoly(region, np.rint(oval * 16).astype(np.int32), 255, cv2.LINE_8, 4)
            if region.any():
                self.canary.mark(image, region)
        return np.clip(image + self._noise[index % 5], 0, 255).astype(np.uint8)

    def _place(self, image: U8, sprite: Sprite, pose: Pose) -> None:
        matrix = pose.matrix(sprite.face_height)
        matrix[:, 2] -= matrix[:, :2] @ sprite.origin_px
        placed = cv2.warpAffine(sprite.bgra, matrix, self.size_px, flags=cv2.INTER_LINEAR)
        x, y, w, h = cv2.boundingRect(placed[..., 3])
        if not w:
            return
        part, share = image[y : y + h, x : x + w], placed[y : y + h, x : x + w, 3:].astype(np.float32) / 255.0
        part[:] = np.rint(part + share * (placed[y : y + h, x : x + w, :3] - part.astype(np.float32))).astype(np.uint8)


def _room(random: np.random.Generator, width: int, height: int) -> U8:
    """A wall with a gradient, a window, a shelf and a plant."""
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    light = 150.0 + 40.0 * across / width - 50.0 * down / height
    room = np.stack((light * 0.95, light, light * 1.03), axis=2)
    room += cv2.resize(random.normal(0.0, 6.0, (9, 16, 1)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    image = np.clip(room, 0, 255).astype(np.uint8)
    cv2.rectangle(image, (int(0.7 * width), int(0.08 * height)), (int(0.93 * width), int(0.5 * height)), (225, 220, 205), -1)
    cv2.rectangle(image, (int(0.05 * width), int(0.3 * height)), (int(0.2 * width), int(0.34 * height)), (60, 80, 110), -1)
    for i in range(5):
        colour = tuple(int(v) for v in random.integers(40, 200, 3))
        cv2.rectangle(image, (int((0.06 + 0.025 * i) * width), int(0.18 * height)), (int((0.08 + 0.025 * i) * width), int(0.3 * height)), colour, -1)
    return image


def _played(event: Event, random: np.random.Generator, wearer: Pose, size_px: tuple[int, int]) -> list[tuple[int, Pose]]:
    """The cast while a scene event goes on."""
    width, height = size_px
    kind, since, lasts = event.kind.name.removeprefix("scene: "), event.since, event.kind.lasts
    if kind == "no face":
        return []
    if kind == "leaves and comes back":
        side = 1.0 if random.random() < 0.5 else -1.0
        gone = np.clip(min(since, lasts - since) / random.integers(8, 22), 0.0, 1.0)
        return [(WEARER, replace(wearer, x_px=wearer.x_px + side * gone * 0.95 * width))]
    if kind == "fast turn":  # a flat picture squeezed to 0.7, the cosine of 45 degrees: squeezed more it is no head that a tracker knows
        turn = float(np.sin(since * random.uniform(0.2, 0.5)))
        moved = replace(wearer, x_px=wearer.x_px + turn * random.uniform(0.02, 0.12) * width)
        return [(WEARER, replace(moved, roll_deg=turn * random.uniform(10.0, 60.0), squeeze=1.0 - random.uniform(0.1, 0.3) * abs(turn)))]
    size = height * random.uniform(0.28, 0.5)
    home = (width * random.uniform(0.72, 0.86), height * random.uniform(0.35, 0.6))
    if kind == "second person":
        return [(WEARER, wearer), (OTHER, Pose(*home, size))]
    start = {
        "entry left": (-size, home[1]),
        "entry right": (width + size, home[1]),
        "entry above": (home[0], -size),
        "entry below": (home[0], height + size),
    }[kind]
    stop = (width * 0.13, home[1]) if kind == "entry left" else home
    share = float(np.clip(min(since, lasts - since) / random.integers(6, 24), 0.0, 1.0)) * random.uniform(0.35, 1.0)
    pose = Pose(start[0] + share * (stop[0] - start[0]), start[1] + share * (stop[1] - start[1]), size, random.uniform(-15.0, 15.0))
    return [(WEARER, wearer), (OTHER, pose)] if random.random() < 0.6 else [(OTHER, pose)]
