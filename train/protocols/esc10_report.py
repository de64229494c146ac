"""The result of the downstream test as text and as JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

from avol.runtime.spec import ModelSpec
from avol.train.protocols.esc10 import Described
from avol.train.protocols.esc10_list import ClipList
from avol.train.protocols.measure import Measured
from avol.train.protocols.report import FORMAT, skipped_lines, tables_and_notes, tables_as_record

Penalties = dict[str, dict[int, float]]  # by features and held-out fold


def esc10_record(
    listed: ClipList,
    found: Described,
    measured: Measured,
    penalties: Penalties,
    spec: ModelSpec,
    probed: dict[str, str],
) -> dict[str, Any]:
    """Everything, for a file; ``probed`` says what of the model was probed: layer, backend and precision."""
    return {
        "format": FORMAT,
        "protocol": "esc10",
        "annotations": {"path": str(listed.path), "sha256": listed.sha256},
        "model": {"name": spec.name, "sha256": spec.weights_sha256} | probed,
        "samples": _counts(listed, found),
        "tables": tables_as_record(measured),
        "penalties": {name: {str(fold): value for fold, value in folds.items()} for name, folds in penalties.items()},
        "notes": measured.notes,
        "missing": [dataclasses.asdict(skipped) for skipped in found.missing],
        "unusable": [dataclasses.asdict(skipped) for skipped in found.unusable],
    }


def esc10_text(
    listed: ClipList, found: Described, measured: Measured, spec: ModelSpec, probed: dict[str, str]
) -> list[str]:
    """The same in lines, in per cent, with 95 % bootstrap intervals over recordings."""
    size = found.features["network"].shape[1]
    counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in _counts(listed, found).items())
    lines = [
        f"esc10: {listed.path}, {spec.name} {spec.weights_sha256[:12]}, layer {probed['layer']} ({size} numbers), "
        f"{probed['backend']} {probed['precision']}",
        f"samples: {counts}",
        *skipped_lines([*found.missing, *found.unusable]),
    ]
    return lines + tables_and_notes(measured)


def _counts(listed: ClipList, found: Described) -> dict[str, int]:
    return {
        "annotated": len(listed.clips),
        "used": len(found.clips),
        "missing": len(found.missing),
        "unusable": len(found.unusable),
        "padded_with_silence": found.padded,
        "rows_of_other_sounds": listed.others,
    }
