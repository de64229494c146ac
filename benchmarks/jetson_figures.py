"""What a Jetson could reach at best, computed from its data sheet: nothing here was measured on one.

    python benchmarks/jetson_figures.py [MODEL]

A layer takes no less than the larger of its operations over the tensor cores' rate and its bytes over the memory's rate
(the roofline), and no less than a kernel's launch. Activations are taken to be written and read once per layer; where
they stay in the cache the memory is faster, and where a kernel does not fill the GPU the tensor cores are slower.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import shape_inference

from avol.runtime.model_folder import bundled_model_folder

# Operations (a multiplication or an addition) that a tensor core of the Ampere GPUs in Orin makes in a clock, dense.
OPERATIONS_PER_CLOCK = {"fp16": 512, "int8": 1024}
BYTES = {"fp16": 2, "int8": 1}
LAUNCH_SECONDS = 5e-6  # assumed, with a CUDA graph it is less
GRAPHS = ("frame", "audio")


@dataclass(frozen=True)
class Device:
    """From NVIDIA's data sheets: tensor cores, their clock in Hz at full power, bytes a second of memory."""

    name: str
    tensor_cores: int
    clock_hz: float
    bytes_per_second: float


DEVICES = (
    Device("Orin Nano 8 GB (25 W)", 32, 1.02e9, 102e9),
    Device("AGX Orin 64 GB (60 W)", 64, 1.3e9, 204.8e9),
)


@dataclass(frozen=True)
class Layer:
    """Operations for one pair, numbers moved for one pair, and numbers of weights."""

    operations: int
    activations: int
    weights: int


def layers_of(path: Path) -> list[Layer]:
    """Convolutions and matrix products of a graph; what stands between them is fused into them."""
    model = onnx.load(path)
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    graph = shape_inference.infer_shapes(model).graph
    values = [*graph.input, *graph.value_info, *graph.output]
    shapes = {v.name: [d.dim_value or 1 for d in v.type.tensor_type.shape.dim] for v in values}
    shapes |= {item.name: list(item.dims) for item in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type not in {"Conv", "Gemm", "MatMul"}:
            continue
        source, weight, result = (shapes[name] for name in (node.input[0], node.input[1], node.output[0]))
        per_output = math.prod(weight[1:]) if node.op_type == "Conv" else source[-1]
        outputs = math.prod(result)
        found.append(Layer(2 * outputs * per_output, outputs + math.prod(source), math.prod(weight)))
    return found


def seconds_of(layers: list[Layer], device: Device, precision: str, batch: int) -> float:
    """The least time that a batch can take."""
    rate = device.tensor_cores * device.clock_hz * OPERATIONS_PER_CLOCK[precision]
    return sum(
        max(
            batch * layer.operations / rate,
            BYTES[precision] * (batch * layer.activations + layer.weights) / device.bytes_per_second,
            LAUNCH_SECONDS,
        )
        for layer in layers
    )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=bundled_model_folder())
    folder = parser.parse_args().model
    layers = [layer for name in GRAPHS for layer in layers_of(folder / f"{name}.onnx")]
    operations = sum(layer.operations for layer in layers)
    print(f"{len(layers)} layers, {operations / 1e9:.2f} billion operations a pair\n")
    print("| | precision | batch 1: no less than | batch 32: no more than |")
    print("|---|---|---|---|")
    for device in DEVICES:
        for precision in OPERATIONS_PER_CLOCK:
            one, many = (seconds_of(layers, device, precision, batch) for batch in (1, 32))
            print(f"| {device.name} | {precision} | {1e6 * one:.0f} µs | {32 / many:,.0f} pairs/s |")


if __name__ == "__main__":
    main()
