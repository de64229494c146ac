"""The layers of a network as they really are: their shapes come from one pass through them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from avol.runtime.errors import AvolError
from avol.runtime.spec import WAVEFORM
from avol.train.network import TwoTowerNetwork
from avol.train.network.cost import count_multiply_adds, count_parameters
from avol.train.network.towers import ResidualBlock

Shape = tuple[int, ...]  # channels, height, width; or the length of a vector


@dataclass(frozen=True)
class Layer:
    """One layer with the norm and the activation that follow it, which change no shape.

    Attributes:
        kind: ``conv``, ``max pool``, ``residual``, ``linear`` or ``global max``.
        kernel, stride, padding: of a window of the layer's input; 1, 1 and 0 where there is none.
        input_shape, output_shape: without the batch.
    """

    kind: str
    kernel: int
    stride: int
    padding: int
    input_shape: Shape
    output_shape: Shape


@dataclass(frozen=True)
class TracedNetwork:
    """Both towers, layer by layer, and where they meet; multiply-adds are those of one pair."""

    frame_input: Shape
    frame_layers: list[Layer]
    audio_input: Shape
    audio_layers: list[Layer]
    map_shape: Shape
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class ReceptiveField:
    """What a cell of the grid can see: ``size`` pixels, cell 0 from pixel ``first`` on, each next ``stride`` further.

    ``first`` is negative: towards the edges a cell sees the padding.
    """

    size: int
    stride: int
    first: int

    def span(self, cell: int) -> tuple[int, int]:
        """First pixel and the one after the last that a cell sees, along one side."""
        start = self.first + cell * self.stride
        return start, start + self.size


def trace_network(network: TwoTowerNetwork) -> TracedNetwork:
    """Send one frame and one window of silence through the network and note every layer.

    Raises:
        AvolError: it hears the waveform, which no drawing to scale can show.
    """
    spec = network.spec
    if spec.spectrogram.kind == WAVEFORM:
        raise AvolError(f"{spec.preset}: hears the waveform, 16,000 samples long and one high; draw another network.")
    training = network.training
    network.eval()
    frames = torch.zeros(1, spec.frame_height, spec.frame_width, 3, dtype=torch.uint8)
    samples = torch.zeros(1, spec.spectrogram.clip_samples)
    with torch.no_grad():
        columns = network.spectrogram(samples)
        frame_layers, grid = _trace(network.frame_tower, frames)
        audio_layers, vector = _trace(network.audio_tower, columns)
        cells = network.head(grid, vector)
    network.train(training)
    return TracedNetwork(
        frame_input=(3, spec.frame_height, spec.frame_width),
        frame_layers=frame_layers,
        audio_input=(1, *columns.shape[1:]),
        audio_layers=audio_layers,
        map_shape=tuple(cells.shape[1:]),
        parameters=count_parameters(network),
        multiply_adds=count_multiply_adds(network),
    )


def receptive_field(layers: list[Layer]) -> ReceptiveField:
    """What one output of a stack of windowed layers sees of its input, from kernels, strides and paddings.

    A global maximum sees what all of its cells see.
    """
    size, stride, first = 1, 1, 0
    for layer in layers:
        if layer.kind == "global max":
            size += (layer.input_shape[1] - 1) * stride
        first -= layer.padding * stride
        size += (layer.kernel - 1) * stride
        stride *= layer.stride
    return ReceptiveField(size, stride, first)


def _trace(tower: nn.Module, inputs: Tensor) -> tuple[list[Layer], Tensor]:
    layers: list[Layer] = []

    def note(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        before, after = tuple(given[0].shape[1:]), tuple(output.shape[1:])
        if layers and layers[-1].output_shape != before:
            # The audio tower takes the maximum over rows and columns between two modules.
            layers.append(Layer("global max", 1, 1, 0, layers[-1].output_shape, before))
        layers.append(_layer(module, before, after))

    kinds = (nn.Conv2d, nn.MaxPool2d, nn.Linear, ResidualBlock)
    parts = [*tower.convs, *tower.embed]  # type: ignore[misc]
    hooks = [module.register_forward_hook(note) for module in parts if isinstance(module, kinds)]
    try:
        output: Tensor = tower(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    last, found = layers[-1].output_shape, tuple(output.shape[1:])
    if last != found and last[0] == found[0]:
        layers.append(Layer("global max", 1, 1, 0, layers[-1].output_shape, found))
    return layers, output


def _layer(module: nn.Module, before: Shape, after: Shape) -> Layer:
    if isinstance(module, nn.Linear):
        return Layer("linear", 1, 1, 0, before, after)
    if isinstance(module, ResidualBlock):
        # Two 3x3 convolutions, of which the first may have a stride.
        stride = _side(module.main[0].stride)
        return Layer("residual", 3 + 2 * stride, stride, 1 + stride, before, after)
    kernel, stride, padding = (_side(getattr(module, name)) for name in ("kernel_size", "stride", "padding"))
    kind = "conv" if isinstance(module, nn.Conv2d) else "max pool"
    return Layer(kind, kernel, stride, padding, before, after)


def _side(value: Any) -> int:  # noqa: ANN401 (torch gives a number or a pair)
    """A size that is the same for height and width."""
    sides = {int(side) for side in value} if isinstance(value, tuple) else {int(value)}
    if len(sides) != 1:
        raise ValueError(f"the sides {value} of a layer's window differ")
    return sides.pop()
