"""Class anchors: one learned vector per class that gives both towers something to hold on to from the first step.

The scalar product of two untrained towers says nothing to either, and a batch of hard scenes keeps it so for
thousands of steps. An anchor is a fixed partner: pictures are held against all anchors as if these were sounds, sounds
as if these were pictures, with the same loss. Needs class-labelled material; the anchors are dropped after training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avol.train.losses import correspondence_loss
from avol.train.network.heads import Head


class ClassAnchors(nn.Module):
    """``C`` vectors of the embedding's size."""

    def __init__(self, count: int, embedding_size: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(count, embedding_size))

    def loss(
        self, head: Head, grid: Tensor, vector: Tensor, seen: tuple[Tensor, Tensor], heard: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Loss of pictures and sounds against the anchors.

        Args:
            head: the network's, so that anchors live on the scale of vectors.
            grid: float32 ``N x E x GH x GW``.
            vector: float32 ``M x E``.
            seen: matches and known, bool ``N x C`` each: classes of sound that the pictures show a source of.
            heard: matches and known, bool ``M x C`` each: classes of the sounds.
        """
        anchor_grid = self.vectors[:, :, None, None]
        of_pictures = correspondence_loss(head.all_pairs(grid, self.vectors), seen[0], known=seen[1])
        of_sounds = correspondence_loss(head.all_pairs(anchor_grid, vector), heard[0].T, known=heard[1].T)
        return 0.5 * (of_pictures + of_sounds)
