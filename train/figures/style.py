"""What all figures share: colours, letters, and files that are the same bytes whenever they are drawn again."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from avol.runtime.atomic import AtomicOutput, write_error
from avol.runtime.errors import AvolError

P = ParamSpec("P")

SUFFIXES = (".png", ".svg", ".pdf")
FULL_WIDTH_INCHES = 7.2  # a page's two columns
# Okabe and Ito's colours: told apart with every kind of colour vision.
BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)
INK, QUIET_INK = "#222222", "#6b6b6b"

_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET_INK,
    "axes.linewidth": 0.7,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "xtick.color": QUIET_INK,
    "ytick.color": QUIET_INK,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "lines.linewidth": 1.4,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,  # letters stay text
    "svg.hashsalt": "avol",  # names of elements would be random otherwise
}
# The time of writing would make every file another one.
_METADATA: dict[str, dict[str, str | None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """A drawing function in the style of this package, whatever matplotlib is set to elsewhere."""

    @wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(_SETTINGS)
            return draw(*args, **kwargs)

    return wrapped


def open_output(path: Path) -> AtomicOutput:
    """Where a figure will be written; mistakes show before the work.

    Raises:
        AvolError: the name's suffix is of no format that can be drawn, or the place cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise AvolError(f"{path}: the suffix must be one of {', '.join(SUFFIXES)}; choose another --out.")
    return AtomicOutput(path)


def write_figure(figure: Figure, output: AtomicOutput) -> None:
    """Write a figure in the format of its suffix; it gets its name when complete.

    Raises:
        AvolError: it cannot be written.
    """
    with output:
        save_figure(figure, output)
        output.commit()


def save_figure(figure: Figure, output: AtomicOutput) -> None:
    """Draw into an entered output, which whoever entered it commits.

    Raises:
        AvolError: it cannot be written.
    """
    suffix = output.temporary.suffix.lower()
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        try:
            figure.savefig(output.temporary, format=suffix.removeprefix("."), metadata=_METADATA[suffix])
        except OSError as error:
            raise write_error(output.path, error) from None


def without_axes(axes: Axes) -> None:
    """No ticks, no grid and no frame: for pictures."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
