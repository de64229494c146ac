"""Which device runs: the fastest that works, or the one asked for and no other; and the CPU, which always works."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from avol.runtime.backends import DEVICES, PRECISIONS, cpu, nvidia, open_backend, selection
from avol.runtime.backends.backend import Backend
from avol.runtime.backends.cpu import CpuBackend, has_int8_instructions
from avol.runtime.backends.nvidia import Gpu, find_gpu
from avol.runtime.errors import AvolError, UnavailableError
from avol.runtime.model_folder import bundled_model_folder
from backend_models import add_precision, copy_bundled_model, some_inputs

FOUND = Gpu("Paper GPU", "9.0", "580.65.06", "13.0")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return copy_bundled_model(tmp_path / "model")


def no_driver() -> Gpu:
    raise UnavailableError("libcuda.so.1: there is no NVIDIA driver; install it.", reason="no NVIDIA driver")


def unavailable(name: str) -> UnavailableError:
    return UnavailableError(f"{name}: not here.", reason=f"{name} is away")


def put_gpu_backends(monkeypatch: pytest.MonkeyPatch, working: dict[str, Any]) -> list[str]:
    """Let a driver be found, and GPU devices open as told; gives the list of what was tried."""
    tried: list[str] = []

    def open_on_gpu(folder: Path, device: str, precision: str) -> Backend:
        tried.append(device)
        result = working.get(device) or unavailable(device)
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(selection, "find_gpu", lambda: FOUND)
    monkeypatch.setattr(selection, "_on_gpu", open_on_gpu)
    return tried


def test_without_a_driver_auto_takes_the_cpu(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "find_gpu", no_driver)
    with open_backend(model) as backend:
        assert backend.name == "onnxruntime-cpu"
        assert backend.description.endswith("; no NVIDIA driver")


@pytest.mark.parametrize("device", ["cuda", "tensorrt", "tensorrt-rtx"])
def test_a_named_device_is_never_replaced(model: Path, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setattr(selection, "find_gpu", no_driver)
    with pytest.raises(AvolError, match="there is no NVIDIA driver"):
        open_backend(model, device)
    put_gpu_backends(monkeypatch, {})
    with pytest.raises(AvolError, match=f"{device}: not here"):
        open_backend(model, device)


def test_the_order_and_why_the_faster_were_not_taken(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = put_gpu_backends(monkeypatch, {})
    with open_backend(model) as backend:
        assert tried == ["tensorrt", "tensorrt-rtx", "cuda"]
        assert backend.passed_over == (
            "not tensorrt: tensorrt is away",
            "not tensorrt-rtx: tensorrt-rtx is away",
            "not cuda: cuda is away",
        )
        assert backend.description.endswith("; not cuda: cuda is away")


def test_the_first_that_works_is_taken(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = SimpleNamespace(name="onnxruntime-cuda")
    tried = put_gpu_backends(monkeypatch, {"tensorrt-rtx": fast})
    assert open_backend(model) is fast  # type: ignore[comparison-overlap]
    assert tried == ["tensorrt", "tensorrt-rtx"]
    assert fast.passed_over == ("not tensorrt: tensorrt is away",)


def test_a_spoilt_model_is_not_passed_over(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_gpu_backends(monkeypatch, {"tensorrt": AvolError("frame.plan: damaged.")})
    with pytest.raises(AvolError, match="damaged"):
        open_backend(model)


def test_names_that_do_not_exist(model: Path) -> None:
    with pytest.raises(AvolError, match="'gpu' is no device; choose one of auto, cpu, cuda, tensorrt, tensorrt-rtx"):
        open_backend(model, "gpu")
    with pytest.raises(AvolError, match="'half' is no precision; choose one of auto, fp32, fp16, int8"):
        open_backend(model, "cpu", "half")
    assert len(DEVICES) + len(PRECISIONS) == 9


def test_no_model_is_said_on_every_device(tmp_path: Path) -> None:
    for device in DEVICES:
        with pytest.raises(AvolError, match="no such model"):
            open_backend(tmp_path / "absent", device)


def test_the_bundled_model_is_the_default() -> None:
    with open_backend(device="cpu", threads=1) as backend:
        assert backend.folder == bundled_model_folder()
        assert backend.description == (
            f"{backend.spec.name}, onnxruntime-cpu {backend.precision} on cpu ({backend.provider})"
        )
        assert backend.provider.endswith(", 1 thread")


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_threads_share_a_batch(threads: int, count: int) -> None:
    """Rows and towers are spread over threads; the numbers are the same."""
    with CpuBackend(bundled_model_folder(), threads=1) as one, CpuBackend(bundled_model_folder(), threads=threads) as b:
        frames, samples = some_inputs(one.spec, count)
        expected, found = one.localise_samples(frames, samples), b.localise_samples(frames, samples)
        for wanted, got in zip(expected, found, strict=True):
            assert got.shape == wanted.shape
            np.testing.assert_allclose(got, wanted, atol=1e-6)
        (grid,) = b.infer("frame", frames=frames)
        (vector,) = b.infer("audio", columns=one.infer("spectrogram", samples=samples)[0])
        maps, scores = b.infer("head", grid=grid, vector=vector)
        np.testing.assert_allclose(maps, expected[0], atol=1e-6)
        np.testing.assert_allclose(scores, expected[1], atol=1e-6)


def test_an_error_in_a_thread_is_raised(model: Path) -> None:
    with CpuBackend(model, threads=4) as backend:
        frames, samples = some_inputs(backend.spec, 3)
        with pytest.raises(Exception, match="Got invalid dimensions"):
            backend.localise_samples(frames[:, :, :100], samples)
        backend.localise_samples(frames, samples)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flags\t\t: fpu sse avx512f avx512_vnni\n", True),
        ("flags : fpu avx_vnni\nflags : fpu\n", True),
        ("Features\t: fp asimd asimddp\n", True),
        ("flags : fpu sse avx2\n", False),
        ("model name : avx512_vnni\n", False),
        ("", False),
    ],
)
def test_instructions_for_bytes(tmp_path: Path, text: str, expected: bool) -> None:
    (tmp_path / "cpuinfo").write_text(text, encoding="utf-8")
    assert has_int8_instructions(tmp_path / "cpuinfo") is expected
    assert not has_int8_instructions(tmp_path / "absent")


@pytest.mark.parametrize("fast", [True, False])
def test_int8_is_preferred_where_it_is_fast(model: Path, monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    monkeypatch.setattr(cpu, "has_int8_instructions", lambda: fast)
    with open_backend(model, "cpu") as backend:
        assert backend.precision == "fp32"
    add_precision(model, "int8", ("audio",))
    with open_backend(model, "cpu") as backend:
        assert backend.precision == "fp32"  # one tower is not enough
    add_precision(model, "int8", ("frame",))
    with open_backend(model, "cpu") as backend:
        assert backend.precision == ("int8" if fast else "fp32")
    with open_backend(model, "cpu", "int8") as backend:
        assert backend.precision == "int8"
    with open_backend(model, "cpu", "fp32") as backend:
        assert backend.precision == "fp32"


def test_a_precision_that_is_not_there(model: Path) -> None:
    add_precision(model, "fp16", ("audio",))
    with pytest.raises(
        AvolError, match=r"holds no fp16 graphs \(frame.fp16.onnx missing\); write them with avol export"
    ):
        open_backend(model, "cpu", "fp16")


def test_a_graph_under_anothers_precision(model: Path) -> None:
    add_precision(model, "fp16")
    (model / "frame.fp16.onnx").replace(model / "frame.int8.onnx")
    (model / "audio.fp16.onnx").replace(model / "audio.int8.onnx")
    with pytest.raises(AvolError, match=r"audio.int8.onnx: computes in fp16, its name says int8"):
        open_backend(model, "cpu", "int8")
    add_precision(model, "fp16")
    (model / "frame.onnx").write_bytes((model / "frame.fp16.onnx").read_bytes())
    with pytest.raises(AvolError, match=r"frame.onnx: computes in fp16, its name says fp32"):
        open_backend(model, "cpu", "fp32")


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        ("raise ImportError('libgomp.so.1: cannot open shared object file\\nlong story')", "libgomp.so.1: cannot open"),
        ("raise OSError('libonnxruntime.so: file too short')", "file too short"),
        ("import no_such_dependency", "No module named 'no_such_dependency'"),
        ("x = 1", "its files are incomplete"),
    ],
)
def test_an_onnxruntime_that_does_not_load(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, fact: str
) -> None:
    (tmp_path / "onnxruntime.py").write_text(content, encoding="utf-8")
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AvolError) as caught:
        open_backend(model, "cpu")
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    assert str(caught.value).startswith("onnxruntime: ")
    assert fact in str(caught.value)
    assert "long story" not in str(caught.value)


class Driver:
    """libcuda as far as it is asked."""

    def __init__(self, *, init: int = 0, count: int = 1, name: bytes = b"Orin") -> None:
        self.init, self.count, self.name = init, count, name

    def cuInit(self, flags: int) -> int:  # noqa: N802
        assert flags == 0
        return self.init

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self.count
        return 0

    def cuDeviceGet(self, device: Any, number: int) -> int:  # noqa: N802
        assert number == 0
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:  # noqa: N802
        assert size == len(name)
        name.value = self.name
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = 13020
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:  # noqa: N802
        value._obj.value = {75: 8, 76: 7}[attribute]
        return 0


def put_driver(monkeypatch: pytest.MonkeyPatch, driver: Driver | None) -> None:
    real = ctypes.CDLL

    def load(name: str, *rest: Any, **more: Any) -> Any:
        if name != nvidia.DRIVER_LIBRARY:
            return real(name, *rest, **more)
        if driver is None:
            raise OSError(f"{name}: cannot open shared object file")
        return driver

    monkeypatch.setattr(ctypes, "CDLL", load)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n", "535.183.01"),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\nGCC 12.3.0\n",
            "580.65.06",
        ),
        ("nothing of use\n", None),
        (None, None),
    ],
)
def test_what_the_driver_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, version: str | None
) -> None:
    put_driver(monkeypatch, Driver())
    if text is not None:
        (tmp_path / "version").write_text(text, encoding="utf-8")
    monkeypatch.setattr(nvidia, "DRIVER_VERSION_FILE", tmp_path / "version")
    assert find_gpu() == Gpu("Orin", "8.7", version, "13.2")


@pytest.mark.parametrize(
    ("driver", "reason"),
    [
        (None, "no NVIDIA driver"),
        (Driver(init=100), "the NVIDIA driver does not start (CUDA error 100)"),
        (Driver(count=0), "the NVIDIA driver finds no GPU"),
    ],
)
def test_a_machine_without_a_gpu(monkeypatch: pytest.MonkeyPatch, driver: Driver | None, reason: str) -> None:
    put_driver(monkeypatch, driver)
    with pytest.raises(UnavailableError) as caught:
        find_gpu()
    assert caught.value.reason == reason
    assert str(caught.value).startswith("libcuda.so.1: ")
    assert str(caught.value).endswith(".")


@pytest.mark.gpu
def test_a_real_driver() -> None:
    gpu = find_gpu()
    assert gpu.name
    assert float(gpu.compute_capability) >= 5.0


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["tensorrt", "tensorrt-rtx"])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("fp16", 0.01)])
def test_engines_on_a_gpu(model: Path, device: str, precision: str, tolerance: float) -> None:
    """Engines that are built here give the CPU's maps, plainly, captured, and in batches that overlap."""
    pytest.importorskip({"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}[device], exc_type=ImportError)
    pytest.importorskip("pycuda.driver", exc_type=ImportError)
    engines: Any = pytest.importorskip("avol.export.engines", exc_type=ImportError)
    build: Callable[..., Any] = engines.build_engines
    if precision == "fp16":
        for name in ("audio.fp16.onnx", "frame.fp16.onnx"):
            if not (bundled_model_folder() / name).is_file():
                pytest.skip(f"the bundled model has no {name}")
            (model / name).write_bytes((bundled_model_folder() / name).read_bytes())
    build(model, precisions=(precision,), engine=device, batches=(1, 8, 32), options=engines.EngineOptions())
    with CpuBackend(model) as reference, open_backend(model, device, precision) as backend:
        for count in (1, 8, 45, 100):
            frames, samples = some_inputs(reference.spec, count, seed=count)
            expected = reference.localise_samples(frames, samples)
            for _ in range(2):
                found = backend.localise_samples(frames, samples)
                np.testing.assert_allclose(found[0], expected[0], atol=tolerance)
                np.testing.assert_allclose(found[1], expected[1], atol=tolerance)
