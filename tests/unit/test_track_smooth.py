"""The smoother's kernel against its NumPy form."""

from __future__ import annotations

import numpy as np
import pytest

from livecam import geometry
from livecam.track import _smooth
from livecam.track import _topology as topology


@pytest.mark.parametrize("columns", [2, 3])
def test_the_kernel_is_the_plain_smoother(columns: int) -> None:
    """A face that turns full circle, grows, leaves at once and starts anew; clocks that stand still and jump."""
    rng = np.random.default_rng(0)
    rest = rng.random((478, columns)) * 200
    fast, plain = _smooth.Smoother(topology.STABLE), _smooth.PlainSmoother(topology.STABLE)
    steps = {7: 0.0, 20: -1.0, 33: 30.0, 40: float("nan")}
    for i in range(80):
        if i == 60:
            fast.reset()
            plain.reset()
        pose = geometry.similarity(1 + 0.2 * np.sin(i / 20), i * 9.0, (3 * i, 200 * np.sin(i / 9)))
        points = geometry.apply(pose, rest + rng.normal(0, 0.3, rest.shape))
        before = points.copy()
        for seen, wanted in zip(fast(points, points[:5, :2], steps.get(i, 0.033)), plain(points, points[:5, :2], steps.get(i, 0.033)), strict=True):
            assert np.allclose(seen, wanted, rtol=0, atol=1e-9), i
        assert np.array_equal(points, before), "the points themselves are not written to"


@pytest.mark.parametrize("bad", [float("nan"), 5.0])
def test_points_that_are_no_face_are_refused_and_forgotten(bad: float) -> None:
    """Not a number, or all in one place; the next face passes as it is."""
    rng = np.random.default_rng(1)
    smoother = _smooth.Smoother(topology.STABLE)
    points = rng.random((478, 3)) * 200
    smoother(points, points[:5, :2], 0.033)
    with pytest.raises(ValueError, match="apart"):
        smoother(np.full((478, 3), bad), points[:5, :2], 0.033)
    assert np.allclose(smoother(points + 50, points[:5, :2], 0.033)[0], points + 50)
