"""The linear probe: at its minimum, right where classes can be told apart, at chance on noise, blind to its fold."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from avol.runtime.errors import AvolError
from avol.train.probe import PENALTIES, commonest, fit, probe

FOLDS = np.repeat(np.arange(1, 6), 16).astype(np.int64)
LABELS = np.tile(np.arange(4), 20).astype(np.int64)


def softmax(logits: NDArray) -> NDArray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def clusters(seed: int, *, distance: float) -> NDArray:
    """Samples of four classes around points that far from each other, in six dimensions of unlike scale."""
    rng = np.random.default_rng(seed)
    centres = distance * np.eye(4, 6)
    return (centres[LABELS] + rng.standard_normal((len(LABELS), 6))) * [1, 10, 1e-4, 1, 1e3, 1] + [0, 5, 0, -1e3, 0, 0]


@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_fit_is_at_the_minimum(penalty: float) -> None:
    """The gradient of the loss, written out, vanishes; from another start it is the same point."""
    rng = np.random.default_rng(0)
    features, labels = rng.standard_normal((60, 5)), rng.integers(0, 3, 60)
    found = fit(features, labels, 3, penalty)
    excess = (softmax(features @ found.weights + found.biases) - np.eye(3)[labels]) / len(labels)
    assert np.abs(features.T @ excess + penalty * found.weights).max() < 1e-4
    assert np.abs(excess.sum(axis=0)).max() < 1e-4
    again = fit(features, labels, 3, penalty, fit(features, labels, 3, 100.0))
    assert np.allclose(again.weights, found.weights, atol=1e-3)


def test_without_features_the_biases_are_the_logarithms_of_the_shares() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [2])
    found = fit(np.zeros((10, 2)), labels, 3, 1.0)
    assert np.allclose(softmax(found.biases[None])[0], [0.6, 0.3, 0.1], atol=1e-5)
    assert not found.weights.any()


def test_two_points_have_the_weight_that_the_equation_gives() -> None:
    """Points at -1 and 1: by symmetry the weights are -w and w with w = (1 - sigmoid(2w)) / penalty."""
    found = fit(np.array([[-1.0], [1.0]]), np.array([0, 1]), 2, 0.1)
    weight = found.weights[0, 1]
    assert found.weights[0, 0] == pytest.approx(-weight)
    assert weight == pytest.approx((1 - 1 / (1 + np.exp(-2 * weight))) / 0.1, rel=1e-4)
    assert np.allclose(found.biases, 0, atol=1e-6)


def test_what_can_be_told_apart_is_told_apart() -> None:
    found = probe(clusters(0, distance=14.0), LABELS, FOLDS)
    assert np.array_equal(found.predicted, LABELS)
    assert set(found.penalties) == {1, 2, 3, 4, 5}
    assert set(found.penalties.values()) <= set(PENALTIES)


def test_noise_is_at_chance() -> None:
    rights = [np.mean(probe(clusters(seed, distance=0.0), LABELS, FOLDS).predicted == LABELS) for seed in range(4)]
    assert np.mean(rights) == pytest.approx(0.25, abs=0.08)  # more than three deviations of 320 answers


def test_no_answer_rests_on_the_labels_or_the_features_of_its_fold() -> None:
    features = clusters(1, distance=3.0)
    held = FOLDS == 2
    before = probe(features, LABELS, FOLDS)
    labels, others = LABELS.copy(), features.copy()
    labels[held] = labels[held][::-1]
    assert np.array_equal(probe(features, labels, FOLDS).predicted[held], before.predicted[held])
    first = np.flatnonzero(held)[0]
    others[first] = 1e6  # would change means and deviations, were it among them
    after = probe(others, LABELS, FOLDS).predicted[held]
    assert np.array_equal(after[1:], before.predicted[held][1:])


def test_constant_features_change_nothing() -> None:
    features = clusters(2, distance=4.0)
    padded = np.hstack([features, np.full((len(features), 2), 0.1, np.float32)])
    assert np.array_equal(probe(padded, LABELS, FOLDS).predicted, probe(features, LABELS, FOLDS).predicted)


def test_the_commonest_class_of_the_other_folds() -> None:
    labels, folds = np.array([0, 0, 1, 1, 1, 2]), np.array([1, 1, 1, 2, 2, 2])
    # Without fold 1 there are 1, 1, 2; without fold 2 there are 0, 0, 1.
    assert commonest(labels, folds).predicted.tolist() == [1, 1, 1, 0, 0, 0]
    assert np.mean(commonest(LABELS, FOLDS).predicted == LABELS) == 0.25


def test_two_folds_are_too_few() -> None:
    with pytest.raises(AvolError, match="needs 3 folds"):
        probe(np.zeros((4, 1)), np.array([0, 1, 0, 1]), np.array([1, 1, 2, 2]))
