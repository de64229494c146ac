"""Which TensorRT builds: the module ``tensorrt`` or ``tensorrt_rtx``, both driven through one handle."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from avol.export.engines_device import Device
from avol.export.engines_options import ENGINES
from avol.runtime.errors import AvolError
from avol.runtime.plan_files import PRODUCT_NAMES, runs_on_rtx

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
STRONG_TYPES, FP16_FLAG = "strong types", "FP16 flag"
FIRST_WITH_STRONG_TYPES = (10, 12)  # earlier 10.x builds FP16 and INT8 by flags of the builder


@dataclass(frozen=True)
class Builder:
    """A TensorRT that is here.

    Attributes:
        name: ``tensorrt`` or ``tensorrt-rtx``.
        module: its Python module.
        version: all parts of it.
    """

    name: str
    module: Any
    version: str

    @property
    def product(self) -> str:
        """Name and version, for messages."""
        return f"{PRODUCT_NAMES[self.name]} {self.version}"

    @property
    def typing(self) -> str:
        """How precision reaches the engine: ``strong types`` (those of the graph) or ``FP16 flag`` (older 10.x)."""
        if self.name == "tensorrt-rtx":
            return STRONG_TYPES
        numbers = tuple(int(part) for part in re.findall(r"\d+", self.version)[:2])
        return STRONG_TYPES if numbers >= FIRST_WITH_STRONG_TYPES else FP16_FLAG


def choose_builder(engine: str, device: Device | None, report: Callable[[str], None]) -> Builder | None:
    """The builder to use; None: no engines are built, for a reason that ``report`` is told.

    Args:
        engine: ``auto``, ``none``, ``tensorrt`` or ``tensorrt-rtx``. ``auto`` takes TensorRT where it is installed and
            there is a GPU, else TensorRT-RTX where that is installed.
        device: the GPU here.
        report: is given one line for the user.

    Raises:
        AvolError: no such engine, the one that was named is not installed, or it needs a GPU.
    """
    if engine not in ENGINES:
        raise AvolError(f"engine: {engine!r} is unknown; take one of {', '.join(ENGINES)}.")
    if engine == "none":
        return None
    if engine != "auto":
        builder = import_builder(engine)
        if builder is None:
            raise AvolError(_not_installed(engine))
        if needs_gpu(builder) and device is None:
            raise AvolError(
                f"{builder.product} builds on the GPU that the engine is for, and here is none; "
                "build there, or take --engine tensorrt-rtx or --engine none."
            )
        return _warned(builder, device, report)
    reasons = []
    for name in MODULES:
        try:
            builder = import_builder(name)
        except AvolError as error:
            reasons.append(str(error))
            continue
        if builder is None:
            continue
        if needs_gpu(builder) and device is None:
            reasons.append(f"{builder.product} needs the GPU that the engine is for, and here is none.")
            continue
        return _warned(builder, device, report)
    report(" ".join(reasons) or f"no engines: neither {' nor '.join(MODULES)} is installed ({_INSTALL}).")
    return None


def import_builder(name: str) -> Builder | None:
    """The builder of this name; None: it is not installed.

    Raises:
        AvolError: it is installed and does not load.
    """
    try:
        module = importlib.import_module(MODULES[name])
    except ModuleNotFoundError as error:
        if error.name != MODULES[name]:
            raise AvolError(f"{MODULES[name]} cannot be imported ({error}); install it again.") from None
        return None
    except (ImportError, OSError, RuntimeError) as error:  # a library of it is missing, or of another version
        raise AvolError(f"{MODULES[name]} cannot be imported ({error}); install it again.") from None
    return Builder(name, module, str(module.__version__))


def needs_gpu(builder: Builder) -> bool:
    """TensorRT times kernels on the GPU while it builds; TensorRT-RTX chooses them when the engine is loaded."""
    return builder.name == "tensorrt"


def _warned(builder: Builder, device: Device | None, report: Callable[[str], None]) -> Builder:
    if not needs_gpu(builder) and device is not None and not runs_on_rtx(device.compute_capability):
        report(f"{builder.product} builds for RTX GPUs: its engines do not run on the {device.gpu_name} here.")
    return builder


_INSTALL = "pip install '.[tensorrt]' or '.[tensorrt-rtx]' in avol's folder"


def _not_installed(name: str) -> str:
    return f"{MODULES[name]} is not installed: pip install '.[{name}]' in avol's folder, or take --engine none."
