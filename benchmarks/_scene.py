"""A synthetic camera for the leak test: people before a room, in motion, with a canary on every face pixel, and events that try the guard.

Everything follows from (seed, index): any frame can be drawn at any time, in any process.

Convention: an actor's sprite has its face's middle at (0, 0); `Pose` takes sprite pixels to frame pixels (pixel centres).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from _oracle import Canary
from numpy.typing import NDArray

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

WEARER, OTHER = 0, 1
EVENT_FRAMES = 190
"""One event in so many frames; its first BEFORE frames are healthy."""
BEFORE = 30
LASTS = 70
LONG = 130
"""Frames for which the chair stays empty: long enough for an empty picture to go on air."""
SCENE_EVENTS = ("no face", "leaves and comes back", "second person", "entry left", "entry right", "entry above", "entry below", "fast turn")
STAGE_EVENTS = tuple(f"exception in {stage}" for stage in ("search", "track", "align", "crop", "swap", "colour", "mask", "blend"))
DRAW_EVENTS = ("NaN crop", "black crop", "stale mask", "empty mask", "nothing drawn")
PROCESS_EVENTS = ("SIGKILL", "SIGSTOP, SIGCONT", "kill in mid-write", "camera gone")
KINDS = SCENE_EVENTS + STAGE_EVENTS + DRAW_EVENTS + PROCESS_EVENTS


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


def astronaut() -> Sprite:
    """NASA's portrait of Eileen Collins (public domain), cut out of scikit-image's picture."""
    from skimage.data import astronaut as picture

    image = np.ascontiguousarray(picture()[4:300, 66:396, ::-1])
    alpha = np.zeros(image.shape[:2], np.uint8)
    cv2.ellipse(alpha, (161, 92), (72, 80), 0, 0, 360, 255, -1)
    cv2.fillPoly(alpha, [np.array(((0, 296), (44, 196), (105, 148), (235, 152), (296, 212), (326, 296)), np.int32)], 255)
    alpha = cv2.GaussianBlur(alpha, (9, 9), 0)
    origin = (157.0, 123.0)
    turn = np.linspace(0.0, 2.0 * np.pi, 40, endpoint=False)
    oval = np.stack((30.0 * np.cos(turn), 40.0 * np.sin(turn) - 3.0), axis=1).astype(np.float32)
    five = np.array(((136, 98), (178, 99), (156, 123), (141, 140), (176, 139)), np.float32) - np.array(origin, np.float32)
    return Sprite(np.dstack((image, alpha)), origin, oval, five, 107.0)


def another(sprite: Sprite) -> Sprite:
    """Somebody else: mirrored, darker, of another tone and form."""
    bgra = np.ascontiguousarray(sprite.bgra[:, ::-1])
    table = np.clip(255.0 * (np.arange(256)[:, None] / 255.0) ** np.array((1.5, 1.35, 1.2)), 0, 255).astype(np.uint8)
    for channel in range(3):
        bgra[..., channel] = cv2.LUT(bgra[..., channel], np.ascontiguousarray(table[:, channel]))
    flip = np.array((-1.0, 1.0), np.float32)
    five = (sprite.five_px * flip)[[1, 0, 2, 4, 3]]
    return Sprite(bgra, (bgra.shape[1] - 1 - sprite.origin_px[0], sprite.origin_px[1]), sprite.oval_px * flip, five, sprite.face_height)


class Scene:
    """The camera's pictures. width_px, height_px: multiples of 4."""

    def __init__(self, seed: int, width_px: int = 480, height_px: int = 270, canary: Canary | None = None) -> None:
        self.seed, self.size_px = seed, (width_px, height_px)
        self.canary = canary or Canary(seed, width_px, height_px)
        person = astronaut()
        self.sprites = (person, another(person))
        random = np.random.default_rng((seed, 1))
        self._room = _room(random, width_px, height_px)
        self._noise = [random.normal(0.0, 2.0, (height_px, width_px, 3)).astype(np.int16) for _ in range(5)]

    def event(self, index: int) -> tuple[str, int, int]:
        """(kind, number of the event, frames since it began; negative: not yet, `lasts(kind)` or more: over) at frame `index`."""
        number = index // EVENT_FRAMES
        order = np.random.default_rng((self.seed, 2, number // len(KINDS))).permutation(len(KINDS))
        return KINDS[order[number % len(KINDS)]], number, index % EVENT_FRAMES - BEFORE

    def cast(self, index: int) -> list[tuple[int, Pose]]:
        """Who is in the picture."""
        width, height = self.size_px
        t = index / 30.0
        wearer = Pose(
            width * (0.42 + 0.03 * np.sin(1.1 * t)), height * (0.45 + 0.012 * np.sin(1.7 * t)), height * (0.46 + 0.02 * np.sin(0.6 * t)),
            4.0 * float(np.sin(0.9 * t)), 1.0 - 0.06 * abs(float(np.sin(0.7 * t))),
        )
        kind, number, since = self.event(index)
        if not 0 <= since < lasts(kind) or kind not in SCENE_EVENTS:
            return [(WEARER, wearer)]
        return _played(kind, np.random.default_rng((self.seed, 3, number)), since, wearer, self.size_px)

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
        image = self._room.copy()
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


def lasts(kind: str) -> int:
    """Frames that an event takes."""
    return LONG if kind in ("no face", "leaves and comes back") else LASTS


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


def _played(kind: str, random: np.random.Generator, since: int, wearer: Pose, size_px: tuple[int, int]) -> list[tuple[int, Pose]]:
    """The cast while a scene event goes on."""
    width, height = size_px
    if kind == "no face":
        return []
    if kind == "leaves and comes back":
        side = 1.0 if random.random() < 0.5 else -1.0
        gone = np.clip(min(since, LONG - since) / random.integers(8, 22), 0.0, 1.0)
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
    share = float(np.clip(min(since, LASTS - since) / random.integers(6, 24), 0.0, 1.0)) * random.uniform(0.35, 1.0)
    pose = Pose(start[0] + share * (stop[0] - start[0]), start[1] + share * (stop[1] - start[1]), size, random.uniform(-15.0, 15.0))
    return [(WEARER, wearer), (OTHER, pose)] if random.random() < 0.6 else [(OTHER, pose)]
