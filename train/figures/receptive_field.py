"""The receptive field of a cell of the grid: what it could see of a picture, and what it does look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from avol.runtime.errors import AvolError
from avol.train.figures.style import FULL_WIDTH_INCHES, ORANGE, QUIET_INK, SKY, styled
from avol.train.figures.trace import ReceptiveField, receptive_field, trace_network
from avol.train.network import TwoTowerNetwork
from avol.train.scenes.scene import SyntheticScene

Picture = NDArray[np.uint8]  # H x W x 3
FIRST_SEED = 5_000_000  # of scenes that no run trains on
BATCH = 8
HALF = 0.5  # of the gradient, whose square says how far a cell really looks


@dataclass(frozen=True)
class EffectiveField:
    """How strongly a cell depends on each pixel.

    Attributes:
        gradient: float64 ``H x W``, mean over pictures of the absolute gradient, summed over colours; its sum is 1.
        middle: row and column of the cell's middle, in pixels.
        half_side: pixels of the smallest square around the cell's middle that holds half of it.
    """

    gradient: NDArray[np.float64]
    middle: tuple[float, float]
    half_side: int


def scene_pictures(height: int, width: int, count: int) -> list[Picture]:
    """Frames of synthetic scenes at the network's size."""
    return [SyntheticScene(FIRST_SEED + number).frame(1.0, height, width) for number in range(count)]


def effective_field(network: TwoTowerNetwork, pictures: Sequence[Picture], cell: tuple[int, int]) -> EffectiveField:
    """Mean absolute gradient of the length of one cell's vector with respect to the pixels."""
    spec = network.spec
    row, column = cell
    total = torch.zeros(spec.frame_height, spec.frame_width, dtype=torch.float64)
    for start in range(0, len(pictures), BATCH):
        pixels = torch.from_numpy(np.stack(pictures[start : start + BATCH])).float().requires_grad_()
        lengths = network.frame_tower(pixels)[:, :, row, column].norm(dim=1)
        (gradient,) = torch.autograd.grad(lengths.sum(), pixels)
        total += gradient.abs().double().sum(dim=(0, 3))
    heat = total.numpy()
    if not heat.sum() > 0:
        raise AvolError(f"{spec.name}: the cell depends on no pixel; choose another checkpoint, or another --cell.")
    heat = heat / heat.sum()
    middle = ((row + 0.5) * spec.frame_height / spec.grid_height, (column + 0.5) * spec.frame_width / spec.grid_width)
    return EffectiveField(heat, middle, _half_side(heat, middle))


def _half_side(heat: NDArray[np.float64], middle: tuple[float, float]) -> int:
    """Side of the smallest square around a point that holds half of the heat."""
    rows, columns = np.indices(heat.shape) + 0.5
    distance = np.maximum(np.abs(rows - middle[0]), np.abs(columns - middle[1])).ravel()
    order = np.argsort(distance, kind="stable")
    reached = int(np.searchsorted(np.cumsum(heat.ravel()[order]), HALF))
    return 2 * int(np.ceil(distance[order][min(reached, len(order) - 1)]))


@styled
def draw_receptive_field(
    network: TwoTowerNetwork, picture: Picture, pictures: Sequence[Picture], *, cell: tuple[int, int] | None = None
) -> Figure:
    """The theoretical field as a box on a picture, the effective one as heat beside it.

    Args:
        network: trained, or untrained to see where it starts from.
        picture: uint8 ``H x W x 3`` of any size, to draw on.
        pictures: those that the gradient is averaged over.
        cell: row and column; by default the cell below and right of the middle.

    Raises:
        AvolError: no such cell.
    """
    spec = network.spec
    cell = (spec.grid_height // 2, spec.grid_width // 2) if cell is None else cell
    if not (0 <= cell[0] < spec.grid_height and 0 <= cell[1] < spec.grid_width):
        raise AvolError(
            f"--cell {cell[0]} {cell[1]}: no such cell; the grid has rows 0 to {spec.grid_height - 1} and columns 0 to "
            f"{spec.grid_width - 1}."
        )
    field = receptive_field(trace_network(network).frame_layers)
    found = effective_field(network, pictures, cell)
    figure = Figure(figsize=(FULL_WIDTH_INCHES, 3.75), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    extent = (0, spec.frame_width, spec.frame_height, 0)
    left.imshow(picture, extent=extent, interpolation="antialiased")
    left.set_title(f"Theoretical: {field.size} × {field.size} pixels")
    relative = found.gradient / found.gradient.max()
    shown = right.imshow(relative, extent=extent, cmap="inferno", interpolation="nearest")
    right.set_title(f"Effective: half of the gradient within {found.half_side} × {found.half_side} pixels")
    for axes in (left, right):
        _draw_boxes(axes, network, field, cell)
    _draw_half(right, found)
    left.set_ylabel("input row (pixels)")
    for axes in (left, right):
        axes.set_xlabel("input column (pixels)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    bar = figure.colorbar(shown, ax=right, shrink=0.8, aspect=25, ticks=[0, 0.5, 1])
    bar.set_label(f"|gradient| / largest, mean of {len(pictures)} pictures")
    bar.outline.set_visible(False)
    return figure


def _draw_boxes(axes: Axes, network: TwoTowerNetwork, field: ReceptiveField, cell: tuple[int, int]) -> None:
    """The cell, and what it can see; room is left for what lies outside of the picture."""
    spec = network.spec
    (top, bottom), (left, right) = field.span(cell[0]), field.span(cell[1])
    high, wide = spec.frame_height / spec.grid_height, spec.frame_width / spec.grid_width
    seen = f"what the cell can see ({field.size} × {field.size} pixels; beyond the picture: padding)"
    axes.add_patch(
        Rectangle((cell[1] * wide, cell[0] * high), wide, high, fill=False, edgecolor=SKY, linewidth=1.8, zorder=5,
                  label=f"cell in row {cell[0]}, column {cell[1]} of {spec.grid_height} × {spec.grid_width}")
    )  # fmt: skip
    axes.add_patch(
        Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=ORANGE, linewidth=1.8, zorder=5,
                  label=seen)
    )  # fmt: skip
    axes.set_xlim(min(left, 0) - 4, max(right, spec.frame_width) + 4)
    axes.set_ylim(max(bottom, spec.frame_height) + 4, min(top, 0) - 4)
    axes.grid(visible=False)
    axes.tick_params(colors=QUIET_INK)


def _draw_half(axes: Axes, found: EffectiveField) -> None:
    """The square that holds half of the gradient."""
    row, column = found.middle
    side = found.half_side
    axes.add_patch(
        Rectangle((column - side / 2, row - side / 2), side, side, fill=False, edgecolor="white", linewidth=1.1,
                  linestyle=(0, (4, 2)), zorder=5)
    )  # fmt: skip
    axes.annotate("half", (column - side / 2, row - side / 2), (0, 2), textcoords="offset points", color="white",
                  fontsize=7, va="bottom")  # fmt: skip
