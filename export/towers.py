"""Towers as devices compute them: batch norms folded, and if wanted in half precision; eight_bits.py has the rest.

All of them are modules that torch can run, composed into graphs like the tower they came from: there is no converter
that sees only the finished graph.
"""

from __future__ import annotations

import copy
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
        self.weight = constant(conv.weight.half())
        self.scale = constant(scale.reshape(-1, 1, 1, 1))
        self.bias = constant(norm.bias - norm.running_mean * scale)
        self.stride, self.padding = stride_and_padding(conv)

    def forward(self, inputs: Tensor) -> Tensor:
        """Convolve in float32."""
        return F.conv2d(inputs, self.weight.float() * self.scale, self.bias, self.stride, self.padding)


class HalfConv(nn.Module):
    """A convolution in half precision."""

    def __init__(self, conv: FoldedConv | nn.Conv2d) -> None:
        super().__init__()
        weight, bias = folded_weight(conv)
        self.weight, self.bias = constant(weight.half()), constant(bias.half())
        self.stride, self.padding = stride_and_padding(conv)

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


def folded_weight(conv: FoldedConv | nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution in float32."""
    assert conv.bias is not None
    weight = conv.weight.float()
    return (weight * conv.scale if isinstance(conv, FoldedConv) else weight), conv.bias.float()


def stride_and_padding(conv: FoldedConv | nn.Conv2d) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of a convolution, as :func:`torch.nn.functional.conv2d` takes them."""
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
        if is_conv(child):
            setattr(module, name, HalfConv(child))
        elif isinstance(child, nn.Linear):
            child.half()
        else:
            _halve_children(child)


def is_conv(layer: nn.Module) -> TypeGuard[FoldedConv | nn.Conv2d]:
    """Whether a layer of a folded tower is a convolution in float32."""
    return isinstance(layer, FoldedConv | nn.Conv2d)


def constant(values: Tensor) -> nn.Parameter:
    """What a graph holds and nobody trains."""
    return nn.Parameter(values.detach().clone(), requires_grad=False)
