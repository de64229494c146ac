"""Sound-guided attention: the sound asks every cell, and the answer, summed up, has to come near the sound again.

Source: Senocak, Oh, Kim, Yang & Kweon, *Learning to Localize Sound Source in Visual Scenes*, CVPR 2018
(arXiv 1803.03849), sections 3 and 4.

The paper's towers are VGG-16 and SoundNet; here both are AVOL-net's, so that what is compared is how they meet. Its
semi-supervised mode adds, for pictures whose boxes are known, the cross-entropy of the attention with the box
(:func:`avol.train.losses.box_loss`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avol.runtime.spec import ModelSpec
from avol.train.losses import triplet_loss
from avol.train.network.heads import INITIAL_SHARPNESS, UNRELATED_DISTANCE, Head, unit_distances, unit_vectors
from avol.train.network.towers import (
    FrameTower,
    conv_tower,
    frame_embedding,
    scaled_channels,
    vgg_audio_tower,
)
from avol.train.network.two_towers import TwoTowerNetwork

INITIAL_FOCUS = 5.0  # logits between a cell that points the sound's way and one across it


class AttentionHead(Head):
    """Attention of a sound over the grid, and the distance of what it sees from the sound.

    The map is the attention, in logits, with the logit of the pair as its maximum.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.query = nn.Sequential(nn.ReLU(), nn.Linear(size, size))
        self.represent = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size))
        self.focus = nn.Parameter(torch.tensor(INITIAL_FOCUS))
        self.scale = nn.Parameter(torch.tensor(INITIAL_SHARPNESS))
        self.bias = nn.Parameter(torch.tensor(INITIAL_SHARPNESS * UNRELATED_DISTANCE))

    def forward(self, grid: Tensor, vector: Tensor) -> Tensor:
        """See :class:`Head`."""
        queries = unit_vectors(self.query(vector))
        asked = torch.einsum("nehw,ne->nhw", unit_vectors(grid), queries) * self.focus
        attention = asked.flatten(1).softmax(dim=1).view_as(asked)
        attended = torch.einsum("nehw,nhw->ne", grid, attention)
        cosines = (unit_vectors(self.represent(attended)) * unit_vectors(vector)).sum(dim=1)
        return self._map(asked, cosines)

    def all_pairs(self, grid: Tensor, vector: Tensor) -> Tensor:
        """See :class:`Head`."""
        queries = unit_vectors(self.query(vector))
        asked = torch.einsum("nehw,me->nmhw", unit_vectors(grid), queries) * self.focus
        attention = asked.flatten(2).softmax(dim=2).view_as(asked)
        attended = torch.einsum("nehw,nmhw->nme", grid, attention)
        seen = self.represent(attended)
        cosines = torch.einsum("nme,me->nm", unit_vectors(seen.flatten(0, 1)).view_as(seen), unit_vectors(vector))
        return self._map(asked, cosines)

    def _map(self, asked: Tensor, cosines: Tensor) -> Tensor:
        pair_logits = self.bias - self.scale * unit_distances(cosines)
        return pair_logits[..., None, None] + asked - asked.amax(dim=(-2, -1), keepdim=True)


class AttentionNet(TwoTowerNetwork):
    """AVOL-net's towers under sound-guided attention.

    Args:
        spec: sizes of inputs and grid.
        width: share of the full network's channels.
        convs_per_block: 2, or 1 for half depth.
    """

    loss = staticmethod(triplet_loss)

    def __init__(self, spec: ModelSpec, *, width: float = 1.0, convs_per_block: int = 2) -> None:
        channels, size = scaled_channels(width), spec.embedding_size
        super().__init__(
            spec,
            frame_tower=FrameTower(conv_tower(3, channels, convs_per_block), frame_embedding(channels[-1], size)),
            audio_tower=vgg_audio_tower(channels, convs_per_block, size),
            head=AttentionHead(size),
        )
