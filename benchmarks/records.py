"""What benchmarks tell: a record on the screen and, if asked for, in a file."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from pathlib import Path


def publish(record: Mapping[str, object], file: Path | None) -> None:
    """Print a record as JSON and write it to the file."""
    text = json.dumps(record, indent=2)
    print(text)
    if file is not None:
        file.write_text(text + "\n", encoding="utf-8")


def processor() -> str:
    """Name of the CPU where Linux tells it."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text(encoding="utf-8")) if info.exists() else []
    return names[0] if names else platform.machine()
