"""Write the graphs of a checkpoint as ONNX files, each checked before it gets its name."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

import avol
from avol.export.modules import Graph, model_graphs
from avol.export.ranges import Ranges
from avol.runtime.atomic import AtomicOutput, commit_all, write_error
from avol.runtime.errors import AvolError
from avol.runtime.model_folder import SPEC_FILE
from avol.runtime.spec import GRAPH_KEY, PRECISION_KEY, SPEC_KEY, ModelSpec
from avol.train.checkpoint import load_checkpoint
from avol.train.network import TwoTowerNetwork

OPSET = 18  # the oldest that has all that is needed: devices lag behind
LARGEST_IR_VERSION = 10
# What TensorRT 10 has of what networks like these need. The parser's list is longer.
TENSORRT_OPERATORS = frozenset(
    {
        *("Add", "Cast", "Clip", "Concat", "Conv", "DequantizeLinear", "Einsum", "Gemm", "Log", "MatMul", "MaxPool"),
        *("Div", "Mul", "QuantizeLinear", "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Relu"),
        *("Reshape", "Shape", "Sigmoid", "Slice", "Softmax", "Sqrt", "Squeeze", "Sub", "Transpose", "Unsqueeze"),
    }
)


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
    spec = exported_spec(network)
    models = build_models(network, spec, roles=roles)
    return write_files(out, {file_name(model): model.SerializeToString() for model in models}, spec)


def exported_spec(network: TwoTowerNetwork) -> ModelSpec:
    """The spec that graphs of a network carry."""
    versions = {**network.spec.versions, "avol": avol.__version__, "onnx": onnx.__version__}
    return replace(network.spec, versions=versions)


def build_models(
    network: TwoTowerNetwork,
    spec: ModelSpec,
    *,
    precision: str = "fp32",
    ranges: Ranges | None = None,
    roles: tuple[str, ...] = (),
) -> list[onnx.ModelProto]:
    """The graphs of a network in one precision.

    Args:
        network: trained.
        spec: as :func:`exported_spec` gives it.
        precision: ``fp32``, ``fp16`` or ``int8``.
        ranges: for ``int8``.
        roles: of the graphs; none: all that the precision has.

    Raises:
        AvolError: the ranges do not fit the network, or a weight is too large for half precision.
    """
    graphs = model_graphs(network, spec, precision=precision, ranges=ranges)
    return [graph_to_onnx(graph, spec, precision=precision) for graph in graphs if not roles or graph.role in roles]


def file_name(model: onnx.ModelProto) -> str:
    """The name of a graph's file in a model folder."""
    metadata = {item.key: item.value for item in model.metadata_props}
    return graph_file_name(metadata[GRAPH_KEY], metadata[PRECISION_KEY])


def graph_file_name(role: str, precision: str) -> str:
    """``<role>.onnx`` in float32, else ``<role>.<precision>.onnx``."""
    return f"{role}.onnx" if precision == "fp32" else f"{role}.{precision}.onnx"


def check_folder(folder: Path) -> None:
    """Find out whether files can be written into a folder, before anything long begins; leaves nothing there.

    Raises:
        AvolError: they cannot.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise AvolError(f"{folder}: takes no files ({error.strerror}); choose another folder.") from None
    finally:
        for path in missing:
            with contextlib.suppress(OSError):
                path.rmdir()


def write_files(out: Path, contents: Mapping[str, bytes], spec: ModelSpec) -> list[Path]:
    """Write files of one model and its spec into a folder, all of them or none.

    Args:
        out: made if missing.
        contents: by file name.
        spec: of the model; its file comes last.

    Raises:
        AvolError: ``out`` cannot be written, or holds graphs of another model that would stay.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AvolError(f"{out}: cannot be made ({error.strerror}); choose another --out.") from None
    refuse_strangers(out, contents.keys(), spec)
    with contextlib.ExitStack() as stack:
        outputs = []
        for name, content in {**contents, SPEC_FILE: (spec.to_json(indent=2) + "\n").encode()}.items():
            outputs.append(stack.enter_context(AtomicOutput(out / name)))
            _write(outputs[-1], content)
        commit_all(*outputs)  # graphs of two models are never mixed in one folder
    return [output.path for output in outputs]


def refuse_strangers(out: Path, replaced: Collection[str], spec: ModelSpec) -> None:
    """See to it that no graphs with another spec, in a precision that is not written now, stay beside the new ones.

    The runtime opens none that differs from the folder's spec, be it the weights, the threshold or a version.

    Raises:
        AvolError: it does.
    """
    for path in sorted(out.glob("*.onnx")):
        if path.name in replaced or not path.is_file():
            continue
        try:
            metadata = {item.key: item.value for item in onnx.load(path).metadata_props}
        except Exception:  # of protobuf: not an ONNX file, so not one of ours
            continue
        if metadata.get(PRECISION_KEY, "fp32") == "fp32" or SPEC_KEY not in metadata:
            continue
        if different := ModelSpec.from_json(metadata[SPEC_KEY], origin=path).differences(spec):
            raise AvolError(
                f"{path}: belongs to another model or export than the one to be written, they differ in "
                f"{', '.join(different)}; delete it, or choose another --out."
            )


def graph_to_onnx(graph: Graph, spec: ModelSpec, *, precision: str = "fp32") -> onnx.ModelProto:
    """Trace one graph; the result carries spec, role and precision in the metadata, and passes the full check."""
    axes = {name: dict(free) for name, free in graph.free_axes.items()}
    labels = {label for free in axes.values() for label in free.values()}
    dimensions = {label: _dimension(label, graph.multiples.get(label, 1)) for label in labels}
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
    if graph.multiples:
        _name_axes(model, axes)
    model.producer_name, model.producer_version = "avol", avol.__version__
    entries = {SPEC_KEY: spec.to_json(), GRAPH_KEY: graph.role, PRECISION_KEY: precision, **graph.notes}
    onnx.helper.set_model_props(model, entries)
    onnx.checker.check_model(model, full_check=True)
    if model.ir_version > LARGEST_IR_VERSION:
        raise AssertionError(f"{graph.role}: IR version {model.ir_version} is newer than devices read")
    if unknown := {node.op_type for node in model.graph.node} - TENSORRT_OPERATORS:
        raise AssertionError(f"{graph.role}: TensorRT has no {', '.join(sorted(unknown))}")
    if inexact := [name for name, values in _half_constants(model) if not np.isfinite(values).all()]:
        raise AvolError(f"{spec.name}: {inexact[0]} is too large for half precision; export without fp16.")
    return model


def _dimension(label: str, multiple: int) -> Any:  # noqa: ANN401 (of torch.export, which has no public type for it)
    """A free axis."""
    return torch.export.Dim(label) if multiple == 1 else multiple * torch.export.Dim(f"{label}_steps")


def _name_axes(model: onnx.ModelProto, axes: Mapping[str, Mapping[int, str]]) -> None:
    """Free axes by our names; what the tracer calls sizes that follow from them is of no use to anyone."""
    for item in model.graph.input:
        for axis, label in axes[item.name].items():
            item.type.tensor_type.shape.dim[axis].dim_param = label
    named = {label for free in axes.values() for label in free.values()}
    for item in [*model.graph.value_info, *model.graph.output]:
        for size in item.type.tensor_type.shape.dim:
            if size.dim_param and size.dim_param not in named:
                size.ClearField("value")


def _half_constants(model: onnx.ModelProto) -> Iterator[tuple[str, NDArray[Any]]]:
    for item in model.graph.initializer:
        if item.data_type == onnx.TensorProto.FLOAT16:
            yield item.name, onnx.numpy_helper.to_array(item)


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
