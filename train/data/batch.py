"""What one training step sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tables = tuple[NDArray[np.bool_], NDArray[np.bool_]]  # matches, known


@dataclass(frozen=True)
class Batch:
    """``N`` pictures, ``M`` sounds.

    Attributes:
        frames: uint8 ``N x H x W x 3``.
        samples: float32 ``M x clip_samples``.
        matches: bool ``N x M``, the sound has its source in the picture.
        known: bool ``N x M``, False for pairs that look or sound too alike to be held against each other.
        seen: the same two tables, bool ``N x C``, of the pictures with every class of sound.
        heard: the same two tables, bool ``M x C``, of the sounds with every class.
    """

    frames: NDArray[np.uint8]
    samples: NDArray[np.float32]
    matches: NDArray[np.bool_]
    known: NDArray[np.bool_]
    seen: Tables
    heard: Tables
