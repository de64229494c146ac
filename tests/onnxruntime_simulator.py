"""ONNX Runtime for CUDA on paper: the calls of the CUDA backend, as strict as it gets, computed on the CPU.

Captured graphs replay addresses, sessions refuse what the CPU would have to compute, and every byte that crosses the
bus is counted.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as real
from numpy.typing import NDArray

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class ViolationError(AssertionError):
    """The backend did what the real thing would have refused, or silently done wrong."""


class Options:
    """``SessionOptions``: these settings and no others."""

    __slots__ = ("config", "free_sizes", "intra_op_num_threads", "log_severity_level")

    def __init__(self) -> None:
        self.config: dict[str, str] = {}
        self.free_sizes: dict[str, int] = {}

    def add_session_config_entry(self, key: str, value: str) -> None:
        assert isinstance(value, str)
        self.config[key] = value

    def add_free_dimension_override_by_name(self, dim_name: str, dim_value: int) -> None:
        self.free_sizes[dim_name] = dim_value

    def to_real(self) -> Any:
        options = real.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        for name, size in self.free_sizes.items():
            options.add_free_dimension_override_by_name(name, size)
        return options


class Value:
    """``OrtValue`` on the device; ``machine`` counts what crosses the bus."""

    def __init__(self, machine: Machine, shape: list[int], element_type: Any) -> None:
        self._machine, self.array = machine, np.full(shape, 255 if element_type is np.uint8 else np.nan, element_type)

    def update_inplace(self, data: NDArray[Any]) -> None:
        if (data.shape, data.dtype) != (self.array.shape, self.array.dtype) or not data.flags.c_contiguous:
            raise ViolationError(f"update of {self.array.dtype} {self.array.shape} with {data.dtype} {data.shape}")
        self._machine.crossings.append(("up", data.nbytes))
        self.array[...] = data

    def numpy(self) -> NDArray[Any]:
        self._machine.crossings.append(("down", self.array.nbytes))
        return self.array.copy()


class Binding:
    """``IOBinding``."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.inputs: dict[str, Value] = {}
        self.outputs: dict[str, Value] = {}

    def bind_ortvalue_input(self, name: str, ortvalue: Value) -> None:
        assert name in [tensor.name for tensor in self.session.get_inputs()]
        self.inputs[name] = ortvalue

    def bind_ortvalue_output(self, name: str, ortvalue: Value) -> None:
        assert name in [tensor.name for tensor in self.session.get_outputs()]
        self.outputs[name] = ortvalue


class Session:
    """``InferenceSession`` on the CUDA provider with one CUDA graph."""

    def __init__(self, machine: Machine, path: str, options: Options, providers: list[Any]) -> None:
        ((name, settings),) = providers
        if not machine.preloaded:
            raise ViolationError("a CUDA session before the libraries were loaded")
        if settings.keys() - {"device_id", "enable_cuda_graph", "use_tf32"} or settings["enable_cuda_graph"] != "1":
            raise ViolationError(f"settings of the provider: {settings}")
        if options.config.get("session.disable_cpu_ep_fallback") != "1":
            raise ViolationError("a session that may run on the CPU without a word")
        if machine.session_error:
            raise RuntimeError(machine.session_error)
        self._session = real.InferenceSession(path, options.to_real(), providers=[CPU])
        tensors = [*self._session.get_inputs(), *self._session.get_outputs()]
        if any(not isinstance(size, int) for tensor in tensors for size in tensor.shape):
            raise RuntimeError("nodes that are assigned to the default CPU EP: shapes are computed")
        self._machine, self._provider = machine, name
        self._captured: dict[str, int] | None = None

    def get_modelmeta(self) -> Any:
        return self._session.get_modelmeta()

    def get_inputs(self) -> Any:
        return self._session.get_inputs()

    def get_outputs(self) -> Any:
        return self._session.get_outputs()

    def get_providers(self) -> list[str]:
        return [self._provider, CPU] if self._machine.provider_loads else [CPU]

    def io_binding(self) -> Binding:
        return Binding(self)

    def run_with_iobinding(self, iobinding: Binding, run_options: Any) -> None:
        assert isinstance(run_options, real.RunOptions)
        names = {tensor.name for tensor in self.get_inputs()}, {tensor.name for tensor in self.get_outputs()}
        if (set(iobinding.inputs), set(iobinding.outputs)) != names:
            raise ViolationError("run before everything is bound")
        addresses = {name: id(value) for name, value in (iobinding.inputs | iobinding.outputs).items()}
        if self._captured not in (None, addresses):
            raise ViolationError("a captured graph does not see other addresses")
        self._captured = addresses
        values = {name: value.array for name, value in iobinding.inputs.items()}
        results = self._session.run(list(iobinding.outputs), values)
        for value, result in zip(iobinding.outputs.values(), results, strict=True):
            value.array[...] = result
        self._machine.runs += 1


class Machine:
    """A machine whose ONNX Runtime is the build for CUDA.

    Args:
        provider_loads: whether CUDA's libraries are all there.
        session_error: what creating a session fails with.
    """

    def __init__(self, *, provider_loads: bool = True, session_error: str = "") -> None:
        self.provider_loads, self.session_error = provider_loads, session_error
        self.preloaded, self.runs = False, 0
        self.crossings: list[tuple[str, int]] = []

    def module(self) -> SimpleNamespace:
        """``onnxruntime``: these names and no others."""

        def session(path: str, options: Options, *, providers: list[Any], enable_fallback: int) -> Any:
            assert enable_fallback == 0
            if providers == [CPU]:
                return real.InferenceSession(path, options.to_real(), providers=providers)
            return Session(self, path, options, providers)

        def preload() -> None:
            print("Failed to load libcufft.so.12")  # noqa: T201 (so does the real one)
            self.preloaded = True

        def on_device(shape: list[int], element_type: Any, device_type: str, device_id: int) -> Value:
            assert (device_type, device_id) == ("cuda", 0)
            return Value(self, shape, element_type)

        return SimpleNamespace(
            __version__="1.31.1",
            get_available_providers=lambda: [CUDA, CPU],
            preload_dlls=preload,
            SessionOptions=Options,
            RunOptions=real.RunOptions,
            InferenceSession=session,
            OrtValue=SimpleNamespace(ortvalue_from_shape_and_type=on_device),
        )
