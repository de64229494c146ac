"""TensorRT and TensorRT-RTX engines: pinned buffers, copies beside compute, one CUDA graph per batch size and slot."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avol.runtime.backends.backend import Arrays
from avol.runtime.backends.batches import Batch, BatchedBackend
from avol.runtime.backends.contract import GRAPHS, TENSORS, tensor_dtype, tensor_shape
from avol.runtime.backends.cuda_device import CudaDevice
from avol.runtime.backends.phases import LapClock
from avol.runtime.backends.tensorrt_engine import Engine, EngineLoader, choose_plans, import_tensorrt, plan_path
from avol.runtime.errors import AvolError
from avol.runtime.model_folder import read_spec
from avol.runtime.plan_files import PRODUCT_NAMES

SLOTS = 2  # one is copied while the other is computed


@dataclass
class _Slot:
    """What one batch in flight owns: device memory and pinned memory by tensor name, contexts, captured graphs."""

    bucket: int
    uploaded: Any
    computed: Any
    done: Any
    device: dict[str, Any] = field(default_factory=dict)
    pinned: dict[str, NDArray[Any]] = field(default_factory=dict)
    contexts: dict[str, Any] = field(default_factory=dict)
    graphs: dict[tuple[str, ...], Any] = field(default_factory=dict)  # None: this chain cannot be captured
    in_flight: tuple[Batch, Arrays] | None = None


class TensorRtBackend(BatchedBackend):
    """The engines of one model folder.

    A graph's output stays where it is and is the next graph's input. Two streams: one copies, one computes; two slots
    for every batch size, so that a batch is copied up while the one before is computed. Every chain of graphs is run
    once, then captured, and from then on launched as one CUDA graph.

    Args:
        folder: with ``<role>.<precision>.<builder>.plan`` and their side files.
        builder: ``tensorrt`` or ``tensorrt-rtx``.
        precision: ``auto``, ``fp32``, ``fp16`` or ``int8``.

    Raises:
        AvolError: no usable model, or damaged engines.
        UnavailableError: no engines, engines for another machine, or a package is missing.
    """

    phases_note = ""

    def __init__(self, folder: Path, *, builder: str = "tensorrt", precision: str = "auto") -> None:
        spec = read_spec(folder)
        precision = choose_plans(folder, builder, precision, GRAPHS)
        trt = import_tensorrt(builder)
        self._device = CudaDevice()
        self._streams: dict[str, Any] = {}
        self._engines: dict[str, Engine] = {}
        self._slots: dict[tuple[int, int], _Slot] = {}
        self.name, self.device = builder, self._device.name
        self.provider = f"{PRODUCT_NAMES[builder]} {trt.__version__}, CUDA graphs"
        try:
            with self._device.current():
                self._loader = loader = EngineLoader(trt, builder, self._device, spec)
                for role in GRAPHS:
                    self._engines[role] = loader.load(plan_path(folder, role, precision, builder))
                self._streams = {"compute": self._device.stream(), "copy": self._device.stream()}
            super().__init__(folder, spec, precision, self._common_buckets(folder, builder))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """See :meth:`Backend.close`."""
        with self._device.current():
            if self._streams:
                self._synchronize()
            for slot in self._slots.values():
                for graph in slot.graphs.values():
                    if graph is not None:
                        self._device.destroy(graph)
                slot.contexts.clear()
                for memory in slot.device.values():
                    memory.free()
                slot.pinned.clear()
            self._slots.clear()
            self._engines.clear()
            self._streams.clear()

    def _synchronize(self) -> None:
        self._copy.synchronize()
        self._compute.synchronize()

    @property
    def _copy(self) -> Any:  # noqa: ANN401 (a stream)
        return self._streams["copy"]

    @property
    def _compute(self) -> Any:  # noqa: ANN401 (a stream)
        return self._streams["compute"]

    def _common_buckets(self, folder: Path, builder: str) -> tuple[int, ...]:
        common = set.intersection(*(set(engine.profiles) for engine in self._engines.values()))
        if not common:
            raise AvolError(
                f"{folder}: its engines have no batch size in common; build them together with avol export "
                f"--engine {builder}."
            )
        return tuple(sorted(common))

    def files(self) -> list[Path]:
        """See :meth:`Backend.files`."""
        return [engine.plan for engine in self._engines.values()]

    def _compute_batches(self, roles: tuple[str, ...], inputs: Arrays, outputs: Arrays, batches: list[Batch]) -> None:
        with self._at_work():
            self._overlapped(roles, inputs, outputs, batches)

    def _compute_in_turn(
        self, roles: tuple[str, ...], inputs: Arrays, outputs: Arrays, batches: list[Batch], clock: LapClock
    ) -> None:
        with self._at_work():
            for batch in batches:
                slot = self._prepared(batch.bucket, 0, roles)
                clock.start()
                self._upload(slot, batch, inputs)
                self._copy.synchronize()
                clock.lap("h2d")
                self._launch(slot, roles)
                clock.lap("enqueue")
                self._compute.synchronize()
                clock.lap("wait")
                self._download(slot, batch, outputs)
                self._collect(slot)
                clock.lap("d2h")

    @contextlib.contextmanager
    def _at_work(self) -> Iterator[None]:
        """The context is current; after a failure nothing is in flight."""
        if not self._engines:
            raise RuntimeError("the backend is closed")
        with self._device.current():
            try:
                yield
            except BaseException:
                self._synchronize()
                for slot in self._slots.values():
                    slot.in_flight = None
                raise

    def _overlapped(self, roles: tuple[str, ...], inputs: Arrays, outputs: Arrays, batches: list[Batch]) -> None:
        """While a batch is computed, the next one goes up and the one before comes down."""
        slots = [self._prepared(batch.bucket, number % SLOTS, roles) for number, batch in enumerate(batches)]
        for number, (batch, slot) in enumerate(zip(batches, slots, strict=True)):
            if number == 0:
                self._upload(slot, batch, inputs)
            self._launch(slot, roles)
            if number > 0:
                self._collect(slots[number - 1])  # whose slot may be the next one's
            if number + 1 < len(batches):
                self._upload(slots[number + 1], batches[number + 1], inputs)
            self._download(slot, batch, outputs)
        for slot in slots[-1:]:
            self._collect(slot)

    def _upload(self, slot: _Slot, batch: Batch, inputs: Arrays) -> None:
        for name, values in inputs.items():
            pinned = self._pinned(slot, name)
            pinned[: batch.rows] = values[batch.slice]  # rows beyond are of an earlier batch: computed, and dropped
            self._device.driver.memcpy_htod_async(slot.device[name], pinned, self._copy)
        slot.uploaded.record(self._copy)

    def _launch(self, slot: _Slot, roles: tuple[str, ...]) -> None:
        self._compute.wait_for_event(slot.uploaded)
        graph = slot.graphs[roles]
        if graph is None:
            self._enqueue(slot, roles)
        else:
            self._device.launch(graph, self._compute)
        slot.computed.record(self._compute)

    def _download(self, slot: _Slot, batch: Batch, outputs: Arrays) -> None:
        self._copy.wait_for_event(slot.computed)
        for name in outputs:
            self._device.driver.memcpy_dtoh_async(self._pinned(slot, name), slot.device[name], self._copy)
        slot.done.record(self._copy)
        slot.in_flight = batch, outputs

    def _collect(self, slot: _Slot) -> None:
        """Wait for a batch and hand its rows out; its slot is free from then on."""
        assert slot.in_flight is not None
        batch, outputs = slot.in_flight
        slot.done.synchronize()
        for name, values in outputs.items():
            values[batch.slice] = slot.pinned[name][: batch.rows]
        slot.in_flight = None

    def _prepared(self, bucket: int, number: int, roles: tuple[str, ...]) -> _Slot:
        """A slot that is ready to run a chain of graphs: memory, contexts, and the chain captured."""
        key = (bucket, number)
        if key not in self._slots:
            device = self._device
            self._slots[key] = _Slot(bucket, device.event(), device.event(), device.event())
        slot = self._slots[key]
        if roles not in slot.graphs:
            for role in roles:
                for name in (name for names in TENSORS[role] for name in names):
                    if name not in slot.device:
                        size = int(np.prod((bucket, *tensor_shape(name, self.spec)))) * tensor_dtype(name).itemsize
                        slot.device[name] = self._device.allocate(size)
                if role not in slot.contexts:
                    slot.contexts[role] = self._context(role, slot)
            slot.graphs[roles] = self._captured(slot, roles)
        return slot

    def _context(self, role: str, slot: _Slot) -> Any:  # noqa: ANN401 (an execution context)
        """A context of its own for every shape: a captured graph must not see another one."""
        engine = self._engines[role]
        context = engine.engine.create_execution_context()
        if context is None:
            raise AvolError(
                f"{engine.plan}: {self.device} has no memory left for it; close other programs that use it."
            )
        if profile := engine.profiles[slot.bucket]:
            _require(context.set_optimization_profile_async(profile, self._compute.handle), engine, "profile")
            self._compute.synchronize()
        inputs, outputs = TENSORS[role]
        for name in inputs:
            shape = (slot.bucket, *tensor_shape(name, self.spec))
            _require(context.set_input_shape(name, shape), engine, f"shape {shape} of {name}")
        for name in (*inputs, *outputs):
            _require(context.set_tensor_address(name, int(slot.device[name])), engine, f"address of {name}")
        return context

    def _captured(self, slot: _Slot, roles: tuple[str, ...]) -> Any:  # noqa: ANN401 (a CUDA graph)
        self._enqueue(slot, roles)  # once plainly: the first run allocates, which cannot be captured
        self._compute.synchronize()
        for role in roles:
            context = slot.contexts[role]
            # TensorRT-RTX compiles kernels as it runs and may not be done.
            if hasattr(context, "is_stream_capturable") and not context.is_stream_capturable(self._compute.handle):
                return None
        self._device.begin_capture(self._compute)
        try:
            self._enqueue(slot, roles)
        except BaseException:
            with contextlib.suppress(RuntimeError):  # of a capture that is not whole
                self._device.destroy(self._device.end_capture(self._compute))
            raise
        return self._device.end_capture(self._compute)

    def _enqueue(self, slot: _Slot, roles: tuple[str, ...]) -> None:
        for role in roles:
            _require(slot.contexts[role].execute_async_v3(self._compute.handle), self._engines[role], "run")

    def _pinned(self, slot: _Slot, name: str) -> NDArray[Any]:
        if name not in slot.pinned:
            slot.pinned[name] = self._device.pinned((slot.bucket, *tensor_shape(name, self.spec)), tensor_dtype(name))
        return slot.pinned[name]


def _require(done: bool, engine: Engine, what: str) -> None:
    """TensorRT says no by its result, not by an exception."""
    if not done:
        raise RuntimeError(f"{engine.plan}: TensorRT refuses this {what}")
