"""AVE-Net: both towers pooled to one vector each; how near the two are tells whether frame and sound belong together.

Source: Arandjelović & Zisserman, *Objects that Sound*, ECCV 2018 (arXiv 1712.06651), section 3 and figure 2b.

It has the towers of AVOL-net and meets the same contract with a grid of one cell: it tells whether, never where.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avol.runtime.spec import ModelSpec
from avol.train.network.heads import INITIAL_SHARPNESS, UNRELATED_DISTANCE, CosineHead, unit_distances
from avol.train.network.towers import (
    FrameTower,
    conv_tower,
    frame_embedding,
    scaled_channels,
    vgg_audio_tower,
)
from avol.train.network.two_towers import TwoTowerNetwork


class DistanceHead(CosineHead):
    """Euclidean distance of the L2-normalised vectors, one scale and one bias (paper, section 3).

    The paper's fully connected layer from the distance to two classes is, as a difference of its two logits, one scale
    and one bias. It gives no starting values.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(INITIAL_SHARPNESS))
        self.bias = nn.Parameter(torch.tensor(INITIAL_SHARPNESS * UNRELATED_DISTANCE))

    def logits(self, cosines: Tensor) -> Tensor:
        """See :class:`CosineHead`."""
        return self.bias - self.scale * unit_distances(cosines)


class AveNet(TwoTowerNetwork):
    """The maximum over the grid forgets where, as in the audio tower.

    Args:
        spec: sizes of inputs; the grid is 1 x 1.
        width: share of the full network's channels.
        convs_per_block: 2, or 1 for the half-depth network.
    """

    def __init__(self, spec: ModelSpec, *, width: float = 1.0, convs_per_block: int = 2) -> None:
        channels, size = scaled_channels(width), spec.embedding_size
        super().__init__(
            spec,
            frame_tower=FrameTower(
                conv_tower(3, channels, convs_per_block), frame_embedding(channels[-1], size), pooled=True
            ),
            audio_tower=vgg_audio_tower(channels, convs_per_block, size),
            head=DistanceHead(),
        )
