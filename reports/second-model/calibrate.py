"""Fit the score: scale and bias of the logits under which photographs and sounds of the validation part are likeliest.

    python reports/second-model/calibrate.py runs/second/checkpoint.safetensors --data ../shared/data

Source: Platt, "Probabilistic outputs for support vector machines", 1999, without his correction of the targets.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avol.train.checkpoint import load_checkpoint
from avol.train.data.material import load_together
from avol.train.test_sets import TestSets

BATCH = 32
PAIRS = 1600  # of each kind


def fit(logits: NDArray[np.float64], truth: NDArray[np.float64], *, rounds: int = 50) -> tuple[float, float]:
    """Scale and bias of least cross-entropy, by Newton's method."""
    columns, weights = np.column_stack([logits, np.ones_like(logits)]), np.array([1.0, 0.0])
    for _ in range(rounds):
        probability = 1 / (1 + np.exp(-columns @ weights))
        curvature = columns.T @ (columns * (probability * (1 - probability))[:, None])
        weights = weights - np.linalg.solve(curvature, columns.T @ (probability - truth))
    return float(weights[0]), float(weights[1])


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, action="append", required=True)
    arguments = parser.parse_args()
    network = load_checkpoint(arguments.checkpoint)
    labels = network.spec.training["classes"].split(", ")
    material = load_together(arguments.data, part="validation", spec=network.spec)
    asked = TestSets(material, network.spec, labels, seed=1).composite_pairs(PAIRS)

    def scores(windows: list[NDArray[np.float32]]) -> NDArray[np.float64]:
        parts = []
        for first in range(0, PAIRS, BATCH):
            frames, samples = (torch.from_numpy(np.stack(x[first : first + BATCH])) for x in (asked.frames, windows))
            with torch.no_grad():
                parts.append(network(frames, samples).amax(dim=(1, 2)).double().numpy())
        return np.concatenate(parts)

    logits = np.concatenate([scores(asked.own), scores(asked.foreign)])
    truth = np.repeat([1.0, 0.0], PAIRS)
    scale, bias = fit(logits, truth)
    for name, a, b in (("as trained", 1.0, 0.0), ("fitted", scale, bias)):
        signed = (2 * truth - 1) * (a * logits + b)
        loss, right = (
            np.mean(np.logaddexp(0, -signed)),
            0.5 * (np.mean(signed[truth == 1] > 0) + np.mean(signed[truth == 0] > 0)),
        )
        print(f"{name}: cross-entropy {loss:.3f}, {100 * right:.1f} % right")
    print(f"--scale {scale:.4f} --bias {bias:.4f}")


if __name__ == "__main__":
    main()
