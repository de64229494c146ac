"""Calibration: fits that find what was put in, errors worked by hand, thresholds that do what they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from avol.train.metrics import (
    cross_entropy,
    expected_calibration_error,
    platt_scaling,
    reliability_bins,
    temperature_scaling,
    threshold_for_balance,
    threshold_for_false_alarms,
)


def sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-values)))


def drawn(scale: float, bias: float, count: int = 20_000) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logits, and whether each pair is true, with just this calibration."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, count)
    return logits, (rng.random(count) < sigmoid(scale * logits + bias)).astype(float)


def test_error_worked_by_hand() -> None:
    probabilities, truth = np.array([0.1, 0.1, 0.9, 0.9]), np.array([0.0, 1.0, 1.0, 1.0])
    low, high = reliability_bins(probabilities, truth, bins=2)
    assert (low.low, low.high, low.count) == (0.0, 0.5, 2)
    assert (low.probability, low.share, high.probability, high.share) == pytest.approx((0.1, 0.5, 0.9, 1.0))
    assert expected_calibration_error(probabilities, truth, bins=2) == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)
    assert cross_entropy(probabilities, truth) == pytest.approx(-np.log([0.9, 0.1, 0.9, 0.9]).mean())


def test_certainty_that_is_right_has_no_error() -> None:
    truth = np.array([0.0, 1.0, 1.0])
    assert expected_calibration_error(truth, truth) == 0.0
    assert expected_calibration_error(1 - truth, truth) == 1.0
    assert cross_entropy(truth, truth) == pytest.approx(1e-7)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40), st.integers(1, 20))
def test_error_is_a_share_and_bins_hold_everything(pairs: list[tuple[float, bool]], bins: int) -> None:
    probabilities, truth = np.array([p for p, _ in pairs]), np.array([float(t) for _, t in pairs])
    assert 0 <= expected_calibration_error(probabilities, truth, bins=bins) <= 1
    found = reliability_bins(probabilities, truth, bins=bins)
    assert sum(b.count for b in found) == len(pairs)
    # Up to rounding: a mean of equal numbers may miss them by the last bit.
    assert all(b.low - 1e-9 <= b.probability <= b.high + 1e-9 for b in found)


@pytest.mark.parametrize(("scale", "bias"), [(1.0, 0.0), (0.5, -1.0), (2.0, 0.7)])
def test_platt_finds_what_was_put_in(scale: float, bias: float) -> None:
    logits, truth = drawn(scale, bias)
    found_scale, found_bias = platt_scaling(logits, truth)
    assert (found_scale, found_bias) == (pytest.approx(scale, rel=0.06), pytest.approx(bias, abs=0.08))
    assert expected_calibration_error(sigmoid(found_scale * logits + found_bias), truth) < 0.015


def test_temperature_finds_what_was_put_in() -> None:
    logits, truth = drawn(0.4, 0.0)
    assert temperature_scaling(logits, truth) == pytest.approx(2.5, rel=0.05)


def test_pairs_that_a_threshold_separates_have_a_finite_answer() -> None:
    logits, truth = np.array([-3.0, -2.0, 2.0, 3.0]), np.array([0.0, 0.0, 1.0, 1.0])
    scale, bias = platt_scaling(logits, truth)
    assert 0 < scale < 10
    assert abs(bias) < 1e-6
    assert 0 < temperature_scaling(logits, truth) < 10


def test_a_score_that_is_upside_down_has_a_negative_scale_and_no_temperature() -> None:
    logits, truth = drawn(1.0, 0.0, 500)
    assert platt_scaling(-logits, truth)[0] < 0
    with pytest.raises(ValueError, match="do not score above"):
        temperature_scaling(-logits, truth)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(-30, 30), st.booleans()), min_size=2, max_size=30))
def test_platt_is_no_worse_than_any_neighbour(pairs: list[tuple[float, bool]]) -> None:
    logits, truth = np.array([x for x, _ in pairs]), np.array([float(t) for _, t in pairs])
    assume(0 < truth.sum() < len(truth))
    scale, bias = platt_scaling(logits, truth)
    targets = np.where(truth == 1, (truth.sum() + 1) / (truth.sum() + 2), 1 / ((1 - truth).sum() + 2))

    def loss(a: float, b: float) -> float:
        z = a * logits + b
        return float(np.mean(np.logaddexp(0, z) - targets * z))

    assert np.isfinite([scale, bias]).all()
    for a, b in ((0.05, 0), (-0.05, 0), (0, 0.05), (0, -0.05)):
        assert loss(scale, bias) <= loss(scale + a, bias + b) + 1e-6


def test_threshold_of_balance_worked_by_hand() -> None:
    probabilities, truth = np.array([0.1, 0.4, 0.6, 0.9]), np.array([0.0, 0.0, 1.0, 1.0])
    assert threshold_for_balance(probabilities, truth) == pytest.approx(0.5)
    assert threshold_for_balance(probabilities, np.array([0.0, 1.0, 1.0, 1.0])) == pytest.approx(0.25)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_threshold_of_balance_is_the_best(true: list[float], false: list[float]) -> None:
    probabilities = np.array([*true, *false])
    truth = np.array([1.0] * len(true) + [0.0] * len(false))

    def accuracy(threshold: float) -> float:
        return float(np.mean(np.array(true) >= threshold) + np.mean(np.array(false) < threshold))

    threshold = threshold_for_balance(probabilities, truth)
    assert 0 <= threshold <= 1
    best = max(
        accuracy(value) for value in [0.0, 1.0, *((np.unique(probabilities)[:-1] + np.unique(probabilities)[1:]) / 2)]
    )
    assert accuracy(threshold) == pytest.approx(best)


@given(st.lists(st.floats(0, 0.999), min_size=1, max_size=30), st.floats(0, 1))
def test_no_more_false_alarms_than_allowed(false: list[float], share: float) -> None:
    threshold = threshold_for_false_alarms(np.array(false), share)
    assert 0 <= threshold <= 1
    assert np.mean(np.array(false) >= threshold) <= share + 1e-9


def test_false_alarms_worked_by_hand() -> None:
    false = np.array([0.1, 0.2, 0.3, 0.4])
    assert 0.3 < threshold_for_false_alarms(false, 0.25) <= 0.4
    assert threshold_for_false_alarms(false, 1.0) == 0.0
    assert threshold_for_false_alarms(false, 0.0) > 0.4
