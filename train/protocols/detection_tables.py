"""Silence, noise and sources out of view: whether the system says that there is nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from avol.train.metrics import (
    RIGHT_IOU,
    Figure,
    average_precision,
    enlarge,
    localisation_accuracy,
    max_f1,
)
from avol.train.protocols.rules import BEST, CONTROLS, DISC, WHOLE, Table

Values = NDArray[np.floating]


def extended_table(
    ious: Mapping[str, Values], scores: Values, absent: Sequence[Values], groups: list[str], *, row: str
) -> Table:
    """AP, max F1 and LocAcc where every picture comes with its own sound, and again with sounds that it does not make.

    The picture with its own sound is a source that is present; with silence, and with another clip's sound, one that is
    not. The controls find their place with a score that is always the same, the best with a score that is always right.

    Args:
        ious: by row, of the own sound; among them ``row`` and the controls.
        scores: of the network, own sound.
        absent: of the network, for each sound that the picture does not make.
        groups: source videos.
        row: the network's name.
    """
    same = np.zeros_like(scores)
    ranked = {
        row: (scores, absent),
        DISC: (same, [same] * len(absent)),
        WHOLE: (same, [same] * len(absent)),
        BEST: (same + 1, [same] * len(absent)),
    }
    return {name: _extended(ious[name] >= RIGHT_IOU, *ranked[name], groups) for name in (row, *CONTROLS)}


def _extended(
    right: NDArray[np.bool_], scores: Values, absent: Sequence[Values], groups: list[str]
) -> dict[str, Figure]:
    all_scores = np.stack([scores, *absent])
    present = np.zeros(all_scores.shape, np.bool_)
    present[0] = True
    all_right = present & right

    def drawn_values(rows: NDArray[np.int64]) -> tuple[Values, NDArray[np.bool_], NDArray[np.bool_]]:
        return all_scores[:, rows].reshape(-1), present[:, rows].reshape(-1), all_right[:, rows].reshape(-1)

    return {
        "AP": Figure.of(lambda rows: average_precision(*drawn_values(rows)), groups),
        "max F1": Figure.of(lambda rows: max_f1(*drawn_values(rows)), groups),
        "LocAcc": Figure.of(lambda rows: localisation_accuracy(present[0, rows], right[rows]), groups),
    }


def lit_table(maps: Mapping[str, Values], weights: Sequence[Values], threshold: float, groups: list[str]) -> Table:
    """Share of the frame that reaches the threshold, by what is heard, beside the shares of the controls.

    The best would light the boxes under the own sound, and nothing otherwise.
    """
    column = "share"

    def shares(values: Values) -> list[float]:
        return [float(np.mean(enlarge(own) >= threshold)) for own in values]

    table: Table = {f"network with {name}": {column: Figure.share(shares(v), groups)} for name, v in maps.items()}
    ones = [1.0] * len(weights)
    table[DISC] = {column: Figure.share([0.5 * one for one in ones], groups)}
    table[WHOLE] = {column: Figure.share(ones, groups)}
    table["best under the own sound: the boxes"] = {
        column: Figure.share([float(np.mean(own > 0)) for own in weights], groups)
    }
    return table
