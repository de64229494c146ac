"""Localisation panels: true pairs, one picture with two sounds, and sounds whose source is not in the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from avol.runtime.spec import ModelSpec
from avol.train.evaluate import Localise
from avol.train.figures.moments import Moment, beside, longest_turn, scene_moment, scene_of
from avol.train.figures.style import FULL_WIDTH_INCHES, styled, without_axes
from avol.train.metrics import peak_position
from avol.train.scenes.scene import SyntheticScene

COLUMNS, FEWEST_COLUMNS = 4, 3
FOOT_INCHES = 0.55
TRUE_PAIRS = (("horn", "clock"), ("bell", "guitar"), ("drum", "bird"), ("siren", "bee"))  # the first one sounds
TWO_SOUNDS = (("guitar", "horn"), ("drum", "bird"))
OFF_SCREEN = (("guitar", "siren"), ("drum", "bird"), ("bell", "horn"), ("clock", "guitar"))  # seen, heard
HEAT_OPACITY, NO_HEAT = 0.85, 0.05
GREY_SHARE, DARKNESS = 0.8, 0.8  # of the pictures under the heat


@dataclass(frozen=True)
class Row:
    """Pictures with one title."""

    title: str
    moments: tuple[Moment, ...]


def synthetic_rows(spec: ModelSpec) -> list[Row]:
    """The three rows from synthetic scenes and the bundled sample."""
    true_pairs = []
    for seed, kinds in enumerate(TRUE_PAIRS):
        scene = scene_of(seed, *kinds)
        true_pairs.append(scene_moment(scene, spec, _turn_of(scene, 0)))
    two = []
    for seed, kinds in enumerate(TWO_SOUNDS):
        scene = scene_of(20 + seed, *kinds)
        two += [scene_moment(scene, spec, _turn_of(scene, actor), at_seconds=0.0) for actor in (0, 1)]
    off_screen = []
    for seed, (seen, heard) in enumerate(OFF_SCREEN):
        scene, other = scene_of(40 + seed, seen), scene_of(60 + seed, heard)
        picture = scene_moment(scene, spec, _turn_of(scene, 0))
        foreign = scene_moment(other, spec, _turn_of(other, 0))
        off_screen.append(replace(picture, name=f"{heard} (off-screen)", samples=foreign.samples, box=None))
    return [
        Row("True pairs: picture and sound of one scene", tuple(true_pairs)),
        Row("One picture, two sounds", tuple(two)),
        Row("Off-screen sources: the sound is another scene's", tuple(off_screen)),
    ]


def clip_rows(clips: Sequence[Moment], spec: ModelSpec) -> list[Row]:
    """The same from clips: those that need two clips are left out where there is one."""
    rows = [Row("True pairs: picture and sound of one clip", tuple(clips[:COLUMNS]))]
    if len(clips) > 1:
        couples = list(zip(clips[::2], clips[1::2], strict=False))[: COLUMNS // 2]
        rows.append(Row("One picture of two clips, two sounds", tuple(m for c in couples for m in beside(*c, spec))))
        foreign = [
            replace(clip, name=f"sound of {other.name}", samples=other.samples, box=None)
            for clip, other in zip(clips, [*clips[1:], clips[0]], strict=True)
        ]
        rows.append(Row("Foreign sound: of another clip", tuple(foreign[:COLUMNS])))
    return rows


def heat_colours() -> ListedColormap:
    """Colours of a map's values: nothing is hidden where there is no heat, and more heat hides more."""
    rise = np.clip((np.linspace(0, 1, 256) - NO_HEAT) / (1 - NO_HEAT), 0, 1)
    colours = colormaps["inferno"](0.3 + 0.55 * rise)
    colours[:, 3] = HEAT_OPACITY * rise * (2 - rise)
    return ListedColormap(colours)


@styled
def draw_panels(rows: Sequence[Row], localise: Localise, spec: ModelSpec) -> Figure:
    """Draw the rows, every picture under its map; a cross marks the peak of those that count as sounding."""
    columns = max(FEWEST_COLUMNS, *(len(row.moments) for row in rows))
    heights = [_row_inches(row, columns) for row in rows]
    figure = Figure(figsize=(FULL_WIDTH_INCHES, sum(heights) + FOOT_INCHES), layout="constrained")
    parts = figure.subfigures(len(rows) + 1, 1, height_ratios=[*heights, FOOT_INCHES], squeeze=False)[:, 0]
    for part, row in zip(parts, rows, strict=False):
        part.suptitle(row.title, x=0.005, ha="left", fontsize=8.5, weight="bold")
        maps = localise(np.stack([m.frame for m in row.moments]), np.stack([m.samples for m in row.moments]))
        grid = part.subplots(1, columns, squeeze=False)[0]
        for axes in grid:
            without_axes(axes)
        for axes, moment, cells in zip(grid, row.moments, maps, strict=False):
            _draw_moment(axes, moment, cells, spec.threshold)
    _draw_foot(parts[-1], spec, known=any(moment.box for row in rows for moment in row.moments))
    return figure


def _row_inches(row: Row, columns: int) -> float:
    """Height of a row: its tallest picture, and two lines of text."""
    tallest: float = max(moment.picture.shape[0] / moment.picture.shape[1] for moment in row.moments)
    return (FULL_WIDTH_INCHES / columns - 0.1) * tallest + 0.45


def _turn_of(scene: SyntheticScene, actor: int) -> int:
    turn = longest_turn(scene, actor)
    assert turn is not None  # scene_of saw to it
    return turn


def _draw_moment(axes: Axes, moment: Moment, cells: NDArray[np.float32], threshold: float) -> None:
    extent = (0, 1, 1, 0)
    axes.imshow(_paled(moment.picture), extent=extent, interpolation="antialiased")
    axes.imshow(cells, extent=extent, cmap=heat_colours(), vmin=0, vmax=1, interpolation="bicubic",
                interpolation_stage="data")  # fmt: skip
    axes.set_aspect(moment.picture.shape[0] / moment.picture.shape[1])
    score = float(cells.max())
    if score >= threshold:
        peak = [[value] for value in peak_position(cells)]
        axes.plot(*peak, "+", color="black", markersize=9, markeredgewidth=2.6)
        axes.plot(*peak, "+", color="white", markersize=8, markeredgewidth=1.3)
    if moment.box is not None:
        x0, y0, x1, y1 = moment.box
        for colour, style in (("black", "-"), ("white", (0, (4, 3)))):
            axes.add_patch(
                Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=1.0, linestyle=style)
            )
    axes.set_title(f"{moment.name}: {score:.2f}", fontsize=8)


def _paled(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Most of the colour taken out, and lighter: heat is the only thing that is warm and dark."""
    colour = picture.astype(np.float32)
    grey = (colour @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    pale = 255 - (255 - (GREY_SHARE * grey + (1 - GREY_SHARE) * colour)) * DARKNESS
    return np.asarray(pale, np.uint8)


def _draw_foot(foot: SubFigure, spec: ModelSpec, *, known: bool) -> None:
    """What the colours and the marks mean."""
    axes = foot.add_axes((0.02, 0.68, 0.24, 0.18))
    bar = foot.colorbar(ScalarMappable(Normalize(0, 1), heat_colours()), cax=axes, orientation="horizontal")
    bar.set_ticks([0, 0.5, 1])
    bar.set_label("probability of the source", labelpad=1)
    lines = ["Above each picture: what is heard, and the score (the map's maximum)."]
    lines += [f"Cross: place of the maximum, where the score reaches {spec.threshold:g}."]
    lines += ["Dashed box: the source."] if known else []
    foot.text(0.34, 0.92, "\n".join(lines), va="top", fontsize=7.5, linespacing=1.4)
