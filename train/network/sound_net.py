"""SoundNet as the audio tower of AVOL-net: convolutions on the waveform itself, in place of a spectrogram.

Source: Aytar, Vondrick & Torralba, *SoundNet: Learning Sound Representations from Unlabeled Video*, NIPS 2016
(arXiv 1610.09001), section 3: the network of eight layers.

The paper learns from what networks for pictures say of the frames; here it learns by correspondence, as all others do.
Its seventh layer sees more than a second, which is all there is: six layers are kept, then a maximum over time.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from avol.runtime.spec import ModelSpec
from avol.train.network.heads import ScalarProductHead
from avol.train.network.towers import (
    AudioTower,
    FrameTower,
    audio_embedding,
    conv_norm_relu,
    conv_tower,
    frame_embedding,
    scaled_channels,
)
from avol.train.network.two_towers import TwoTowerNetwork

# Channels at full width, filter length in samples, and how many values the maximum behind it takes (1: there is none).
WAVEFORM_LAYERS = ((16, 64, 8), (32, 32, 8), (64, 16, 1), (128, 8, 1), (256, 4, 4), (512, 4, 1))


class WaveformTower(AudioTower):
    """Windows of the waveform, cut into columns, to embedding vectors: float32 ``N x rows x columns`` to ``N x E``."""

    def as_picture(self, columns: Tensor) -> Tensor:
        """The samples in a row: ``N x 1 x 1 x (rows * columns)``."""
        return columns.transpose(1, 2).reshape(columns.shape[0], 1, 1, -1)


def waveform_convs(width: float) -> nn.Sequential:
    """The layers of the paper, each with stride 2: one-dimensional, as pictures of one row, so that whatever folds,
    quantises and runs two-dimensional convolutions takes them as well."""
    channels = [1, *(round(c * width) for c, _, _ in WAVEFORM_LAYERS)]
    layers: list[nn.Module] = []
    for (inputs, outputs), (_, length, pooled) in zip(pairwise(channels), WAVEFORM_LAYERS, strict=True):
        layers += conv_norm_relu(inputs, outputs, (1, length), stride=(1, 2))
        if pooled > 1:
            layers.append(nn.MaxPool2d((1, pooled)))
    return nn.Sequential(*layers)


class SoundNet(TwoTowerNetwork):
    """AVOL-net with SoundNet's ear.

    Args:
        spec: sizes of inputs and grid; its sound is ``waveform``.
        width: share of the full network's channels.
        convs_per_block: of the frame tower.
    """

    def __init__(self, spec: ModelSpec, *, width: float = 1.0, convs_per_block: int = 2) -> None:
        channels, size = scaled_channels(width), spec.embedding_size
        heard = waveform_convs(width)
        super().__init__(
            spec,
            frame_tower=FrameTower(conv_tower(3, channels, convs_per_block), frame_embedding(channels[-1], size)),
            audio_tower=WaveformTower(heard, audio_embedding(channels[-1], size)),
            head=ScalarProductHead(),
        )
