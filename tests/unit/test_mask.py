"""The soft mask: 0 at the border, opaque inside, never above the generator's, and a refusal for what would leave the wearer bare."""

from __future__ import annotations

from dataclasses import replace

import cv2
import drawn_face
import numpy as np
import pytest

from livecam import mask
from livecam.errors import StageError
from livecam.types import Alignment, Swapped

FACE = drawn_face.face(drawn_face.mesh())


def soft(drawn: np.ndarray) -> np.ndarray:
    size = drawn.shape[0]
    return mask.alpha(Swapped(np.zeros((size, size, 3), np.uint8), drawn), FACE, Alignment(np.eye(2, 3), size))


@pytest.mark.parametrize("size", [64, 128, 256, 384])
def test_zero_on_the_border_and_opaque_inside(size: int) -> None:
    out = soft(np.full((size, size), 255, np.uint8))
    assert out.dtype == np.uint8
    assert not out[[0, -1]].any()
    assert not out[:, [0, -1]].any()
    inner = size // 8
    assert (out[inner:-inner, inner:-inner] == 255).all()


@pytest.mark.parametrize("size", [128, 256])
def test_feathered_inwards_and_without_steps(size: int) -> None:
    drawn = np.zeros((size, size), np.uint8)
    cv2.ellipse(drawn, (size // 2, size // 2), (size // 3, size * 2 // 5), 0, 0, 360, 255, -1)
    out = soft(drawn)
    assert (out <= drawn).all()
    assert out[size // 2, size // 2] == 255
    row = out[size // 2].astype(int)
    assert np.abs(np.diff(row)).max() <= 110
    assert np.count_nonzero((row > 0) & (row < 255)) >= 4


def test_a_hole_stays_open_and_is_not_smaller() -> None:
    """What a generator leaves out (an occluder) must not be drawn over."""
    drawn = np.full((256, 256), 255, np.uint8)
    drawn[100:140, 100:140] = 0
    assert not soft(drawn)[100:140, 100:140].any()


@pytest.mark.parametrize("drawn", [np.zeros((128, 128), np.uint8), np.full((64, 128), 255, np.uint8), np.full((128, 128), 1.0, np.float32)])
def test_empty_wrong_sized_and_wrong_typed_masks_are_refused(drawn: np.ndarray) -> None:
    with pytest.raises(StageError, match="expected"):
        mask.alpha(Swapped(np.zeros((128, 128, 3), np.uint8), drawn), FACE, Alignment(np.eye(2, 3), 128))


def test_a_mask_that_feathering_eats_up_is_refused() -> None:
    drawn = np.zeros((256, 256), np.uint8)
    drawn[::8, ::8] = 255
    with pytest.raises(StageError, match="at least"):
        soft(drawn)


def test_not_finite_is_refused() -> None:
    swapped = Swapped(np.zeros((128, 128, 3), np.uint8), np.full((128, 128), 255, np.uint8))
    with pytest.raises(StageError, match="finite"):
        mask.alpha(swapped, FACE, Alignment(np.full((2, 3), np.nan), 128))
    with pytest.raises(StageError, match="finite"):
        mask.alpha(swapped, replace(FACE, box_px=np.full(4, np.inf, np.float32)), Alignment(np.eye(2, 3), 128))
