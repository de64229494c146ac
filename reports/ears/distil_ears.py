"""Step 2: the audio tower learns to hear what the ears hear.

python reports/ears/distil_ears.py ears.pt --bank SOUND_BANK --start runs/third/checkpoint.safetensors
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avol.train.checkpoint import load_checkpoint

sys.path.insert(0, str(Path(__file__).parents[1] / "second-model"))
from common import COMPONENTS, SoundBank, optimizer_of, save_state, update

BATCH = 48
LEARNING_RATE = 1.5e-3


def main() -> None:
    """Distil."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bank", type=Path, required=True)
    parser.add_argument("--start", type=Path, required=True, help="checkpoint whose audio tower to start from")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    device = torch.device(arguments.device)
    network = load_checkpoint(arguments.start).to(device)
    bank, tower = SoundBank(arguments.bank, network.spec.spectrogram), network.audio_tower.train()
    tower = tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    answer = nn.Linear(tower.embed[0].in_features, COMPONENTS).to(device)
    optimizer = optimizer_of([*tower.convs.parameters(), *answer.parameters()], LEARNING_RATE)

    def draw(step: int) -> tuple[Tensor, Tensor]:
        samples, components = bank.draw(np.random.default_rng([6, step]), BATCH)
        return samples.to(device), components.to(device)

    losses, started = [], time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(draw, 0)
        for step in range(arguments.steps):
            samples, components = ahead.result()
            ahead = pool.submit(draw, step + 1)
            columns = network.spectrogram(samples)
            with torch.autocast(device.type, torch.bfloat16):
                answered = answer(tower.pooled_features(columns))
            loss = F.mse_loss(answered.float(), components) / bank.variance
            losses.append(loss.item())
            update(optimizer, loss, step=step, steps=arguments.steps, learning_rate=LEARNING_RATE)
            if (step + 1) % 50 == 0:
                print(f"{step + 1}: {np.mean(losses[-50:]):.4f}, {time.monotonic() - started:.0f} s", flush=True)
            if (step + 1) % 250 == 0 or step + 1 == arguments.steps:
                save_state({"tower": tower.state_dict(), "answer": answer.state_dict()}, arguments.out)


if __name__ == "__main__":
    main()
