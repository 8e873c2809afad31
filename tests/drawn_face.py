"""A face made of ellipses and arcs, with a 478-point mesh to match: for tests that need a wearer or a persona and no model."""

from __future__ import annotations

import json
from collections.abc import Sequence

import cv2
import numpy as np

from livecam.swap import _mesh_triangles as topology
from livecam.track import _eyes
from livecam.types import F32, F64, U8, Alignment, Face, Persona

SIDE = 640
ALIGNED = Alignment(np.array([[0.4, 0.0, 0.0], [0.0, 0.4, 0.0]]), 256)
"""The whole 640-px portrait in a 256-px crop."""


def _arc(x0: float, x1: float, y: float, rise: float, count: int) -> F64:
    u = np.linspace(0.0, 1.0, count)
    return np.stack([x0 + (x1 - x0) * u, y - rise * 4 * u * (1 - u)], axis=1)


def _fixed(eye: float, jaw: float) -> dict[int, tuple[float, float]]:
    """Points set by hand, in portrait pixels. eye: lid opening px; jaw: opening of the inner lips px."""
    where: dict[int, tuple[float, float]] = {}

    def put(index: Sequence[int], points: F64) -> None:
        where.update({i: (float(x), float(y)) for i, (x, y) in zip(index, points, strict=True)})

    turn = np.linspace(0, 2 * np.pi, len(topology.OVAL), endpoint=False)
    put(topology.OVAL, np.stack([320 + 170 * np.sin(turn), 330 - 215 * np.cos(turn) + np.where(np.cos(turn) < 0, jaw * 0.7, 0.0)], axis=1))
    put(topology.RIGHT_UPPER, _arc(215, 285, 290, eye * 0.7, 9))
    put(topology.RIGHT_LOWER, _arc(215, 285, 290, -eye * 0.3, 9))
    put(topology.LEFT_UPPER, _arc(355, 425, 290, eye * 0.7, 9))
    put(topology.LEFT_LOWER, _arc(355, 425, 290, -eye * 0.3, 9))
    put(topology.LIPS_OUTER[:11][::1], np.concatenate([_arc(260, 380, 438, 18, 10), [[380, 438]]]))
    put(topology.LIPS_OUTER[11:], _arc(272, 368, 440, -22 - jaw, 9))
    put(topology.MOUTH_UPPER, _arc(270, 370, 438, 2, 11))
    put(topology.MOUTH_LOWER, _arc(270, 370, 438, -2 - jaw, 11))
    put(topology.RIGHT_BROW[:5], _arc(200, 295, 250, 10, 5))
    put(topology.LEFT_BROW[:5], _arc(440, 345, 250, 10, 5))
    put((168, 6, 197, 195, 5, 4, 1, 2), np.stack([np.full(8, 320.0), np.array([275, 295, 315, 335, 355, 368, 376, 388.0])], axis=1))
    return where


def mesh(eye: float = 26.0, jaw: float = 0.0, gaze: tuple[float, float] = (0.0, 0.0)) -> F32:
    """(478, 3) float32 landmarks in the 640-px portrait: parts set by hand, the rest spread evenly between them (harmonic), on an ellipsoid."""
    linked = topology.neighbours(topology.face_triangles(), 468).astype(np.float64)
    system = np.diag(linked.sum(axis=1)) - linked
    right = np.zeros((468, 2))
    for index, place in _fixed(eye, jaw).items():
        system[index] = 0.0
        system[index, index] = 1.0
        right[index] = place
    flat = np.linalg.solve(system, right)
    out = np.empty((478, 3), np.float32)
    out[:468, :2] = flat
    reach = np.clip(1 - ((flat[:, 0] - 320) / 190) ** 2 - ((flat[:, 1] - 330) / 245) ** 2, 0.0, 1.0)
    nose = np.exp(-(((flat[:, 0] - 320) / 28) ** 2) - ((flat[:, 1] - 365) / 45) ** 2)
    out[:468, 2] = -150 * np.sqrt(reach) - 55 * nose + 75
    for start, x in ((468, 250.0), (473, 390.0)):
        centre = np.array([x + gaze[0], 288.0 + gaze[1]])
        ring = np.array([[0, 0], [14, 0], [0, -14], [-14, 0], [0, 14]])
        out[start : start + 5, :2] = centre + ring
        out[start : start + 5, 2] = -40.0
    return out


def portrait(points: F32, skin: tuple[int, int, int] = (140, 165, 205), side_light: float = 0.0) -> U8:
    """(640, 640, 3) uint8 picture of a face at `points`. side_light: brightness difference from right to left, share."""
    picture = np.full((SIDE, SIDE, 3), (90, 80, 70), np.uint8)
    cv2.fillPoly(picture, [np.rint(points[list(topology.OVAL), :2]).astype(np.int32)], skin)
    dark = tuple(int(c * 0.35) for c in skin)
    for brow in (topology.RIGHT_BROW[:5], topology.LEFT_BROW[:5]):
        cv2.polylines(picture, [np.rint(points[list(brow), :2]).astype(np.int32)], False, dark, 12)
    for upper, lower, iris in (
        (topology.RIGHT_UPPER, topology.RIGHT_LOWER, topology.RIGHT_IRIS),
        (topology.LEFT_UPPER, topology.LEFT_LOWER, topology.LEFT_IRIS),
    ):
        cv2.fillPoly(picture, [np.rint(points[list(upper + lower[::-1]), :2]).astype(np.int32)], (225, 225, 225))
        if points[lower[4], 1] - points[upper[4], 1] > 6:
            cv2.circle(picture, (int(points[iris, 0]), int(points[iris, 1])), 12, (60, 40, 30), -1)
    lips = topology.LIPS_OUTER[:10] + topology.LIPS_OUTER[11:][::-1]
    cv2.fillConvexPoly(picture, cv2.convexHull(np.rint(points[list(lips), :2]).astype(np.int32)), (90, 80, 190))
    light = 1.0 + side_light * (np.arange(SIDE) - SIDE / 2) / SIDE * 2
    return np.clip(cv2.GaussianBlur(picture, (0, 0), 2.0) * light[None, :, None], 0, 255).astype(np.uint8)


def _disc(colour: tuple[int, int, int], ring: tuple[int, int, int]) -> U8:
    picture = np.zeros((192, 192, 4), np.uint8)
    cv2.circle(picture, (96, 96), 92, (*ring, 255), -1)
    cv2.circle(picture, (96, 96), 45, (*colour, 255), -1)
    return picture


def persona(skin: tuple[int, int, int] = (120, 150, 190), eyes: tuple[int, int, int] = (0, 200, 0)) -> Persona:
    """A persona of plain shapes; its irises have a colour that nothing else has."""
    neutral, opened, closed = mesh(), mesh(jaw=50.0), mesh(eye=0.5)
    lids = portrait(closed, skin)
    images = {
        "neutral": portrait(neutral, skin), "open_mouth": portrait(opened, skin), "closed_eyes": lids,
        "eye_right": _disc(eyes, (230, 230, 230)), "eye_left": _disc(eyes, (230, 230, 230)),
        "teeth_upper": np.full((30, 90, 4), (210, 220, 225, 255), np.uint8), "teeth_lower": np.full((24, 80, 4), (205, 215, 220, 255), np.uint8),
        "tongue": np.full((40, 70, 4), (90, 80, 200, 255), np.uint8),
    }  # fmt: skip
    metadata = {
        "eye_iris_radius_px": "45", "eye_ball_radius_px": "92", "teeth_upper_xywh_px": json.dumps([275, 432, 90, 24]),
        "teeth_lower_xywh_px": json.dumps([280, 470, 80, 20]), "tongue_xywh_px": json.dumps([285, 460, 70, 34]),
    }  # fmt: skip
    return Persona("drawn", "Drawn", "synthetic", "", "CC0-1.0", images, {"neutral": neutral, "open_mouth": opened, "closed_eyes": closed}, metadata)


def face(points: F32, eye_open: float | None = 0.9, track_id: int = 1) -> Face:
    """A tracked face with these landmarks."""
    box = np.array([*points[:, :2].min(axis=0), *points[:, :2].max(axis=0)], np.float32)
    five = np.stack([points[468], points[473], points[4], points[61], points[291]])[:, :2].astype(np.float32)
    opened = None if eye_open is None else np.full(2, eye_open, np.float32)
    return Face(track_id, box, five, 1.0, points, _eyes.gaze_deg(points.astype(np.float64)), opened)
