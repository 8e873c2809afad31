"""How the demo's presenter moves: a pose, an offset and a light for every frame of a loop.

All curves are periodic over the loop, so that the last frame leads to the first. Talking follows
Poisson-like syllables of 160-260 ms in phrases; blinks last about 200 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engines.synth.expression import Pose
from engines.synth.light import (
    ROOM_COOL,
    ROOM_DAY,
    ROOM_DIM,
    ROOM_SIDE,
    ROOM_WARM,
    Light,
    mix_lights,
)

Curve = NDArray[np.float64]

LOOP_S = 38.0
LIGHTS = (ROOM_DAY, ROOM_WARM, ROOM_COOL, ROOM_DIM, ROOM_SIDE)

TALK_S = ((0.7, 4.6), (5.4, 7.4), (11.0, 13.2), (16.2, 19.4), (23.0, 26.2), (33.0, 36.6))
TURN_S = ((7.4, 10.6, 35.0), (13.3, 16.0, -35.0), (20.4, 22.2, 20.0))
"""Start, end and yaw of head turns."""
NOD_S = ((4.7, 5.5), (22.3, 23.0), (36.7, 37.4))
LEAN_S = ((17.0, 19.6, 1.0), (20.0, 22.6, -1.0))
AWAY_S = (26.6, 27.9, 29.6, 31.3)
"""Starts to leave, is gone, starts to come back, is back."""
SMILE_S = ((0.0, 1.2, 0.8), (10.6, 11.4, 0.55), (19.6, 20.6, 0.75), (32.0, 33.2, 0.9),
           (36.8, 38.0, 0.7))
LIGHT_S = ((0.0, 0), (9.0, 0), (10.5, 1), (14.5, 1), (16.0, 2), (19.0, 2), (20.5, 3), (23.0, 3),
           (24.5, 4), (31.0, 4), (33.5, 0), (38.0, 0))
"""Time and index into LIGHTS; between two rows the light changes gradually."""
BLINK_S = (1.9, 4.55, 7.6, 10.7, 12.4, 13.5, 16.3, 18.8, 20.3, 22.5, 25.1, 32.6, 34.9, 37.2)
GAZE_S = ((2.4, 3.1, 9, 3), (5.9, 6.5, -11, -4), (8.0, 10.2, 12, 0), (11.8, 12.5, -8, 5),
          (13.9, 15.6, -12, 0), (17.6, 18.3, 4, -10), (21.0, 22.0, 14, 2), (24.2, 24.9, -9, -6),
          (26.7, 28.2, 18, 0), (33.8, 34.4, 7, -7))
"""Start, end, yaw and pitch of looks away from the camera."""


@dataclass(frozen=True, slots=True)
class Step:
    """One frame: the pose, the light, and the light's index in LIGHTS."""

    pose: Pose
    light: Light
    light_id: int


def _smooth(x: Curve) -> Curve:
    x = np.clip(x, 0, 1)
    return x * x * x * (x * (6 * x - 15) + 10)


def bump(t: Curve, start: float, end: float, ramp: float) -> Curve:
    """0 outside, 1 inside start..end, with smooth ramps of `ramp` seconds inside the ends."""
    return _smooth((t - start) / ramp) * _smooth((end - t) / ramp)


def _wave(t: Curve, seed: int, low: int, high: int, loop: float) -> Curve:
    """Periodic noise of unit standard deviation with low..high cycles a loop."""
    rng = np.random.default_rng(seed)
    out = np.zeros_like(t)
    for cycles in range(low, high + 1):
        out += rng.normal() / cycles ** 0.5 * np.cos(2 * np.pi * cycles * t / loop
                                                    + rng.uniform(0, 2 * np.pi))
    return out / max(float(out.std()), 1e-6)


def blink_curve(t: Curve) -> Curve:
    """Lid closure 0..1: 75 ms down, 25 ms shut, 110 ms up, for each blink."""
    out = np.zeros_like(t)
    for at in BLINK_S:
        down = _smooth((t - at + 0.0875) / 0.075)
        up = _smooth((t - at - 0.0125) / 0.110)
        out = np.maximum(out, down * (1 - up))
    return out


def _syllables(t: Curve, seed: int) -> dict[str, Curve]:
    """Viseme weights: jaw, wide, round, closed lips, upper lip, tongue."""
    rng = np.random.default_rng(seed)
    out = {k: np.zeros_like(t) for k in ("jaw", "wide", "round", "shut", "upper")}
    shapes = {"a": (0.42, 0.1, 0.0), "e": (0.22, 0.4, 0.0), "i": (0.12, 0.55, 0.0),
              "o": (0.28, 0.0, 0.6), "u": (0.13, 0.0, 0.85), "m": (0.0, 0.0, 0.1)}
    for start, end in TALK_S:
        at = start
        while at < end - 0.12:
            length = float(rng.uniform(0.15, 0.26))
            kind = rng.choice(list(shapes), p=[0.26, 0.22, 0.16, 0.16, 0.10, 0.10])
            jaw, wide, rounded = shapes[str(kind)]
            window = np.exp(-0.5 * ((t - at - length / 2) / (length * 0.34)) ** 2)
            force = float(rng.uniform(0.55, 1.1))
            out["jaw"] = np.maximum(out["jaw"], jaw * force * window)
            out["wide"] = np.maximum(out["wide"], wide * force * window)
            out["round"] = np.maximum(out["round"], rounded * force * window)
            out["upper"] = np.maximum(out["upper"], 0.35 * force * window * (jaw > 0.1))
            if kind == "m":
                out["shut"] = np.maximum(out["shut"], window)
            at += length
            if rng.random() < 0.09:
                at += float(rng.uniform(0.18, 0.4))
    return out


def _head(t: Curve, loop: float) -> tuple[Curve, Curve, Curve]:
    talk = sum((bump(t, a, b, 0.3) for a, b in TALK_S), np.zeros_like(t))
    yaw = 2.6 * _wave(t, 1, 2, 14, loop) + 1.6 * talk * _wave(t, 2, 14, 40, loop)
    pitch = 1.3 * _wave(t, 3, 2, 12, loop) + 1.3 * talk * _wave(t, 4, 18, 52, loop) - 1.0
    roll = 1.5 * _wave(t, 5, 2, 12, loop) + 0.7 * talk * _wave(t, 6, 12, 36, loop)
    for start, end, angle in TURN_S:
        part = bump(t, start, end, 0.75)
        yaw = yaw * (1 - 0.8 * part) + angle * part
        roll = roll + 0.06 * angle * part
    for start, end in NOD_S:
        pitch = pitch - 7 * bump(t, start, end, 0.15) * np.sin(
            2 * np.pi * 2.5 * (t - start)).clip(-0.6, 1)
    return yaw, pitch, roll


def _away(t: Curve) -> Curve:
    """How far the presenter has left, 0..1."""
    leave, gone, back, there = AWAY_S
    return _smooth((t - leave) / (gone - leave)) * (1 - _smooth((t - back) / (there - back)))


def _actions(t: Curve, loop: float) -> dict[str, Curve]:
    talk = _syllables(t, 21)
    smile = 0.10 + 0.05 * _wave(t, 7, 1, 6, loop)
    for start, end, amount in SMILE_S:
        # A smile may run over the loop's end.
        smile = np.maximum(smile, amount * np.maximum(
            bump(t, start - 0.6, end + 0.6, 0.55), bump(t + loop, start - 0.6, end + 0.6, 0.55)))
        smile = np.maximum(smile, amount * bump(t - loop, start - 0.6, end + 0.6, 0.55))
    smile = np.clip(smile * (1 - 0.4 * talk["round"]), 0, 1)
    blink = blink_curve(t)
    brow = np.clip(0.10 * _wave(t, 8, 3, 20, loop) + 0.12, 0, 1)
    for start, _end in TALK_S:
        brow = np.maximum(brow, 0.55 * bump(t, start + 0.1, start + 0.9, 0.25))
    frown = np.clip(0.10 * _wave(t, 9, 2, 11, loop) - 0.04, 0, 0.4)
    relaxed = 0.03
    out = {
        "jawOpen": talk["jaw"] * 0.95 + 0.10 * np.clip(smile - 0.5, 0, 1),
        "mouthFunnel": 0.75 * talk["round"], "mouthPucker": 0.45 * talk["round"],
        "mouthClose": 0.0 * t, "mouthRollLower": 0.35 * talk["shut"],
        "mouthRollUpper": 0.25 * talk["shut"], "browInnerUp": 0.7 * brow,
    }
    for side, tilt in (("Left", 1.0), ("Right", 0.93)):
        out[f"mouthSmile{side}"] = smile * tilt
        out[f"mouthStretch{side}"] = 0.35 * talk["wide"]
        out[f"mouthUpperUp{side}"] = 0.75 * talk["upper"] + 0.6 * np.clip(smile - 0.45, 0, 1)
        out[f"mouthLowerDown{side}"] = 0.15 * talk["upper"]
        out[f"cheekSquint{side}"] = 0.6 * smile
        out[f"eyeSquint{side}"] = np.clip(0.30 * smile - 0.03, 0, 1) * (1 - blink)
        out[f"eyeBlink{side}"] = relaxed + (1 - relaxed) * blink
        out[f"browOuterUp{side}"] = 0.6 * brow
        out[f"browDown{side}"] = frown
    return out


def _gaze(t: Curve, yaw: Curve, pitch: Curve) -> tuple[Curve, Curve]:
    """Eyes stay on the camera while the head moves a little, and look away at times."""
    eye_yaw, eye_pitch = -0.75 * np.clip(yaw, -16, 16), -0.75 * pitch
    for start, end, gy, gp in GAZE_S:
        part = bump(t, start, end, 0.07)
        eye_yaw = eye_yaw * (1 - part) + gy * part
        eye_pitch = eye_pitch * (1 - part) + gp * part
    return np.clip(eye_yaw, -28, 28), np.clip(eye_pitch, -18, 15)


def _light_at(time_s: float) -> tuple[Light, int]:
    for (a, i), (b, j) in pairwise(LIGHT_S):
        if a <= time_s <= b:
            part = float(_smooth(np.array((time_s - a) / (b - a))))
            mixed = LIGHTS[i] if i == j else mix_lights(LIGHTS[i], LIGHTS[j], part)
            return mixed, i if part < 0.5 else j
    return LIGHTS[0], 0


def steps(fps: float, exit_dm: float, loop: float = LOOP_S) -> list[Step]:
    """All frames of the loop. exit_dm: sideways offset at which nobody is in the picture."""
    t: Curve = np.arange(round(loop * fps)) / fps
    yaw, pitch, roll = _head(t, loop)
    away = _away(t)
    moving = bump(t, AWAY_S[0], AWAY_S[1] + 0.3, 0.4) - bump(t, AWAY_S[2] - 0.3, AWAY_S[3], 0.4)
    yaw = yaw + 18 * moving
    lean = 2.0 * _wave(t, 10, 1, 5, loop)
    depth = 0.12 * _wave(t, 11, 1, 5, loop)
    for start, end, sign in LEAN_S:
        part = bump(t, start, end, 0.9)
        lean = lean + sign * 7 * part
        depth = depth + sign * 0.35 * part
    side = 0.10 * _wave(t, 12, 1, 6, loop)
    breath = 0.018 * np.sin(2 * np.pi * round(loop * 0.27) * t / loop)
    eye_yaw, eye_pitch = _gaze(t, yaw, pitch)
    actions = _actions(t, loop)
    out: list[Step] = []
    for k, now in enumerate(t):
        light, light_id = _light_at(float(now))
        pose = Pose(
            {name: float(curve[k]) for name, curve in actions.items()},
            (float(eye_yaw[k]), float(eye_pitch[k])),
            (float(yaw[k]), float(pitch[k]), float(roll[k])),
            (float(side[k] + exit_dm * away[k]), float(breath[k] + 0.25 * away[k]
                                                       + 0.03 * np.sin(9 * now) * away[k]),
             float(depth[k])),
            (float(lean[k]), float(-6 * moving[k])))
        out.append(Step(pose, light, light_id))
    return out
