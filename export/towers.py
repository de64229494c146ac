"""Towers as devices compute them: batch norms folded, and if wanted in half precision or with eight-bit convolutions.

All of them are modules that torch can run, composed into graphs like the tower they came from: there is no converter
that sees only the finished graph.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import pairwise
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.ao.quantization.fx import _decomposed as _  # noqa: F401 (registers the operators of QuantisedConv)

from avol.runtime.errors import AvolError

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
    """A copy of a tower whose ``convs`` hold folded convolutions."""
    folded = copy.deepcopy(tower)
    layers: list[nn.Module] = []
    for layer in folded.convs:  # type: ignore[union-attr]
        if isinstance(layer, nn.BatchNorm2d):
            conv = layers.pop()
            assert isinstance(conv, nn.Conv2d)
            layer = FoldedConv(conv, layer)  # noqa: PLW2901
        layers.append(layer)
    folded.convs = nn.Sequential(*layers)
    return folded


def half_tower(folded: nn.Module) -> nn.Module:
    """A copy of a folded tower that computes in half precision, and takes and gives float32.

    Pixels are scaled in float32 before they are rounded: in half precision, 1/127.5 alone would be off by 2e-4.
    """
    tower = copy.deepcopy(folded)
    for name in ("convs", "embed"):
        layers = [HalfConv(x) if _is_conv(x) else x.half() for x in getattr(tower, name)]
        setattr(tower, name, nn.Sequential(*layers))
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
    number = 0
    for part in (tower.convs, tower.embed):
        assert isinstance(part, nn.Sequential)
        for position, layer in enumerate(part):
            if _is_conv(layer) and number < len(names) - 1:
                before, behind = ranges[names[number]], ranges[names[number + 1]]
                part[position] = QuantisedConv(layer, input_range=before, output_range=behind)
                number += 1
    return tower


def range_names(folded: nn.Module) -> list[str]:
    """The tensors of a folded tower that pass through eight bits, in order: the input, and behind each convolution."""
    return [INPUT, *(f"conv{number + 1}" for number in range(len(quantised_convs(folded))))]


def quantised_convs(folded: nn.Module) -> list[nn.Module]:
    """The convolutions of a folded tower that are followed by a ReLU: all but a frame tower's last one."""
    layers = [*folded.convs, *folded.embed]  # type: ignore[misc]
    return [layer for layer, behind in pairwise(layers) if _is_conv(layer) and isinstance(behind, nn.ReLU)]


def folded_weight(conv: FoldedConv | nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution in float32."""
    assert conv.bias is not None
    weight = conv.weight.float()
    return (weight * conv.scale if isinstance(conv, FoldedConv) else weight), conv.bias.float()


def _stride_and_padding(conv: FoldedConv | nn.Conv2d) -> tuple[tuple[int, ...], tuple[int, ...]]:
    assert not isinstance(conv.padding, str)
    return tuple(conv.stride), tuple(conv.padding)


def _is_conv(layer: nn.Module) -> TypeGuard[FoldedConv | nn.Conv2d]:
    return isinstance(layer, FoldedConv | nn.Conv2d)


def _through_int8(values: Tensor, scale: float) -> Tensor:
    limits = (scale, 0, -LARGEST_INT8 - 1, LARGEST_INT8, torch.int8)
    operators = torch.ops.quantized_decomposed
    result: Tensor = operators.dequantize_per_tensor(operators.quantize_per_tensor(values, *limits), *limits)
    return result


def _constant(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().clone(), requires_grad=False)
