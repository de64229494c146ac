"""The models that figures are made of: a checkpoint, the folder of a run or of an exported model, or a preset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avol.runtime.model_folder import CHECKPOINT_FILE, SPEC_FILE, bundled_model_folder
from avol.runtime.spec import ModelSpec
from avol.train.checkpoint import load_checkpoint
from avol.train.evaluate import Localise
from avol.train.network import PRESETS, TwoTowerNetwork, build_network, preset_spec


def open_network(path: Path | None) -> TwoTowerNetwork:
    """The trained network of a checkpoint, or of a folder that holds one; the bundled one if None.

    Raises:
        AvolError: no readable checkpoint there.
    """
    path = bundled_model_folder() if path is None else path
    return load_checkpoint(path / CHECKPOINT_FILE if path.is_dir() else path)


def open_preset_or_network(name: str) -> tuple[TwoTowerNetwork, bool]:
    """The network of a preset, untrained, or a trained one; and whether it is trained.

    Raises:
        AvolError: neither a preset nor a readable checkpoint.
    """
    if name in PRESETS:
        return build_network(preset_spec(name)).eval(), False
    if "/" not in name and "." not in name and not Path(name).exists():
        preset_spec(name)  # says which presets there are
    return open_network(Path(name)), True


def open_localiser(path: Path | None) -> tuple[ModelSpec, Localise]:
    """A checkpoint runs in torch, an exported model without one in ONNX Runtime; calibrated maps either way.

    Raises:
        AvolError: no model there.
    """
    if path is not None and path.is_dir() and not (path / CHECKPOINT_FILE).exists() and (path / SPEC_FILE).exists():
        from avol.runtime.onnx_backend import OnnxBackend
        from avol.runtime.system import AvolNetSystem

        backend = OnnxBackend(path)
        return backend.spec, AvolNetSystem(backend).localise_samples
    network = open_network(path)
    return network.spec, lambda frames, samples: localise(network, frames, samples)


@torch.no_grad()
def localise(network: TwoTowerNetwork, frames: NDArray[np.uint8], samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Calibrated maps of pairs: ``N x H x W x 3`` and ``N x clip_samples`` to ``N x GH x GW``."""
    calibration = network.spec.calibration
    logits = network(torch.from_numpy(frames), torch.from_numpy(samples))
    return np.asarray(torch.sigmoid(logits * calibration.scale + calibration.bias), dtype=np.float32)
