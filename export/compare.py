"""Two systems on the same frames and sounds: how far apart they are, and whether that is near enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avol.export.moments import Moments
from avol.export.systems import System
from avol.train.metrics import correspondence_accuracy

BATCH = 32
ENOUGH_FRAMES = 500  # above the threshold; on fewer, a share of 98 % says little
LARGEST_PROBABILITY_DIFFERENCE = {"fp32": 1e-4, "fp16": 0.01}
LEAST_SAME_PEAK = 0.99  # of half precision
LEAST_NEAR_PEAK = 0.98  # of eight bits: within one cell
LARGEST_ACCURACY_DROP = 0.01  # of eight bits
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Outputs:
    """What a system made of moments; ``foreign_score`` is None where there are no foreign sounds."""

    grid: Floats
    vector: Floats
    map: Floats
    score: Floats
    foreign_score: Floats | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How far system B is from system A; frames count where A's score reaches the threshold.

    Attributes:
        count: frames in all.
        sounding: frames at or above the threshold in A.
        grid_difference, vector_difference: largest, relative to A's largest value.
        map_difference, score_difference: largest, of probabilities.
        map_mean_difference: mean over all cells.
        same_peak: share of sounding frames with the largest cell where A has it.
        near_peak: share in which it is at most one cell away, in any direction.
        accuracies: correspondence accuracy of A and of B at the threshold; None without foreign sounds.
    """

    count: int
    sounding: int
    grid_difference: float
    vector_difference: float
    map_difference: float
    map_mean_difference: float
    score_difference: float
    same_peak: float
    near_peak: float
    accuracies: tuple[float, float] | None


@dataclass(frozen=True)
class Check:
    """One line of a verdict; ``limit`` is empty where nothing is demanded."""

    name: str
    value: str
    limit: str = ""
    passed: bool = True


def run_system(system: System, moments: Moments) -> Outputs:
    """All outputs of a system, in batches."""
    parts: list[list[Floats]] = []
    for start in range(0, len(moments), BATCH):
        part = slice(start, start + BATCH)
        grid, vector = system.grid(moments.frames[part]), system.vector(moments.own[part])
        row = [grid, vector, *system.head(grid, vector)]
        if moments.foreign is not None:
            row.append(system.head(grid, system.vector(moments.foreign[part]))[1])
        parts.append(row)
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Outputs(*joined)


def compare(a: Outputs, b: Outputs, *, threshold: float) -> Comparison:
    """Hold B against A.

    Args:
        a: the reference.
        b: on the same moments.
        threshold: score from which a frame counts.
    """
    sounding = a.score >= threshold
    distance = _peak_distances(a.map[sounding], b.map[sounding])
    accuracies = None
    if a.foreign_score is not None and b.foreign_score is not None:
        accuracies = (
            correspondence_accuracy(a.score, a.foreign_score, threshold),
            correspondence_accuracy(b.score, b.foreign_score, threshold),
        )
    return Comparison(
        count=len(a.score),
        sounding=int(np.count_nonzero(sounding)),
        grid_difference=_relative(a.grid, b.grid),
        vector_difference=_relative(a.vector, b.vector),
        map_difference=_largest(a.map, b.map),
        map_mean_difference=float(np.abs(a.map - b.map).mean()),
        score_difference=_largest(a.score, b.score),
        same_peak=_share(distance == 0),
        near_peak=_share(distance <= 1),
        accuracies=accuracies,
    )


def judge(found: Comparison, precision: str) -> list[Check]:
    """Hold a comparison against the tolerances of a precision, the lower one of the two systems."""
    largest, is_int8 = LARGEST_PROBABILITY_DIFFERENCE.get(precision, np.finfo(np.float32).max), precision == "int8"
    judged = f" of {found.sounding}"
    checks = [
        Check("grid, largest relative difference", f"{found.grid_difference:.1e}"),
        Check("sound vector, largest relative difference", f"{found.vector_difference:.1e}"),
        *(
            Check(
                f"{name}, largest difference",
                f"{value:.1e}",
                "a number" if is_int8 else f"<= {largest:g}",  # of eight bits the rest is told by peaks and accuracy
                passed=bool(value <= largest),
            )
            for name, value in (("map", found.map_difference), ("score", found.score_difference))
        ),
        _share_check("same peak", found.same_peak, judged, LEAST_SAME_PEAK if precision == "fp16" else None),
        _share_check("peak within one cell", found.near_peak, judged, LEAST_NEAR_PEAK if is_int8 else None),
    ]
    value, passed = "one source only", False  # nor is that a pass where a drop has a limit
    if found.accuracies is not None:
        before, after = found.accuracies
        value, passed = f"{100 * before:.1f} % -> {100 * after:.1f} %", before - after < LARGEST_ACCURACY_DROP
    if not is_int8:
        return [*checks, Check("correspondence accuracy", value)]
    limit = f"drop < {100 * LARGEST_ACCURACY_DROP:g} point"
    return [*checks, Check("correspondence accuracy", value, limit, passed)]


def lower_precision(a: str, b: str) -> str:
    """The one whose tolerances hold for a comparison of the two."""
    return max(a, b, key=("fp32", "fp16", "int8").index)


def _share_check(name: str, value: float, judged: str, least: float | None) -> Check:
    text = f"{100 * value:.1f} %{judged}" if np.isfinite(value) else f"-{judged}"
    if least is None:
        return Check(name, text)
    return Check(name, text, f">= {100 * least:g} %", passed=value >= least)  # nothing to judge on is no pass


def _peak_distances(a: Floats, b: Floats) -> NDArray[np.int64]:
    """Cells between the largest values of maps, along the longer axis; a tie that holds A's peak counts as 0."""
    count, _, width = a.shape
    peaks = a.reshape(count, -1).argmax(axis=1) if count else np.zeros(0, np.int64)
    flat = b.reshape(count, a.shape[1] * width)
    others = flat.argmax(axis=1) if count else np.zeros(0, np.int64)
    tied = flat[np.arange(count), peaks] == flat.max(axis=1, initial=-np.inf)
    others = np.where(tied, peaks, others)
    rows, columns = np.abs(peaks // width - others // width), np.abs(peaks % width - others % width)
    return np.asarray(np.maximum(rows, columns), dtype=np.int64)


def _largest(a: Floats, b: Floats) -> float:
    """Largest difference; anything that is no number is infinitely far."""
    difference = np.abs(a - b)
    return float(difference.max()) if np.isfinite(difference).all() else float("inf")


def _relative(a: Floats, b: Floats) -> float:
    return _largest(a, b) / max(float(np.abs(a).max()), 1e-12)


def _share(hits: NDArray[np.bool_]) -> float:
    return float(hits.mean()) if len(hits) else float("nan")
