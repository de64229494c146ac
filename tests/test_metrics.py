"""Metrics by hand-worked cases and against brute force."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from avol.train.metrics import (
    _bilinear,
    bootstrap_interval,
    centred_disc,
    correspondence_accuracy,
    median_rule_iou,
    peak_position,
    point_in_boxes,
    ranking_auc,
)

scores = st.lists(st.integers(0, 6).map(lambda n: n / 6), min_size=1, max_size=20)


def test_accuracy_worked_by_hand() -> None:
    true, false = np.array([0.9, 0.5, 0.2, 0.7]), np.array([0.1, 0.5])
    assert correspondence_accuracy(true, false) == pytest.approx(0.5 * (3 / 4 + 1 / 2))
    assert correspondence_accuracy(true, false, threshold=0.6) == pytest.approx(0.5 * (2 / 4 + 1))


def test_accuracy_of_a_constant_is_chance() -> None:
    assert correspondence_accuracy(np.full(8, 0.7), np.full(3, 0.7)) == 0.5


def test_auc_worked_by_hand() -> None:
    # Pairs of (true, false): 3>1, 3>2, 2>1, 2=2, so 3.5 of 4.
    assert ranking_auc(np.array([3.0, 2.0]), np.array([1.0, 2.0])) == pytest.approx(3.5 / 4)
    assert ranking_auc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1.0
    assert ranking_auc(np.array([0.0]), np.array([1.0])) == 0.0


@given(true=scores, false=scores)
def test_auc_is_the_share_of_ordered_pairs(true: list[float], false: list[float]) -> None:
    wins = [1.0 if t > f else 0.5 if t == f else 0.0 for t in true for f in false]
    found = ranking_auc(np.array(true), np.array(false))
    assert found == pytest.approx(np.mean(wins), abs=1e-12)
    assert ranking_auc(np.array(false), np.array(true)) == pytest.approx(1 - found, abs=1e-12)


@given(true=scores, false=scores)
def test_auc_sees_only_the_order(true: list[float], false: list[float]) -> None:
    found = ranking_auc(np.array(true), np.array(false))
    assert ranking_auc(np.exp(5 * np.array(true)), np.exp(5 * np.array(false))) == pytest.approx(found, abs=1e-12)


def test_peak_is_the_centre_of_its_cell() -> None:
    values = np.zeros((2, 4))
    values[1, 3] = 1.0
    assert peak_position(values) == (0.875, 0.75)
    assert peak_position(np.array([[5.0]])) == (0.5, 0.5)


@given(st.integers(1, 14), st.integers(1, 14), st.data())
def test_peak_is_where_the_largest_cell_is(height: int, width: int, data: st.DataObject) -> None:
    row, column = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    values = np.random.default_rng(0).random((height, width))
    values[row, column] = 2.0
    x, y = peak_position(values)
    assert (int(x * width), int(y * height)) == (column, row)


def test_point_in_boxes() -> None:
    boxes = [(0.1, 0.2, 0.4, 0.5), (0.6, 0.6, 1.0, 1.0)]
    assert point_in_boxes((0.2, 0.3), boxes)
    assert point_in_boxes((0.7, 0.9), boxes)
    assert not point_in_boxes((0.5, 0.55), boxes)
    assert not point_in_boxes((0.2, 0.9), boxes)  # x of the one, y of the other
    assert point_in_boxes((0.1, 0.5), boxes)  # edges belong
    assert not point_in_boxes((0.5, 0.5), [])


def mean_of(values: NDArray[np.float64], groups: list[str], *, seed: int = 0, draws: int = 1000) -> tuple[float, float]:
    return bootstrap_interval(lambda drawn: float(values[drawn].mean()), groups, seed=seed, draws=draws)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(5, 40))
def test_interval_holds_the_mean(seed: int, count: int) -> None:
    values = np.random.default_rng(seed).random(count)
    low, high = mean_of(values, [str(n) for n in range(count)], draws=200)
    assert values.min() <= low <= values.mean() <= high <= values.max()


def test_interval_has_the_width_of_the_normal_approximation() -> None:
    values = np.random.default_rng(1).random(400)
    low, high = mean_of(values, [str(n) for n in range(400)])
    expected = 2 * 1.96 * values.std() / 20
    assert high - low == pytest.approx(expected, rel=0.1)


def test_median_rule_worked_by_hand() -> None:
    left_is_larger = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert median_rule_iou(left_is_larger, [(0, 0, 0.5, 1)]) == 1.0
    assert median_rule_iou(left_is_larger, [(0.5, 0, 1, 1)]) == 0.0
    # Half of the frame against a quarter inside it, against all of it, and against two boxes that make up a half.
    assert median_rule_iou(left_is_larger, [(0, 0, 0.5, 0.5)]) == 0.5
    assert median_rule_iou(left_is_larger, [(0, 0, 1, 1)]) == 0.5
    assert median_rule_iou(left_is_larger, [(0, 0, 0.5, 0.5), (0, 0.5, 0.5, 1)]) == 1.0
    assert median_rule_iou(left_is_larger, []) == 0.0
    # Of a map without a largest half, some half counts all the same.
    assert median_rule_iou(np.zeros((8, 8)), [(0, 0, 1, 1)]) == 0.5


def test_bilinear_enlargement_is_that_of_opencv() -> None:
    import cv2

    small = np.random.default_rng(0).normal(size=(8, 5))
    large = cv2.resize(small, (60, 60), interpolation=cv2.INTER_LINEAR)
    assert np.allclose(_bilinear(8, 60) @ small @ _bilinear(5, 60).T, large, atol=1e-6)


def test_centred_disc_covers_the_centre() -> None:
    disc = centred_disc(8, 8)
    assert disc.shape == (8, 8)
    half = np.sqrt(1 / 8)  # a square of half the frame's area
    assert median_rule_iou(disc, [(0.5 - half, 0.5 - half, 0.5 + half, 0.5 + half)]) > 0.8
    assert median_rule_iou(disc, [(0, 0, 0.2, 0.2)]) < 0.05


def test_frames_of_one_video_are_not_independent() -> None:
    """Ten videos of forty equal frames carry the information of ten values, not of four hundred."""
    values = np.repeat(np.random.default_rng(2).random(10), 40)
    by_frame = mean_of(values, [str(n) for n in range(400)])
    by_video = mean_of(values, [str(n // 40) for n in range(400)])
    assert by_video[1] - by_video[0] > 3 * (by_frame[1] - by_frame[0])


def test_one_group_gives_no_width() -> None:
    assert mean_of(np.array([0.0, 1.0]), ["a", "a"]) == (0.5, 0.5)


def test_interval_is_a_function_of_its_seed() -> None:
    values, groups = np.random.default_rng(3).random(30), [str(n) for n in range(30)]
    assert mean_of(values, groups, seed=4) == mean_of(values, groups, seed=4)
    assert mean_of(values, groups, seed=4) != mean_of(values, groups, seed=5)


def test_confidence_widens_the_interval() -> None:
    values, groups = np.random.default_rng(3).random(30), [str(n) for n in range(30)]

    def width(confidence: float) -> float:
        low, high = bootstrap_interval(lambda drawn: float(values[drawn].mean()), groups, confidence=confidence)
        return high - low

    assert width(0.5) < width(0.9) < width(0.99)


def test_metrics_import_no_torch() -> None:
    code = "import sys, avol.train.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
