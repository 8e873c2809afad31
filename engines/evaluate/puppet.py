"""Rendered people who answer enrolment's prompts, and flat pictures of them: what a camera sees, and what the live tracker makes of it.

A library per person: frames at rest, turning, looking aside, with shut lids, with an open mouth, each found by the detector and followed by the
tracker.  Flat attacks are frames of it on a card that is turned before the camera (an exact plane homography), or bent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from engines.synth.cast import Actor, load_actor
from engines.synth.expression import Pose, with_lids
from engines.synth.film import develop, over
from engines.synth.light import ROOM_COOL, ROOM_DAY, ROOM_SIDE, ROOM_WARM, SOFT_FRONT
from engines.synth.sampler import HELD_OUT_FROM, sample
from engines.synth.scene import Camera
from livecam import detect, track
from livecam.app.enrol import observe
from livecam.config import DetectConfig, TrackConfig
from livecam.persona._prompts import Observation
from livecam.store import Store
from livecam.types import U8, Frame

SIZE = (640, 480)
FOCAL_PX = 640.0
LOOKS = 6
"""Frames that the tracker sees of each picture: its smoothing has settled then."""
FRAME_NS = 33_000_000
LIGHTS = (SOFT_FRONT, ROOM_DAY, ROOM_WARM, ROOM_COOL, ROOM_SIDE)
TURNS_DEG = (6.0, 12.0, 18.0, 22.0, 26.0, 32.0)
GAZES_DEG = (8.0, 16.0, 24.0, 32.0)


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture and what is seen in it. kind: "rest", "turn", "look", "shut", "mouth"; amount: degrees or share, positive to the subject's left."""

    kind: str
    amount: float
    seen: Observation
    picture: U8


class Eyes:
    """The live detector and tracker."""

    def __init__(self, cache: Path) -> None:
        store = Store(cache)
        self._detector = detect.load("yunet", DetectConfig(), store)
        self._tracker = track.load("mediapipe", TrackConfig(), store)
        self._now_ns = 0

    def see(self, picture: U8) -> Observation | None:
        """What a still picture shows, None without a face."""
        self._tracker.reset()
        found = self._detector.detect(picture)
        faces = ()
        for k in range(LOOKS):
            self._now_ns += FRAME_NS
            faces = self._tracker.update(Frame(picture, self._now_ns, 0), found if k == 0 else None)
        return observe(faces, len(found), 0.0) if faces else None


def poses() -> Iterator[tuple[str, float, Pose]]:
    """What each library holds."""
    for k in range(4):
        yield "rest", 0.0, Pose({"eyeBlinkLeft": 0.04, "eyeBlinkRight": 0.04}, (k - 1.5, 0.7 * (k % 2)), (1.2 * (k - 1.5), 0.8 * (k % 3), 0.0))
    for sign in (1.0, -1.0):
        for yaw in TURNS_DEG:
            yield "turn", sign * yaw, Pose({}, (-0.6 * sign * yaw, 0.0), (sign * yaw, 1.0, 0.1 * sign * yaw))
        for gaze in GAZES_DEG:
            yield "look", sign * gaze, Pose(with_lids({}, (sign * gaze, 0.0)), (sign * gaze, 0.0))
    for shut in (0.5, 1.0):
        yield "shut", shut, Pose({"eyeBlinkLeft": shut, "eyeBlinkRight": shut})
    for jaw in (0.3, 0.6, 0.9):
        yield "mouth", jaw, Pose({"jawOpen": jaw})


def library(seed: int, eyes: Eyes, assets: Path, cache: Path) -> list[Shot]:
    """A held-out person's shots that are found as a face."""
    actor: Actor = load_actor(sample(HELD_OUT_FROM + seed).look, assets, cache)
    rng = np.random.default_rng((seed, 5))
    centre = actor.person.head_centre()
    distance = float(rng.uniform(4.5, 8.0))
    middle = (SIZE[0] / 2 + float(rng.uniform(-40, 40)), SIZE[1] / 2 + float(rng.uniform(-20, 20)))
    place = (float(rng.uniform(-0.6, 0.6)), float(centre[1]) + float(rng.uniform(-0.5, 0.5)), float(centre[2]) + distance)
    camera = Camera(FOCAL_PX, middle, place, SIZE)
    light = LIGHTS[seed % len(LIGHTS)]
    wall = np.full((SIZE[1], SIZE[0], 3), rng.uniform(0.05, 0.3, 3), np.float32)
    shots: list[Shot] = []
    for number, (kind, amount, pose) in enumerate(poses()):
        drawn = actor.renderer.draw(pose, camera, light)
        picture = develop(over(drawn.rgba, drawn.origin, wall), light.exposure, noise=1.5, seed=1000 * seed + number)
        seen = eyes.see(picture)
        if seen is not None:
            shots.append(Shot(kind, amount, seen, picture))
    return shots


def tilted(picture: U8, middle: tuple[float, float], yaw_deg: float, pitch_deg: float, distance: float, bend: float = 0.0) -> U8:
    """The picture on a card turned about the face's middle. distance: of the card, in its own widths; bend: radians over the card's width that it is
    curved about the vertical, 0 flat."""
    height, width = picture.shape[:2]
    turn = cv2.Rodrigues(np.array([math.radians(pitch_deg), 0.0, 0.0]))[0] @ cv2.Rodrigues(np.array([0.0, math.radians(yaw_deg), 0.0]))[0]
    far = distance * width
    u, v = np.meshgrid(np.linspace(-0.75 * width, 0.75 * width, 240), np.linspace(-0.75 * height, 0.75 * height, 180))
    if bend:
        radius = width / bend
        flat = np.stack((radius * np.sin(u / radius), v, radius * (1 - np.cos(u / radius))), axis=-1)
    else:
        flat = np.stack((u, v, np.zeros_like(u)), axis=-1)
    placed = flat @ turn.T
    x = middle[0] + placed[..., 0] * far / (far + placed[..., 2])
    y = middle[1] + placed[..., 1] * far / (far + placed[..., 2])
    if not bend:
        at = [(0, 0), (0, -1), (-1, 0), (-1, -1)]
        source = np.array([(u[i] + middle[0], v[i] + middle[1]) for i in at], np.float32)
        target = np.array([(x[i], y[i]) for i in at], np.float32)
        matrix = cv2.getPerspectiveTransform(source, target)
        return np.asarray(cv2.warpPerspective(picture, matrix, (width, height), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE), np.uint8)
    return _scattered(picture, u + middle[0], v + middle[1], x, y)


def _scattered(picture: U8, u: np.ndarray, v: np.ndarray, x: np.ndarray, y: np.ndarray) -> U8:
    """The picture carried along a grid of points, cell by cell."""
    out = picture.copy()
    height, width = picture.shape[:2]
    map_x, map_y = np.full((height, width), -1, np.float32), np.full((height, width), -1, np.float32)
    for row in range(x.shape[0]):  # each row of the card stays nearly a row: interpolate along it, then down
        order = np.argsort(x[row])
        columns = np.arange(width)
        line = np.clip(np.rint(np.interp(columns, x[row][order], y[row][order])), 0, height - 1).astype(int)
        map_x[line, columns] = np.interp(columns, x[row][order], u[row][order])
        map_y[line, columns] = v[row].mean()
    for column in range(width):
        known = np.flatnonzero(map_x[:, column] > -0.5)
        if len(known) > 1:
            map_x[:, column] = np.interp(np.arange(height), known, map_x[known, column])
            map_y[:, column] = np.interp(np.arange(height), known, map_y[known, column])
    cv2.remap(picture, map_x, map_y, cv2.INTER_LINEAR, dst=out, borderMode=cv2.BORDER_REPLICATE)
    return out


def moved(seen: Observation, at_s: float, rng: np.random.Generator, track_id: int = 1) -> Observation:
    """The same with a camera's and a body's unrest, at another time."""
    noise = rng.normal(0.0, 0.25, seen.points.shape).astype(np.float32)
    shift = np.array([*rng.normal(0.0, 1.0, 2), 0.0], np.float32)
    yaw, pitch, gaze = (value + float(rng.normal(0.0, s)) for value, s in ((seen.yaw_deg, 0.5), (seen.pitch_deg, 0.5), (seen.gaze_deg, 0.7)))
    return replace(seen, at_s=at_s, track=track_id, yaw_deg=yaw, pitch_deg=pitch, gaze_deg=gaze, points=seen.points + noise + shift)
