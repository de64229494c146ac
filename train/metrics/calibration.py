"""Whether a probability means what it says, and how to make it so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avol.train.metrics.basics import FloatArray

BINS = 15
ROUNDS = 100  # of Newton's method; it stops long before
LEAST_GAIN = 1e-12


@dataclass(frozen=True)
class Bin:
    """Pairs whose probability is in ``low`` to ``high``: how many, their mean probability, the share of true ones."""

    low: float
    high: float
    count: int
    probability: float
    share: float


def cross_entropy(probabilities: FloatArray, truth: FloatArray) -> float:
    """Mean of ``-log p`` of true and ``-log(1 - p)`` of false pairs, in nats; probabilities kept 1e-7 off the ends."""
    kept = np.clip(np.asarray(probabilities, np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(truth * np.log(kept) + (1 - truth) * np.log(1 - kept)))


def reliability_bins(probabilities: FloatArray, truth: FloatArray, *, bins: int = BINS) -> list[Bin]:
    """Equal steps of probability, those that hold a pair; 1 belongs to the last.

    Source: the reliability diagram, DeGroot & Fienberg 1983; Guo et al., ICML 2017, section 2.

    Args:
        probabilities: ``N``, 0..1.
        truth: ``N``, 1 for pairs that belong together, 0 for others.
        bins: number of steps.
    """
    values = np.asarray(probabilities, np.float64)
    index = np.minimum((values * bins).astype(np.int64), bins - 1)
    return [
        Bin(k / bins, (k + 1) / bins, int(own.sum()), float(values[own].mean()), float(np.mean(truth[own])))
        for k in range(bins)
        if (own := index == k).any()
    ]


def expected_calibration_error(probabilities: FloatArray, truth: FloatArray, *, bins: int = BINS) -> float:
    """``sum over bins of n_b / N * |share of true pairs - mean probability|``; 0 where every probability is honest.

    Source: Guo et al., ICML 2017, equation 3, for the probability of one class (the other's follows).
    """
    found = reliability_bins(probabilities, truth, bins=bins)
    return float(sum(b.count * abs(b.share - b.probability) for b in found) / sum(b.count for b in found))


def platt_scaling(logits: FloatArray, truth: FloatArray) -> tuple[float, float]:
    """Scale and bias of least cross-entropy of ``sigmoid(scale * logit + bias)``.

    Targets are ``(n+ + 1) / (n+ + 2)`` and ``1 / (n- + 2)`` in place of 1 and 0, so that even pairs which a threshold
    separates have a finite answer. Newton's method, halving a step that does not descend.

    Source: Platt 1999; Lin, Lin & Weng 2007 for the descent.

    Args:
        logits: ``N``, finite.
        truth: ``N``, 1 or 0, both present.
    """
    positives, negatives = float(np.sum(truth)), float(np.sum(1 - truth))
    targets = np.where(truth == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    columns = np.column_stack([logits, np.ones_like(logits)]).astype(np.float64)
    scale, bias = _newton(columns, targets, np.array([0.0, np.log((positives + 1) / (negatives + 1))]))
    return scale, bias


def temperature_scaling(logits: FloatArray, truth: FloatArray) -> float:
    """The temperature ``T > 0`` of least cross-entropy of ``sigmoid(logit / T)``; 1 keeps the logits.

    Source: Guo et al., ICML 2017, section 4. Targets as in :func:`platt_scaling`.

    Raises:
        ValueError: true pairs do not score above false ones, so no temperature helps.
    """
    positives, negatives = float(np.sum(truth)), float(np.sum(1 - truth))
    targets = np.where(truth == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    (scale,) = _newton(np.asarray(logits, np.float64)[:, None], targets, np.array([1.0]))
    if scale <= 0:
        raise ValueError("true pairs do not score above false ones")
    return float(1 / scale)


def threshold_for_balance(probabilities: FloatArray, truth: FloatArray) -> float:
    """The threshold of largest balanced accuracy: half the share of true pairs at or above and of false ones below.

    Midway between two neighbouring probabilities; of equally good ones the one nearest to one half.
    """
    values = np.unique(np.asarray(probabilities, np.float64))
    middles = np.unique(np.clip(np.concatenate([[0.0], (values[:-1] + values[1:]) / 2, [1.0]]), 0, 1))
    true, false = (np.sort(np.asarray(probabilities, np.float64)[truth == kind]) for kind in (1, 0))
    found = 1 - np.searchsorted(true, middles) / len(true)
    rejected = np.searchsorted(false, middles) / len(false)
    accuracy = found + rejected
    best = middles[accuracy >= accuracy.max() - LEAST_GAIN]
    return float(best[np.argmin(np.abs(best - 0.5))])


def threshold_for_false_alarms(false_probabilities: FloatArray, share: float) -> float:
    """The smallest threshold that at most ``share`` of the false pairs reach.

    Returns:
        0..1; 1 where even that is reached by more of them.
    """
    values = np.sort(np.asarray(false_probabilities, np.float64))[::-1]
    allowed = int(np.floor(share * len(values) + 1e-9))
    if allowed >= len(values):
        return 0.0
    return float(min(1.0, np.nextafter(values[allowed], 2.0)))


def _newton(columns: FloatArray, targets: FloatArray, start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of least mean cross-entropy of ``sigmoid(columns @ weights)`` with ``targets``."""

    def loss(weights: NDArray[np.float64]) -> float:
        logits = columns @ weights
        return float(np.mean(np.logaddexp(0, logits) - targets * logits))

    weights, value = start, loss(start)
    for _ in range(ROUNDS):
        probability = 1 / (1 + np.exp(-np.clip(columns @ weights, -500, 500)))
        gradient = columns.T @ (probability - targets) / len(targets)
        curvature = columns.T @ (columns * (probability * (1 - probability))[:, None]) / len(targets)
        step = np.linalg.solve(curvature + 1e-12 * np.eye(len(weights)), gradient)
        size = 1.0
        while size > 1e-6 and loss(weights - size * step) > value:
            size /= 2
        weights = weights - size * step if loss(weights - size * step) <= value else weights
        if value - (value := loss(weights)) < LEAST_GAIN:
            break
    return weights
