"""Regions, crops, eyes and the picture that is searched: small parts with answers known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from livecam import geometry
from livecam.detect import _boxes
from livecam.track import _eyes, _region
from livecam.track import _landmarks as landmarks
from livecam.track import _topology as topology
from livecam.track._region import Region


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_region_s_edges_are_the_crop_s(mirrored: bool) -> None:
    matrix = Region(100.0, 50.0, 40.0, 90.0).matrix(80, mirrored)
    assert np.allclose(geometry.apply(matrix, [[100.0, 50.0]]), [[39.5, 39.5]])
    down_right = geometry.apply(matrix, [[100.0, 70.0]])
    assert np.allclose(down_right, [[-0.5 if mirrored else 79.5, 39.5]]), "the face's own right edge, of a face turned by 90 degrees"


def test_around_finds_the_turned_square() -> None:
    plain = np.array([[-10.0, -20.0], [10.0, -20.0], [10.0, 20.0], [-10.0, 20.0]])
    turned = geometry.apply(geometry.similarity(2.0, 30.0, (300.0, 200.0)), plain)
    region = _region.around(turned, turned[1] - turned[0], 1.5)
    assert np.allclose([region.centre_x_px, region.centre_y_px, region.side_px, region.angle_deg], [300.0, 200.0, 120.0, 30.0])


def test_a_region_stays_for_noise_and_moves_for_motion() -> None:
    here = Region(100.0, 100.0, 200.0, 179.8)
    assert here.near(Region(101.0, 100.0, 201.0, -179.9))
    assert not here.near(Region(105.0, 100.0, 200.0, 179.8))
    assert not here.near(Region(100.0, 100.0, 210.0, 179.8))
    assert not here.near(Region(100.0, 100.0, 200.0, 178.0))


@pytest.mark.parametrize("side", [60.0, 250.0, 700.0, 1900.0])
def test_a_crop_is_placed_alike_with_and_without_averaging(side: float) -> None:
    """A linear picture shows where each pixel of the crop was taken: averaging large regions must not shift them."""
    y, x = np.mgrid[0:2000, 0:2000].astype(np.float32)
    image = np.stack([x / 8, y / 8, np.zeros_like(x)], axis=-1).astype(np.uint8)
    region = Region(1003.3, 990.7, side, 17.0)
    crop = _region.crop_rgb(image, region, 64)
    back = geometry.apply(geometry.invert(region.matrix(64)), [[31.5, 31.5], [10.0, 40.0], [50.0, 9.0]])
    for (u, v), (fx, fy) in zip(((31, 31), (10, 40), (50, 9)), back, strict=True):
        assert crop[v, u, 2] * 255 * 8 == pytest.approx(fx, abs=12 + side / 64)
        assert crop[v, u, 1] * 255 * 8 == pytest.approx(fy, abs=12 + side / 64)


def head(yaw_deg: float = 0.0, look: tuple[float, float] = (0.0, 0.0), lid: float = 0.33) -> np.ndarray:
    """A mesh with just the points that the eyes' functions read: 100 px eyes 40 px wide, turned by yaw, irises moved by `look` in the image."""
    mesh = np.zeros((478, 3))
    where = {33: (-70, 0, 8), 133: (-30, 0, 0), 362: (30, 0, 0), 263: (70, 0, 8)}
    where.update({10: (0, -60, 0), 109: (-20, -60, 0), 338: (20, -60, 0), 205: (-30, 60, 0), 425: (30, 60, 0)})
    for i, p in where.items():
        mesh[i] = p
    for middle, lids in ((-50.0, topology.RIGHT_LIDS), (50.0, topology.LEFT_LIDS)):
        for up, low in lids:
            mesh[up], mesh[low] = (middle, -20.0 * lid, 0), (middle, 20.0 * lid, 0)
    for side, iris in ((-1, topology.RIGHT_IRIS), (1, topology.LEFT_IRIS)):
        mesh[iris] = (side * (50 + 40 * _eyes.REST_OUT), -40 * _eyes.REST_UP, 0)
    turn = np.radians(yaw_deg)
    rotation = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    mesh = mesh @ rotation.T
    mesh[topology.RIGHT_IRIS, :2] += look
    mesh[topology.LEFT_IRIS, :2] += look
    return mesh


def test_gaze_is_ahead_at_rest_and_has_the_signs_of_the_convention() -> None:
    assert np.abs(_eyes.gaze_deg(head())).max() < 4.0
    right = _eyes.gaze_deg(head(look=(6.0, 0.0)))
    down = _eyes.gaze_deg(head(look=(0.0, 6.0)))
    assert (right[:, 0] > 15).all() and (np.abs(right[:, 1]) < 8).all()
    assert (down[:, 1] > 15).all() and (np.abs(down[:, 0]) < 8).all()


@pytest.mark.parametrize("yaw_deg", [-25.0, 0.0, 30.0])
def test_irises_are_put_where_the_gaze_is_read_again(yaw_deg: float) -> None:
    mesh = head(yaw_deg)
    before = mesh.copy()
    asked = np.array([[12.0, -6.0], [-18.0, 9.0]])
    _eyes.put_irises(mesh, asked[0], asked[1])
    assert np.abs(_eyes.gaze_deg(mesh) - asked).max() < 1e-3
    moved = np.abs(mesh - before).max(axis=1) > 0
    assert moved[468:].all() and not moved[:468].any()
    assert np.abs(_eyes.gaze_deg(mesh, _eyes.MEDIAPIPE) - asked).max() > 3, "another eyeball says something else"
    assert abs(_eyes.head_deg(mesh)[0] - -yaw_deg) < 12


def test_gaze_survives_an_iris_far_outside_its_eye() -> None:
    assert np.isfinite(_eyes.gaze_deg(head(look=(500.0, -400.0)))).all()
    assert np.isfinite(_eyes.gaze_deg(np.zeros((478, 3)))).all()


def test_lids_go_from_shut_to_wide() -> None:
    opened = [float(_eyes.eye_open(head(lid=lid)).mean()) for lid in (0.0, 0.1, 0.2, 0.33)]
    assert opened[0] == 0.0
    assert opened == sorted(opened) and opened[-1] == pytest.approx(1.0, abs=0.05)


def test_the_other_eye_moves_along_but_its_lid_never_below_the_lower_one() -> None:
    eye = np.zeros((76, 2))
    eye[: topology.EYE_CONTOUR, 0] = np.linspace(-0.5, 0.5, topology.EYE_CONTOUR)
    eye[: topology.LOWER_LID, 1], eye[topology.LOWER_LID : topology.EYE_CONTOUR, 1] = 0.1, -0.15
    shift = np.zeros_like(eye)
    shift[71:] = [0.05, 0.02]
    shift[topology.LOWER_LID : topology.EYE_CONTOUR, 1] = 0.8
    landmarks.move_along(eye, shift)
    assert np.allclose(eye[71:], [0.05, 0.02])
    upper = eye[topology.LOWER_LID : topology.EYE_CONTOUR, 1]
    assert upper.max() <= 0.1 + 1e-9 and upper.max() > -0.1


@pytest.mark.parametrize("size", [(720, 1280), (1080, 1920), (480, 640), (1280, 720), (500, 500), (1, 1), (3, 4000)])
def test_the_searched_picture_is_of_whole_strides_and_maps_back(size: tuple[int, int]) -> None:
    height, width = size
    fit = _boxes.Fit.of(height, width, 320)
    picture = fit.picture(np.zeros((height, width, 3), np.uint8))
    assert picture.shape == (fit.height_px, fit.width_px, 3)
    assert fit.height_px % 32 == fit.width_px % 32 == 0 and max(picture.shape) == 320
    assert min(fit.left_px, fit.top_px, fit.width_px - fit.left_px - fit.inner_width_px, fit.height_px - fit.top_px - fit.inner_height_px) >= 0
    corners = np.array([[fit.left_px, fit.top_px, fit.left_px + fit.inner_width_px, fit.top_px + fit.inner_height_px]], np.float32)
    assert np.allclose(fit.to_frame(corners), [[-0.5, -0.5, width - 0.5, height - 0.5]], atol=1e-3)


def test_suppression_keeps_the_best_of_each_pile() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 0, 60, 10], [0, 1, 10, 11]], np.float32)
    assert _boxes.suppress(boxes, np.array([0.8, 0.9, 0.6, 0.7], np.float32), 0.3).tolist() == [1, 2]
    assert _boxes.suppress(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), 0.3).tolist() == []


def test_visible_share_of_boxes() -> None:
    boxes = np.array([[-10.5, 0, 9.5, 10], [200, 0, 300, 10], [5, 5, 5, 5]], np.float32)
    assert np.allclose(_boxes.visible_share(boxes, 100, 100), [0.5, 0.0, 0.0])
