"""The mean/std colour match: what it moves, and what it must not be fooled by."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from livecam.blend.colour import LOOK_EVERY, SCALE_HIGH, SHIFT_LIMIT, ColourMatch, apply, apply_plain

SOLID = np.full((128, 128), 255, np.uint8)


def skin(mean: tuple[float, float, float], spread: float = 12.0, seed: int = 0) -> np.ndarray:
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 1, (128, 128, 1)), (0, 0), 3)
    return np.clip(np.array(mean) + spread * noise[..., None] / noise.std(), 0, 255).astype(np.uint8)


def mean(picture: np.ndarray) -> np.ndarray:
    return picture.reshape(-1, 3).mean(axis=0)


def test_the_table_is_the_plain_one() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    affine = np.array([[1.1, 0.9, 1.0], [12.0, -30.5, 90.0]])
    assert np.array_equal(apply(picture, affine), apply_plain(picture, affine))


def test_means_meet_for_tone_wearer() -> None:
    crop, wearer = skin((120, 140, 170)), skin((90, 115, 150), seed=1)
    out = ColourMatch("wearer").match(crop, wearer, SOLID)
    assert np.abs(mean(out) - mean(wearer)).max() < 2.0


def test_tone_persona_moves_all_channels_alike_and_half_way() -> None:
    crop, wearer = skin((120, 140, 170)), skin((60, 90, 130), seed=1)
    moved = mean(ColourMatch("persona").match(crop, wearer, SOLID)) - mean(crop)
    assert np.ptp(moved) < 1.0
    assert moved.mean() == pytest.approx(-24, abs=4)


def test_highlights_and_a_dark_beard_do_not_pull_the_skin() -> None:
    crop, wearer = skin((120, 140, 170)), skin((110, 130, 160), seed=1)
    marked = wearer.copy()
    marked[:8], marked[-8:] = 255, 5
    clean, pulled = (mean(ColourMatch().match(crop, w, SOLID)) for w in (wearer, marked))
    assert np.abs(clean - pulled).max() < 4.0


def test_contrast_and_shift_are_bounded() -> None:
    crop, wearer = skin((40, 40, 40), 5), skin((220, 220, 220), 30, seed=2)
    out = ColourMatch().match(crop, wearer, SOLID)
    assert mean(out).max() <= 40 + SHIFT_LIMIT + 3
    assert out.std() <= crop.std() * SCALE_HIGH + 1


def test_a_flash_moves_it_slowly() -> None:
    match, crop = ColourMatch(), skin((120, 140, 170))
    dark, flash = skin((100, 120, 150), seed=1), skin((150, 170, 200), seed=1)
    steady = mean(match.match(crop, dark, SOLID))
    for _ in range(LOOK_EVERY):
        last = match.match(crop, flash, SOLID)
    step = mean(last) - steady
    assert 2.0 < step.mean() < 12.0


def test_faces_have_states_of_their_own() -> None:
    match, crop = ColourMatch(), skin((120, 140, 170))
    match.match(crop, skin((60, 60, 60)), SOLID, 1)
    out = match.match(crop, skin((120, 140, 170), seed=4), SOLID, 2)
    assert np.abs(mean(out) - mean(crop)).max() < 3.0


def test_without_solid_pixels_the_crop_is_left_alone() -> None:
    crop = skin((120, 140, 170))
    assert np.array_equal(ColourMatch().match(crop, skin((10, 10, 10)), np.zeros((128, 128), np.uint8)), crop)


def test_the_inputs_are_not_written_to() -> None:
    crop, wearer = skin((120, 140, 170)), skin((90, 115, 150))
    before = crop.copy(), wearer.copy()
    ColourMatch().match(crop, wearer, SOLID)
    assert np.array_equal(crop, before[0])
    assert np.array_equal(wearer, before[1])
