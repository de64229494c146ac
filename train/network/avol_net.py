"""AVOL-net: two convolutional towers whose scalar product over the frame's grid localises the sound.

Source: Arandjelović & Zisserman, *Objects that Sound*, ECCV 2018 (arXiv 1712.06651), section 4 and figure 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avol.runtime.spec import ModelSpec
from avol.train.network.spectrogram import Spectrogram

BLOCK_CHANNELS = (64, 128, 256, 512)  # of the full-width network (paper, figure 2)
INITIAL_SCALE = 0.1  # small and positive: the map starts flat and points the right way


def conv_tower(input_channels: int, channels: tuple[int, ...], convs_per_block: int) -> nn.Sequential:
    """VGG-like tower: blocks of 3x3 convolutions with batch norm and ReLU, max pooling between blocks.

    The first convolution has stride 2 and the last block no pooling, so the tower reduces height and width 16 times.
    """
    layers: list[nn.Module] = []
    for block, width in enumerate(channels):
        if block > 0:
            layers.append(nn.MaxPool2d(2))
        for conv in range(convs_per_block):
            stride = 2 if block == 0 and conv == 0 else 1
            # No bias: the batch norm that follows has one.
            layers += [
                nn.Conv2d(input_channels, width, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            input_channels = width
    return nn.Sequential(*layers)


class FrameTower(nn.Module):
    """Frames to a grid of embedding vectors: uint8 ``N x H x W x 3`` RGB to float32 ``N x E x GH x GW``."""

    def __init__(self, channels: tuple[int, ...], convs_per_block: int, embedding_size: int) -> None:
        super().__init__()
        self.convs = conv_tower(3, channels, convs_per_block)
        self.embed = nn.Sequential(
            nn.Conv2d(channels[-1], embedding_size, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(embedding_size, embedding_size, 1),
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Embed frames; scaling is part of the network so that no caller can get it wrong."""
        grid: Tensor = self.embed(self.convs(self.scaled(frames)))
        return grid

    @staticmethod
    def scaled(frames: Tensor) -> Tensor:
        """uint8 ``N x H x W x 3`` to float32 ``N x 3 x H x W`` in -1..1."""
        # Cast, then transposed: TensorRT can do nothing else with uint8.
        return frames.float().permute(0, 3, 1, 2) * (1 / 127.5) - 1.0


class AudioTower(nn.Module):
    """Windows of spectrogram columns to embedding vectors: float32 ``N x rows x columns`` to ``N x E``."""

    def __init__(self, channels: tuple[int, ...], convs_per_block: int, embedding_size: int) -> None:
        super().__init__()
        self.convs = conv_tower(1, channels, convs_per_block)
        self.embed = nn.Sequential(
            nn.Linear(channels[-1], embedding_size),
            nn.ReLU(inplace=True),
            nn.Linear(embedding_size, embedding_size),
        )

    def forward(self, columns: Tensor) -> Tensor:
        """Embed windows."""
        vector: Tensor = self.embed(self.pooled(columns))
        return vector

    def pooled(self, columns: Tensor) -> Tensor:
        """The layer before: ``N x rows x columns`` to ``N x channels``, what linear probes usually read.

        The maximum over rows and columns forgets when in the window and at which pitch.
        """
        channels: Tensor = self.convs(columns.unsqueeze(1)).amax(dim=(2, 3))
        return channels


class Head(nn.Module):
    """The meeting of both towers: scalar product with every cell, one scale and one bias (paper, section 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(INITIAL_SCALE))
        self.bias = nn.Parameter(torch.tensor(0.0))

    def forward(self, grid: Tensor, vector: Tensor) -> Tensor:
        """Logits of every cell: grids ``N x E x GH x GW`` and vectors ``N x E`` to ``N x GH x GW``."""
        return torch.einsum("nehw,ne->nhw", grid, vector) * self.scale + self.bias

    def all_pairs(self, grid: Tensor, vector: Tensor) -> Tensor:
        """Logits of every frame with every sound: ``N x E x GH x GW`` and ``M x E`` to ``N x M x GH x GW``."""
        return torch.einsum("nehw,me->nmhw", grid, vector) * self.scale + self.bias


class AvolNet(nn.Module):
    """The whole network, from pixels and samples to map logits.

    Args:
        spec: sizes of inputs and grid.
        width: share of the full network's channels.
        convs_per_block: 2, or 1 for the half-depth network.
    """

    def __init__(self, spec: ModelSpec, *, width: float = 1.0, convs_per_block: int = 2) -> None:
        super().__init__()
        channels = self.channels(width)
        self.spec = spec
        self.spectrogram = Spectrogram(spec.spectrogram)
        self.frame_tower = FrameTower(channels, convs_per_block, spec.embedding_size)
        self.audio_tower = AudioTower(channels, convs_per_block, spec.embedding_size)
        self.head = Head()

    @staticmethod
    def channels(width: float) -> tuple[int, ...]:
        """Channels of every block of a network whose width is that share of the full one's."""
        return tuple(round(c * width) for c in BLOCK_CHANNELS)

    def forward(self, frames: Tensor, samples: Tensor) -> Tensor:
        """Map logits of pairs; the correspondence logit of a pair is the maximum of its map.

        Args:
            frames: uint8 ``N x H x W x 3`` RGB.
            samples: float32 ``N x clip_samples`` in -1..1.

        Returns:
            float32 ``N x GH x GW``.
        """
        logits: Tensor = self.head(self.frame_tower(frames), self.audio_tower(self.spectrogram(samples)))
        return logits
