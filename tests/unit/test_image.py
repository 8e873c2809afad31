"""Crop and paste against their plain versions, and what paste must never touch."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from pasted import at, oval

from livecam import image
from livecam.errors import StageError
from livecam.types import Alignment

FRAME = (360, 640, 3)


def smooth(shape: tuple[int, ...], seed: int, sigma: float = 1.5) -> np.ndarray:
    noise = np.random.default_rng(seed).random(shape, np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), sigma), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


PLACES = {
    "middle": (320, 180, 190, 5),
    "turned": (320, 180, 190, 117),
    "upside down": (300, 170, 150, 180),
    "left edge": (5, 180, 190, -20),
    "corner": (640, 360, 200, 30),
    "far larger than the frame": (320, 180, 2500, 10),
    "small": (500, 60, 42, 8),
    "tiny": (100, 300, 9, 0),
}


@pytest.mark.parametrize("size", [128, 256])
@pytest.mark.parametrize("place", PLACES)
def test_paste_is_the_plain_one_within_a_grey_level(place: str, size: int) -> None:
    alignment, frame = at(*PLACES[place], size), smooth(FRAME, 1)
    fast, plain = frame.copy(), frame.copy()
    roi = image.paste(fast, alignment, smooth((size, size, 3), 2), oval(size))
    assert roi == image.paste_plain(plain, alignment, smooth((size, size, 3), 2), oval(size))
    assert (fast != frame).any()
    assert int(np.abs(fast.astype(int) - plain).max()) <= 1


@pytest.mark.parametrize("place", PLACES)
def test_nothing_changes_outside_the_roi(place: str) -> None:
    frame = smooth(FRAME, 3)
    pasted = frame.copy()
    x0, y0, x1, y1 = image.paste(pasted, at(*PLACES[place], 128), np.full((128, 128, 3), 255, np.uint8), oval(128))
    assert 0 <= x0 < x1 <= 640
    assert 0 <= y0 < y1 <= 360
    pasted[y0:y1, x0:x1] = frame[y0:y1, x0:x1]
    assert np.array_equal(pasted, frame)


@pytest.mark.parametrize("x, y", [(-400, 180), (1200, 180), (320, -500), (320, 900)])
def test_a_face_outside_the_frame_changes_nothing(x: float, y: float) -> None:
    frame = smooth(FRAME, 4)
    pasted = frame.copy()
    assert image.paste(pasted, at(x, y, 150, 0, 128), np.full((128, 128, 3), 255, np.uint8), oval(128)) == image.NOTHING
    assert np.array_equal(pasted, frame)


def test_four_faces_each_inside_its_own_roi() -> None:
    frame = np.zeros(FRAME, np.uint8)
    touched = np.zeros(FRAME[:2], bool)
    for k, (x, y) in enumerate([(80, 90), (250, 250), (420, 100), (580, 280)]):
        colour = np.full((128, 128, 3), 60 * (k + 1), np.uint8)
        x0, y0, x1, y1 = image.paste(frame, at(x, y, 90, 10 * k, 128), colour, oval(128))
        touched[y0:y1, x0:x1] = True
        assert frame[y, x].tolist() == [60 * (k + 1)] * 3
    assert not frame[~touched].any()


def test_opaque_paste_shows_the_crop_itself() -> None:
    size, frame = 64, np.zeros((64, 64, 3), np.uint8)
    crop, alpha = smooth((size, size, 3), 5), np.full((size, size), 255, np.uint8)
    image.paste(frame, Alignment(np.array([[1.0, 0, 0], [0, 1.0, 0]]), size), crop, alpha)
    assert np.array_equal(frame, crop)


def test_empty_alpha_changes_nothing() -> None:
    frame = smooth(FRAME, 6)
    assert image.paste(frame.copy(), at(320, 180, 150, 0, 128), smooth((128, 128, 3), 7), np.zeros((128, 128), np.uint8)) == image.NOTHING


def test_a_face_much_smaller_than_its_crop_does_not_alias() -> None:
    """Stripes one crop pixel wide, pasted at an eighth, become their mean instead of a moiré."""
    size, frame = 128, np.zeros((90, 90, 3), np.uint8)
    stripes = np.zeros((size, size, 3), np.uint8)
    stripes[:, ::2] = 255
    alignment = Alignment(np.array([[8.0, 0, -200], [0, 8.0, -200]]), size)
    image.paste(frame, alignment, stripes, oval(size))
    middle = frame[30:36, 30:36].astype(int)
    assert np.abs(middle - 127).max() <= 3


@pytest.mark.parametrize("place", ["middle", "turned", "left edge", "corner", "far larger than the frame"])
def test_crop_is_the_plain_one(place: str) -> None:
    frame, alignment = smooth(FRAME, 8), at(*PLACES[place], 128)
    # OpenCV's own sub-pixel steps are 1/32 px: a few levels on a steep edge.
    assert int(np.abs(image.crop(frame, alignment).astype(int) - image.crop_plain(frame, alignment)).max()) <= 4


def test_paste_of_a_crop_gives_the_frame_back() -> None:
    frame, alignment = smooth(FRAME, 9, 6.0), at(320, 180, 190, 12, 256)
    pasted = frame.copy()
    image.paste(pasted, alignment, image.crop(frame, alignment), oval(256))
    assert int(np.abs(pasted.astype(int) - frame).max()) <= 3


@pytest.mark.parametrize(
    "crop, alpha",
    [((64, 64, 3), (128, 128)), ((128, 128, 3), (64, 64)), ((128, 128, 4), (128, 128)), ((128, 128), (128, 128))],
)
def test_wrong_shapes_are_refused(crop: tuple[int, ...], alpha: tuple[int, ...]) -> None:
    with pytest.raises(StageError, match="expects a crop"):
        image.paste(np.zeros(FRAME, np.uint8), at(320, 180, 150, 0, 128), np.zeros(crop, np.uint8), np.zeros(alpha, np.uint8))


@pytest.mark.parametrize("matrix", [np.zeros((2, 3)), np.full((2, 3), np.nan), np.array([[1.0, 1, 0], [1, 1, 0]])])
def test_an_alignment_without_area_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(StageError, match="invertible"):
        image.paste(np.zeros(FRAME, np.uint8), Alignment(matrix, 128), np.zeros((128, 128, 3), np.uint8), oval(128))
