"""``avol bench``: how fast a model runs on this machine, on every backend and in every precision that opens."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from avol.runtime.backends import DEVICES, PRECISIONS

BATCHES = (1, 8, 32)
LARGEST_BATCH = 1024
LONGEST_SECONDS = 3600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avol bench``."""
    devices, precisions = DEVICES[1:], PRECISIONS[1:]
    parser.epilog = "docs/measuring.md says what the figures mean."
    parser.add_argument(
        "--model", type=Path, metavar="PATH", help="folder of an exported model (default: the bundled one)"
    )
    parser.add_argument(
        "--video", type=Path, metavar="PATH", help="video for the whole run (default: the bundled sample)"
    )
    parser.add_argument(
        "--device", type=_names(devices), metavar="D,...", help=f"of {', '.join(devices)} (default: all that open)"
    )
    parser.add_argument(
        "--precision",
        type=_names(precisions),
        metavar="P,...",
        help=f"of {', '.join(precisions)} (default: all that the model has)",
    )
    parser.add_argument(
        "--batch",
        type=_batches,
        default=BATCHES,
        metavar="N,...",
        help=f"pairs in a call (default: {','.join(map(str, BATCHES))})",
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=2.0,
        metavar="S",
        help="of each measurement, at least (default: %(default)g)",
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the figures there as JSON as well")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; gives the exit code."""
    import time

    from avol.apps.bench_app.configurations import choose
    from avol.apps.bench_app.measure import FORMAT, BenchOptions, measure
    from avol.apps.bench_app.report import open_report, write_report
    from avol.apps.bench_app.table import lines_of
    from avol.apps.run_console import termination_cleans_up
    from avol.runtime.media.source import open_source
    from avol.runtime.model_folder import bundled_model_folder, bundled_sample

    # Mistakes show before the work.
    output = None if arguments.report is None else open_report(arguments.report)
    model, video = arguments.model or bundled_model_folder(), arguments.video or bundled_sample()
    open_source(video)
    with termination_cleans_up():
        choice = choose(model, arguments.device, arguments.precision)
        options = BenchOptions(
            model=model, video=video, batches=arguments.batch, seconds=arguments.seconds, clock=time.perf_counter
        )
        record = {"format": FORMAT, "command": command_of(arguments), **measure(options, choice, _say)}
    for line in lines_of(record):
        print(line)
    if output is not None:
        write_report(output, record)
    return 0


def command_of(arguments: argparse.Namespace) -> str:
    """What was asked for, as it can be asked again."""
    words = ["avol", "bench"]
    for name in ("model", "video", "device", "precision", "batch", "seconds", "report"):
        value = getattr(arguments, name)
        if value is not None:
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += [f"--{name}", text]
    return shlex.join(words)


def _say(what: str) -> None:
    """Where somebody watches: what is being measured."""
    if sys.stderr.isatty():
        print(f"measuring {what} …", file=sys.stderr)


def _names(allowed: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    def names(text: str) -> tuple[str, ...]:
        found = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
        if unknown := [name for name in found if name not in allowed]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(allowed)}")
        return found

    return names


def _batches(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and 1 <= int(part[:9]) <= LARGEST_BATCH for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers from 1 to {LARGEST_BATCH}")
    return tuple(dict.fromkeys(map(int, parts)))


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value <= LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0 and up to {LONGEST_SECONDS:g} seconds")
    return value
