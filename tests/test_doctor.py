"""avol doctor on machines that lack things, hold two of a kind, or are broken: a fact and a fix for each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avol.apps.cli import main
from avol.runtime.backends import diagnosis
from avol.runtime.backends.diagnosis import WORKS, Diagnosis, diagnose, try_provider
from avol.runtime.backends.installed import (
    installed_packages,
    numbers,
    package_conflicts,
    shown_packages,
    unmet_requirements,
)
from avol.runtime.backends.nvidia import Gpu
from avol.runtime.errors import UnavailableError
from onnxruntime_simulator import CPU, CUDA, Machine

GPU = Gpu("Paper GPU", "9.0", "580.65.06", "13.0")
SOUND = {"numpy": "2.4.6", "av": "18.1.0", "opencv-python-headless": "5.0.0.93", "tqdm": "4.70", "shtab": "1.13"}


def install(folder: Path, packages: dict[str, str]) -> list[str]:
    """A folder in which these packages are installed, as far as their metadata goes."""
    for name, version in packages.items():
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    return [str(folder)]


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Gpu:
        raise UnavailableError("libcuda.so.1: there is no NVIDIA driver.", reason="no NVIDIA driver")

    monkeypatch.setattr(diagnosis, "find_gpu", none)


@pytest.fixture
def a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "find_gpu", lambda: GPU)


def put_onnxruntime(monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", module)


def facts(found: Diagnosis) -> str:
    """All problems with their fixes; each is one line."""
    for problem in found.problems:
        assert problem.fact
        assert problem.fix
        assert "\n" not in problem.fact + problem.fix
    return " | ".join(f"{problem.fact} -> {problem.fix}" for problem in found.problems)


def test_this_machine_is_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The real thing, in the environment that runs the tests."""
    assert main(["doctor", "--json", str(tmp_path / "found.json")]) == 0
    shown = capsys.readouterr().out
    assert "A model can be run here." in shown
    report = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert report["can_run"] is True
    assert report["providers"][CPU] == WORKS
    assert report["packages"]["numpy"] in shown
    expected = {"avol", "python", "packages", "gpu", "providers", "engines", "encoders", "problems", "can_run"}
    assert expected == report.keys()


def test_a_report_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", str(tmp_path / "absent" / "found.json")]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_builds_that_overwrite_each_other(tmp_path: Path) -> None:
    both = {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1", "opencv-python": "5.0.0", "torch": "2.11.0+cpu"}
    installed = installed_packages(install(tmp_path, SOUND | both))
    runtime, opencv = package_conflicts(installed, has_gpu=True)
    assert runtime.fact.startswith("onnxruntime and onnxruntime-gpu are installed together")
    assert runtime.fix == "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu==1.31.1"
    assert opencv.fix.endswith("&& pip install opencv-python-headless==5.0.0.93")
    without_gpu, _ = package_conflicts(installed, has_gpu=False)
    assert without_gpu.fix.endswith("pip install onnxruntime==1.32.0")
    shown = shown_packages(installed)
    assert shown["onnxruntime-gpu"] == "1.31.1"
    assert shown["opencv-python"] == "5.0.0"
    assert shown["pycuda"] is None


def test_a_sound_environment_has_no_conflicts(tmp_path: Path) -> None:
    installed = installed_packages(install(tmp_path, SOUND | {"onnxruntime": "1.32.0"}))
    assert package_conflicts(installed, has_gpu=False) == []
    wanted = ["numpy>=1.26", "av<19,>=18", "opencv-python-headless>=4.10", "tqdm>=4.66", "shtab>=1.7"]
    assert unmet_requirements(installed, wanted) == []


def test_remnants_of_an_uninstallation(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime-1.0.dist-info").mkdir()
    (tmp_path / "~umpy-2.0.dist-info").mkdir()
    (tmp_path / "odd-1.0.dist-info").mkdir()
    (tmp_path / "odd-1.0.dist-info" / "METADATA").write_bytes(b"\x00\x01 nothing of use")
    assert installed_packages([str(tmp_path)]) == {}


@pytest.mark.parametrize(
    ("changed", "fact", "fatal"),
    [
        ({"av": "19.0.0"}, "av 19.0.0 is installed, avol needs av<19,>=18", False),
        ({"av": "17.2"}, "av 17.2 is installed", False),
        ({"av": None}, "av is not installed", True),
        ({"numpy": "1.25.9"}, "numpy 1.25.9 is installed, avol needs numpy>=1.26", False),
        ({"opencv-python-headless": None}, "opencv-python-headless is not installed", True),
    ],
)
def test_requirements(changed: dict[str, str | None], fact: str, fatal: bool) -> None:
    installed = {name: version for name, version in (SOUND | changed).items() if version is not None}
    wanted = ["numpy>=1.26", "av<19,>=18", "opencv-python-headless>=4.10", 'onnxruntime>=1.22; extra == "cpu"']
    (problem,) = unmet_requirements(installed, wanted)
    assert problem.fact.startswith(fact)
    assert problem.fatal is fatal
    assert problem.fix.startswith("pip install '")


def test_another_build_of_opencv_will_do() -> None:
    assert unmet_requirements({"opencv-python": "4.12"}, ["opencv-python-headless>=4.10"]) == []


@given(st.text())
def test_any_version_has_numbers(version: str) -> None:
    assert all(part >= 0 for part in numbers(version))


@given(st.lists(st.integers(0, 99), min_size=1, max_size=4))
def test_numbers_of_a_version(parts: list[int]) -> None:
    assert numbers(".".join(map(str, parts)) + "rc1+cu130") == tuple(parts)


@pytest.mark.usefixtures("no_gpu")
def test_no_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_onnxruntime(monkeypatch, None)
    found = diagnose(install(tmp_path, SOUND))
    assert "onnxruntime: not installed -> pip install '.[cpu]' in avol's folder" in facts(found)
    assert not found.can_run
    assert found.providers == {}


@pytest.mark.usefixtures("a_gpu")
def test_an_onnxruntime_without_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_onnxruntime(monkeypatch, SimpleNamespace())
    found = diagnose(install(tmp_path, SOUND | {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"}))
    fix = "pip uninstall -y onnxruntime onnxruntime-gpu; pip install '.[gpu]'"
    assert f"its files are incomplete -> {fix}" in facts(found)
    assert not found.can_run


@pytest.mark.usefixtures("a_gpu")
def test_a_gpu_that_is_left_idle(tmp_path: Path) -> None:
    """The real package's build for the CPU, beside a GPU."""
    found = diagnose(install(tmp_path, SOUND | {"onnxruntime": "1.32.0"}))
    if CUDA in found.providers:
        pytest.skip("this ONNX Runtime has CUDA")
    fix = "pip uninstall -y onnxruntime; pip install '.[gpu]'"
    assert f"has no CUDA, so that it leaves the GPU idle -> {fix}" in facts(found)
    assert found.can_run


class CudaBuild(Machine):
    """ONNX Runtime for CUDA, for what the doctor does with it."""

    def module(self) -> SimpleNamespace:
        module = super().module()
        create = module.InferenceSession

        def session(path: str, options: Any, *, providers: list[str], enable_fallback: int) -> Any:
            if providers == [CPU]:
                return create(path, options, providers=providers, enable_fallback=enable_fallback)
            assert options.config["session.disable_cpu_ep_fallback"] == "1"
            assert self.preloaded
            if self.session_error:
                raise RuntimeError(self.session_error)
            real = create(path, options, providers=[CPU], enable_fallback=enable_fallback)
            names = [CUDA, CPU] if self.provider_loads else [CPU]
            return SimpleNamespace(get_providers=lambda: names, run=real.run)

        module.InferenceSession, module.__file__, module.cuda_version = session, __file__, "13.0"
        return module


@pytest.mark.usefixtures("a_gpu")
def test_everything_works_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_onnxruntime(monkeypatch, CudaBuild().module())
    found = diagnose(install(tmp_path, SOUND | {"onnxruntime-gpu": "1.31.1"}))
    assert found.providers == {CUDA: WORKS, CPU: WORKS}
    assert facts(found) == ""
    assert found.gpu == GPU


@pytest.mark.usefixtures("a_gpu")
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"provider_loads": False}, "it does not load"),
        ({"session_error": "CUDNN_STATUS_NOT_INITIALIZED\nmore"}, "CUDNN_STATUS_NOT_INITIALIZED"),
    ],
)
def test_cuda_that_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], said: str
) -> None:
    put_onnxruntime(monkeypatch, CudaBuild(**settings).module())
    found = diagnose(install(tmp_path, SOUND | {"onnxruntime-gpu": "1.31.1"}))
    assert found.providers == {CUDA: said, CPU: WORKS}
    text = facts(found)
    assert "pip install --force-reinstall '.[gpu]'" in text
    assert "Failed to load libcufft.so.12" in text  # what ONNX Runtime itself says, on one line
    assert found.can_run  # on the CPU


def test_a_driver_older_than_the_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "find_gpu", lambda: Gpu("Old GPU", "7.5", "535.183.01", "12.2"))
    put_onnxruntime(monkeypatch, CudaBuild(provider_loads=False).module())
    text = facts(diagnose(install(tmp_path, SOUND | {"onnxruntime-gpu": "1.31.1"})))
    assert "the NVIDIA driver runs CUDA up to 12.2, onnxruntime-gpu needs 13.0 -> install a newer NVIDIA driver" in text


@pytest.mark.usefixtures("no_gpu")
def test_the_build_for_cuda_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_onnxruntime(monkeypatch, CudaBuild(provider_loads=False).module())
    found = diagnose(install(tmp_path, SOUND | {"onnxruntime-gpu": "1.31.1"}))
    assert "there is no GPU to use: no NVIDIA driver" in facts(found)
    assert found.can_run


@pytest.mark.usefixtures("a_gpu")
def test_tensorrt_without_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_onnxruntime(monkeypatch, CudaBuild().module())
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="10.16.1.11"))
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    packages = SOUND | {"onnxruntime-gpu": "1.31.1", "tensorrt": "10.16.1.11", "cuda-bindings": "13.5.0"}
    found = diagnose(install(tmp_path, packages))
    assert found.engines["tensorrt"] == "10.16.1.11"
    assert found.engines["pycuda"] == "not installed"
    assert "pycuda: not installed -> pip install '.[tensorrt]' in avol's folder" in facts(found)


@pytest.mark.usefixtures("a_gpu")
def test_a_tensorrt_that_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_onnxruntime(monkeypatch, CudaBuild().module())
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    module = tmp_path / "modules"
    module.mkdir()
    (module / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: cannot open')", encoding="utf-8")
    monkeypatch.syspath_prepend(module)
    found = diagnose(install(tmp_path / "installed", SOUND | {"tensorrt-cu13": "10.16.1.11"}))
    text = facts(found)
    assert "libnvinfer.so.10: cannot open" in text
    assert "pip install --force-reinstall tensorrt-cu13==10.16.1.11" in text


@pytest.mark.usefixtures("no_gpu")
def test_a_cv2_that_needs_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = diagnosis.importlib.import_module

    def load(name: str) -> Any:
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file")
        return real(name)

    monkeypatch.setattr(diagnosis.importlib, "import_module", load)
    found = diagnose(install(tmp_path, SOUND | {"onnxruntime": "1.32.0"}))
    assert "cv2 cannot be imported: libGL.so.1" in facts(found)
    assert "opencv-python-headless" in facts(found)
    assert not found.can_run


def test_a_provider_that_miscounts() -> None:
    module = Machine().module()
    module.InferenceSession = lambda *arguments, **named: SimpleNamespace(
        get_providers=lambda: [CPU], run=lambda names, inputs: (inputs["grid"][:, 0] * float("nan"), None)
    )
    assert try_provider(module, CPU) == "it miscounts"


@pytest.mark.parametrize(
    ("module", "content", "said"),
    [
        ("onnxruntime", "raise ImportError('libgomp.so.1: not found')", "libgomp.so.1: not found"),
        ("numpy", "raise ImportError('half a NumPy')", "half a NumPy"),
    ],
)
def test_a_broken_environment(tmp_path: Path, module: str, content: str, said: str) -> None:
    """The whole command, where a package that everything needs is broken: lines and an exit status, no traceback."""
    (tmp_path / f"{module}.py").write_text(content, encoding="utf-8")
    install(tmp_path, {"opencv-python": "4.9"})
    path = os.pathsep.join([str(tmp_path), *(p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p)])
    command = [sys.executable, "-m", "avol", "doctor", "--json", str(tmp_path / "found.json")]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert said in done.stdout
    assert "No model can be run here." in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    report = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert report["can_run"] is False
    assert any(problem["fatal"] for problem in report["problems"])
