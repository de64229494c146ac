"""Step 3: the frame tower learns to see what the teacher sees.

python reports/second-model/distil.py distilled.pt --bank BANK --start FIRST.safetensors
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import COMPONENTS, PRESET, Bank, optimizer_of, save_state, update
from torch import nn

from avol.train.checkpoint import load_checkpoint
from avol.train.network import build_network, preset_spec

BATCH = 48
LEARNING_RATE = 1.5e-3


def main() -> None:
    """Distil."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bank", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="checkpoint whose frame tower to start from")
    parser.add_argument("--preset", default=PRESET)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    bank, device = Bank(arguments.bank), torch.device(arguments.device)
    network = (
        build_network(preset_spec(arguments.preset)) if arguments.start is None else load_checkpoint(arguments.start)
    )
    tower = network.frame_tower.train().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    answer = nn.Conv2d(tower.embed[0].in_channels, COMPONENTS, 1).to(device)
    optimizer = optimizer_of([*tower.parameters(), *answer.parameters()], LEARNING_RATE)
    losses, started = [], time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(bank.draw, np.random.default_rng([5, 0]), BATCH)
        for step in range(arguments.steps):
            frames, components, grids = (tensor.to(device) for tensor in ahead.result())
            ahead = pool.submit(bank.draw, np.random.default_rng([5, step + 1]), BATCH)
            with torch.autocast(device.type, torch.bfloat16):
                seen = tower.convs(tower.scaled(frames))
                answered, grid = answer(seen), tower.embed(seen)
            of_components = F.mse_loss(answered.float(), components) / bank.component_variance
            of_grids = F.mse_loss(grid.float(), grids) / bank.grid_variance
            losses.append((of_components.item(), of_grids.item()))
            loss = 0.5 * of_components + of_grids
            update(optimizer, loss, step=step, steps=arguments.steps, learning_rate=LEARNING_RATE)
            if (step + 1) % 100 == 0:
                means = np.mean(losses[-100:], axis=0)
                print(f"{step + 1}: {means[0]:.4f} {means[1]:.4f}, {time.monotonic() - started:.0f} s", flush=True)
            if (step + 1) % 500 == 0 or step + 1 == arguments.steps:
                save_state({"tower": tower.state_dict(), "answer": answer.state_dict()}, arguments.out)


if __name__ == "__main__":
    main()
