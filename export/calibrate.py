"""Calibration for eight bits: watch what passes through the towers, and choose what magnitudes to hold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from avol.export.eight_bits import INPUT, eight_bit_path, range_names
from avol.export.moments import Moments
from avol.export.ranges import LARGEST_INT8, Ranges
from avol.export.towers import fold_batch_norms
from avol.runtime.errors import AvolError
from avol.train.network import TwoTowerNetwork

BINS = 2048
BATCH = 8  # histc counts in float32, which is exact up to 2^24
METHODS = ("minmax", "percentile-99.999", "percentile-99.99", "percentile-99.9", "entropy")
DEFAULT_METHOD = "percentile-99.999"  # by measurement: benchmarks/results/int8-calibration.json
ENTROPY_STEP = 16  # bins between two candidates
Counts = NDArray[np.float64]


class MagnitudeHistogram:
    """Counts of magnitudes in equal bins from 0; the range doubles when a larger one comes."""

    def __init__(self) -> None:
        self.counts: Counts = np.zeros(BINS)
        self.end = 0.0
        self.largest = 0.0

    def add(self, values: Tensor) -> None:
        """Count values; NaN and infinity are not allowed."""
        magnitudes = values.detach().abs().flatten()
        largest = float(magnitudes.max())
        if not np.isfinite(largest):
            raise AvolError("calibration: the network gives values that are no numbers; train it again.")
        self.largest = max(self.largest, largest)
        if self.end == 0.0:
            self.end = largest
        while largest > self.end:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(axis=1), np.zeros(BINS // 2)])
            self.end *= 2
        if self.end > 0.0:
            self.counts += torch.histc(magnitudes, BINS, 0.0, self.end).numpy()

    def magnitude(self, method: str) -> float:
        """The largest magnitude to hold.

        Args:
            method: one of :data:`METHODS`; a percentile leaves out the share beyond it.

        Raises:
            AvolError: an unknown method, or nothing but zeros was seen.
        """
        if method not in METHODS:
            raise AvolError(f"{method}: no such method of calibration; choose one of {', '.join(METHODS)}.")
        if self.largest == 0.0:
            raise AvolError("calibration: nothing but zeros passes through a layer; calibrate on other clips.")
        if method == "minmax":
            return self.largest
        width = self.end / BINS
        if method == "entropy":
            return min(self.largest, width * least_divergence(self.counts))
        share = float(method.removeprefix("percentile-")) / 100
        kept = int(np.searchsorted(np.cumsum(self.counts), share * self.counts.sum())) + 1
        return min(self.largest, width * kept)


def least_divergence(counts: Counts) -> int:
    """How many bins to keep so that eight bits tell least less than all of them.

    Source: Migacz, "8-bit inference with TensorRT", GTC 2017: the Kullback-Leibler divergence of the clipped
    distribution from what is left of it on 128 levels, as many as engines have; ONNX Runtime has twice as many behind a
    ReLU. Bin 0, the zeros that a ReLU makes, does not count.
    """
    levels = LARGEST_INT8 + 1
    counts = counts.copy()
    counts[0] = 0
    last = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 1
    candidates = [n for n in range(levels, last + ENTROPY_STEP, ENTROPY_STEP) if n <= len(counts)]
    if not candidates:
        return last
    return min(candidates, key=lambda kept: _divergence(counts, kept, levels))


def _divergence(counts: Counts, kept: int, levels: int) -> float:
    reference = counts[:kept].copy()
    reference[-1] += counts[kept:].sum()
    level_of = np.arange(kept) * levels // kept
    filled = counts[:kept] > 0
    sums = np.bincount(level_of, counts[:kept], levels)
    members = np.bincount(level_of, filled, levels)
    spread = np.where(filled, sums[level_of] / np.maximum(members[level_of], 1), 0.0)
    p, q = reference / reference.sum(), spread / max(spread.sum(), 1e-12)
    present = p > 0
    return float(np.sum(p[present] * np.log(p[present] / np.maximum(q[present], 1e-12))))


def watch(
    network: TwoTowerNetwork, moments: Moments, *, progress: Callable[[int], None] = lambda _: None
) -> Histograms:
    """Histograms of all that passes through eight bits.

    Args:
        network: trained, in evaluation mode.
        moments: to run it on; both sounds are listened to.
        progress: is told how many frames are done.
    """
    towers = {"frame": fold_batch_norms(network.frame_tower), "audio": fold_batch_norms(network.audio_tower)}
    found: Histograms = {
        role: {name: MagnitudeHistogram() for name in range_names(tower)} for role, tower in towers.items()
    }
    for role, tower in towers.items():
        _attach(tower, found[role])
    with torch.no_grad():
        for start in range(0, len(moments), BATCH):
            part = slice(start, start + BATCH)
            towers["frame"](torch.from_numpy(moments.frames[part]))
            for sounds in (moments.own, moments.foreign):
                if sounds is not None:
                    towers["audio"](network.spectrogram(torch.from_numpy(sounds[part])))
            progress(min(start + BATCH, len(moments)))
    return found


def choose_ranges(network: TwoTowerNetwork, histograms: Histograms, *, method: str, source: str) -> Ranges:
    """The ranges that a method finds in histograms; ``source`` says what was watched."""
    towers = {
        role: {name: float(f"{histogram.magnitude(method):.6g}") for name, histogram in tower.items()}
        for role, tower in histograms.items()
    }
    return Ranges(weights_sha256=network.spec.weights_sha256, method=method, source=source, towers=towers)


def _attach(tower: nn.Module, histograms: dict[str, MagnitudeHistogram]) -> None:
    steps, sums = eight_bit_path(tower)
    steps[0].conv.register_forward_pre_hook(lambda _, inputs: histograms[INPUT].add(inputs[0]))
    for step in steps:
        histogram = histograms[step.output_name]
        if step.is_rectified:
            # What is negative becomes zero behind the convolution, whatever eight bits make of it.
            step.conv.register_forward_hook(lambda _, __, outputs, h=histogram: h.add(outputs.relu()))
        else:
            step.conv.register_forward_hook(lambda _, __, outputs, h=histogram: h.add(outputs))
    for name, block in sums.items():
        if name in histograms:
            block.register_forward_hook(lambda _, __, outputs, h=histograms[name]: h.add(outputs))


Histograms = dict[str, dict[str, MagnitudeHistogram]]
