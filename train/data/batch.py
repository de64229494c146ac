"""What one training step sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Tables = tuple[NDArray[np.bool_], NDArray[np.bool_]]  # matches, known
TensorTables = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Batch:
    """``N`` pictures, ``M`` sounds, as drawn.

    Attributes:
        frames: uint8 ``N x H x W x 3``.
        samples: float32 ``M x clip_samples``.
        matches: bool ``N x M``, the sound has its source in the picture.
        known: bool ``N x M``, False for pairs that look or sound too alike to be held against each other.
        seen: the same two tables, bool ``N x C``, of the pictures with every class of sound.
        heard: the same two tables, bool ``M x C``, of the sounds with every class.
        located: int64 ``N``, a sound whose source is known to be in ``sources`` (-1: no such sound).
        sources: float32 ``N x GH x GW``, share of each cell that the source covers.
    """

    frames: NDArray[np.uint8]
    samples: NDArray[np.float32]
    matches: NDArray[np.bool_]
    known: NDArray[np.bool_]
    seen: Tables
    heard: Tables
    located: NDArray[np.int64] | None = None
    sources: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class TensorBatch:
    """The same on the device that learns; without tables of classes where the data has none.

    Attributes:
        quarters: int64 ``N``, of a batch that asks where the source of sound ``n`` is in the four pictures that make up
            picture ``n``: 0..3, row by row.
    """

    frames: Tensor
    samples: Tensor
    matches: Tensor
    known: Tensor
    seen: TensorTables | None = None
    heard: TensorTables | None = None
    quarters: Tensor | None = None
    located: Tensor | None = None
    sources: Tensor | None = None


# The batch of a step. It depends on the step alone, so that a run that was cut off goes on as if it had not been.
BatchAt = Callable[[int], TensorBatch]


def to_device(batch: Batch, device: torch.device) -> TensorBatch:
    """Copy a drawn batch to where it is learnt from."""

    def moved(array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(device, non_blocking=True)

    seen, heard = ((moved(matches), moved(known)) for matches, known in (batch.seen, batch.heard))
    located, sources = (None if array is None else moved(array) for array in (batch.located, batch.sources))
    return TensorBatch(
        frames=moved(batch.frames),
        samples=moved(batch.samples),
        matches=moved(batch.matches),
        known=moved(batch.known),
        seen=seen,
        heard=heard,
        located=located,
        sources=sources,
    )


def seeded(draw: Callable[[np.random.Generator], Batch], seed: int, device: torch.device) -> BatchAt:
    """Batches whose chance comes from the seed and the number of the step."""
    return lambda step: to_device(draw(np.random.default_rng([seed, step])), device)
