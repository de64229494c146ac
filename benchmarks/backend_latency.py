"""How long a backend takes for a batch of pairs, from arrays in memory to maps in memory.

Every device that opens here, or those that are named, in every precision that the model holds; ``localise_samples`` on
noise, after a warm-up in which CUDA graphs are captured. Copies up and down are part of the time.

    python benchmarks/backend_latency.py --out benchmarks/results/backend-latency-MACHINE.json
    python benchmarks/backend_latency.py --device cuda --precision fp16 --model mine
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from avol.runtime.atomic import AtomicOutput
from avol.runtime.backends import DEVICES, PRECISIONS, open_backend
from avol.runtime.backends.backend import Backend
from avol.runtime.backends.installed import installed_packages, shown_packages
from avol.runtime.errors import AvolError

BATCHES = (1, 8, 32)
WARM_UP_RUNS = 10
QUANTILES = {"min": 0.0, "median": 0.5, "p90": 0.9, "p99": 0.99}


def main() -> int:
    """Read the command line, measure, print, and write the results if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of an exported model (default: the bundled one)")
    parser.add_argument("--device", action="append", choices=DEVICES[1:], help="may be repeated (default: all)")
    parser.add_argument("--precision", action="append", choices=PRECISIONS[1:], help="may be repeated (default: all)")
    parser.add_argument("--repeats", type=int, default=200, help="runs per batch size (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the results there as JSON")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for device in arguments.device or DEVICES[1:]:
        for precision in arguments.precision or PRECISIONS[1:]:
            try:
                with open_backend(arguments.model, device, precision) as backend:
                    rows += [_measure(backend, batch, arguments.repeats) for batch in BATCHES]
            except AvolError as error:
                print(f"{device} {precision}: {error}", file=sys.stderr)
    for row in rows:
        times = ", ".join(f"{name} {row['milliseconds'][name]:.3f}" for name in QUANTILES)
        print(
            f"{row['backend']} {row['precision']}, batch {row['batch']}: {times} ms, {row['pairs_per_second']} pairs/s"
        )
    if arguments.out is not None:
        _write(arguments.out, rows)
    return 0 if rows else 1


def _measure(backend: Backend, batch: int, repeats: int) -> dict[str, Any]:
    spec, generator = backend.spec, np.random.default_rng(0)
    frames = generator.integers(0, 256, (batch, spec.frame_height, spec.frame_width, 3), np.uint8)
    samples = generator.uniform(-0.5, 0.5, (batch, spec.spectrogram.clip_samples)).astype(np.float32)
    times = []
    for _ in range(WARM_UP_RUNS + repeats):
        started = time.perf_counter()
        backend.localise_samples(frames, samples)
        times.append(time.perf_counter() - started)
    kept = np.array(times[WARM_UP_RUNS:])
    return {
        "model": spec.name,
        "backend": backend.name,
        "device": backend.device,
        "provider": backend.provider,
        "precision": backend.precision,
        "batch": batch,
        "milliseconds": {name: round(1e3 * float(np.quantile(kept, q)), 4) for name, q in QUANTILES.items()},
        "pairs_per_second": round(batch / float(np.median(kept)), 1),
    }


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    environment = {"platform": platform.platform(), "packages": shown_packages(installed_packages())}
    record = {"command": " ".join(["python", *sys.argv]), "environment": environment, "rows": rows}
    with AtomicOutput(path) as output:
        output.temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        output.commit()


if __name__ == "__main__":
    sys.exit(main())
