"""A builder's configuration: options, precision on old releases, shapes, DLA."""

from __future__ import annotations

from typing import Any

from avol.export.engines_graph import SourceGraph
from avol.export.engines_modules import FP16_FLAG, Builder
from avol.export.engines_options import EngineOptions
from avol.runtime.errors import AvolError
from avol.runtime.plan_files import ShapeRange


def check_options(builder: Builder, options: EngineOptions) -> None:
    """Refuse what this builder, or this release of it, does not have.

    Raises:
        AvolError: an option is among that.
    """
    if builder.name == "tensorrt-rtx":
        if options.version_compatible or options.hardware_compatibility != "none":
            raise AvolError(
                f"{builder.product}: engines run on all its GPUs (Ampere and later) and on this release alone, and no "
                "option changes that; leave hardware and version compatibility out, or take --engine tensorrt."
            )
        if options.dla_core is not None:
            raise AvolError(f"{builder.product} builds for no DLA core; leave --dla out, or take --engine tensorrt.")
    elif options.hardware_compatibility == "same-compute-capability" and not hasattr(
        builder.module.HardwareCompatibilityLevel, "SAME_COMPUTE_CAPABILITY"
    ):
        raise AvolError(
            f"{builder.product} knows no engines for one compute capability; "
            "take --engine-hardware ampere-plus or none."
        )


def set_options(builder: Builder, config: Any, options: EngineOptions) -> None:  # noqa: ANN401 (bindings)
    """Hand over the options that do not depend on the graph, after :func:`check_options`."""
    trt = builder.module
    if not options.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if options.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatibility == "ampere-plus":
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    elif options.hardware_compatibility == "same-compute-capability":
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY


def set_precision(builder: Builder, config: Any, network: Any, precision: str) -> str:  # noqa: ANN401 (bindings)
    """The fallback for TensorRT before 10.12: flags allow a type, and what the graph holds in float32 is pinned.

    Gives a line for the user; empty where the graph's own types are obeyed.
    """
    if builder.typing != FP16_FLAG or precision == "fp32":
        return ""
    trt = builder.module
    if precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)
        return f"{builder.product} builds INT8 with the INT8 flag: Q/DQ nodes say where."
    config.set_flag(trt.BuilderFlag.FP16)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    for number in range(network.num_layers):
        layer = network.get_layer(number)
        if layer.type in {trt.LayerType.CONSTANT, trt.LayerType.SHAPE, trt.LayerType.CAST}:
            continue
        if all(layer.get_output(n).dtype == trt.DataType.FLOAT for n in range(layer.num_outputs)):
            layer.precision = trt.DataType.FLOAT
    return f"{builder.product} builds FP16 with the {FP16_FLAG}: float32 layers of the graph are pinned."


def add_profile(native: Any, config: Any, shapes: dict[str, ShapeRange], source: SourceGraph) -> None:  # noqa: ANN401
    """Add one optimisation profile."""
    profile = native.create_optimization_profile()
    for name, (smallest, best, largest) in shapes.items():
        profile.set_shape(name, smallest, best, largest)
    if config.add_optimization_profile(profile) < 0:
        raise AvolError(f"{source.path}: TensorRT refuses the shapes {shapes}; choose other batch sizes.")


def set_dla(
    builder: Builder,
    native: Any,  # noqa: ANN401 (bindings)
    config: Any,  # noqa: ANN401 (bindings)
    network: Any,  # noqa: ANN401 (bindings)
    source: SourceGraph,
    options: EngineOptions,
) -> tuple[str, ...]:
    """Put layers on a DLA core; gives those that stay on the GPU."""
    if options.dla_core is None:
        return ()
    cores = native.num_DLA_cores
    if options.dla_core >= cores:
        raise AvolError(
            f"DLA core {options.dla_core}: {builder.product} finds {cores} of them here; "
            "DLA is on Jetson Orin and Xavier, with a TensorRT that supports it. Leave --dla out to use the GPU."
        )
    trt = builder.module
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = options.dla_core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    layers = [network.get_layer(number) for number in range(network.num_layers)]
    return tuple(layer.name for layer in layers if not config.can_run_on_DLA(layer))
