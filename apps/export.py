"""``avol export``: turn a checkpoint into the graphs that a device runs."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from avol.apps.export_engines import add_engine_arguments, build_requested, check_request
from avol.runtime.model_folder import CHECKPOINT_FILE, bundled_model_folder
from avol.runtime.plan_files import PRECISIONS

EXAMPLES = """\
examples:
  avol export                                             the bundled checkpoint, into out/avol-128-half-width/
  avol export runs/mine/checkpoint.safetensors --out mine --calibration videos
  avol export runs/mine/checkpoint.safetensors --out mine --precision fp32,fp16 --engine none
  avol-run clip.mp4 --model mine
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avol export``."""
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument("checkpoint", type=Path, nargs="?", help="a .safetensors file (default: the bundled one)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the graphs (default: out/NAME)")
    parser.add_argument(
        "--precision",
        type=_precisions,
        metavar="LIST",
        help="of fp32, fp16, int8 (default: all; int8 only where there are calibration ranges); fp32 is always written",
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="DATA",
        help="videos, prepared pairs or labelled material to calibrate int8 on (default: the checkpoint's ranges.json)",
    )
    parser.add_argument("--force", action="store_true", help="write graphs that fail their tolerances as well")
    parser.add_argument("--triton", type=Path, metavar="DIR", help="write an NVIDIA Triton model repository there too")
    add_engine_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the graphs, each judged against the network, and what is asked for besides; gives the exit code."""
    from avol.export.compare import ENOUGH_FRAMES
    from avol.export.engines import outdated_plans
    from avol.export.job import export_model, planned_precisions
    from avol.export.onnx_files import check_folder
    from avol.export.report import HEADING, measure
    from avol.runtime.errors import AvolError
    from avol.train.checkpoint import read_checkpoint_spec

    checkpoint: Path = arguments.checkpoint or bundled_model_folder() / CHECKPOINT_FILE
    out: Path = arguments.out or Path("out") / read_checkpoint_spec(checkpoint).name
    check_request(arguments, out, planned_precisions(checkpoint, arguments.precision, arguments.calibration))
    for folder in filter(None, (out, arguments.triton)):
        check_folder(folder)
    exported = export_model(
        checkpoint,
        out,
        precisions=arguments.precision,
        calibration=arguments.calibration,
        force=arguments.force,
        report=lambda line: print(line, file=sys.stderr),
    )
    print(HEADING, *measure(exported), sep="\n")
    for verdict in exported.verdicts:
        print(f"{verdict.precision}: {verdict}")
        if verdict.found.sounding < ENOUGH_FRAMES:
            print(f"  fewer than {ENOUGH_FRAMES} frames: judge it again with avol verify and more clips")
    written = [*exported.files, *(engine.path for engine in build_requested(arguments, out))]
    for plan in outdated_plans(out):
        print(f"{plan}: was built from another graph than is there now; build it anew, or delete it.", file=sys.stderr)
    if arguments.triton is not None:
        from avol.export.triton import write_repository

        print(f"{arguments.triton}: Triton models {', '.join(write_repository(out, arguments.triton))}")
    print(f"{out}: {len(written)} files; run them with: avol-run VIDEO --model {shlex.quote(str(out))}")
    refused = [verdict for verdict in exported.verdicts if not verdict.written]
    for verdict in refused:
        how = "give --calibration more clips" if verdict.found.accuracies is None else "calibrate on other clips"
        message = f"{out}: no {verdict.precision} graphs, they {verdict}; {how}, or write them with --force."
        if arguments.precision is not None:
            raise AvolError(message)
        print(message, file=sys.stderr)
    return 0


def _precisions(text: str) -> tuple[str, ...]:
    names = tuple(word.strip() for word in text.split(",") if word.strip())
    unknown = [name for name in names if name not in PRECISIONS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"{(unknown or [text])[0]!r} is not one of {', '.join(PRECISIONS)}")
    return names
