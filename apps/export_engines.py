"""The part of ``avol export`` that builds engines for TensorRT: its options, and what is printed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from avol.export.engines_options import (
    DEFAULT_BATCHES,
    ENGINES,
    HARDWARE_COMPATIBILITY,
    HIGHEST_OPTIMIZATION_LEVEL,
    EngineOptions,
)
from avol.runtime.plan_files import PRECISIONS

if TYPE_CHECKING:
    from avol.export.engines import BuiltEngine

MIB = 1 << 20


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avol export`` that are about engines."""
    group = parser.add_argument_group("engines (see docs/tensorrt.md)")
    group.add_argument(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="what builds engines (default: auto, which is tensorrt beside a GPU, else tensorrt-rtx, as installed)",
    )
    group.add_argument(
        "--engine-precision",
        type=_precisions,
        metavar="LIST",
        help="precisions of the engines (default: fp16 where there are such graphs, else fp32)",
    )
    group.add_argument(
        "--batch",
        type=_batches,
        default=DEFAULT_BATCHES,
        metavar="LIST",
        help="batch sizes of the engines (default: 1,8,32)",
    )
    group.add_argument(
        "--engine-graphs", type=_names, default=(), metavar="LIST", help="graphs to build, e.g. pair (default: all)"
    )
    group.add_argument(
        "--profile-per-batch", action="store_true", help="one profile of fixed shapes per batch size, not one for all"
    )
    group.add_argument(
        "--engine-hardware",
        choices=HARDWARE_COMPATIBILITY,
        default="none",
        help="other GPUs that the engines run on (default: none)",
    )
    group.add_argument(
        "--version-compatible", action="store_true", help="engines also run on later minor versions of TensorRT"
    )
    group.add_argument("--dla", type=int, metavar="CORE", help="build for a DLA core of a Jetson (one --batch size)")
    group.add_argument("--tf32", action="store_true", help="let FP32 layers multiply in TF32")
    group.add_argument(
        "--workspace", type=int, metavar="MIB", help="most memory of a layer at work (default: no limit)"
    )
    group.add_argument(
        "--optimization-level",
        type=int,
        choices=range(HIGHEST_OPTIMIZATION_LEVEL + 1),
        metavar="0..5",
        help="of the builder (default: its own)",
    )


def check_request(arguments: argparse.Namespace, folder: Path, planned: tuple[str, ...]) -> None:
    """Find out whether engines can be built as the arguments say, before anything long begins.

    Args:
        arguments: with what :func:`add_engine_arguments` defined.
        folder: of the model.
        planned: precisions of the graphs that are going to be written into it.

    Raises:
        AvolError: a builder, a GPU or graphs are missing, or the options do not go together.
    """
    from avol.export.engines import prepare_builder
    from avol.export.engines_device import current_device
    from avol.runtime.backends.contract import TENSORS
    from avol.runtime.errors import AvolError

    if arguments.engine == "none":
        return
    # Without engines under auto goes on; why is said when their turn comes.
    prepare_builder(arguments.engine, arguments.batch, _options(arguments), current_device(), lambda _: None)
    if unknown := [role for role in arguments.engine_graphs if role not in TENSORS]:
        raise AvolError(f"--engine-graphs: there is no graph {unknown[0]}; take of {', '.join(TENSORS)}.")
    for precision in arguments.engine_precision or ():
        if precision not in planned and not any(folder.glob(f"*.{precision}.onnx")):
            raise AvolError(
                f"--engine-precision: there are no {precision} graphs to build from; "
                + ("give --calibration DATA too." if precision == "int8" else f"add {precision} to --precision.")
            )


def build_requested(arguments: argparse.Namespace, folder: Path) -> list[BuiltEngine]:
    """Build the engines that the arguments ask for out of the graphs in a folder, and print a line for each.

    Args:
        arguments: with what :func:`add_engine_arguments` defined.
        folder: of the model.

    Raises:
        AvolError: as :func:`avol.export.engines.build_engines`.
    """
    if arguments.engine == "none":
        return []
    from avol.export.engines import build_engines

    precisions = arguments.engine_precision or (("fp16",) if any(folder.glob("*.fp16.onnx")) else ("fp32",))
    built = build_engines(
        folder, precisions=precisions, engine=arguments.engine, batches=arguments.batch, options=_options(arguments)
    )
    if built:
        info = built[0].info
        origin = "the engine inspector" if built[0].types_origin == "engine inspector" else "the builder's own log"
        print(f"engines by {info.builder} {info.builder_version} for {info.gpu_name or 'every GPU it supports'};")
        print(f"the types of their layers are told by {origin}; none of them has been run")
        width = max(len(engine.path.name) for engine in built) + 2
        for engine in built:
            size = engine.path.stat().st_size / 1e6
            print(f"{engine.path.name:<{width}}{size:>7.2f} MB{engine.build_seconds:>8.1f} s  {engine.types}".rstrip())
    return built


def _options(arguments: argparse.Namespace) -> EngineOptions:
    return EngineOptions(
        roles=arguments.engine_graphs,
        hardware_compatibility=arguments.engine_hardware,
        version_compatible=arguments.version_compatible,
        dla_core=arguments.dla,
        profile_per_batch=arguments.profile_per_batch,
        tf32=arguments.tf32,
        workspace_bytes=None if arguments.workspace is None else arguments.workspace * MIB,
        optimization_level=arguments.optimization_level,
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _precisions(text: str) -> tuple[str, ...]:
    names = _names(text)
    unknown = [name for name in names if name not in PRECISIONS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"{(unknown or [text])[0]!r} is not one of {', '.join(PRECISIONS)}")
    return names


def _batches(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(word) for word in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of batch sizes such as 1,8,32")
    return sizes
