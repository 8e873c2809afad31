"""Gaze and lid opening from a mesh with irises.

Convention:
    The head's frame is right-handed in the image's axes: x image-right, y down, z away from the camera, when the head looks straight into it.
    Gaze angles are relative to the head: yaw positive to image-right, pitch positive down; image-left eye first.
Model: an eyeball whose centre lies behind the middle of the eye's corners; the iris lies on it.  Under weak perspective the iris' offset from the
projected centre gives the direction in the camera's frame, the head's turn takes it to the head's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from livecam.track import _topology as topology
from livecam.types import F32, F64


@dataclass(frozen=True, slots=True)
class Eyeball:
    """depth: of its centre behind the middle of the corners; iris: distance of the iris from its centre; both in widths of the eye."""

    depth: float
    iris: float


ANATOMY = Eyeball(0.12, 0.40)
"""Where irises lie after `put_irises`."""
MEDIAPIPE = Eyeball(0.20, 0.30)
"""How iris_landmark's irises move, which is less than real ones do: between anatomy, portraits that look into the camera, and the rendered presenter
with exact labels (0.21, 0.23)."""
REST_UP = 0.085
REST_OUT = 0.04
"""The iris of an eye that looks ahead lies so much above the line of the corners, and outside their middle, in widths of the eye: median of 202
portraits of people who look into the camera."""
SHUT_RATIO = 0.07
WIDE_RATIO = 0.33
"""Mean distance of the lids over the width of the eye, shut and wide open."""
FOREHEAD = (10, 109, 338)
CHEEKS_LOW = (205, 425)
"""Points of one plane, roughly that of the face, on which the head's vertical is measured; the jaw moves none of them."""


_SHOWN = np.array([33, 133, 362, 263, topology.RIGHT_IRIS.start, topology.LEFT_IRIS.start, *CHEEKS_LOW, *FOREHEAD])
_SPANS = np.array([topology.RIGHT_EYE_CORNERS, *topology.RIGHT_LIDS, topology.LEFT_EYE_CORNERS, *topology.LEFT_LIDS]).T

_HEAD = np.array([33, 263, *CHEEKS_LOW, *FOREHEAD])

Vector2 = tuple[float, float]
Vector = tuple[float, float, float]
Eye = tuple[Vector, Vector, Vector, float]


def head_axes(outer_left: Vector, outer_right: Vector, cheeks: list[Vector], forehead: list[Vector]) -> tuple[Vector, Vector, Vector]:
    """Unit vectors x, y, z of the head's frame in camera axes. outer_left, outer_right: outer corners of the image-left and the image-right eye."""
    low, high = [sum(c) / len(cheeks) for c in zip(*cheeks, strict=True)], [sum(c) / len(forehead) for c in zip(*forehead, strict=True)]
    x = _unit((outer_right[0] - outer_left[0], outer_right[1] - outer_left[1], outer_right[2] - outer_left[2]))
    z = _unit(_cross(x, (low[0] - high[0], low[1] - high[1], low[2] - high[2])))
    return x, _cross(z, x), z


def _unit(v: Vector) -> Vector:
    length = max(math.sqrt(_dot(v, v)), 1e-9)
    return v[0] / length, v[1] / length, v[2] / length


def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: Vector, b: Vector) -> Vector:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def head_deg(mesh: F64) -> tuple[float, float]:
    """Yaw and pitch of the head in the camera's frame. mesh: (>= 468, 3)."""
    p: list[Vector] = [(x, y, z) for x, y, z in mesh[_HEAD].tolist()]
    x, y, z = head_axes(p[0], p[1], p[2:4], p[4:])[2]
    return math.degrees(math.atan2(-x, z)), math.degrees(math.atan2(-y, math.hypot(x, z)))


def gaze_deg(mesh: F64, ball: Eyeball = ANATOMY) -> F32:
    """(2, 2) yaw, pitch of the image-left and the image-right eye. mesh: (478, 3).

    Python numbers: arrays of three cost ten times as much."""
    axes, eyes = _seen(mesh)
    return np.array([_eye_gaze_deg(axes, ball, *eye) for eye in eyes], np.float32)


def put_irises(mesh: F64, right_deg: F64, left_deg: F64) -> None:
    """Moves the irises of mesh ((478, 3), in place) to where eyes lie that look so: yaw, pitch (2,) of the subject's right and left eye.
    `gaze_deg` says the same of them afterwards, up to what an eyeball hides (72 degrees from the camera)."""
    axes, eyes = _seen(mesh)
    sides = ((right_deg, topology.RIGHT_IRIS), (left_deg, topology.LEFT_IRIS))
    for (a, b, iris, out), (gaze, rows) in zip(eyes, sides, strict=True):
        rest, width = _rest(axes, ANATOMY, a, b, out)
        yaw, pitch = np.radians(gaze).tolist()
        sight = _camera(axes, yaw, pitch)
        mesh[rows, 0] += rest[0] + ANATOMY.iris * width * sight[0] - iris[0]
        mesh[rows, 1] += rest[1] + ANATOMY.iris * width * sight[1] - iris[1]


def _seen(mesh: F64) -> tuple[tuple[Vector, Vector, Vector], tuple[Eye, Eye]]:
    """The head's axes; and of each eye its corners, its iris, and where that rests from their middle, in widths of the eye."""
    p: list[Vector] = [(x, y, z) for x, y, z in mesh[_SHOWN].tolist()]
    return head_axes(p[0], p[3], p[6:8], p[8:]), ((p[0], p[1], p[4], -REST_OUT), (p[2], p[3], p[5], REST_OUT))


def _rest(axes: tuple[Vector, Vector, Vector], ball: Eyeball, a: Vector, b: Vector, out: float) -> tuple[Vector2, float]:
    """Where the centre of the eyeball lies in the picture, and the eye's width."""
    x, y, z = axes
    width = max(math.dist(a, b), 1e-6)
    u, v = ((a[k] + b[k]) / 2 + (out * x[k] - REST_UP * y[k] + ball.depth * z[k]) * width for k in (0, 1))
    return (u, v), width


def _camera(axes: tuple[Vector, Vector, Vector], yaw: float, pitch: float) -> Vector:
    """The line of sight (unit length) in the camera's frame. yaw, pitch: radians in the head's."""
    x, y, z = axes
    p, q, r = math.sin(yaw) * math.cos(pitch), math.sin(pitch), -math.cos(yaw) * math.cos(pitch)
    return p * x[0] + q * y[0] + r * z[0], p * x[1] + q * y[1] + r * z[1], p * x[2] + q * y[2] + r * z[2]


def _eye_gaze_deg(axes: tuple[Vector, Vector, Vector], ball: Eyeball, a: Vector, b: Vector, iris: Vector, out: float) -> Vector2:
    """Yaw and pitch of one eye. a, b: its corners; out: where the iris rests from their middle, in widths of the eye."""
    x, y, z = axes
    rest, width = _rest(axes, ball, a, b, out)
    u, v = ((iris[k] - rest[k]) / (ball.iris * width) for k in (0, 1))
    length = math.hypot(u, v)
    share = min(length, 0.95) / max(length, 1e-9)
    seen = (u * share, v * share, -math.sqrt(1.0 - (u * u + v * v) * share * share))
    ahead = (_dot(x, seen), _dot(y, seen), _dot(z, seen))
    return math.degrees(math.atan2(ahead[0], -ahead[2])), math.degrees(math.atan2(ahead[1], math.hypot(ahead[0], ahead[2])))


def eye_open(mesh: F64) -> F32:
    """(2,) lid opening of the image-left and the image-right eye: 0 shut, about 1 wide open. mesh: (>= 468, 3)."""
    apart = mesh[_SPANS[0]] - mesh[_SPANS[1]]
    flat = np.hypot(apart[:, 0], apart[:, 1])
    out = np.empty(2, np.float32)
    for row, first in enumerate((0, len(apart) // 2)):
        width = max(math.hypot(float(flat[first]), float(apart[first, 2])), 1e-6)
        gap = float(flat[first + 1 : first + len(apart) // 2].sum()) / (len(apart) // 2 - 1)
        out[row] = max((gap / width - SHUT_RATIO) / (WIDE_RATIO - SHUT_RATIO), 0.0)
    return out
