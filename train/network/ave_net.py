"""AVE-Net: both towers pooled to one vector each; how near the two are tells whether frame and sound belong together.

Source: Arandjelović & Zisserman, *Objects that Sound*, ECCV 2018 (arXiv 1712.06651), section 3 and figure 2b.

It has the towers of AVOL-net and meets the same contract with a grid of one cell: it tells whether, never where.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from avol.runtime.spec import ModelSpec
from avol.train.network.avol_net import AvolNet, FrameTower, Head

# The paper gives no starting values. Unrelated unit vectors are sqrt(2) apart: their logit starts at zero.
INITIAL_SHARPNESS = 3.0
UNRELATED_DISTANCE = math.sqrt(2.0)
SMALLEST_SQUARE = 1e-6  # keeps the gradient of a square root finite where two vectors meet, or one is zero


class PooledFrameTower(FrameTower):
    """Frames to one embedding vector each: uint8 ``N x H x W x 3`` RGB to float32 ``N x E x 1 x 1``."""

    def forward(self, frames: Tensor) -> Tensor:
        """Embed frames; the maximum over the grid forgets where, as in the audio tower."""
        grid: Tensor = self.embed(self.convs(self.scaled(frames)).amax(dim=(2, 3), keepdim=True))
        return grid


def unit_vectors(vectors: Tensor) -> Tensor:
    """Vectors along axis 1, divided by their L2 norm: in arithmetic that every runtime has."""
    return vectors * ((vectors * vectors).sum(dim=1, keepdim=True) + SMALLEST_SQUARE).rsqrt()


class DistanceHead(Head):
    """Euclidean distance of the L2-normalised vectors, one scale and one bias (paper, section 3).

    The normalisation stands here and not in the towers: the head is float32 in every precision. The paper's fully
    connected layer from the distance to two classes is, as a difference of its two logits, one scale and one bias.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(INITIAL_SHARPNESS))
        self.bias = nn.Parameter(torch.tensor(INITIAL_SHARPNESS * UNRELATED_DISTANCE))

    def forward(self, grid: Tensor, vector: Tensor) -> Tensor:
        """Logits of every cell: grids ``N x E x GH x GW`` and vectors ``N x E`` to ``N x GH x GW``."""
        cosines = torch.einsum("nehw,ne->nhw", unit_vectors(grid), unit_vectors(vector))
        return self._logits(cosines)

    def all_pairs(self, grid: Tensor, vector: Tensor) -> Tensor:
        """Logits of every frame with every sound: ``N x E x GH x GW`` and ``M x E`` to ``N x M x GH x GW``."""
        cosines = torch.einsum("nehw,me->nmhw", unit_vectors(grid), unit_vectors(vector))
        return self._logits(cosines)

    def _logits(self, cosines: Tensor) -> Tensor:
        # Of unit vectors, the squared distance is 2 - 2 cos.
        distances = (2.0 - 2.0 * cosines).clamp_min(SMALLEST_SQUARE).sqrt()
        return self.bias - self.scale * distances


class AveNet(AvolNet):
    """The whole network, from pixels and samples to one logit, as a map of one cell.

    Args:
        spec: sizes of inputs; the grid is 1 x 1.
        width: share of the full network's channels.
        convs_per_block: 2, or 1 for the half-depth network.
    """

    def __init__(self, spec: ModelSpec, *, width: float = 1.0, convs_per_block: int = 2) -> None:
        super().__init__(spec, width=width, convs_per_block=convs_per_block)
        channels = self.channels(width)
        self.frame_tower = PooledFrameTower(channels, convs_per_block, spec.embedding_size)
        self.head = DistanceHead()
