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
    heads = ["", "", "", "single p90", "multi p99", "offline", "share of", "joules", "model", "peak in"]
    units = ["backend", "precision", "batch", "ms", "ms", "pairs/s", "roofline", "a pair", "MB", "the box"]
    cells = []
    for row in rows:
        scenarios = row["scenarios"]
        share, joules = row["roofline"]["share"], scenarios["offline"]["joules_per_pair"]
        cells.append(
            [
                row["backend"],
                row["precision"],
                str(row["batch"]),
                _number(scenarios["single_stream"]["latency_milliseconds"]["p90"], 2),
                _number(scenarios["multi_stream"]["latency_milliseconds"]["p99"], 2),
                _number(scenarios["offline"]["pairs_per_second"], 0),
                NONE if share is None else f"{100 * share:.0f} %",
                _number(joules, 4),
                _number(1e-6 * row["model_bytes"], 1),
                headline(row["quality"]),
            ]
        )
    return _table([heads, units, *cells], left=2)


def _columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    cells = [["backend", "precision", "batch", "pairs/s", "ms", *COLUMNS]]
    for row in rows:
        name = [row["backend"], row["precision"], str(row["batch"]), _number(row["pairs_per_second"], 1)]
        for phase in ("latency", *PHASES):
            found = row[f"{phase}_milliseconds"] or {}
            cells.append([*name, _PHASE_NAMES.get(phase, phase), *(_number(found.get(key), 3) for key in COLUMNS)])
            name = [""] * 4
    return _table(cells, left=2)


def _runs(runs: Sequence[dict[str, Any]]) -> list[str]:
    heads = ["whole run", "", *STAGES, "times", "peak", "start"]
    units = ["backend", "precision", *["ms"] * len(STAGES), "real time", "MB", "s"]
    cells = []
    for run in runs:
        factor = run["real_time_factor"]
        cells.append(
            [
                run["backend"],
                run["precision"],
                *(_number(run["stages_milliseconds"][stage], 2) for stage in STAGES),
                NONE if not factor else f"{1 / factor:.1f}",
                _number(1e-6 * run["peak_memory_bytes"], 0),
                _number(run["start_up"]["median_seconds"], 3),
            ]
        )
    return _table([heads, units, *cells], left=2)


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


def _table(cells: Sequence[Sequence[str]], *, left: int) -> list[str]:
    """Columns as wide as they need to be, the first ones aligned to the left."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        parts = [
            cell.ljust(width) if number < left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(parts).rstrip())
    return lines


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:,.{digits}f}"
