"""The network drawn to scale: both towers with the shape of every layer, and how they meet."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray

from avol.runtime.spec import ModelSpec
from avol.train.figures.drawing import Plate, Point, draw_face, draw_plate
from avol.train.figures.models import localise
from avol.train.figures.style import FULL_WIDTH_INCHES, INK, QUIET_INK, styled
from avol.train.figures.trace import Layer, Shape, TracedNetwork, trace_network
from avol.train.network import TwoTowerNetwork
from avol.train.scenes.sample import sample_scene

LARGEST_INCHES = 0.95  # the longer side of the larger input
COLOURS = {"conv": "#7fb2d6", "max pool": "#e6a06b", "linear": "#79c2a6", "global max": "#e6a06b", "input": "#d9d9d9"}
COLOURS |= {"residual": "#5d8fbf"}
MEETINGS = {
    "avol-net": "scalar product\nwith every cell,\nscale, bias, sigmoid",
    "ave-net": "distance of\nunit vectors,\nscale, bias, sigmoid",
    "l3-net": "side by side,\ntwo linear layers,\nsigmoid",
    "ez-vsl": "cosine with\nevery cell,\ntemperature, sigmoid",
    "ez-vsl-guided": "cosine with every\ncell, mixed with\nobjects, sigmoid",
    "attention": "attention over cells,\ndistance of what it\nsees, sigmoid",
}
INCHES_PER_LETTER, LEAST_PITCH_INCHES = 0.066, 0.4  # that the letters under a layer take
GAP_INCHES = 0.06
LETTERS_INCHES = 0.62  # height of the letters under a tower
TITLE_INCHES, LEGEND_INCHES = 0.32, 0.34
HEAD_INCHES = 1.4
LEFT_INCHES = 0.12
SAMPLE_SECONDS = 1.2  # a moment of the bundled sample at which the guitar sounds
LETTERS = 6.5  # points
LINE_SPACING = 1.15


@dataclass(frozen=True)
class Item:
    """One box of a tower and the two texts under it."""

    plate: Plate
    kind: str
    operation: str
    shape: Shape


@dataclass(frozen=True)
class Pair:
    """A frame and its sound as the network takes them, and the map that comes out of it (``GH x GW``)."""

    frame: NDArray[np.uint8]
    columns: NDArray[np.float32]
    map: NDArray[np.float32] | None


def tower_items(input_shape: Shape, input_name: str, layers: list[Layer], scale: float) -> list[Item]:
    """The boxes of one tower in order: its input and the output of every layer."""
    items = [Item(_plate(input_shape, scale), "input", input_name, input_shape)]
    items += [Item(_plate(layer.output_shape, scale), layer.kind, _operation(layer), layer.output_shape)
              for layer in layers]  # fmt: skip
    return items


def shape_text(shape: Shape) -> str:
    """``64×64`` above ``×128``; a vector has its length alone. Maps first, channels last, as papers write it."""
    return f"{shape[0]}" if len(shape) == 1 else f"{shape[1]}×{shape[2]}\n×{shape[0]}"


@styled
def draw_network(network: TwoTowerNetwork, *, trained: bool) -> Figure:
    """Both towers above each other, head and map at their right.

    Args:
        network: whose modules are traced.
        trained: whether its map means anything; without that the map's cells stay empty.
    """
    traced, pair = trace_network(network), _sample_pair(network, trained=trained)
    scale = LARGEST_INCHES / max(*traced.frame_input[1:], *traced.audio_input[1:])
    towers: dict[str, tuple[list[Item], NDArray[Any]]] = {
        "Frame tower": (tower_items(traced.frame_input, "frame\nRGB", traced.frame_layers, scale), pair.frame),
        "Audio tower": (tower_items(traced.audio_input, "log\npower", traced.audio_layers, scale), pair.columns[::-1]),
    }
    width = max(FULL_WIDTH_INCHES, max(places(items)[-1] for items, _ in towers.values()) + HEAD_INCHES)
    tall = max(item.plate.extent[1] for items, _ in towers.values() for item in items)
    height = TITLE_INCHES + 2 * (tall + LETTERS_INCHES) + LEGEND_INCHES + 0.1
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    ends, ground = [], height - TITLE_INCHES - tall
    for name, (items, picture) in towers.items():
        ends.append(_draw_tower(axes, items, ground))
        draw_face(axes, picture, items[0].plate, LEFT_INCHES, ground, cmap="Greys")
        axes.text(items[0].plate.extent[0] + 0.3, ground + tall, name, va="top", fontsize=8, weight="bold")
        ground -= LETTERS_INCHES + 0.1 + tall
    _draw_head(axes, traced, pair.map, ends, width, MEETINGS[network.spec.system])
    axes.text(0.1, height - 0.08, _title(network.spec, traced), va="top", fontsize=8.5)
    _draw_legend(axes, width, {item.kind for items, _ in towers.values() for item in items})
    axes.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    return figure


def _plate(shape: Shape, scale: float) -> Plate:
    height, width = shape[1:] or (1, 1)
    return Plate(shape[0], height, width, scale)


def _operation(layer: Layer) -> str:
    names = {"conv": "conv", "max pool": "pool", "linear": "linear\n", "global max": "global\nmax", "residual": "block"}
    window = "" if layer.kind not in {"conv", "max pool"} else f"\n{layer.kernel}×{layer.kernel}"
    halving = layer.kind in {"conv", "residual"} and layer.stride > 1
    return names[layer.kind] + window + (f", /{layer.stride}" if halving else "")


def places(items: list[Item]) -> list[float]:
    """Left ends of the boxes, in inches: what is behind a box may hide behind the next one, its letters may not."""
    found = [LEFT_INCHES]
    for item, following in pairwise(items):
        behind = item.plate.depth[0] * (1.0 if item.kind == "input" else 0.5)
        clear = found[-1] + item.plate.front[0] + behind + GAP_INCHES
        letters = max(len(line) for box in (item, following) for line in shape_text(box.shape).splitlines())
        pitch = max(LEAST_PITCH_INCHES, letters * INCHES_PER_LETTER)
        readable = found[-1] + _letters_at(item) + pitch - _letters_at(following)
        found.append(max(clear, readable))
    return found


def _letters_at(item: Item) -> float:
    """Middle of the letters, in inches from the box's left end."""
    return (item.plate.extent[0] if item.kind == "input" else item.plate.front[0]) / 2


def _draw_tower(axes: Axes, items: list[Item], ground: float) -> tuple[float, float]:
    """Draw from left to right, all on one ground; gives the middle of the last box's right side."""
    end = (LEFT_INCHES, ground)
    look: dict[str, Any] = {
        "va": "top",
        "ha": "center",
        "ma": "center",
        "fontsize": LETTERS,
        "linespacing": LINE_SPACING,
    }
    for number, (item, x) in enumerate(zip(items, places(items), strict=True)):
        draw_plate(axes, item.plate, x, ground, COLOURS[item.kind], name=f"layer-{number}")
        centre = x + _letters_at(item)
        axes.text(centre, ground - 0.06, item.operation, **look)
        axes.text(centre, ground - 0.31, shape_text(item.shape), color=QUIET_INK, **look)
        end = (x + item.plate.extent[0], ground + item.plate.extent[1] / 2)
    return end


def _draw_head(
    axes: Axes,
    traced: TracedNetwork,
    cells: NDArray[np.float32] | None,
    ends: list[Point],
    width: float,
    meeting: str,
) -> None:
    """How the vector meets every cell, its map, and the map's maximum."""
    side, left = 0.66, width - 0.76
    join, middle = left - 0.36, (ends[0][1] + ends[1][1]) / 2 + 0.05
    arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
    for (x, y), name in zip(ends, ("a vector\nper cell", "one\nvector"), strict=True):
        axes.plot([x + 0.05, join], [y, y], color=INK, linewidth=0.9, solid_capstyle="butt")
        axes.annotate("", (join, middle + (0.1 if y > middle else -0.1)), (join, y), arrowprops=arrow)
        axes.text(join + 0.05, y, name, va="top" if y > middle else "bottom", fontsize=LETTERS)
    axes.add_patch(Circle((join, middle), 0.1, facecolor="white", edgecolor=INK, linewidth=0.9))
    axes.add_patch(Circle((join, middle), 0.025, color=INK))
    axes.annotate("", (left, middle), (join + 0.1, middle), arrowprops=arrow)
    axes.text(join - 0.16, middle, meeting, ha="right", va="center",
              fontsize=LETTERS, linespacing=LINE_SPACING)  # fmt: skip
    _draw_map(axes, traced.map_shape, cells, (left, middle - side / 2, side))
    centre, bottom = left + side / 2, middle - side / 2
    score = "score" if cells is None else f"score {cells.max():.2f}"
    axes.annotate("", (centre, bottom - 0.3), (centre, bottom), arrowprops=arrow)
    axes.text(centre + 0.05, bottom - 0.14, "max", ha="left", va="center", fontsize=LETTERS)
    axes.text(centre, bottom - 0.33, score, ha="center", va="top", fontsize=8, weight="bold")


def _draw_map(axes: Axes, shape: Shape, cells: NDArray[np.float32] | None, place: tuple[float, float, float]) -> None:
    """The cells of the map in a square: left, bottom, side in inches."""
    (rows, columns), (left, bottom, side) = shape, place
    values = np.zeros(shape, np.float32) if cells is None else cells
    axes.imshow(values, extent=(left, left + side, bottom, bottom + side), vmin=0, vmax=1, interpolation="nearest",
                cmap="Greys" if cells is None else "inferno")  # fmt: skip
    look: dict[str, Any] = {"color": "#8a8a8a", "linewidth": 0.4}
    for line in np.linspace(0, side, rows + 1):
        axes.plot([left, left + side], [bottom + line] * 2, **look)
    for line in np.linspace(0, side, columns + 1):
        axes.plot([left + line] * 2, [bottom, bottom + side], **look)
    axes.text(left + side / 2, bottom + side + 0.04, f"map {rows}×{columns}\n(enlarged)", ha="center", va="bottom",
              fontsize=LETTERS)  # fmt: skip


def _draw_legend(axes: Axes, width: float, kinds: set[str]) -> None:
    x = 0.15
    texts = {"conv": "convolution", "residual": "residual block", "max pool": "maximum", "linear": "linear"}
    for kind, text in ((kind, text) for kind, text in texts.items() if kind in kinds):
        draw_plate(axes, Plate(90, 10, 10, 0.007), x, 0.09, COLOURS[kind], name="legend")
        axes.text(x + 0.16, 0.13, text, va="center", fontsize=LETTERS + 0.5)
        x += 0.32 + 0.058 * len(text)
    note = "Boxes to scale: faces are maps, thickness is channels. Batch norm and ReLU not shown."
    axes.text(width - 0.1, 0.13, note, ha="right", va="center", fontsize=LETTERS + 0.5, color=QUIET_INK)


def _title(spec: ModelSpec, traced: TracedNetwork) -> str:
    seconds, rate = spec.spectrogram.clip_seconds, spec.spectrogram.sample_rate_hz
    return (
        f"{spec.preset}: {traced.parameters / 1e6:.1f} million parameters, {traced.multiply_adds / 1e9:.2f} billion "
        f"multiply-adds a pair; {seconds:.2f} s of sound at {rate / 1000:g} kHz"
    )


def _sample_pair(network: TwoTowerNetwork, *, trained: bool) -> Pair:
    """A moment of the bundled sample, as it was drawn."""
    spec, scene = network.spec, sample_scene()
    sound = spec.spectrogram
    frame = scene.frame(SAMPLE_SECONDS, spec.frame_height, spec.frame_width)
    samples = scene.samples(SAMPLE_SECONDS - sound.clip_seconds / 2, sound.clip_samples, sound.sample_rate_hz)
    with torch.no_grad():
        columns = network.spectrogram(torch.from_numpy(samples)[None])[0].numpy()
    return Pair(frame, columns, localise(network, frame[None], samples[None])[0] if trained else None)
