"""The graphs of a model as torch modules: what is exported is composed of what was trained, never written twice."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from avol.export.eight_bits import quantised_tower
from avol.export.ranges import Ranges
from avol.export.towers import fold_batch_norms, half_tower
from avol.runtime.spec import RUNNING_KEY, Calibration, ModelSpec, RunningGrid
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


class RunningAudio(nn.Module):
    """An audio tower over a stretch of a track: the embedding of every window at a multiple of the tower's stride.

    What lies beside the stretch is zero to every convolution. So a stretch of one window gives what the tower gives for
    it; in a longer one, windows that have the tower's context on both sides are heard as in the whole track, and what
    they have in common is computed once.

    Args:
        tower: an :class:`avol.train.network.towers.AudioTower` that may run, in any precision.
        columns: of a window.
    """

    def __init__(self, tower: nn.Module, columns: int) -> None:
        super().__init__()
        assert isinstance(tower.running, RunningGrid)
        self.tower, self.cells = tower, columns // tower.running.stride_columns

    def forward(self, columns: Tensor) -> Tensor:
        """``N x rows x T`` to ``(N * P) x E``: first all windows of the first stretch, then those of the next."""
        features: Tensor = self.tower.convs(columns.unsqueeze(1)).amax(dim=2, keepdim=True)  # type: ignore[operator]
        windows = nn.functional.max_pool2d(features, (1, self.cells), stride=1)
        vectors: Tensor = self.tower.embed(windows.permute(0, 2, 3, 1).reshape(-1, features.shape[1]))  # type: ignore[operator]
        return vectors


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
    """One graph to export.

    Attributes:
        role: of the graph.
        module: what computes.
        inputs: examples, by name.
        outputs: names.
        free_axes: of any size: name by input and axis.
        multiples: a free axis that is traced as a multiple of something, and of what: the tracer cannot reason about
            what layers round down.
        notes: for the metadata.
    """

    role: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    free_axes: dict[str, dict[int, str]]
    multiples: dict[str, int] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


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
        _audio_graph(audio_tower, spec),
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


def _audio_graph(tower: nn.Module, spec: ModelSpec) -> Graph:
    """The audio tower, over stretches of any length where it may run over them."""
    sound = spec.spectrogram
    if tower.running is None:
        columns = torch.zeros(2, sound.rows, sound.columns)
        return Graph("audio", tower, {"columns": columns}, ("vector",), {"columns": {0: "batch"}})
    assert isinstance(tower.running, RunningGrid)
    stride = tower.running.stride_columns
    return Graph(
        "audio",
        RunningAudio(tower, sound.columns),
        {"columns": torch.zeros(2, sound.rows, 2 * sound.columns // stride * stride)},
        ("vector",),
        {"columns": {0: "batch", 2: "columns"}},
        {"columns": stride},
        {RUNNING_KEY: tower.running.to_json()},
    )


def _tower(tower: nn.Module, precision: str, ranges: Mapping[str, float]) -> nn.Module:
    folded = fold_batch_norms(tower)
    if precision == "fp16":
        return half_tower(folded)
    return quantised_tower(folded, ranges) if precision == "int8" else folded
