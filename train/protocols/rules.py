"""Rules that turn maps into found pixels, and the controls that see no picture, under each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from avol.train.metrics import (
    RIGHT_IOU,
    Figure,
    FloatArray,
    adaptive_count,
    disc_values,
    enlarge,
    largest_pixels,
    success_areas,
    weighted_iou,
)

Mask = NDArray[np.bool_]
Weights = NDArray[np.float64]
Table = dict[str, dict[str, Figure]]  # by row (whose map) and by column (the metric)

DISC, WHOLE, BEST = "centred disc of half the frame", "whole frame", "best that any map could do"
CONTROLS = (DISC, WHOLE, BEST)


@dataclass(frozen=True)
class Rule:
    """How pixels of a map are found.

    Attributes:
        name: for the reader.
        threshold: pixels that reach it are found; None: a number of the largest, whatever their values.
        adaptive: as many as the boxes cover, instead of half of all.
    """

    name: str
    threshold: float | None = None
    adaptive: bool = False

    def found(self, values: FloatArray, weights: Weights) -> Mask:
        """The pixels found in values at every pixel; ``weights`` say how many the adaptive rule takes."""
        if self.threshold is not None:
            return np.asarray(values >= self.threshold)
        return largest_pixels(values, self._count(weights))

    def control(self, name: str, weights: Weights) -> Mask:
        """The pixels that a control finds.

        The disc follows the rule's number of pixels; where a threshold decides, it is half of the frame. The best that
        any map could do finds the pixels that weigh most: under a threshold, exactly those of the boxes.
        """
        if name == WHOLE:
            return np.ones(weights.shape, np.bool_)
        count = weights.size // 2 if self.threshold is not None else self._count(weights)
        if name == DISC:
            return np.asarray(_disc_ranks(weights.shape[0]) >= weights.size - count)
        return np.asarray(weights > 0) if self.threshold is not None else largest_pixels(weights, count)

    def _count(self, weights: Weights) -> int:
        return adaptive_count(weights) if self.adaptive else weights.size // 2


MEDIAN = Rule("median rule")
ADAPTIVE = Rule("adaptive rule", adaptive=True)


def fixed_rule(threshold: float) -> Rule:
    """The rule of one calibrated threshold, the same for all pictures."""
    return Rule(f"fixed threshold {threshold:g}", threshold=threshold)


def ious_under(
    rules: Sequence[Rule], maps: Mapping[str, FloatArray], weights: Sequence[Weights]
) -> dict[Rule, dict[str, NDArray[np.float64]]]:
    """IoU of every sample, by rule and by whose map it is; the controls are among them.

    Args:
        rules: to apply.
        maps: ``N x GH x GW`` by name.
        weights: of each sample, ``side x side``.
    """
    ious = {rule: {name: np.zeros(len(weights)) for name in (*maps, *CONTROLS)} for rule in rules}
    for number, own in enumerate(weights):
        large = {name: enlarge(values[number], own.shape[0]) for name, values in maps.items()}
        for rule in rules:
            for name, values in large.items():
                ious[rule][name][number] = weighted_iou(rule.found(values, own), own)
            for name in CONTROLS:
                ious[rule][name][number] = weighted_iou(rule.control(name, own), own)
    return ious


def iou_table(ious: Mapping[str, NDArray[np.float64]], groups: list[str], names: tuple[str, str]) -> Table:
    """cIoU and AUC with their intervals, under the two names."""
    return {
        row: {
            names[0]: Figure.share((values >= RIGHT_IOU).astype(float).tolist(), groups),
            names[1]: Figure.share(success_areas(values).tolist(), groups),
        }
        for row, values in ious.items()
    }


@lru_cache(maxsize=2)
def _disc_ranks(side: int) -> NDArray[np.int64]:
    """Of every pixel, how many are farther from the centre; equally far ones in order, row by row."""
    order = np.argsort(disc_values(side), axis=None, kind="stable")
    ranks = np.empty_like(order)
    ranks[order] = np.arange(order.size)
    return ranks.reshape(side, side)
