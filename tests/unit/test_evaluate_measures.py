"""Measures of the evaluation on pictures whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from engines.evaluate import measures, stats
from engines.evaluate.realism import kernel_distance, nearest_of_own_kind

ALL = np.ones((64, 64), bool)


def _noise(seed: int, level: float = 4.0) -> np.ndarray:
    return np.clip(np.random.default_rng(seed).normal(120, level, (64, 64, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, 2.5, 0.0), (50.0, 0.0, -2.5), 4.3065),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_de2000_is_that_of_sharmas_test_data(first: tuple[float, ...], second: tuple[float, ...], expected: float) -> None:
    assert measures.de2000(np.array(first), np.array(second)) == pytest.approx(expected, abs=1e-4)
    assert measures.de2000(np.array(second), np.array(first)) == pytest.approx(expected, abs=1e-4)


def test_psnr_is_the_formula_inside_the_region_only() -> None:
    truth = np.full((64, 64, 3), 100, np.uint8)
    output = truth.copy()
    output[:, :32] += 10
    left = ALL.copy()
    left[:, 32:] = False
    assert measures.psnr_db(output, truth, left) == pytest.approx(20 * np.log10(255 / 10))
    assert measures.psnr_db(output, truth, ~left) == measures.PEAK_DB
    assert np.isnan(measures.psnr_db(output, truth, np.zeros_like(ALL)))


def test_gradient_energy_less_noise_is_that_of_the_clean_picture() -> None:
    x = np.tile(128 + 40 * np.sin(np.arange(64) * 0.4), (64, 1))
    clean = np.repeat(x[..., None], 3, axis=2)
    rng = np.random.default_rng(0)
    shots = [np.clip(clean + rng.normal(0, 6, clean.shape), 0, 255).astype(np.uint8) for _ in range(2)]
    inner = measures.eroded(ALL, 2)
    exact = measures.gradient_energy(clean.astype(np.uint8), inner)
    raw, noise = measures.gradient_energy(shots[0], inner), measures.noise_energy(*shots, inner)
    assert raw > 1.03 * exact
    assert raw - noise == pytest.approx(exact, rel=0.03)


def test_seam_finds_the_step_that_truth_does_not_have_and_leaves_out_its_own() -> None:
    y, x = np.indices((64, 64))
    alpha = np.where((x - 32) ** 2 + (y - 32) ** 2 < 400, 255, 0).astype(np.uint8)
    shaded = np.repeat((90 + y)[..., None], 3, axis=2).astype(np.uint8)
    darker_inside = shaded.copy()
    darker_inside[alpha > 0] -= 20
    same = measures.seam(shaded, shaded, alpha, ALL)
    assert same.net == pytest.approx(0.0, abs=1e-6)
    assert same.truth > 0.1
    stepped = measures.seam(darker_inside, shaded, alpha, ALL)
    assert stepped.net == pytest.approx(6.5, abs=1.5)
    # What truth steps by itself is no seam.
    assert measures.seam(darker_inside, darker_inside, alpha, ALL).net == pytest.approx(0.0, abs=1e-6)
    assert measures.seam(darker_inside, shaded, alpha, ~ALL).sectors == 0


def test_change_of_a_halved_noise_is_half() -> None:
    first, second = _noise(1), _noise(2)
    calm = [np.round(120 + (p.astype(float) - 120) / 2).astype(np.uint8) for p in (first, second)]
    assert measures.change(*calm, ALL) / measures.change(first, second, ALL) == pytest.approx(0.5, abs=0.05)


def test_bootstrap_covers_the_mean_and_draws_whole_groups() -> None:
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(20), 10)
    values = rng.normal(0, 1, 20)[groups] + rng.normal(0, 0.01, 200)
    grouped, alone = stats.bootstrap(values, groups), stats.bootstrap(values, np.arange(200))
    assert grouped.low < values.mean() < grouped.high
    # Ten pictures of one persona are hardly more than one.
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)
    assert (grouped.n, grouped.groups) == (200, 20)


def test_bootstrap_leaves_out_what_was_not_measured() -> None:
    estimate = stats.bootstrap(np.array([1.0, np.nan, 3.0]), np.array([0, 0, 1]))
    assert (estimate.value, estimate.n) == (2.0, 2)
    assert np.isnan(stats.bootstrap(np.array([np.nan]), np.array([0])).value)


def test_auc_counts_pairs() -> None:
    assert stats.auc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1.0
    assert stats.auc(np.array([0.0, 1.0]), np.array([0.0, 1.0])) == 0.5
    assert stats.auc(np.array([0.5]), np.array([0.0, 1.0, 2.0])) == pytest.approx(1 / 3)


def test_share_is_of_the_means() -> None:
    estimate = stats.share(np.array([1.0, 0, 1, 0]), np.array([1.0, 1, 1, 0]), np.array([0, 0, 1, 1]))
    assert estimate.value == pytest.approx(2 / 3)


def test_linear_error_takes_slope_and_offset_out() -> None:
    true = np.linspace(-20, 20, 50)
    row = stats.linear_error(0.5 * true + 3, true)
    assert row["slope"] == pytest.approx(0.5)
    assert row["mean_abs_error"] == pytest.approx(0.0, abs=1e-9)


def test_kernel_distance_is_about_0_for_one_kind_and_above_it_for_two() -> None:
    rng = np.random.default_rng(2)
    first, second, other = (rng.normal(shift, 1, (120, 16)) for shift in (0, 0, 0.8))
    assert abs(kernel_distance(first, second)) < 0.15
    assert kernel_distance(first, other) > 0.5
    assert nearest_of_own_kind(first, second) == pytest.approx(0.5, abs=0.12)
    assert nearest_of_own_kind(first, other) > 0.65
