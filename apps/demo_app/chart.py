"""What a result looks like on the page: the score over time as SVG, intervals as a table, the legend of the heat."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from avol.apps.demo_app.clip import Interval
from avol.runtime.heat_layer import DEFAULT_COLOUR_MAP, heat_colours

WIDTH, HEIGHT = 720, 190
LEFT, RIGHT, TOP, BOTTOM = 40, 22, 10, 26  # margins
GRID = (0.0, 0.5, 1.0)
MOST_TICKS = 10
MOST_ROWS = 200


def score_chart(
    times_seconds: Sequence[float],
    scores: Sequence[float],
    threshold: float,
    intervals: Sequence[Interval] = (),
    duration_seconds: float | None = None,
) -> str:
    """The score over time with the threshold and the sounding intervals, as SVG that takes the page's colours.

    Args:
        times_seconds, scores: of the analysed frames.
        threshold: drawn as a dashed line.
        intervals: shaded.
        duration_seconds: the right end of the axis; None: the last time.
    """
    end = max([duration_seconds or 0.0, *times_seconds, 1e-3])
    points = " ".join(f"{_x(t, end):.1f},{_y(s):.1f}" for t, s in zip(times_seconds, scores, strict=True))
    parts = [
        f'<rect class="avol-sounding" x="{_x(i.start_seconds, end):.1f}" y="{TOP}" height="{_y(0) - TOP:.1f}" '
        f'width="{max(1.0, _x(i.end_seconds, end) - _x(i.start_seconds, end)):.1f}"/>'
        for i in intervals
    ]
    parts += [_level(value, "avol-grid") + _label(LEFT - 6, _y(value) + 4, f"{value:g}", "end") for value in GRID]
    parts += [_label(_x(tick, end), HEIGHT - 4, f"{tick:g} s", "middle") for tick in ticks(end)]
    parts += [
        f'<polyline class="avol-score" points="{points}"/>',
        _level(threshold, "avol-threshold"),
        _label(WIDTH - RIGHT, _y(threshold) - 4, f"threshold {threshold:g}", "end"),
    ]
    highest = max(scores, default=0.0)
    said = f"Score over time: {len(scores)} analyses in {end:.1f} s, highest {highest:.2f}, threshold {threshold:g}."
    return (
        f'<svg class="avol-chart" role="img" aria-label="{said}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f"<title>{said}</title>{''.join(parts)}</svg>"
    )


def _x(seconds: float, end_seconds: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * seconds / end_seconds


def _y(value: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - min(max(value, 0.0), 1.0))


def _level(value: float, name: str) -> str:
    y = f"{_y(value):.1f}"
    return f'<line class="{name}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def ticks(end_seconds: float) -> list[float]:
    """Round times for an axis from 0 to ``end_seconds``."""
    if end_seconds <= 0:
        return [0.0]
    rough = end_seconds / MOST_TICKS
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    return [round(float(i * step), 6) for i in range(int(end_seconds / step + 1e-9) + 1)]


def interval_table(intervals: Sequence[Interval]) -> str:
    """The sounding intervals as an HTML table."""
    if not intervals:
        return "<p>Nothing in the picture sounds: no score reaches the threshold.</p>"
    rows = [
        f"<tr><td>{i.start_seconds:.2f} s</td><td>{i.end_seconds:.2f} s</td><td>{i.score:.2f}</td>"
        f"<td>{html.escape(place(i.peak))}</td></tr>"
        for i in intervals[:MOST_ROWS]
    ]
    if len(intervals) > MOST_ROWS:
        rows.append(f'<tr><td colspan="4">… and {len(intervals) - MOST_ROWS} more, in the timeline</td></tr>')
    head = "<tr><th>From</th><th>To</th><th>Highest score</th><th>Where</th></tr>"
    return (
        '<table class="avol-intervals"><caption>What sounds</caption>'
        f"<thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"
    )


def place(peak: tuple[float, float] | None) -> str:
    """A point of the picture in words and percent."""
    if peak is None:
        return "unknown"
    across = ("left", "middle", "right")[min(2, int(peak[0] * 3))]
    down = ("top", "centre", "bottom")[min(2, int(peak[1] * 3))]
    return f"{across}, {down} ({peak[0]:.0%}, {peak[1]:.0%})"


def legend() -> str:
    """The colours of the heat, from little to much."""
    shares = heat_colours(np.linspace(0.0, 1.0, 9), DEFAULT_COLOUR_MAP)
    colours = ", ".join(f"rgb({r},{g},{b})" for r, g, b in np.round(shares * 255).astype(int))
    return (
        '<div class="avol-legend"><span>may sound here</span>'
        f'<span class="avol-bar" role="img" aria-label="from purple to yellow" '
        f'style="background:linear-gradient(to right, {colours})"></span><span>surely sounds here</span></div>'
    )
