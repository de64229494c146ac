"""Hold exported graphs against the network they came from."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from avol.runtime.backends.contract import TENSORS
from avol.runtime.errors import AvolError
from avol.runtime.spec import ModelSpec
from avol.train.checkpoint import load_checkpoint
from avol.train.network import TwoTowerNetwork

LARGEST_DIFFERENCE = 1e-4  # of outputs whose magnitude is of the order of one to ten
BATCH = 3  # not the size that was traced


def compare_with_network(checkpoint: Path, folder: Path, *, seed: int = 0) -> dict[str, float]:
    """Largest difference of every float32 graph in ``folder`` to the network in torch, on drawn pictures and sounds.

    Args:
        checkpoint: what the graphs were exported from.
        folder: holds ``<role>.onnx`` files.
        seed: of the inputs.

    Returns:
        Role to the largest absolute difference over all outputs, relative to the outputs' magnitude where that
        exceeds one.
    """
    # Other files there are another's, or of another precision, which compare.py holds to what that loses.
    graphs = {role: path for role in TENSORS if (path := folder / f"{role}.onnx").is_file()}
    return largest_differences(load_checkpoint(checkpoint), graphs, seed=seed)


def largest_differences(
    network: TwoTowerNetwork, graphs: Mapping[str, Path | bytes], *, seed: int = 0
) -> dict[str, float]:
    """The same of float32 graphs by role: files, or serialised."""
    network = round_convolutions(network)
    inputs = example_inputs(network, network.spec, seed=seed)
    differences = {}
    for role, graph in graphs.items():
        session = onnxruntime.InferenceSession(
            str(graph) if isinstance(graph, Path) else graph, providers=["CPUExecutionProvider"]
        )
        wanted = {tensor.name: inputs[tensor.name] for tensor in session.get_inputs()}
        tensors = {name: torch.from_numpy(value) for name, value in wanted.items()}
        with torch.no_grad():
            expected = [value.numpy() for value in _run_network(network, role, tensors)]
        differences[role] = _largest_difference(session.run(None, wanted), expected)
    return differences


def require_equal(network: TwoTowerNetwork, graphs: Mapping[str, bytes]) -> None:
    """See to it that float32 graphs compute what the network computes.

    Args:
        network: that they were traced from.
        graphs: serialised, by role.

    Raises:
        AvolError: one differs by more than :data:`LARGEST_DIFFERENCE`, or gives what is no number.
    """
    differences = largest_differences(network, graphs)
    if wrong := [f"{role}.onnx" for role, value in differences.items() if not value <= LARGEST_DIFFERENCE]:
        raise AvolError(
            f"{network.spec.name}: {', '.join(wrong)} would differ from the network; nothing is written. If the "
            "weights are numbers, report this as a bug."
        )


def round_convolutions(network: TwoTowerNetwork) -> TwoTowerNetwork:
    """The network with convolution weights as half precision holds them, which is how graphs and checkpoints ship."""
    rounded = copy.deepcopy(network)
    for tower in (rounded.frame_tower, rounded.audio_tower):
        for layer in tower.modules():
            if isinstance(layer, nn.Conv2d) and layer.bias is None:  # a batch norm follows
                layer.weight.data = layer.weight.data.half().float()
    return rounded


def _run_network(network: TwoTowerNetwork, role: str, tensors: dict[str, Tensor]) -> list[Tensor]:
    """What a graph should give, from the network as it was trained: batch norms and all."""
    calibration = network.spec.calibration
    if role == "spectrogram":
        return [network.spectrogram(tensors["samples"])]
    if role == "audio":
        return [network.audio_tower(tensors["columns"])]
    if role == "waveform-audio":
        return [network.audio_tower(network.spectrogram(tensors["samples"]))]
    if role == "frame":
        return [network.frame_tower(tensors["frames"])]
    logits = network(**tensors) if role == "pair" else network.head(**tensors)
    probabilities = torch.sigmoid(logits * calibration.scale + calibration.bias)
    return [probabilities, probabilities.amax(dim=(1, 2))]


def example_inputs(network: TwoTowerNetwork, spec: ModelSpec, *, seed: int) -> dict[str, NDArray[Any]]:
    """A value for every tensor that a graph takes: noise pictures, tones in noise, and what the towers make of them."""
    rng = np.random.default_rng(seed)
    sound = spec.spectrogram
    times = np.arange(sound.clip_samples) / sound.sample_rate_hz
    tones = 0.3 * np.sin(2 * np.pi * rng.uniform(100, 4000, size=(BATCH, 1)) * times)
    inputs: dict[str, NDArray[Any]] = {
        "frames": rng.integers(0, 256, (BATCH, spec.frame_height, spec.frame_width, 3), dtype=np.uint8),
        "samples": (tones + 0.02 * rng.standard_normal(tones.shape)).astype(np.float32),
    }
    with torch.no_grad():
        columns = network.spectrogram(torch.from_numpy(inputs["samples"]))
        inputs["columns"] = columns.numpy()
        inputs["grid"] = network.frame_tower(torch.from_numpy(inputs["frames"])).numpy()
        inputs["vector"] = network.audio_tower(columns).numpy()
    return inputs


def _largest_difference(found: list[NDArray[Any]], expected: list[NDArray[Any]]) -> float:
    return max(float(np.abs(a - b).max() / max(1.0, np.abs(b).max())) for a, b in zip(found, expected, strict=True))
