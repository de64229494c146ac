"""Step 4: both towers learn correspondence together, and the frame tower keeps what it learnt from the teacher.

    python reports/second-model/finetune.py runs/second --bank BANK --guide guide.pt --distilled distilled.pt \
        --data ../shared/data --data data/extra-sounds

A run that was cut off goes on when the same command is given again.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import COMPONENTS, PRESET, Bank, load_train_part, optimizer_of, save_state, update
from torch import Tensor, nn

from avol.train.checkpoint import save_checkpoint
from avol.train.data.batch import TensorBatch, seeded
from avol.train.data.batches import BatchPlan, BatchSource
from avol.train.data.material import Material
from avol.train.data.scene_pool import ScenePool
from avol.train.losses import balanced_accuracy, correspondence_loss
from avol.train.network import TwoTowerNetwork, build_network, preset_spec

BANK_PICTURES = 16  # beside the pictures of a batch
TEACHER_WEIGHT = 0.5
SCENES = 300


def step_losses(
    network: TwoTowerNetwork, answer: nn.Module, batch: TensorBatch, banked: tuple[Tensor, Tensor, float]
) -> tuple[Tensor, Tensor, float]:
    """Loss of the pairs, loss against the teacher's components, and the accuracy of the pairs."""
    frames, components, variance = banked
    count = len(batch.frames)
    columns = network.spectrogram(batch.samples)
    with torch.autocast(batch.frames.device.type, torch.bfloat16):
        tower = network.frame_tower
        seen = tower.convs(tower.scaled(torch.cat([batch.frames, frames])))
        grid, vector = tower.embed(seen[:count]), network.audio_tower(columns)
        answered = answer(seen[count:])
    logits = network.head.all_pairs(grid.float(), vector.float())
    pairs = correspondence_loss(logits, batch.matches, known=batch.known)
    accuracy = balanced_accuracy(logits.detach(), batch.matches, batch.known)
    return pairs, F.mse_loss(answered.float(), components) / variance, accuracy


def described(material: Material, source: BatchSource, steps: int) -> dict[str, str]:
    """What the spec says of the training."""
    return {
        "recipe": "reports/second-model",
        "steps": str(steps),
        "classes": ", ".join(source.trained_labels),
        "photographs": str(len(material.photographs)),
        "sounds": str(len(material.sounds)),
        "clips": str(len(material.clips)),
        "scenes": str(SCENES),
    }


def start_from(arguments: argparse.Namespace, network: TwoTowerNetwork, answer: nn.Module) -> None:
    """Load what was learnt before: an earlier run of this script, or the guide and the distilled tower."""
    if arguments.start is not None:
        start = torch.load(arguments.start, weights_only=True)
        network.load_state_dict(start["network"])
        answer.load_state_dict(start["answer"])
        return
    network.load_state_dict(torch.load(arguments.guide, weights_only=True)["network"])
    distilled = torch.load(arguments.distilled, weights_only=True)
    network.frame_tower.load_state_dict(distilled["tower"])
    answer.load_state_dict(distilled["answer"])


def main() -> None:
    """Fine-tune."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bank", type=Path, required=True)
    parser.add_argument("--guide", type=Path, help="the guide, whose audio tower and head to start from")
    parser.add_argument("--distilled", type=Path, help="the distilled frame tower to start from")
    parser.add_argument("--start", type=Path, help="in place of both: state.pt of a run of this script")
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--preset", default=PRESET)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--learning-rate", type=float, default=6e-4)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    device, spec = torch.device(arguments.device), preset_spec(arguments.preset)
    material = load_train_part(arguments.data, spec)
    source = BatchSource(material, ScenePool(spec, scenes=SCENES), spec, BatchPlan())
    network = build_network(replace(spec, training=described(material, source, arguments.steps)))
    answer = nn.Conv2d(network.frame_tower.embed[0].in_channels, COMPONENTS, 1)
    start_from(arguments, network, answer)
    network.train().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = optimizer_of([*network.parameters(), *answer.to(device).parameters()], arguments.learning_rate)
    arguments.out.mkdir(parents=True, exist_ok=True)
    first, state_file = 0, arguments.out / "state.pt"
    if state_file.is_file():
        state = torch.load(state_file, weights_only=True)
        for name, part in (("network", network), ("answer", answer), ("optimizer", optimizer)):
            part.load_state_dict(state[name])
        first = state["step"]
    bank, batch_at = Bank(arguments.bank), seeded(source.draw, 9, device)

    def draw(step: int) -> tuple[TensorBatch, tuple[Tensor, Tensor, float]]:
        frames, components, _ = bank.draw(np.random.default_rng([9, 1, step]), BANK_PICTURES)
        return batch_at(step), (frames.to(device), components.to(device), bank.component_variance)

    measured, started = [], time.monotonic()
    with ThreadPoolExecutor(1) as pool, (arguments.out / "log.jsonl").open("a", buffering=1) as log:
        ahead = pool.submit(draw, first)
        for step in range(first, arguments.steps):
            batch, banked = ahead.result()
            ahead = pool.submit(draw, step + 1)
            pairs, teacher, accuracy = step_losses(network, answer, batch, banked)
            measured.append((pairs.item(), teacher.item(), accuracy))
            loss = pairs + TEACHER_WEIGHT * teacher
            update(optimizer, loss, step=step, steps=arguments.steps, learning_rate=arguments.learning_rate)
            if (step + 1) % 20 == 0:
                names = ("loss", "teacher_loss", "accuracy")
                means = dict(zip(names, np.mean(measured[-20:], axis=0).tolist(), strict=True))
                log.write(json.dumps({"step": step + 1, **means, "seconds": time.monotonic() - started}) + "\n")
            if (step + 1) % 200 == 0 or step + 1 == arguments.steps:
                parts = {"network": network, "answer": answer, "optimizer": optimizer}
                save_state({"step": step + 1} | {name: part.state_dict() for name, part in parts.items()}, state_file)
                save_checkpoint(network, network.spec, arguments.out / "checkpoint.safetensors")


if __name__ == "__main__":
    main()
