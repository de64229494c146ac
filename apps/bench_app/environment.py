"""What was measured on: whoever repeats a measurement has to know."""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import time
from pathlib import Path
from typing import Any

from avol import __version__
from avol.runtime.backends.cpu import available_cores
from avol.runtime.backends.installed import installed_packages, shown_packages
from avol.runtime.backends.nvidia import find_gpu
from avol.runtime.errors import UnavailableError

CPUINFO = Path("/proc/cpuinfo")


def environment_record() -> dict[str, Any]:
    """Versions, machine, and how busy it was before the measurement."""
    try:
        gpu: dict[str, Any] | None = dataclasses.asdict(find_gpu())
    except UnavailableError:
        gpu = None
    return {
        "avol": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor_name(),
        "cores": available_cores(),
        "memory_bytes": memory_bytes(),
        "gpu": gpu,
        "packages": shown_packages(installed_packages()),
        "load_average_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def processor_name(cpuinfo: Path = CPUINFO) -> str:
    """Its name where Linux tells it, else its architecture."""
    try:
        found = re.search(
            r"^model name\s*:\s*(.+)$", cpuinfo.read_text(encoding="utf-8", errors="replace"), re.MULTILINE
        )
    except OSError:
        found = None
    return found[1].strip() if found else platform.machine()


def memory_bytes() -> int | None:
    """Of the machine; None where it does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
