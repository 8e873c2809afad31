"""The seam's offset: takes away what is smooth, leaves faces and hair alone, and stays away when it does not help."""

from __future__ import annotations

import numpy as np
import pytest

from livecam.blend.offset import LIMIT, SeamOffset, apply, apply_plain, fit

SIZE = 128


def scene(seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A wearer's crop of noisy skin, and an oval mask with a soft edge."""
    rng = np.random.default_rng(seed)
    wearer = np.clip(rng.normal((95, 120, 170), 4, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    gap = np.hypot(x / 42, y / 54)
    return wearer, np.rint(255 * np.clip((1 - gap) / 0.15, 0, 1)).astype(np.uint8)


def settled(drawn: np.ndarray, wearer: np.ndarray, alpha: np.ndarray, **options: str) -> np.ndarray:
    offset = SeamOffset(**options)  # type: ignore[arg-type]
    out = drawn
    for _ in range(90):
        out = offset.match(drawn, wearer, alpha)
    return out


def shifted(picture: np.ndarray, field: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(picture + field), 0, 255).astype(np.uint8)


def test_a_smooth_difference_is_taken_away() -> None:
    wearer, alpha = scene()
    slope = np.linspace(-6, 6, SIZE)[None, :, None]
    drawn = shifted(wearer, np.array([-5, -6, -8]) + slope)
    out = settled(drawn, wearer, alpha)
    seam = (alpha > 60) & (alpha < 250)
    before, after = (np.abs(p[seam].astype(float) - wearer[seam]).mean() for p in (drawn, out))
    assert after < 0.25 * before


def test_hair_and_beard_at_the_seam_are_no_reason() -> None:
    wearer, alpha = scene()
    wearer[: SIZE // 3] = (20, 22, 25)
    drawn = scene(2)[0]
    assert np.abs(settled(drawn, wearer, alpha).astype(int) - drawn).max() <= 3


def test_it_is_bounded_and_ends_when_it_does_not_help() -> None:
    wearer, alpha = scene()
    moved = settled(shifted(wearer, np.full(3, -60.0)), wearer, alpha).astype(float) - shifted(wearer, np.full(3, -60.0))
    assert np.abs(moved).max() <= LIMIT + 1
    assert np.array_equal(fit(wearer, wearer, alpha), np.zeros((3, 3)))
    board = np.indices((16, 16)).sum(axis=0)[..., None] % 2 * 24 - 12
    patchy = shifted(wearer, np.kron(board, np.ones((8, 8, 3))))
    assert np.abs(settled(patchy, wearer, alpha).astype(int) - patchy).max() <= 3


def test_it_comes_slowly_and_each_face_has_its_own() -> None:
    wearer, alpha = scene()
    drawn = shifted(wearer, np.full(3, -10.0))
    offset = SeamOffset()
    first = offset.match(drawn, wearer, alpha, 1).astype(int)
    assert 0 < (first - drawn).mean() < 2.5
    for _ in range(60):
        offset.match(drawn, wearer, alpha, 1)
    assert (offset.match(drawn, wearer, alpha, 2).astype(int) - drawn).mean() < 2.5


def test_nothing_is_done_for_the_personas_own_tone_or_without_a_seam() -> None:
    wearer, alpha = scene()
    drawn = shifted(wearer, np.full(3, -10.0))
    assert np.array_equal(settled(drawn, wearer, alpha, tone="persona"), drawn)
    assert np.array_equal(settled(drawn, wearer, np.zeros_like(alpha)), drawn)


@pytest.mark.parametrize("seed", [1, 2])
def test_fast_is_plain(seed: int) -> None:
    rng = np.random.default_rng(seed)
    crop, plane = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8), rng.uniform(-9, 9, (3, 3))
    assert np.abs(apply(crop, plane).astype(int) - apply_plain(crop, plane)).max() <= 1
