"""Rings of figures and their percentiles."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from livecam.telemetry import PERCENTS, RING, Ring


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=60))
def test_percentiles_are_numpys(values: list[float]) -> None:
    ring = Ring()
    for value in values:
        ring.add(value)
    wanted = np.percentile(values, PERCENTS)
    assert np.allclose([ring.percentiles()[f"p{p}"] for p in PERCENTS], wanted, rtol=1e-9, atol=1e-3)


def test_a_ring_holds_the_newest_and_an_empty_one_nothing() -> None:
    ring = Ring()
    assert ring.percentiles() == {}
    for value in range(RING + 100):
        ring.add(float(value))
    assert len(ring) == RING and ring.percentiles()["p50"] == 100 + (RING - 1) / 2
