"""What a model's layers compute and move, as ONNX Runtime sees them: the upper half of a roofline."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avol.runtime.backends.contract import ALWAYS_FLOAT32, TENSORS, graph_path, tensor_dtype, tensor_shape
from avol.runtime.backends.onnx_sessions import import_onnxruntime, open_session
from avol.runtime.spec import ModelSpec

BYTES = {"fp32": 4, "fp16": 2, "int8": 1}
# Under which names ONNX Runtime runs convolutions and matrix products. What stands between them moves along with them.
CONVOLUTIONS = frozenset({"Conv", "FusedConv", "QLinearConv", "ConvInteger"})
PRODUCTS = frozenset({"Gemm", "FusedGemm", "QGemm", "MatMul", "FusedMatMul", "MatMulInteger", "QLinearMatMul"})


@dataclass(frozen=True)
class Layer:
    """A convolution or matrix product.

    Attributes:
        operations: multiplications and additions for one pair.
        activations: numbers read and written for one pair.
        weights: numbers of weights.
        precision: ``fp32``, ``fp16`` or ``int8``; bias and scales are left out.
    """

    operations: int
    activations: int
    weights: int
    precision: str

    def seconds(self, batch: int, operations_per_second: Mapping[str, float], bytes_per_second: float) -> float:
        """The least that a batch can take: the larger of what computing and what moving takes."""
        moved = BYTES[self.precision] * (batch * self.activations + self.weights)
        return max(batch * self.operations / operations_per_second[self.precision], moved / bytes_per_second)


def model_layers(folder: Path, spec: ModelSpec, precision: str, roles: Sequence[str]) -> list[Layer]:
    """The layers of several graphs.

    Raises:
        AvolError: a graph is missing or not usable.
    """
    return [layer for role in roles for layer in layers_of(folder, spec, precision, role)]


def layers_of(folder: Path, spec: ModelSpec, precision: str, role: str) -> list[Layer]:
    """The layers of one graph: it runs once on zeros, on the CPU, and ONNX Runtime says what it ran and on what shapes.

    Args:
        folder: of the model.
        spec: of the model.
        precision: of the graph's file.
        role: of the graph.

    Raises:
        AvolError: the graph is missing or not usable, or there is no ONNX Runtime.
    """
    is_half = precision == "fp16" and role not in ALWAYS_FLOAT32  # which a CPU computes in float32
    layers = []
    for arguments in _profile(folder, spec, precision, role):
        operator = arguments["op_name"]
        if operator not in CONVOLUTIONS | PRODUCTS:
            continue
        inputs = [next(iter(tensor.items())) for tensor in arguments["input_type_shape"] if tensor]
        (_, result), (kind, source) = next(iter(arguments["output_type_shape"][0].items())), inputs[0]
        weight = next(shape for _, shape in inputs[1:] if len(shape) > 1)
        per_output = math.prod(weight[1:]) if operator in CONVOLUTIONS else source[-1]
        outputs = math.prod(result)
        layers.append(
            Layer(
                operations=2 * outputs * per_output,
                activations=outputs + math.prod(source),
                weights=math.prod(weight),
                precision="int8" if kind in ("uint8", "int8") else "fp16" if is_half else "fp32",
            )
        )
    return layers


def _profile(folder: Path, spec: ModelSpec, precision: str, role: str) -> list[dict[str, Any]]:
    """What ONNX Runtime notes of every node that it runs."""
    ort = import_onnxruntime()
    with tempfile.TemporaryDirectory() as name:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        # Fused and quantised as it is run, but in plain shapes; packed weights would have none.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.add_session_config_entry("session.disable_prepacking", "1")
        options.enable_profiling, options.profile_file_prefix = True, str(Path(name) / "profile")
        session = open_session(folder, role, precision, spec, options, ["CPUExecutionProvider"], batch=1)
        inputs = TENSORS[role][0]
        session.run(None, {n: np.zeros((1, *tensor_shape(n, spec)), tensor_dtype(n)) for n in inputs})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return [event["args"] for event in events if event["name"].endswith("_kernel_time")]


def graph_note(folder: Path, spec: ModelSpec, precision: str, role: str, key: str) -> str | None:
    """A line of a graph's metadata; None: it has no such line, or there is no such graph."""
    if not graph_path(folder, role, precision).is_file():
        return None
    session = open_session(
        folder, role, precision, spec, import_onnxruntime().SessionOptions(), ["CPUExecutionProvider"]
    )
    note: str | None = session.get_modelmeta().custom_metadata_map.get(key)
    return note
