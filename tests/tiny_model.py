"""A network small enough to trace in no time, with statistics of the size that training gives, and clips for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from avol.export.moments import Moments
from avol.runtime.spec import Calibration, ModelSpec
from avol.train.checkpoint import save_checkpoint
from avol.train.network import PRESETS, TwoTowerNetwork, build_network, preset_spec

PRESET = "tiny-for-tests"


@contextmanager
def tiny_preset() -> Iterator[None]:
    """While it lasts, there is a preset with an eighth of the channels and one convolution per block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, PRESET, replace(PRESETS["avol-128"], width=1 / 8, convs_per_block=1))
        yield


def tiny_network(seed: int = 0) -> TwoTowerNetwork:
    """An untrained network whose scores reach its threshold for about half of :func:`example_moments`."""
    torch.manual_seed(seed)
    network = build_network(preset_spec(PRESET))
    moments = example_moments(network.spec, 8, seed=seed)
    frames, samples = torch.from_numpy(moments.frames), torch.from_numpy(moments.own)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
        for tower in (network.frame_tower, network.audio_tower):
            last = tower.embed[-1]
            assert isinstance(last, torch.nn.Conv2d | torch.nn.Linear)
            last.weight.mul_(8)
        network.train()
        for _ in range(3):
            network(frames, samples)
        network.eval()
        network.head.scale.fill_(0.5)
        network.head.bias.fill_(float(-network(frames, samples).amax(dim=(1, 2)).median()))
    return network


def save_tiny(folder: Path, *, calibration: Calibration | None = None) -> Path:
    """A half-precision checkpoint of the tiny network."""
    network = tiny_network()
    spec = replace(network.spec, name="tiny", calibration=calibration or Calibration())
    save_checkpoint(network, spec, folder / "checkpoint.safetensors", half=True)
    return folder / "checkpoint.safetensors"


def example_moments(spec: ModelSpec, count: int, *, seed: int = 0, foreign: bool = True) -> Moments:
    """Pictures with large and small structure, tones in noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 8, 8, 3)).repeat(spec.frame_height // 8, 1).repeat(spec.frame_width // 8, 2)
    frames = np.clip(coarse + rng.integers(-20, 21, coarse.shape), 0, 255).astype(np.uint8)
    return Moments(frames, _tones(rng, spec, count), _tones(rng, spec, count) if foreign else None, f"{count} drawn")


def _tones(rng: np.random.Generator, spec: ModelSpec, count: int) -> NDArray[np.float32]:
    times = np.arange(spec.spectrogram.clip_samples) / spec.spectrogram.sample_rate_hz
    tones = 0.3 * np.sin(2 * np.pi * rng.uniform(100, 4000, (count, 1)) * times)
    return (tones + 0.02 * rng.standard_normal(tones.shape)).astype(np.float32)
