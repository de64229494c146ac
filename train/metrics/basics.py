"""Metrics of correspondence and localisation that training watches and the model card states, and their intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
Box = tuple[float, float, float, float]  # x0, y0, x1, y1


def correspondence_accuracy(true_scores: FloatArray, false_scores: FloatArray, threshold: float = 0.5) -> float:
    """Share of right answers on balanced pairs: mean of the shares of true pairs at or above and of false below."""
    return float(0.5 * (np.mean(true_scores >= threshold) + np.mean(false_scores < threshold)))


def ranking_auc(true_scores: FloatArray, false_scores: FloatArray) -> float:
    """Area under the ROC curve: the probability that a true pair scores above a false one, ties half.

    Source: the Mann-Whitney identity, Hanley & McNeil 1982.
    """
    scores = np.concatenate([true_scores, false_scores])
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = mean_ranks[inverse[: len(true_scores)]].sum()
    true_count, false_count = len(true_scores), len(false_scores)
    return float((rank_sum - true_count * (true_count + 1) / 2) / (true_count * false_count))


def peak_position(map_values: FloatArray) -> tuple[float, float]:
    """Centre of the largest cell of a ``GH x GW`` map as ``(x, y)`` in 0..1, x right, y down."""
    row, column = np.unravel_index(np.argmax(map_values), map_values.shape)
    height, width = map_values.shape
    return (float(column) + 0.5) / width, (float(row) + 0.5) / height


def quarter_of(point: tuple[float, float]) -> int:
    """Quarter of the picture that a point ``(x, y)`` in 0..1 is in: 0..3, row by row."""
    return 2 * int(point[1] >= 0.5) + int(point[0] >= 0.5)


def point_in_boxes(point: tuple[float, float], boxes: list[Box]) -> bool:
    """Whether a point is inside any of the boxes ``(x0, y0, x1, y1)``, edges included."""
    x, y = point
    return any(x0 <= x <= x1 and y0 <= y <= y1 for x0, y0, x1, y1 in boxes)


def median_rule_iou(map_values: FloatArray, boxes: list[Box], *, side: int = 224) -> float:
    """Intersection over union of the upper half of a map with the union of boxes.

    The map is brought to ``side x side`` bilinearly, and the half of the pixels with the larger values counts as found.

    Source: the evaluation of VGG-SS and its followers (Chen et al., CVPR 2021, section 4), whose "cIoU" is the share of
    pictures with a value of at least one half.

    Args:
        map_values: ``GH x GW``.
        boxes: ``(x0, y0, x1, y1)``, 0..1 of the frame.
        side: of the grid of pixels that are counted.
    """
    large = _bilinear(map_values.shape[0], side) @ map_values @ _bilinear(map_values.shape[1], side).T
    found = np.zeros((side, side), np.bool_)
    found.flat[np.argsort(large, axis=None, kind="stable")[side * side // 2 :]] = True
    centres = (np.arange(side) + 0.5) / side
    inside = np.zeros((side, side), np.bool_)
    for x0, y0, x1, y1 in boxes:
        inside |= ((centres >= y0) & (centres <= y1))[:, None] & ((centres >= x0) & (centres <= x1))[None, :]
    union = np.count_nonzero(found | inside)
    return np.count_nonzero(found & inside) / union if union else 0.0


def _bilinear(cells: int, side: int) -> FloatArray:
    """Weights of cells in pixels, ``side x cells``; centres of cells and pixels lie half a step from the edges."""
    positions = np.clip((np.arange(side) + 0.5) * cells / side - 0.5, 0, cells - 1)
    weights: FloatArray = np.maximum(0, 1 - np.abs(positions[:, None] - np.arange(cells)))
    return weights


def centred_disc(height: int, width: int) -> FloatArray:
    """A map that falls from the centre to the corners and has seen no picture: the control of the median rule."""
    y, x = np.mgrid[:height, :width]
    distances: FloatArray = np.hypot((y + 0.5) / height - 0.5, (x + 0.5) / width - 0.5)
    return -distances


def bootstrap_interval(
    statistic: Callable[[NDArray[np.int64]], float],
    groups: list[str],
    *,
    draws: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic, drawing whole groups (source videos) with replacement.

    Source: Efron & Tibshirani 1993, chapter 13; groups because frames of one video are not independent.

    Args:
        statistic: from indices of samples, repeated as drawn, to a number.
        groups: the group of every sample.
        draws: how often to draw.
        seed: of the draws.
        confidence: of the interval.
    """
    members: dict[str, list[int]] = {}
    for position, group in enumerate(groups):
        members.setdefault(group, []).append(position)
    indices = [np.array(own, dtype=np.int64) for own in members.values()]
    rng = np.random.default_rng(seed)
    values = [
        statistic(np.concatenate([indices[group] for group in rng.integers(len(indices), size=len(indices))]))
        for _ in range(draws)
    ]
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def mean_interval(
    values: FloatArray, groups: list[str], *, draws: int = 1000, seed: int = 0, confidence: float = 0.95
) -> tuple[float, float]:
    """:func:`bootstrap_interval` of the mean of ``values``, from sums of groups: the same draws, much sooner."""
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    index = np.array([numbers[group] for group in groups])
    sums, counts = np.bincount(index, weights=values), np.bincount(index)
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(draws):
        drawn = rng.integers(len(counts), size=len(counts))
        means.append(sums[drawn].sum() / counts[drawn].sum())
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Figure:
    """A measured value in 0..1 with its 95 % bootstrap interval over sources, and how many samples it rests on."""

    value: float
    low: float
    high: float
    count: int

    @classmethod
    def share(cls, hits: list[float], groups: list[str]) -> Figure:
        """Mean of ``hits``; the interval draws whole ``groups``."""
        values = np.array(hits, dtype=float)
        low, high = mean_interval(values, groups)
        return cls(float(values.mean()), low, high, len(groups))

    @classmethod
    def accuracy(cls, true_scores: FloatArray, false_scores: FloatArray, groups: list[str]) -> Figure:
        """Share of right answers at one half, on true and false scores sample by sample from the same ``groups``."""
        return cls.of(lambda drawn: correspondence_accuracy(true_scores[drawn], false_scores[drawn]), groups)

    @classmethod
    def auc(cls, true_scores: FloatArray, false_scores: FloatArray, groups: list[str]) -> Figure:
        """Area under the ROC curve of true against false scores, sample by sample from the same ``groups``."""
        return cls.of(lambda drawn: ranking_auc(true_scores[drawn], false_scores[drawn]), groups)

    @classmethod
    def of(cls, statistic: Callable[[NDArray[np.int64]], float], groups: list[str]) -> Figure:
        """Any statistic of samples."""
        low, high = bootstrap_interval(statistic, groups)
        return cls(statistic(np.arange(len(groups))), low, high, len(groups))

    def __str__(self) -> str:
        return f"{100 * self.value:5.1f} %  [{100 * self.low:.1f}, {100 * self.high:.1f}]  n={self.count}"
