"""Saying where, and whether at all: pictures without a visible source count too.

Every sample has a score (how sure the system is that something in the picture sounds), whether a source is present, and
whether the place found would be right. At a threshold, a sample that reaches it is a true positive if its source is
present and found in the right place, else a false positive; a present source that stays below is a false negative.

Source: Mo & Morgado, NeurIPS 2022 ("Tackling overfitting and silence", section 4: the extended benchmarks). As there, a
present source found in the wrong place is a false positive and not also a false negative.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avol.train.metrics.basics import FloatArray

Flags = NDArray[np.bool_]


def precision_recall(
    scores: FloatArray, present: Flags, right: Flags
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``TP / (TP + FP)`` and ``TP / (TP + FN)`` at every distinct score, from the highest threshold to the lowest.

    Args:
        scores: ``N``.
        present: ``N``, whether a source is in the picture and heard.
        right: ``N``, whether the place found is right; only looked at where a source is present.

    Returns:
        Precision and recall, float64, one per distinct score; recall never falls.
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    ordered, hits = np.asarray(scores)[order], (present & right)[order]
    last_of_ties = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    true_positives = np.cumsum(hits)[last_of_ties]
    missed = np.count_nonzero(present) - np.cumsum(present[order])[last_of_ties]
    precision = true_positives / (last_of_ties + 1)
    found_or_missed = true_positives + missed
    recall = np.where(found_or_missed > 0, true_positives / np.maximum(found_or_missed, 1), 0.0)
    return precision, recall


def average_precision(scores: FloatArray, present: Flags, right: Flags) -> float:
    """Area under the interpolated curve: ``sum of (R_k - R_(k-1)) * max over j >= k of P_j``, from ``R_0 = 0``.

    Over all thresholds, where the published code steps through about two hundred of them.
    """
    precision, recall = precision_recall(scores, present, right)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * best_from_here))


def max_f1(scores: FloatArray, present: Flags, right: Flags) -> float:
    """The largest ``2 P R / (P + R)`` over all thresholds."""
    precision, recall = precision_recall(scores, present, right)
    total = precision + recall
    return float(np.max(np.where(total > 0, 2 * precision * recall / np.where(total > 0, total, 1), 0.0)))


def localisation_accuracy(present: Flags, right: Flags) -> float:
    """LocAcc: the share of present sources whose place is right, whatever the score; 0 where none is present."""
    return float(np.mean(right[present])) if np.any(present) else 0.0
