"""Similarities: against a plain SVD reference, equivariance, there and back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from livecam import geometry, image
from livecam.align import align, template_px
from livecam.errors import ModelError, StageError
from livecam.types import Alignment, CropSpec

COORD = st.floats(-4000, 4000, width=32)
SIMILARITIES = st.builds(
    geometry.similarity, st.floats(0.05, 20), st.floats(-180, 180), st.tuples(st.floats(-3000, 3000), st.floats(-3000, 3000))
)
SPECS = st.builds(
    CropSpec,
    size_px=st.integers(32, 512),
    scale=st.floats(0.4, 1.2),
    offset=st.tuples(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2)),
)


def apart(points: np.ndarray) -> bool:
    return float(((points - points.mean(axis=0)) ** 2).sum()) > 1.0


def clouds(count: int) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float64, (count, 2), elements=COORD).filter(apart)


def umeyama_svd(src: np.ndarray, dst: np.ndarray) -> np.ndarray:
    """As in Umeyama's paper, equations 38 to 43."""
    ms, md = src.mean(axis=0), dst.mean(axis=0)
    covariance = (dst - md).T @ (src - ms) / len(src)
    u, d, vt = np.linalg.svd(covariance)
    sign = np.eye(2)
    if np.linalg.det(u) * np.linalg.det(vt) < 0:
        sign[1, 1] = -1
    rotation = u @ sign @ vt
    scale = np.trace(np.diag(d) @ sign) / ((src - ms) ** 2).sum(axis=1).mean()
    return np.hstack([scale * rotation, (md - scale * rotation @ ms)[:, None]])


@given(clouds(5), clouds(5))
def test_umeyama_is_the_paper_s_to_002_px(src: np.ndarray, dst: np.ndarray) -> None:
    found = geometry.apply(geometry.umeyama(src, dst), src)
    assert np.abs(found - geometry.apply(umeyama_svd(src, dst), src)).max() < 0.02


@given(clouds(5), SIMILARITIES)
def test_umeyama_finds_the_similarity_that_was_there(src: np.ndarray, moved: np.ndarray) -> None:
    found = geometry.umeyama(src, geometry.apply(moved, src))
    assert np.abs(geometry.apply(found, src) - geometry.apply(moved, src)).max() < 1e-5


@given(clouds(5), clouds(5), SIMILARITIES)
def test_umeyama_moves_with_its_target(src: np.ndarray, dst: np.ndarray, moved: np.ndarray) -> None:
    direct = geometry.apply(geometry.umeyama(src, geometry.apply(moved, dst)), src)
    after = geometry.apply(geometry.compose(moved, geometry.umeyama(src, dst)), src)
    assert np.abs(direct - after).max() < 1e-4 * max(1.0, np.abs(after).max() / 1000)


def test_umeyama_never_mirrors() -> None:
    src = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 5.0]])
    found = geometry.umeyama(src, src * [-1.0, 1.0])
    assert np.linalg.det(found[:, :2]) > 0


@pytest.mark.parametrize("bad", [np.zeros((5, 3)), np.zeros((1, 2)), np.zeros((5, 2)), np.full((5, 2), np.nan)])
def test_umeyama_refuses(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="umeyama expects"):
        geometry.umeyama(bad, bad)


@given(SIMILARITIES, SIMILARITIES, clouds(4))
def test_invert_compose_apply_agree(first: np.ndarray, second: np.ndarray, points: np.ndarray) -> None:
    both = geometry.apply(geometry.compose(second, first), points)
    assert np.allclose(both, geometry.apply(second, geometry.apply(first, points)), atol=1e-4)
    back = geometry.apply(geometry.compose(geometry.invert(first), first), points)
    assert np.abs(back - points).max() < 1e-6


@given(st.floats(0.01, 50), st.floats(-179, 179), st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)))
def test_decompose_reads_similarity_backwards(scale: float, turn: float, shift: tuple[float, float]) -> None:
    parts = geometry.decompose(geometry.similarity(scale, turn, shift))
    assert parts.scale == pytest.approx(scale, rel=1e-9)
    assert parts.rotation_deg == pytest.approx(turn, abs=1e-6)
    assert np.allclose(parts.shift_px, shift)


def test_reflections_and_singular_matrices_are_refused() -> None:
    with pytest.raises(ValueError, match="reflection"):
        geometry.decompose(np.array([[-1.0, 0, 0], [0, 1.0, 0]]))
    with pytest.raises(ValueError, match="determinant"):
        geometry.invert(np.array([[1.0, 1.0, 0], [1.0, 1.0, 0]]))


def test_positive_turns_go_clockwise_on_the_screen() -> None:
    assert np.allclose(geometry.apply(geometry.similarity(1.0, 90.0, (0, 0)), [[1.0, 0.0]]), [[0.0, 1.0]])


def test_iou_of_known_boxes() -> None:
    found = geometry.iou([[0, 0, 2, 2], [5, 5, 5, 9]], [[1, 0, 3, 2], [0, 0, 2, 2]])
    assert np.allclose(found, [[1 / 3, 1.0], [0.0, 0.0]])


@given(SPECS, SIMILARITIES)
def test_a_face_that_is_the_template_is_aligned_exactly(spec: CropSpec, moved: np.ndarray) -> None:
    five = geometry.apply(geometry.invert(moved), template_px(spec))
    matrix = align(five, spec).matrix
    assert np.abs(geometry.apply(matrix, five) - template_px(spec)).max() < 1e-4


@given(SPECS, st.integers(2, 4))
def test_the_template_scales_by_area(spec: CropSpec, factor: int) -> None:
    large = CropSpec(spec.size_px * factor, spec.template, spec.scale, spec.offset)
    assert np.allclose((template_px(large) + 0.5) / factor - 0.5, template_px(spec))


def test_the_template_is_insightface_s_at_128_px() -> None:
    found = template_px(CropSpec(128, scale=0.875, offset=(0.0, -0.0625)))
    assert np.allclose(found, np.array(geometry.ARCFACE_112_V2) + np.array([8.0, 0.0]))
    assert np.allclose(template_px(CropSpec(112, scale=1.0)), geometry.ARCFACE_112_V2)


def test_align_refuses_what_it_cannot_use() -> None:
    with pytest.raises(StageError, match="align"):
        align(np.full((5, 2), 7.0), CropSpec(128))
    with pytest.raises(StageError, match="finite"):
        align(np.full((5, 2), np.nan), CropSpec(128))
    with pytest.raises(ModelError, match="arcface_112_v2"):
        template_px(CropSpec(128, template="other"))
    with pytest.raises(ModelError, match="above 0"):
        template_px(CropSpec(128, scale=0.0))


@settings(max_examples=25)
@given(st.floats(0.7, 1.4), st.floats(-60, 60), st.floats(-8, 8), st.floats(-8, 8))
def test_warp_and_unwarp_is_the_identity(scale: float, turn: float, dx: float, dy: float) -> None:
    """A linear picture, which bilinear sampling gives exactly, comes back where it was; half a pixel off would show."""
    y, x = np.mgrid[0:160, 0:160].astype(np.float32)
    ramp = x + 2 * y
    around = geometry.similarity(scale, turn, (0, 0))
    around[:, 2] = np.array([79.5 + dx, 79.5 + dy]) - around[:, :2] @ [79.5, 79.5]
    there = cv2.warpAffine(ramp, around, (160, 160), borderMode=cv2.BORDER_REPLICATE)
    back = cv2.warpAffine(there, geometry.invert(around), (160, 160), borderMode=cv2.BORDER_REPLICATE)
    middle = slice(65, 95)
    assert np.abs(back - ramp)[middle, middle].max() < 0.25


def test_the_matrix_puts_a_pixel_s_centre_where_it_says() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[20, 30] = 255
    crop = image.crop(picture, Alignment(geometry.similarity(1.0, 0.0, (-10.0, -5.0)), 32))
    assert np.argwhere(crop[..., 0] == 255).tolist() == [[15, 20]]
