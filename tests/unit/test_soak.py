"""The leak oracle's power and restraint, and the leak test in short: the real processes on stages without model files."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from livecam.soak.oracle import Canary, Oracle

SIZE = (480, 270)
RANDOM = np.random.default_rng(11)


def textured(seed: int) -> np.ndarray:
    """A picture with edges, blobs and noise, as a masked face has them."""
    from skimage.data import astronaut

    image = cv2.resize(np.ascontiguousarray(astronaut()[:288, :, ::-1]), SIZE, interpolation=cv2.INTER_AREA)
    image = np.roll(image, 37 * seed, axis=1) if seed else image
    return np.clip(image + RANDOM.normal(0.0, 2.5, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def canary() -> Canary:
    return Canary(5, *SIZE)


@pytest.fixture
def face() -> np.ndarray:
    region = np.zeros(SIZE[::-1], np.uint8)
    cv2.ellipse(region, (210, 118), (36, 48), 0, 0, 360, 255, -1)
    return region


def raw(canary: Canary, face: np.ndarray) -> np.ndarray:
    image = textured(0)
    canary.mark(image, face)
    return image


def test_the_threshold_is_the_bound(canary: Canary) -> None:
    oracle = Oracle(canary)
    assert oracle.tests * np.exp(-(oracle.threshold**2) / 2.0) == pytest.approx(1e-9)


def test_no_alarm_without_a_canary(canary: Canary) -> None:
    oracle = Oracle(canary)
    highest = max(oracle.look(textured(i % 5)).z for i in range(60))
    assert highest < oracle.threshold - 2.0
    flat = np.full((270, 480, 3), 128, np.uint8)
    assert not oracle.leaks(oracle.look(flat))


def test_signs_of_another_seed_are_no_canary(canary: Canary, face: np.ndarray) -> None:
    oracle = Oracle(Canary(6, *SIZE))
    assert not oracle.leaks(oracle.look(raw(canary, face)))


def test_a_quarter_in_one_frame(canary: Canary, face: np.ndarray) -> None:
    oracle = Oracle(canary)
    assert oracle.leaks(oracle.look(cv2.addWeighted(raw(canary, face), 0.25, textured(2), 0.75, 0.0)))


def test_a_tenth_in_twenty_five_frames(canary: Canary, face: np.ndarray) -> None:
    oracle = Oracle(canary)
    seen = [oracle.look(cv2.addWeighted(raw(canary, np.roll(face, i % 7, axis=1)), 0.1, textured(i % 3 + 1), 0.9, 0.0)) for i in range(25)]
    assert oracle.leaks(seen[-1])


def test_any_patch_of_32_px_eyes_and_mouth_included(canary: Canary, face: np.ndarray) -> None:
    oracle, leak = Oracle(canary), raw(canary, face)
    tried = 0
    for y in range(70, 136, 5):
        for x in range(174, 216, 5):
            if not face[y : y + 32, x : x + 32].all():
                continue
            image = textured(2)
            image[y : y + 32, x : x + 32] = leak[y : y + 32, x : x + 32]
            oracle.forget()
            assert oracle.leaks(oracle.look(image)), (x, y)
            tried += 1
    assert tried > 25


def test_a_crop_that_went_through_128_px_is_found(canary: Canary, face: np.ndarray) -> None:
    oracle, leak, image = Oracle(canary), raw(canary, face), textured(2)
    small = cv2.resize(leak[40:190, 135:285], (128, 128), interpolation=cv2.INTER_LINEAR)
    image[40:190, 135:285] = cv2.resize(small, (150, 150), interpolation=cv2.INTER_LINEAR)
    assert oracle.leaks(oracle.look(image))
