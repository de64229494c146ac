"""A linear probe: how far classes can be told apart by a hyperplane in the space of some vectors.

Multinomial logistic regression with an L2 penalty, on features that are standardised on what is learnt from alone.
Source: Alain & Bengio, *Understanding intermediate layers using linear classifier probes*, 2016 (arXiv 1610.01644).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from avol.runtime.errors import AvolError

PENALTIES = (10.0, 1.0, 0.1, 0.01, 0.001, 0.0001)  # the strongest first: of equally good ones it is taken
MOST_STEPS = 200
FEWEST_FOLDS = 3  # one to test on, and two to learn from and choose the penalty by

Features = NDArray[np.floating]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Linear:
    """A fitted classifier: ``features @ weights + biases``, the largest is the class.

    Attributes:
        weights: float64 ``D x C``.
        biases: float64 ``C``.
    """

    weights: NDArray[np.float64]
    biases: NDArray[np.float64]

    def predict(self, features: Features) -> Labels:
        """Classes of ``N x D`` features, int64 ``N``."""
        return np.asarray((features @ self.weights + self.biases).argmax(axis=1), np.int64)


@dataclass(frozen=True)
class Probed:
    """What a probe answered on every sample when its fold was held out.

    Attributes:
        predicted: int64 ``N``.
        penalties: by held-out fold, the one that was chosen on the others.
    """

    predicted: Labels
    penalties: dict[int, float]


def fit(features: Features, labels: Labels, classes: int, penalty: float, start: Linear | None = None) -> Linear:
    """Multinomial logistic regression: the mean cross-entropy plus ``penalty / 2`` times the squared weights.

    The biases are not penalised. L-BFGS in float64; the minimum is the only one (but for a constant on all biases).

    Args:
        features: ``N x D``, standardised.
        labels: ``N``, 0 to ``classes - 1``.
        classes: how many there are.
        penalty: more than 0.
        start: a neighbouring solution, from which it takes fewer steps.
    """
    inputs, targets = torch.from_numpy(np.asarray(features, np.float64)), torch.from_numpy(labels)
    shape = (features.shape[1], classes)
    weights = torch.zeros(shape, dtype=torch.float64) if start is None else torch.from_numpy(start.weights).clone()
    biases = torch.zeros(classes, dtype=torch.float64) if start is None else torch.from_numpy(start.biases).clone()
    weights.requires_grad_()
    biases.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weights, biases],
        max_iter=MOST_STEPS,
        tolerance_grad=1e-6,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(inputs @ weights + biases, targets) + 0.5 * penalty * weights.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return Linear(weights.detach().numpy(), biases.detach().numpy())


def probe(features: Features, labels: Labels, folds: Labels) -> Probed:
    """Answers for every fold by a classifier that has seen none of it.

    The penalty is the one that does best when each of the other folds is held out in turn; means and deviations of
    the features are, each time, those of the samples learnt from.

    Args:
        features: ``N x D``.
        labels: ``N``, 0 and up.
        folds: ``N``, any numbers.

    Raises:
        AvolError: fewer than three folds.
    """
    numbers = sorted(set(folds.tolist()))
    if len(numbers) < FEWEST_FOLDS:
        raise AvolError(
            f"a probe needs {FEWEST_FOLDS} folds, to learn, to choose and to test; here are samples of {len(numbers)}."
        )
    classes = int(labels.max()) + 1
    predicted = np.zeros(len(labels), np.int64)
    penalties = {}
    for number in numbers:
        held = folds == number
        rights = np.zeros(len(PENALTIES))
        for inner in numbers:
            if inner != number:
                rights += _rights(
                    features, labels, learnt=~held & (folds != inner), asked=folds == inner, classes=classes
                )
        penalties[number] = PENALTIES[int(rights.argmax())]
        scaled = _standardised(features, ~held)
        predicted[held] = fit(scaled[~held], labels[~held], classes, penalties[number]).predict(scaled[held])
    return Probed(predicted, penalties)


def commonest(labels: Labels, folds: Labels) -> Probed:
    """The control that hears nothing: the commonest class of the other folds, the first of equally common ones."""
    predicted = np.zeros(len(labels), np.int64)
    for number in set(folds.tolist()):
        held = folds == number
        predicted[held] = np.bincount(labels[~held]).argmax()
    return Probed(predicted, {})


def _rights(
    features: Features, labels: Labels, *, learnt: NDArray[np.bool_], asked: NDArray[np.bool_], classes: int
) -> NDArray[np.float64]:
    """How many right answers each penalty gives."""
    scaled, rights, found = _standardised(features, learnt), [], None
    for penalty in PENALTIES:
        found = fit(scaled[learnt], labels[learnt], classes, penalty, found)
        rights.append(float(np.count_nonzero(found.predict(scaled[asked]) == labels[asked])))
    return np.array(rights)


def _standardised(features: Features, learnt: NDArray[np.bool_]) -> NDArray[np.float64]:
    """All features, with the mean 0 and the deviation 1 of those learnt from; constant ones stay at 0."""
    values = np.asarray(features, np.float64)
    means, deviations = values[learnt].mean(axis=0), values[learnt].std(axis=0)
    constant = deviations <= 1e-9 * np.maximum(1e-30, np.abs(means))
    return np.asarray(np.where(constant, 0.0, (values - means) / np.where(constant, 1.0, deviations)))
