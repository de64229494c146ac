"""Towers whose convolutions compute in eight bits, with explicit quantisation."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.ao.quantization.fx import _decomposed as _  # noqa: F401 (registers the operators of QuantisedConv)

from avol.export.ranges import LARGEST_INT8, LARGEST_UINT8, MIDDLE_UINT8
from avol.export.towers import FoldedConv, constant, folded_weight, is_conv, stride_and_padding
from avol.runtime.errors import AvolError
from avol.train.network.towers import ResidualBlock

INPUT = "input"  # the key of the range of what goes into a tower's first convolution


@dataclass(frozen=True)
class Levels:
    """How eight bits hold the values of a tensor: ``(level - zero) * scale`` for the levels 0..255.

    Attributes:
        scale: step between two levels.
        zero: the level of 0: in the middle for a tensor of both signs, the lowest one behind a ReLU.
    """

    scale: float
    zero: int

    @classmethod
    def of(cls, magnitude: float, *, is_rectified: bool) -> Levels:
        """The levels for values up to a magnitude, of both signs or behind a ReLU."""
        if is_rectified:
            return cls(magnitude / LARGEST_UINT8, 0)
        return cls(magnitude / LARGEST_INT8, MIDDLE_UINT8)

    def pass_through(self, values: Tensor) -> Tensor:
        """What is left of values, as an explicit Q/DQ pair."""
        limits = (self.scale, self.zero, 0, LARGEST_UINT8, torch.uint8)
        operators = torch.ops.quantized_decomposed
        result: Tensor = operators.dequantize_per_tensor(operators.quantize_per_tensor(values, *limits), *limits)
        return result


class QuantisedConv(nn.Module):
    """A convolution, with its ReLU if it has one, whose input, weights and output pass through eight bits.

    Weights are symmetric, per output channel, the bias is in float32; what passes from layer to layer is unsigned. The
    Q/DQ pairs are explicit, and two follow each other: the one on the output and the next convolution's on its input,
    of the same levels, which changes no value. ONNX Runtime's CPU provider fuses a convolution only where both its
    sides are quantised (measured: three times as fast, otherwise half as fast as in float32), and its ReLU only where
    the lowest level is zero (a fifth of the time). TensorRT wants neither; see ``engines_graph``.

    Args:
        conv: a :class:`FoldedConv` or a plain convolution.
        input_levels: of the tensor that it takes.
        output_levels: of the tensor that it gives.
        is_rectified: whether a ReLU belongs to it.
    """

    def __init__(
        self, conv: FoldedConv | nn.Conv2d, *, input_levels: Levels, output_levels: Levels, is_rectified: bool
    ) -> None:
        super().__init__()
        weight, bias = folded_weight(conv)
        magnitude = weight.abs().amax(dim=(1, 2, 3)).clamp_min(torch.finfo(torch.float32).tiny * LARGEST_INT8)
        scale = magnitude / LARGEST_INT8
        self.weight = constant(torch.round(weight / scale.reshape(-1, 1, 1, 1)).to(torch.int8))
        self.weight_scale, self.bias = constant(scale), constant(bias)
        self.weight_zero = constant(torch.zeros(len(scale), dtype=torch.int8))
        self.stride, self.padding = stride_and_padding(conv)
        self.input_levels, self.output_levels, self.is_rectified = input_levels, output_levels, is_rectified

    def forward(self, inputs: Tensor) -> Tensor:
        """Convolve what eight bits hold of the input with what they hold of the weights."""
        lowest = -LARGEST_INT8 - 1
        weight = torch.ops.quantized_decomposed.dequantize_per_channel(
            self.weight, self.weight_scale, self.weight_zero, 0, lowest, LARGEST_INT8, torch.int8
        )
        held = self.input_levels.pass_through(inputs)
        outputs = F.conv2d(held, weight, self.bias, self.stride, self.padding)
        return self.output_levels.pass_through(F.relu(outputs) if self.is_rectified else outputs)


def quantised_tower(folded: nn.Module, ranges: Mapping[str, float]) -> nn.Module:
    """A copy of a folded tower whose convolutions compute in eight bits.

    A frame tower's last convolution stays in float32: it gives the vectors that are held against the sound's, and is
    small.

    Args:
        folded: with convolutions in ``convs`` and, possibly, ``embed``.
        ranges: largest magnitudes by :func:`range_names`.

    Raises:
        AvolError: the ranges are those of another tower.
    """
    tower = copy.deepcopy(folded)
    names = range_names(folded)
    if sorted(ranges) != sorted(names):
        raise AvolError(f"calibration ranges: for {len(ranges)} tensors, this tower has {len(names)}; calibrate anew.")
    steps, sums = eight_bit_path(tower)
    rectified = {step.output_name for step in steps if step.is_rectified} | sums.keys()
    levels = {name: Levels.of(magnitude, is_rectified=name in rectified) for name, magnitude in ranges.items()}
    for step in steps:
        step.sequence[step.position] = QuantisedConv(
            step.conv,
            input_levels=levels[step.input_name],
            output_levels=levels[step.output_name],
            is_rectified=step.is_rectified,
        )
        if step.is_rectified:
            step.sequence[step.position + 1] = nn.Identity()
    return tower


@dataclass(frozen=True)
class EightBitConv:
    """A convolution on the eight-bit path of a tower.

    Attributes:
        sequence, position: where it is.
        conv: itself.
        input_name, output_name: of the tensors it takes and gives.
        is_rectified: whether a ReLU follows, so that only what is positive of its output counts.
    """

    sequence: nn.Sequential
    position: int
    conv: FoldedConv | nn.Conv2d
    input_name: str
    output_name: str
    is_rectified: bool


def eight_bit_path(folded: nn.Module) -> tuple[list[EightBitConv], dict[str, ResidualBlock]]:
    """The convolutions of a folded tower that compute in eight bits, in order, and its sums by name.

    These are all but a frame tower's last one.
    """
    steps: list[EightBitConv] = []
    sums: dict[str, ResidualBlock] = {}

    def walk(sequence: nn.Sequential, current: str, *, is_embedding: bool = False) -> str:
        for position, layer in enumerate(sequence):
            if is_conv(layer):
                behind = sequence[position + 1] if position + 1 < len(sequence) else None
                is_rectified = isinstance(behind, nn.ReLU)
                if is_embedding and not is_rectified:
                    return current
                name = f"conv{len(steps) + 1}"
                steps.append(EightBitConv(sequence, position, layer, current, name, is_rectified))
                current = name
            elif isinstance(layer, ResidualBlock):
                walk(layer.main, current)
                walk(layer.shortcut, current)
                current = f"sum{len(sums) + 1}"
                sums[current] = layer
        return current

    current = walk(folded.convs, INPUT)  # type: ignore[arg-type]
    walk(folded.embed, current, is_embedding=True)  # type: ignore[arg-type]
    return steps, sums


def range_names(folded: nn.Module) -> list[str]:
    """The tensors of a folded tower that pass through eight bits: the input, behind each convolution, and each sum."""
    steps, sums = eight_bit_path(folded)
    taken = {step.input_name for step in steps}
    return [INPUT, *(step.output_name for step in steps), *(name for name in sums if name in taken)]
