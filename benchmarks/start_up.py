"""Seconds from starting `avol-run` until its first inference is done.

    python benchmarks/start_up.py [--video FILE] [--runs 15] [--json FILE]

Each run is a process of its own, as a user starts it, with files in the disk's cache. The clock, which all processes
share, is read before the process is started and when towers and head have given their first answer. Beside it stands
the start of the interpreter alone, and of the interpreter with the three libraries that no run can do without.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from records import processor, publish

from avol.runtime.model_folder import bundled_sample

ROOT = Path(__file__).resolve().parents[1]
RUN = """
import sys, time
from avol.runtime.backends.cpu import CpuBackend
compute = CpuBackend.compute
def told(self, roles, *arguments, **named):
    answer = compute(self, roles, *arguments, **named)
    if "head" not in roles:  # of the sound alone
        return answer
    print("clock", time.clock_gettime(time.CLOCK_MONOTONIC), file=sys.stderr, flush=True)
    CpuBackend.compute = compute
    return answer
CpuBackend.compute = told
from avol.apps.cli import main_run
sys.exit(main_run())
"""
CLOCK = "import sys, time; print('clock', time.clock_gettime(time.CLOCK_MONOTONIC), file=sys.stderr)"
LIBRARIES = "import numpy, av, onnxruntime;" + CLOCK


def seconds_until_told(command: list[str]) -> float:
    """From before the process is started until it reads the clock."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    started = time.clock_gettime(time.CLOCK_MONOTONIC)
    done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    return float(next(line.split()[1] for line in done.stderr.splitlines() if line.startswith("clock"))) - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, default=bundled_sample(), help="(default: the bundled sample)")
    parser.add_argument("--runs", type=int, default=15, help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        run = [sys.executable, "-c", RUN, str(arguments.video), "--output-dir", folder, "--device", "cpu", "--quiet"]
        commands = {
            "default": run,
            "fp32": [*run, "--precision", "fp32"],
            "no-video": [*run, "--no-video"],
            "interpreter": [sys.executable, "-c", CLOCK],
            "libraries": [sys.executable, "-c", LIBRARIES],
        }
        for number in range(-1, arguments.runs):
            for name, command in commands.items():
                taken = seconds_until_told(command)
                if number >= 0:
                    seconds.setdefault(name, []).append(round(taken, 4))
    record = {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "median_seconds": {name: round(statistics.median(values), 3) for name, values in seconds.items()},
        "lowest_seconds": {name: min(values) for name, values in seconds.items()},
        "bar": "default at most 0.30",
        "met": statistics.median(seconds["default"]) <= 0.30,
        "seconds": seconds,
    }
    publish(record, arguments.json)


if __name__ == "__main__":
    main()
