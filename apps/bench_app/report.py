"""The report as a file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from avol.apps.bench_app.measure import FORMAT
from avol.runtime.atomic import AtomicOutput, write_error
from avol.runtime.errors import AvolError

LARGEST_BYTES = 16 << 20  # nothing larger is a report


def open_report(path: Path) -> AtomicOutput:
    """Where the report goes; an earlier report of that name is replaced when the new one is complete.

    Raises:
        AvolError: nothing can be written there, or something has the name that is no report.
    """
    output = AtomicOutput(path)
    if os.path.exists(path) and not _is_report(path):  # noqa: PTH110 (Path.exists raises where a name is too long)
        raise AvolError(f"{path}: is there already and no report of avol bench; choose another name for --report.")
    return output


def write_report(output: AtomicOutput, record: dict[str, Any]) -> None:
    """Write it and give it its name.

    Raises:
        AvolError: it cannot be written.
    """
    with output:
        try:
            output.temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise write_error(output.path, error) from None
        output.commit()


def _is_report(path: Path) -> bool:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            return False
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("format") == FORMAT
