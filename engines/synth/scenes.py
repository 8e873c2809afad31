"""Random scenes: pose, expression, gaze, light, lens, background, camera; all from one generator.

Convention: angles as in `expression`; lengths in decimetres; colours linear.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from engines.synth import camera as webcam
from engines.synth.assets import Floats
from engines.synth.expression import Pose
from engines.synth.light import (
    ROOM_COOL,
    ROOM_DAY,
    ROOM_DIM,
    ROOM_SIDE,
    ROOM_WARM,
    SOFT_FRONT,
    Lamp,
    Light,
)
from engines.synth.room import Room, make_room

Rng = np.random.Generator

YAW_SD_DEG, YAW_MOST_DEG = 16.0, 45.0
WIDE_YAW_SHARE = 0.25
"""Share of poses whose yaw is uniform instead of near the front."""
FACE_PX = (88.0, 220.0)
"""Width of the face in the frame; log-uniform."""
DISTANCE_DM = (4.0, 9.0)
OCCLUDER_SHARE = 0.28
SHUT_SHARE, HALF_SHUT_SHARE = 0.10, 0.10
CAMERA_FACE_PX = 220.0
"""Width of the face for which the camera's blurs are meant; they shrink with smaller faces."""
METERED, METERED_SD = 1.3, 0.24
"""Irradiance of the face that a camera's metering arrives at, and its spread (log)."""
WRAP = 0.2
PAIRED = ("mouthSmile", "mouthFrown", "mouthStretch", "mouthPress", "mouthDimple", "mouthUpperUp",
          "mouthLowerDown", "noseSneer", "cheekSquint", "eyeSquint", "eyeWide", "browDown",
          "browOuterUp")
"""Actions with a left and a right half."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything but the people. shift: of the face from the frame's middle, in face widths;
    backdrop_seed, noise_seed, occluder_seed (-1: none) feed their own generators."""

    pose: Pose
    light: Light
    face_px: float
    distance_dm: float
    shift: tuple[float, float]
    camera: webcam.Settings
    backdrop_seed: int
    noise_seed: int
    occluder_seed: int


def sample(rng: Rng, face_px: float | None = None) -> Scene:
    """A scene at random. face_px: width of the face, if it is not to be random too."""
    # Drawn in any case, so that the rest of a scene is the same for a seed.
    drawn = float(np.exp(rng.uniform(*np.log(FACE_PX))))
    face_px = face_px or drawn
    settings = webcam.sample(rng)
    smaller = face_px / CAMERA_FACE_PX
    settings = replace(settings, lens_blur_px=settings.lens_blur_px * smaller,
                       motion_px=settings.motion_px * smaller)
    return Scene(
        pose=sample_pose(rng), light=sample_light(rng), face_px=face_px,
        distance_dm=float(rng.uniform(*DISTANCE_DM)),
        shift=(float(rng.normal(0, 0.06)), float(rng.normal(0, 0.06))), camera=settings,
        backdrop_seed=int(rng.integers(1 << 31)), noise_seed=int(rng.integers(1 << 30)),
        occluder_seed=int(rng.integers(1 << 31)) if rng.random() < OCCLUDER_SHARE else -1)


# -- pose and expression ----------------------------------------------------------------------


def sample_pose(rng: Rng) -> Pose:
    """Head, gaze and facial actions at random."""
    if rng.random() < WIDE_YAW_SHARE:
        yaw = rng.uniform(-YAW_MOST_DEG, YAW_MOST_DEG)
    else:
        yaw = np.clip(rng.normal(0, YAW_SD_DEG), -YAW_MOST_DEG, YAW_MOST_DEG)
    pitch = np.clip(rng.normal(-1, 9), -25, 24)
    roll = np.clip(rng.normal(0, 7), -22, 22)
    if rng.random() < 0.55:
        gaze = (np.clip(-0.9 * yaw + rng.normal(0, 4), -28, 28),
                np.clip(-0.9 * pitch + rng.normal(0, 4), -20, 16))
    else:
        gaze = (np.clip(rng.normal(0, 13), -30, 30), np.clip(rng.normal(-2, 8), -22, 16))
    return Pose(sample_actions(rng), (float(gaze[0]), float(gaze[1])),
                (float(yaw), float(pitch), float(roll)))


def sample_actions(rng: Rng) -> dict[str, float]:
    """A realistic mixture of the 52 facial actions."""
    kinds = ("calm", "talk", "smile", "laugh", "open", "other")
    kind = str(rng.choice(kinds, p=(0.16, 0.32, 0.18, 0.12, 0.08, 0.14)))
    mouth = {"calm": _calm, "talk": _talk, "smile": _smile, "laugh": _laugh, "open": _open,
             "other": _other}[kind](rng)
    for name, value in _upper(rng).items():
        mouth[name] = max(mouth.get(name, 0.0), value)
    out = _both_sides(rng, mouth)
    out.update(_lids(rng, out))
    return {k: float(np.clip(v, 0, 1)) for k, v in out.items() if v > 0.01}


def _both_sides(rng: Rng, actions: dict[str, float]) -> dict[str, float]:
    """Paired actions on both halves, a little uneven."""
    tilt = float(np.clip(rng.normal(0, 0.14), -0.4, 0.4))
    out: dict[str, float] = {}
    for name, value in actions.items():
        if name in PAIRED:
            out[f"{name}Left"], out[f"{name}Right"] = value * (1 + tilt), value * (1 - tilt)
        else:
            out[name] = value
    return out


def _calm(rng: Rng) -> dict[str, float]:
    return {"mouthSmile": float(rng.uniform(0, 0.25)), "mouthPress": float(rng.uniform(0, 0.3)),
            "mouthFrown": float(rng.uniform(0, 0.25)), "jawOpen": float(rng.uniform(0, 0.06))}


def _talk(rng: Rng) -> dict[str, float]:
    jaw = float(rng.beta(1.3, 2.6) * 0.85)
    rounded = float(rng.uniform(0, 0.8)) if rng.random() < 0.4 else 0.0
    out = {"jawOpen": jaw, "mouthFunnel": 0.8 * rounded, "mouthPucker": 0.5 * rounded,
           "mouthStretch": float(rng.uniform(0, 0.45)) * (1 - rounded),
           "mouthUpperUp": float(rng.uniform(0, 0.5)), "mouthLowerDown": float(rng.uniform(0, 0.5)),
           "mouthSmile": float(rng.uniform(0, 0.35)) * (1 - rounded)}
    if rng.random() < 0.15:
        out.update({"jawOpen": 0.02, "mouthRollLower": float(rng.uniform(0.1, 0.6)),
                    "mouthRollUpper": float(rng.uniform(0.1, 0.4)), "mouthUpperUp": 0.0,
                    "mouthLowerDown": 0.0})
    return out


def _smile(rng: Rng) -> dict[str, float]:
    force = float(rng.uniform(0.3, 0.95))
    return {"mouthSmile": force, "cheekSquint": 0.6 * force, "mouthDimple": 0.3 * force,
            "eyeSquint": float(rng.uniform(0, 0.4)) * force}


def _laugh(rng: Rng) -> dict[str, float]:
    force = float(rng.uniform(0.5, 1.0))
    return {"mouthSmile": force, "cheekSquint": 0.7 * force, "mouthUpperUp": 0.7 * force,
            "mouthLowerDown": float(rng.uniform(0.1, 0.7)), "jawOpen": float(rng.uniform(0, 0.5)),
            "eyeSquint": float(rng.uniform(0.1, 0.6)) * force}


def _open(rng: Rng) -> dict[str, float]:
    out = {"jawOpen": float(rng.uniform(0.5, 1.0)), "mouthUpperUp": float(rng.uniform(0, 0.6)),
           "mouthLowerDown": float(rng.uniform(0.1, 0.7)), "mouthFunnel": float(rng.uniform(0, 0.4))}
    if rng.random() < 0.2:
        out["tongueOut"] = float(rng.uniform(0.2, 0.8))
    return out


def _other(rng: Rng) -> dict[str, float]:
    names = ("mouthFrown", "mouthPucker", "mouthPress", "noseSneer", "mouthRollLower", "cheekPuff",
             "mouthShrugLower", "mouthShrugUpper", "mouthLeft", "mouthRight", "jawLeft", "jawRight",
             "jawForward", "mouthFunnel", "mouthDimple", "mouthStretch")
    chosen = rng.choice(len(names), int(rng.integers(1, 4)), replace=False)
    out = {names[int(k)]: float(rng.uniform(0.15, 0.75)) for k in chosen}
    out["jawOpen"] = float(rng.uniform(0, 0.25)) if rng.random() < 0.4 else 0.0
    return out


def _upper(rng: Rng) -> dict[str, float]:
    """Brows and eyes."""
    out: dict[str, float] = {}
    roll = rng.random()
    if roll < 0.30:
        up = float(rng.uniform(0.1, 0.9))
        out.update({"browInnerUp": up, "browOuterUp": float(rng.uniform(0.3, 1)) * up})
    elif roll < 0.48:
        out["browDown"] = float(rng.uniform(0.1, 0.8))
    elif roll < 0.55:
        out["browInnerUp"] = float(rng.uniform(0.2, 0.8))
    if rng.random() < 0.12:
        out["eyeWide"] = float(rng.uniform(0.2, 0.9))
    if rng.random() < 0.2:
        out["eyeSquint"] = float(rng.uniform(0.1, 0.5))
    return out


def _lids(rng: Rng, actions: dict[str, float]) -> dict[str, float]:
    """Blinks, half-closed lids, seldom a wink; open eyes otherwise."""
    roll = rng.random()
    if roll < SHUT_SHARE:
        left = right = float(rng.uniform(0.9, 1.0))
        if rng.random() < 0.12:
            left, right = (left, 0.05) if rng.random() < 0.5 else (0.05, right)
    elif roll < SHUT_SHARE + HALF_SHUT_SHARE:
        left = float(rng.uniform(0.3, 0.85))
        right = left
    else:
        left = right = float(rng.uniform(0.0, 0.16))
    out = {"eyeBlinkLeft": left, "eyeBlinkRight": right}
    for side in ("Left", "Right"):
        for name in ("eyeSquint", "eyeWide"):
            out[f"{name}{side}"] = actions.get(f"{name}{side}", 0.0) * (1 - out[f"eyeBlink{side}"])
    return out


# -- light -------------------------------------------------------------------------------------


def kelvin(temperature: float) -> Floats:
    """Linear RGB (3,) of a black body of mean 1, 2000..12000 K (fit by T. Helland to CIE 1964)."""
    t = temperature / 100.0
    red = 255.0 if t <= 66 else 329.7 * (t - 60) ** -0.1332
    green = 99.47 * np.log(t) - 161.12 if t <= 66 else 288.12 * (t - 60) ** -0.0755
    blue = 255.0 if t >= 66 else 138.52 * np.log(max(t - 10, 1.01)) - 305.04
    rgb = (np.clip([red, green, max(blue, 0.0)], 5, 255) / 255.0) ** 2.2
    return (rgb / rgb.mean()).astype(np.float32)


def _tinted(rng: Rng, strength: float, base: float) -> tuple[float, float, float]:
    """Light of some strength, its colour half adapted to by the camera's white balance."""
    temperature = float(np.clip(base * np.exp(rng.normal(0, 0.18)), 2300, 11000))
    r, g, b = (strength * kelvin(temperature) ** 0.55).tolist()
    return (r, g, b)


def sample_light(rng: Rng) -> Light:
    """A key light, a fill, a rim and an ambient light; sometimes one of the demo's rooms."""
    if rng.random() < 0.2:
        lights = (SOFT_FRONT, ROOM_DAY, ROOM_WARM, ROOM_COOL, ROOM_DIM, ROOM_SIDE)
        return lights[int(rng.integers(len(lights)))]
    base = float(np.exp(rng.uniform(np.log(2900), np.log(8500))))
    azimuth = float(np.clip(rng.normal(0, 42), -95, 95))
    key = float(rng.uniform(0.35, 1.0))
    lamps = (
        Lamp(azimuth, float(np.clip(rng.normal(22, 16), -20, 70)), _tinted(rng, key, base), 1.0,
             float(rng.uniform(0.10, 0.38))),
        Lamp(-azimuth * float(rng.uniform(0.4, 1.2)) + float(rng.normal(0, 20)),
             float(rng.uniform(-5, 30)), _tinted(rng, float(rng.uniform(0.05, 0.4)), base), 0.6),
        Lamp(float(rng.choice([-1, 1]) * rng.uniform(120, 165)), float(rng.uniform(10, 45)),
             _tinted(rng, float(rng.uniform(0.0, 0.4)), base), 0.6))
    sky = float(rng.uniform(0.14, 0.5)) * (1.25 - 0.5 * key)
    ambient = [_tinted(rng, s, base) for s in (
        sky, sky * float(rng.uniform(0.35, 0.8)), float(rng.uniform(0.03, 0.17)))]
    side = (rng.normal(0, 0.03) * np.ones(3)).tolist()
    light = Light("random", lamps, ambient[0], ambient[1], ambient[2],
                  (side[0], side[1], side[2]))
    wanted = float(np.exp(rng.normal(np.log(METERED), METERED_SD)))
    return replace(light, exposure=wanted / facing_light(light))


def facing_light(light: Light) -> float:
    """Irradiance of a surface that faces the camera, about 1 for a well-lit face."""
    ambient = light.ambient_rows()
    direct = sum(float(np.mean(row[3:6])) * max((float(row[2]) + WRAP) / (1 + WRAP), 0.0)
                 for row in light.lamp_rows(1.0))
    return float(ambient[0].mean() + ambient[3].mean()) + direct


# -- backdrop ----------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _rooms() -> tuple[Room, ...]:
    return tuple(make_room(seed=s) for s in (4, 11))


@lru_cache(maxsize=16)
def _lit_room(index: int, which: int) -> Floats:
    lights = (ROOM_DAY, ROOM_WARM, ROOM_COOL, ROOM_DIM, SOFT_FRONT)
    return _rooms()[index].lit(lights[which])


def backdrop(seed: int, side: int, light: Light) -> Floats:
    """A background (side, side, 3), linear: a gradient, blurred shapes and noise, or a room."""
    rng = np.random.default_rng([seed, 7])
    roll = rng.random()
    mean = light.ambient_rows()[0] + np.float32(0.25) * np.array(light.lamps[0].colour, np.float32)
    if roll < 0.3:
        return _room_part(rng, side)
    colours = np.clip(rng.uniform(0.02, 0.75, (4, 3)) * 0.35 + rng.uniform(0.02, 0.7, (4, 1)), 0, 1)
    corners = colours.reshape(2, 2, 3).astype(np.float32)
    out = cv2.resize(corners, (side, side), interpolation=cv2.INTER_LINEAR)
    if roll > 0.45:
        out = _shapes(rng, out)
    return np.clip(out * mean * 1.3, 0.002, 2).astype(np.float32)


def _room_part(rng: Rng, side: int) -> Floats:
    room = _lit_room(int(rng.integers(2)), int(rng.integers(5)))
    part = int(rng.integers(240, 640))
    y, x = int(rng.integers(0, 720 - part)), int(rng.integers(0, 1280 - part))
    out = cv2.resize(room[y:y + part, x:x + part], (side, side), interpolation=cv2.INTER_AREA)
    return out[:, ::-1].copy() if rng.random() < 0.5 else out


def _shapes(rng: Rng, out: Floats) -> Floats:
    side = out.shape[0]
    for _ in range(int(rng.integers(3, 14))):
        colour = tuple((rng.uniform(0.02, 0.9) * rng.uniform(0.6, 1.2, 3)).tolist())
        x, y = (int(v) for v in rng.integers(-side // 4, side * 5 // 4, 2))
        w, h = (int(v) for v in rng.integers(side // 16, side // 2, 2))
        if rng.random() < 0.6:
            cv2.rectangle(out, (x, y), (x + w, y + h), colour, -1)
        else:
            cv2.ellipse(out, (x, y), (w, h), float(rng.uniform(0, 180)), 0, 360, colour, -1)
    grain = rng.normal(1, 0.25, (max(side // 8, 2), max(side // 8, 2), 1)).astype(np.float32)
    grain = cv2.resize(grain, (side, side), interpolation=cv2.INTER_CUBIC)[..., None]
    out = out * np.clip(grain, 0.4, 1.6)
    return _soft(out, float(rng.uniform(0.006, 0.05)) * side)


def _soft(picture: Floats, sigma: float) -> Floats:
    """Gaussian blur of (H, W, 3); wide ones at a part of the size, less what the two resizings blur (steps^2 / 4)."""
    steps = 4 if sigma >= 12 else 2 if sigma >= 5 else 1
    if steps == 1:
        return cv2.GaussianBlur(picture, (0, 0), sigma)
    height, width = picture.shape[:2]
    # Reflected about the middle of its outermost pixels, as a blur at full size does it, and up to whole steps.
    rim = steps * int(np.ceil(3.5 * sigma / steps))
    rim = min(rim, (min(height, width) - steps) // steps * steps)
    wide = cv2.copyMakeBorder(picture, rim, rim + -height % steps, rim, rim + -width % steps, cv2.BORDER_REFLECT_101)
    small = cv2.resize(wide, None, fx=1 / steps, fy=1 / steps, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), float(np.sqrt((sigma / steps) ** 2 - 0.25)))
    soft = cv2.resize(small, (wide.shape[1], wide.shape[0]), interpolation=cv2.INTER_LINEAR)
    return soft[rim:rim + height, rim:rim + width]
