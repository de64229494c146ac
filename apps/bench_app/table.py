"""The report on a screen of 100 columns; what there is none of is a dash."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from avol.apps.bench_app.quality import headline
from avol.apps.bench_app.timing import COLUMNS
from avol.runtime.backends.phases import PHASES
from avol.runtime.stage_times import STAGES

WIDTH = 100
NONE = "-"
_PHASE_NAMES = {"latency": "latency", "h2d": "H2D", "d2h": "D2H"}


def lines_of(record: dict[str, Any]) -> list[str]:
    """What is printed of a report."""
    environment, model = record["environment"], record["model"]
    machine = f"{environment['cores']} cores of {environment['processor']}"
    gpu = f", {environment['gpu']['name']}" if environment["gpu"] else ""
    lines = textwrap.wrap(f"{model['name']} ({model['sha256'][:12]}) on {machine}{gpu}", WIDTH)
    lines += ["", *_scenarios(record["rows"]), "", *_columns(record["rows"]), "", *_runs(record["runs"]), ""]
    for note in _notes(record):
        lines += textwrap.wrap(note, WIDTH, subsequent_indent="  ")
    return lines


def _scenarios(rows: Sequence[dict[str, Any]]) -> list[str]:
    heads = ["", "single p90", "multi p99", "offline", "share of", "joules", "model", "peak in"]
    units = ["backend, precision, batch", "ms", "ms", "pairs/s", "roofline", "a pair", "MB", "the box"]
    cells = []
    for row in rows:
        scenarios = row["scenarios"]
        share, joules = row["roofline"]["share"], scenarios["offline"]["joules_per_pair"]
        cells.append(
            [
                _label(row),
                _number(scenarios["single_stream"]["latency_milliseconds"]["p90"]),
                _number(scenarios["multi_stream"]["latency_milliseconds"]["p99"]),
                _number(scenarios["offline"]["pairs_per_second"]),
                NONE if share is None else f"{100 * share:.0f} %",
                _number(joules),
                _number(1e-6 * row["model_bytes"]),
                headline(row["quality"]),
            ]
        )
    return _table([heads, units, *cells])


def _columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    cells = [["backend, precision, batch", "pairs/s", "ms", *COLUMNS]]
    for row in rows:
        name = [_label(row), _number(row["pairs_per_second"])]
        for phase in ("latency", *PHASES):
            found = row[f"{phase}_milliseconds"] or {}
            cells.append([*name, _PHASE_NAMES.get(phase, phase), *(_number(found.get(key)) for key in COLUMNS)])
            name = [""] * 2
    return _table(cells)


def _runs(runs: Sequence[dict[str, Any]]) -> list[str]:
    heads = ["", *STAGES, "x real", "peak", "start"]
    units = ["whole run", *["ms"] * len(STAGES), "time", "MB", "s"]
    cells = []
    for run in runs:
        factor = run["real_time_factor"]
        cells.append(
            [
                _label(run),
                *(_number(run["stages_milliseconds"][stage]) for stage in STAGES),
                _number(1 / factor if factor else None),
                _number(1e-6 * run["peak_memory_bytes"]),
                _number(run["start_up"]["median_seconds"]),
            ]
        )
    return _table([heads, units, *cells])


def _label(entry: dict[str, Any]) -> str:
    batch = f" x{entry['batch']}" if "batch" in entry else ""
    return f"{entry['backend']} {entry['precision']}{batch}"


def _notes(record: dict[str, Any]) -> list[str]:
    notes = [record["note"]]
    for row in record["rows"]:
        if row["phases_note"]:
            notes.append(f"{row['backend']}: {row['phases_note']}.")
        if row["scenarios"]["offline"]["joules_per_pair"] is None:
            notes.append(f"{row['backend']}: its energy cannot be read here.")
        if row["roofline"]["share"] is None:
            why = row["roofline"]["note"] or "a rate of the machine could not be measured"
            notes.append(f"{row['backend']} {row['precision']}: no roofline: {why}.".replace("..", "."))
    run = next(iter(record["runs"]), None)
    if run is not None:
        notes.append(
            f"Whole run: {run['video']}, {run['duration_seconds']:.1f} s, {run['frames']} frames, {run['analysed']} "
            "analysed; milliseconds are a frame's for decode, overlay and encode, an analysis's for the others. Stages "
            "run beside each other."
        )
    return list(dict.fromkeys([*notes, *_not_measured(record["not_measured"])]))


def _not_measured(entries: Sequence[dict[str, str]]) -> list[str]:
    """A line for every reason."""
    by_reason: dict[str, dict[str, list[str]]] = {}
    for entry in entries:
        by_reason.setdefault(entry["reason"], {}).setdefault(entry["device"], []).append(entry["precision"])
    lines = []
    for reason, devices in by_reason.items():
        which = "; ".join(f"{device} ({', '.join(held)})" for device, held in devices.items())
        lines.append(f"Not measured: {which}: {reason}.")
    return lines


def _table(cells: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as they need to be, the first one aligned to the left."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        parts = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *parts[1:]]).rstrip())
    return lines


def _number(value: float | None) -> str:
    """Four figures, and no more than three behind the point."""
    if value is None:
        return NONE
    digits = next((digits for digits, limit in ((3, 10), (2, 100), (1, 1000)) if abs(value) < limit), 0)
    return f"{value:,.{digits}f}"
