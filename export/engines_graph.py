"""ONNX graphs on their way into TensorRT's parser: what they are, which sizes are free, what it has to be told."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from avol.runtime.errors import AvolError
from avol.runtime.plan_files import Shape, ShapeRange
from avol.runtime.spec import GRAPH_KEY, SPEC_KEY, ModelSpec

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
    drop_pairs_before_relus(model)
    spec = ModelSpec.from_json(metadata[SPEC_KEY], origin=path)
    return SourceGraph(path, role, precision, hashlib.sha256(data).hexdigest(), model, spec)


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
            stale = [item for item in graph.value_info if item.name == transpose.output[0]]
            for item in stale:
                graph.value_info.remove(item)


def drop_pairs_before_relus(model: onnx.ModelProto) -> None:
    """Take out Q/DQ pairs between a convolution and its ReLU where a pair of the same scale follows, in place.

    ONNX Runtime needs both pairs to compute in eight bits, and TensorRT fuses convolution, ReLU and quantisation only
    without the first one. Rounding, ReLU and maximum commute, so that no value changes.
    """
    graph = model.graph
    values = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    values |= {n.output[0]: onnx.numpy_helper.to_array(n.attribute[0].t) for n in graph.node if n.op_type == "Constant"}
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
        relu = only_user(dequantise.output[0], "Relu") if dequantise else None
        behind = only_user(relu.output[0], "MaxPool", "QuantizeLinear") if relu else None
        if behind is not None and behind.op_type == "MaxPool":
            behind = only_user(behind.output[0], "QuantizeLinear")
        if dequantise and relu and behind and _same_parameters(quantise, behind, values):
            relu.input[0] = quantise.input[0]
            dropped += [quantise, dequantise]
    for node in dropped:
        graph.node.remove(node)


def _same_parameters(one: onnx.NodeProto, other: onnx.NodeProto, values: dict[str, NDArray[Any]]) -> bool:
    """Whether two quantisations have the same constant scale, and the same zero point, which is 0."""
    names = [(a, b) for a, b in zip(one.input[1:], other.input[1:], strict=False) if a in values and b in values]
    return (
        len(one.input) == len(other.input) == 3
        and len(names) == 2
        and all(np.array_equal(values[a], values[b]) for a, b in names)
        and not values[one.input[2]].any()
    )


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
