"""Graphs in half precision and with eight-bit convolutions: what they compute, and what the files hold.

Largest relative differences of ONNX Runtime on a CPU to the float32 network, measured on a tiny network over 200 seeds:
see the limits below, which are about twice as large.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import numpy_helper

from avol.export.calibrate import choose_ranges, watch
from avol.export.eight_bits import Levels, quantised_tower, range_names
from avol.export.engines_graph import drop_repeated_pairs, make_symmetric
from avol.export.modules import model_graphs
from avol.export.onnx_files import (
    LARGEST_IR_VERSION,
    OPSET,
    TENSORRT_OPERATORS,
    build_models,
    exported_spec,
    file_name,
    graph_to_onnx,
)
from avol.export.ranges import Ranges
from avol.export.towers import fold_batch_norms, half_tower
from avol.runtime.errors import AvolError
from avol.runtime.spec import GRAPH_KEY, PRECISION_KEY, SPEC_KEY, ModelSpec
from avol.train.network import TwoTowerNetwork
from tiny_model import example_moments, tiny_network, tiny_preset

ROLES = ("audio", "frame", "pair")
BUILT = (*ROLES, "spectrogram")  # waveform-audio is part of the pair; tracing takes most of the time here
LARGEST_HALF, LARGEST_INT8 = 6e-3, 0.3  # relative to the largest value
LARGEST_TO_TORCH_INT8 = 0.05  # the same eight bits in torch: a value on the edge of two steps may go either way


@dataclass(frozen=True)
class Built:
    """The tiny network with its graphs by precision and role."""

    network: TwoTowerNetwork
    ranges: Ranges
    models: dict[tuple[str, str], onnx.ModelProto]
    sessions: dict[tuple[str, str], onnxruntime.InferenceSession]


@pytest.fixture(scope="module")
def built() -> Iterator[Built]:
    with tiny_preset():
        network = tiny_network()
        histograms = watch(network, example_moments(network.spec, 24, seed=5))
        ranges = choose_ranges(network, histograms, method="minmax", source="drawn")
        models = {
            (precision, metadata(model)[GRAPH_KEY]): model
            for precision in ("fp32", "fp16", "int8")
            for model in build_models(network, exported_spec(network), precision=precision, ranges=ranges, roles=BUILT)
        }
        yield Built(network, ranges, models, {key: session(model) for key, model in models.items()})


def metadata(model: onnx.ModelProto) -> dict[str, str]:
    return {item.key: item.value for item in model.metadata_props}


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def outputs(built: Built, precision: str, role: str, values: dict[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
    opened = built.sessions[precision, role]
    found: list[NDArray[np.float32]] = opened.run(None, {item.name: values[item.name] for item in opened.get_inputs()})
    return found


def inputs(built: Built, count: int, seed: int) -> dict[str, NDArray[Any]]:
    moments = example_moments(built.network.spec, count, seed=seed)
    (columns,) = outputs(built, "fp32", "spectrogram", {"samples": moments.own})
    return {"frames": moments.frames, "samples": moments.own, "columns": columns}


def difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype == np.float32
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-6))


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 5))
@pytest.mark.parametrize("role", ROLES)
def test_reduced_graphs_are_the_float32_graph_within_what_they_lose(
    built: Built, role: str, seed: int, count: int
) -> None:
    values = inputs(built, count, seed)
    expected = outputs(built, "fp32", role, values)
    for precision, largest in (("fp16", LARGEST_HALF), ("int8", LARGEST_INT8)):
        for found, wanted in zip(outputs(built, precision, role, values), expected, strict=True):
            assert difference(found, wanted) <= largest, (precision, role)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 3))
def test_eight_bits_in_torch_are_those_of_the_graph(built: Built, seed: int, count: int) -> None:
    values = inputs(built, count, seed)
    for role, tower, name in (
        ("frame", built.network.frame_tower, "frames"),
        ("audio", built.network.audio_tower, "columns"),
    ):
        quantised = quantised_tower(fold_batch_norms(tower), built.ranges.towers[role])
        with torch.no_grad():
            expected = quantised(torch.from_numpy(values[name])).numpy()
        assert difference(outputs(built, "int8", role, values)[0], expected) <= LARGEST_TO_TORCH_INT8


def test_half_arithmetic_throughout_stays_within_the_same_limit(built: Built) -> None:
    """ONNX Runtime's CPU provider may keep float32 between layers; torch rounds every one, as a GPU does."""
    values = inputs(built, 4, 7)
    for role, tower, name in (
        ("frame", built.network.frame_tower, "frames"),
        ("audio", built.network.audio_tower, "columns"),
    ):
        with torch.no_grad():
            found = half_tower(fold_batch_norms(tower))(torch.from_numpy(values[name])).numpy()
        assert difference(found, outputs(built, "fp32", role, values)[0]) <= LARGEST_HALF


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_hostile_inputs_give_probabilities(built: Built, precision: str) -> None:
    spec = built.network.spec
    frames = np.stack([np.zeros((128, 128, 3)), np.full((128, 128, 3), 255)]).astype(np.uint8)
    samples = np.zeros((2, spec.spectrogram.clip_samples), np.float32)
    samples[1, ::2], samples[1, 1::2] = 1.0, -1.0
    values, score = outputs(built, precision, "pair", {"frames": frames, "samples": samples})
    assert np.isfinite(values).all()
    assert values.min() >= 0
    assert np.array_equal(score, values.max(axis=(1, 2)))
    assert score.max() <= 1


def test_every_file_is_what_devices_read(built: Built) -> None:
    assert {key for key in built.models if key[0] != "fp32"} == {(p, r) for p in ("fp16", "int8") for r in ROLES}
    for (precision, role), model in built.models.items():
        onnx.checker.check_model(model, full_check=True)
        assert [(item.domain, item.version) for item in model.opset_import] == [("", OPSET)]
        assert model.ir_version <= LARGEST_IR_VERSION
        assert not model.functions
        assert {node.op_type for node in model.graph.node} <= TENSORRT_OPERATORS
        assert file_name(model) == (f"{role}.onnx" if precision == "fp32" else f"{role}.{precision}.onnx")
        found = metadata(model)
        assert found[PRECISION_KEY] == precision
        assert ModelSpec.from_json(found[SPEC_KEY], origin="here") == exported_spec(built.network)
        for item in [*model.graph.input, *model.graph.output]:
            expected = onnx.TensorProto.UINT8 if item.name == "frames" else onnx.TensorProto.FLOAT
            assert item.type.tensor_type.elem_type == expected, item.name
            # A stretch of the track becomes several vectors: theirs is another size.
            label = "" if (role, item.name) == ("audio", "vector") else "batch"
            assert item.type.tensor_type.shape.dim[0].dim_param == label


def types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    found = {
        item.name: item.type.tensor_type.elem_type for item in [*inferred.value_info, *inferred.input, *inferred.output]
    }
    return found | {item.name: item.data_type for item in inferred.initializer}


def test_half_where_it_is_safe_and_float32_where_it_is_not(built: Built) -> None:
    model = built.models["fp16", "pair"]
    kinds = types(model)
    for node in model.graph.node:
        kind = kinds[node.output[0]]
        if node.op_type == "Conv":
            is_spectrogram = len(kinds) and any(
                len(i.dims) == 3 for i in model.graph.initializer if i.name == node.input[1]
            )
            assert kind == (onnx.TensorProto.FLOAT if is_spectrogram else onnx.TensorProto.FLOAT16), node.name
        if node.op_type in {"Relu", "MaxPool", "Gemm"}:
            assert kind == onnx.TensorProto.FLOAT16, node.name
        if node.op_type in {"Log", "Sigmoid", "Einsum", "ReduceSum"}:
            assert kind == onnx.TensorProto.FLOAT, node.name


def constants(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """By name."""
    values = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type == "Constant"]
    return values | {node.output[0]: numpy_helper.to_array(node.attribute[0].t) for node in nodes}


def zero_points(model: onnx.ModelProto) -> list[tuple[str, int]]:
    """Type and value of the zero point of every quantisation."""
    values = constants(model)
    zeros = [values[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    return [(str(zero.dtype), int(zero)) for zero in zeros]


def test_explicit_pairs_are_unsigned_and_weights_symmetric_per_channel(built: Built) -> None:
    model = built.models["int8", "pair"]
    values = constants(model)
    made_by = {node.output[0]: node for node in model.graph.node}
    pairs = [node for node in model.graph.node if node.op_type in {"QuantizeLinear", "DequantizeLinear"}]
    assert all((values[node.input[1]] > 0).all() for node in pairs)
    # Both towers' inputs have both signs, all that follows is behind a ReLU.
    assert sorted(set(zero_points(model))) == [("uint8", 0), ("uint8", 128)]
    assert zero_points(model).count(("uint8", 128)) == 2
    quantised = 0
    for conv in (node for node in model.graph.node if node.op_type == "Conv"):
        weight = made_by.get(conv.input[1])
        if weight is None or weight.op_type != "DequantizeLinear":
            continue
        quantised += 1
        stored = values[weight.input[0]]
        assert stored.dtype == np.int8
        assert np.abs(stored.astype(int)).max(axis=(1, 2, 3)).max() == 127
        assert stored.min() >= -127
        assert not values[weight.input[2]].any()
        assert values[weight.input[1]].shape == (stored.shape[0],)
        assert made_by[conv.input[0]].op_type == "DequantizeLinear"
        assert values[conv.input[2]].dtype == np.float32  # the bias is not quantised
    assert quantised == sum(len(tower) - 1 for tower in built.ranges.towers.values())


def test_onnxruntime_computes_in_eight_bits(built: Built, tmp_path: Any) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    for role in ("frame", "audio"):
        onnxruntime.InferenceSession(built.models["int8", role].SerializeToString(), options)
        kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
        assert kinds.count("QLinearConv") == len(built.ranges.towers[role]) - 1
        # One way into eight bits, one way out, and no ReLU of its own in between.
        assert [kinds.count(kind) for kind in ("QuantizeLinear", "DequantizeLinear", "Relu")] == [1, 1, 0]


def test_tensorrt_is_given_one_signed_pair_and_the_values_stay(built: Built) -> None:
    for role in ("frame", "audio"):
        model = onnx.ModelProto()
        model.CopyFrom(built.models["int8", role])
        before = len(zero_points(model))
        drop_repeated_pairs(model)
        # All but the last one of a tower, behind which nothing is quantised.
        assert before - len(zero_points(model)) == len(built.ranges.towers[role]) - 2
        values = inputs(built, 3, 11)
        # This graph computes in float32 here, and may fall on the other side of a step.
        expected = outputs(built, "int8", role, values)[0]
        assert difference(run(model, values), expected) <= LARGEST_TO_TORCH_INT8
        scales, weights = pair_scales(model), weight_scales(model)
        zeros = [zero for _, zero in zero_points(model)]
        make_symmetric(model)
        onnx.checker.check_model(model, full_check=True)
        assert set(zero_points(model)) == {("int8", 0)}
        wider = [scale * (1.0 if zero == 128 else 255 / 127) for scale, zero in zip(scales, zeros, strict=True)]
        assert pair_scales(model) == pytest.approx(wider, rel=1e-6)
        assert weight_scales(model) == weights
        assert difference(run(model, values), expected) <= LARGEST_INT8


def pair_scales(model: onnx.ModelProto) -> list[float]:
    """Of every quantisation."""
    values = constants(model)
    return [float(values[node.input[1]]) for node in model.graph.node if node.op_type == "QuantizeLinear"]


def weight_scales(model: onnx.ModelProto) -> list[list[float]]:
    """Of every weight, by channel."""
    values = constants(model)
    dequantised = [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    return [values[node.input[1]].tolist() for node in dequantised if values[node.input[1]].ndim]


def run(model: onnx.ModelProto, values: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """The only output of a graph."""
    opened = session(model)
    (found,) = opened.run(None, {item.name: values[item.name] for item in opened.get_inputs()})
    return np.asarray(found)


@pytest.mark.parametrize("largest", [1.0, 7.3])
def test_levels_hold_what_they_are_for(largest: float) -> None:
    values = torch.linspace(-largest, largest, 1001)
    for is_rectified in (False, True):
        levels = Levels.of(largest, is_rectified=is_rectified)
        held = levels.pass_through(values.relu() if is_rectified else values)
        assert (held - (values.relu() if is_rectified else values)).abs().max() <= levels.scale / 2 + 1e-6
        assert len(held.unique()) == (256 if is_rectified else 255)
        assert levels.pass_through(torch.zeros(1)) == 0


def test_zero_points_that_tensorrt_cannot_have_are_refused(built: Built) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(built.models["int8", "frame"])
    name = next(node.input[2] for node in model.graph.node if node.op_type == "QuantizeLinear")
    for item in model.graph.initializer:
        if item.name == name:
            item.CopyFrom(numpy_helper.from_array(np.array(7, np.uint8), name))
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output[0] == name:
            node.attribute[0].t.CopyFrom(numpy_helper.from_array(np.array(7, np.uint8)))
    with pytest.raises(AvolError, match="zero point 7, which TensorRT cannot have"):
        make_symmetric(model)


def test_pairs_of_other_scales_stay(built: Built) -> None:
    ranges = {name: 1.0 + number for number, name in enumerate(built.ranges.towers["frame"])}
    towers = {**built.ranges.towers, "frame": ranges}
    other = Ranges(weights_sha256="", method="", source="", towers=towers)
    graph = next(
        g for g in model_graphs(built.network, built.network.spec, precision="int8", ranges=other) if g.role == "frame"
    )
    model = graph_to_onnx(graph, built.network.spec, precision="int8")
    scales = [item for item in model.graph.initializer if not item.dims and item.data_type == onnx.TensorProto.FLOAT]
    for number, item in enumerate(scales):
        item.CopyFrom(numpy_helper.from_array(np.float32(0.01 * (number + 1)), item.name))
    for number, node in enumerate(n for n in model.graph.node if n.op_type == "QuantizeLinear"):
        fresh = f"fresh{number}"
        model.graph.initializer.append(numpy_helper.from_array(np.float32(0.01 * (number + 1)), fresh))
        node.input[1] = fresh
    before = len(model.graph.node)
    drop_repeated_pairs(model)
    assert len(model.graph.node) == before


def test_ranges_of_another_tower_are_refused(built: Built) -> None:
    folded = fold_batch_norms(built.network.frame_tower)
    assert range_names(folded) == list(built.ranges.towers["frame"])
    with pytest.raises(AvolError, match="calibrate anew"):
        quantised_tower(folded, {"input": 1.0})


def test_weights_that_half_precision_cannot_hold(built: Built) -> None:
    with tiny_preset():
        network = tiny_network()
        with torch.no_grad():
            network.frame_tower.convs[0].weight.fill_(6e4)
            network.frame_tower.convs[1].weight.fill_(1e3)
        with pytest.raises(AvolError, match=r"too large for half precision"):
            build_models(network, exported_spec(network), precision="fp16", roles=("frame",))


def test_a_silent_channel_has_a_scale(built: Built) -> None:
    """A channel of nothing but zeros, which training can make, must not divide by zero."""
    with tiny_preset():
        network = tiny_network()
        with torch.no_grad():
            network.frame_tower.convs[0].weight[3].zero_()
        tower = quantised_tower(fold_batch_norms(network.frame_tower), built.ranges.towers["frame"])
        with torch.no_grad():
            assert torch.isfinite(tower(torch.from_numpy(example_moments(network.spec, 2).frames))).all()
