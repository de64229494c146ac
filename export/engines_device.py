"""The GPU and driver that an engine is built beside, if there are any, asked of the driver itself."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

DRIVER_LIBRARY = "libcuda.so.1"
DRIVER_FILE = Path("/proc/driver/nvidia/version")
# Of cuDeviceGetAttribute, CUDA driver API.
COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR = 75, 76


@dataclass(frozen=True, kw_only=True)
class Device:
    """The first CUDA device; ``driver_version`` is None where the driver does not say it (older Jetsons)."""

    gpu_name: str
    compute_capability: str
    driver_version: str | None


def current_device() -> Device | None:
    """The GPU that CUDA uses by default; None: there is no driver, or it finds no GPU."""
    try:
        driver = ctypes.CDLL(DRIVER_LIBRARY)
    except OSError:
        return None
    device = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return None
    name = ctypes.create_string_buffer(256)
    if driver.cuDeviceGetName(name, len(name), device):
        return None
    major, minor = (_attribute(driver, which, device) for which in (COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR))
    return Device(
        gpu_name=name.value.decode(errors="replace"),
        compute_capability=f"{major}.{minor}",
        driver_version=_driver_version(),
    )


def cuda_version(builder: str) -> str:
    """Version of CUDA that a builder was made for: of its wheel, else of the driver; ``unknown`` without either.

    Args:
        builder: ``tensorrt`` or ``tensorrt-rtx``, whose wheels have names such as ``tensorrt-cu13``.
    """
    for distribution in metadata.distributions():
        name = (distribution.metadata["Name"] or "").lower().replace("_", "-")
        if match := re.fullmatch(rf"{builder}-cu(\d+)", name):
            return match[1]
    try:
        driver = ctypes.CDLL(DRIVER_LIBRARY)
    except OSError:
        return "unknown"
    version = ctypes.c_int()
    if driver.cuDriverGetVersion(ctypes.byref(version)):
        return "unknown"
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def _attribute(driver: Any, which: int, device: ctypes.c_int) -> int:  # noqa: ANN401 (ctypes)
    value = ctypes.c_int()
    driver.cuDeviceGetAttribute(ctypes.byref(value), which, device)
    return value.value


def _driver_version() -> str | None:
    try:
        text = DRIVER_FILE.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    match = re.search(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b", text)
    return match[1] if match else None
