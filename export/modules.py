"""The graphs of a model as torch modules: what is exported is composed of what was trained, never written twice."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avol.runtime.spec import Calibration, ModelSpec
from avol.train.network import AvolNet


class FoldedConv(nn.Module):
    """A convolution with its batch norm folded in, the trained weights kept in half precision.

    Folding before rounding would round twice; the product of half-precision weight and float32 scale is computed when
    the graph is loaded, and loses nothing against the shipped checkpoint.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.running_var is not None
        assert norm.running_mean is not None
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        self.weight = _constant(conv.weight.half())
        self.scale = _constant(scale.reshape(-1, 1, 1, 1))
        self.bias = _constant(norm.bias - norm.running_mean * scale)
        self.stride, self.padding = conv.stride, conv.padding

    def forward(self, inputs: Tensor) -> Tensor:
        """Convolve in float32."""
        return F.conv2d(inputs, self.weight.float() * self.scale, self.bias, self.stride, self.padding)


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


def model_graphs(network: AvolNet, spec: ModelSpec) -> list[Graph]:
    """The graphs of a trained network; all take a batch of any size, the spectrogram any length as well.

    Args:
        network: trained, in evaluation mode; it is not changed.
        spec: its spec with calibration.
    """
    network = copy.deepcopy(network).eval()
    frame_tower, audio_tower = fold_batch_norms(network.frame_tower), fold_batch_norms(network.audio_tower)
    waveform, head = WaveformAudio(network.spectrogram, audio_tower), Head(network.head, spec.calibration)
    # Two of everything: torch.export takes an axis of size 1 for a constant.
    frames = torch.zeros(2, spec.frame_height, spec.frame_width, 3, dtype=torch.uint8)
    columns = torch.zeros(2, spec.spectrogram.rows, spec.spectrogram.columns)
    samples = torch.zeros(2, spec.spectrogram.clip_samples)
    grid = torch.zeros(2, spec.embedding_size, spec.grid_height, spec.grid_width)
    vector = torch.zeros(2, spec.embedding_size)
    batch = {0: "batch"}
    return [
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


def fold_batch_norms(tower: nn.Module) -> nn.Module:
    """A copy of a tower whose ``convs`` hold folded convolutions."""
    folded = copy.deepcopy(tower)
    layers: list[nn.Module] = []
    for layer in folded.convs:  # type: ignore[union-attr]
        if isinstance(layer, nn.BatchNorm2d):
            conv = layers.pop()
            assert isinstance(conv, nn.Conv2d)
            layer = FoldedConv(conv, layer)  # noqa: PLW2901
        layers.append(layer)
    folded.convs = nn.Sequential(*layers)
    return folded


def _constant(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().clone(), requires_grad=False)
