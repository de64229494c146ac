"""Hold exported graphs against the network they came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from avol.export.modules import model_graphs
from avol.runtime.spec import ModelSpec
from avol.train.checkpoint import load_checkpoint
from avol.train.network import AvolNet

LARGEST_DIFFERENCE = 1e-4  # of outputs whose magnitude is of the order of one to ten
BATCH = 3  # not the size that was traced


def compare_with_network(checkpoint: Path, folder: Path, *, seed: int = 0) -> dict[str, float]:
    """Largest difference of every graph in ``folder`` to its torch module, on drawn pictures and sounds.

    Args:
        checkpoint: what the graphs were exported from.
        folder: holds ``<role>.onnx`` files; missing ones are passed over.
        seed: of the inputs.

    Returns:
        Role to the largest absolute difference over all outputs, relative to the outputs' magnitude where that
        exceeds one.
    """
    network = load_checkpoint(checkpoint)
    inputs = example_inputs(network, network.spec, seed=seed)
    differences = {}
    for graph in model_graphs(network, network.spec):
        path = folder / f"{graph.role}.onnx"
        if path.is_file():
            wanted = {name: inputs[name] for name in graph.inputs}
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            differences[graph.role] = _largest_difference(session.run(None, wanted), _run_torch(graph.module, wanted))
    return differences


def example_inputs(network: AvolNet, spec: ModelSpec, *, seed: int) -> dict[str, NDArray[Any]]:
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


def _run_torch(module: nn.Module, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    with torch.no_grad():
        outputs = module(*(torch.from_numpy(value) for value in inputs.values()))
    return [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]


def _largest_difference(found: list[NDArray[Any]], expected: list[NDArray[Any]]) -> float:
    return max(float(np.abs(a - b).max() / max(1.0, np.abs(b).max())) for a, b in zip(found, expected, strict=True))
