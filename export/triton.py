"""A model repository for NVIDIA Triton out of a model folder.

Each graph becomes a model, and the four that make up a localisation an ensemble::

    DIR/avol_frame/config.pbtxt          DIR/avol_frame/1/model.onnx
    DIR/avol_localise/config.pbtxt       DIR/avol_localise/1/          the ensemble, which has no file
    DIR/avol_pair_fp16/config.pbtxt      DIR/avol_pair_fp16/1/model.plan

Source: the server's documentation of ModelConfig and of ensembles.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avol.export.engines import outdated_plans
from avol.runtime.atomic import AtomicOutput, commit_all, write_error
from avol.runtime.backends.contract import GRAPHS, TENSORS, tensor_dtype, tensor_shape
from avol.runtime.errors import AvolError
from avol.runtime.model_folder import read_spec
from avol.runtime.plan_files import PRECISIONS, plan_file_name, read_plan_info
from avol.runtime.spec import ModelSpec

LARGEST_BATCH = 32
QUEUE_MICROSECONDS = 2000  # what a request waits for others to share a batch with
ENSEMBLE_INPUTS, ENSEMBLE_OUTPUTS = ("frames", "samples"), ("map", "score")


@dataclass(frozen=True)
class Served:
    """One model of a repository that has a file: a graph or an engine in one precision."""

    role: str
    precision: str
    source: Path
    largest_batch: int

    @property
    def is_plan(self) -> bool:
        """Whether it is an engine."""
        return self.source.suffix == ".plan"

    @property
    def name(self) -> str:
        """In the repository."""
        return model_name(self.role, self.precision, is_plan=self.is_plan)


def model_name(role: str, precision: str, *, is_plan: bool = False) -> str:
    """E.g. ``avol_pair``, ``avol_pair_fp16``, ``avol_pair_fp16_tensorrt``."""
    parts = ["avol", role.replace("-", "_"), "" if precision == "fp32" else precision, "tensorrt" if is_plan else ""]
    return "_".join(part for part in parts if part)


def write_repository(folder: Path, repository: Path) -> list[str]:
    """Write a model repository.

    Args:
        folder: of the model, as ``avol export`` writes it. Engines of TensorRT in it are taken along, but for those
            that were built from other graphs or take no batch of one; those of TensorRT-RTX are not, the server does
            not run them.
        repository: made if missing; models of these names in it are replaced, others stay.

    Returns:
        Names of the models.

    Raises:
        AvolError: there are no graphs, or the repository cannot be written.
    """
    spec, served = read_spec(folder), find_served(folder)
    if not served:
        raise AvolError(f"{folder}: holds no graphs to serve; name a folder that avol export wrote.")
    texts = {model.name: model_config(model, spec) for model in served}
    texts |= ensembles(served, spec)
    sources = {model.name: model.source for model in served}
    outputs: list[AtomicOutput] = []
    with contextlib.ExitStack() as folders, contextlib.ExitStack() as stack:
        try:
            for name, text in texts.items():
                _make_folder(repository / name / "1", folders)
                outputs.append(stack.enter_context(AtomicOutput(repository / name / "config.pbtxt")))
                outputs[-1].temporary.write_text(text, encoding="utf-8")
                if name in sources:
                    path = repository / name / "1" / f"model{sources[name].suffix}"
                    outputs.append(stack.enter_context(AtomicOutput(path)))
                    shutil.copyfile(sources[name], outputs[-1].temporary)
            commit_all(*outputs)
        except OSError as error:
            raise write_error(repository, error) from None
        folders.pop_all()  # they stay, an ensemble's empty one too
    return list(texts)


def _make_folder(folder: Path, undo: contextlib.ExitStack) -> None:
    """Make it and those above; what is empty of them when ``undo`` unwinds goes again."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        undo.callback(_remove_if_empty, path)
        path.mkdir(exist_ok=True)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def find_served(folder: Path) -> list[Served]:
    """Graphs and TensorRT engines of a folder, by role and precision."""
    found, outdated = [], outdated_plans(folder)
    for role in TENSORS:
        for precision in PRECISIONS:
            graph = folder / (f"{role}.onnx" if precision == "fp32" else f"{role}.{precision}.onnx")
            if graph.is_file():
                found.append(Served(role, precision, graph, LARGEST_BATCH))
            plan = folder / plan_file_name(role, precision, "tensorrt")
            if plan.is_file() and plan not in outdated:
                # The server takes the first profile, and gives it batches from one on.
                shapes = read_plan_info(plan).profiles[0].values()
                if all(smallest[0] == 1 for smallest, _, _ in shapes):
                    largest = min(shape[0] for _, _, shape in shapes)
                    found.append(Served(role, precision, plan, largest))
    return found


def model_config(model: Served, spec: ModelSpec) -> str:
    """``config.pbtxt`` of a model with a file."""
    inputs, outputs = TENSORS[model.role]
    platform = "tensorrt_plan" if model.is_plan else "onnxruntime_onnx"
    return "\n".join(
        [
            f'name: "{model.name}"',
            f'platform: "{platform}"',
            f"max_batch_size: {model.largest_batch}",
            *_tensors("input", inputs, spec, any_length=model.role == "spectrogram"),
            *_tensors("output", outputs, spec, any_length=model.role == "spectrogram"),
            f"dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_MICROSECONDS} }}",
            "",
        ]
    )


def ensembles(served: Sequence[Served], spec: ModelSpec) -> dict[str, str]:
    """An ensemble for every precision and kind of file that has both towers, name to ``config.pbtxt``."""
    names = {model.name: model for model in served}
    found = {}
    for is_plan in (False, True):
        for precision in PRECISIONS:
            steps = {}
            for role in GRAPHS:
                choices = [
                    model_name(role, chosen, is_plan=kind)
                    # Spectrogram and head are float32 in every precision, and need no engine.
                    for chosen in dict.fromkeys(
                        (precision, "fp32") if role in {"spectrogram", "head"} else (precision,)
                    )
                    for kind in dict.fromkeys((is_plan, False) if role in {"spectrogram", "head"} else (is_plan,))
                ]
                steps[role] = next((names[name] for name in choices if name in names), None)
            if all(steps.values()):
                name = model_name("localise", precision, is_plan=is_plan)
                found[name] = _ensemble_config(name, [step for step in steps.values() if step], spec)
    return found


def _ensemble_config(name: str, steps: Sequence[Served], spec: ModelSpec) -> str:
    lines = [
        f'name: "{name}"',
        'platform: "ensemble"',
        f"max_batch_size: {min(step.largest_batch for step in steps)}",
        *_tensors("input", ENSEMBLE_INPUTS, spec),
        *_tensors("output", ENSEMBLE_OUTPUTS, spec, is_ensemble=True),
        "ensemble_scheduling {",
    ]
    for step in steps:
        inputs, outputs = TENSORS[step.role]
        lines += ["  step {", f'    model_name: "{step.name}"', "    model_version: -1"]
        lines += [f'    input_map {{ key: "{tensor}" value: "{tensor}" }}' for tensor in inputs]
        lines += [f'    output_map {{ key: "{tensor}" value: "{tensor}" }}' for tensor in outputs]
        lines.append("  }")
    return "\n".join([*lines, "}", ""])


def _tensors(
    kind: str, names: Sequence[str], spec: ModelSpec, *, any_length: bool = False, is_ensemble: bool = False
) -> list[str]:
    lines = []
    for name in names:
        shape = tensor_shape(name, spec)
        # A tensor has at least one size beside the batch for the server; a score has none in the graph.
        reshape = "" if shape or is_ensemble else " reshape { shape: [ ] }"
        sizes = (*shape[:-1], -1) if any_length else shape or (1,)
        data_type = "TYPE_UINT8" if tensor_dtype(name) == np.uint8 else "TYPE_FP32"
        dims = ", ".join(map(str, sizes))
        lines.append(f'{kind} {{ name: "{name}" data_type: {data_type} dims: [ {dims} ]{reshape} }}')
    return lines
