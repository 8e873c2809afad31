"""engines.synth.camera: the same camera twice, other noise, and what each effect does."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
pytest.importorskip("numba", reason="the renderer needs numba")

from engines.synth import camera
from engines.synth.camera import Settings

GREY = np.full((64, 96, 3), 120, np.uint8)


def edge() -> np.ndarray:
    out = np.full((64, 96, 3), 60, np.uint8)
    out[:, 48:] = 190
    return out


def test_equal_arguments_give_equal_pixels_and_another_seed_other_noise():
    settings = replace(camera.sample(np.random.default_rng(3)), shot=1e-4, read=2e-3)
    first, again, twin = (camera.apply(edge(), settings, seed) for seed in (7, 7, 8))
    assert (first == again).all()
    assert (first != twin).mean() > 0.2
    assert np.abs(first.astype(int).mean((0, 1)) - twin.mean((0, 1))).max() < 1.0


def test_cameras_are_reproducible_and_differ():
    assert camera.sample(np.random.default_rng(5)) == camera.sample(np.random.default_rng(5))
    assert camera.sample(np.random.default_rng(5)) != camera.sample(np.random.default_rng(6))


def test_the_default_camera_leaves_a_picture_alone():
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    assert np.abs(camera.apply(picture, Settings(), 0).astype(int) - picture).max() <= 1


def test_exposure_counts_stops_in_linear_light():
    light = camera._linear(GREY).mean()
    twice = camera._linear(camera.apply(GREY, Settings(exposure_ev=1.0), 0)).mean()
    assert twice / light == pytest.approx(2.0, rel=0.03)


def test_noise_has_the_stated_variance_whatever_its_grain():
    for grain in (0.3, 1.0):
        settings = Settings(shot=2e-4, read=0.0, grain_px=grain, chroma=0.5)
        light = camera._linear(camera.apply(np.full((200, 200, 3), 120, np.uint8), settings, 1))
        signal = float(camera._linear(GREY).mean())
        assert float(light.std()) == pytest.approx((2e-4 * signal) ** 0.5, rel=0.15)


@pytest.mark.parametrize("change", [{"lens_blur_px": 2.0}, {"motion_px": 8.0, "motion_deg": 0.0}, {"resolution": 0.4}])
def test_blurs_soften_an_edge_and_keep_the_level(change):
    out = camera.apply(edge(), Settings(**change), 0).astype(int)
    assert np.abs(np.diff(out[32, :, 1])).max() < 80
    assert abs(int(out[32, 5, 1]) - 60) <= 2
    assert abs(int(out[32, -5, 1]) - 190) <= 2


def test_motion_blurs_along_its_angle_only():
    along = camera.apply(edge(), Settings(motion_px=9.0, motion_deg=90.0), 0)
    assert np.abs(np.diff(along[32, :, 1].astype(int))).max() > 70


def test_compression_costs_quality_in_order():
    picture = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (96, 96, 3)).astype(np.uint8), (0, 0), 1.5)
    errors = [np.abs(camera.apply(picture, Settings(**s), 0).astype(int) - picture).mean()
              for s in ({"jpeg_quality": 95}, {"jpeg_quality": 40}, {"block_quality": 15})]
    assert errors[0] < errors[1] < errors[2]


def test_white_balance_warms():
    out = camera.apply(GREY, Settings(white_balance=(0.8, 1.0, 1.2)), 0).mean((0, 1))
    assert out[2] > out[1] > out[0]


def test_no_picture_is_refused():
    with pytest.raises(ValueError, match="expected a picture"):
        camera.apply(np.zeros((8, 8), np.uint8), Settings(), 0)
