"""How fast the machine could be: what it multiplies and moves in a second, measured by ONNX Runtime on that device.

The bound of a model is the sum over its layers of the larger of operations over the rate of large matrix products and
bytes over the rate at which large arrays are read and written. It holds no more than its two assumptions do: a layer
that lives in a cache, or a convolution that saves multiplications (Winograd), can be faster.

Source: Williams, Waterman & Patterson, *Roofline: an insightful visual performance model*, CACM 2009.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from avol.apps.bench_app.onnx_bytes import FLOAT, FLOAT16, INT8, INT32, UINT8, one_node_model
from avol.runtime.backends.cpu import available_cores
from avol.runtime.backends.cuda import PROVIDER as CUDA_PROVIDER
from avol.runtime.backends.cuda import preload_libraries
from avol.runtime.backends.layers import Layer
from avol.runtime.backends.onnx_sessions import first_line, import_onnxruntime
from avol.runtime.errors import UnavailableError

SIDES = {"cpu": 1536, "cuda": 8192}  # of the square matrices: large enough that nothing but multiplying counts
MOVED_NUMBERS = 1 << 25  # of four bytes, read and written: larger than any cache
LEAST_RUNS = 5


@dataclass(frozen=True, kw_only=True)
class MachineRates:
    """What one device reached at its best.

    Attributes:
        operations_per_second: of a large matrix product, by precision; None: not measured.
        bytes_per_second: read and written by a kernel that does nothing else; None: not measured.
        note: how it was measured, or why not.
    """

    operations_per_second: dict[str, float | None]
    bytes_per_second: float | None
    note: str

    def record(self) -> dict[str, Any]:
        """For the report."""
        return asdict(self)


def measure_rates(on_device: bool, precisions: Sequence[str], seconds: float) -> MachineRates:
    """Multiply and move with ONNX Runtime, on the CPU with as many threads as there are cores, or on CUDA.

    Args:
        on_device: whether on the GPU.
        precisions: of :data:`avol.runtime.backends.layers.BYTES`.
        seconds: for each measurement; the fastest run counts.
    """
    try:
        ort = import_onnxruntime()
    except UnavailableError as error:  # engines of TensorRT run without it
        return _unmeasured(precisions, str(error))
    memory = "cuda" if on_device else "cpu"
    if on_device:
        if CUDA_PROVIDER not in ort.get_available_providers():
            return _unmeasured(precisions, f"onnxruntime {ort.__version__} has no CUDA to measure the GPU with")
        preload_libraries(ort)
    side, rates, notes = SIDES[memory], {}, []
    for precision in precisions:
        operator, a, b, out = _product_types(precision, memory)
        shape = (side, side)
        best = _attempt(ort, memory, operator, [("a", a, shape), ("b", b, shape)], ("c", out, shape), seconds)
        rates[precision] = None if isinstance(best, str) else 2 * side**3 / best
        notes += [f"{precision}: {best}"] if isinstance(best, str) else []
    vector = (MOVED_NUMBERS,)
    best = _attempt(ort, memory, "Neg", [("x", FLOAT, vector)], ("y", FLOAT, vector), seconds)
    notes += [f"bandwidth: {best}"] if isinstance(best, str) else []
    what = f"ONNX Runtime {ort.__version__} on {memory}"
    what += "" if on_device else f", {available_cores()} threads"
    return MachineRates(
        operations_per_second=rates,
        bytes_per_second=None if isinstance(best, str) else 2 * 4 * MOVED_NUMBERS / best,
        note="; ".join(
            [f"{what}: products of {side} x {side} matrices, and Neg over {4 * MOVED_NUMBERS:,} bytes", *notes]
        ),
    )


def _unmeasured(precisions: Sequence[str], why: str) -> MachineRates:
    return MachineRates(operations_per_second=dict.fromkeys(precisions), bytes_per_second=None, note=why)


def best_of(one: MachineRates, other: MachineRates) -> MachineRates:
    """The higher one of every rate, of two measurements of the same."""
    pairs = {name: (rate, other.operations_per_second[name]) for name, rate in one.operations_per_second.items()}
    moved = [rate for rate in (one.bytes_per_second, other.bytes_per_second) if rate is not None]
    return MachineRates(
        operations_per_second={
            name: max((rate for rate in both if rate is not None), default=None) for name, both in pairs.items()
        },
        bytes_per_second=max(moved, default=None),
        note=one.note,
    )


def bound_seconds(layers: Sequence[Layer], batch: int, rates: MachineRates) -> float | None:
    """The least that a batch can take; None: a rate that it takes was not measured."""
    known = {name: rate for name, rate in rates.operations_per_second.items() if rate is not None}
    if rates.bytes_per_second is None or not {layer.precision for layer in layers} <= known.keys():
        return None
    return sum(layer.seconds(batch, known, rates.bytes_per_second) for layer in layers)


def _product_types(precision: str, memory: str) -> tuple[str, int, int, int]:
    """Operator and types of the factors and the product."""
    if precision == "int8":  # on a CPU models have unsigned activations and signed weights
        return "MatMulInteger", UINT8 if memory == "cpu" else INT8, INT8, INT32
    kind = FLOAT16 if precision == "fp16" else FLOAT
    return "MatMul", kind, kind, kind


_NUMPY: dict[int, type[Any]] = {FLOAT: np.float32, FLOAT16: np.float16, UINT8: np.uint8, INT8: np.int8, INT32: np.int32}


def _attempt(
    ort: Any,  # noqa: ANN401 (a module)
    memory: str,
    operator: str,
    inputs: list[tuple[str, int, tuple[int, ...]]],
    output: tuple[str, int, tuple[int, ...]],
    seconds: float,
) -> float | str:
    """Seconds of the fastest run of one operator, or why it does not run."""
    try:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = available_cores()
        provider: Any = "CPUExecutionProvider"
        if memory == "cuda":
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            provider = (CUDA_PROVIDER, {"device_id": "0", "use_tf32": "0"})
        model = one_node_model(operator, tuple(inputs), output)
        session = ort.InferenceSession(model, options, providers=[provider], enable_fallback=0)
        binding, rng = session.io_binding(), np.random.default_rng(0)
        for name, kind, shape in inputs:
            values = rng.integers(0, 4, shape, np.int8).astype(_NUMPY[kind])
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(values, memory, 0))
        name, kind, shape = output
        binding.bind_ortvalue_output(
            name, ort.OrtValue.ortvalue_from_shape_and_type(list(shape), _NUMPY[kind], memory, 0)
        )
        return _fastest(lambda: session.run_with_iobinding(binding), seconds)
    except Exception as error:  # ONNX Runtime raises its own types, which share no base but Exception
        return first_line(error)


def _fastest(run: Callable[[], object], seconds: float) -> float:
    run()
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < LEAST_RUNS or time.perf_counter() - begun < seconds:
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)
