"""Engines for TensorRT and TensorRT-RTX out of the ONNX graphs of a model folder, each with its side file."""

from __future__ import annotations

import hashlib
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from avol.export.engines_build import BuiltPlan, build_plan
from avol.export.engines_cache import cache_path, default_folder
from avol.export.engines_config import check_options
from avol.export.engines_device import Device, cuda_version, current_device
from avol.export.engines_graph import SourceGraph, profiles_of, read_graph
from avol.export.engines_layers import check_types
from avol.export.engines_modules import Builder, choose_builder, needs_gpu
from avol.export.engines_options import EngineOptions, check_batches
from avol.runtime.atomic import AtomicOutput, commit_all, write_error
from avol.runtime.backends.contract import ALWAYS_FLOAT32
from avol.runtime.errors import AvolError
from avol.runtime.plan_files import PRECISIONS, PlanInfo, ShapeRange, plan_file_name, plan_info_path, read_plan_info

GRAPH_NAME = re.compile(rf"(?P<role>[^.]+)(?:\.(?P<precision>{'|'.join(PRECISIONS)}))?\.onnx")


@dataclass(frozen=True, kw_only=True)
class BuiltEngine:
    """An engine that was written.

    Attributes:
        path: the plan; its side file is beside it.
        info: what the side file says.
        types: how many layers compute in the reduced type, for the user; empty for FP32.
        types_origin: who told the layers: ``engine inspector`` or ``build log``.
        build_seconds: how long it took.
    """

    path: Path
    info: PlanInfo
    types: str
    types_origin: str
    build_seconds: float


def build_engines(
    folder: Path,
    *,
    precisions: tuple[str, ...],
    engine: str,
    batches: tuple[int, ...],
    options: EngineOptions,
    report: Callable[[str], None] | None = None,
) -> list[BuiltEngine]:
    """Build an engine of every graph in a model folder, in every precision that is asked for.

    ``<role>.onnx`` is the FP32 graph, ``<role>.fp16.onnx`` and ``<role>.int8.onnx`` the others. A role that has no
    graph of a reduced precision stays in FP32 there: its FP32 engine is built with the others.

    Args:
        folder: of the model.
        precisions: of ``fp32``, ``fp16``, ``int8``.
        engine: ``auto``, ``none``, ``tensorrt`` or ``tensorrt-rtx``.
        batches: batch sizes that the engines are built for.
        options: how.
        report: is given lines for the user; None: they go to standard error.

    Returns:
        What was written, in the order of building; empty where no engines are built (``none``, or nothing to build
        with under ``auto``, which is reported).

    Raises:
        AvolError: an argument does not fit, the folder has no graphs, or a graph cannot be built. Engines that were
            finished before remain; of the one at work nothing does.
    """
    report = report or _to_stderr
    if unknown := set(precisions) - set(PRECISIONS):
        raise AvolError(f"precision: {sorted(unknown)[0]!r} is unknown; take one of {', '.join(PRECISIONS)}.")
    device = current_device()
    builder = prepare_builder(engine, batches, options, device, report)
    if builder is None:
        return []
    batches = check_batches(batches)
    graphs = choose_graphs(folder, precisions, options.roles, report)
    sources = [read_graph(path, role, precision) for role, precision, path in graphs]
    if len({source.spec.weights_sha256 for source in sources}) > 1:
        raise AvolError(f"{folder}: holds graphs of several models; export into an empty folder.")
    if options.dla_core is not None and all(source.precision == "fp32" for source in sources):
        raise AvolError(f"{folder}: DLA computes in FP16 and INT8 alone; take --engine-precision fp16 or int8.")
    on_gpu = replace(options, dla_core=None)  # DLA computes in FP16 and INT8 alone
    by_precision = {name: on_gpu if name == "fp32" else options for name in PRECISIONS}
    return [_build_one(builder, source, batches, by_precision[source.precision], device, report) for source in sources]


def prepare_builder(
    engine: str,
    batches: tuple[int, ...],
    options: EngineOptions,
    device: Device | None,
    report: Callable[[str], None],
) -> Builder | None:
    """The builder, after all that can be said against a request before there are graphs; None: no engines are built.

    Raises:
        AvolError: it is not installed, lacks a GPU or an option, or the options do not go together.
    """
    batches = check_batches(batches)
    builder = choose_builder(engine, device, report)
    if builder is not None:
        check_options(builder, options)
        if options.dla_core is not None and len(batches) > 1 and not options.profile_per_batch:
            raise AvolError("DLA takes one fixed batch size: give --batch a single one.")
    return builder


def choose_graphs(
    folder: Path, precisions: tuple[str, ...], roles: tuple[str, ...], report: Callable[[str], None]
) -> list[tuple[str, str, Path]]:
    """Role, precision and file of every graph to build.

    Args:
        folder: of the model.
        precisions: which are wanted.
        roles: which are wanted; none: all.
        report: is told which roles stay in FP32.

    Raises:
        AvolError: there are no graphs, none of a wanted precision, or none of a wanted role.
    """
    found = {
        (match["role"], match["precision"] or "fp32"): path
        for path in sorted(folder.glob("*.onnx"))
        if (match := GRAPH_NAME.fullmatch(path.name))
    }
    if not found:
        raise AvolError(f"{folder}: holds no graphs to build engines from; name a folder that avol export wrote.")
    known = sorted({role for role, _ in found})
    if missing := [role for role in roles if role not in known]:
        raise AvolError(f"{folder}: holds no graph {missing[0]}; it has {', '.join(known)}.")
    wanted = [role for role in known if not roles or role in roles]
    chosen: dict[tuple[str, str], Path] = {}
    for precision in sorted(set(precisions), key=PRECISIONS.index):
        present = [role for role in wanted if (role, precision) in found]
        if not present and not set(wanted) <= set(ALWAYS_FLOAT32):
            raise AvolError(
                f"{folder}: holds no {precision} graph; export it with avol export --precision {precision}."
            )
        others = [role for role in wanted if role not in present and (role, "fp32") in found]
        if others:
            report(f"no {precision} graph of {', '.join(others)}: built in fp32")
        chosen |= {(role, precision): found[role, precision] for role in present}
        chosen |= {(role, "fp32"): found[role, "fp32"] for role in others}
    return [(role, precision, path) for (role, precision), path in chosen.items()]


def outdated_plans(folder: Path) -> list[Path]:
    """Engines in a model folder that were built from other graphs than those that lie there, or do not say from what.

    An export replaces graphs; engines of the ones before stay, and would run.
    """
    outdated = []
    for plan in sorted(folder.glob("*.plan")):
        try:
            info = read_plan_info(plan)
            graph = folder / (f"{info.role}.onnx" if info.precision == "fp32" else f"{info.role}.{info.precision}.onnx")
            if hashlib.sha256(graph.read_bytes()).hexdigest() != info.onnx_sha256:
                outdated.append(plan)
        except (AvolError, OSError):
            outdated.append(plan)
    return outdated


def _build_one(
    builder: Builder,
    source: SourceGraph,
    batches: tuple[int, ...],
    options: EngineOptions,
    device: Device | None,
    report: Callable[[str], None],
) -> BuiltEngine:
    plan = source.path.with_name(plan_file_name(source.role, source.precision, builder.name))
    profiles = profiles_of(source, batches, profile_per_batch=options.profile_per_batch)
    cuda = cuda_version(builder.name)
    cache = None
    if needs_gpu(builder) and device is not None:
        cache = cache_path(options.timing_caches or default_folder(), builder, device, cuda)
    with AtomicOutput(plan) as plan_output, AtomicOutput(plan_info_path(plan)) as info_output:
        started = time.monotonic()
        built = build_plan(builder, source, profiles, options, timing_cache=cache, has_driver=device is not None)
        seconds = time.monotonic() - started
        types = check_types(plan, source.precision, built.layers)
        info = _describe(builder, source, built, profiles, options, device, cuda)
        for output, content in ((plan_output, built.data), (info_output, (info.to_json(indent=2) + "\n").encode())):
            try:
                output.temporary.write_bytes(content)
            except OSError as error:
                raise write_error(output.path, error) from None
        commit_all(plan_output, info_output)
    for note in built.notes:
        report(note)
    if options.dla_core is not None:
        report(f"{plan.name}: on the GPU, not on DLA: {', '.join(built.gpu_layers) or 'nothing'}")
    return BuiltEngine(path=plan, info=info, types=types, types_origin=built.layers_origin, build_seconds=seconds)


def _describe(
    builder: Builder,
    source: SourceGraph,
    built: BuiltPlan,
    profiles: tuple[dict[str, ShapeRange], ...],
    options: EngineOptions,
    device: Device | None,
    cuda: str,
) -> PlanInfo:
    # What TensorRT-RTX builds is tied to no GPU, wherever it is built.
    tied = device if needs_gpu(builder) else None
    return PlanInfo(
        plan_sha256=hashlib.sha256(built.data).hexdigest(),
        onnx_sha256=source.sha256,
        role=source.role,
        precision=source.precision,
        builder=builder.name,
        builder_version=builder.version,
        cuda_version=cuda,
        driver_version=device.driver_version if device else None,
        gpu_name=tied.gpu_name if tied else None,
        compute_capability=tied.compute_capability if tied else None,
        profiles=profiles,
        inputs=built.inputs,
        outputs=built.outputs,
        spec=source.spec,
        options={**options.as_record(), "typing": builder.typing},
    )


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")


__all__ = ["BuiltEngine", "EngineOptions", "build_engines", "choose_graphs", "outdated_plans"]
