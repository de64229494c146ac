"""Step 1: learn a head and the audio tower against the frozen features of a network that knows pictures.

python reports/second-model/train_guide.py guide.pt --data ../shared/data --start FIRST.safetensors
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from common import PRESET, TEACHER_CHANNELS, load_teacher, load_train_part, optimizer_of, save_state, update
from torch import nn

from avol.train.anchors import ClassAnchors
from avol.train.checkpoint import load_checkpoint
from avol.train.data.batch import TensorBatch, seeded
from avol.train.data.batches import BatchPlan, BatchSource
from avol.train.losses import correspondence_loss
from avol.train.network import preset_spec

LEARNING_RATE = 1e-3


def guide_head() -> nn.Sequential:
    """Teacher's features to embeddings."""
    return nn.Sequential(
        nn.BatchNorm2d(TEACHER_CHANNELS), nn.Conv2d(TEACHER_CHANNELS, 256, 1), nn.ReLU(), nn.Conv2d(256, 128, 1)
    )


def main() -> None:
    """Train the guide."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--start", type=Path, required=True, help="checkpoint whose audio tower to start from")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    spec = preset_spec(PRESET)
    source = BatchSource(load_train_part(arguments.data, spec), None, spec, BatchPlan())
    teacher, device = load_teacher(arguments.device), torch.device(arguments.device)
    network = load_checkpoint(arguments.start).train().to(device)
    head, anchors = guide_head().to(device), ClassAnchors(len(source.index), 128).to(device)
    learning = [network.audio_tower, network.head, head, anchors]
    optimizer = optimizer_of([p for module in learning for p in module.parameters()], LEARNING_RATE)
    batch_at = seeded(source.draw, 0, device)

    def ask(step: int) -> tuple[TensorBatch, torch.Tensor]:
        batch = batch_at(step)
        return batch, torch.from_numpy(teacher(batch.frames.cpu().numpy())).to(device)

    losses = []
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(ask, 0)
        for step in range(arguments.steps):
            batch, features = ahead.result()
            ahead = pool.submit(ask, step + 1)
            columns = network.spectrogram(batch.samples)
            with torch.autocast(device.type, torch.bfloat16):
                vector = network.audio_tower(columns)
            grid, vector = head(features), vector.float()
            logits = network.head.all_pairs(grid, vector)
            loss = correspondence_loss(logits, batch.matches, known=batch.known)
            losses.append(loss.item())
            assert batch.seen is not None
            assert batch.heard is not None
            weight = 0.3 * (1 - 0.8 * step / arguments.steps)
            total = (1 - weight) * loss + weight * anchors.loss(network.head, grid, vector, batch.seen, batch.heard)
            update(optimizer, total, step=step, steps=arguments.steps, learning_rate=LEARNING_RATE, warmup=50)
            if (step + 1) % 50 == 0:
                print(f"{step + 1}: loss {np.mean(losses[-50:]):.3f}", flush=True)
    save_state({"head": head.state_dict(), "network": network.state_dict()}, arguments.out)


if __name__ == "__main__":
    main()
