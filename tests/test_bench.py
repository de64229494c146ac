"""The parts of avol bench: percentiles, scenarios on a fake clock, roofline, power, and what was recorded."""

from __future__ import annotations

import ctypes
import json
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avol.apps.bench_app import child, nvml, power, roofline, whole_run
from avol.apps.bench_app.columns import measure_columns
from avol.apps.bench_app.configurations import Configuration, choose
from avol.apps.bench_app.environment import environment_record, processor_name
from avol.apps.bench_app.onnx_bytes import FLOAT, INT8, INT32, UINT8, one_node_model
from avol.apps.bench_app.quality import NOT_RECORDED, headline, recorded_quality
from avol.apps.bench_app.scenarios import make_pairs, multi_stream, offline, single_stream
from avol.apps.bench_app.timing import COLUMNS, WARM_UP_RUNS, Effort, milliseconds, quantile, repeat, summary
from avol.runtime.backends.backend import PAIR_ROLES, Arrays, Backend
from avol.runtime.backends.layers import Layer, layers_of, model_layers
from avol.runtime.backends.phases import LapClock, Phases
from avol.runtime.errors import AvolError, UnavailableError
from avol.runtime.model_folder import bundled_model_folder, read_spec
from avol.runtime.spec import ModelSpec
from avol.runtime.stage_times import StageTimes, timed

FOLDER = bundled_model_folder()


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return read_spec(FOLDER)


class FakeClock:
    """Time that passes only where a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def effort(clock: Callable[[], float], *, seconds: float = 0.0, runs: int = 1) -> Effort:
    return Effort(seconds=seconds, runs=runs, clock=clock)


# Percentiles


def test_percentiles_by_hand() -> None:
    values = [float(value) for value in range(100, 0, -1)]  # 1 to 100, in any order
    expected = {"min": 1.0, "mean": 50.5, "median": 50.5, "p90": 90.0, "p95": 95.0, "p99": 99.0}
    assert summary(values) == expected
    assert tuple(expected) == COLUMNS


def test_percentiles_of_few_values_are_values() -> None:
    assert [quantile([3.0, 1.0, 2.0], share) for share in (0.0, 1 / 3, 0.34, 0.9, 1.0)] == [1.0, 1.0, 2.0, 3.0, 3.0]
    assert quantile([7.0], 0.99) == 7.0
    assert quantile([float(value) for value in range(1, 11)], 0.9) == 9.0  # 0.9 * 10 is above 9 in floating point


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300), st.floats(0, 1))
def test_a_quantile_has_its_share_at_or_below_it(values: list[float], share: float) -> None:
    found = quantile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6
    assert sum(value < found for value in values) <= share * len(values) + 1e-6


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 1.1), ([1.0], -0.1), ([1.0], math.nan)])
def test_a_quantile_of_nothing_is_refused(values: list[float], share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        quantile(values, share)


def test_times_are_told_in_milliseconds() -> None:
    assert milliseconds([0.001, 0.003]) == {"min": 1, "mean": 2, "median": 2, "p90": 3, "p95": 3, "p99": 3}


def test_a_measurement_goes_on_until_both_limits_are_reached() -> None:
    clock, numbers = FakeClock(), list[int]()

    def call(number: int) -> None:
        numbers.append(number)
        clock.now += 0.25

    assert len(repeat(call, effort(clock, seconds=1.0, runs=1))) == 4
    assert len(repeat(call, effort(clock, seconds=0.1, runs=7))) == 7
    assert numbers[:WARM_UP_RUNS] == list(range(WARM_UP_RUNS))
    assert numbers[: WARM_UP_RUNS + 4] == list(range(WARM_UP_RUNS + 4))  # every call has a number of its own


def test_calls_that_warm_up_do_not_count() -> None:
    clock = FakeClock()

    def call(number: int) -> None:
        clock.now += 100.0 if number < WARM_UP_RUNS else 2.0

    assert repeat(call, effort(clock, runs=3)) == [2.0, 2.0, 2.0]


# Scenarios


def test_single_stream_sends_one_pair_at_a_time() -> None:
    clock, counts = FakeClock(), list[int]()

    def infer(number: int, count: int) -> None:
        counts.append(count)
        # Ten queries that count: nine of 1 ms, one of 50 ms.
        clock.now += 0.050 if number == WARM_UP_RUNS + 4 else 0.001

    found = single_stream(infer, effort(clock, runs=10))
    assert set(counts) == {1}
    assert found["queries"] == 10
    assert found["latency_milliseconds"]["p90"] == 1.0
    assert found["latency_milliseconds"]["p99"] == 50.0


@pytest.mark.parametrize(
    ("batch", "calls"), [(1, [1] * 8), (3, [3, 3, 2]), (5, [5, 3]), (8, [8]), (32, [8]), (7, [7, 1])]
)
def test_multi_stream_sends_eight_pairs_in_calls_of_the_batch(batch: int, calls: list[int]) -> None:
    clock, counts = FakeClock(), list[int]()

    def infer(number: int, count: int) -> None:
        counts.append(count)
        clock.now += 0.002 * count + 0.001

    found = multi_stream(infer, batch, effort(clock, runs=5))
    assert counts == calls * (5 + WARM_UP_RUNS)
    assert found["pairs_per_query"] == 8
    assert found["latency_milliseconds"]["p99"] == pytest.approx(16 + len(calls))


def test_offline_is_pairs_over_time() -> None:
    clock, energy = FakeClock(), FakeClock()

    def infer(number: int, count: int) -> None:
        clock.now += 0.5
        energy.now += 3.0

    found = offline(infer, 32, effort(clock, seconds=2.0), energy)
    assert found == {"pairs": 128, "seconds": 2.0, "pairs_per_second": 64.0, "joules_per_pair": 12 / 128}
    assert offline(infer, 4, effort(clock, runs=3))["joules_per_pair"] is None


def test_pairs_of_a_number_are_whole_and_differ(spec: ModelSpec) -> None:
    pairs = make_pairs(spec, 100)
    assert len(pairs) == 100
    for number in range(50):
        frames, samples = pairs.part(number, 32)
        assert frames.shape == (32, spec.frame_height, spec.frame_width, 3)
        assert samples.shape == (32, spec.spectrogram.clip_samples)
    assert not np.array_equal(pairs.part(0, 8)[0], pairs.part(1, 8)[0])
    assert len(make_pairs(spec, 1)) >= 8  # a query of the multi-stream scenario


# Columns


class FakeBackend(Backend):
    """A call takes 5 ms; on a device 1 ms of it goes up, 3 ms compute, 1 ms comes down."""

    name, device, provider = "fake", "none", "nothing"

    def __init__(self, spec: ModelSpec, clock: FakeClock, *, on_device: bool) -> None:
        super().__init__(FOLDER, spec, "fp32")
        self.clock, self.on_device = clock, on_device

    def compute(self, roles: tuple[str, ...], inputs: Arrays, outputs: tuple[str, ...]) -> Arrays:
        assert roles == PAIR_ROLES
        self.clock.now += 0.005
        return {name: np.zeros(len(inputs["frames"]), np.float32) for name in outputs}

    def measure_phases(self, frames: Any, samples: Any) -> Phases:
        return Phases(h2d=0.001, compute=0.003, d2h=0.001)

    def close(self) -> None:
        pass


def test_a_processor_has_no_copies_and_no_queue(spec: ModelSpec) -> None:
    clock = FakeClock()
    with FakeBackend(spec, clock, on_device=False) as backend:
        found = measure_columns(backend, make_pairs(spec, 8), 8, effort(clock, runs=10))
    assert found["pairs_per_second"] == pytest.approx(8 / 0.005)
    assert found["latency_milliseconds"] == found["compute_milliseconds"]
    assert found["latency_milliseconds"]["p99"] == pytest.approx(5.0)
    assert [found[f"{name}_milliseconds"] for name in ("enqueue", "h2d", "d2h")] == [None, None, None]


def test_a_device_has_the_phases_it_can_tell(spec: ModelSpec) -> None:
    clock = FakeClock()
    with FakeBackend(spec, clock, on_device=True) as backend:
        found = measure_columns(backend, make_pairs(spec, 2), 2, effort(clock, runs=4))
    assert found["runs"] == 4
    assert found["h2d_milliseconds"]["median"] == 1.0
    assert found["compute_milliseconds"]["median"] == 3.0
    assert found["enqueue_milliseconds"] is None


def test_laps_add_up_and_do_nothing_unless_running() -> None:
    clock = FakeClock()
    laps, idle = LapClock(clock=clock), LapClock(running=False)
    for _ in range(2):
        clock.now += 50.0  # between the calls
        laps.start()
        clock.now += 1.0
        laps.lap("up")
        clock.now += 2.0
        laps.lap("down")
        idle.start()
        idle.lap("up")
    assert laps.seconds == {"up": 2.0, "down": 4.0}
    assert idle.seconds == {}


# Configurations


def opener(spec: ModelSpec, works: set[tuple[str, str]]) -> Callable[[Path, str, str], Backend]:
    def open_it(folder: Path, device: str, precision: str) -> Backend:
        if (device, precision) not in works:
            raise UnavailableError(f"{device} {precision} is not to be had.", reason=f"no {device}")
        return FakeBackend(spec, FakeClock(), on_device=False)

    return open_it


def test_what_opens_is_measured_and_the_rest_has_a_reason(spec: ModelSpec) -> None:
    choice = choose(FOLDER, None, None, opener(spec, {("cpu", "fp32"), ("cpu", "int8")}))
    assert choice.chosen == [Configuration("cpu", "fp32"), Configuration("cpu", "int8")]
    assert {"device": "cuda", "precision": "fp16", "reason": "no cuda"} in choice.passed_over
    assert len(choice.passed_over) + len(choice.chosen) == 4 * 3


@pytest.mark.parametrize(
    ("devices", "precisions", "message"),
    [
        (("cuda",), None, "cuda auto is not to be had"),
        (("cpu", "cuda"), None, "cuda auto is not to be had"),
        (("cuda",), ("fp32",), "cuda fp32 is not to be had"),
        (("cpu",), ("fp32", "fp16"), "cpu fp16 is not to be had"),
        (None, ("fp16",), "cpu fp16 is not to be had"),
    ],
)
def test_what_was_named_and_does_not_open_is_an_error(
    spec: ModelSpec, devices: tuple[str, ...] | None, precisions: tuple[str, ...] | None, message: str
) -> None:
    with pytest.raises(UnavailableError, match=message):
        choose(FOLDER, devices, precisions, opener(spec, {("cpu", "fp32")}))


def test_a_precision_that_was_named_is_taken_where_it_is(spec: ModelSpec) -> None:
    assert choose(FOLDER, None, ("fp32",), opener(spec, {("cuda", "fp32")})).chosen == [Configuration("cuda", "fp32")]


def test_a_broken_model_is_no_device_that_is_missing(spec: ModelSpec) -> None:
    def broken(folder: Path, device: str, precision: str) -> Backend:
        raise AvolError("frame.onnx: not a usable ONNX graph.")

    with pytest.raises(AvolError, match="not a usable"):
        choose(FOLDER, None, None, broken)


# Roofline


def test_models_of_one_node_are_what_onnx_writes() -> None:
    data = one_node_model("MatMul", (("a", FLOAT, (300, 2)), ("b", FLOAT, (2, 4))), ("c", FLOAT, (300, 4)))
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["a", "b"]
    assert [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim] == [300, 4]
    a, b = np.arange(600, dtype=np.float32).reshape(300, 2), np.ones((2, 4), np.float32)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"a": a, "b": b})[0], a @ b)


def test_bytes_are_multiplied_as_models_have_them() -> None:
    data = one_node_model("MatMulInteger", (("a", UINT8, (2, 3)), ("b", INT8, (3, 2))), ("c", INT32, (2, 2)))
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)


def test_layers_are_counted_as_by_hand(spec: ModelSpec) -> None:
    layers = layers_of(FOLDER, spec, "fp32", "frame")
    # Half width: 3x3 from 3 to 32 channels at stride 2, 128 -> 64.
    assert layers[0] == Layer(2 * 64 * 64 * 32 * 27, 3 * 128 * 128 + 32 * 64 * 64, 32 * 27, "fp32")
    assert len(layers) == 10
    (spectrogram,) = layers_of(FOLDER, spec, "fp32", "spectrogram")
    assert spectrogram.operations == 2 * 512 * 128 * 512


def test_the_eight_bit_layers_are_the_same_layers(spec: ModelSpec) -> None:
    floats, bytes_ = (model_layers(FOLDER, spec, precision, PAIR_ROLES) for precision in ("fp32", "int8"))
    assert [(layer.operations, layer.weights) for layer in floats] == [(x.operations, x.weights) for x in bytes_]
    assert {layer.precision for layer in floats} == {"fp32"}
    convolutions = [layer.precision for layer in bytes_]
    assert convolutions.count("int8") > convolutions.count("fp32") > 0  # the spectrogram, and matrix products


def test_a_missing_graph_is_named(spec: ModelSpec) -> None:
    with pytest.raises(AvolError, match=r"frame\.fp16\.onnx"):
        layers_of(FOLDER, spec, "fp16", "frame")


def test_the_bound_by_hand() -> None:
    rates = roofline.MachineRates(
        operations_per_second={"fp32": 100.0, "int8": 400.0, "fp16": None}, bytes_per_second=10.0, note=""
    )
    computing = Layer(operations=1000, activations=1, weights=1, precision="fp32")
    moving = Layer(operations=4, activations=30, weights=60, precision="int8")
    # 1000 / 100 = 10 s against 8 bytes / 10; 4 / 400 s against (30 + 60) bytes / 10 = 9 s.
    assert roofline.bound_seconds([computing, moving], 1, rates) == pytest.approx(19.0)
    # Weights are read once for a batch: 20 s, and (2 * 30 + 60) / 10 = 12 s.
    assert roofline.bound_seconds([computing, moving], 2, rates) == pytest.approx(32.0)
    half = Layer(1, 1, 1, "fp16")
    assert roofline.bound_seconds([computing, half], 1, rates) is None


def test_the_better_of_two_measurements_counts() -> None:
    one = roofline.MachineRates(
        operations_per_second={"fp32": 2.0, "fp16": None, "int8": None}, bytes_per_second=5.0, note="a"
    )
    other = roofline.MachineRates(
        operations_per_second={"fp32": 1.0, "fp16": 4.0, "int8": None}, bytes_per_second=None, note="b"
    )
    found = roofline.best_of(one, other)
    assert found.operations_per_second == {"fp32": 2.0, "fp16": 4.0, "int8": None}
    assert (found.bytes_per_second, found.note) == (5.0, "a")


def test_the_rates_of_this_machine_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(roofline.SIDES, "cpu", 64)
    monkeypatch.setattr(roofline, "MOVED_NUMBERS", 1 << 12)
    rates = roofline.measure_rates(False, ["fp32", "int8"], 0.0)
    assert all(rate is not None and rate > 0 for rate in rates.operations_per_second.values())
    assert rates.bytes_per_second is not None
    assert rates.bytes_per_second > 0
    assert rates.record().keys() == {"operations_per_second", "bytes_per_second", "note"}


def test_a_gpu_that_onnxruntime_cannot_use_has_no_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    rates = roofline.measure_rates(True, ["fp32"], 0.0)
    assert rates.operations_per_second == {"fp32": None}
    assert rates.bytes_per_second is None
    assert "no CUDA" in rates.note


def test_a_product_that_does_not_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "_product_types", lambda precision, memory: ("NoSuchOperator", FLOAT, FLOAT, FLOAT))
    monkeypatch.setitem(roofline.SIDES, "cpu", 8)
    monkeypatch.setattr(roofline, "MOVED_NUMBERS", 8)
    rates = roofline.measure_rates(False, ["fp32"], 0.0)
    assert rates.operations_per_second == {"fp32": None}
    assert "NoSuchOperator" in rates.note


# Power


def power_files(folder: Path) -> power.PowerFiles:
    return power.PowerFiles(energy=folder / "powercap", clocks=folder / "cpu", cpuinfo=folder / "cpuinfo")


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_energy_of_the_packages_goes_round(tmp_path: Path) -> None:
    energy = tmp_path / "powercap"
    for package in ("intel-rapl:0", "intel-rapl:1"):
        put(energy / package / "name", f"package-{package[-1]}\n")
        put(energy / package / "max_energy_range_uj", "10000000\n")
        put(energy / package / "energy_uj", "9000000\n")
    put(energy / "intel-rapl:0:0" / "name", "core\n")  # part of a package
    put(energy / "intel-rapl:0:0" / "energy_uj", "5\n")
    counter = power.ProcessorEnergy(power_files(tmp_path))
    assert counter.joules() == 0.0
    put(energy / "intel-rapl:0" / "energy_uj", "9500000\n")
    assert counter.joules() == pytest.approx(0.5)
    put(energy / "intel-rapl:1" / "energy_uj", "1000000\n")  # over the top: 1 J to it, 1 J after it
    assert counter.joules() == pytest.approx(2.5)


def test_energy_that_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    assert power.ProcessorEnergy(power_files(tmp_path)).joules() is None
    put(tmp_path / "powercap" / "intel-rapl:0" / "name", "package-0")
    assert power.ProcessorEnergy(power_files(tmp_path)).joules() is None  # as for everybody but root
    put(tmp_path / "powercap" / "intel-rapl:0" / "energy_uj", "many")
    assert power.ProcessorEnergy(power_files(tmp_path)).joules() is None


def test_clocks_come_from_the_best_source(tmp_path: Path) -> None:
    files = power_files(tmp_path)
    assert power.processor_clocks(files) == {"megahertz": None, "source": None, "governor": None}
    put(files.cpuinfo, "model name\t: Paper CPU\ncpu MHz\t\t: 2000.0\n\ncpu MHz\t\t: 3000.0\n")
    assert power.processor_clocks(files) == {"megahertz": 2500.0, "source": "cpuinfo", "governor": None}
    for number, kilohertz in enumerate((1_000_000, 2_000_000)):
        put(files.clocks / f"cpu{number}" / "cpufreq" / "scaling_cur_freq", f"{kilohertz}\n")
        put(files.clocks / f"cpu{number}" / "cpufreq" / "scaling_governor", "performance\n")
    assert power.processor_clocks(files) == {"megahertz": 1500.0, "source": "cpufreq", "governor": "performance"}
    assert processor_name(files.cpuinfo) == "Paper CPU"


def test_the_mode_of_a_jetson(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert power.power_mode() is None
    program = tmp_path / "nvpmodel"
    put(program, "#!/bin/sh\necho 'NV Power Mode: MAXN_SUPER'\necho 2\n")
    program.chmod(0o755)
    assert power.power_mode() == "MAXN_SUPER"
    put(program, "#!/bin/sh\necho no\nexit 1\n")
    assert power.power_mode() is None


class FakeNvml:
    """NVIDIA's library as far as it is called: a number at every address, errors for what it does not know."""

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: Any) -> int:  # noqa: N802
        handle._obj.value = 7
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, device: ctypes.c_void_p, value: Any) -> int:  # noqa: N802
        assert device.value == 7
        assert isinstance(value._obj, ctypes.c_ulonglong)
        value._obj.value = 12_345_678_901
        return 0

    def nvmlDeviceGetClockInfo(self, device: ctypes.c_void_p, kind: int, value: Any) -> int:  # noqa: N802
        if kind == 1:
            return 3  # not supported
        value._obj.value = 1000 + kind
        return 0


def test_what_nvidias_library_says() -> None:
    library = nvml.Nvml(load=lambda name: FakeNvml())
    assert library.joules() == pytest.approx(12_345_678.901)
    assert library.clocks_megahertz() == {"graphics": 1000.0, "streaming_multiprocessor": None, "memory": 1002.0}
    assert library.power_limit_watts() is None  # an old driver without that function
    record = power.power_record(power.PowerFiles(), library)
    assert record["gpu_megahertz"]["memory"] == 1002.0


def test_a_driver_without_a_gpu_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class WithoutGpu(FakeNvml):
        def nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: Any) -> int:  # noqa: N802
            return 6

    with pytest.raises(OSError, match="error 6"):
        nvml.Nvml(load=lambda name: WithoutGpu())
    monkeypatch.setattr(nvml, "LIBRARY", "libnvidia-ml-is-not-there.so.1")
    assert nvml.open_nvml() is None


def test_the_environment_is_json() -> None:
    record = environment_record()
    assert json.loads(json.dumps(record)) == record
    assert record["cores"] >= 1
    assert record["packages"]["numpy"]


# Quality


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_bundled_model_has_its_quality_beside_it(spec: ModelSpec, precision: str) -> None:
    quality = recorded_quality(FOLDER, spec, precision)
    assert quality is not None
    assert quality["part"] == "test"
    assert headline(quality).endswith(" %")
    card = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert headline(quality) in card


def test_what_is_not_recorded_is_said(spec: ModelSpec) -> None:
    assert recorded_quality(FOLDER, spec, "fp16") is None
    assert headline(None) == NOT_RECORDED
    assert headline({"figures": {}}) == NOT_RECORDED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        "{}",
        '{"model": 3, "figures": {}}',
        '{"model": {"sha256": "SHA"}, "figures": 3}',
        '{"model": {"sha256": "SHA"}, "figures": {"a": 3}}',
        '{"model": {"sha256": "SHA"}, "figures": {"a": {}}}',
        '{"model": {"sha256": "other"}, "figures": {"a": {"value": 1}}}',
        '{"model": {"sha256": "SHA", "precision": "int8"}, "figures": {"a": {"value": 1}}}',
    ],
)
def test_other_files_of_that_name_say_nothing(spec: ModelSpec, tmp_path: Path, text: str) -> None:
    (tmp_path / "evaluation.json").write_text(text.replace("SHA", spec.weights_sha256), encoding="utf-8")
    (tmp_path / "evaluation.bytes.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "evaluation.folder.json").mkdir()
    assert recorded_quality(tmp_path, spec, "fp32") is None


# Stages, memory and start-up


def test_stages_are_timed_only_while_somebody_asks() -> None:
    clock, ended = FakeClock(), list[str]()
    with timed("decode"):
        clock.now += 5.0
    with StageTimes(clock, ended.append) as times:
        for seconds in (1.0, 2.0):
            with timed("decode"):
                clock.now += seconds
        with pytest.raises(ZeroDivisionError), timed("shrink"):  # what fails is no time of the stage
            clock.now += 1 / 0
        with pytest.raises(RuntimeError, match="already"), StageTimes():
            pass
    with timed("decode"):
        clock.now += 5.0
    assert times.seconds == {"decode": 3.0}
    assert ended == ["decode", "decode"]


def test_stages_of_several_threads_add_up() -> None:
    def work() -> None:
        for _ in range(200):
            with timed("towers"):
                pass

    ticks = iter(range(10**6))
    with StageTimes(lambda: float(next(ticks))) as times:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert times.seconds["towers"] >= 800.0  # each at least a tick


def test_stages_are_told_per_frame_or_per_analysis() -> None:
    run = {
        "frames": 100,
        "analysed": 20,
        "duration_seconds": 4.0,
        "elapsed_seconds": 0.5,
        "stage_seconds": {"decode": 0.2, "shrink": 0.1, "towers": 0.4, "encode": 1.0},
        "peak_memory_bytes": 5,
    }
    record = whole_run.run_record(run, "a.mp4")
    assert record["stages_milliseconds"] == {
        "decode": 2.0,
        "shrink": 5.0,
        "spectrogram": None,
        "towers": 20.0,
        "overlay": None,
        "encode": 10.0,
    }
    assert record["real_time_factor"] == 0.125


def test_the_peak_of_memory_is_this_programs_own(tmp_path: Path) -> None:
    status = tmp_path / "status"
    put(status, "Name:\tpython\nVmPeak:\t  900000 kB\nVmHWM:\t  1000 kB\nVmRSS:\t  10 kB\n")
    assert child.peak_memory_bytes(status) == 1_024_000
    assert child.peak_memory_bytes(tmp_path / "missing") > 1_000_000
    assert child.peak_memory_bytes() > 1_000_000
