"""L3-Net: the pooled features of both towers side by side, from which two layers tell whether they match.

Source: Arandjelović & Zisserman, *Look, Listen and Learn*, ICCV 2017 (arXiv 1705.08168), section 2.2 and figure 2.

Neither tower has an embedding of its own: "near" has no meaning before the fusion. It tells whether, never where;
:mod:`avol.train.network.activation` asks it where all the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avol.runtime.spec import ModelSpec
from avol.train.network.heads import Head
from avol.train.network.towers import AudioTower, FrameTower, conv_tower, scaled_channels
from avol.train.network.two_towers import TwoTowerNetwork

FUSED_SIZE = 128  # of the layer behind the concatenation (paper, figure 2)


class FusionHead(Head):
    """Concatenation, a fully connected layer, ReLU, and a layer to the difference of two classes' logits.

    A layer on a concatenation is the sum of a layer on each part: so every frame can meet every sound without being
    written down side by side.
    """

    def __init__(self, size: int, fused_size: int = FUSED_SIZE) -> None:
        super().__init__()
        self.of_frame = nn.Linear(size, fused_size)
        self.of_sound = nn.Linear(size, fused_size, bias=False)
        self.classify = nn.Linear(fused_size, 1)
        nn.init.normal_(self.classify.weight, std=0.01)  # a loss that starts at chance
        nn.init.zeros_(self.classify.bias)

    def forward(self, grid: Tensor, vector: Tensor) -> Tensor:
        """See :class:`Head`."""
        return self._logits(self.of_frame(grid.permute(0, 2, 3, 1)) + self.of_sound(vector)[:, None, None])

    def all_pairs(self, grid: Tensor, vector: Tensor) -> Tensor:
        """See :class:`Head`."""
        cells, sounds = self.of_frame(grid.permute(0, 2, 3, 1)), self.of_sound(vector)
        return self._logits(cells[:, None] + sounds[None, :, None, None])

    def _logits(self, fused: Tensor) -> Tensor:
        logits: Tensor = self.classify(torch.relu(fused)).squeeze(-1)
        return logits


class L3Net(TwoTowerNetwork):
    """Towers as AVOL-net's, without embedding layers.

    Args:
        spec: sizes of inputs; the grid is 1 x 1, the embedding as long as the last block has channels.
        width: share of the full network's channels.
        convs_per_block: 2, or 1 for half depth.
    """

    def __init__(self, spec: ModelSpec, *, width: float = 1.0, convs_per_block: int = 2) -> None:
        channels = scaled_channels(width)
        seen, heard = (conv_tower(inputs, channels, convs_per_block) for inputs in (3, 1))
        super().__init__(
            spec,
            frame_tower=FrameTower(seen, nn.Sequential(), pooled=True),
            audio_tower=AudioTower(heard, nn.Sequential()),
            head=FusionHead(channels[-1]),
        )
