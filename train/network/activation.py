"""Where a network that pools its grid to one cell would hear the sound: its head on every cell before the pooling.

Source: Zhou et al., *Learning Deep Features for Discriminative Localization*, CVPR 2016 (arXiv 1512.04150): class
activation maps take the weights behind a global pooling to the features before it. Behind these poolings stand layers
with a ReLU, so that they are applied whole, to each cell as if it were the maximum of all. It costs such a network
nothing and it was not trained for it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avol.train.network.two_towers import TwoTowerNetwork


def activation_logits(network: TwoTowerNetwork, frames: Tensor, samples: Tensor) -> Tensor:
    """Logits of every cell of the last convolution's grid.

    Args:
        network: whose frame tower is ``pooled``.
        frames: uint8 ``N x H x W x 3`` RGB.
        samples: float32 ``N x clip_samples`` in -1..1.

    Returns:
        float32 ``N x GH x GW``.
    """
    tower = network.frame_tower
    with torch.no_grad():
        grid = tower.embed(tower.convs(tower.scaled(frames)))
        logits: Tensor = network.head(grid, network.audio_tower(network.spectrogram(samples)))
    return logits
