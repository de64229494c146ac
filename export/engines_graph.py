"""ONNX graphs on their way into TensorRT's parser: what they are, which sizes are free, what it has to be told."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from avol.export.ranges import LARGEST_INT8, LARGEST_UINT8, MIDDLE_UINT8
from avol.runtime.errors import AvolError
from avol.runtime.plan_files import Shape, ShapeRange
from avol.runtime.spec import GRAPH_KEY, SPEC_KEY, ModelSpec

PAIR = frozenset({"QuantizeLinear", "DequantizeLinear"})
COMMUTES = ("Relu", "MaxPool")  # with rounding to levels of which one is 0
# A track is transformed in chunks, a window at a time at the least.
SPECTROGRAM_COLUMNS = (1, 256, 1024)


@dataclass(frozen=True)
class SourceGraph:
    """One graph of a model folder.

    Attributes:
        path: the ONNX file.
        role, precision: what the file's name and metadata say.
        sha256: of the file.
        model: the graph, as the parser is to see it.
        spec: of the model, out of the metadata.
    """

    path: Path
    role: str
    precision: str
    sha256: str
    model: onnx.ModelProto
    spec: ModelSpec


def read_graph(path: Path, role: str, precision: str) -> SourceGraph:
    """Read a graph and check that it is the one that its name says.

    Raises:
        AvolError: it cannot be read, or it is not a graph of avol for this role.
    """
    try:
        data = path.read_bytes()
        model = onnx.load_model_from_string(data)
    except OSError as error:
        raise AvolError(f"{path}: cannot be read ({error.strerror}); export the model again.") from None
    except Exception:  # of protobuf, a package that is onnx's own affair
        raise AvolError(f"{path}: not an ONNX file, or damaged; export the model again.") from None
    metadata = {item.key: item.value for item in model.metadata_props}
    if SPEC_KEY not in metadata or metadata.get(GRAPH_KEY) != role:
        found = metadata.get(GRAPH_KEY)
        raise AvolError(
            f"{path}: "
            + (f"holds the graph {found}, not {role}" if found else "carries no model spec")
            + "; export the model again with avol export."
        )
    move_casts_before_transposes(model)
    drop_repeated_pairs(model)
    make_symmetric(model)
    spec = ModelSpec.from_json(metadata[SPEC_KEY], origin=path)
    if role == "audio":
        hear_windows(model, spec)
    return SourceGraph(path, role, precision, hashlib.sha256(data).hexdigest(), model, spec)


def hear_windows(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """Let an audio tower that may run over a track take windows alone, in place: engines of fixed shapes are faster."""
    for item in model.graph.input:
        for axis in item.type.tensor_type.shape.dim:
            if axis.dim_param == "columns":
                axis.dim_value = spec.spectrogram.columns


def move_casts_before_transposes(model: onnx.ModelProto) -> None:
    """Let uint8 inputs be cast before they are transposed, in place: TensorRT can only cast that type.

    Moving single bytes is cheaper where it is possible, so that graphs may have it the other way round; the values are
    the same.
    """
    graph = model.graph
    inputs = {item.name for item in graph.input if item.type.tensor_type.elem_type == onnx.TensorProto.UINT8}
    for transpose in graph.node:
        if transpose.op_type != "Transpose" or transpose.input[0] not in inputs:
            continue
        users = [node for node in graph.node if transpose.output[0] in node.input]
        if len(users) == 1 and users[0].op_type == "Cast":
            cast = users[0]
            # The two swap what they do: the first node becomes the cast, the second the transposition.
            transpose.op_type, cast.op_type = cast.op_type, transpose.op_type
            first, second = list(transpose.attribute), list(cast.attribute)
            del transpose.attribute[:], cast.attribute[:]
            transpose.attribute.extend(second)
            cast.attribute.extend(first)
            _forget_types(graph, transpose)


def drop_repeated_pairs(model: onnx.ModelProto) -> None:
    """Take out Q/DQ pairs behind which, past ReLU and maximum at most, a pair of the same levels follows, in place.

    ONNX Runtime needs both pairs to take the maximum in eight bits (and in models exported before activations became
    unsigned, the ReLU), and TensorRT is given one. Rounding, ReLU and maximum commute, so that no value changes.
    """
    graph = model.graph
    values = _constants(graph)
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)

    def only_user(name: str, *kinds: str) -> onnx.NodeProto | None:
        found = users.get(name, [])
        return found[0] if len(found) == 1 and found[0].op_type in kinds else None

    dropped: list[onnx.NodeProto] = []
    for quantise in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        dequantise = only_user(quantise.output[0], "DequantizeLinear")
        behind = last = only_user(dequantise.output[0], *COMMUTES, "QuantizeLinear") if dequantise else None
        while last is not None and last.op_type in COMMUTES:
            last = only_user(last.output[0], *COMMUTES, "QuantizeLinear")
        if dequantise and behind and last and _same_parameters(quantise, last, values):
            behind.input[0] = quantise.input[0]
            dropped += [quantise, dequantise]
    for node in dropped:
        graph.node.remove(node)


def _same_parameters(one: onnx.NodeProto, other: onnx.NodeProto, values: dict[str, NDArray[Any]]) -> bool:
    """Whether two quantisations have the same constant scale and zero point."""
    names = [(a, b) for a, b in zip(one.input[1:], other.input[1:], strict=False) if a in values and b in values]
    return (
        len(one.input) == len(other.input) == 3
        and len(names) == 2
        and all(np.array_equal(values[a], values[b]) for a, b in names)
    )


def make_symmetric(model: onnx.ModelProto) -> None:
    """Turn unsigned Q/DQ pairs into signed ones with zero point 0, in place: TensorRT knows no others.

    With 0 in the middle the levels stay what they are. Behind a ReLU, where it is the lowest level, the range stays and
    the steps become twice as wide.
    """
    graph = model.graph
    values = _constants(graph)
    for number, node in enumerate(graph.node):
        zero = values.get(node.input[2]) if node.op_type in PAIR and len(node.input) == 3 else None
        if zero is None or zero.dtype != np.uint8:
            continue
        scale = values[node.input[1]]
        if not zero.any():
            scale = (scale * np.float32(LARGEST_UINT8 / LARGEST_INT8)).astype(np.float32)
        elif (zero != MIDDLE_UINT8).any():
            raise AvolError(f"{node.name}: zero point {zero}, which TensorRT cannot have; export the model again.")
        for place, value in ((1, scale), (2, np.zeros(zero.shape, np.int8))):
            name = f"signed{number}_{place}"
            graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
            node.input[place] = name
        _forget_types(graph, node)


def _forget_types(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """Take back what the graph says of a node's result, which is of another type or shape now."""
    for item in [item for item in graph.value_info if item.name == node.output[0]]:
        graph.value_info.remove(item)


def _constants(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    values = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "Constant"]
    return values | {node.output[0]: onnx.numpy_helper.to_array(node.attribute[0].t) for node in nodes}


def profiles_of(
    source: SourceGraph, batches: tuple[int, ...], *, profile_per_batch: bool
) -> tuple[dict[str, ShapeRange], ...]:
    """Optimisation profiles: the smallest, the most frequent and the largest shape of every input.

    Args:
        source: the graph.
        batches: batch sizes in order; the middle one is what the engine is optimised for.
        profile_per_batch: a profile of fixed batch size for every one, in place of one that spans them all.

    Raises:
        AvolError: the graph has a free axis that no rule covers.
    """
    spans = [(size, size, size) for size in batches]
    if not profile_per_batch:
        spans = [(batches[0], batches[len(batches) // 2], batches[-1])]
    return tuple({item.name: _shape_range(source, item, span) for item in source.model.graph.input} for span in spans)


def _shape_range(source: SourceGraph, item: onnx.ValueInfoProto, batch: tuple[int, int, int]) -> ShapeRange:
    spectrogram = source.spec.spectrogram
    sizes = {
        "batch": batch,
        "length": tuple((n - 1) * spectrogram.hop_samples + spectrogram.window_samples for n in SPECTROGRAM_COLUMNS),
    }
    axes = item.type.tensor_type.shape.dim
    if unknown := [axis.dim_param or "?" for axis in axes if not axis.dim_value and axis.dim_param not in sizes]:
        raise AvolError(f"{source.path}: input {item.name} has the free axis {unknown[0]}; export the model again.")

    def shape(which: int) -> Shape:
        return tuple(axis.dim_value or sizes[axis.dim_param][which] for axis in axes)

    return shape(0), shape(1), shape(2)
