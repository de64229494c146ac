"""EZ-VSL: the sound's vector against every cell's by cosine, and what counts is the cell that comes nearest.

Source: Mo & Morgado, *Localizing Visual Sounds the Easy Way*, ECCV 2022 (arXiv 2203.09324), sections 3.2 to 3.4.

Towers are ResNet-18. The temperature is the paper's, as is the share of the object-guided map. A guided network holds
a second ResNet-18 that was trained on ImageNet and never changes: the mean strength of its features says where any
object is, and is mixed into the map of every sound.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avol.runtime.spec import ModelSpec
from avol.train.losses import contrastive_loss
from avol.train.network.heads import CosineHead
from avol.train.network.towers import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    AudioTower,
    FrameTower,
    residual_tower,
    scaled_channels,
)
from avol.train.network.two_towers import TwoTowerNetwork

TEMPERATURE = 0.03
AUDIO_VISUAL_SHARE = 0.4  # of the mixed map
MAP_CONTRAST = 6.0  # logits between the best and the worst cell of a mixed map, whose own scale says nothing
SMALLEST_RANGE = 1e-6


class TemperedHead(CosineHead):
    """The cosine over a fixed temperature; nothing to learn."""

    def logits(self, cosines: Tensor) -> Tensor:
        """See :class:`CosineHead`."""
        return cosines * (1 / TEMPERATURE)


class GuidedHead(TemperedHead):
    """The same on all channels but the last, which in the grid says where objects are and in the vector says nothing.

    The map's order is that of the paper's mixture of two maps, each between 0 and 1 within the picture; its maximum is
    the logit of the pair, so that what an object network sees makes no pair sound.
    """

    def forward(self, grid: Tensor, vector: Tensor) -> Tensor:
        """See :class:`Head`."""
        logits = super().forward(grid[:, :-1], vector[:, :-1])
        mixed = AUDIO_VISUAL_SHARE * _stretched(logits) + (1 - AUDIO_VISUAL_SHARE) * _stretched(grid[:, -1:].squeeze(1))
        return logits.amax(dim=(1, 2), keepdim=True) - MAP_CONTRAST * (mixed.amax(dim=(1, 2), keepdim=True) - mixed)

    def all_pairs(self, grid: Tensor, vector: Tensor) -> Tensor:
        """Logits of the sound alone, unmixed: what is learnt."""
        return super().all_pairs(grid[:, :-1], vector[:, :-1])


def _stretched(maps: Tensor) -> Tensor:
    """``N x GH x GW`` to 0..1 within each map."""
    lowest, highest = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - lowest) / (highest - lowest).clamp_min(SMALLEST_RANGE)


class GuidedFrameTower(FrameTower):
    """A frame tower whose last channel is the mean strength of an image network's features in each cell.

    Args:
        convs, embed: of the tower that learns; gives all channels but that one.
        objects: a residual tower of the same reduction that does not.
    """

    def __init__(self, convs: nn.Sequential, embed: nn.Sequential, objects: nn.Sequential) -> None:
        super().__init__(convs, embed, mean=IMAGENET_MEAN, deviation=IMAGENET_DEVIATION)
        self.objects = objects.requires_grad_(requires_grad=False)

    def train(self, mode: bool = True) -> GuidedFrameTower:
        """The image network keeps the statistics that it was trained with."""
        super().train(mode)
        self.objects.eval()
        return self

    def forward(self, frames: Tensor) -> Tensor:
        """``N x H x W x 3`` to ``N x E x GH x GW``."""
        pixels = self.scaled(frames)
        strength = self.objects(pixels).mean(dim=1, keepdim=True)  # behind a ReLU nothing is negative
        return torch.cat([self.embed(self.convs(pixels)), strength], dim=1)


class EzVsl(TwoTowerNetwork):
    """Residual towers, one linear projection each, the maximum over positions.

    Args:
        spec: sizes of inputs and grid; cells are 32 or 16 pixels wide.
        width: share of ResNet-18's channels.
        convs_per_block: residual blocks in each stage; 2 is ResNet-18.
        guided: with an image network; its weights come from :func:`load_imagenet`.
    """

    loss = staticmethod(contrastive_loss)

    def __init__(self, spec: ModelSpec, *, width: float = 1.0, convs_per_block: int = 2, guided: bool = False) -> None:
        channels, size = scaled_channels(width), spec.embedding_size
        reduction = spec.frame_height // spec.grid_height
        seen, objects = (residual_tower(3, channels, convs_per_block, reduction=reduction) for _ in range(2))
        heard = residual_tower(1, channels, convs_per_block)
        project = nn.Sequential(nn.Conv2d(channels[-1], size - guided, 1))
        plain = FrameTower(seen, project, mean=IMAGENET_MEAN, deviation=IMAGENET_DEVIATION)
        super().__init__(
            spec,
            frame_tower=GuidedFrameTower(seen, project, objects) if guided else plain,
            audio_tower=AudioTower(heard, nn.Sequential(nn.Linear(channels[-1], size))),
            head=GuidedHead() if guided else TemperedHead(),
        )
