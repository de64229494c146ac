"""A checkpoint's towers in torch, and which of its layers gives the vector of a sound."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avol.runtime.embedder import BATCH, Embedder
from avol.runtime.model_folder import CHECKPOINT_FILE
from avol.train.checkpoint import load_checkpoint
from avol.train.network import TwoTowerNetwork

LAYERS = ("embedding", "pooled")


def sound_vectors(network: TwoTowerNetwork, samples: Tensor, layer: str = "embedding") -> Tensor:
    """Vectors of windows of sound.

    Args:
        network: in evaluation mode.
        samples: float32 ``N x clip_samples`` in -1..1.
        layer: ``embedding``, what the other tower is compared with; ``pooled``, the maximum of the last convolution's
            channels over time and pitch, which the embedding is made of.

    Returns:
        float32 ``N x E``, or ``N x channels``.
    """
    if layer not in LAYERS:
        raise ValueError(f"layer is {layer!r}, allowed are {', '.join(LAYERS)}")
    columns = network.spectrogram(samples)
    vectors: Tensor = (
        network.audio_tower.pooled_features(columns) if layer == "pooled" else network.audio_tower(columns)
    )
    return vectors


@torch.no_grad()
def sound_arrays(
    network: TwoTowerNetwork, samples: NDArray[np.float32], layer: str = "embedding"
) -> NDArray[np.float32]:
    """:func:`sound_vectors` of arrays, in batches that any memory holds."""
    parts = [samples[start : start + BATCH] for start in range(0, len(samples), BATCH)]
    return np.concatenate([sound_vectors(network, torch.from_numpy(part), layer).numpy() for part in parts])


def open_checkpoint_embedder(path: Path, layer: str = "embedding") -> Embedder:
    """The towers of a checkpoint, or of the one in the folder of a run, in float32 on the CPU.

    Args:
        path: of the checkpoint.
        layer: of the audio tower, of :data:`LAYERS`.

    Raises:
        AvolError: no readable checkpoint there.
    """
    in_folder = os.path.isdir(path)  # noqa: PTH112 (never raises, however long the name is)
    network = load_checkpoint(path / CHECKPOINT_FILE if in_folder else path)

    @torch.no_grad()
    def frames(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = network.frame_tower(torch.from_numpy(pixels)).mean(dim=(2, 3)).numpy()
        return vectors

    return Embedder(
        spec=network.spec,
        backend="torch-cpu",
        precision="fp32",
        sounds=lambda samples: sound_arrays(network, samples, layer),
        frames=frames,
    )
