"""What a network costs: parameters and arithmetic, counted on the modules as they run."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from avol.train.network.two_towers import TwoTowerNetwork


def count_parameters(network: nn.Module) -> int:
    """Numbers that are stored, learnt or not; no statistics of batch norms."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_multiply_adds(network: TwoTowerNetwork) -> int:
    """Multiply-adds of one pair in convolutions and fully connected layers, and of a head without any.

    The spectrogram is left out, as is what takes no multiplications by weights.
    """
    total = 0

    def note(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += _multiply_adds(module, tuple(output.shape[1:]))

    kinds = (nn.Conv2d, nn.Linear)
    parts = (network.frame_tower, network.audio_tower, network.head)
    hooks = [m.register_forward_hook(note) for part in parts for m in part.modules() if isinstance(m, kinds)]
    spec, training = network.spec, network.training
    network.eval()
    try:
        with torch.no_grad():
            network(
                torch.zeros(1, spec.frame_height, spec.frame_width, 3, dtype=torch.uint8),
                torch.zeros(1, spec.spectrogram.clip_samples),
            )
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    # Where the vectors meet, every cell takes one product for each of their numbers.
    return total + spec.grid_height * spec.grid_width * spec.embedding_size


def _multiply_adds(module: nn.Module, output: tuple[int, ...]) -> int:
    if isinstance(module, nn.Linear):
        return math.prod(output) * module.in_features
    assert isinstance(module, nn.Conv2d)
    return math.prod(output) * module.in_channels // module.groups * math.prod(module.kernel_size)
