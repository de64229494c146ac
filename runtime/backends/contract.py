"""What the graphs of a model take and give, and the names of their files: the same for every backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from avol.runtime.errors import UnavailableError
from avol.runtime.spec import ModelSpec

GRAPHS = ("spectrogram", "audio", "frame", "head")  # the ones that running media needs
TOWERS = ("audio", "frame")  # their files decide which precision a folder holds
ALWAYS_FLOAT32 = (
    "spectrogram",
    "head",
)  # in every precision, so that they need a file of their own in none but float32

# Role -> names of inputs and outputs. A name means the same tensor in every graph.
TENSORS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "spectrogram": (("samples",), ("columns",)),
    "audio": (("columns",), ("vector",)),
    "frame": (("frames",), ("grid",)),
    "head": (("grid", "vector"), ("map", "score")),
    "waveform-audio": (("samples",), ("vector",)),
    "pair": (("frames", "samples"), ("map", "score")),
}


def tensor_shape(name: str, spec: ModelSpec) -> tuple[int, ...]:
    """Sizes of a tensor beside its batch axis; samples are those of one window."""
    sound = spec.spectrogram
    return {
        "samples": (sound.clip_samples,),
        "columns": (sound.rows, sound.columns),
        "frames": (spec.frame_height, spec.frame_width, 3),
        "vector": (spec.embedding_size,),
        "grid": (spec.embedding_size, spec.grid_height, spec.grid_width),
        "map": (spec.grid_height, spec.grid_width),
        "score": (),
    }[name]


def tensor_dtype(name: str) -> np.dtype[np.generic]:
    """Frames are bytes, all else is float32, whatever a graph computes in."""
    dtype: DTypeLike = np.uint8 if name == "frames" else np.float32
    return np.dtype(dtype)


def empty_outputs(names: tuple[str, ...], rows: int, spec: ModelSpec) -> dict[str, NDArray[Any]]:
    """Arrays for a batch of outputs, by name."""
    return {name: np.empty((rows, *tensor_shape(name, spec)), tensor_dtype(name)) for name in names}


def graph_path(folder: Path, role: str, precision: str) -> Path:
    """The ONNX file of a graph: ``<role>.onnx`` in float32, else ``<role>.<precision>.onnx``."""
    path = folder / (f"{role}.onnx" if precision == "fp32" else f"{role}.{precision}.onnx")
    return path if role not in ALWAYS_FLOAT32 or path.is_file() else folder / f"{role}.onnx"


def choose_precision(folder: Path, asked: str, preferred: tuple[str, ...]) -> str:
    """The precision to run: the one asked for, or the first preferred one that the folder has both towers of.

    Raises:
        UnavailableError: the folder lacks the one asked for.
    """
    if asked == "auto":
        held = [p for p in preferred if all(graph_path(folder, role, p).is_file() for role in TOWERS)]
        return held[0] if held else "fp32"  # whose missing file is then named
    missing = [path.name for role in TOWERS if not (path := graph_path(folder, role, asked)).is_file()]
    if missing and asked != "fp32":
        raise UnavailableError(
            f"{folder}: holds no {asked} graphs ({' and '.join(missing)} missing); write them with avol export "
            f"--precision {asked}, or choose another precision.",
            reason=f"no {asked} graphs",
        )
    return asked
