"""Gaze and lid opening from a mesh with irises.

Convention:
    The head's frame is right-handed in the image's axes: x image-right, y down, z away from the camera, when the head looks straight into it.
    Gaze angles are relative to the head: yaw positive to image-right, pitch positive down; image-left eye first.
Model: an eyeball whose centre lies behind the middle of the eye's corners; the iris lies on it.  Under weak perspective the iris' offset from the
projected centre gives the direction in the camera's frame, the head's turn takes it to the head's.
"""

from __future__ import annotations

import math

import numpy as np

from livecam.track import _topology as topology
from livecam.types import F32, F64

EYEBALL_DEPTH = 0.20
"""Distance of the eyeball's centre behind the middle of the corners, in widths of the eye."""
IRIS_DISTANCE = 0.30
"""Distance of the iris from the eyeball's centre, in widths of the eye. Both lie between what anatomy says (0.12, 0.40), portraits that look into the
camera, and the rendered presenter with exact labels (0.21, 0.23): the networks move the iris less than it moves."""
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


def head_axes(mesh: F64) -> F64:
    """(3, 3) unit columns x, y, z of the head's frame in camera axes, from eye corners, nose bridge and base."""
    right = mesh[topology.LEFT_EYE_CORNERS[1]] - mesh[topology.RIGHT_EYE_CORNERS[0]]
    down = mesh[list(CHEEKS_LOW)].mean(axis=0) - mesh[list(FOREHEAD)].mean(axis=0)
    x = _unit(right)
    z = _unit(_cross(x, down))
    return np.stack([x, _cross(z, x), z], axis=1)



def _unit(v: F64) -> F64:
    return v / max(math.sqrt(float(v @ v)), 1e-9)


def _cross(a: F64, b: F64) -> F64:
    """Cross product of two vectors; np.cross costs ten times as much."""
    (ax, ay, az), (bx, by, bz) = a.tolist(), b.tolist()
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def gaze_deg(mesh: F64) -> F32:
    """(2, 2) yaw, pitch of the image-left and the image-right eye. mesh: (478, 3)."""
    axes = head_axes(mesh)
    out = np.zeros((2, 2), dtype=np.float32)
    for row, (corners, iris) in enumerate(((topology.RIGHT_EYE_CORNERS, topology.RIGHT_IRIS), (topology.LEFT_EYE_CORNERS, topology.LEFT_IRIS))):
        ends = mesh[list(corners)]
        width = max(float(np.linalg.norm(ends[1] - ends[0])), 1e-6)
        centre = ends.mean(axis=0) + axes @ np.array([REST_OUT if row else -REST_OUT, -REST_UP, EYEBALL_DEPTH]) * width
        offset = (mesh[iris.start, :2] - centre[:2]) / (IRIS_DISTANCE * width)
        length = float(np.hypot(offset[0], offset[1]))
        offset = offset * (min(length, 0.95) / max(length, 1e-9))
        ahead = axes.T @ np.array([offset[0], offset[1], -np.sqrt(1.0 - float(offset @ offset))])
        out[row] = np.degrees([np.arctan2(ahead[0], -ahead[2]), np.arctan2(ahead[1], np.hypot(ahead[0], ahead[2]))])
    return out


def eye_open(mesh: F64) -> F32:
    """(2,) lid opening of the image-left and the image-right eye: 0 shut, about 1 wide open. mesh: (>= 468, 3)."""
    out = np.zeros(2, dtype=np.float32)
    for row, (corners, lids) in enumerate(((topology.RIGHT_EYE_CORNERS, topology.RIGHT_LIDS), (topology.LEFT_EYE_CORNERS, topology.LEFT_LIDS))):
        width = max(float(np.linalg.norm(mesh[corners[1]] - mesh[corners[0]])), 1e-6)
        gap = np.mean([float(np.linalg.norm(mesh[low, :2] - mesh[up, :2])) for up, low in lids])
        out[row] = max((gap / width - SHUT_RATIO) / (WIDE_RATIO - SHUT_RATIO), 0.0)
    return out
