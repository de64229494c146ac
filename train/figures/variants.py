"""Runs side by side: how they learn, and where they end, with intervals over runs that differ in their seed alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from avol.runtime.errors import AvolError
from avol.train.figures.curves import Curve, RunHistory, Values, read_history
from avol.train.figures.style import COLOURS, FULL_WIDTH_INCHES, styled

FINAL_SHARE = 0.1  # of the logged points at the end, whose mean is a run's final value
CURVE_POINTS = 400
# 97.5 % points of Student's t by degrees of freedom: 95 % of values lie between minus and plus this.
STUDENT_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
LONG_LABEL = 14  # letters, from which labels stand aslant


@dataclass(frozen=True)
class Variant:
    """Runs of one kind under one label."""

    label: str
    runs: tuple[RunHistory, ...]

    def curves(self, name: str) -> list[Curve]:
        """The curves of all its runs; empty unless each has one."""
        found = [curve for run in self.runs if (curve := run.curve(name)) is not None]
        return found if len(found) == len(self.runs) else []


def final_value(curve: Curve) -> float:
    """Mean of the last tenth of a curve: one value alone is mostly noise."""
    return float(np.mean(curve.values[-max(1, round(len(curve.values) * FINAL_SHARE)) :]))


def mean_and_interval(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and half of its 95 % interval by Student's t; None instead of that for a single value."""
    count, mean = len(values), float(np.mean(values))
    if count < 2:
        return mean, None
    freedom = count - 1
    # Beyond the table the first terms of the expansion in 1 / freedom are exact to three digits.
    t = STUDENT_T[freedom - 1] if freedom <= len(STUDENT_T) else 1.95996 + 2.3722 / freedom + 2.8225 / freedom**2
    return mean, t * float(np.std(values, ddof=1)) / math.sqrt(count)


@styled
def draw_variants(variants: Sequence[Variant], *, window: int | None = None) -> Figure:
    """Accuracy above loss; curves on the left, final values on the right.

    What is shown is validation where every run has it (training beside it, dotted), else training.
    """
    figure = Figure(figsize=(FULL_WIDTH_INCHES, 4.6), layout="constrained")
    several = any(len(variant.runs) > 1 for variant in variants)
    grid = figure.subplots(2, 2, sharex="col", sharey="row", width_ratios=(2.2, 1))
    for row, (quantity, unit) in enumerate((("accuracy", " (%)"), ("loss", ""))):
        validated = all(variant.curves(f"validation_{quantity}") for variant in variants)
        shown = f"validation_{quantity}" if validated else quantity
        for variant, colour in zip(variants, _colours(len(variants)), strict=True):
            if validated:
                _draw_curve(grid[row, 0], variant.curves(quantity), colour, window, linestyle=":")
            _draw_curve(grid[row, 0], variant.curves(shown), colour, window, label=variant.label)
        _draw_final_values(grid[row, 1], variants, shown)
        grid[row, 0].set_ylabel(f"{'validation' if validated else 'training'} {quantity}{unit}")
        if quantity == "accuracy":
            grid[row, 0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=""))
            band = " (bands: lowest to highest run)" if several else ""
            grid[row, 0].set_title(f"Moving averages{band}" + ("; dotted: training" if validated else ""))
    grid[0, 1].set_title("Last tenth" + (" (bars: 95 % interval)" if several else ""))
    grid[1, 0].set_xlabel("training step")
    grid[1, 0].xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(variants)))
    return figure


def _colours(count: int) -> list[str]:
    return [COLOURS[number % len(COLOURS)] for number in range(count)]


def _draw_curve(
    axes: Axes, curves: list[Curve], colour: str, window: int | None, *, linestyle: str = "-", label: str = ""
) -> None:
    """The mean of the smoothed curves over the steps that all have reached, with a band from lowest to highest."""
    if not curves:
        return
    first, last = max(c.steps[0] for c in curves), min(c.steps[-1] for c in curves)
    steps = curves[0].steps if len(curves) == 1 else np.linspace(first, last, CURVE_POINTS)
    smooth: Values = np.stack([np.interp(steps, c.steps, c.smoothed(window)) for c in curves])
    axes.plot(steps, smooth.mean(axis=0), color=colour, linestyle=linestyle, label=label or None)
    if len(curves) > 1 and label:
        axes.fill_between(steps, smooth.min(axis=0), smooth.max(axis=0), color=colour, alpha=0.18, linewidth=0)
    axes.margins(x=0.01)


def _draw_final_values(axes: Axes, variants: Sequence[Variant], name: str) -> None:
    labels = [variant.label for variant in variants]
    for position, (variant, colour) in enumerate(zip(variants, _colours(len(variants)), strict=True)):
        values = [final_value(curve) for curve in variant.curves(name)]
        if not values:
            continue
        mean, half = mean_and_interval(values)
        axes.errorbar(position, mean, yerr=half, fmt="o", color=colour, markersize=4.5, capsize=3, linewidth=1.2)
        if len(values) > 1:
            axes.plot([position + 0.16] * len(values), values, "o", color=colour, alpha=0.5, markersize=2.5)
        shown = f"{100 * mean:.1f}" if name.endswith("accuracy") else f"{mean:.3f}"
        axes.annotate(shown, (position, mean), (-6, 0), textcoords="offset points", ha="right", va="center",
                      fontsize=7, color=colour)  # fmt: skip
    aslant = max(len(label) for label in labels) * len(labels) > LONG_LABEL * 2
    axes.set_xticks(range(len(labels)), labels, rotation=30 if aslant else 0, ha="right" if aslant else "center")
    axes.set_xlim(-0.75, len(labels) - 0.5)
    axes.grid(visible=False, axis="x")
    axes.tick_params(axis="x", length=0)


def read_variant(text: str) -> Variant:
    """``NAME=RUN1,RUN2`` or ``RUN``: the runs with their label.

    Raises:
        AvolError: a run is named twice or has no log.
    """
    name, equals, names = text.rpartition("=")
    if Path(text).exists():  # a run whose name has an equals sign or a comma in it
        name, equals, names = "", "", text
    parts = [text] if not equals and Path(text).exists() else names.split(",")
    if len(set(parts)) < len(parts) or not all(parts):
        raise AvolError(f"{text}: a run is named twice or not at all; write NAME=RUN1,RUN2.")
    runs = tuple(read_history(Path(part)) for part in parts)
    return Variant(name or runs[0].name, runs)
