"""Where the two towers meet: heads take a grid and a vector, and give the logit of every cell.

The logit of a pair of frame and sound is the largest of its map, in every system: what trains, exports, calibrates and
runs one of them does so with all of them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

INITIAL_SCALE = 0.1  # small and positive: the map starts flat and points the right way
# Unrelated unit vectors are sqrt(2) apart: the logit of their distance starts at zero.
INITIAL_SHARPNESS = 3.0
UNRELATED_DISTANCE = math.sqrt(2.0)
SMALLEST_SQUARE = 1e-6  # keeps the gradient of a square root finite where two vectors meet, or one is zero


class Head(nn.Module):
    """What all heads offer."""

    def forward(self, grid: Tensor, vector: Tensor) -> Tensor:
        """Logits of every cell: grids ``N x E x GH x GW`` and vectors ``N x E`` to ``N x GH x GW``."""
        raise NotImplementedError

    def all_pairs(self, grid: Tensor, vector: Tensor) -> Tensor:
        """Logits of every frame with every sound: ``N x E x GH x GW`` and ``M x E`` to ``N x M x GH x GW``."""
        raise NotImplementedError


class ScalarProductHead(Head):
    """Scalar product with every cell, one scale and one bias.

    Source: Arandjelović & Zisserman, *Objects that Sound*, ECCV 2018 (arXiv 1712.06651), section 4.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(INITIAL_SCALE))
        self.bias = nn.Parameter(torch.tensor(0.0))

    def forward(self, grid: Tensor, vector: Tensor) -> Tensor:
        """See :class:`Head`."""
        return torch.einsum("nehw,ne->nhw", grid, vector) * self.scale + self.bias

    def all_pairs(self, grid: Tensor, vector: Tensor) -> Tensor:
        """See :class:`Head`."""
        return torch.einsum("nehw,me->nmhw", grid, vector) * self.scale + self.bias


def unit_vectors(vectors: Tensor) -> Tensor:
    """Vectors along axis 1, divided by their L2 norm: in arithmetic that every runtime has."""
    return vectors * ((vectors * vectors).sum(dim=1, keepdim=True) + SMALLEST_SQUARE).rsqrt()


def unit_distances(cosines: Tensor) -> Tensor:
    """Euclidean distances of unit vectors from their scalar products: the squared distance is 2 - 2 cos."""
    return (2.0 - 2.0 * cosines).clamp_min(SMALLEST_SQUARE).sqrt()


class CosineHead(Head):
    """A function of the cosine between each cell's vector and the sound's.

    The normalisation stands here and not in the towers: the head is float32 in every precision.
    """

    def forward(self, grid: Tensor, vector: Tensor) -> Tensor:
        """See :class:`Head`."""
        return self.logits(torch.einsum("nehw,ne->nhw", unit_vectors(grid), unit_vectors(vector)))

    def all_pairs(self, grid: Tensor, vector: Tensor) -> Tensor:
        """See :class:`Head`."""
        return self.logits(torch.einsum("nehw,me->nmhw", unit_vectors(grid), unit_vectors(vector)))

    def logits(self, cosines: Tensor) -> Tensor:
        """Cosines to logits, element by element."""
        raise NotImplementedError
