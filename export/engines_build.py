"""One graph to one engine: every call to a builder, ``tensorrt`` or ``tensorrt_rtx``, through one handle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avol.export.engines_cache import attach_cache, keep_cache
from avol.export.engines_config import add_profile, set_dla, set_options, set_precision
from avol.export.engines_graph import SourceGraph
from avol.export.engines_layers import EngineLayer, layers_from_json, layers_from_log
from avol.export.engines_log import BuildLog, BuildProgress, as_native, run_interruptibly
from avol.export.engines_modules import STRONG_TYPES, Builder
from avol.export.engines_options import EngineOptions
from avol.runtime.errors import AvolError
from avol.runtime.plan_files import ShapeRange, TensorInfo

# NumPy's names of TensorRT's types.
DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}
OUT_OF_MEMORY = ("out of memory", "outofmemory", "memoryallocation", "insufficient memory")
LONGEST_CLAUSE = 300  # characters of what a library says, in a message of one line


@dataclass(frozen=True, kw_only=True)
class BuiltPlan:
    """A finished engine.

    Attributes:
        data: the serialised engine.
        layers: its layers.
        layers_origin: who told them: the ``engine inspector``, or the ``build log`` where no driver can open an engine.
        inputs, outputs: its tensors.
        gpu_layers: with a DLA core, the layers that fell back to the GPU.
        notes: lines for the user.
    """

    data: bytes
    layers: list[EngineLayer]
    layers_origin: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    gpu_layers: tuple[str, ...]
    notes: tuple[str, ...]


def build_plan(
    builder: Builder,
    source: SourceGraph,
    profiles: tuple[dict[str, ShapeRange], ...],
    options: EngineOptions,
    *,
    timing_cache: Path | None,
    has_driver: bool,
) -> BuiltPlan:
    """Build an engine.

    Args:
        builder: which TensorRT.
        source: the graph.
        profiles: optimisation profiles, each from input name to shapes.
        options: how.
        timing_cache: file to start from and to keep what is measured in; None: none.
        has_driver: whether engines can be opened here.

    Raises:
        AvolError: the parser does not take the graph, an option does not fit, or the build fails.
        KeyboardInterrupt: passed on as soon as the builder has stopped.
    """
    trt, log = builder.module, as_native(builder.module.ILogger, BuildLog())
    native = trt.Builder(log)
    network = native.create_network(_network_flags(builder))
    _parse(builder, network, source, log)
    config = native.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # or the engine tells no types
    set_options(builder, config, options)
    notes = [set_precision(builder, config, network, source.precision)]
    for profile in profiles:
        add_profile(native, config, profile, source)
    gpu_layers = set_dla(builder, native, config, network, source, options)
    if timing_cache is not None:
        notes.append(attach_cache(config, timing_cache))
    progress = as_native(trt.IProgressMonitor, BuildProgress(f"{source.role} {source.precision}"))
    config.progress_monitor = progress
    try:
        data = run_interruptibly(lambda: native.build_serialized_network(network, config), progress.stop)
    finally:
        progress.close()
    if data is None:
        raise _build_error(builder, source, log)
    if timing_cache is not None:
        notes.append(keep_cache(config, timing_cache))
    plan = bytes(data)
    logged = layers_from_log(log.layers)
    inspected = _inspect(builder, plan, source, options, log, must_open=not logged) if has_driver else None
    return BuiltPlan(
        data=plan,
        layers=logged if inspected is None else inspected,
        layers_origin="build log" if inspected is None else "engine inspector",
        inputs=_tensors(network.get_input, network.num_inputs),
        outputs=_tensors(network.get_output, network.num_outputs),
        gpu_layers=gpu_layers,
        notes=tuple(note for note in notes if note),
    )


def _network_flags(builder: Builder) -> int:
    # The bit is 1 in TensorRT 10 and 0 in 11.
    flag = builder.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    return 1 << int(flag) if builder.typing == STRONG_TYPES else 0


def _parse(builder: Builder, network: Any, source: SourceGraph, log: BuildLog) -> None:  # noqa: ANN401 (bindings)
    parser = builder.module.OnnxParser(network, log)
    if parser.parse(source.model.SerializeToString()):
        return
    said = [parser.get_error(number) for number in range(parser.num_errors)]
    clauses = [f"node {error.node_name() or '?'} ({error.node_operator()}): {_clause(error.desc())}" for error in said]
    raise AvolError(
        f"{source.path}: {builder.product} does not take this graph: {'; '.join(clauses) or _last(log.errors)}. "
        "Export the model again, or leave this graph to ONNX Runtime."
    )


def _inspect(
    builder: Builder, plan: bytes, source: SourceGraph, options: EngineOptions, log: BuildLog, *, must_open: bool
) -> list[EngineLayer] | None:
    """Layers by the engine inspector; None: the engine does not open on this GPU, as TensorRT-RTX's need not."""
    trt = builder.module
    log.errors.clear()
    runtime = trt.Runtime(log)
    if options.version_compatible:
        runtime.engine_host_code_allowed = True  # such an engine brings its own runtime along
    if options.dla_core is not None:
        runtime.DLA_core = options.dla_core
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None and builder.name == "tensorrt-rtx" and not must_open:
        return None
    if engine is None:
        raise AvolError(
            f"{source.path}: {builder.product} built an engine that it does not open here: {_last(log.errors)}."
        )
    inspector = engine.create_engine_inspector()
    return layers_from_json(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def _tensors(get: Callable[[int], Any], count: int) -> tuple[TensorInfo, ...]:
    tensors = [get(number) for number in range(count)]
    return tuple(
        TensorInfo(name=tensor.name, dtype=DTYPES[tensor.dtype.name], shape=tuple(tensor.shape)) for tensor in tensors
    )


def _build_error(builder: Builder, source: SourceGraph, log: BuildLog) -> AvolError:
    everything = " ".join(log.errors).lower()
    if any(word in everything for word in OUT_OF_MEMORY):
        return AvolError(
            f"{source.path}: the GPU has not the memory to build this engine ({_last(log.errors)}); "
            "end what else uses it, or take smaller --batch sizes or a --workspace limit."
        )
    return AvolError(f"{source.path}: {builder.product} does not build it: {_last(log.errors)}.")


def _last(messages: list[str]) -> str:
    """The first of the last errors: what follows it are consequences."""
    counted = Counter(_clause(message) for message in messages)
    return next(iter(counted), "it does not say why")


def _clause(message: str) -> str:
    line = " ".join(message.split()).rstrip(".")
    return line if len(line) <= LONGEST_CLAUSE else f"{line[:LONGEST_CLAUSE]}…"
