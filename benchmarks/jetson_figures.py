"""What a Jetson could reach at best, computed from its data sheet: nothing here was measured on one.

    python benchmarks/jetson_figures.py [MODEL]

A layer takes no less than the larger of its operations over the tensor cores' rate and its bytes over the memory's rate
(the roofline), and no less than a kernel's launch. Activations are taken to be written and read once per layer; where
they stay in the cache the memory is faster, and where a kernel does not fill the GPU the tensor cores are slower.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from avol.runtime.backends.layers import Layer, model_layers
from avol.runtime.model_folder import bundled_model_folder, read_spec

# Operations (a multiplication or an addition) that a tensor core of the Ampere GPUs in Orin makes in a clock, dense.
OPERATIONS_PER_CLOCK = {"fp16": 512, "int8": 1024}
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


def bound_seconds(layers: list[Layer], device: Device, precision: str, batch: int) -> float:
    """The least time that a batch can take."""
    rates = {precision: device.tensor_cores * device.clock_hz * OPERATIONS_PER_CLOCK[precision]}
    same = (replace(layer, precision=precision) for layer in layers)
    return sum(max(layer.seconds(batch, rates, device.bytes_per_second), LAUNCH_SECONDS) for layer in same)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=bundled_model_folder())
    folder = parser.parse_args().model
    layers = model_layers(folder, read_spec(folder), "fp32", GRAPHS)
    operations = sum(layer.operations for layer in layers)
    print(f"{len(layers)} layers, {operations / 1e9:.2f} billion operations a pair\n")
    print("| | precision | batch 1: no less than | batch 32: no more than |")
    print("|---|---|---|---|")
    for device in DEVICES:
        for precision in OPERATIONS_PER_CLOCK:
            one, many = (bound_seconds(layers, device, precision, batch) for batch in (1, 32))
            print(f"| {device.name} | {precision} | {1e6 * one:.0f} µs | {32 / many:,.0f} pairs/s |")


if __name__ == "__main__":
    main()
