"""A model opened on a device: the interface that the rest of the runtime sees."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from avol.runtime.backends.contract import GRAPHS, TENSORS, graph_path
from avol.runtime.backends.phases import Phases
from avol.runtime.spec import ModelSpec, RunningGrid

Arrays = dict[str, NDArray[Any]]
MapsAndScores = tuple[NDArray[np.float32], NDArray[np.float32]]
PAIR_ROLES = ("frame", "spectrogram", "audio", "head")  # from pixels and samples to maps


class Backend(ABC):
    """The graphs of one model folder on one device; a context manager. One thread at a time may call it.

    Attributes:
        name: engine and device as the timeline records it, e.g. ``onnxruntime-cuda``.
        device: ``cpu``, or the GPU's name.
        provider: what computes, with its version, e.g. ``TensorRT 10.16.1.11``.
        precision: what the towers are computed in: ``fp32``, ``fp16`` or ``int8``.
        on_device: whether tensors live on a GPU: :meth:`localise_samples` then moves least.
        folder: of the model.
        spec: of the model.
        running: how the audio tower runs over a track, where the graph ``audio`` can; None: it takes windows alone.
        passed_over: why each faster device was not taken, one clause each.
        phases_note: which phases of a call :meth:`measure_phases` cannot tell, and why; empty: none.
    """

    name: str
    device: str
    provider: str
    on_device = False
    running: RunningGrid | None = None
    phases_note = "computes where the tensors are: nothing is enqueued, copied up or copied down"

    def __init__(self, folder: Path, spec: ModelSpec, precision: str) -> None:
        self.folder, self.spec, self.precision = folder, spec, precision
        self.passed_over: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """One line for the user: what runs on what, and why not on something faster."""
        line = f"{self.spec.name}, {self.name} {self.precision} on {self.device} ({self.provider})"
        return "; ".join([line, *self.passed_over])

    @abstractmethod
    def compute(self, roles: tuple[str, ...], inputs: Arrays, outputs: tuple[str, ...]) -> Arrays:
        """Run graphs one after the other, each on what is given and what those before it made.

        Args:
            roles: of the graphs, in order.
            inputs: by name, all of one batch size.
            outputs: names of the tensors wanted; nothing else leaves the device.

        Returns:
            The outputs by name, in arrays of their own.
        """

    def infer(self, graph: str, **inputs: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Run one graph on inputs by name; gives its outputs in order."""
        names = TENSORS[graph][1]
        found = self.compute((graph,), inputs, names)
        return [found[name] for name in names]

    def localise_samples(self, frames: NDArray[np.uint8], samples: NDArray[np.float32]) -> MapsAndScores:
        """Maps and scores of frames with the samples of a window each.

        Samples go up and maps come down; on a GPU nothing in between leaves it.

        Args:
            frames: uint8 ``N x H x W x 3`` RGB.
            samples: float32 ``N x clip_samples``.

        Returns:
            float32 ``N x GH x GW`` and ``N``.
        """
        found = self.compute(PAIR_ROLES, {"frames": frames, "samples": samples}, ("map", "score"))
        return found["map"], found["score"]

    def measure_phases(self, frames: NDArray[np.uint8], samples: NDArray[np.float32]) -> Phases:
        """Run :meth:`localise_samples` once, one phase after the other, and time them."""
        started = time.perf_counter()
        self.localise_samples(frames, samples)
        return Phases(compute=time.perf_counter() - started)

    def files(self) -> list[Path]:
        """What of the folder is read to run the model."""
        return [graph_path(self.folder, role, self.precision) for role in GRAPHS]

    @abstractmethod
    def close(self) -> None:
        """Free what the device holds; closing twice is fine."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
