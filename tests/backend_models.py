"""Model folders, inputs and plans for the tests of the backends."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from avol.runtime.backends.contract import GRAPHS, TENSORS, tensor_dtype, tensor_shape
from avol.runtime.model_folder import SPEC_FILE, bundled_model_folder
from avol.runtime.plan_files import PlanInfo, TensorInfo
from avol.runtime.spec import PRECISION_KEY, ModelSpec
from avol.runtime.system import AvolNetSystem


def copy_bundled_model(folder: Path) -> Path:
    """The bundled model's graphs and spec, in a folder that may be spoilt."""
    folder.mkdir()
    for name in (SPEC_FILE, *(f"{role}.onnx" for role in GRAPHS)):
        shutil.copy(bundled_model_folder() / name, folder / name)
    return folder


def add_precision(folder: Path, precision: str, roles: tuple[str, ...] = ("audio", "frame")) -> None:
    """Graphs that say they are of another precision; they compute in float32."""
    for role in roles:
        graph = onnx.load(folder / f"{role}.onnx")
        metadata = {entry.key: entry.value for entry in graph.metadata_props}
        onnx.helper.set_model_props(graph, {**metadata, PRECISION_KEY: precision})
        onnx.save(graph, folder / f"{role}.{precision}.onnx")


def some_inputs(spec: ModelSpec, count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Frames and the samples of a window each."""
    generator = np.random.default_rng(seed)
    frames = generator.integers(0, 256, (count, spec.frame_height, spec.frame_width, 3), np.uint8)
    samples = generator.uniform(-0.5, 0.5, (count, spec.spectrogram.clip_samples)).astype(np.float32)
    return frames, samples


def windows_of_a_track(system: AvolNetSystem, count: int) -> Any:
    """Windows of half a minute of noise, as the system takes them: 0.4 s apart, from before its start on."""
    sound = system.spec.spectrogram
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 30 * sound.sample_rate_hz).astype(np.float32)
    return system.open_track(np.array_split(noise, 7)).windows_at([0.4 * number for number in range(count)])


def plan_info(
    *,
    role: str,
    precision: str,
    builder: str,
    data: bytes,
    spec: ModelSpec,
    batches: tuple[tuple[int, int, int], ...] = ((1, 2, 4),),
    **changed: Any,
) -> PlanInfo:
    """The side file of a plan; ``batches`` are the smallest, best and largest of each profile."""
    inputs, outputs = TENSORS[role]
    profiles = tuple({name: _range(name, sizes, spec) for name in inputs} for sizes in batches)
    values: dict[str, Any] = {
        "plan_sha256": hashlib.sha256(data).hexdigest(),
        "onnx_sha256": "0" * 64,
        "role": role,
        "precision": precision,
        "builder": builder,
        "builder_version": "10.16.1.11",
        "cuda_version": "13.0",
        "driver_version": "580.65.06",
        "gpu_name": "Paper GPU",
        "compute_capability": "9.0",
        "profiles": profiles,
        "inputs": tuple(_tensor(name, spec) for name in inputs),
        "outputs": tuple(_tensor(name, spec) for name in outputs),
        "spec": spec,
    }
    return PlanInfo(**(values | changed))


def _range(name: str, batches: tuple[int, int, int], spec: ModelSpec) -> Any:
    shape = tensor_shape(name, spec)
    if name != "samples":
        return tuple((batch, *shape) for batch in batches)
    lengths = (spec.spectrogram.window_samples, shape[0], 4 * shape[0])  # a stretch of any length
    return tuple((batch, length) for batch, length in zip(batches, lengths, strict=True))


def _tensor(name: str, spec: ModelSpec) -> TensorInfo:
    return TensorInfo(name=name, dtype=tensor_dtype(name).name, shape=(-1, *tensor_shape(name, spec)))
