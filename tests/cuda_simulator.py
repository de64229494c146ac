"""A GPU on paper: PyCUDA, cuda.bindings and TensorRT as far as they are called, and as strict as it gets.

What is put on a stream does not happen until somebody waits for it, so that whoever reads a result too early, or
overwrites an input too early, computes with the wrong numbers; memory starts as not-a-number. Calls without a current
context, on freed memory, of an unknown name, with a wrong argument or in a wrong order raise. Engines compute with ONNX
Runtime on the CPU, from the ONNX files beside them.
"""

from __future__ import annotations

import enum
import functools
import threading
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from avol.runtime.backends.contract import TENSORS, tensor_dtype, tensor_shape
from avol.runtime.spec import ModelSpec


class ViolationError(AssertionError):
    """The backend did what a real GPU would have crashed on, or silently computed nonsense for."""


@dataclass
class Task:
    """Something put on a stream; ``after`` are tasks of other streams that have to be done before."""

    work: Callable[[], None]
    after: list[Task] = field(default_factory=list)
    previous: Task | None = None
    done: bool = False

    def run(self) -> None:
        waiting: list[Task] = [self]
        while waiting:
            task = waiting[-1]
            if task.done:
                waiting.pop()
                continue
            before = [t for t in (task.previous, *task.after) if t is not None and not t.done]
            if before:
                waiting.extend(before)
                continue
            task.work()
            task.done, task.previous, task.after = True, None, []
            waiting.pop()


class Gpu:
    """The state of the machine that the three packages share."""

    def __init__(
        self, name: str = "Paper GPU", *, bytes_of_memory: int = 1 << 30, capability: tuple[int, int] = (9, 0)
    ) -> None:
        self.name, self.free_bytes, self.capability = name, bytes_of_memory, capability
        self.stacks: dict[int, list[Context]] = {}  # of current contexts, by thread
        self.streams: dict[int, Stream] = {}
        self.memory: dict[int, Allocation] = {}
        self.next_address = 0x7F00_0000_0000
        self.capturing: Stream | None = None
        self.retained = 0
        self.graphs_alive = 0
        self.log: list[tuple[str, str]] = []  # (what, which) of everything that happened on the GPU
        self.fail: dict[str, int] = {}  # call -> how many of them still work

    def require_current(self, call: str) -> None:
        stack = self.stacks.get(threading.get_ident(), [])
        if not stack:
            raise ViolationError(f"{call} without a current context on this thread")
        if call in self.fail:
            if self.fail[call] == 0:
                raise RuntimeError(f"injected failure of {call}")
            self.fail[call] -= 1

    def require_clean(self) -> None:
        """After a backend was closed."""
        if self.memory or self.graphs_alive or any(self.stacks.values()) or self.capturing:
            raise ViolationError(
                f"left behind: {len(self.memory)} allocations, {self.graphs_alive} graphs, contexts {self.stacks}"
            )

    def forbid_capture(self, call: str) -> None:
        if self.capturing is not None:
            raise ViolationError(f"{call} while a stream is captured")

    def at(self, address: int, size: int) -> NDArray[np.uint8]:
        allocation = self.memory.get(address)
        if allocation is None:
            raise ViolationError(f"address {address:#x} is not (or no longer) allocated")
        if allocation.size < size:
            raise ViolationError(f"{size} bytes at an allocation of {allocation.size}")
        return allocation.data[:size]


class Context:
    """``pycuda.driver.Context``."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        gpu.retained += 1
        if gpu.retained > 1:
            raise ViolationError("the primary context retained once more, and never given back")

    def push(self) -> None:
        self._gpu.stacks.setdefault(threading.get_ident(), []).append(self)


class Allocation:
    """``pycuda.driver.DeviceAllocation``."""

    def __init__(self, gpu: Gpu, size: int) -> None:
        self._gpu, self.size, self.address = gpu, size, gpu.next_address
        gpu.next_address += (size + 511) // 256 * 256
        self.data = np.full(size, 0xFF, np.uint8)  # float32: not a number
        gpu.memory[self.address] = self
        gpu.free_bytes -= size

    def __int__(self) -> int:
        return self.address

    __index__ = __int__

    def free(self) -> None:
        self._gpu.require_current("free")
        self._gpu.forbid_capture("free")
        if any(not task.done for stream in self._gpu.streams.values() for task in stream.tail()):
            raise ViolationError("memory freed while work that may use it is under way")
        if self._gpu.memory.pop(self.address, None) is None:
            raise ViolationError("freed twice")
        self._gpu.free_bytes += self.size


class Stream:
    """``pycuda.driver.Stream``."""

    def __init__(self, gpu: Gpu, flags: int = 0) -> None:
        gpu.require_current("Stream")
        if flags != 1:
            raise ViolationError("a stream that waits for the default stream")
        self._gpu, self.handle = gpu, 0x1000 + len(gpu.streams)
        self._last: Task | None = None
        self._pending: list[Task] = []  # events to wait for
        self.recorded: list[Callable[[], None]] | None = None
        gpu.streams[self.handle] = self

    def synchronize(self) -> None:
        self._gpu.require_current("Stream.synchronize")
        self._gpu.forbid_capture("Stream.synchronize")
        if self._last is not None:
            self._last.run()

    def wait_for_event(self, event: Event) -> None:
        self._gpu.require_current("Stream.wait_for_event")
        self._gpu.forbid_capture("Stream.wait_for_event")
        if event.task is None:
            raise ViolationError("waiting for an event that was never recorded")
        self._pending.append(event.task)

    def put(self, work: Callable[[], None]) -> Task:
        if self.recorded is not None:
            self.recorded.append(work)
            return Task(work)
        self._last = Task(work, after=self._pending, previous=self._last)
        self._pending = []
        return self._last

    def tail(self) -> Iterable[Task]:
        return [self._last] if self._last is not None else []


class Event:
    """``pycuda.driver.Event``."""

    def __init__(self, gpu: Gpu, flags: Any = 0) -> None:
        gpu.require_current("Event")
        if flags is not EventFlags.DISABLE_TIMING:
            raise ViolationError("an event that takes the time")
        self._gpu, self.task = gpu, None

    task: Task | None

    def record(self, stream: Stream) -> Event:
        self._gpu.require_current("Event.record")
        self._gpu.forbid_capture("Event.record")
        self.task = stream.put(lambda: None)
        return self

    def synchronize(self) -> Event:
        self._gpu.require_current("Event.synchronize")
        self._gpu.forbid_capture("Event.synchronize")
        if self.task is None:
            raise ViolationError("waiting for an event that was never recorded")
        self.task.run()
        return self


class EventFlags(enum.Enum):
    DISABLE_TIMING = 2


class Pinned(np.ndarray):
    """An array of page-locked memory."""


def pycuda_driver(gpu: Gpu) -> SimpleNamespace:
    """``pycuda.driver``: these names and no others."""

    class OutOfMemoryError(Exception):
        pass

    class Device:
        def __init__(self, number: int) -> None:
            assert number == 0

        def name(self) -> str:
            return gpu.name

        def compute_capability(self) -> tuple[int, int]:
            return gpu.capability

        def retain_primary_context(self) -> Context:
            return Context(gpu)

    def pop() -> None:
        gpu.stacks[threading.get_ident()].pop()

    def mem_alloc(size: int) -> Allocation:
        gpu.require_current("mem_alloc")
        gpu.forbid_capture("mem_alloc")
        if size > gpu.free_bytes:
            raise OutOfMemoryError
        return Allocation(gpu, size)

    def pagelocked_empty(shape: Any, dtype: Any) -> NDArray[Any]:
        gpu.require_current("pagelocked_empty")
        gpu.forbid_capture("pagelocked_empty")
        return np.empty(shape, dtype).view(Pinned)

    def memcpy_htod_async(dest: Allocation, src: NDArray[Any], stream: Stream) -> None:
        gpu.require_current("memcpy_htod_async")
        copy(src, stream)
        target = gpu.at(int(dest), src.nbytes)

        def work() -> None:
            gpu.at(int(dest), src.nbytes)
            target[:] = src.reshape(-1).view(np.uint8)
            gpu.log.append(("up", str(src.nbytes)))

        stream.put(work)

    def memcpy_dtoh_async(dest: NDArray[Any], src: Allocation, stream: Stream) -> None:
        gpu.require_current("memcpy_dtoh_async")
        copy(dest, stream)
        gpu.at(int(src), dest.nbytes)

        def work() -> None:
            dest.reshape(-1).view(np.uint8)[:] = gpu.at(int(src), dest.nbytes)
            gpu.log.append(("down", str(dest.nbytes)))

        dest.reshape(-1).view(np.uint8)[:] = 0xFF  # whoever reads before the copy is done reads nonsense
        stream.put(work)

    def copy(host: NDArray[Any], stream: Stream) -> None:
        if not isinstance(host, Pinned):
            raise ViolationError("an asynchronous copy of memory that is not pinned")
        if stream.recorded is not None:
            raise ViolationError("a copy in a captured graph")

    return SimpleNamespace(
        init=lambda: None,
        Device=Device,
        Context=SimpleNamespace(pop=pop),
        Stream=lambda flags=0: Stream(gpu, flags),
        Event=lambda flags=0: Event(gpu, flags),
        event_flags=EventFlags,
        MemoryError=OutOfMemoryError,
        mem_alloc=mem_alloc,
        pagelocked_empty=pagelocked_empty,
        memcpy_htod_async=memcpy_htod_async,
        memcpy_dtoh_async=memcpy_dtoh_async,
    )


class Status(enum.Enum):
    cudaSuccess = 0  # noqa: N815
    cudaErrorStreamCaptureInvalidated = 901  # noqa: N815


def cuda_runtime(gpu: Gpu) -> SimpleNamespace:
    """``cuda.bindings.runtime``: these names and no others; every call gives a tuple that starts with a status."""

    class Handle:
        def __init__(self, number: int) -> None:
            self.stream = gpu.streams[number]

    class Mode(enum.Enum):
        cudaStreamCaptureModeThreadLocal = 1  # noqa: N815

    def begin(stream: Handle, mode: Mode) -> tuple[Status]:
        gpu.require_current("cudaStreamBeginCapture")
        gpu.forbid_capture("cudaStreamBeginCapture")
        assert mode is Mode.cudaStreamCaptureModeThreadLocal
        gpu.capturing, stream.stream.recorded = stream.stream, []
        return (Status.cudaSuccess,)

    def end(stream: Handle) -> tuple[Status, Any]:
        gpu.require_current("cudaStreamEndCapture")
        if gpu.capturing is not stream.stream:
            raise ViolationError("the end of a capture that was not begun")
        work, stream.stream.recorded, gpu.capturing = stream.stream.recorded, None, None
        return Status.cudaSuccess, SimpleNamespace(work=work, alive=True)

    def instantiate(graph: Any, flags: int) -> tuple[Status, Any]:
        assert graph.alive
        assert flags == 0
        gpu.graphs_alive += 1
        return Status.cudaSuccess, SimpleNamespace(work=list(graph.work), alive=True)

    def destroy(graph: Any) -> tuple[Status]:
        assert graph.alive
        graph.alive = False
        return (Status.cudaSuccess,)

    def destroy_exec(graph: Any) -> tuple[Status]:
        gpu.graphs_alive -= 1
        return destroy(graph)

    def launch(graph: Any, stream: Handle) -> tuple[Status]:
        gpu.require_current("cudaGraphLaunch")
        if not graph.alive:
            raise ViolationError("launch of a destroyed graph")

        def work() -> None:
            gpu.log.append(("graph", str(len(graph.work))))
            for part in graph.work:
                part()

        stream.stream.put(work)
        return (Status.cudaSuccess,)

    return SimpleNamespace(
        cudaStream_t=Handle,
        cudaStreamCaptureMode=Mode,
        cudaError_t=Status,
        cudaStreamBeginCapture=begin,
        cudaStreamEndCapture=end,
        cudaGraphInstantiate=instantiate,
        cudaGraphDestroy=destroy,
        cudaGraphExecDestroy=destroy_exec,
        cudaGraphLaunch=launch,
    )


class DataType(enum.Enum):
    FLOAT = np.float32
    HALF = np.float16
    UINT8 = np.uint8


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class Severity(enum.Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class ILogger:
    """``tensorrt.ILogger``."""

    Severity = Severity
    ready = False

    def __init__(self) -> None:
        self.ready = True


class ExecutionContext:
    """``tensorrt.IExecutionContext``."""

    def __init__(self, engine: CudaEngine) -> None:
        self._engine, self._gpu = engine, engine._gpu
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._ran_with: tuple[Any, ...] | None = None
        self._profile = 0

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self._gpu.require_current("set_optimization_profile_async")
        self._gpu.streams[stream_handle].put(lambda: None)
        self._profile = profile_index
        return profile_index < len(self._engine.profiles)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        smallest, _, largest = self._engine.profiles[self._profile][name]
        fits = len(shape) == len(smallest) and all(
            a <= b <= c for a, b, c in zip(smallest, shape, largest, strict=True)
        )
        if fits:
            self._shapes[name] = tuple(shape)
        return fits

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if type(memory) is not int:
            raise TypeError("an address is an int")
        self._addresses[name] = memory
        return name in (*self._engine.inputs, *self._engine.outputs)

    def execute_async_v3(self, stream_handle: int) -> bool:
        self._gpu.require_current("execute_async_v3")
        stream = self._gpu.streams[stream_handle]
        engine = self._engine
        if self._shapes.keys() != set(engine.inputs) or self._addresses.keys() != {*engine.inputs, *engine.outputs}:
            raise ViolationError(f"{engine.role}: run before all shapes and addresses are set")
        state = (dict(self._shapes), dict(self._addresses))
        if stream.recorded is not None and self._ran_with != state:
            raise ViolationError(f"{engine.role}: captured without a plain run of the same shapes before")
        self._ran_with = state
        shapes, addresses = state

        def work() -> None:
            engine.compute(shapes, addresses)
            self._gpu.log.append(("run", engine.role))

        stream.put(work)
        return True


class RtxExecutionContext(ExecutionContext):
    """The same with what TensorRT-RTX adds."""

    capturable = True

    def is_stream_capturable(self, stream: int) -> bool:
        self._gpu.require_current("is_stream_capturable")
        assert stream in self._gpu.streams
        return self.capturable


@functools.cache
def session_of(graph: bytes) -> onnxruntime.InferenceSession:
    """What computes an engine's results."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


class CudaEngine:
    """``tensorrt.ICudaEngine``."""

    def __init__(self, gpu: Gpu, plan: Any, context: type[ExecutionContext]) -> None:
        self._gpu, self.role, self.profiles, self._spec = gpu, plan["role"], plan["profiles"], plan["spec"]
        self.inputs, self.outputs = TENSORS[self.role]
        self._context, self._types = context, plan.get("types", {})
        self._session = session_of(plan["onnx"])
        self.num_io_tensors = len(self.inputs) + len(self.outputs)

    def get_tensor_name(self, index: int) -> str:
        return (*self.inputs, *self.outputs)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return self._types.get(name) or DataType(tensor_dtype(name).type)

    def create_execution_context(self) -> ExecutionContext:
        self._gpu.require_current("create_execution_context")
        self._gpu.forbid_capture("create_execution_context")
        return self._context(self)

    def compute(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        values = {}
        for name in self.inputs:
            dtype, size = tensor_dtype(name), int(np.prod(shapes[name]))
            values[name] = self._gpu.at(addresses[name], size * dtype.itemsize).view(dtype).reshape(shapes[name])
        rows = next(iter(shapes.values()))[0]
        for name, result in zip(self.outputs, self._session.run(list(self.outputs), values), strict=True):
            assert result.shape == (rows, *tensor_shape(name, self._spec))
            self._gpu.at(addresses[name], result.nbytes)[:] = np.ascontiguousarray(result).reshape(-1).view(np.uint8)


def tensorrt(gpu: Gpu, plans: dict[bytes, Any], version: str = "10.16.1.11", *, rtx: bool = False) -> SimpleNamespace:
    """``tensorrt`` or ``tensorrt_rtx``: these names and no others; ``plans`` says what a plan's bytes are."""

    class Runtime:
        def __init__(self, logger: ILogger) -> None:
            if not logger.ready:
                raise ViolationError("a logger whose base class was not initialised")
            self._logger = logger
            self.settings: dict[str, Any] = {}

        def __setattr__(self, name: str, value: Any) -> None:
            if not name.startswith("_") and name not in ("settings", "DLA_core", "engine_host_code_allowed"):
                raise AttributeError(name)
            object.__setattr__(self, name, value)

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> CudaEngine | None:
            gpu.require_current("deserialize_cuda_engine")
            if serialized_engine not in plans:
                self._logger.log(Severity.WARNING, "about to fail")  # type: ignore[attr-defined]
                self._logger.log(Severity.ERROR, "version tag does\n not match")  # type: ignore[attr-defined]
                return None
            return CudaEngine(gpu, plans[serialized_engine], RtxExecutionContext if rtx else ExecutionContext)

    return SimpleNamespace(
        __version__=version,
        Runtime=Runtime,
        ILogger=ILogger,
        TensorIOMode=TensorIOMode,
        nptype=lambda dtype: dtype.value,
    )


@contextmanager
def on_thread(work: Callable[[], None]) -> Any:
    """Run something on a thread of its own and hand on what it raises."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join(60)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


def write_plans(
    folder: Path, spec: ModelSpec, builder: str, precision: str, info: Callable[..., Any], **options: Any
) -> dict[bytes, Any]:
    """Fake plans of the four graphs with their side files; gives what :func:`tensorrt` needs to know of them."""
    plans = {}
    for role in ("spectrogram", "audio", "frame", "head"):
        data = f"plan of {role} {precision} {builder}".encode()
        described = info(role=role, precision=precision, builder=builder, data=data, spec=spec, **options)
        path = folder / described.file_name
        path.write_bytes(data)
        path.with_name(path.name + ".json").write_text(described.to_json(), encoding="utf-8")
        plans[data] = {
            "role": role,
            "profiles": described.profiles,
            "spec": spec,
            "onnx": (folder / f"{role}.onnx").read_bytes(),
        }
    return plans
