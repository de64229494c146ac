"""What runs a model's graphs: TensorRT, ONNX Runtime on CUDA, ONNX Runtime on the CPU.

Importing this is light: ``--help`` names the devices without an inference engine.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avol.runtime.backends.backend import Backend

DEVICES = ("auto", "cpu", "cuda", "tensorrt", "tensorrt-rtx")
PRECISIONS = ("auto", "fp32", "fp16", "int8")


def open_backend(
    model: Path | None = None, device: str = "auto", precision: str = "auto", *, threads: int | None = None
) -> Backend:
    """Open a model on a device; the result is a context manager.

    Args:
        model: folder that ``avol export`` wrote; None: the bundled model.
        device: of :data:`DEVICES`. ``auto`` takes the first that works of a TensorRT engine in the folder, CUDA and the
            CPU; :attr:`Backend.description` says which, and why not a faster one.
        precision: of :data:`PRECISIONS`. ``auto`` is the fastest that the folder holds and the device is good at.
        threads: for the CPU; None: its cores.

    Raises:
        AvolError: no usable model, or ``device`` or ``precision`` was named and cannot be had: the message says what
            is missing. Nothing else is taken instead.
    """
    from avol.runtime.backends.selection import select_backend
    from avol.runtime.model_folder import bundled_model_folder

    return select_backend(model or bundled_model_folder(), device, precision, threads=threads)
