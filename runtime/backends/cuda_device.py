"""The GPU through PyCUDA and cuda.bindings: the primary context, memory, streams, events, and captured graphs.

PyCUDA owns the context, the memory and the streams; cuda.bindings captures CUDA graphs, which PyCUDA cannot. Both work
on the device's primary context, so that streams and addresses of one are those of the other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avol.runtime.backends.onnx_sessions import import_engine
from avol.runtime.errors import AvolError

NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: no waiting for the legacy default stream, which cannot be captured
_INSTALL = "pip install '.[tensorrt]' in avol's folder"


# PyCUDA's module and the primary context that it retained, until the process ends: when PyCUDA gives a primary context
# back, it leaves it on the driver's stack.
_retained: list[tuple[Any, Any]] = []


class CudaDevice:
    """The first GPU's primary context, current only within :meth:`current`.

    PyCUDA frees what it made in the thread in which the context is current: let go of it there too.

    Raises:
        UnavailableError: PyCUDA or cuda-bindings is not installed or does not load.
    """

    def __init__(self) -> None:
        self.driver = import_engine("pycuda.driver", package="pycuda", extra=f"{_INSTALL} (it needs CUDA's headers)")
        self.runtime = import_engine("cuda.bindings.runtime", package="cuda-bindings", extra=_INSTALL)
        self.driver.init()
        device = self.driver.Device(0)
        self.name: str = device.name()
        self.compute_capability = ".".join(str(part) for part in device.compute_capability())
        if not _retained or _retained[0][0] is not self.driver:
            _retained[:] = [(self.driver, device.retain_primary_context())]
        self._context = _retained[0][1]

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make the context current on this thread for a while; whatever was current before is so again."""
        self._context.push()
        try:
            yield
        finally:
            self.driver.Context.pop()

    def stream(self) -> Any:  # noqa: ANN401 (a stream)
        """A new stream beside the default one."""
        return self.driver.Stream(NON_BLOCKING)

    def event(self) -> Any:  # noqa: ANN401 (an event)
        """A new event that takes no time."""
        return self.driver.Event(self.driver.event_flags.DISABLE_TIMING)

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> NDArray[Any]:
        """Page-locked zeros, which copies need to run beside anything else."""
        with self._memory_or_mistake():
            array: NDArray[Any] = self.driver.pagelocked_empty(shape, dtype)
        array[...] = 0
        return array

    def allocate(self, size: int) -> Any:  # noqa: ANN401 (a device allocation)
        """``size`` bytes of device memory."""
        with self._memory_or_mistake():
            return self.driver.mem_alloc(size)

    def begin_capture(self, stream: Any) -> None:  # noqa: ANN401
        """Record what this thread puts on the stream from now on, instead of running it."""
        mode = self.runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._checked(self.runtime.cudaStreamBeginCapture(self._handle(stream), mode))

    def end_capture(self, stream: Any) -> Any:  # noqa: ANN401
        """What was recorded, ready to be launched."""
        (graph,) = self._checked(self.runtime.cudaStreamEndCapture(self._handle(stream)))
        try:
            (ready,) = self._checked(self.runtime.cudaGraphInstantiate(graph, 0))
        finally:
            self.runtime.cudaGraphDestroy(graph)
        return ready

    def launch(self, graph: Any, stream: Any) -> None:  # noqa: ANN401
        """Run a captured graph on a stream."""
        self._checked(self.runtime.cudaGraphLaunch(graph, self._handle(stream)))

    def destroy(self, graph: Any) -> None:  # noqa: ANN401
        """Free a captured graph."""
        self._checked(self.runtime.cudaGraphExecDestroy(graph))

    def _handle(self, stream: Any) -> Any:  # noqa: ANN401
        return self.runtime.cudaStream_t(stream.handle)

    def _checked(self, result: tuple[Any, ...]) -> tuple[Any, ...]:
        """What a call gave beside its status.

        Raises:
            RuntimeError: the call failed.
        """
        status, *values = result
        if status != self.runtime.cudaError_t.cudaSuccess:
            raise RuntimeError(f"CUDA: {status.name}")
        return tuple(values)

    @contextlib.contextmanager
    def _memory_or_mistake(self) -> Iterator[None]:
        try:
            yield
        except self.driver.MemoryError:
            raise AvolError(
                f"{self.name}: its memory is full; close other programs that use it, or choose --device cpu."
            ) from None
