"""What the GPU backends share: batches of a few fixed sizes."""

from __future__ import annotations

import threading
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avol.runtime.backends.backend import PAIR_ROLES, Arrays, Backend
from avol.runtime.backends.contract import empty_outputs, tensor_dtype, tensor_shape
from avol.runtime.backends.phases import LapClock, Phases
from avol.runtime.spec import ModelSpec

BUCKETS = (1, 8, 32)


@dataclass(frozen=True)
class Batch:
    """Rows ``start`` to ``start + rows`` of what was asked, run as a batch of ``bucket`` rows."""

    start: int
    rows: int
    bucket: int

    @property
    def slice(self) -> slice:
        """Of the arrays asked for."""
        return slice(self.start, self.start + self.rows)


def split_into_batches(rows: int, buckets: tuple[int, ...]) -> list[Batch]:
    """Whole batches of the largest bucket, then one of the smallest that holds the rest, padded if need be."""
    largest, batches = max(buckets), []
    for start in range(0, rows, largest):
        count = min(largest, rows - start)
        batches.append(Batch(start, count, min(bucket for bucket in buckets if bucket >= count)))
    return batches


class BatchedBackend(Backend):
    """A backend whose graphs run in batches of fixed sizes: CUDA graphs replay fixed shapes at fixed addresses.

    A call locks the device: one thread at a time.
    """

    on_device = True

    def __init__(self, folder: Path, spec: ModelSpec, precision: str, buckets: tuple[int, ...] = BUCKETS) -> None:
        super().__init__(folder, spec, precision)
        self.buckets = tuple(sorted(buckets))
        self._lock = threading.Lock()

    def compute(self, roles: tuple[str, ...], inputs: Arrays, outputs: tuple[str, ...]) -> Arrays:
        """See :meth:`Backend.compute`."""
        given, found, batches = self._split(inputs, outputs)
        with self._lock:
            self._compute_batches(roles, given, found, batches)
        return found

    def measure_phases(self, frames: NDArray[np.uint8], samples: NDArray[np.float32]) -> Phases:
        """See :meth:`Backend.measure_phases`; the host waits for the device after every phase."""
        given, found, batches = self._split({"frames": frames, "samples": samples}, ("map", "score"))
        clock = LapClock()
        with self._lock:
            self._compute_in_turn(self.pair_roles(), given, found, batches, clock)
        waited = clock.seconds.get("wait", 0.0)  # where enqueueing is told apart from waiting
        enqueue = clock.seconds.get("enqueue")
        return Phases(
            enqueue=enqueue,
            h2d=clock.seconds.get("h2d"),
            compute=waited if enqueue is None else enqueue + waited,
            d2h=clock.seconds.get("d2h"),
        )

    def pair_roles(self) -> tuple[str, ...]:
        """The graphs that :meth:`localise_samples` runs."""
        return PAIR_ROLES

    def _split(self, inputs: Arrays, outputs: tuple[str, ...]) -> tuple[Arrays, Arrays, list[Batch]]:
        """Checked inputs, arrays for the outputs, and the batches in which they are run."""
        given = {name: self._checked(name, value) for name, value in inputs.items()}
        rows = {len(value) for value in given.values()}
        if len(rows) != 1:
            raise ValueError(f"inputs of different batch sizes: {sorted(rows)}")
        (count,) = rows
        return given, empty_outputs(outputs, count, self.spec), split_into_batches(count, self.buckets)

    @abstractmethod
    def _compute_batches(self, roles: tuple[str, ...], inputs: Arrays, outputs: Arrays, batches: list[Batch]) -> None:
        """Run the batches of the inputs and fill the outputs; the lock is held."""

    @abstractmethod
    def _compute_in_turn(
        self, roles: tuple[str, ...], inputs: Arrays, outputs: Arrays, batches: list[Batch], clock: LapClock
    ) -> None:
        """The same with nothing side by side: laps ``h2d``, ``enqueue`` if it can be told, ``wait``, ``d2h``."""

    def _checked(self, name: str, value: NDArray[Any]) -> NDArray[Any]:
        """Devices copy bytes: what they copy has to be what the graph reads."""
        shape, dtype = tensor_shape(name, self.spec), tensor_dtype(name)
        if value.shape[1:] != shape or value.dtype != dtype:
            raise ValueError(f"{name} is {value.dtype} {value.shape}, expected {dtype} (N, *{shape})")
        return np.ascontiguousarray(value)
