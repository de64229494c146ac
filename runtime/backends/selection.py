"""Which backend runs a model: the one asked for, or the fastest that works here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from avol.runtime.backends import DEVICES, PRECISIONS
from avol.runtime.backends.backend import Backend
from avol.runtime.backends.cpu import CpuBackend
from avol.runtime.backends.nvidia import find_gpu
from avol.runtime.errors import AvolError, UnavailableError
from avol.runtime.model_folder import read_spec

GPU_DEVICES = ("tensorrt", "tensorrt-rtx", "cuda")  # the fastest first


def select_backend(folder: Path, device: str, precision: str, *, threads: int | None = None) -> Backend:
    """See :func:`avol.runtime.backends.open_backend`."""
    if device not in DEVICES:
        raise AvolError(f"{device!r} is no device; choose one of {', '.join(DEVICES)}.")
    if precision not in PRECISIONS:
        raise AvolError(f"{precision!r} is no precision; choose one of {', '.join(PRECISIONS)}.")
    read_spec(folder)  # that there is no model is said whatever the device

    def cpu() -> Backend:
        return CpuBackend(folder, precision=precision, threads=threads)

    if device == "cpu":
        return cpu()
    if device != "auto":
        find_gpu()
        return _on_gpu(folder, device, precision)
    tries: dict[str, Callable[[], Backend]] = {
        name: lambda name=name: _on_gpu(folder, name, precision)  # type: ignore[misc]
        for name in GPU_DEVICES
    }
    passed_over: list[str] = []
    try:
        find_gpu()
    except UnavailableError as error:
        tries, passed_over = {}, [error.reason]
    for name, open_it in tries.items():
        try:
            backend = open_it()
        except UnavailableError as error:
            passed_over.append(f"not {name}: {error.reason}")
        else:
            backend.passed_over = tuple(passed_over)
            return backend
    backend = cpu()
    backend.passed_over = tuple(passed_over)
    return backend


def _on_gpu(folder: Path, device: str, precision: str) -> Backend:
    if device == "cuda":
        from avol.runtime.backends.cuda import CudaBackend

        return CudaBackend(folder, precision=precision)
    from avol.runtime.backends.tensorrt_backend import TensorRtBackend

    return TensorRtBackend(folder, builder=device, precision=precision)
