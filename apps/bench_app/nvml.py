"""NVIDIA's management library, which comes with the driver: clocks, power and energy of the first GPU.

Source of names and numbers: NVIDIA, *NVML API Reference Guide*.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
_CLOCKS = {"graphics": 0, "streaming_multiprocessor": 1, "memory": 2}  # nvmlClockType_t


class Nvml:
    """The library, opened; what it does not know here is None.

    Raises:
        OSError: there is no driver, or it finds no GPU.
    """

    def __init__(self, load: Callable[[str], Any] = ctypes.CDLL) -> None:
        self._library = load(LIBRARY)
        self._device = ctypes.c_void_p()
        status = self._library.nvmlInit_v2()
        if status == 0:
            status = self._library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(self._device))
        if status != 0:
            raise OSError(f"{LIBRARY}: error {status}")

    def joules(self) -> float | None:
        """What the GPU has used since the driver was loaded (Volta and later)."""
        return self._read(ctypes.c_ulonglong(), "nvmlDeviceGetTotalEnergyConsumption", scale=1e-3)

    def power_limit_watts(self) -> float | None:
        """What the GPU may draw."""
        return self._read(ctypes.c_uint(), "nvmlDeviceGetEnforcedPowerLimit", scale=1e-3)

    def clocks_megahertz(self) -> dict[str, float | None]:
        """At this moment."""
        return {name: self._read(ctypes.c_uint(), "nvmlDeviceGetClockInfo", kind) for name, kind in _CLOCKS.items()}

    def _read(self, value: Any, function: str, *arguments: int, scale: float = 1.0) -> float | None:  # noqa: ANN401
        """One number; ``value`` is where the library writes it."""
        call = getattr(self._library, function, None)
        if call is None or call(self._device, *arguments, ctypes.byref(value)) != 0:
            return None
        return float(value.value) * scale


def open_nvml() -> Nvml | None:
    """None where there is no driver or no GPU."""
    with contextlib.suppress(OSError, AttributeError):
        return Nvml()
    return None
