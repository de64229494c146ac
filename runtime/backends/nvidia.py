"""What the NVIDIA driver says of this machine, asked without any CUDA package."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avol.runtime.errors import UnavailableError

DRIVER_LIBRARY = "libcuda.so.1"
DRIVER_VERSION_FILE = Path("/proc/driver/nvidia/version")
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # of CUdevice_attribute
_ADVICE = "install the NVIDIA driver, or choose --device cpu"


@dataclass(frozen=True)
class Gpu:
    """The first GPU.

    Attributes:
        name: as the driver gives it.
        compute_capability: e.g. ``9.0``.
        driver_version: e.g. ``580.65.06``; None where Linux does not tell (Jetson).
        cuda_version: the newest CUDA that the driver runs, e.g. ``13.0``.
    """

    name: str
    compute_capability: str
    driver_version: str | None
    cuda_version: str


def find_gpu() -> Gpu:
    """Ask the driver for the first GPU.

    Raises:
        UnavailableError: no driver, or one that finds no GPU.
    """
    try:
        driver = ctypes.CDLL(DRIVER_LIBRARY)
    except OSError:
        raise UnavailableError(
            f"{DRIVER_LIBRARY}: there is no NVIDIA driver; {_ADVICE}.", reason="no NVIDIA driver"
        ) from None
    if status := driver.cuInit(0):
        raise _failure(f"the NVIDIA driver does not start (CUDA error {status})")
    count, device, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        raise _failure("the NVIDIA driver finds no GPU")
    name = ctypes.create_string_buffer(256)
    status = driver.cuDeviceGet(ctypes.byref(device), 0) or driver.cuDeviceGetName(name, len(name), device)
    if status or driver.cuDriverGetVersion(ctypes.byref(version)):
        raise _failure(f"the NVIDIA driver does not describe its GPU (CUDA error {status})")
    capability = f"{_attribute(driver, _CAPABILITY_MAJOR, device)}.{_attribute(driver, _CAPABILITY_MINOR, device)}"
    cuda_version = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return Gpu(name.value.decode(errors="replace"), capability, _driver_version(), cuda_version)


def _failure(fact: str) -> UnavailableError:
    return UnavailableError(f"{DRIVER_LIBRARY}: {fact}; look at nvidia-smi, or choose --device cpu.", reason=fact)


def _attribute(driver: Any, attribute: int, device: ctypes.c_int) -> int:  # noqa: ANN401 (a library)
    value = ctypes.c_int()
    driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
    return value.value


def _driver_version() -> str | None:
    try:
        text = DRIVER_VERSION_FILE.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r"(?:Kernel Module|Open Kernel Module).*?\b(\d+\.\d+(?:\.\d+)?)\b", text)
    return found[1] if found else None
