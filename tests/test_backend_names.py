"""The simulated packages know no name and no argument that the real ones do not have."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cuda_simulator import (
    Allocation,
    Context,
    CudaEngine,
    Event,
    EventFlags,
    ExecutionContext,
    Gpu,
    ILogger,
    RtxExecutionContext,
    Severity,
    Stream,
    TensorIOMode,
    cuda_runtime,
    pycuda_driver,
    tensorrt,
)

HERE = Path(__file__).parent
PYCUDA = json.loads((HERE / "cuda_names" / "pycuda-2026.1.json").read_text(encoding="utf-8"))
TENSORRT = sorted((HERE / "tensorrt_names").glob("tensorrt*.json"))


def arguments_of(function: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def public(kind: type) -> dict[str, Any]:
    return {name: value for name, value in vars(kind).items() if not name.startswith("_")}


@pytest.mark.parametrize("name", vars(pycuda_driver(Gpu())))
def test_names_of_pycuda(name: str) -> None:
    assert name in PYCUDA["functions"] or name in PYCUDA["exceptions"] or name in PYCUDA["classes"]
    simulated = getattr(pycuda_driver(Gpu()), name)
    if known := PYCUDA["functions"].get(name):  # of some functions the source names no arguments
        assert set(arguments_of(simulated)) <= set(known)


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("Device", public(pycuda_driver(Gpu()).Device)),
        ("Context", [*public(Context), *vars(pycuda_driver(Gpu()).Context)]),
        ("Stream", ["handle", "synchronize", "wait_for_event"]),
        ("Event", ["record", "synchronize"]),
        ("DeviceAllocation", ["__int__", "__index__", "free"]),
        ("event_flags", [flag.name for flag in EventFlags]),
    ],
)
def test_members_of_pycuda(name: str, members: list[str]) -> None:
    own = {"retained"}  # of the simulator
    assert set(members) - own <= PYCUDA["classes"][name].keys()


def test_the_simulators_classes_have_no_more_methods() -> None:
    """What is listed above is all there is to call."""
    assert {name for name, value in public(Stream).items() if callable(value)} == {
        "synchronize",
        "wait_for_event",
        "put",
        "tail",
    }
    assert {name for name, value in public(Event).items() if callable(value)} == {"record", "synchronize"}
    assert {name for name, value in public(Allocation).items() if callable(value)} == {"free"}
    assert PYCUDA["version"] == "2026.1"


def test_names_of_cuda_bindings() -> None:
    """Against the real package: its calls are compiled, and their documentation begins with the arguments."""
    real = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed", exc_type=ImportError)
    simulated = cuda_runtime(Gpu())
    for name, value in vars(simulated).items():
        assert hasattr(real, name), name
        if inspect.isfunction(value):
            told = re.search(rf"{name}\((.*?)\)", getattr(real, name).__doc__)
            assert told is not None, name
            # "unsigned long long flags" and "mode: cudaStreamCaptureMode" are both arguments
            real_names = [part.partition(":")[0].split()[-1] for part in told[1].split(",") if part.strip()]
            if name == "cudaGraphLaunch":
                assert real_names == ["graphExec", "stream"]
            assert len(arguments_of(value)) == len(real_names), name
    for enum in ("cudaStreamCaptureMode", "cudaError_t"):
        for member in getattr(simulated, enum):
            assert hasattr(getattr(real, enum), member.name), member
    assert int(real.cudaStream_t(0x1000)) == 0x1000  # a stream of PyCUDA is given as its number
    assert real.cudaError_t.cudaErrorNoDevice.name == "cudaErrorNoDevice"


@pytest.mark.skipif(not TENSORRT, reason="tests/tensorrt_names is not there")
@pytest.mark.parametrize("path", TENSORRT, ids=lambda path: path.stem)
def test_names_of_tensorrt(path: Path) -> None:
    """Every release, of both majors and of TensorRT-RTX."""
    real = json.loads(path.read_text(encoding="utf-8"))
    rtx = real["package"] == "tensorrt_rtx"
    module = tensorrt(Gpu(), {}, rtx=rtx)
    for name in vars(module):
        assert name == "__version__" or name in real["classes"] or name in real["functions"], name
    for name, kind, own in (
        ("IExecutionContext", RtxExecutionContext if rtx else ExecutionContext, {"capturable"}),
        ("ICudaEngine", CudaEngine, {"compute"}),
        ("Runtime", module.Runtime, set()),
    ):
        members = {n: v for base in reversed(kind.__mro__[:-1]) for n, v in public(base).items() if n not in own}
        for member, value in members.items():
            assert member in real["classes"][name], f"{name}.{member}"
            mine = set(arguments_of(value))
            assert any(
                set(signature["arguments"]) - set(signature["optional"]) <= mine <= set(signature["arguments"])
                for signature in real["classes"][name][member]
            ), f"{name}.{member}"
    assert "num_io_tensors" in real["classes"]["ICudaEngine"]
    for settable in ("DLA_core", "engine_host_code_allowed"):
        assert real["classes"]["Runtime"][settable] == "attribute"
    assert {member.name for member in TensorIOMode} <= real["classes"]["TensorIOMode"].keys()
    assert {member.name for member in Severity} <= real["classes"]["ILogger"]["Severity"].keys()
    assert real["classes"]["ILogger"]["log"] == [{"arguments": ["severity", "msg"], "optional": []}]
    assert isinstance(module, SimpleNamespace)
    assert issubclass(ILogger, object)
