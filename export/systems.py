"""Whatever can run a model, behind one face: a checkpoint in torch, a model folder on any backend, graphs in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from avol.export.verify import round_convolutions
from avol.runtime.backends import DEVICES, open_backend
from avol.runtime.backends.backend import Backend
from avol.runtime.errors import AvolError
from avol.runtime.plan_files import PRECISIONS
from avol.runtime.spec import GRAPH_KEY, PRECISION_KEY, SPEC_KEY, ModelSpec
from avol.train.checkpoint import load_checkpoint
from avol.train.network import TwoTowerNetwork

Floats = NDArray[np.float32]


class System(Protocol):
    """What can be compared.

    Attributes:
        name: for the reader.
        precision: ``fp32``, ``fp16`` or ``int8``.
        spec: of the model.
    """

    name: str
    precision: str
    spec: ModelSpec

    def grid(self, frames: NDArray[np.uint8]) -> Floats:
        """``N x H x W x 3`` to ``N x E x GH x GW``."""

    def vector(self, samples: Floats) -> Floats:
        """``N x clip_samples`` to ``N x E``."""

    def head(self, grid: Floats, vector: Floats) -> tuple[Floats, Floats]:
        """Grids and vectors to probabilities ``N x GH x GW`` and scores ``N``."""


class TorchSystem:
    """The network itself, batch norms and all; convolution weights rounded to half, as every graph holds them."""

    precision = "fp32"

    def __init__(self, network: TwoTowerNetwork, name: str) -> None:
        self.network, self.name, self.spec = round_convolutions(network), name, network.spec

    def grid(self, frames: NDArray[np.uint8]) -> Floats:
        """See :class:`System`."""
        with torch.no_grad():
            return _array(self.network.frame_tower(torch.from_numpy(frames)))

    def vector(self, samples: Floats) -> Floats:
        """See :class:`System`."""
        with torch.no_grad():
            return _array(self.network.audio_tower(self.network.spectrogram(torch.from_numpy(samples))))

    def head(self, grid: Floats, vector: Floats) -> tuple[Floats, Floats]:
        """See :class:`System`."""
        calibration = self.spec.calibration
        with torch.no_grad():
            logits = self.network.head(torch.from_numpy(grid), torch.from_numpy(vector))
            probabilities = torch.sigmoid(logits * calibration.scale + calibration.bias)
        return _array(probabilities), _array(probabilities.amax(dim=(1, 2)))


class GraphSystem:
    """Four graphs in ONNX Runtime on the CPU.

    Args:
        graphs: files or serialised models by role; ``spectrogram``, ``audio``, ``frame`` and ``head`` are needed.
        spec: of the model.
        precision: of the towers.
        name: for the reader.

    Raises:
        AvolError: a graph is missing or damaged, or belongs to another model.
    """

    def __init__(self, graphs: Mapping[str, Path | bytes], *, spec: ModelSpec, precision: str, name: str) -> None:
        self.spec, self.precision, self.name = spec, precision, name
        self._sessions = {
            role: open_session(graphs[role], role, spec) for role in ("spectrogram", "audio", "frame", "head")
        }

    def grid(self, frames: NDArray[np.uint8]) -> Floats:
        """See :class:`System`."""
        return np.asarray(self._sessions["frame"].run(None, {"frames": frames})[0])

    def vector(self, samples: Floats) -> Floats:
        """See :class:`System`."""
        (columns,) = self._sessions["spectrogram"].run(None, {"samples": samples})
        return np.asarray(self._sessions["audio"].run(None, {"columns": columns})[0])

    def head(self, grid: Floats, vector: Floats) -> tuple[Floats, Floats]:
        """See :class:`System`."""
        found, score = self._sessions["head"].run(None, {"grid": grid, "vector": vector})
        return np.asarray(found), np.asarray(score)


class BackendSystem:
    """A model folder on a backend of the runtime: ONNX Runtime on CPU or CUDA, or engines."""

    def __init__(self, backend: Backend) -> None:
        self.backend, self.name, self.spec = backend, f"{backend.folder}: {backend.description}", backend.spec
        self.precision = backend.precision

    def grid(self, frames: NDArray[np.uint8]) -> Floats:
        """See :class:`System`."""
        return self.backend.infer("frame", frames=frames)[0]

    def vector(self, samples: Floats) -> Floats:
        """See :class:`System`."""
        return self.backend.compute(("spectrogram", "audio"), {"samples": samples}, ("vector",))["vector"]

    def head(self, grid: Floats, vector: Floats) -> tuple[Floats, Floats]:
        """See :class:`System`."""
        found, score = self.backend.infer("head", grid=grid, vector=vector)
        return found, score


def open_system(text: str) -> System:
    """Open what a user names.

    Args:
        text: ``CHECKPOINT.safetensors``, or a model folder, behind which may stand a precision and a device, in any
            order: ``mine``, ``mine:int8``, ``mine:fp16:tensorrt``. Without them it is float32 on the CPU.

    Raises:
        AvolError: there is no such thing, or it cannot be used.
    """
    name, choices = text, list[str]()
    while not Path(name).exists() and ":" in name:
        name, _, choice = name.rpartition(":")
        choices.insert(0, choice)
    path = Path(name)
    if len(choices) > len({choice in PRECISIONS for choice in choices}):
        raise AvolError(f"{text}: names two precisions or two devices; name at most one of each.")
    if unknown := [choice for choice in choices if choice not in (*PRECISIONS, *DEVICES) or choice == "auto"]:
        raise AvolError(
            f"{text}: {unknown[0]!r} is neither a precision ({', '.join(PRECISIONS)}) nor a device "
            f"({', '.join(DEVICES[1:])}), and there is no such file or folder."
        )
    if path.suffix in {".onnx", ".plan"} and path.is_file():
        raise AvolError(f"{path}: one file of a model; name its folder, {path.parent}, and behind it :PRECISION.")
    if not path.is_dir():
        if choices:
            raise AvolError(
                f"{text}: {path} is no model folder; a precision or device needs one that avol export wrote."
            )
        return TorchSystem(load_checkpoint(path), f"{path}: torch")
    precision = next((choice for choice in choices if choice in PRECISIONS), "fp32")
    device = next((choice for choice in choices if choice in DEVICES), "cpu")
    return BackendSystem(open_backend(path, device, precision))


def require_same_shapes(a: System, b: System) -> None:
    """See to it that two systems can be given the same frames and sounds.

    Raises:
        AvolError: they take or give other sizes.
    """
    free = ("name", "preset", "threshold", "calibration", "weights_sha256", "training", "versions")
    if different := [name for name in a.spec.differences(b.spec) if not name.startswith(free)]:
        raise AvolError(f"{b.name}: differs from {a.name} in {', '.join(different)}; compare models of one shape.")


def open_session(graph: Path | bytes, role: str, spec: ModelSpec) -> onnxruntime.InferenceSession:
    """A session on the CPU whose metadata agree with role and spec.

    Raises:
        AvolError: missing, damaged, or of another model.
    """
    named = graph if isinstance(graph, Path) else f"{role} graph"
    if isinstance(graph, Path) and not graph.is_file():
        raise AvolError(f"{graph}: no such graph; run avol export again.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = max(1, (os.cpu_count() or 2) // 2)
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            str(graph) if isinstance(graph, Path) else graph, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's own types share no other base
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise AvolError(f"{named}: not a usable ONNX graph ({reason}); run avol export again.") from None
    metadata = session.get_modelmeta().custom_metadata_map
    if metadata.get(GRAPH_KEY) != role or SPEC_KEY not in metadata:
        raise AvolError(f"{named}: not avol's {role} graph; run avol export again.")
    if different := ModelSpec.from_json(metadata[SPEC_KEY], origin=named).differences(spec):
        raise AvolError(f"{named}: differs from the spec in {', '.join(different)}; export into an empty folder.")
    return session


def stored_precision(session: onnxruntime.InferenceSession) -> str:
    """What the metadata of a graph say; graphs of older versions say nothing and are float32."""
    metadata: dict[str, Any] = session.get_modelmeta().custom_metadata_map
    return str(metadata.get(PRECISION_KEY, "fp32"))


def _array(values: torch.Tensor) -> Floats:
    return np.asarray(values.numpy(), dtype=np.float32)
