"""ONNX Runtime on CUDA: its logic on a simulated device, its calls on the real package, and all of it on a real GPU."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from avol.runtime.backends import cuda, open_backend, selection
from avol.runtime.backends.backend import Backend
from avol.runtime.backends.batches import split_into_batches
from avol.runtime.backends.cpu import CpuBackend
from avol.runtime.backends.cuda import CudaBackend
from avol.runtime.backends.nvidia import Gpu
from avol.runtime.backends.onnx_sessions import open_session
from avol.runtime.errors import AvolError, UnavailableError
from avol.runtime.model_folder import bundled_model_folder
from avol.runtime.system import AvolNetSystem
from backend_models import add_precision, copy_bundled_model, some_inputs, windows_of_a_track
from onnxruntime_simulator import Machine

FOUND = Gpu("Paper GPU", "9.0", "580.65.06", "13.0")
Install = Callable[..., Machine]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return copy_bundled_model(tmp_path / "model")


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    def put(**settings: Any) -> Machine:
        machine = Machine(**settings)
        monkeypatch.setattr(selection, "find_gpu", lambda: FOUND)
        monkeypatch.setattr(cuda, "find_gpu", lambda: FOUND)
        monkeypatch.setitem(sys.modules, "onnxruntime", machine.module())
        return machine

    return put


@pytest.fixture(scope="module")
def reference() -> Iterator[CpuBackend]:
    with CpuBackend(bundled_model_folder(), threads=1) as backend:
        yield backend


def assert_same(found: tuple[Any, Any], expected: tuple[Any, Any], tolerance: float = 1e-6) -> None:
    np.testing.assert_allclose(found[0], expected[0], atol=tolerance)
    np.testing.assert_allclose(found[1], expected[1], atol=tolerance)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 9])
def test_samples_up_and_maps_down(
    install: Install, model: Path, reference: CpuBackend, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    machine, spec = install(), reference.spec
    frames, samples = some_inputs(spec, count)
    with CudaBackend(model, buckets=(1, 4)) as backend:
        for _ in range(2):
            machine.crossings.clear()
            assert_same(backend.localise_samples(frames, samples), reference.localise_samples(frames, samples))
        padded = sum(batch.bucket for batch in split_into_batches(count, (1, 4)))
        up = sum(size for direction, size in machine.crossings if direction == "up")
        down = sum(size for direction, size in machine.crossings if direction == "down")
        assert up == padded * (frames[:1].nbytes + 4 * spec.spectrogram.clip_samples if count else 0)
        assert down == padded * 4 * (spec.grid_height * spec.grid_width + 1)
    assert capsys.readouterr().out == ""  # what ONNX Runtime prints while it looks for libraries is not the user's


def test_phases_of_a_call(install: Install, model: Path, reference: CpuBackend) -> None:
    """The same work as a call, told apart: what goes up, computes and comes down."""
    machine = install()
    frames, samples = some_inputs(reference.spec, 5)
    with CudaBackend(model, buckets=(1, 4)) as backend:
        backend.localise_samples(frames, samples)
        before, machine.runs = list(machine.crossings), 0
        machine.crossings.clear()
        phases = backend.measure_phases(frames, samples)
        assert machine.crossings == before
        assert machine.runs == 4 * 2  # graphs, batches
        assert min(phases.h2d or 0, phases.compute, phases.d2h or 0) > 0
        assert phases.enqueue is None
        assert "enqueues and waits in one call" in backend.phases_note
        assert [path.name for path in backend.files()] == [
            "spectrogram.onnx",
            "audio.onnx",
            "frame.onnx",
            "head.onnx",
        ]


def test_the_system_runs_on_it(install: Install, model: Path, reference: CpuBackend) -> None:
    machine = install()
    frames, _ = some_inputs(reference.spec, 2)
    with open_backend(model, "cuda") as backend:
        system, expected = AvolNetSystem(backend), AvolNetSystem(reference)
        machine.crossings.clear()
        found, wanted = (one.localise(frames, windows_of_a_track(one, 2)) for one in (system, expected))
        assert_same((found.map, found.score), (wanted.map, wanted.score))
        assert [direction for direction, _ in machine.crossings] == ["up", "up", "down", "down"]
        assert (backend.name, backend.device, backend.precision) == ("onnxruntime-cuda", "Paper GPU", "fp32")
        assert backend.description.endswith("onnxruntime-cuda fp32 on Paper GPU (ONNX Runtime 1.31.1, CUDA graphs)")


def test_half_precision_is_preferred(install: Install, model: Path) -> None:
    install()
    add_precision(model, "fp16")
    with CudaBackend(model) as backend:
        assert backend.precision == "fp16"
    with CudaBackend(model, precision="fp32") as backend:
        assert backend.precision == "fp32"


def one_line(call: Callable[[], object], kind: type[AvolError] = UnavailableError) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_precision_that_is_not_there(install: Install, model: Path) -> None:
    install()
    message = one_line(lambda: open_backend(model, "cuda", "int8"))
    assert "holds no int8 graphs (audio.int8.onnx and frame.int8.onnx missing)" in message


def test_a_provider_that_does_not_load(install: Install, model: Path) -> None:
    install(provider_loads=False)
    assert "CUDA provider does not load" in one_line(lambda: open_backend(model, "cuda"))


def test_a_provider_that_refuses_the_graph(install: Install, model: Path) -> None:
    install(session_error="nodes that are assigned to the default CPU EP, but fallback is disabled")
    assert "does not run spectrogram" in one_line(lambda: open_backend(model, "cuda"))


def test_a_corrupt_graph_is_not_a_missing_device(install: Install, model: Path) -> None:
    """A spoilt model is an error even where another device could be tried: it would be spoilt there too."""
    install()
    (model / "frame.onnx").write_bytes(b"nothing")
    with pytest.raises(AvolError, match="not a usable ONNX graph") as caught:
        open_backend(model)
    assert not isinstance(caught.value, UnavailableError)


def test_the_build_for_the_cpu(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real package, of the build without CUDA."""
    if cuda.PROVIDER in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    monkeypatch.setattr(selection, "find_gpu", lambda: FOUND)
    monkeypatch.setattr(cuda, "find_gpu", lambda: FOUND)
    message = one_line(lambda: open_backend(model, "cuda"))
    assert "this build has no CUDA" in message
    assert "pip install '.[gpu]'" in message


class _OnCpu(CudaBackend):
    """The same code on the real package's CPU provider: binding, device tensors and order of calls are real."""

    memory, capture = "cpu", False

    def _find_device(self) -> str:
        return "cpu"

    def _load_engine(self) -> Any:
        return onnxruntime

    def _open(self, role: str, bucket: int) -> Any:
        options, providers = onnxruntime.SessionOptions(), ["CPUExecutionProvider"]
        return open_session(self.folder, role, self.precision, self.spec, options, providers, batch=bucket)


@pytest.mark.parametrize("count", [1, 5])
def test_the_real_binding_on_the_cpu(model: Path, reference: CpuBackend, count: int) -> None:
    frames, samples = some_inputs(reference.spec, count)
    with _OnCpu(model, buckets=(1, 4)) as backend:
        for _ in range(2):
            assert_same(backend.localise_samples(frames, samples), reference.localise_samples(frames, samples))


def test_the_simulators_names_are_real() -> None:
    """Everything that the simulated module offers, the real one has, with arguments of these names."""
    module = Machine().module()
    for name in vars(module):
        assert hasattr(onnxruntime, name), name
    for simulated, actual in (
        (module.SessionOptions, onnxruntime.SessionOptions),
        (module.OrtValue, onnxruntime.OrtValue),
    ):
        for name in (name for name in vars(simulated) if not name.startswith("_") and name not in _INTERNAL):
            assert hasattr(actual, name), name
    make = inspect.signature(onnxruntime.OrtValue.ortvalue_from_shape_and_type).parameters
    assert list(make)[:4] == ["shape", "element_type", "device_type", "device_id"]
    assert list(inspect.signature(onnxruntime.OrtValue.update_inplace).parameters) == ["self", "data"]
    assert all(p.default is not p.empty for p in inspect.signature(onnxruntime.preload_dlls).parameters.values())
    session = onnxruntime.InferenceSession(bundled_model_folder() / "head.onnx", providers=["CPUExecutionProvider"])
    for name in ("get_modelmeta", "get_inputs", "get_outputs", "get_providers", "io_binding"):
        assert not inspect.signature(getattr(session, name)).parameters, name
    assert list(inspect.signature(session.run_with_iobinding).parameters) == ["iobinding", "run_options"]
    binding = session.io_binding()
    assert list(inspect.signature(binding.bind_ortvalue_input).parameters) == ["name", "ortvalue"]
    assert list(inspect.signature(binding.bind_ortvalue_output).parameters) == ["name", "ortvalue"]


_INTERNAL = {"config", "free_sizes", "to_real"}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (0, []),
        (1, [(0, 1, 1)]),
        (3, [(0, 3, 8)]),
        (32, [(0, 32, 32)]),
        (40, [(0, 32, 32), (32, 8, 8)]),
        (65, [(0, 32, 32), (32, 32, 32), (64, 1, 1)]),
    ],
)
def test_batches(rows: int, expected: list[tuple[int, int, int]]) -> None:
    assert [(b.start, b.rows, b.bucket) for b in split_into_batches(rows, (1, 8, 32))] == expected


@pytest.mark.gpu
@pytest.mark.parametrize("count", [1, 8, 45])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("fp16", 0.01)])
def test_parity_on_a_gpu(reference: CpuBackend, precision: str, tolerance: float, count: int) -> None:
    """ONNX Runtime CUDA gives the CPU's maps; every call after the first replays its CUDA graph."""
    frames, samples = some_inputs(reference.spec, count)
    expected = reference.localise_samples(frames, samples)
    with _on_gpu(precision) as backend:
        for _ in range(3):
            assert_same(backend.localise_samples(frames, samples), expected, tolerance)


def _on_gpu(precision: str) -> Backend:
    if cuda.PROVIDER not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has no CUDA: pip install '.[gpu]'")
    if not (bundled_model_folder() / "frame.fp16.onnx").is_file() and precision == "fp16":
        pytest.skip("the bundled model holds no fp16 graphs")
    return open_backend(device="cuda", precision=precision)
