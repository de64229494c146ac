"""Which packages are installed, in which versions, and which of them must not meet; nothing is imported for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

# What does the same job under several names: builds of one Python module. The first is the one avol asks for.
BUILDS = {
    "onnxruntime": (
        "onnxruntime",
        "onnxruntime-gpu",
        "onnxruntime-training",
        "onnxruntime-directml",
        "onnxruntime-openvino",
        "onnxruntime-rocm",
        "onnxruntime-qnn",
    ),
    "cv2": ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python"),
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),  # the first brings one of the others along
    "tensorrt_rtx": ("tensorrt-rtx-cu13", "tensorrt-rtx-cu12", "tensorrt-rtx"),
}
EXCLUSIVE = ("onnxruntime", "cv2")
SHOWN = ("numpy", "av", "cv2", "onnxruntime", "torch", "tensorrt", "tensorrt_rtx", "pycuda", "cuda-bindings")


@dataclass(frozen=True)
class Problem:
    """What is wrong, the one line that mends it, and whether no model runs until then."""

    fact: str
    fix: str
    fatal: bool = False


def installed_packages(path: Sequence[str] | None = None) -> dict[str, str]:
    """Versions by normalised name; ``path`` is searched instead of the process's own."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions() if path is None else metadata.distributions(path=list(path)):
        name, version = distribution.metadata["Name"], distribution.metadata["Version"]
        if name and version:  # a folder that an interrupted uninstallation left has neither
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return found


def shown_packages(installed: dict[str, str]) -> dict[str, str | None]:
    """What a report lists: every build that is there, None for what is not."""
    rows: dict[str, str | None] = {}
    for name in SHOWN:
        builds = [build for build in BUILDS.get(name, (name,)) if build in installed]
        rows.update({build: installed[build] for build in builds} if builds else {BUILDS.get(name, (name,))[0]: None})
    return rows


def package_conflicts(installed: dict[str, str], *, has_gpu: bool) -> list[Problem]:
    """Builds of one module that overwrite each other's files."""
    problems = []
    for module in EXCLUSIVE:
        builds = [build for build in BUILDS[module] if build in installed]
        if len(builds) < 2:
            continue
        keep = builds[1] if module == "onnxruntime" and has_gpu else builds[0]
        problems.append(
            Problem(
                f"{' and '.join(builds)} are installed together, but are one Python module ({module})",
                f"pip uninstall -y {' '.join(builds)} && pip install {_pinned(keep, installed[keep])}",
            )
        )
    return problems


def unmet_requirements(installed: dict[str, str], requirements: Sequence[str]) -> list[Problem]:
    """What avol itself needs, extras aside, and is missing or of another version.

    Args:
        installed: versions by normalised name.
        requirements: as the package's metadata has them, e.g. ``av<19,>=18``.
    """
    problems = []
    for requirement in (text for text in requirements if ";" not in text):
        name = re.split(r"[<>=!~ \[]", requirement, maxsplit=1)[0]
        version, limits = installed.get(name.lower()), re.findall(r"(<=|>=|==|<|>)\s*([\d.]+)", requirement)
        builds = next((names for names in BUILDS.values() if name in names), ())
        if version is None and any(build in installed for build in builds):
            continue
        if version is None:
            problems.append(Problem(f"{name} is not installed", f"pip install '{requirement}'", fatal=True))
        elif not all(_holds(version, sign, limit) for sign, limit in limits):
            problems.append(
                Problem(f"{name} {version} is installed, avol needs {requirement}", f"pip install '{requirement}'")
            )
    return problems


def _holds(version: str, sign: str, limit: str) -> bool:
    here, there = numbers(version), numbers(limit)
    width = max(len(here), len(there))
    here, there = here + (0,) * (width - len(here)), there + (0,) * (width - len(there))
    return {"<": here < there, "<=": here <= there, ">": here > there, ">=": here >= there, "==": here == there}[sign]


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: ``2.11.0+cpu`` is (2, 11, 0)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def _pinned(name: str, version: str) -> str:
    return f"{name}=={version}"
