"""Calibration ranges: what magnitudes of each tensor eight bits hold, in a small file beside the model."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avol.runtime.errors import AvolError
from avol.runtime.spec import ModelSpec

RANGES_FILE = "ranges.json"
RANGES_FORMAT = "avol.ranges/1"
LARGEST_INT8 = 127  # -128 stays unused: symmetric, as TensorRT demands
LARGEST_UINT8, MIDDLE_UINT8 = 255, 128


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """Ranges of both towers.

    Attributes:
        weights_sha256: of the model that they were measured on; they are good for no other.
        method: how they were chosen, e.g. ``percentile-99.99``.
        source: what was looked at and listened to.
        towers: ``frame`` and ``audio``, each with the largest magnitude by tensor; see ``eight_bits.range_names``.
    """

    weights_sha256: str
    method: str
    source: str
    towers: dict[str, dict[str, float]]
    format: str = RANGES_FORMAT

    def to_json(self) -> str:
        """As JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


def read_ranges(path: Path, spec: ModelSpec) -> Ranges:
    """The ranges in a file.

    Raises:
        AvolError: it cannot be read, is damaged, or belongs to another model than ``spec`` describes.
    """
    try:
        ranges = _build(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise AvolError(f"{path}: cannot be read ({error.strerror}); calibrate with --calibration.") from None
    except (ValueError, RecursionError) as error:
        raise AvolError(f"{path}: no calibration ranges: {error}; calibrate anew with --calibration.") from None
    if ranges.weights_sha256 != spec.weights_sha256:
        raise AvolError(
            f"{path}: calibration ranges of the weights {ranges.weights_sha256[:12]}, the model has "
            f"{spec.weights_sha256[:12]}; calibrate anew with --calibration."
        )
    return ranges


def _build(values: Any) -> Ranges:  # noqa: ANN401 (JSON)
    names = {field.name for field in dataclasses.fields(Ranges)}
    if not isinstance(values, dict) or values.get("format") != RANGES_FORMAT:
        raise ValueError(f"it is not of the format {RANGES_FORMAT}")
    if values.keys() != names:
        raise ValueError(f"it has the keys {sorted(values)}, expected {sorted(names)}")
    if not all(isinstance(values[name], str) for name in names - {"towers"}):
        raise ValueError("a text is not one")
    towers = values["towers"]
    if not isinstance(towers, dict) or towers.keys() != {"frame", "audio"}:
        raise ValueError("it does not hold the towers frame and audio")
    for tower in towers.values():
        if not isinstance(tower, dict) or not all(_is_magnitude(value) for value in tower.values()):
            raise ValueError("a range is not a positive number")
    return Ranges(**values)


def _is_magnitude(value: Any) -> bool:  # noqa: ANN401 (JSON)
    return type(value) in {int, float} and math.isfinite(value) and value > 0
