"""The mesh swapper's kernels over points, against plain forms."""

from __future__ import annotations

import drawn_face
import numpy as np
import pytest

from livecam.config import SwapConfig
from livecam.errors import StageError
from livecam.swap import _mesh_points, mesh
from livecam.swap import _mesh_shape as shape
from livecam.types import Alignment


@pytest.mark.parametrize("seed", range(6))
def test_the_pose_is_the_singular_value_decomposition_s(seed: int) -> None:
    """Any turn, any size, expression and noise on top; also from a flat mesh."""
    rng = np.random.default_rng(seed)
    rest = rng.normal(0, 100, (468, 3)).astype(np.float32)
    rest[:, 2] *= (1.0, 0.3, 0.01, 1e-4, 1.0, 0.0)[seed]
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    seen = ((0.3 + seed) * rest @ turn.T + rng.normal(0, 2.0, rest.shape) + (300, 200, 10)).astype(np.float32)
    fast, plain = shape.fit_pose(rest, seen), shape.fit_pose_plain(rest, seen)
    assert fast.scale == pytest.approx(plain.scale, rel=1e-6)
    assert np.allclose(fast.rotation, plain.rotation, atol=1e-6)
    assert np.allclose(fast.apply(rest), plain.apply(rest), atol=1e-3)


def test_a_mirrored_mesh_gets_a_proper_rotation_all_the_same() -> None:
    rest = np.random.default_rng(9).normal(0, 100, (468, 3)).astype(np.float32)
    pose = shape.fit_pose(rest, rest * np.array([-1, 1, 1], np.float32))
    assert np.linalg.det(pose.rotation) == pytest.approx(1.0)


def test_lids_go_where_they_should_and_the_skin_follows() -> None:
    rng = np.random.default_rng(3)
    points, target = rng.random((468, 3)).astype(np.float32), rng.random((18, 3)).astype(np.float32)
    spread, index = rng.random((468, 18)).astype(np.float32), np.arange(18) * 20
    spread[index] = 0.0
    wanted = points + spread @ (target - points[index])
    wanted[index] = target
    _mesh_points.move_lids(points, index, target, spread)
    assert np.allclose(points, wanted, atol=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e7])
def test_a_mesh_that_is_none_is_refused(bad: float) -> None:
    swapper = mesh.MeshSwapper(SwapConfig())
    swapper.wear(drawn_face.persona())
    size = drawn_face.ALIGNED.size_px
    points = drawn_face.face(np.random.default_rng(1).random((478, 3)).astype(np.float32) * 100, 0.9)
    assert points.mesh_px is not None
    points.mesh_px[100, 1] = bad
    with pytest.raises(StageError, match="finite mesh"):
        swapper.swap(np.zeros((size, size, 3), np.uint8), points, Alignment(drawn_face.ALIGNED.matrix, size))
