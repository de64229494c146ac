"""The reliability diagram: how often pairs of a score belong together, before and after calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from avol.train.figures.style import BLUE, FULL_WIDTH_INCHES, INK, QUIET_INK, styled

LARGEST_DOT, SMALLEST_DOT = 90.0, 6.0  # points squared, by how many pairs a bin holds


@styled
def draw_reliability(record: Mapping[str, Any]) -> Figure:
    """Two diagrams side by side.

    Args:
        record: as :func:`avol.train.calibration.describe` gives it.
    """
    figure = Figure(figsize=(FULL_WIDTH_INCHES, 3.7), layout="constrained")
    for axes, stage, name in zip(figure.subplots(1, 2, sharey=True), ("before", "after"), ("as it was", "calibrated"),
                                 strict=True):  # fmt: skip
        quality = record[stage]
        _draw_bins(axes, quality["reliability"], quality["threshold"])
        axes.set_title(f"{name}: calibration error {100 * quality['expected_calibration_error']:.1f} %")
        axes.set_xlabel("score")
    figure.axes[0].set_ylabel("pairs that belong together (%)")
    return figure


def _draw_bins(axes: Axes, bins: Sequence[Mapping[str, float]], threshold: float) -> None:
    most = max(found["count"] for found in bins)
    axes.plot([0, 1], [0, 1], color=QUIET_INK, linewidth=0.8, linestyle=(0, (1, 2)))
    probabilities, shares = [found["probability"] for found in bins], [found["share"] for found in bins]
    sizes = [SMALLEST_DOT + (LARGEST_DOT - SMALLEST_DOT) * found["count"] / most for found in bins]
    axes.vlines(probabilities, probabilities, shares, color=BLUE, alpha=0.35, linewidth=1.0)
    axes.plot(probabilities, shares, color=BLUE, linewidth=0.8, alpha=0.6)
    axes.scatter(probabilities, shares, s=sizes, color=BLUE, zorder=3, gid="bins")
    axes.axvline(threshold, color=INK, linewidth=0.9, linestyle=(0, (4, 2)), gid="threshold")
    axes.annotate(f"sounding from {threshold:.2f}", (threshold, 0.02), (3 if threshold < 0.6 else -3, 0),
                  textcoords="offset points", ha="left" if threshold < 0.6 else "right", fontsize=7)  # fmt: skip
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.04, 1.04)
    axes.set_aspect("equal")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=""))
