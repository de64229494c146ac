"""What networks are built of: towers of convolutions, one for frames and one for sound."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from avol.runtime.spec import RunningGrid

BLOCK_CHANNELS = (64, 128, 256, 512)  # of full-width towers
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of red, green and blue in 0..1: what networks trained on ImageNet are used to
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


def scaled_channels(width: float) -> tuple[int, ...]:
    """Channels of every block of a tower whose width is that share of the full one's."""
    return tuple(round(c * width) for c in BLOCK_CHANNELS)


def conv_tower(input_channels: int, channels: tuple[int, ...], convs_per_block: int) -> nn.Sequential:
    """VGG-like tower: blocks of 3x3 convolutions with batch norm and ReLU, max pooling between blocks.

    The first convolution has stride 2 and the last block no pooling, so the tower reduces height and width 16 times.

    Source: Arandjelović & Zisserman, *Objects that Sound*, ECCV 2018 (arXiv 1712.06651), figure 2.
    """
    layers: list[nn.Module] = []
    for block, width in enumerate(channels):
        if block > 0:
            layers.append(nn.MaxPool2d(2))
        for conv in range(convs_per_block):
            layers += conv_norm_relu(input_channels, width, 3, stride=2 if block == 0 and conv == 0 else 1)
            input_channels = width
    return nn.Sequential(*layers)


def conv_norm_relu(
    input_channels: int, channels: int, kernel: int | tuple[int, int], *, stride: int | tuple[int, int] = 1
) -> list[nn.Module]:
    """A convolution padded to keep the size (at stride 1, of odd kernels), its batch norm, a ReLU."""
    padding = kernel // 2 if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)
    return [
        # No bias: the batch norm that follows has one.
        nn.Conv2d(input_channels, channels, kernel, stride=stride, padding=padding, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    ]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al., CVPR 2016, arXiv 1512.03385, figure 2)."""

    def __init__(self, input_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        first = conv_norm_relu(input_channels, channels, 3, stride=stride)
        self.main = nn.Sequential(*first, *conv_norm_relu(channels, channels, 3)[:2])
        same = input_channels == channels and stride == 1
        self.shortcut = nn.Sequential(*([] if same else conv_norm_relu(input_channels, channels, 1, stride=stride)[:2]))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        """``N x C x H x W`` to ``N x channels x H / stride x W / stride``."""
        outputs: Tensor = self.relu(self.main(inputs) + self.shortcut(inputs))
        return outputs


def residual_tower(
    input_channels: int, channels: tuple[int, ...], blocks_per_stage: int, *, reduction: int = 32
) -> nn.Sequential:
    """ResNet without its classifier; with two blocks a stage and full width, ResNet-18 (He et al., table 1).

    Args:
        input_channels: of what it sees.
        channels: of the four stages.
        blocks_per_stage: residual blocks.
        reduction: of height and width: 32, or 16 with a last stage that keeps the size.
    """
    layers: list[nn.Module] = conv_norm_relu(input_channels, channels[0], 7, stride=2)
    layers.append(nn.MaxPool2d(3, stride=2, padding=1))
    inputs = channels[0]
    for stage, width in enumerate(channels):
        for block in range(blocks_per_stage):
            halves = block == 0 and stage > 0 and not (stage == len(channels) - 1 and reduction == 16)
            layers.append(ResidualBlock(inputs, width, 2 if halves else 1))
            inputs = width
    return nn.Sequential(*layers)


class FrameTower(nn.Module):
    """Frames to a grid of embedding vectors: uint8 ``N x H x W x 3`` RGB to float32 ``N x E x GH x GW``.

    Args:
        convs: float32 ``N x 3 x H x W`` to features ``N x C x GH x GW``.
        embed: features to embedding vectors; empty: the features are the embedding.
        pooled: take the maximum over the grid before ``embed``, which forgets where: one cell is left.
        mean, deviation: of each channel of pixels in 0..1, which leave it with mean 0 and deviation 1.
    """

    factor: Tensor
    offset: Tensor

    def __init__(
        self,
        convs: nn.Sequential,
        embed: nn.Sequential,
        *,
        pooled: bool = False,
        mean: Sequence[float] = (0.5,) * 3,
        deviation: Sequence[float] = (0.5,) * 3,
    ) -> None:
        super().__init__()
        self.convs, self.embed, self.pooled = convs, embed, pooled
        factor = torch.tensor([1 / (255 * width) for width in deviation])[:, None, None]
        offset = torch.tensor([middle / width for middle, width in zip(mean, deviation, strict=True)])[:, None, None]
        self.register_buffer("factor", factor, persistent=False)
        self.register_buffer("offset", offset, persistent=False)
        # Where all channels are alike, a number serves: it is a smaller graph.
        self._numbers = (1 / (255 * deviation[0]), mean[0] / deviation[0]) if len({*mean, *deviation}) == 1 else None

    def forward(self, frames: Tensor) -> Tensor:
        """Embed frames; scaling is part of the network so that no caller can get it wrong."""
        features = self.convs(self.scaled(frames))
        grid: Tensor = self.embed(features.amax(dim=(2, 3), keepdim=True) if self.pooled else features)
        return grid

    def scaled(self, frames: Tensor) -> Tensor:
        """uint8 ``N x H x W x 3`` to float32 ``N x 3 x H x W`` around zero."""
        # Cast, then transposed: TensorRT can do nothing else with uint8.
        pixels = frames.float().permute(0, 3, 1, 2)
        factor, offset = self._numbers or (self.factor, self.offset)
        return pixels * factor - offset


class AudioTower(nn.Module):
    """Windows of spectrogram columns to embedding vectors: float32 ``N x rows x columns`` to ``N x E``.

    Args:
        convs: float32 ``N x 1 x rows x columns`` to features ``N x C x h x w``.
        embed: features, pooled to ``N x C``, to embedding vectors; empty: the features are the embedding.
        running: how it may run over a track; None: it knows windows alone.
    """

    def __init__(self, convs: nn.Sequential, embed: nn.Sequential, *, running: RunningGrid | None = None) -> None:
        super().__init__()
        self.convs, self.embed, self.running = convs, embed, running

    def forward(self, columns: Tensor) -> Tensor:
        """Embed windows."""
        vector: Tensor = self.embed(self.pooled_features(columns))
        return vector

    def pooled_features(self, columns: Tensor) -> Tensor:
        """The layer before the embedding: ``N x rows x columns`` to ``N x C``.

        The maximum over rows and columns forgets when in the window and at which pitch.
        """
        features: Tensor = self.convs(self.as_picture(columns)).amax(dim=(2, 3))
        return features

    def as_picture(self, columns: Tensor) -> Tensor:
        """``N x rows x columns`` to what the convolutions see, ``N x 1 x rows x columns``."""
        return columns.unsqueeze(1)


def vgg_audio_tower(channels: tuple[int, ...], convs_per_block: int, embedding_size: int) -> AudioTower:
    """An audio tower of :func:`conv_tower`, which may also run over a track.

    Such a tower gives a column of features for every 16 of the spectrogram, and looks up to 66 columns beside them.
    """
    return AudioTower(
        conv_tower(1, channels, convs_per_block),
        audio_embedding(channels[-1], embedding_size),
        running=RunningGrid(stride_columns=16, context_columns=80),
    )


def frame_embedding(channels: int, embedding_size: int) -> nn.Sequential:
    """Two 1x1 convolutions with a ReLU between: features of every cell to its embedding vector."""
    return nn.Sequential(
        nn.Conv2d(channels, embedding_size, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(embedding_size, embedding_size, 1),
    )


def audio_embedding(channels: int, embedding_size: int) -> nn.Sequential:
    """Two fully connected layers with a ReLU between: pooled features to the embedding vector."""
    return nn.Sequential(
        nn.Linear(channels, embedding_size),
        nn.ReLU(inplace=True),
        nn.Linear(embedding_size, embedding_size),
    )
