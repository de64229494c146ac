"""Both towers on one core: ONNX Runtime in FP32 and INT8 against PyTorch and, where it is installed, OpenVINO.

    python benchmarks/towers.py [--model FOLDER] [--batch 8] [--rounds 15] [--json FILE]

The same weights in every engine, one thread each, taking turns; what is told are medians over the rounds of the ratios
within a round. OpenVINO reads the same ONNX files (`pip install openvino`; it is no dependency of avol).
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from records import processor, publish

from avol.runtime.backends.cpu import CpuBackend
from avol.runtime.model_folder import CHECKPOINT_FILE, bundled_model_folder
from avol.train.checkpoint import load_checkpoint

Run = Callable[[], object]
# Contender, what it is divided by, goal for the ratio of their rates.
GOALS = (("onnxruntime fp32", "torch eager", 1.8), ("onnxruntime fp32", "openvino fp32", 0.95),
         ("onnxruntime int8", "onnxruntime fp32", 3.3))  # fmt: skip


def contenders(folder: Path, batch: int) -> dict[str, Run]:
    """By name: both towers once over a batch."""
    torch.set_num_threads(1)
    network = load_checkpoint(folder / CHECKPOINT_FILE).eval()
    spec = network.spec
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (batch, spec.frame_height, spec.frame_width, 3), np.uint8)
    columns = rng.normal(0, 1, (batch, spec.spectrogram.rows, spec.spectrogram.columns)).astype(np.float32)

    def in_torch() -> None:
        with torch.inference_mode():
            network.frame_tower(torch.from_numpy(frames))
            network.audio_tower(torch.from_numpy(columns))

    found: dict[str, Run] = {"torch eager": in_torch}
    for precision in ("fp32", "int8"):
        backend = CpuBackend(folder, precision=precision, threads=1)

        def in_onnxruntime(backend: CpuBackend = backend) -> None:
            backend.infer("frame", frames=frames)
            backend.infer("audio", columns=columns)

        found[f"onnxruntime {precision}"] = in_onnxruntime
    if (openvino := in_openvino(folder, frames, columns)) is not None:
        found["openvino fp32"] = openvino
    return found


def in_openvino(folder: Path, frames: np.ndarray, columns: np.ndarray) -> Run | None:
    """None where it is not installed."""
    try:
        openvino = importlib.import_module("openvino")
    except ImportError:
        return None
    options = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    core = openvino.Core()
    frame, audio = (core.compile_model(str(folder / f"{name}.onnx"), "CPU", options) for name in ("frame", "audio"))

    def run() -> None:
        frame(frames)
        audio(columns)

    return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=bundled_model_folder())
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core, whatever an engine would take
    runs = contenders(arguments.model, arguments.batch)
    for run in runs.values():
        run()
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(arguments.rounds):
        names = list(runs)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            started = time.perf_counter()
            for _ in range(4):
                runs[name]()
            seconds[name].append((time.perf_counter() - started) / 4)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    record = {
        "model": arguments.model.name,
        "processor": processor(),
        "batch": arguments.batch,
        "rounds": arguments.rounds,
        "pairs_per_second": {name: round(arguments.batch / value, 1) for name, value in medians.items()},
        "ratios": {
            f"{top} / {bottom}": {
                "median": round(
                    statistics.median(b / a for a, b in zip(seconds[top], seconds[bottom], strict=True)), 3
                ),
                "goal": f"at least {goal}",
            }
            for top, bottom, goal in GOALS
            if bottom in seconds
        },
    }
    publish(record, arguments.json)


if __name__ == "__main__":
    main()
