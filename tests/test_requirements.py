"""What is installed with what: extras in pyproject.toml, versions in constraints.txt, imports in the code."""

from __future__ import annotations

import ast
import itertools
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

EXTRAS = ("cpu", "gpu", "tensorrt", "tensorrt-rtx", "fetch", "train", "export", "demo", "dev")
ENGINES = {"onnxruntime", "onnxruntime-gpu"}
ROOMS = ("runtime", "train", "export", "apps")
PROJECT = "avol (pyproject.toml)"

# Import name -> distribution, where they differ.
DISTRIBUTIONS = {"cv2": "opencv-python-headless", "cuda": "cuda-bindings", "tensorrt_rtx": "tensorrt-rtx-cu13"}
# What each room may import beside the standard library and what the extras below bring.
ROOM_EXTRAS = {
    "runtime": ("cpu", "tensorrt", "tensorrt-rtx"),
    "train": ("train", "fetch"),
    "export": ("export", "cpu", "tensorrt", "tensorrt-rtx"),
    "apps": ("cpu", "train", "fetch", "export", "demo"),
}


@pytest.fixture(scope="module")
def direct(repository: Path) -> dict[str, list[Requirement]]:
    """Requirements by extra; those of every installation under the empty name."""
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    return {extra: [Requirement(text) for text in texts] for extra, texts in groups.items()}


class Lock:
    """constraints.txt: versions by name, and the graph that the comments of the resolver tell."""

    LINE = re.compile(r"(?P<requirement>[^#]+?)\s+# via (?P<parents>.+)")

    def __init__(self, path: Path) -> None:
        self.versions: dict[str, list[Requirement]] = {}
        self.children: dict[str, set[str]] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            match = self.LINE.fullmatch(line)
            assert match, f"not a constraint with its reason: {line}"
            requirement = Requirement(match["requirement"])
            self.versions.setdefault(requirement.name, []).append(requirement)
            for parent in match["parents"].split(", "):
                self.children.setdefault(parent, set()).add(requirement.name)

    def closure(self, names: set[str]) -> set[str]:
        """Everything these bring, themselves included; whatever any marker or extra of theirs may add counts."""
        found: set[str] = set()
        waiting = set(names)
        while waiting:
            name = waiting.pop()
            found.add(name)
            waiting |= self.children.get(name, set()) - found
        return found


@pytest.fixture(scope="module")
def lock(repository: Path) -> Lock:
    return Lock(repository / "constraints.txt")


def names(direct: dict[str, list[Requirement]], *extras: str) -> set[str]:
    return {canonicalize_name(requirement.name) for extra in ("", *extras) for requirement in direct[extra]}


def test_extras_are_the_ones_that_readme_promises(direct: dict[str, list[Requirement]]) -> None:
    assert set(direct) == {"", *EXTRAS}


def test_the_lock_holds_exact_versions_and_no_address(repository: Path, lock: Lock) -> None:
    text = (repository / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in text
    assert "--" not in text
    for requirements in lock.versions.values():
        for requirement in requirements:
            assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), requirement
            assert not requirement.extras
            assert requirement.url is None


def test_the_lock_fits_pyproject(direct: dict[str, list[Requirement]], lock: Lock) -> None:
    assert lock.children[PROJECT] == names(direct, *EXTRAS), "run make lock"
    for requirement in itertools.chain(*direct.values()):
        for locked in lock.versions[canonicalize_name(requirement.name)]:
            version = Version(str(locked.specifier).removeprefix("=="))
            assert requirement.specifier.contains(version), f"{requirement}, locked at {version}: run make lock"


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_the_lock_has_one_version_of_each_for_every_python(lock: Lock, python: str) -> None:
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    environment |= {"platform_machine": "x86_64", "platform_python_implementation": "CPython", "os_name": "posix"}
    for name, requirements in lock.versions.items():
        fitting = [r for r in requirements if r.marker is None or r.marker.evaluate(environment)]
        assert len(fitting) <= 1, name
        assert fitting or name in {"colorama", "audioop-lts", "httpx2-jsfetch", "brotlicffi", "cffi", "pycparser"}, name


@pytest.mark.parametrize("extra", ["train", "export", "demo", "dev", "tensorrt", "tensorrt-rtx"])
def test_only_cpu_and_gpu_bring_an_onnxruntime(direct: dict[str, list[Requirement]], lock: Lock, extra: str) -> None:
    assert not lock.closure(names(direct, extra)) & ENGINES


@pytest.mark.parametrize(("extra", "engine"), [("cpu", "onnxruntime"), ("gpu", "onnxruntime-gpu")])
def test_an_engine_comes_alone_and_without_torch(
    direct: dict[str, list[Requirement]], lock: Lock, extra: str, engine: str
) -> None:
    closure = lock.closure(names(direct, extra))
    assert closure & ENGINES == {engine}
    assert not closure & {"torch", "torchaudio", "onnx", "pycuda", "gradio"}


def test_one_opencv_and_it_needs_no_display_libraries(lock: Lock) -> None:
    assert {name for name in lock.versions if name.startswith("opencv")} == {"opencv-python-headless"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_its_extras_bring(
    repository: Path, direct: dict[str, list[Requirement]], room: str
) -> None:
    allowed = names(direct, *ROOM_EXTRAS[room])
    for path in (repository / room).rglob("*.py"):
        for module in imported_packages(path) - sys.stdlib_module_names - {"avol"}:
            distribution = canonicalize_name(DISTRIBUTIONS.get(module, module))
            assert distribution in allowed, f"{path.relative_to(repository)} imports {module}"


def imported_packages(path: Path) -> set[str]:
    """Top-level names of everything a file imports, in functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add((node.module or "").partition(".")[0])
    return found
