"""Timing caches: how fast each kernel ran, measured once per device, CUDA and TensorRT version."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from avol.export.engines_device import Device
from avol.export.engines_modules import Builder
from avol.runtime.atomic import AtomicOutput
from avol.runtime.errors import AvolError


def default_folder() -> Path:
    """Where timing caches are kept: ``avol/timing-caches`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "avol" / "timing-caches"


def cache_path(folder: Path, builder: Builder, device: Device, cuda: str) -> Path:
    """The cache that belongs to this builder on this device: a cache of another one must not be used."""
    parts = (builder.name, builder.version, f"cuda{cuda}", f"driver{device.driver_version}", device.gpu_name)
    name = "-".join((*parts, f"cc{device.compute_capability}"))
    return folder / f"{re.sub(r'[^A-Za-z0-9.]+', '-', name)}.timing"


def attach_cache(config: Any, path: Path) -> str:  # noqa: ANN401 (of the bindings)
    """Give a builder's configuration the cache in ``path``, or an empty one.

    Returns:
        A line for the user where a cache could not be used; else empty.
    """
    try:
        known = path.read_bytes()
    except FileNotFoundError:
        known = b""
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror}); kernels are timed anew."
    cache = config.create_timing_cache(known)
    if cache is not None and config.set_timing_cache(cache, False):
        return ""
    config.set_timing_cache(config.create_timing_cache(b""), False)
    return f"{path}: a timing cache of something else; kernels are timed anew." if known else ""


def keep_cache(config: Any, path: Path) -> str:  # noqa: ANN401 (of the bindings)
    """Write what the build has measured; gives a line for the user where that failed, which costs time alone."""
    cache = config.get_timing_cache()
    if cache is None:
        return ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with AtomicOutput(path) as output:
            output.temporary.write_bytes(bytes(cache.serialize()))
            output.commit()
    except (OSError, AvolError) as error:
        return f"{path}: the timing cache cannot be kept ({error}); the next build takes as long."
    return ""
