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
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from common import COMPONENTS, PRESET, Bank, SoundBank, load_train_part, optimizer_of, save_state, update
from torch import Tensor, nn

from avol.train.checkpoint import save_checkpoint
from avol.train.data.batch import TensorBatch, seeded
from avol.train.data.batches import BatchPlan, BatchSource
from avol.train.data.material import Material
from avol.train.data.scene_pool import ScenePool
from avol.train.losses import balanced_accuracy, correspondence_loss
from avol.train.network import TwoTowerNetwork, build_network, preset_spec

BANK_PICTURES, BANK_SOUNDS = 16, 24  # beside the pictures and sounds of a batch
TEACHER_WEIGHT = 0.5
SCENES = 300


class Banked(NamedTuple):
    """Frames or samples, and a teacher's components of them with their mean variance."""

    asked: Tensor
    components: Tensor
    variance: float


def step_losses(
    network: TwoTowerNetwork, answers: nn.ModuleDict, batch: TensorBatch, banked: dict[str, Banked]
) -> tuple[Tensor, dict[str, Tensor], float]:
    """Loss of the pairs, losses against the teachers' components, and the accuracy of the pairs."""
    frames = banked["frames"].asked
    count = len(batch.frames)
    sounds = [batch.samples] + ([banked["sounds"].asked] if "sounds" in banked else [])
    columns = network.spectrogram(torch.cat(sounds))
    with torch.autocast(batch.frames.device.type, torch.bfloat16):
        tower = network.frame_tower
        seen = tower.convs(tower.scaled(torch.cat([batch.frames, frames])))
        heard = network.audio_tower.pooled_features(columns)
        grid, vector = tower.embed(seen[:count]), network.audio_tower.embed(heard[: len(batch.samples)])
        answered = {"frames": answers["frames"](seen[count:])}
        if "sounds" in banked:
            answered["sounds"] = answers["sounds"](heard[len(batch.samples) :])
    logits = network.head.all_pairs(grid.float(), vector.float())
    pairs = correspondence_loss(logits, batch.matches, known=batch.known)
    accuracy = balanced_accuracy(logits.detach(), batch.matches, batch.known)
    missed = {
        name: F.mse_loss(answered[name].float(), bank.components) / bank.variance for name, bank in banked.items()
    }
    return pairs, missed, accuracy


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


def answers_of(network: TwoTowerNetwork, *, sounds: bool) -> nn.ModuleDict:
    """From what a tower's convolutions make of a picture or sound to the components that a teacher finds in it."""
    answers = {"frames": nn.Conv2d(network.frame_tower.embed[0].in_channels, COMPONENTS, 1)}
    if sounds:
        answers["sounds"] = nn.Linear(network.audio_tower.embed[0].in_features, COMPONENTS)
    return nn.ModuleDict(answers)


def start_from(arguments: argparse.Namespace, network: TwoTowerNetwork, answers: nn.ModuleDict) -> None:
    """Load what was learnt before: an earlier run of this script, or the guide and the distilled towers."""
    if arguments.start is not None:
        start = torch.load(arguments.start, weights_only=True)
        network.load_state_dict(start["network"])
        answers["frames"].load_state_dict(start["answer"])
        if arguments.ears is not None:
            ears = torch.load(arguments.ears, weights_only=True)
            network.audio_tower.load_state_dict(ears["tower"])
            answers["sounds"].load_state_dict(ears["answer"])
        return
    network.load_state_dict(torch.load(arguments.guide, weights_only=True)["network"])
    distilled = torch.load(arguments.distilled, weights_only=True)
    network.frame_tower.load_state_dict(distilled["tower"])
    answers["frames"].load_state_dict(distilled["answer"])


def command_line() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bank", type=Path, required=True)
    parser.add_argument("--guide", type=Path, help="the guide, whose audio tower and head to start from")
    parser.add_argument("--distilled", type=Path, help="the distilled frame tower to start from")
    parser.add_argument("--start", type=Path, help="in place of both: state.pt of a run of this script")
    parser.add_argument("--sound-bank", type=Path, help="hold the audio tower to what the ears make of these sounds")
    parser.add_argument("--ears", type=Path, help="with --start: the distilled audio tower to start from")
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--preset", default=PRESET)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--learning-rate", type=float, default=6e-4)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def main() -> None:
    """Fine-tune."""
    arguments = command_line()
    torch.manual_seed(0)
    device, spec = torch.device(arguments.device), preset_spec(arguments.preset)
    material = load_train_part(arguments.data, spec)
    source = BatchSource(material, ScenePool(spec, scenes=SCENES), spec, BatchPlan())
    network = build_network(replace(spec, training=described(material, source, arguments.steps)))
    answers = answers_of(network, sounds=arguments.sound_bank is not None)
    start_from(arguments, network, answers)
    network.train().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = optimizer_of([*network.parameters(), *answers.to(device).parameters()], arguments.learning_rate)
    arguments.out.mkdir(parents=True, exist_ok=True)
    first, state_file = 0, arguments.out / "state.pt"
    parts = {"network": network, "answer": answers["frames"], "optimizer": optimizer}
    parts |= {"sound_answer": answers["sounds"]} if "sounds" in answers else {}
    if state_file.is_file():
        state = torch.load(state_file, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        first = state["step"]
    bank, batch_at = Bank(arguments.bank), seeded(source.draw, 9, device)
    sound_bank = SoundBank(arguments.sound_bank, spec.spectrogram) if arguments.sound_bank is not None else None

    def draw(step: int) -> tuple[TensorBatch, dict[str, Banked]]:
        frames, components, _ = bank.draw(np.random.default_rng([9, 1, step]), BANK_PICTURES)
        banked = {"frames": Banked(frames.to(device), components.to(device), bank.component_variance)}
        if sound_bank is not None:
            samples, components = sound_bank.draw(np.random.default_rng([9, 2, step]), BANK_SOUNDS)
            banked["sounds"] = Banked(samples.to(device), components.to(device), sound_bank.variance)
        return batch_at(step), banked

    measured, started = [], time.monotonic()
    with ThreadPoolExecutor(1) as pool, (arguments.out / "log.jsonl").open("a", buffering=1) as log:
        ahead = pool.submit(draw, first)
        for step in range(first, arguments.steps):
            batch, banked = ahead.result()
            ahead = pool.submit(draw, step + 1)
            pairs, missed, accuracy = step_losses(network, answers, batch, banked)
            measured.append((pairs.item(), accuracy, *(part.item() for part in missed.values())))
            loss = pairs + TEACHER_WEIGHT * sum(missed.values())
            update(optimizer, loss, step=step, steps=arguments.steps, learning_rate=arguments.learning_rate)
            if (step + 1) % 20 == 0:
                names = ("loss", "accuracy", *(f"teacher_loss_of_{name}" for name in banked))
                means = dict(zip(names, np.mean(measured[-20:], axis=0).tolist(), strict=True))
                log.write(json.dumps({"step": step + 1, **means, "seconds": time.monotonic() - started}) + "\n")
            if (step + 1) % 200 == 0 or step + 1 == arguments.steps:
                save_state({"step": step + 1} | {name: part.state_dict() for name, part in parts.items()}, state_file)
                save_checkpoint(network, network.spec, arguments.out / "checkpoint.safetensors")


if __name__ == "__main__":
    main()
