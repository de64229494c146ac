"""What runs here and what does not: every part is tried, and every fault comes with the line that mends it."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from avol.runtime.backends.cuda import PROVIDER as CUDA_PROVIDER
from avol.runtime.backends.cuda import preload_libraries
from avol.runtime.backends.installed import (
    BUILDS,
    Problem,
    installed_packages,
    numbers,
    package_conflicts,
    shown_packages,
    unmet_requirements,
)
from avol.runtime.backends.nvidia import Gpu, find_gpu
from avol.runtime.backends.onnx_sessions import first_line, import_engine, import_onnxruntime
from avol.runtime.errors import AvolError, UnavailableError
from avol.runtime.model_folder import bundled_model_folder, read_spec

CPU_PROVIDER = "CPUExecutionProvider"
REMOTE_PROVIDERS = ("AzureExecutionProvider",)  # computes elsewhere
WORKS = "works"
_FIXES = {
    "numpy": "pip install --force-reinstall --no-deps numpy",
    "av": "pip install --force-reinstall --no-deps 'av>=18,<19'",
    "cv2": "pip uninstall -y opencv-python opencv-contrib-python && pip install --force-reinstall --no-deps "
    "opencv-python-headless",
}


@dataclass
class Diagnosis:
    """What was found.

    Attributes:
        python: version and platform.
        packages: versions by name, None for what is not installed.
        gpu: the first one, or why there is none.
        providers: of ONNX Runtime: ``works``, or why not.
        engines: TensorRT and what it needs, by import name: a version, or why it does not load.
        problems: in the order found.
    """

    python: str
    packages: dict[str, str | None]
    gpu: Gpu | str
    providers: dict[str, str] = field(default_factory=dict)
    engines: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def can_run(self) -> bool:
        """Whether a model can be run on a video."""
        return WORKS in self.providers.values() and not any(problem.fatal for problem in self.problems)


def diagnose(path: Sequence[str] | None = None) -> Diagnosis:
    """Try everything.

    Args:
        path: where installed packages are looked for; None: where Python looks.
    """
    try:
        gpu: Gpu | str = find_gpu()
    except UnavailableError as error:
        gpu = error.reason
    installed = installed_packages(path)
    found = Diagnosis(f"{platform.python_version()} on {platform.platform()}", shown_packages(installed), gpu)
    found.problems += package_conflicts(installed, has_gpu=isinstance(gpu, Gpu))
    with contextlib.suppress(metadata.PackageNotFoundError):
        found.problems += unmet_requirements(installed, metadata.requires("avol") or ())
    _try_imports(found)
    _try_providers(found)
    _try_engines(found, installed)
    return found


def _try_imports(found: Diagnosis) -> None:
    for module, fix in _FIXES.items():
        try:
            importlib.import_module(module)
        except (ImportError, OSError, AttributeError) as error:
            found.problems.append(Problem(f"{module} cannot be imported: {first_line(error)}", fix, fatal=True))


def _try_providers(found: Diagnosis) -> None:
    has_gpu = isinstance(found.gpu, Gpu)
    extra = "gpu" if has_gpu else "cpu"
    builds = [name for name in BUILDS["onnxruntime"] if found.packages.get(name)]
    try:
        ort = import_onnxruntime()
    except UnavailableError as error:
        remove = f"pip uninstall -y {' '.join(builds)}; " if builds else ""
        fact, _, _ = str(error).partition(";")
        found.problems.append(
            Problem(fact.rstrip("."), f"{remove}pip install '.[{extra}]' in avol's folder", fatal=True)
        )
        return
    said = preload_libraries(ort) if hasattr(ort, "preload_dlls") else ""
    for provider in ort.get_available_providers():
        if provider not in REMOTE_PROVIDERS:
            found.providers[provider] = try_provider(ort, provider)
    if CUDA_PROVIDER in found.providers:
        found.problems += _cuda_problems(ort, found, said)
    elif has_gpu:
        found.problems.append(
            Problem(
                f"onnxruntime {ort.__version__} has no CUDA, so that it leaves the GPU idle",
                f"pip uninstall -y {' '.join(builds)}; pip install '.[gpu]' in avol's folder",
            )
        )
    if found.providers.get(CPU_PROVIDER) != WORKS:
        found.problems.append(
            Problem(
                f"onnxruntime does not compute: {found.providers.get(CPU_PROVIDER, 'it has no CPU provider')}",
                f"pip install --force-reinstall --no-deps {' '.join(builds) or 'onnxruntime'}",
            )
        )


def try_provider(ort: Any, provider: str) -> str:  # noqa: ANN401 (a module)
    """Run the smallest graph of the bundled model on one provider alone; gives ``works``, or why not."""
    import numpy as np

    folder = bundled_model_folder()
    try:
        spec = read_spec(folder)
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.add_free_dimension_override_by_name("batch", 1)
        if provider != CPU_PROVIDER:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        session = ort.InferenceSession(str(folder / "head.onnx"), options, providers=[provider], enable_fallback=0)
        if provider not in session.get_providers():
            return _missing_library(ort) or "it does not load"
        grid = np.zeros((1, spec.embedding_size, spec.grid_height, spec.grid_width), np.float32)
        maps, _ = session.run(None, {"grid": grid, "vector": np.zeros((1, spec.embedding_size), np.float32)})
    except AvolError as error:
        return str(error)
    except Exception as error:  # ONNX Runtime raises its own types, which share no base but Exception
        return (provider == CUDA_PROVIDER and _missing_library(ort)) or first_line(error)
    return WORKS if maps.shape == (1, spec.grid_height, spec.grid_width) and np.isfinite(maps).all() else "it miscounts"


def _missing_library(ort: Any) -> str:  # noqa: ANN401 (a module)
    """What the loader says of ONNX Runtime's CUDA library: it names the first library that is not there."""
    library = Path(ort.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    if not library.is_file():
        return ""
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        text = first_line(error)
        return text if "cannot open shared object" in text else ""
    return ""


def _cuda_problems(ort: Any, found: Diagnosis, said: str) -> list[Problem]:  # noqa: ANN401 (a module)
    state = found.providers[CUDA_PROVIDER]
    if state == WORKS:
        return []
    if not isinstance(found.gpu, Gpu):
        return [
            Problem(
                f"ONNX Runtime's build for CUDA is installed, but there is no GPU to use: {found.gpu}",
                "install the NVIDIA driver and look at nvidia-smi; without a GPU, make setup ENGINE=cpu",
            )
        ]
    needed = str(getattr(ort, "cuda_version", "") or "")
    if needed and numbers(found.gpu.cuda_version) < numbers(needed)[:1]:
        return [
            Problem(
                f"the NVIDIA driver runs CUDA up to {found.gpu.cuda_version}, onnxruntime-gpu needs {needed}",
                "install a newer NVIDIA driver",
            )
        ]
    return [
        Problem(
            f"ONNX Runtime's CUDA provider does not work: {state}" + (f" ({said})" if said else ""),
            "pip install --force-reinstall '.[gpu]' in avol's folder, which brings the CUDA libraries",
        )
    ]


def _try_engines(found: Diagnosis, installed: dict[str, str]) -> None:
    """TensorRT, and what running its engines needs; nothing of it is missed where TensorRT is not installed."""
    present = [name for name in ("tensorrt", "tensorrt_rtx") if any(build in installed for build in BUILDS[name])]
    if not present:
        return
    for name in present:
        build = next(build for build in BUILDS[name] if build in installed)
        _try_engine(found, name, name, f"pip install --force-reinstall {build}=={installed[build]}")
    install = "pip install '.[tensorrt]' in avol's folder (running engines needs it)"
    for module, package in (("pycuda.driver", "pycuda"), ("cuda.bindings.runtime", "cuda-bindings")):
        again = f"pip install --force-reinstall --no-cache-dir --no-deps {package}"
        _try_engine(found, module, package, again if package in installed else install)


def _try_engine(found: Diagnosis, module: str, package: str, fix: str) -> None:
    try:
        loaded = import_engine(module, package=package, extra="")
    except UnavailableError as error:
        fact = str(error).partition(";")[0]
        found.engines[package] = fact.removeprefix(f"{package}: ")
        if isinstance(found.gpu, Gpu):  # without one there is nothing that it could do
            found.problems.append(Problem(fact, fix))
        return
    found.engines[package] = str(getattr(loaded, "__version__", found.packages.get(package) or WORKS))
