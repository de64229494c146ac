"""Measure a localiser on labelled material, each figure beside its control.

A localiser is anything that maps frames and samples to probability maps, so that the same functions measure a network
in training, an ONNX graph and an engine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from avol.runtime.spec import ModelSpec
from avol.runtime.system import tells_where
from avol.train.data.material import Material
from avol.train.metrics import (
    Figure,
    centred_disc,
    correspondence_accuracy,
    median_rule_iou,
    peak_position,
    point_in_boxes,
    quarter_of,
)
from avol.train.test_sets import MOSAIC_TILES, TestSet, TestSets

Maps = NDArray[np.float32]
Scores = NDArray[np.float32]
Window = NDArray[np.float32]
Point = tuple[float, float]
# frames uint8 N x H x W x 3, samples float32 N x clip_samples -> probabilities float32 N x GH x GW
Localise = Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.float32]]
BATCH = 32
RIGHT_IOU = 0.5
# What guessing reaches; the figures on boxes have measured controls of their own.
CHANCE = {
    "composite_pairs_accuracy": 0.5,
    "composite_pairs_auc": 0.5,
    "photograph_mosaics_right_quarter": 1 / MOSAIC_TILES,
    "clip_mosaics_right_quarter": 1 / MOSAIC_TILES,
    "own_sound_over_silence_auc": 0.5,
    "own_sound_over_foreign_auc": 0.5,
    "pairs_accuracy": 0.5,
    "pairs_auc": 0.5,
    "pairs_own_over_silence_auc": 0.5,
}


@dataclass
class Results:
    """Figures by name, and by name and class the mean and the number of questions."""

    figures: dict[str, Figure] = field(default_factory=dict)
    by_class: dict[str, dict[str, tuple[float, int]]] = field(default_factory=dict)

    def add_shares(self, name: str, hits: list[float], asked: TestSet) -> None:
        """The share of hits among all questions."""
        self.figures[name] = Figure.share(hits, asked.groups)
        self._add_classes(name, asked, lambda rows: float(np.mean([hits[row] for row in rows])))

    def add_pairs(
        self, name: str, true_scores: NDArray[np.float32], false_scores: NDArray[np.float32], asked: TestSet
    ) -> None:
        """Accuracy at one half and AUC of balanced pairs."""
        self.figures[f"{name}_accuracy"] = Figure.accuracy(true_scores, false_scores, asked.groups)
        self.figures[f"{name}_auc"] = Figure.auc(true_scores, false_scores, asked.groups)
        self._add_classes(
            f"{name}_accuracy", asked, lambda rows: correspondence_accuracy(true_scores[rows], false_scores[rows])
        )

    def _add_classes(self, name: str, asked: TestSet, value: Callable[[list[int]], float]) -> None:
        rows_of: dict[str, list[int]] = defaultdict(list)
        for row, label in enumerate(asked.labels):
            rows_of[label].append(row)
        self.by_class[name] = {label: (value(rows), len(rows)) for label, rows in sorted(rows_of.items())}


class Evaluator:
    """Asks a localiser the questions of :class:`TestSets`."""

    def __init__(self, material: Material, spec: ModelSpec, trained_labels: list[str], *, seed: int = 0) -> None:
        self.spec, self.sets = spec, TestSets(material, spec, trained_labels, seed=seed)

    def everything(self, localise: Localise) -> Results:
        """All figures; left out are parts for which the material holds too little, and places a model does not tell."""
        results, sets, places = Results(), self.sets, tells_where(self.spec)
        if sets.has_pairs:
            self.composite_pairs(localise, results)
        if places and sets.has_photograph_mosaics:
            self.photograph_mosaics(localise, results)
        if sets.has_clip_mosaics:
            if places:
                self.clip_mosaics(localise, results)
                self.clip_boxes(localise, results)
            self.silence_and_foreign_sound(localise, results)
        return results

    def composite_pairs(self, localise: Localise, results: Results, count: int = 800) -> None:
        """Balanced true and false pairs of photographs and recordings: accuracy at one half, and AUC."""
        asked = self.sets.composite_pairs(count)
        true_scores, false_scores = (_scores(localise, asked, windows) for windows in (asked.own, asked.foreign))
        results.add_pairs("composite_pairs", true_scores, false_scores, asked)

    def photograph_mosaics(self, localise: Localise, results: Results, count: int = 600) -> None:
        """Four photographs of unlike classes, one of them heard: the peak is in its quarter (chance 25 %)."""
        asked = self.sets.photograph_mosaics(count)
        peaks = _peaks(_maps(localise, asked, asked.own))
        results.add_shares("photograph_mosaics_right_quarter", _right_quarters(peaks, asked), asked)

    def clip_mosaics(self, localise: Localise, results: Results, count: int = 400) -> None:
        """Four frames of real clips of unlike classes, one of them heard: the peak is in its quarter (chance 25 %).

        And in the clip's own box within that quarter, among the clips that have one.
        """
        asked = self.sets.clip_mosaics(count)
        peaks = _peaks(_maps(localise, asked, asked.own))
        results.add_shares("clip_mosaics_right_quarter", _right_quarters(peaks, asked), asked)
        boxed = [row for row, boxes in enumerate(asked.boxes) if boxes]
        if boxed:
            hits = [float(point_in_boxes(peaks[row], asked.boxes[row])) for row in boxed]
            results.figures["clip_mosaics_peak_in_box"] = Figure.share(hits, [asked.groups[row] for row in boxed])

    def clip_boxes(self, localise: Localise, results: Results) -> None:
        """Frames of clips with boxes, near the box's time: the peak in a box, and IoU >= 0.5 at the median rule.

        The controls: the frame's centre, a centred disc of half the frame, and the same with an unlike clip's sound.
        Nothing where no clip has a box.
        """
        asked = self.sets.boxed_frames()
        if not asked.frames:
            return
        own, foreign = (_maps(localise, asked, windows) for windows in (asked.own, asked.foreign))
        centre = np.broadcast_to(centred_disc(*own.shape[1:]), own.shape)
        for name, maps in (("", own), ("_with_foreign_sound", foreign)):
            results.add_shares(f"clip_peak_in_box{name}", _peaks_in_boxes(maps, asked), asked)
            results.add_shares(f"clip_iou{name}", _right_ious(maps, asked), asked)
        inside = [float(point_in_boxes((0.5, 0.5), boxes)) for boxes in asked.boxes]
        results.add_shares("clip_centre_in_box", inside, asked)
        results.add_shares("clip_iou_of_centred_disc", _right_ious(centre, asked), asked)

    def silence_and_foreign_sound(self, localise: Localise, results: Results, count: int = 300) -> None:
        """AUC of the score: a clip's own sound against silence, and against the sound of an unlike clip."""
        asked = self.sets.clip_frames(count)
        own, foreign = (_scores(localise, asked, windows) for windows in (asked.own, asked.foreign))
        silent = _scores(localise, asked, [np.zeros_like(window) for window in asked.own])
        results.figures["own_sound_over_silence_auc"] = Figure.auc(own, silent, asked.groups)
        results.figures["own_sound_over_foreign_auc"] = Figure.auc(own, foreign, asked.groups)


def _maps(localise: Localise, asked: TestSet, windows: list[Window]) -> Maps:
    starts = range(0, len(windows), BATCH)
    parts = [
        localise(np.stack(asked.frames[start : start + BATCH]), np.stack(windows[start : start + BATCH]))
        for start in starts
    ]
    return np.concatenate(parts)


def _scores(localise: Localise, asked: TestSet, windows: list[Window]) -> Scores:
    scores: Scores = _maps(localise, asked, windows).max(axis=(1, 2))
    return scores


def _peaks(maps: Maps) -> list[Point]:
    return [peak_position(found) for found in maps]


def _right_quarters(peaks: list[Point], asked: TestSet) -> list[float]:
    return [float(quarter_of(peak) == quarter) for peak, quarter in zip(peaks, asked.quarters, strict=True)]


def _peaks_in_boxes(maps: Maps, asked: TestSet) -> list[float]:
    return [float(point_in_boxes(peak, boxes)) for peak, boxes in zip(_peaks(maps), asked.boxes, strict=True)]


def _right_ious(maps: Maps, asked: TestSet) -> list[float]:
    return [float(median_rule_iou(found, boxes) >= RIGHT_IOU) for found, boxes in zip(maps, asked.boxes, strict=True)]
