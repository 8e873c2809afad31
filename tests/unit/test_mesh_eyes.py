"""Eyes that mesh draws: where a portrait's irises are, and that they are drawn there and move as they are told."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from livecam import persona
from livecam.swap import _mesh_shape as shape
from livecam.swap import mesh
from livecam.swap._mesh_light import LUMA
from livecam.swap._mesh_parts import find_iris
from livecam.swap._mesh_triangles import face_triangles
from livecam.swap._mesh_worn import Worn, prepare

MIDDLE, BALL, IRIS = 95.5, 90.0, 38.0


@pytest.mark.parametrize("aside", [(0.0, 0.0), (10.0, -6.0), (-9.0, 11.0)])
def test_the_iris_is_found_beside_veins_and_corners(aside: tuple[float, float]) -> None:
    picture = np.zeros((192, 192, 4), np.uint8)
    cv2.circle(picture, (95, 95), round(BALL), (210, 215, 220, 255), -1, cv2.LINE_AA)
    cv2.line(picture, (30, 95), (60, 100), (120, 120, 200, 255), 6)
    cv2.circle(picture, (165, 100), 14, (110, 110, 190, 255), -1)
    where = (MIDDLE + aside[0], MIDDLE + aside[1])
    cv2.circle(picture, (round(where[0]), round(where[1])), round(IRIS), (60, 90, 120, 255), -1, cv2.LINE_AA)
    cv2.circle(picture, (round(where[0]), round(where[1])), 14, (10, 10, 10, 255), -1, cv2.LINE_AA)
    assert math.dist(find_iris(picture, MIDDLE, BALL, IRIS), where) < 2.5


def worn_of(name: str) -> tuple[Worn, np.ndarray]:
    someone = persona.load(name)
    return prepare(someone, face_triangles()), someone.images["neutral"]


def drawn(worn: Worn, canvas: np.ndarray, gaze: tuple[float, float]) -> np.ndarray:
    """Both eyes drawn over `canvas` where the portrait has them, wide open."""
    out, points = canvas.copy(), (worn.rest + worn.centre).astype(np.float32)
    middles = [(points[eye.index[0]] + points[eye.index[8]]) / 2 for eye in worn.eyes]
    depth = np.full(out.shape[:2], 1e9, np.float32)
    pose = shape.Pose(1.0, np.eye(3), np.zeros(3))
    mesh._eyes(worn, out, depth, points, middles, pose, np.ones(2), np.array(gaze), np.full(3, 200.0))
    return out


@pytest.mark.parametrize("name", persona.names())
def test_shipped_personas_irises_are_drawn_where_their_portraits_show_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without what live faces need besides; a portrait is its own measure.
    monkeypatch.setattr(mesh, "BALL_PLACE", (np.array([0, 0, 0.95], np.float32),) * 2)
    worn, portrait = worn_of(name)
    mine = drawn(worn, portrait, (0.0, 0.0))
    for eye in worn.eyes:
        points = (worn.rest + worn.centre)[list(eye.index), :2]
        inside = cv2.fillPoly(np.zeros(portrait.shape[:2], np.uint8), [np.rint(np.concatenate([points[:9], points[:8:-1]])).astype(np.int32)], 1)
        inside = cv2.erode(inside, np.ones((5, 5), np.uint8)) > 0
        seen, made = (picture.astype(np.float64)[inside] @ LUMA for picture in (portrait, mine))
        assert float(np.corrcoef(seen, made)[0, 1]) > 0.7


def test_irises_move_as_far_as_they_are_told() -> None:
    worn, _ = worn_of("lucia")
    grey = np.full((640, 640, 3), 128, np.uint8)
    places = []
    for aside in (-0.25, 0.0, 0.25):
        made = drawn(worn, grey, (aside, 0.0)).astype(np.float64) @ LUMA
        across = []
        for eye in worn.eyes:
            x, y = ((worn.rest + worn.centre)[eye.index[0], :2] + (worn.rest + worn.centre)[eye.index[8], :2]) / 2
            half = round(0.45 * eye.width)
            row = made[round(y) - 3 : round(y) + 4, round(x) - half : round(x) + half].mean(axis=0)
            dark = np.maximum(np.percentile(row, 70) - row, 0.0)
            across.append(float((dark * np.arange(len(row))).sum() / dark.sum()) / eye.ball)
        places.append(np.mean(across))
    steps = np.diff(places)
    assert (steps > 0.12).all() and (steps < 0.32).all()
