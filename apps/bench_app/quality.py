"""How well a model localises, from what was recorded of it: a fast model that finds nothing is no use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from avol.runtime.spec import ModelSpec

PATTERN = "evaluation*.json"  # in the model's folder, what `avol eval --json` wrote
NOT_RECORDED = "not recorded"
HEADLINE = "clip_peak_in_box"  # share of real clips with the peak inside the box of the source


def recorded_quality(folder: Path, spec: ModelSpec, precision: str) -> dict[str, Any] | None:
    """The figures of ``avol eval`` of these very weights in this precision; None: nobody has recorded any.

    Args:
        folder: of the model.
        spec: of the model.
        precision: that is measured.

    Returns:
        ``file``, ``part`` (of the material) and ``figures``, each a value 0..1 with its interval and count.
    """
    for path in sorted(folder.glob(PATTERN)):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            model, figures = found["model"], found["figures"]
            is_it = model["sha256"] == spec.weights_sha256 and model.get("precision", "fp32") == precision
            if is_it and spec.weights_sha256 and all("value" in figure for figure in figures.values()):
                return {"file": path.name, "part": found.get("part"), "figures": figures}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue  # something else under that name says nothing
    return None


def headline(quality: dict[str, Any] | None) -> str:
    """The one figure for the table, in per cent."""
    if quality is None or HEADLINE not in quality["figures"]:
        return NOT_RECORDED
    return f"{100 * quality['figures'][HEADLINE]['value']:.1f} %"
