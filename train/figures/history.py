"""Training histories: loss and accuracy over the steps, smoothed, with the point where overfitting begins."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from avol.train.figures.curves import Curve, RunHistory, default_window, overfitting_step
from avol.train.figures.style import BLUE, FULL_WIDTH_INCHES, INK, QUIET_INK, VERMILION, styled

PARTS = (("", "training batches", BLUE), ("validation_", "validation", VERMILION))
LIGHT = 0.25  # opacity of the values as they were logged
QUANTITIES = ("loss", "accuracy")


@styled
def draw_history(runs: Sequence[RunHistory], *, window: int | None = None) -> Figure:
    """One column per run, loss above accuracy.

    Args:
        runs: what was logged.
        window: points under the moving average; by default a twentieth of each curve.
    """
    width = FULL_WIDTH_INCHES * (0.75 if len(runs) == 1 else 1.0)
    figure = Figure(figsize=(width, 4.0), layout="constrained")
    grid = figure.subplots(2, len(runs), sharex="col", sharey="row", squeeze=False)
    for column, run in enumerate(runs):
        step = overfitting_step(run, window)
        for quantity, axes in zip(QUANTITIES, grid[:, column], strict=True):
            _draw_quantity(axes, run, quantity, window)
            if step is not None:
                _mark_overfitting(axes, step, named=quantity == QUANTITIES[0])
        grid[0, column].set_title(run.name)
        grid[1, column].set_xlabel("training step")
        _add_epochs(grid[0, column], run)
        grid[1, column].xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
        grid[1, column].xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    grid[0, 0].set_ylabel("loss")
    grid[1, 0].set_ylabel("accuracy (%)")
    _explain(figure, grid[1, 0], runs[0], window)
    return figure


def _draw_quantity(axes: Axes, run: RunHistory, quantity: str, window: int | None) -> None:
    for prefix, _, colour in PARTS:
        curve = run.curve(prefix + quantity)
        if curve is not None:
            axes.plot(curve.steps, curve.values, color=colour, alpha=LIGHT, linewidth=0.7)
            dot = "o" if len(curve.steps) == 1 else None  # a line of one point is invisible
            axes.plot(curve.steps, curve.smoothed(window), color=colour, marker=dot, gid=f"{prefix}{quantity}")
    if quantity == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=""))
        axes.axhline(0.5, color=QUIET_INK, linewidth=0.8, linestyle=(0, (1, 2)))
        axes.annotate("chance", (1, 0.5), (0, 2), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
                      ha="right", va="bottom", color=QUIET_INK, fontsize=7)  # fmt: skip
    axes.margins(x=0.01)


def _mark_overfitting(axes: Axes, step: float, *, named: bool) -> None:
    axes.axvline(step, color=INK, linewidth=0.9, linestyle=(0, (4, 2)), gid="overfitting")
    if named:
        axes.annotate(f"overfits from\nstep {step:,.0f}", (step, 1), (4, -2), xycoords=axes.get_xaxis_transform(),
                      textcoords="offset points", va="top", fontsize=7.5,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8})  # fmt: skip


def _add_epochs(axes: Axes, run: RunHistory) -> None:
    """A second scale above, where the run counted epochs; later ones may take more steps than the first."""
    epochs = run.curve("epoch")
    if epochs is None or epochs.values[0] <= 0 or np.any(np.diff(epochs.values) <= 0):
        return
    steps, values = (np.concatenate([[0.0], known]) for known in (epochs.steps, epochs.values))
    # Two points far beyond the ends, in line with them, as the margins of the axes are asked for as well.
    slopes = np.diff(values)[[0, -1]] / np.diff(steps)[[0, -1]]
    span = steps[-1]
    steps, values = (
        np.concatenate([[known[0] - before], known, [known[-1] + after]])
        for known, before, after in ((steps, span, span), (values, *(span * slopes)))
    )
    to_epoch, to_step = partial(np.interp, xp=steps, fp=values), partial(np.interp, xp=values, fp=steps)
    scale = axes.secondary_xaxis("top", functions=(to_epoch, to_step))
    scale.set_xlabel("epoch", fontsize=7.5)


def _explain(figure: Figure, axes: Axes, run: RunHistory, window: int | None) -> None:
    """Name the curves, and say what was averaged."""
    found = [(label, colour, run.curve(f"{prefix}accuracy")) for prefix, label, colour in PARTS]
    for label, colour, curve in found:
        if curve is not None:
            axes.plot([], [], color=colour, label=f"{label}, mean of {_span(curve, window)}")
    axes.plot([], [], color=QUIET_INK, alpha=0.5, linewidth=0.7, label="as logged")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)


def _span(curve: Curve, window: int | None) -> str:
    points = min(window or default_window(len(curve.values)), len(curve.values))
    spacing = (curve.steps[-1] - curve.steps[0]) / max(1, len(curve.steps) - 1)
    return f"{points * spacing:,.0f} steps" if spacing else "one point"
