"""The result of a protocol as text and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from avol.train.protocols.collect import Collected, Skipped
from avol.train.protocols.measure import Measured
from avol.train.protocols.model import OpenModel
from avol.train.protocols.samples import Annotations

FORMAT = "avol.protocol/1"
SHOWN_SKIPPED = 5


def as_record(
    annotations: Annotations, measured: Measured, collected: Collected | None, model: OpenModel | None
) -> dict[str, Any]:
    """Everything, for a file."""
    return {
        "format": FORMAT,
        "protocol": annotations.protocol,
        "annotations": {"path": str(annotations.path), "sha256": annotations.sha256},
        "model": None if model is None else {"name": model.spec.name, "sha256": model.spec.weights_sha256},
        "samples": _counts(annotations, collected),
        "tables": tables_as_record(measured),
        "notes": measured.notes,
        "missing": [] if collected is None else [dataclasses.asdict(skipped) for skipped in collected.missing],
        "unusable": [] if collected is None else [dataclasses.asdict(skipped) for skipped in collected.unusable],
    }


def as_text(
    annotations: Annotations, measured: Measured, collected: Collected | None, model: OpenModel | None
) -> list[str]:
    """The same in lines, in per cent, with 95 % bootstrap intervals over source videos."""
    what = "controls alone" if model is None else f"{model.spec.name} {model.spec.weights_sha256[:12]}"
    lines = [f"{annotations.protocol}: {annotations.path}, {what}"]
    counts = _counts(annotations, collected)
    lines.append("samples: " + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()))
    if collected is not None:
        lines += skipped_lines([*collected.missing, *collected.unusable])
    return lines + tables_and_notes(measured)


def skipped_lines(skipped: Sequence[Skipped]) -> list[str]:
    """The first samples that were not measured, and how many more there are."""
    lines = [f"  {item.key}: {item.reason}" for item in skipped[:SHOWN_SKIPPED]]
    if len(skipped) > SHOWN_SKIPPED:
        lines.append(f"  and {len(skipped) - SHOWN_SKIPPED} more, all in the file of --json")
    return lines


def tables_and_notes(measured: Measured) -> list[str]:
    """Figures in per cent with their intervals, then the notes."""
    lines = []
    for title, table in measured.tables.items():
        columns = list(next(iter(table.values())))
        lines += ["", title, " " * 46 + "".join(f"{name:<24}" for name in columns).rstrip()]
        for row, figures in table.items():
            cells = (f"{100 * f.value:6.2f} [{100 * f.low:.1f}, {100 * f.high:.1f}]" for f in figures.values())
            lines.append(f"  {row:<44}" + "".join(f"{cell:<24}" for cell in cells).rstrip())
    return lines + [""] * bool(measured.notes) + measured.notes


def tables_as_record(measured: Measured) -> dict[str, Any]:
    """The same for a file."""
    return {
        title: {row: {name: dataclasses.asdict(f) for name, f in columns.items()} for row, columns in table.items()}
        for title, table in measured.tables.items()
    }


def _counts(annotations: Annotations, collected: Collected | None) -> dict[str, int]:
    counts = {"annotated": len(annotations.samples)}
    if collected is not None:
        counts |= {
            "used": len(collected.samples),
            "missing": len(collected.missing),
            "unusable": len(collected.unusable),
        }
    return counts | {
        "without_a_box": annotations.without_box,
        "boxes_clipped": annotations.clipped,
        "boxes_without_area": annotations.dropped,
    }
