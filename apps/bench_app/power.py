"""Clocks, power mode and energy, as far as the machine lets them be read; None for what it does not."""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avol.apps.bench_app.nvml import Nvml

MODE_SECONDS = 10  # that the question for the power mode may take


@dataclass(frozen=True, kw_only=True)
class PowerFiles:
    """Where Linux tells it."""

    energy: Path = Path("/sys/class/powercap")
    clocks: Path = Path("/sys/devices/system/cpu")
    cpuinfo: Path = Path("/proc/cpuinfo")


class ProcessorEnergy:
    """The energy counters of the processor packages (RAPL), which usually only root may read.

    Between two readings a counter must not go round more than once; that takes minutes.
    """

    def __init__(self, files: PowerFiles) -> None:
        # The packages hold their cores: domains within a package would count twice.
        packages = sorted(files.energy.glob("intel-rapl:*")) if files.energy.is_dir() else []
        self._packages = [path for path in packages if (_text(path / "name") or "").startswith("package")]
        self._last: dict[Path, int] = {}
        self._joules = 0.0

    def joules(self) -> float | None:
        """Since the first reading."""
        if not self._packages:
            return None
        for package in self._packages:
            now, reach = _number(package / "energy_uj"), _number(package / "max_energy_range_uj")
            if now is None:
                return None
            used = now - self._last.get(package, now)
            self._joules += 1e-6 * (used if used >= 0 else used + (reach or 0))
            self._last[package] = now
        return self._joules


def processor_clocks(files: PowerFiles) -> dict[str, Any]:
    """Mean over the cores at this moment in MHz, who said so, and the governor.

    Virtual machines know no more than ``/proc/cpuinfo``, which tells them the nominal clock.
    """
    found = [_number(path) for path in sorted(files.clocks.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))]
    kilohertz = [value for value in found if value is not None]
    governor = _text(files.clocks / "cpu0" / "cpufreq" / "scaling_governor")
    if kilohertz:
        return {"megahertz": round(statistics.fmean(kilohertz) / 1e3, 1), "source": "cpufreq", "governor": governor}
    megahertz = [
        float(value) for value in re.findall(r"^cpu MHz\s*:\s*([\d.]+)", _text(files.cpuinfo) or "", re.MULTILINE)
    ]
    if megahertz:
        return {"megahertz": round(statistics.fmean(megahertz), 1), "source": "cpuinfo", "governor": governor}
    return {"megahertz": None, "source": None, "governor": governor}


def power_mode() -> str | None:
    """The mode of a Jetson; None elsewhere."""
    program = shutil.which("nvpmodel")
    if program is None:
        return None
    try:
        done = subprocess.run([program, "-q"], capture_output=True, text=True, timeout=MODE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"NV Power Mode:\s*(\S+)", done.stdout)
    return found[1] if found else None


def power_record(files: PowerFiles, nvml: Nvml | None) -> dict[str, Any]:
    """Clocks at this moment, and what may be drawn."""
    return {
        "processor": processor_clocks(files),
        "gpu_megahertz": None if nvml is None else nvml.clocks_megahertz(),
        "gpu_power_limit_watts": None if nvml is None else nvml.power_limit_watts(),
        "power_mode": power_mode(),
    }


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text is not None and text.isdecimal() else None
