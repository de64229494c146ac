"""Three ways in which pairs arrive, as MLPerf Inference defines them.

A sample is a pair: a frame with a window of sound. Runs here are shorter than MLPerf's, ten minutes each, there is no
load generator of its own and no early stopping: the results are MLPerf-style, and not MLPerf results.

Source: MLCommons, *MLPerf Inference Rules*, section "Scenarios".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avol.apps.bench_app.timing import Effort, milliseconds, repeat
from avol.runtime.spec import ModelSpec

NOTE = (
    "Scenarios are MLPerf-style, not MLPerf: the same arrivals and percentiles, but short runs without MLPerf's load "
    "generator, accuracy run or early stopping."
)
STREAMS = 8  # pairs that arrive together in the multi-stream scenario
LEAST_DISTINCT = 64  # pairs, so that no cache holds the one that comes

Infer = Callable[[int, int], object]  # runs so many pairs, the first of which is this one


@dataclass(frozen=True)
class Pairs:
    """Noise to run on: what is in a frame or a sound makes no difference to the time.

    Attributes:
        frames: uint8 ``N x H x W x 3``.
        samples: float32 ``N x clip_samples``.
    """

    frames: NDArray[np.uint8]
    samples: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.frames)

    def part(self, number: int, count: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """``count`` pairs that follow each other, other ones for every number."""
        start = number * count % (len(self) - count + 1)
        return self.frames[start : start + count], self.samples[start : start + count]


def make_pairs(spec: ModelSpec, largest_batch: int) -> Pairs:
    """Enough for batches of that size."""
    count, rng = max(LEAST_DISTINCT, largest_batch), np.random.default_rng(0)
    frames = rng.integers(0, 256, (count, spec.frame_height, spec.frame_width, 3), np.uint8)
    samples = rng.uniform(-0.5, 0.5, (count, spec.spectrogram.clip_samples)).astype(np.float32)
    return Pairs(frames, samples)


def single_stream(infer: Infer, effort: Effort) -> dict[str, Any]:
    """One pair a query, the next one when the one before is done: the 90th percentile is the result."""
    times = repeat(lambda number: infer(number, 1), effort)
    return {"queries": len(times), "latency_milliseconds": milliseconds(times)}


def multi_stream(infer: Infer, batch: int, effort: Effort) -> dict[str, Any]:
    """Eight pairs a query, the next one when the one before is done: the 99th percentile is the result.

    Args:
        infer: runs pairs.
        batch: most pairs in one call; a query of more is several calls.
        effort: how long.
    """

    def query(number: int) -> None:
        for start in range(0, STREAMS, batch):
            infer(number, min(batch, STREAMS - start))

    times = repeat(query, effort)
    return {"queries": len(times), "pairs_per_query": STREAMS, "latency_milliseconds": milliseconds(times)}


def offline(
    infer: Infer, batch: int, effort: Effort, joules: Callable[[], float | None] = lambda: None
) -> dict[str, Any]:
    """All pairs are there from the start: pairs a second are the result.

    Args:
        infer: runs pairs.
        batch: pairs in one call.
        effort: how long.
        joules: reading of a counter of energy; None: there is none.
    """
    infer(0, batch)  # before the counter is read
    before = joules()
    begun = effort.clock()
    calls, elapsed = 0, 0.0
    while calls < effort.runs or elapsed < effort.seconds:
        infer(calls, batch)
        calls += 1
        elapsed = effort.clock() - begun
    after = joules()
    used = None if before is None or after is None else after - before
    return {
        "pairs": calls * batch,
        "seconds": round(elapsed, 4),
        "pairs_per_second": round(calls * batch / elapsed, 2),
        "joules_per_pair": None if used is None else round(used / (calls * batch), 5),
    }
