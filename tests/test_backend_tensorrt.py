"""The TensorRT backend on a simulated GPU that happens late, forgets nothing, and knows no call but the real ones."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avol.runtime.backends import open_backend, selection
from avol.runtime.backends.cpu import CpuBackend
from avol.runtime.backends.nvidia import Gpu as FoundGpu
from avol.runtime.backends.nvidia import find_gpu
from avol.runtime.backends.tensorrt_backend import TensorRtBackend
from avol.runtime.backends.tensorrt_engine import EngineLoader
from avol.runtime.errors import AvolError, UnavailableError
from avol.runtime.model_folder import bundled_model_folder, read_spec
from avol.runtime.spec import ModelSpec
from avol.runtime.system import AvolNetSystem
from backend_models import copy_bundled_model, plan_info, some_inputs, windows_of_a_track
from cuda_simulator import (
    DataType,
    Gpu,
    RtxExecutionContext,
    ViolationError,
    cuda_runtime,
    on_thread,
    pycuda_driver,
    tensorrt,
    write_plans,
)

BUILDERS = ("tensorrt", "tensorrt-rtx")
Install = Callable[..., Gpu]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return copy_bundled_model(tmp_path / "model")


@pytest.fixture
def spec(model: Path) -> ModelSpec:
    return read_spec(model)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a simulated GPU and its three packages in place."""

    def put(plans: dict[bytes, Any], *, rtx: bool = False, version: str = "10.16.1.11", **gpu_settings: Any) -> Gpu:
        gpu = Gpu(**gpu_settings)
        found = FoundGpu(gpu.name, "9.0", "580.65.06", "13.0")
        monkeypatch.setattr(selection, "find_gpu", lambda: found)
        monkeypatch.setitem(sys.modules, "pycuda", type(sys)("pycuda"))
        monkeypatch.setitem(sys.modules, "pycuda.driver", pycuda_driver(gpu))
        monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda_runtime(gpu))
        module = "tensorrt_rtx" if rtx else "tensorrt"
        monkeypatch.setitem(sys.modules, module, tensorrt(gpu, plans, version, rtx=rtx))
        return gpu

    return put


@pytest.fixture
def gpu(model: Path, spec: ModelSpec, install: Install) -> Gpu:
    """A GPU for which the model has FP16 engines for batches of 1, 2 and 4."""
    return install(write_plans(model, spec, "tensorrt", "fp16", plan_info))


@pytest.fixture(scope="module")
def reference() -> Iterator[CpuBackend]:
    with CpuBackend(bundled_model_folder(), threads=1) as backend:
        yield backend


def assert_same(found: tuple[Any, Any], expected: tuple[Any, Any]) -> None:
    np.testing.assert_allclose(found[0], expected[0], atol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9, 12])
def test_samples_up_and_maps_down(gpu: Gpu, model: Path, spec: ModelSpec, reference: CpuBackend, count: int) -> None:
    frames, samples = some_inputs(spec, count)
    with TensorRtBackend(model) as backend:
        assert backend.buckets == (1, 2, 4)
        for _ in range(2):  # the first call captures, the second only launches
            gpu.log.clear()
            assert_same(backend.localise_samples(frames, samples), reference.localise_samples(frames, samples))
        batches = -(-count // 4)
        happened = [what for what, _ in gpu.log]
        assert happened.count("up") == 2 * batches  # frames, samples
        assert happened.count("down") == 2 * batches  # map, score
        assert happened.count("graph") == batches
    gpu.require_clean()


def test_copies_run_beside_compute(gpu: Gpu, model: Path, spec: ModelSpec) -> None:
    """The second batch goes up before the first comes down, and waits for no computation."""
    frames, samples = some_inputs(spec, 8)
    with TensorRtBackend(model) as backend:
        backend.localise_samples(frames, samples)
        gpu.log.clear()
        backend.localise_samples(frames, samples)
    happened = [what for what, _ in gpu.log if what in ("up", "graph", "down")]
    assert happened.index("down") > [n for n, what in enumerate(happened) if what == "up"][3]


def test_phases_of_a_call(gpu: Gpu, model: Path, spec: ModelSpec, reference: CpuBackend) -> None:
    """Nothing overlaps: each batch has come down before the next one goes up; calls work as ever afterwards."""
    frames, samples = some_inputs(spec, 6)
    with TensorRtBackend(model) as backend:
        backend.localise_samples(frames, samples)
        gpu.log.clear()
        phases = backend.measure_phases(frames, samples)
        happened = [what for what, _ in gpu.log if what in ("up", "graph", "down")]
        assert happened == ["up", "up", "graph", "down", "down"] * 2
        assert min(phases.h2d or 0, phases.enqueue or 0, phases.d2h or 0) > 0
        assert phases.compute > (phases.enqueue or 0)
        assert backend.phases_note == ""
        assert all(path.name.endswith(".plan") and path.is_file() for path in backend.files())
        assert_same(backend.localise_samples(frames, samples), reference.localise_samples(frames, samples))
    gpu.require_clean()
    with pytest.raises(RuntimeError, match="closed"):
        backend.measure_phases(frames, samples)


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(counts=st.lists(st.integers(0, 11), min_size=1, max_size=3))
def test_any_sequence_of_batch_sizes(
    gpu: Gpu, model: Path, spec: ModelSpec, reference: CpuBackend, counts: list[int]
) -> None:
    with TensorRtBackend(model) as backend:
        for number, count in enumerate(counts):
            frames, samples = some_inputs(spec, count, seed=number)
            assert_same(backend.localise_samples(frames, samples), reference.localise_samples(frames, samples))


def test_the_system_runs_on_it(gpu: Gpu, model: Path, spec: ModelSpec, reference: CpuBackend) -> None:
    frames, samples = some_inputs(spec, 3)
    with open_backend(model, "tensorrt") as backend:
        system, expected = AvolNetSystem(backend), AvolNetSystem(reference)
        system.localise(frames, windows_of_a_track(system, 3))
        gpu.log.clear()
        found, wanted = (one.localise(frames, windows_of_a_track(one, 3)) for one in (system, expected))
        crossed = [int(size) for what, size in gpu.log if what in ("up", "down")]
        bucket = min(bucket for bucket in backend.buckets if bucket >= 3)
        maps = 4 * spec.grid_height * spec.grid_width
        per_row = [frames[0].nbytes, 4 * spec.spectrogram.clip_samples, maps, 4]
        assert crossed == [bucket * size for size in per_row]  # and nothing in between
        assert found.map is not None
        assert wanted.map is not None
        assert_same((found.map, found.score), (wanted.map, wanted.score))
        np.testing.assert_allclose(
            system.localise_samples(frames, samples), expected.localise_samples(frames, samples), atol=1e-6
        )
        assert backend.name == "tensorrt"
        assert backend.description == (f"{spec.name}, tensorrt fp16 on Paper GPU (TensorRT 10.16.1.11, CUDA graphs)")


@pytest.mark.parametrize(
    ("frames", "fact"),
    [
        (np.zeros((1, 128, 128, 3), np.float32), "float32"),
        (np.zeros((1, 128, 127, 3), np.uint8), "127"),
        (np.zeros((2, 128, 128, 3), np.uint8), "different batch sizes"),
    ],
)
def test_inputs_that_do_not_fit(gpu: Gpu, model: Path, spec: ModelSpec, frames: Any, fact: str) -> None:
    _, samples = some_inputs(spec, 1)
    with TensorRtBackend(model) as backend, pytest.raises(ValueError, match=fact):
        backend.localise_samples(frames, samples)


def test_any_thread_may_call_it(gpu: Gpu, model: Path, spec: ModelSpec, reference: CpuBackend) -> None:
    """The context is current on a thread only while it calls; nothing that was current there is lost."""
    frames, samples = some_inputs(spec, 5)
    expected = reference.localise_samples(frames, samples)
    with TensorRtBackend(model) as backend:

        def call() -> None:
            for _ in range(3):
                assert_same(backend.localise_samples(frames, samples), expected)

        with on_thread(call), on_thread(call):
            call()
        assert not any(gpu.stacks.values())
    assert threading.get_ident() in gpu.stacks


def test_several_profiles(model: Path, spec: ModelSpec, install: Install, reference: CpuBackend) -> None:
    """One optimisation profile per batch size: each context takes its own."""
    batches = ((1, 1, 1), (2, 2, 2), (4, 4, 4))
    install(write_plans(model, spec, "tensorrt", "fp32", plan_info, batches=batches))
    frames, samples = some_inputs(spec, 7)
    with TensorRtBackend(model) as backend:
        assert backend.buckets == (1, 2, 4)
        assert backend.precision == "fp32"
        assert_same(backend.localise_samples(frames, samples), reference.localise_samples(frames, samples))


@pytest.mark.parametrize("capturable", [True, False])
def test_tensorrt_rtx(
    model: Path,
    spec: ModelSpec,
    install: Install,
    reference: CpuBackend,
    monkeypatch: pytest.MonkeyPatch,
    capturable: bool,
) -> None:
    """What cannot be captured runs without a CUDA graph; plans that were built without a GPU run on any."""
    monkeypatch.setattr(RtxExecutionContext, "capturable", capturable)
    anywhere = {"gpu_name": None, "compute_capability": None, "driver_version": None, "builder_version": "1.7.1.116"}
    plans = write_plans(model, spec, "tensorrt-rtx", "fp16", plan_info, **anywhere)
    gpu = install(plans, rtx=True, version="1.7.1.116", capability=(8, 9))
    frames, samples = some_inputs(spec, 6)
    with open_backend(model, "tensorrt-rtx") as backend:
        assert backend.name == "tensorrt-rtx"
        assert "TensorRT-RTX 1.7.1.116" in backend.description
        assert_same(backend.localise_samples(frames, samples), reference.localise_samples(frames, samples))
    assert (("graph", "4") in gpu.log) == capturable


def test_a_gpu_that_tensorrt_rtx_does_not_run_on(model: Path, spec: ModelSpec, install: Install) -> None:
    anywhere = {"gpu_name": None, "compute_capability": None, "builder_version": "1.7.1.116"}
    install(write_plans(model, spec, "tensorrt-rtx", "fp16", plan_info, **anywhere), rtx=True, version="1.7.1.116")
    message = one_line(lambda: open_backend(model, "tensorrt-rtx"))
    assert "here is Paper GPU (9.0). Build it here: avol export --engine tensorrt." in message


def test_half_towers_beside_float32_spectrogram_and_head(model: Path, spec: ModelSpec, install: Install) -> None:
    plans = write_plans(model, spec, "tensorrt", "fp32", plan_info)
    for role in ("audio", "frame"):
        data = f"half {role}".encode()
        info = plan_info(role=role, precision="fp16", builder="tensorrt", data=data, spec=spec)
        (model / info.file_name).write_bytes(data)
        (model / f"{info.file_name}.json").write_text(info.to_json(), encoding="utf-8")
        plans[data] = plans[f"plan of {role} fp32 tensorrt".encode()]
    install(plans)
    with TensorRtBackend(model) as backend:
        assert backend.precision == "fp16"
    with TensorRtBackend(model, precision="fp32") as backend:
        assert backend.precision == "fp32"


def one_line(call: Callable[[], object], kind: type[AvolError] = UnavailableError) -> str:
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith("."), message
    return message


def test_no_engines(model: Path, install: Install) -> None:
    install({})
    message = one_line(lambda: open_backend(model, "tensorrt"))
    assert message.startswith(f"{model}: holds no TensorRT engines (")
    assert "avol export --engine tensorrt" in message


def test_engines_of_another_precision(gpu: Gpu, model: Path) -> None:
    message = one_line(lambda: open_backend(model, "tensorrt", "int8"))
    assert "holds no INT8 TensorRT engines (audio.int8.tensorrt.plan is missing)" in message


@pytest.mark.parametrize(
    ("changed", "fact"),
    [
        ({"builder_version": "10.3.0.26"}, "built by TensorRT 10.3.0.26, here is TensorRT 10.16.1.11"),
        (
            {"gpu_name": "Orin", "compute_capability": "8.7"},
            "built on Orin (compute capability 8.7), here is Paper GPU",
        ),
        ({"gpu_name": "Other GPU"}, "built on Other GPU, here is Paper GPU"),
    ],
)
def test_engines_of_another_machine(
    model: Path, spec: ModelSpec, install: Install, changed: dict[str, Any], fact: str
) -> None:
    gpu = install(write_plans(model, spec, "tensorrt", "fp16", plan_info, **changed))
    message = one_line(lambda: open_backend(model, "tensorrt"))
    assert fact in message
    assert "avol export --engine tensorrt" in message
    gpu.require_clean()


@pytest.mark.parametrize(
    ("changed", "fact"),
    [
        (
            {"options": {"version_compatible": True}, "builder_version": "10.13.0.1"},
            "built by TensorRT 10.13.0.1, here is TensorRT 10.16",
        ),
        ({}, "TensorRT 10.16.1.11 on Paper GPU does not open it"),
    ],
)
def test_an_engine_that_tensorrt_refuses(
    model: Path, spec: ModelSpec, install: Install, changed: dict[str, Any], fact: str
) -> None:
    """Deserialising gives None: the message has what differs and what TensorRT logged last."""
    write_plans(model, spec, "tensorrt", "fp16", plan_info, **changed)
    gpu = install({})
    message = one_line(lambda: open_backend(model, "tensorrt"))
    assert fact in message
    assert "version tag does not match" in message
    gpu.require_clean()


def test_the_real_tensorrt_rtx_without_a_driver(model: Path, spec: ModelSpec) -> None:
    """A plan that it built itself cannot be opened without a driver, and it says so through our logger."""
    trt = pytest.importorskip("tensorrt_rtx", exc_type=ImportError)
    engines = pytest.importorskip("avol.export.engines", exc_type=ImportError)
    with contextlib.suppress(UnavailableError):
        find_gpu()
        pytest.skip("there is a driver")
    (built,) = engines.build_engines(
        model,
        precisions=("fp32",),
        engine="tensorrt-rtx",
        batches=(1,),
        options=engines.EngineOptions(roles=("head",)),
        report=lambda line: None,
    )
    device: Any = SimpleNamespace(name="no GPU", compute_capability="8.9")
    loader = EngineLoader(trt, "tensorrt-rtx", device, spec)
    message = one_line(lambda: loader.load(built.path))
    assert message.startswith(f"{built.path}: TensorRT-RTX {trt.__version__} on no GPU does not open it; ")
    assert "CUDA driver" in message


def test_a_damaged_plan(gpu: Gpu, model: Path) -> None:
    path = model / "frame.fp16.tensorrt.plan"
    path.write_bytes(path.read_bytes()[:-1])
    assert one_line(lambda: open_backend(model, "tensorrt"), AvolError).startswith(f"{path}: damaged")


def test_an_engine_of_another_model(model: Path, spec: ModelSpec, install: Install) -> None:
    other = dataclasses.replace(spec, name="other")
    install(write_plans(model, other, "tensorrt", "fp16", plan_info))
    assert "they differ in name" in one_line(lambda: open_backend(model, "tensorrt"), AvolError)


def test_an_engine_with_other_tensors(model: Path, spec: ModelSpec, install: Install) -> None:
    plans = write_plans(model, spec, "tensorrt", "fp16", plan_info)
    plans[b"plan of head fp16 tensorrt"]["types"] = {"map": DataType.HALF}
    install(plans)
    message = one_line(lambda: open_backend(model, "tensorrt"), AvolError)
    assert "map (out, float16)" in message
    assert "map (out, float32)" in message


def test_engines_without_a_common_batch_size(model: Path, spec: ModelSpec, install: Install) -> None:
    plans = write_plans(model, spec, "tensorrt", "fp16", plan_info, batches=((1, 1, 1),))
    data = b"a head for eight"
    info = plan_info(role="head", precision="fp16", builder="tensorrt", data=data, spec=spec, batches=((8, 8, 8),))
    (model / info.file_name).write_bytes(data)
    (model / f"{info.file_name}.json").write_text(info.to_json(), encoding="utf-8")
    plans[data] = {**plans[b"plan of head fp16 tensorrt"], "profiles": info.profiles}
    gpu = install(plans)
    assert "no batch size in common" in one_line(lambda: open_backend(model, "tensorrt"), AvolError)
    gpu.require_clean()


def test_a_full_gpu(model: Path, spec: ModelSpec, install: Install) -> None:
    gpu = install(write_plans(model, spec, "tensorrt", "fp16", plan_info), bytes_of_memory=100_000)
    frames, samples = some_inputs(spec, 4)
    with TensorRtBackend(model) as backend:
        assert "memory is full" in one_line(lambda: backend.localise_samples(frames, samples), AvolError)
    gpu.require_clean()


@pytest.mark.parametrize("works", [0, 2, 6])
@pytest.mark.parametrize("call", ["memcpy_htod_async", "execute_async_v3", "memcpy_dtoh_async", "cudaGraphLaunch"])
def test_a_failure_leaves_nothing_behind(
    gpu: Gpu, model: Path, spec: ModelSpec, reference: CpuBackend, call: str, works: int
) -> None:
    """A failing call is raised, what was under way is waited for, and the backend still works and closes."""
    frames, samples = some_inputs(spec, 9)
    with TensorRtBackend(model) as backend:
        gpu.fail[call] = works
        try:
            backend.localise_samples(frames, samples)
        except RuntimeError as error:
            assert call in str(error)  # noqa: PT017 (a late one may not come)
        gpu.fail.clear()
        assert_same(backend.localise_samples(frames, samples), reference.localise_samples(frames, samples))
    gpu.require_clean()


@pytest.mark.parametrize("missing", ["tensorrt", "pycuda.driver", "cuda.bindings.runtime"])
def test_a_missing_package(gpu: Gpu, model: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    message = one_line(lambda: open_backend(model, "tensorrt"))
    assert "not installed; pip install '.[tensorrt]'" in message


def test_a_closed_backend(gpu: Gpu, model: Path, spec: ModelSpec) -> None:
    backend = TensorRtBackend(model)
    backend.localise_samples(*some_inputs(spec, 1))
    backend.close()
    backend.close()
    with pytest.raises(RuntimeError, match="closed"):
        backend.localise_samples(*some_inputs(spec, 1))


def test_the_simulator_notices(gpu: Gpu) -> None:
    """A simulator that forgave everything would prove nothing."""
    driver = sys.modules["pycuda.driver"]
    with pytest.raises(ViolationError, match="without a current context"):
        driver.mem_alloc(4)
    context = driver.Device(0).retain_primary_context()
    context.push()
    stream, memory, host = driver.Stream(1), driver.mem_alloc(4), driver.pagelocked_empty(1, np.float32)
    driver.memcpy_dtoh_async(host, memory, stream)
    assert np.isnan(host[0])
    with pytest.raises(ViolationError, match="not pinned"):
        driver.memcpy_htod_async(memory, np.zeros(1, np.float32), stream)
    with pytest.raises(ViolationError, match="under way"):
        memory.free()
    with pytest.raises(AttributeError):
        driver.memcpy_htod(memory, host)
    driver.Context.pop()
    with pytest.raises(ViolationError, match="1 allocations"):
        gpu.require_clean()
