"""Run a model's graphs with ONNX Runtime."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avol.runtime.errors import AvolError
from avol.runtime.model_folder import read_spec
from avol.runtime.spec import GRAPH_KEY, SPEC_KEY, ModelSpec

if TYPE_CHECKING:
    import onnxruntime

_Tensor = tuple[str, str, tuple[int | None, ...]]

GRAPHS = ("spectrogram", "audio", "frame", "head")  # the ones that running media needs


class OnnxBackend:
    """The graphs of one model folder on the CPU provider; a context manager.

    Args:
        folder: as ``avol export`` writes it.
        graphs: the roles to open.

    Raises:
        AvolError: no model there, a corrupt or missing graph, graphs of different models, or no ONNX Runtime.
    """

    name = "onnxruntime-cpu"
    precision = "fp32"  # what is computed; the files may hold weights in half precision

    def __init__(self, folder: Path, *, graphs: tuple[str, ...] = GRAPHS) -> None:
        self.folder, self.spec = folder, read_spec(folder)
        self._sessions = {role: _open_graph(folder, role, self.spec) for role in graphs}

    def infer(self, graph: str, **inputs: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Run one graph on inputs by name; gives its outputs in order."""
        outputs: list[NDArray[np.float32]] = self._sessions[graph].run(None, inputs)
        return outputs

    def __enter__(self) -> OnnxBackend:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sessions.clear()


def _open_graph(folder: Path, role: str, spec: ModelSpec) -> onnxruntime.InferenceSession:
    """A session whose metadata and tensor shapes agree with the spec."""
    ort = _import_onnxruntime()
    path = folder / f"{role}.onnx"
    if not path.is_file():
        raise AvolError(f"{folder}: the model lacks {role}.onnx; export it again with avol export.")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # Spinning threads fight with the decoder and encoder for the cores (measured: half the efficiency).
    options.intra_op_num_threads = max(1, (os.cpu_count() or 2) // 2)
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # ONNX Runtime raises its own types, which share no base but Exception.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AvolError(f"{path}: not a usable ONNX graph ({reason}); run avol export again.") from None
    _check_contract(session, path, role, spec)
    return session


def _check_contract(session: onnxruntime.InferenceSession, path: Path, role: str, spec: ModelSpec) -> None:
    metadata = session.get_modelmeta().custom_metadata_map
    if SPEC_KEY not in metadata:
        raise AvolError(f"{path}: an ONNX file without avol's spec; export the model with avol export.")
    if metadata.get(GRAPH_KEY) != role:
        raise AvolError(f"{path}: holds the graph {metadata.get(GRAPH_KEY)!r}, not {role!r}; export the model again.")
    graph_spec = ModelSpec.from_json(metadata[SPEC_KEY], origin=path)
    if different := graph_spec.differences(spec):
        raise AvolError(
            f"{path}: does not belong to the spec beside it: they differ in {', '.join(different)}; do not mix or edit "
            "exports: run avol export into an empty folder."
        )
    found = [*_shapes(session.get_inputs()), *_shapes(session.get_outputs())]
    expected = _expected_shapes(role, spec)
    if found != expected:
        raise AvolError(f"{path}: its tensors are {found}, the spec says {expected}; export the model again.")


def _shapes(tensors: list[Any]) -> list[_Tensor]:
    """Names, types and sizes, None for free axes."""
    return [(t.name, t.type, tuple(size if isinstance(size, int) else None for size in t.shape)) for t in tensors]


def _expected_shapes(role: str, spec: ModelSpec) -> list[_Tensor]:
    spectrogram, grid = spec.spectrogram, (spec.grid_height, spec.grid_width)
    tensors: dict[str, tuple[int | None, ...]] = {
        "samples": (None, None if role == "spectrogram" else spectrogram.clip_samples),
        "columns": (None, spectrogram.rows, None if role == "spectrogram" else spectrogram.columns),
        "frames": (None, spec.frame_height, spec.frame_width, 3),
        "vector": (None, spec.embedding_size),
        "grid": (None, spec.embedding_size, *grid),
        "map": (None, *grid),
        "score": (None,),
    }
    names = {
        "spectrogram": ("samples", "columns"),
        "audio": ("columns", "vector"),
        "frame": ("frames", "grid"),
        "head": ("grid", "vector", "map", "score"),
        "waveform-audio": ("samples", "vector"),
        "pair": ("frames", "samples", "map", "score"),
    }[role]
    return [(name, "tensor(uint8)" if name == "frames" else "tensor(float)", tensors[name]) for name in names]


def _import_onnxruntime() -> Any:  # noqa: ANN401 (a module)
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise AvolError(
            "onnxruntime: not installed; pip install '.[cpu]' in avol's folder, or '.[gpu]' beside an NVIDIA driver."
        ) from None
    return onnxruntime
