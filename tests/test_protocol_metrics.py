"""Metrics of published protocols: cases worked by hand, bounds, monotonicity, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from avol.train.metrics import (
    Figure,
    adaptive_count,
    average_precision,
    bootstrap_interval,
    box_weights,
    chance_ndcg,
    ciou,
    enlarge,
    largest_pixels,
    localisation_accuracy,
    max_f1,
    mean_interval,
    median_rule_iou,
    ndcg,
    precision_recall,
    success_areas,
    success_auc,
    success_curve,
    weighted_iou,
)

shares = st.floats(0, 1)
iou_lists = st.lists(shares, min_size=1, max_size=20).map(np.array)
maps = arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.integers(0, 4).map(float))
Detections = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]


@st.composite
def detections(draw: st.DrawFn) -> Detections:
    """Scores on few levels, at least one present."""
    count = draw(st.integers(1, 12))
    scores = draw(arrays(np.float64, count, elements=st.integers(0, 4).map(lambda n: n / 4)))
    present = draw(arrays(np.bool_, count))
    present[0] = True
    return scores, present, draw(arrays(np.bool_, count))


@st.composite
def boxes(draw: st.DrawFn) -> tuple[float, float, float, float]:
    x0, x1 = sorted((draw(shares), draw(shares)))
    y0, y1 = sorted((draw(shares), draw(shares)))
    return x0, y0, x1, y1


# Boxes and found pixels


def test_weights_of_boxes_worked_by_hand() -> None:
    assert box_weights([(0, 0, 0.5, 0.25)], side=4).tolist() == [[1, 1, 0, 0], [0] * 4, [0] * 4, [0] * 4]
    # The last pixel is excluded and edges are rounded down: from 1.4 to 2.9 is one pixel.
    assert box_weights([(0.35, 0, 0.725, 1)], side=4).tolist() == [[0, 1, 0, 0]] * 4
    # Two annotators: what both marked counts fully, a third adds nothing.
    two = box_weights([(0, 0, 0.5, 1), (0.25, 0, 0.75, 1)], box_weight=0.5, side=4)
    assert two.tolist() == [[0.5, 1, 0.5, 0]] * 4
    assert box_weights([(0, 0, 1, 1)] * 3, box_weight=0.5, side=2).tolist() == [[1, 1], [1, 1]]
    assert box_weights([], side=2).sum() == 0


def test_weighted_iou_worked_by_hand() -> None:
    weights = np.array([[1.0, 1.0, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0]])
    found = np.array([[True, False, True, False], [True, False, False, False]])
    assert weighted_iou(found, weights) == pytest.approx(1.5 / (3.0 + 1.0))
    assert weighted_iou(weights > 0, weights) == 1.0
    assert weighted_iou(np.zeros_like(found), weights) == 0.0
    assert weighted_iou(np.zeros_like(found), np.zeros((2, 4))) == 0.0


@given(st.lists(boxes(), max_size=4), maps, st.sampled_from([0.5, 1.0]))
def test_iou_is_a_share_and_best_for_the_boxes_themselves(
    given_boxes: list[tuple[float, float, float, float]], values: NDArray[np.float64], box_weight: float
) -> None:
    weights = box_weights(given_boxes, box_weight=box_weight, side=16)
    found = largest_pixels(enlarge(values, 16), 128)
    assert 0 <= weighted_iou(found, weights) <= weighted_iou(largest_pixels(weights, 128), weights) <= 1
    if weights.any():
        assert weighted_iou(weights > 0, weights) == pytest.approx(1)


@given(maps, st.integers(0, 25))
def test_the_largest_pixels_are_those_of_a_stable_sort(values: NDArray[np.float64], count: int) -> None:
    count = min(count, values.size)
    expected = np.zeros(values.size, np.bool_)
    expected[np.argsort(values, axis=None, kind="stable")[values.size - count :]] = True
    assert np.array_equal(largest_pixels(values, count), expected.reshape(values.shape))


@given(maps)
def test_the_median_rule_sees_only_the_order(values: NDArray[np.float64]) -> None:
    half = values.size // 2
    assert np.array_equal(largest_pixels(values, half), largest_pixels(np.exp(3 * values) - 7, half))


def test_the_median_rule_is_that_of_training_up_to_the_edges_of_boxes() -> None:
    values, box = np.random.default_rng(0).random((8, 8)), (0.25, 0.25, 0.75, 1.0)
    weights = box_weights([box])  # on multiples of a pixel both ways of drawing a box agree
    found = weighted_iou(largest_pixels(enlarge(values), weights.size // 2), weights)
    assert found == pytest.approx(median_rule_iou(values, [box]))


def test_the_adaptive_rule_takes_as_many_pixels_as_the_boxes() -> None:
    weights = box_weights([(0, 0, 0.5, 0.5)], side=8)
    assert adaptive_count(weights) == 16
    assert adaptive_count(box_weights([(0, 0, 0.5, 0.5)], box_weight=0.5, side=8)) == 16
    assert adaptive_count(np.zeros((8, 8))) == 32
    assert weighted_iou(largest_pixels(weights, 16), weights) == 1.0


# Success


def test_success_worked_by_hand() -> None:
    ious = np.array([0.0, 0.5, 1.0])
    assert ciou(ious) == pytest.approx(2 / 3)
    curve = success_curve(ious)
    assert curve.tolist() == pytest.approx([1.0] + [2 / 3] * 10 + [1 / 3] * 10)
    # One half step, ten and a half steps, twenty steps of a twentieth.
    assert success_areas(ious).tolist() == pytest.approx([0.025, 0.525, 1.0])
    assert success_auc(ious) == pytest.approx(1.55 / 3)


@given(iou_lists)
def test_the_success_curve_falls_and_its_area_is_the_mean_of_areas(ious: NDArray[np.float64]) -> None:
    curve, area = success_curve(ious), success_auc(ious)
    assert curve[0] == 1.0
    assert (np.diff(curve) <= 0).all()
    assert area == pytest.approx(np.sum((curve[1:] + curve[:-1]) / 2 * 0.05))
    assert area == pytest.approx(success_areas(ious).mean())
    assert abs(area - ious.mean()) <= 0.025 + 1e-9


@given(iou_lists, st.floats(0, 1))
def test_a_better_iou_is_no_worse(ious: NDArray[np.float64], more: float) -> None:
    better = np.minimum(1, ious + more)
    assert success_auc(better) >= success_auc(ious) - 1e-12
    assert ciou(better) >= ciou(ious)


# Detection


def test_detection_worked_by_hand() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    present, right = np.array([True, False, True, True]), np.array([True, False, True, False])
    precision, recall = precision_recall(scores, present, right)
    assert precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3, 1 / 2])
    assert recall.tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3, 1])
    assert average_precision(scores, present, right) == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)
    assert max_f1(scores, present, right) == pytest.approx(2 / 3)
    assert localisation_accuracy(present, right) == pytest.approx(2 / 3)


def test_equal_scores_are_one_threshold() -> None:
    present, right = np.array([True, False, False]), np.array([True, False, False])
    precision, recall = precision_recall(np.zeros(3), present, right)
    assert (precision.tolist(), recall.tolist()) == ([1 / 3], [1.0])
    assert average_precision(np.zeros(3), present, right) == pytest.approx(1 / 3)


@given(detections())
def test_detection_is_bounded_and_sees_only_the_order(drawn: Detections) -> None:
    scores, present, right = drawn
    precision, recall = precision_recall(*drawn)
    assert (np.diff(recall) >= -1e-12).all()
    assert ((precision >= 0) & (precision <= 1)).all()
    for metric in (average_precision, max_f1):
        value = metric(*drawn)
        assert 0 <= value <= 1
        assert metric(np.exp(2 * scores) - 5, present, right) == pytest.approx(value)


@given(detections())
def test_a_perfect_detector_reaches_one(drawn: Detections) -> None:
    _, present, _ = drawn
    scores = present.astype(float)
    assert average_precision(scores, present, present) == pytest.approx(1)
    assert max_f1(scores, present, present) == pytest.approx(1)


@given(detections())
def test_finding_another_place_right_is_no_worse(drawn: Detections) -> None:
    scores, present, right = drawn
    assert average_precision(scores, present, right | present) >= average_precision(scores, present, right) - 1e-12
    assert localisation_accuracy(present, right | present) == 1.0


# Retrieval


def test_ndcg_worked_by_hand() -> None:
    relevance = np.array([[0.0, 1.0, 1.0]])
    third = 1 / np.log2(3)
    ideal = 1 + third
    assert ndcg(np.array([[3.0, 2.0, 1.0]]), relevance)[0] == pytest.approx((third + 0.5) / ideal)
    assert ndcg(np.array([[1.0, 2.0, 3.0]]), relevance)[0] == pytest.approx(1)
    assert ndcg(np.array([[3.0, 2.0, 1.0]]), relevance, depth=1)[0] == 0.0
    # Of equal scores none comes first: each place has two thirds of a relevant item.
    tied = ndcg(np.zeros((1, 3)), relevance)[0]
    assert tied == pytest.approx(2 / 3 * (1 + third + 0.5) / ideal)
    assert chance_ndcg(relevance, np.ones((1, 3), np.bool_))[0] == pytest.approx(tied)
    assert np.isnan(ndcg(np.ones((1, 3)), np.zeros((1, 3)))[0])


def test_what_is_not_in_the_gallery_takes_no_place() -> None:
    gallery = np.array([[False, True, True]])
    scores = np.where(gallery, [[9.0, 2.0, 1.0]], -np.inf)
    assert ndcg(scores, np.array([[0.0, 1.0, 0.0]]))[0] == pytest.approx(1)
    assert chance_ndcg(np.array([[0.0, 1.0, 0.0]]), gallery)[0] == pytest.approx((1 + 1 / np.log2(3)) / 2)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 40))
def test_ndcg_is_bounded_and_sees_only_the_order(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    scores, relevance = rng.normal(size=(3, count)), rng.integers(0, 3, (3, count)).astype(float)
    relevance[:, 0] = 1
    values = ndcg(scores, relevance)
    assert ((values >= 0) & (values <= 1 + 1e-12)).all()
    assert ndcg(np.exp(scores), relevance) == pytest.approx(values)
    assert ndcg(relevance, relevance) == pytest.approx(np.ones(3))


# Intervals


def test_the_interval_of_a_mean_is_the_general_one() -> None:
    values = np.random.default_rng(0).random(40)
    groups = [str(n // 3) for n in range(40)]
    general = bootstrap_interval(lambda drawn: float(values[drawn].mean()), groups, draws=200)
    assert mean_interval(values, groups, draws=200) == pytest.approx(general)
    figure = Figure.share(values.tolist(), groups)
    assert figure.low <= figure.value <= figure.high
