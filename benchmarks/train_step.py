"""How fast training steps are against the arithmetic of the network, and how long they wait for batches.

    python benchmarks/train_step.py [--preset NAME] [--device cpu|cuda] [--precision float32|bfloat16] [--json FILE]

The rate of multiplications that the machine reaches is measured beside the steps, in turn with them: a step needs three
times the multiplications of a forward pass (the gradients of inputs and of weights cost one pass each).
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from records import processor, publish

from avol.train.data.batch import TensorBatch, seeded
from avol.train.data.scene_pool import ScenePool
from avol.train.figures.trace import trace_network
from avol.train.learner import Learner
from avol.train.loop import Prefetch
from avol.train.network import build_network, preset_spec
from avol.train.parallel import Team
from avol.train.recipes import TrainingOptions

MATRIX = 2048
ROUNDS = 7
STEPS = 4  # per round


def finish(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def multiplication_rate(device: torch.device, precision: str) -> float:
    """Multiply-adds a second of large matrix products."""
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    left, right = (torch.randn(MATRIX, MATRIX, device=device).to(kind) for _ in range(2))
    left @ right
    finish(device)
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < 0.5:
        left @ right
        finish(device)
        count += 1
    return count * MATRIX**3 / (time.perf_counter() - started)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="avol-128-half-width")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--pairs", type=int, default=48, help="pictures and sounds of a batch (default: 48)")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    device, spec = torch.device(arguments.device), preset_spec(arguments.preset)
    network = build_network(spec)
    multiply_adds = trace_network(network).multiply_adds
    options = TrainingOptions(precision=arguments.precision)
    learner = Learner(network, None, options, device, Team())
    rng, count = np.random.default_rng(0), arguments.pairs
    frames = torch.from_numpy(rng.integers(0, 256, (count, spec.frame_height, spec.frame_width, 3), dtype=np.uint8))
    samples = torch.from_numpy(rng.uniform(-1, 1, (count, spec.spectrogram.clip_samples)).astype(np.float32))
    table = torch.eye(count, dtype=torch.bool)
    batch = TensorBatch(*(tensor.to(device) for tensor in (frames, samples, table, torch.ones_like(table))))
    learner.step(0, batch)
    step_seconds, rates = [], []
    for _ in range(ROUNDS):
        rates.append(multiplication_rate(device, arguments.precision))
        finish(device)
        started = time.perf_counter()
        for step in range(STEPS):
            learner.step(step, batch)
        finish(device)
        step_seconds.append((time.perf_counter() - started) / STEPS)
    waiting = waiting_share(learner, spec.preset, device)
    seconds, rate = statistics.median(step_seconds), statistics.median(rates)
    shares = [3 * count * multiply_adds / s / r for s, r in zip(step_seconds, rates, strict=True)]
    result = {
        "preset": arguments.preset,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "precision": arguments.precision,
        "pairs": count,
        "seconds_per_step": round(seconds, 4),
        "pairs_per_second": round(count / seconds, 1),
        "multiply_adds_per_pair": multiply_adds,
        "matrix_product_gmac_per_second": round(rate / 1e9, 1),
        "share_of_matrix_product_rate": round(statistics.median(shares), 3),
        "waiting_share_on_scenes": round(waiting, 4),
        "torch": torch.__version__,
    }
    publish(result, arguments.json)


def waiting_share(learner: Learner, preset: str, device: torch.device) -> float:
    """Share of the time that learning stands still for want of a batch, on synthetic scenes."""
    pool = ScenePool(preset_spec(preset), scenes=60)
    with Prefetch(seeded(pool.draw_batch, 0, device), threads=1) as prefetch:
        started = None
        for step, batch in enumerate(prefetch.batches(range(12))):
            if step == 2:  # the first are made while nothing is learnt yet
                prefetch.take_waited_seconds()
                started = time.perf_counter()
            learner.step(step, batch)
        finish(device)
    assert started is not None
    return prefetch.take_waited_seconds() / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
