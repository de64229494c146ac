"""Repeating a call and summing up how long it took."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

QUANTILES = {"p90": 0.90, "p95": 0.95, "p99": 0.99}
COLUMNS = ("min", "mean", "median", *QUANTILES)
WARM_UP_RUNS = 3  # at their first runs backends allocate, capture CUDA graphs and tune

Clock = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long a measurement goes on: until both are reached.

    Attributes:
        seconds: of measuring.
        runs: least number of calls.
        clock: seconds.
    """

    seconds: float
    runs: int
    clock: Clock


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least this share of them does not exceed: a value that was measured.

    Raises:
        ValueError: no values, or a share outside 0..1.
    """
    if not values or not 0.0 <= share <= 1.0:
        raise ValueError(f"{len(values)} values, share {share}")
    # Rounded, because 0.9 * 10 is a little more than 9 in floating point.
    rank = math.ceil(round(share * len(values), 9))
    return sorted(values)[max(rank, 1) - 1]


def summary(values: Sequence[float]) -> dict[str, float]:
    """:data:`COLUMNS` of values, in their unit."""
    found = {"min": min(values), "mean": statistics.fmean(values), "median": statistics.median(values)}
    return found | {name: quantile(values, share) for name, share in QUANTILES.items()}


def milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    """:func:`summary` of times, in milliseconds."""
    return {name: round(1e3 * value, 4) for name, value in summary(seconds).items()}


def repeat(call: Callable[[int], object], effort: Effort) -> list[float]:
    """Call again and again, each time when the one before has returned; gives the seconds of every call.

    Args:
        call: gets the number of the call.
        effort: when to end. The first :data:`WARM_UP_RUNS` calls do not count.
    """
    for number in range(WARM_UP_RUNS):
        call(number)
    taken: list[float] = []
    begun = before = effort.clock()
    while len(taken) < effort.runs or before - begun < effort.seconds:
        call(WARM_UP_RUNS + len(taken))
        now = effort.clock()
        taken.append(now - before)
        before = now
    return taken
