"""Fit what a score means: pairs of a held-out part, scale and bias of the logit, the threshold, how honest it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avol.runtime.errors import AvolError
from avol.runtime.spec import Calibration, ModelSpec
from avol.train.data.classes import split_names
from avol.train.data.material import Material, load_together
from avol.train.data.pictures import frame_view
from avol.train.data.shards import ClipStore, is_prepared
from avol.train.data.sounds import window_at
from avol.train.metrics import (
    Figure,
    cross_entropy,
    expected_calibration_error,
    platt_scaling,
    reliability_bins,
    temperature_scaling,
    threshold_for_balance,
    threshold_for_false_alarms,
)
from avol.train.protocols.model import OpenModel
from avol.train.test_sets import TestSet, TestSets

METHODS = ("platt", "temperature")
PHOTOGRAPH_PAIRS, CLIP_PAIRS = 1200, 1200  # questions of each kind, drawn with repetition
FOLDS = 5
LEAST_PROBABILITY = 1e-7  # of a float32 probability that still has a logit
FORMAT = "avol.calibration/1"

Values = NDArray[np.float64]


@dataclass(frozen=True)
class ScoredPairs:
    """Logits before calibration: of ``N`` frames with their own sound, and of the same with a foreign one and silence.

    Attributes:
        kinds: what was asked, by name, with its number of questions.
        true, false, silent: float64 ``N`` each; ``silent`` may be empty where photographs alone were asked.
        groups: source videos or photographs, ``N``.
    """

    kinds: dict[str, int]
    true: Values
    false: Values
    silent: Values
    groups: list[str]


@dataclass(frozen=True)
class Fit:
    """A calibration with the threshold that belongs to it."""

    calibration: Calibration
    threshold: float

    def probabilities(self, logits: Values) -> Values:
        """``sigmoid(scale * logit + bias)``."""
        return np.asarray(1 / (1 + np.exp(-np.clip(self.calibration.scale * logits + self.calibration.bias, -80, 80))))


def score_pairs(model: OpenModel, folders: Sequence[Path], *, part: str) -> ScoredPairs:
    """Ask a model about true and false pairs of one part.

    Args:
        model: to be calibrated.
        folders: one made by ``avol data prepare`` (frames of its clips with the sound around them, false pairs with the
            sound of another video), or labelled folders (photographs with sounds of their class, and real clips).
        part: ``validation`` or ``train``.

    Raises:
        AvolError: the data is missing or malformed, or holds no pairs.
    """
    prepared = [folder for folder in folders if is_prepared(folder)]
    if prepared and len(folders) > 1:
        raise AvolError(f"{prepared[0]}: prepared pairs are calibrated on alone; give one folder.")
    if prepared:
        asked = {"clips": _prepared_questions(ClipStore(prepared[0], part, spec=model.spec), model.spec)}
    else:
        asked = _labelled_questions(load_together(folders, part=part, spec=model.spec), model.spec)
    asked = {kind: questions for kind, questions in asked.items() if questions.frames}
    if not asked:
        raise AvolError(
            f"{', '.join(map(str, folders))}: its {part} part holds no two kinds of pictures and sounds to tell apart; "
            "add videos, or choose another --part."
        )
    clips = asked.get("clips", TestSet())
    silence = [np.zeros_like(window) for window in clips.own]
    return ScoredPairs(
        kinds={kind: len(questions.frames) for kind, questions in asked.items()},
        true=_concatenated([_logits(model, q.frames, q.own) for q in asked.values()]),
        false=_concatenated([_logits(model, q.frames, q.foreign) for q in asked.values()]),
        silent=_logits(model, clips.frames, silence),
        groups=[group for questions in asked.values() for group in questions.groups],
    )


def fit(pairs: ScoredPairs, *, method: str = "platt", false_alarms: float | None = None) -> Fit:
    """Scale, bias and threshold.

    Args:
        pairs: to fit to.
        method: ``platt`` (scale and bias) or ``temperature`` (scale alone).
        false_alarms: the share of foreign sounds that may count as sounding; None: the threshold of largest balanced
            accuracy.

    Raises:
        AvolError: the score does not tell true pairs from false ones.
    """
    logits, truth = np.concatenate([pairs.true, pairs.false]), _truth(pairs)
    try:
        scale, bias = platt_scaling(logits, truth) if method == "platt" else (1 / temperature_scaling(logits, truth), 0)
    except ValueError:
        scale, bias = 0.0, 0.0
    if not scale > 0:
        raise AvolError("the model's score is no higher for true pairs than for false ones; train it before.")
    fitted = Fit(Calibration(scale=float(scale), bias=float(bias)), 0.5)
    probabilities = fitted.probabilities(logits)
    if false_alarms is None:
        threshold = threshold_for_balance(probabilities, truth)
    else:
        threshold = threshold_for_false_alarms(probabilities[truth == 0], false_alarms)
    return dataclasses.replace(fitted, threshold=threshold)


def describe(pairs: ScoredPairs, spec: ModelSpec, fitted: Fit, *, method: str) -> dict[str, Any]:
    """How honest the score is as the model has it, and as fitted, for the report.

    The values under ``cross_fitted`` are of pairs whose sources took no part in the fit that judges them.
    """
    before = Fit(spec.calibration, spec.threshold)
    return {
        "format": FORMAT,
        "model": {"name": spec.name, "sha256": spec.weights_sha256},
        "method": method,
        "questions": pairs.kinds,
        "sources": len(set(pairs.groups)),
        "before": _quality(pairs, before),
        "after": _quality(pairs, fitted),
        "cross_fitted": _cross_fitted(pairs, method),
    }


def _quality(pairs: ScoredPairs, with_fit: Fit) -> dict[str, Any]:
    true, false, silent = (with_fit.probabilities(values) for values in (pairs.true, pairs.false, pairs.silent))
    both, truth, threshold = np.concatenate([true, false]), _truth(pairs), with_fit.threshold

    def reach(values: Values) -> dict[str, Any]:
        return dataclasses.asdict(Figure.share((values >= threshold).astype(float).tolist(), pairs.groups))

    return {
        "scale": with_fit.calibration.scale,
        "bias": with_fit.calibration.bias,
        "threshold": threshold,
        "expected_calibration_error": expected_calibration_error(both, truth),
        "cross_entropy": cross_entropy(both, truth),
        "sounding_with_own_sound": reach(true),
        "sounding_with_foreign_sound": reach(false),
        "sounding_with_silence": float(np.mean(silent >= threshold)) if silent.size else None,
        "reliability": [dataclasses.asdict(found) for found in reliability_bins(both, truth)],
    }


def _cross_fitted(pairs: ScoredPairs, method: str) -> dict[str, float] | None:
    """ECE and cross-entropy by a fit to the other sources; None with fewer sources than folds."""
    names = sorted(set(pairs.groups))
    if len(names) < FOLDS:
        return None
    order = np.random.default_rng(0).permutation(len(names))
    fold_of = {name: int(order[number]) % FOLDS for number, name in enumerate(names)}
    folds = np.array([fold_of[group] for group in pairs.groups])
    true, false = np.zeros_like(pairs.true), np.zeros_like(pairs.false)
    for fold in range(FOLDS):
        others, own = folds != fold, folds == fold
        rest = dataclasses.replace(pairs, true=pairs.true[others], false=pairs.false[others])
        try:
            fitted = fit(rest, method=method)
        except AvolError:
            return None
        true[own], false[own] = fitted.probabilities(pairs.true[own]), fitted.probabilities(pairs.false[own])
    both, truth = np.concatenate([true, false]), _truth(pairs)
    return {
        "expected_calibration_error": expected_calibration_error(both, truth),
        "cross_entropy": cross_entropy(both, truth),
    }


def _truth(pairs: ScoredPairs) -> Values:
    return np.concatenate([np.ones(len(pairs.true)), np.zeros(len(pairs.false))])


def _labelled_questions(material: Material, spec: ModelSpec) -> dict[str, TestSet]:
    """Photographs and clips of the classes that the model was trained on; of all where its spec names none."""
    trained = split_names(spec.training.get("classes", ""))
    found = {p.label for p in material.photographs} | {clip.label for clip in material.clips}
    sets = TestSets(material, spec, trained or sorted(found), seed=1)
    return {
        "photographs": sets.composite_pairs(PHOTOGRAPH_PAIRS) if sets.has_pairs else TestSet(),
        "clips": sets.clip_frames(CLIP_PAIRS) if sets.has_clip_mosaics else TestSet(),
    }


def _prepared_questions(clips: ClipStore, spec: ModelSpec) -> TestSet:
    """Frames of clips with the sound around them, and the sound around a frame of another video."""
    rng, asked = np.random.default_rng(1), TestSet()
    videos = np.array([clip.video_id for clip in clips])
    if len(set(videos)) < 2:
        return asked
    order = np.concatenate([rng.permutation(len(clips)) for _ in range(-(-CLIP_PAIRS // len(clips)))])[:CLIP_PAIRS]
    grid = spec.spectrogram
    for number in order:
        other = int(rng.choice(np.flatnonzero(videos != videos[number])))
        windows = []
        for clip in (clips[int(number)], clips[other]):
            position = int(rng.integers(len(clip.times_seconds)))
            centre = round(float(clip.times_seconds[position]) * grid.sample_rate_hz)
            windows.append(window_at(clip.samples, centre - grid.clip_samples // 2, grid.clip_samples))
            if len(windows) == 1:
                view = frame_view(rng, clip.frames[position], "", [], spec.frame_height, smallest_crop=1.0)
        asked.add(view.pixels, windows[0], label="", group=str(videos[number]))
        asked.foreign.append(windows[1])
    return asked


def _logits(model: OpenModel, frames: list[NDArray[np.uint8]], windows: list[NDArray[np.float32]]) -> Values:
    """Logits before calibration, from calibrated scores: what runs a model gives no others."""
    if not frames:
        return np.zeros(0)
    scores = model.maps(np.stack(frames), np.stack(windows)).max(axis=(1, 2))
    kept = np.clip(scores.astype(np.float64), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    calibration = model.spec.calibration
    return np.asarray((np.log(kept) - np.log1p(-kept) - calibration.bias) / calibration.scale)


def _concatenated(parts: list[Values]) -> Values:
    return np.concatenate(parts)
