"""Draw what the experiments found, from the committed results: python reports/experiments/draw.py"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from avol.train.figures.style import BLUE, FULL_WIDTH_INCHES, QUIET_INK, VERMILION, open_output, styled, write_figure

FOLDER = Path(__file__).parent
MEASURES = {
    "composite_pairs_accuracy": ("Pairs, %", 50),
    "photograph_mosaics_right_quarter": ("Photo mosaics, %", 25),
    "clip_mosaics_right_quarter": ("Clip mosaics, %", 25),
    "own_sound_over_foreign_auc": ("Over foreign, AUC %", 50),
}


def results_of(group: str) -> list[dict[str, Any]]:
    """Results of a group's runs, those of one label together, in the order of their labels' first runs."""
    paths = sorted((FOLDER / "results").glob(f"{group}-*/result.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


@styled
def draw_group(results: list[dict[str, Any]], first: str) -> Figure:
    """One row per run, one column per measure; ``first`` on top, its value as a line through the others."""
    results = sorted(results, key=lambda result: (result["config"]["label"] != first, result["config"]["label"]))
    figure = Figure(figsize=(FULL_WIDTH_INCHES, 0.6 + 0.26 * len(results)), layout="constrained")
    for axes, (name, (title, chance)) in zip(
        figure.subplots(1, len(MEASURES), sharey=True), MEASURES.items(), strict=True
    ):
        _draw_measure(axes, results, name)
        axes.axvline(chance, color=QUIET_INK, linestyle=":", linewidth=0.8)
        axes.set_title(title)
    labels = [result["config"]["label"] for result in results]
    seeds = [
        f" ({result['config']['seed']})" if labels.count(result["config"]["label"]) > 1 else "" for result in results
    ]
    figure.axes[0].set_yticks(range(len(results)), [label + seed for label, seed in zip(labels, seeds, strict=True)])
    figure.axes[0].invert_yaxis()
    return figure


def _draw_measure(axes: Axes, results: list[dict[str, Any]], name: str) -> None:
    for row, result in enumerate(results):
        figure = result["figures"][name]
        colour = VERMILION if row == 0 else BLUE
        axes.plot([100 * figure["low"], 100 * figure["high"]], [row, row], color=colour, alpha=0.4)
        axes.plot([100 * figure["value"]], [row], "o", color=colour, markersize=4)
    axes.axvline(100 * results[0]["figures"][name]["value"], color=VERMILION, linewidth=0.6)


def main() -> None:
    """Draw every group that has results."""
    for group, first in (("material", "everything"), ("audio", "windows")):
        if results := results_of(group):
            write_figure(draw_group(results, first), open_output(FOLDER / f"{group}.png"))


if __name__ == "__main__":
    main()
