"""``avol verify``: hold two forms of a model against each other on clips."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """\
A and B are a .safetensors checkpoint, or the folder of an exported model, FOLDER:PRECISION, FOLDER:DEVICE:PRECISION
(fp32, fp16, int8; cpu, cuda, tensorrt, tensorrt-rtx; fp32 on the CPU by default). A is the reference.

examples:
  avol verify runs/mine/checkpoint.safetensors mine --data videos
  avol verify mine mine:int8 --data ../shared/data --part test
  avol verify mine mine:tensorrt:fp16 --data videos
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avol verify``."""
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument("a", metavar="A", help="the reference")
    parser.add_argument("b", metavar="B", help="what is judged")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="CLIPS",
        help="a video, a folder of videos, prepared pairs, or labelled material",
    )
    parser.add_argument(
        "--part", choices=("train", "validation", "test"), help="of prepared or labelled data (default: validation)"
    )
    parser.add_argument("--frames", type=int, default=1000, metavar="N", help="frames to draw (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Compare and print; gives the exit code, 1 where a tolerance is exceeded."""
    from avol.export.compare import ENOUGH_FRAMES, compare, judge, lower_precision, run_system
    from avol.export.moments import load_moments
    from avol.export.systems import open_system, require_same_shapes

    if arguments.frames < 1:
        raise argparse.ArgumentError(None, "--frames must be at least 1")
    a, b = open_system(arguments.a), open_system(arguments.b)
    require_same_shapes(a, b)
    moments = load_moments(arguments.data, a.spec, part=arguments.part, limit=arguments.frames)
    precision = lower_precision(a.precision, b.precision)
    found = compare(run_system(a, moments), run_system(b, moments), threshold=a.spec.threshold)
    checks = judge(found, precision)
    print(f"A: {a.name}\nB: {b.name}")
    if a.spec.weights_sha256 != b.spec.weights_sha256:
        print(f"other weights: A has {a.spec.weights_sha256[:12]}, B {b.spec.weights_sha256[:12]}")
    print(f"{moments.description}; {found.sounding} above the threshold in A; tolerances of {precision}")
    for check in checks:
        verdict = "" if not check.limit else "pass" if check.passed else "FAIL"
        print(f"{check.name:<44}{check.value:>22}  {check.limit:<16}{verdict}".rstrip())
    if precision != "fp32" and found.sounding < ENOUGH_FRAMES:
        print(f"fewer than {ENOUGH_FRAMES} frames above the threshold: the shares say little")
    return 0 if all(check.passed for check in checks) else 1
