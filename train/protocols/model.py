"""The model under test, whatever runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avol.runtime.errors import AvolError
from avol.runtime.model_folder import CHECKPOINT_FILE, is_exported
from avol.runtime.spec import ModelSpec

BATCH = 32

Frames = NDArray[np.uint8]
Samples = NDArray[np.float32]
Maps = NDArray[np.float32]
Scores = NDArray[np.float32]


@dataclass(frozen=True)
class OpenModel:
    """A model that answers.

    Attributes:
        spec: of the model.
        localise: frames uint8 ``N x H x W x 3`` and samples float32 ``N x clip_samples`` to calibrated maps, float32
            ``N x GH x GW``.
        all_scores: ``N`` frames and ``M`` sounds to the scores of all their pairs, float32 ``N x M``; None where a
            system would have to run each of them.
    """

    spec: ModelSpec
    localise: Callable[[Frames, Samples], Maps]
    all_scores: Callable[[Frames, Samples], Scores] | None = None

    def maps(self, frames: Frames, windows: Samples | NDArray[np.int16]) -> Maps:
        """:attr:`localise` in batches; int16 windows become float32 batch by batch, as all would fill the memory."""
        starts = range(0, len(frames), BATCH)
        parts = [self.localise(frames[s : s + BATCH], as_floats(windows[s : s + BATCH])) for s in starts]
        return np.concatenate(parts)


def as_floats(windows: Samples | NDArray[np.int16]) -> Samples:
    """Windows as models take them, float32 in -1..1."""
    if windows.dtype == np.int16:
        return np.asarray(windows, np.float32) / np.float32(32767)
    return np.asarray(windows, np.float32)


def open_model(path: Path, precision: str = "fp32") -> OpenModel:
    """Open an exported model in ONNX Runtime, a checkpoint (or the folder of a run) in torch.

    Args:
        path: of the model.
        precision: which graphs of an exported model; a checkpoint has float32 alone.

    Raises:
        AvolError: no model there, or none of this precision.
    """
    if is_exported(path):
        return _open_exported(path, precision)
    if precision != "fp32":
        raise AvolError(f"{path}: a checkpoint computes in fp32; name the folder of an exported model for {precision}.")
    return _open_checkpoint(path / CHECKPOINT_FILE if path.is_dir() else path)


def _open_exported(folder: Path, precision: str) -> OpenModel:
    from avol.runtime.onnx_backend import OnnxBackend
    from avol.runtime.system import AvolNetSystem

    system = AvolNetSystem(OnnxBackend(folder, precision=precision))
    infer = system.backend.infer

    def all_scores(frames: Frames, samples: Samples) -> Scores:
        starts = range(0, len(frames), BATCH)
        grids = np.concatenate([infer("frame", frames=frames[s : s + BATCH])[0] for s in starts])
        columns = np.concatenate([infer("spectrogram", samples=s[None])[0] for s in samples])
        vectors = np.concatenate(
            [infer("audio", columns=columns[s : s + BATCH])[0] for s in range(0, len(columns), BATCH)]
        )
        scores = [infer("head", grid=grids, vector=np.tile(vector, (len(grids), 1)))[1] for vector in vectors]
        return np.stack(scores, axis=1)

    return OpenModel(system.spec, system.localise_samples, all_scores)


def _open_checkpoint(path: Path) -> OpenModel:
    import torch

    from avol.train.checkpoint import load_checkpoint

    network = load_checkpoint(path)
    calibration = network.spec.calibration

    def probabilities(logits: torch.Tensor) -> NDArray[np.float32]:
        return np.asarray(torch.sigmoid(logits * calibration.scale + calibration.bias), dtype=np.float32)

    @torch.no_grad()
    def localise(frames: Frames, samples: Samples) -> Maps:
        return probabilities(network(torch.from_numpy(frames), torch.from_numpy(samples)))

    @torch.no_grad()
    def all_scores(frames: Frames, samples: Samples) -> Scores:
        starts = range(0, len(frames), BATCH)
        grids = torch.cat([network.frame_tower(torch.from_numpy(frames[s : s + BATCH])) for s in starts])
        vectors = torch.cat(
            [
                network.audio_tower(network.spectrogram(torch.from_numpy(samples[s : s + BATCH])))
                for s in range(0, len(samples), BATCH)
            ]
        )
        # Sound by sound: all maps of all pairs at once would not fit.
        best = [network.head(grids, vector.expand(len(grids), -1)).amax(dim=(1, 2)) for vector in vectors]
        return probabilities(torch.stack(best, dim=1))

    return OpenModel(network.spec, localise, all_scores)
