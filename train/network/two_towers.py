"""What every network of the registry is: a spectrogram, a tower for each sense, and a head in which they meet."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from avol.runtime.spec import ModelSpec
from avol.train.losses import correspondence_loss
from avol.train.network.heads import Head
from avol.train.network.spectrogram import sound_front_end
from avol.train.network.towers import AudioTower, FrameTower


class TwoTowerNetwork(nn.Module):
    """The whole network, from pixels and samples to map logits.

    Args:
        spec: sizes of inputs and grid.
        frame_tower, audio_tower, head: its parts.

    Attributes:
        loss: of ``map_logits`` (``N x M x GH x GW``, every picture of a batch with every sound of it), ``matches`` and
            ``known=`` (bool ``N x M``): what the system learns by.
    """

    loss: Callable[..., Tensor] = staticmethod(correspondence_loss)

    def __init__(self, spec: ModelSpec, *, frame_tower: FrameTower, audio_tower: AudioTower, head: Head) -> None:
        super().__init__()
        self.spec = spec
        self.spectrogram = sound_front_end(spec.spectrogram)
        self.frame_tower, self.audio_tower, self.head = frame_tower, audio_tower, head

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
