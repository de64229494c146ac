"""Towers as devices compute them: batch norms folded, and if wanted in half precision or with eight-bit convolutions.

All of them are modules that torch can run, composed into graphs like the tower they came from: there is no converter
that sees only the finished graph.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.ao.quantization.fx import _decomposed as _  # noqa: F401 (registers the operators of QuantisedConv)

from avol.runtime.errors import AvolError
from avol.train.network.towers import ResidualBlock

LARGEST_INT8 = 127  # -128 stays unused: symmetric, as TensorRT demands
INPUT = "input"  # the key of the range of what goes into a tower's first convolution


class FoldedConv(nn.Module):
    """A convolution with its batch norm folded in, the trained weights kept in half precision.

    Folding before rounding would round twice; the product of half-precision weight and float32 scale is computed when
    the graph is loaded, and loses nothing against the shipped checkpoint.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.running_var is not None
        assert norm.running_mean is not None
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        self.weight = _constant(conv.weight.half())
        self.scale = _constant(scale.reshape(-1, 1, 1, 1))
        self.bias = _constant(norm.bias - norm.running_mean * scale)
        self.stride, self.padding = _stride_and_padding(conv)

    def forward(self, inputs: Tensor) -> Tensor:
        """Convolve in float32."""
        return F.conv2d(inputs, self.weight.float() * self.scale, self.bias, self.stride, self.padding)


class QuantisedConv(nn.Module):
    """A convolution whose input, weights and output pass through eight bits, as explicit Q/DQ pairs.

    Symmetric with zero point 0, weights per output channel, the bias in float32. The pair on the output stands before
    the ReLU, and the next convolution's input pair, of the same range, behind it: ONNX Runtime's CPU provider fuses
    convolutions only where both sides are quantised (measured: three times as fast, otherwise half as fast as in
    float32), and the second pair changes no value. TensorRT wants only the second one; see ``engines_graph``.

    Args:
        conv: a :class:`FoldedConv` or a plain convolution.
        input_range: largest magnitude of the input that eight bits hold.
        output_range: the same of the output; None: the output stays as it is.
    """

    def __init__(self, conv: FoldedConv | nn.Conv2d, *, input_range: float, output_range: float | None) -> None:
        super().__init__()
        weight, bias = folded_weight(conv)
        magnitude = weight.abs().amax(dim=(1, 2, 3)).clamp_min(torch.finfo(torch.float32).tiny * LARGEST_INT8)
        scale = magnitude / LARGEST_INT8
        self.weight = _constant(torch.round(weight / scale.reshape(-1, 1, 1, 1)).to(torch.int8))
        self.weight_scale, self.bias = _constant(scale), _constant(bias)
        self.weight_zero = _constant(torch.zeros(len(scale), dtype=torch.int8))
        self.stride, self.padding = _stride_and_padding(conv)
        self.input_scale = input_range / LARGEST_INT8
        self.output_scale = None if output_range is None else output_range / LARGEST_INT8

    def forward(self, inputs: Tensor) -> Tensor:
        """Convolve what eight bits hold of the input with what they hold of the weights."""
        lowest = -LARGEST_INT8 - 1
        weight = torch.ops.quantized_decomposed.dequantize_per_channel(
            self.weight, self.weight_scale, self.weight_zero, 0, lowest, LARGEST_INT8, torch.int8
        )
        outputs = F.conv2d(_through_int8(inputs, self.input_scale), weight, self.bias, self.stride, self.padding)
        return outputs if self.output_scale is None else _through_int8(outputs, self.output_scale)


class HalfConv(nn.Module):
    """A convolution in half precision."""

    def __init__(self, conv: FoldedConv | nn.Conv2d) -> None:
        super().__init__()
        weight, bias = folded_weight(conv)
        self.weight, self.bias = _constant(weight.half()), _constant(bias.half())
        self.stride, self.padding = _stride_and_padding(conv)

    def forward(self, inputs: Tensor) -> Tensor:
        """Convolve half-precision inputs."""
        return F.conv2d(inputs, self.weight, self.bias, self.stride, self.padding)


class Cast(nn.Module):
    """An explicit change of type."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, inputs: Tensor) -> Tensor:
        """The same values in another type."""
        return inputs.to(self.dtype)


def fold_batch_norms(tower: nn.Module) -> nn.Module:
    """A copy of a tower in which every batch norm is folded into the convolution before it."""
    folded = copy.deepcopy(tower)
    _fold_children(folded)
    return folded


def half_tower(folded: nn.Module) -> nn.Module:
    """A copy of a folded tower that computes in half precision, and takes and gives float32.

    Pixels are scaled in float32 before they are rounded: in half precision, 1/127.5 alone would be off by 2e-4.
    """
    tower = copy.deepcopy(folded)
    _halve_children(tower.convs)  # type: ignore[arg-type]
    _halve_children(tower.embed)  # type: ignore[arg-type]
    tower.convs = nn.Sequential(Cast(torch.float16), *tower.convs)  # type: ignore[misc]
    tower.embed = nn.Sequential(*tower.embed, Cast(torch.float32))  # type: ignore[misc]
    return tower


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
    for step in eight_bit_path(tower)[0]:
        limits = {"input_range": ranges[step.input_name], "output_range": ranges[step.output_name]}
        step.sequence[step.position] = QuantisedConv(step.conv, **limits)
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
            if _is_conv(layer):
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


def folded_weight(conv: FoldedConv | nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution in float32."""
    assert conv.bias is not None
    weight = conv.weight.float()
    return (weight * conv.scale if isinstance(conv, FoldedConv) else weight), conv.bias.float()


def _stride_and_padding(conv: FoldedConv | nn.Conv2d) -> tuple[tuple[int, ...], tuple[int, ...]]:
    assert not isinstance(conv.padding, str)
    return tuple(conv.stride), tuple(conv.padding)


def _fold_children(module: nn.Module) -> None:
    for name, child in module.named_children():
        _fold_children(child)
        if isinstance(child, nn.Sequential):
            setattr(module, name, _folded(child))


def _folded(sequence: nn.Sequential) -> nn.Sequential:
    layers: list[nn.Module] = []
    for layer in sequence:
        if isinstance(layer, nn.BatchNorm2d):
            conv = layers.pop()
            assert isinstance(conv, nn.Conv2d)
            layers.append(FoldedConv(conv, layer))
        else:
            layers.append(layer)
    return nn.Sequential(*layers)


def _halve_children(module: nn.Module) -> None:
    for name, child in module.named_children():
        if _is_conv(child):
            setattr(module, name, HalfConv(child))
        elif isinstance(child, nn.Linear):
            child.half()
        else:
            _halve_children(child)


def _is_conv(layer: nn.Module) -> TypeGuard[FoldedConv | nn.Conv2d]:
    return isinstance(layer, FoldedConv | nn.Conv2d)


def _through_int8(values: Tensor, scale: float) -> Tensor:
    limits = (scale, 0, -LARGEST_INT8 - 1, LARGEST_INT8, torch.int8)
    operators = torch.ops.quantized_decomposed
    result: Tensor = operators.dequantize_per_tensor(operators.quantize_per_tensor(values, *limits), *limits)
    return result


def _constant(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().clone(), requires_grad=False)
