"""The wheel: what is in it, and that it runs where nothing else is installed."""

from __future__ import annotations

import email
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from avol.runtime.model_folder import DEFAULT_MODEL, bundled_sample
from avol.runtime.timeline import FORMAT

ROOMS = ("runtime", "train", "export", "apps")
LARGEST_WHEEL_BYTES = 25_000_000


def succeed(*command: str | Path, cwd: Path) -> str:
    """Run a program that has to succeed; gives its standard output."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def source(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git holds or would take, links as links: building leaves traces beside the source."""
    folder = tmp_path_factory.mktemp("source") / "avol"
    listed = succeed("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=repository)
    for name in filter(None, listed.split("\0")):
        if (repository / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository / name, folder / name, follow_symlinks=False)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source."""
    out = tmp_path_factory.mktemp("wheel")
    succeed(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", out, cwd=source)
    (path,) = out.glob("avol-*-py3-none-any.whl")
    return path


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/RECORD")}


def test_the_wheel_holds_the_four_rooms_and_nothing_else(source: Path, wheel: Path) -> None:
    modules = {f"avol/{path.relative_to(source)}" for room in ROOMS for path in (source / room).rglob("*.py")}
    data = {
        f"avol/{path.relative_to(source)}"
        for folder in ("models", "samples")
        for path in (source / "runtime" / folder).rglob("*")
        if path.is_file()
    }
    found = {name for name in contents(wheel) if ".dist-info/" not in name}
    assert found == {"avol/__init__.py", "avol/__main__.py", *modules, *data}


def test_the_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < LARGEST_WHEEL_BYTES


def test_the_wheel_says_licence_python_and_commands(wheel: Path) -> None:
    files = {name.partition(".dist-info/")[2]: text for name, text in contents(wheel).items() if ".dist-info/" in name}
    metadata = email.message_from_bytes(files["METADATA"])
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "licenses/LICENSE" in files
    assert b"avol-run = avol.apps.cli:main_run" in files["entry_points.txt"]


def test_the_source_archive_builds_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    succeed(sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", tmp_path, cwd=source)
    (archive,) = tmp_path.glob("avol-*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    succeed(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, cwd=unpacked)
    (rebuilt,) = tmp_path.glob("avol-*.whl")
    assert contents(rebuilt) == contents(wheel)


@pytest.mark.slow
def test_avol_run_works_from_the_wheel_alone(repository: Path, wheel: Path, tmp_path: Path) -> None:
    succeed(sys.executable, "-m", "venv", "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    constraints = repository / "constraints.txt"
    succeed(python, "-m", "pip", "install", "--quiet", "-c", constraints, f"{wheel}[cpu]", cwd=tmp_path)
    look = "import importlib.util as u; print([u.find_spec(n) is not None for n in ('torch', 'onnx', 'onnxruntime')])"
    assert succeed(python, "-c", look, cwd=tmp_path).strip() == "[False, False, True]"

    (tmp_path / "results").mkdir()
    shutil.copy(bundled_sample(), tmp_path / "clip.mp4")
    succeed(python.with_name("avol-run"), "clip.mp4", "--output-dir", "results", cwd=tmp_path)
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["clip.avol.json", "clip.avol.mp4"]
    timeline = json.loads((tmp_path / "results" / "clip.avol.json").read_text(encoding="utf-8"))
    assert timeline["format"] == FORMAT
    assert timeline["model"]["name"] == DEFAULT_MODEL
    assert any(frame["sounding"] for frame in timeline["frames"])

    done = subprocess.run(
        [python.with_name("avol"), "train"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert (
        done.stderr
        == "avol train: torch is not installed: install avol with its extra: pip install '.[train]' in avol's folder.\n"
    )
