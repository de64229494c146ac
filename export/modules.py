"""The graphs of a model as torch modules: what is exported is composed of what was trained, never written twice."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avol.export.eight_bits import quantised_tower
from avol.export.ranges import Ranges
from avol.export.towers import fold_batch_norms, half_tower
from avol.runtime.spec import Calibration, ModelSpec
from avol.train.network import TwoTowerNetwork

FLOAT32_ROLES = ("spectrogram", "head")


class Head(nn.Module):
    """Grid and vector to calibrated probabilities and their maximum."""

    def __init__(self, head: nn.Module, calibration: Calibration) -> None:
        super().__init__()
        self.head, self.calibration = head, calibration

    def forward(self, grid: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
        """``N x E x GH x GW`` and ``N x E`` to map ``N x GH x GW`` and score ``N``."""
        probabilities = torch.sigmoid(self.head(grid, vector) * self.calibration.scale + self.calibration.bias)
        return probabilities, probabilities.amax(dim=(1, 2))


class WaveformAudio(nn.Module):
    """Samples of one window to the audio vector."""

    def __init__(self, spectrogram: nn.Module, audio_tower: nn.Module) -> None:
        super().__init__()
        self.spectrogram, self.audio_tower = spectrogram, audio_tower

    def forward(self, samples: Tensor) -> Tensor:
        """``N x clip_samples`` to ``N x E``."""
        vector: Tensor = self.audio_tower(self.spectrogram(samples))
        return vector


class Pair(nn.Module):
    """Frames and one window of samples each, to map and score: the whole model in one graph."""

    def __init__(self, frame_tower: nn.Module, waveform_audio: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.frame_tower, self.waveform_audio, self.head = frame_tower, waveform_audio, head

    def forward(self, frames: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        """``N x H x W x 3`` and ``N x clip_samples`` to map ``N x GH x GW`` and score ``N``."""
        result: tuple[Tensor, Tensor] = self.head(self.frame_tower(frames), self.waveform_audio(samples))
        return result


@dataclass(frozen=True)
class Graph:
    """One graph to export: module, example inputs by name, output names, and axes of free size by input."""

    role: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    free_axes: dict[str, dict[int, str]]


def model_graphs(
    network: TwoTowerNetwork, spec: ModelSpec, *, precision: str = "fp32", ranges: Ranges | None = None
) -> list[Graph]:
    """The graphs of a trained network; all take a batch of any size, the spectrogram any length as well.

    Spectrogram and head, scale, bias and sigmoid with them, are float32 in every precision: they are part of the graphs
    that hold a tower, and have none of their own but in ``fp32``.

    Args:
        network: trained, in evaluation mode; it is not changed.
        spec: its spec with calibration.
        precision: of the towers: ``fp32``, ``fp16`` or ``int8``.
        ranges: for ``int8``.

    Raises:
        AvolError: the ranges do not fit the network.
    """
    network = copy.deepcopy(network).eval()
    frame_tower, audio_tower = (
        _tower(tower, precision, ranges.towers[role] if ranges else {})
        for role, tower in (("frame", network.frame_tower), ("audio", network.audio_tower))
    )
    waveform, head = WaveformAudio(network.spectrogram, audio_tower), Head(network.head, spec.calibration)
    # Two of everything: torch.export takes an axis of size 1 for a constant.
    frames = torch.zeros(2, spec.frame_height, spec.frame_width, 3, dtype=torch.uint8)
    columns = torch.zeros(2, spec.spectrogram.rows, spec.spectrogram.columns)
    samples = torch.zeros(2, spec.spectrogram.clip_samples)
    grid = torch.zeros(2, spec.embedding_size, spec.grid_height, spec.grid_width)
    vector = torch.zeros(2, spec.embedding_size)
    batch = {0: "batch"}
    graphs = [
        Graph(
            "spectrogram",
            network.spectrogram,
            {"samples": samples},
            ("columns",),
            {"samples": {0: "batch", 1: "length"}},
        ),
        Graph("audio", audio_tower, {"columns": columns}, ("vector",), {"columns": batch}),
        Graph("frame", frame_tower, {"frames": frames}, ("grid",), {"frames": batch}),
        Graph("head", head, {"grid": grid, "vector": vector}, ("map", "score"), {"grid": batch, "vector": batch}),
        Graph("waveform-audio", waveform, {"samples": samples}, ("vector",), {"samples": batch}),
        Graph(
            "pair",
            Pair(frame_tower, waveform, head),
            {"frames": frames, "samples": samples},
            ("map", "score"),
            {"frames": batch, "samples": batch},
        ),
    ]
    return graphs if precision == "fp32" else [graph for graph in graphs if graph.role not in FLOAT32_ROLES]


def _tower(tower: nn.Module, precision: str, ranges: Mapping[str, float]) -> nn.Module:
    folded = fold_batch_norms(tower)
    if precision == "fp16":
        return half_tower(folded)
    return quantised_tower(folded, ranges) if precision == "int8" else folded
