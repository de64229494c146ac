"""Write the graphs of a checkpoint as ONNX files, each checked before it gets its name."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import onnx
import torch

import avol
from avol.export.modules import Graph, model_graphs
from avol.runtime.atomic import AtomicOutput, commit_all, write_error
from avol.runtime.errors import AvolError
from avol.runtime.model_folder import SPEC_FILE
from avol.runtime.spec import GRAPH_KEY, SPEC_KEY, ModelSpec
from avol.train.checkpoint import load_checkpoint

OPSET = 18  # the oldest that has all that is needed: devices lag behind
LARGEST_IR_VERSION = 10


def export_checkpoint(checkpoint: Path, out: Path, *, roles: tuple[str, ...] = ()) -> list[Path]:
    """Write ``<role>.onnx`` for every graph, and the spec beside them.

    Args:
        checkpoint: a .safetensors file of ``avol train``.
        out: folder, made if missing.
        roles: of the graphs to write; none: all.

    Returns:
        The files written.

    Raises:
        AvolError: no usable checkpoint, or ``out`` cannot be written.
    """
    network = load_checkpoint(checkpoint)
    spec = replace(network.spec, versions={**network.spec.versions, "avol": avol.__version__, "onnx": onnx.__version__})
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AvolError(f"{out}: cannot be made ({error.strerror}); choose another --out.") from None
    with contextlib.ExitStack() as stack:
        outputs = []
        for graph in model_graphs(network, spec):
            if not roles or graph.role in roles:
                outputs.append(stack.enter_context(AtomicOutput(out / f"{graph.role}.onnx")))
                _write(outputs[-1], graph_to_onnx(graph, spec).SerializeToString())
        outputs.append(stack.enter_context(AtomicOutput(out / SPEC_FILE)))
        _write(outputs[-1], (spec.to_json(indent=2) + "\n").encode())
        commit_all(*outputs)  # graphs of two models are never mixed in one folder
    return [output.path for output in outputs]


def graph_to_onnx(graph: Graph, spec: ModelSpec) -> onnx.ModelProto:
    """Trace one graph; the result carries the spec and its role in the metadata, and passes the full check."""
    axes = {name: dict(free) for name, free in graph.free_axes.items()}
    dimensions = {axis_name: torch.export.Dim(axis_name) for free in axes.values() for axis_name in free.values()}
    shapes = {name: {axis: dimensions[label] for axis, label in free.items()} for name, free in axes.items()}
    with _quiet():
        program = torch.onnx.export(
            graph.module.eval(),
            tuple(graph.inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=tuple(shapes.values()),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _strip_traces(model)
    model.producer_name, model.producer_version = "avol", avol.__version__
    onnx.helper.set_model_props(model, {SPEC_KEY: spec.to_json(), GRAPH_KEY: graph.role})
    onnx.checker.check_model(model, full_check=True)
    if model.ir_version > LARGEST_IR_VERSION:
        raise AssertionError(f"{graph.role}: IR version {model.ir_version} is newer than devices read")
    return model


def _strip_traces(model: onnx.ModelProto) -> None:
    """The exporter notes stack traces with the paths of the machine it ran on; a shipped file has none of that."""
    del model.metadata_props[:]
    graph = model.graph
    for part in [graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        del part.metadata_props[:]
        part.doc_string = ""


def _write(output: AtomicOutput, content: bytes) -> None:
    try:
        output.temporary.write_bytes(content)
    except OSError as error:
        raise write_error(output.path, error) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what the exporter says of packages that are not needed."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
