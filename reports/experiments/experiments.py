"""The experiments on labelled material: one run after the other, each with its log and its figures.

    python reports/experiments/experiments.py --data ../shared/data --data data/extra-sounds \
        --distilled distilled.pt --guide guide.pt

Runs that have a result are left alone, so that a run that was cut off goes on with the next.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from audio import running_vectors, with_context
from numpy.typing import NDArray
from torch import Tensor

from avol.runtime.spec import ModelSpec
from avol.train.data.batch import BatchAt, TensorBatch, seeded, to_device
from avol.train.data.batches import BatchPlan, BatchSource
from avol.train.data.material import Material, load_together
from avol.train.data.scene_pool import ScenePool
from avol.train.data.sounds import SoundAugmenter
from avol.train.evaluate import Evaluator, Results
from avol.train.losses import balanced_accuracy, correspondence_loss
from avol.train.network import TwoTowerNetwork, build_network, preset_spec

FOLDER = Path(__file__).parent
CPU = torch.device("cpu")
FIXED_BATCHES = 42  # of 48 pictures each: 2,016 pictures, each with a sound
VALIDATION_PAIRS = 400
SCENES = 300
SMALLEST = 1e-9


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run.

    Attributes:
        group: the experiment it belongs to.
        left_out: kind of material or treatment that this run does without.
        distilled: start from the distilled frame tower and the guide's audio tower; otherwise from chance.
        fixed: learn from the same 42 batches over and over, in random order.
        context_columns: of the track to both sides of a window, over which the audio tower runs; 0: windows alone,
            padded with zeros by every convolution.
    """

    group: str
    label: str
    seed: int = 0
    preset: str = "avol-128-half-width"
    steps: int = 250
    learning_rate: float = 8e-4
    left_out: str = ""
    distilled: bool = True
    fixed: bool = False
    context_columns: int = 0

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.group}-{self.label.replace(' ', '-')}-{self.seed}"


KINDS = ("photographs", "clips", "real backgrounds", "cut-outs", "mosaics", "audio augmentation", "synthetic scenes")
VARIANTS = {"full": "avol-128", "half width": "avol-128-half-width", "half depth": "avol-128-half-depth"}
RUNS = [
    Run(group="material", label="everything"),
    *(Run(group="material", label=f"no {kind}", left_out=kind) for kind in KINDS),
    *(Run(group="audio", label="windows", left_out="synthetic scenes", seed=seed) for seed in range(3)),
    *(
        Run(group="audio", label="running", left_out="synthetic scenes", context_columns=64, seed=seed)
        for seed in range(3)
    ),
    *(
        Run(group="variants", label=label, preset=preset, steps=336, distilled=False, fixed=True, seed=seed)
        for seed in range(3)
        for label, preset in VARIANTS.items()
        if seed == 0 or label != "full"
    ),
]


class PlainSound(SoundAugmenter):
    """The middle of the window as it was recorded."""

    def __call__(self, rng: np.random.Generator, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """``needed_samples`` to ``clip_samples``."""
        return samples[self.lead : self.lead + self.count]


def source_of(run: Run, material: Material, spec: ModelSpec) -> BatchSource:
    """Batches for a run, without what it leaves out."""
    plan = BatchPlan()
    if run.left_out == "photographs":
        material = replace(material, photographs=[])
        plan = replace(plan, clip_only_labels=plan.photograph_labels + plan.clip_only_labels)
    if run.left_out == "clips":
        material = replace(material, clips=[])
    changes = {"real backgrounds": "real_background_share", "cut-outs": "cutout_share", "mosaics": "mosaic_share"}
    if run.left_out in changes:
        plan = replace(plan, **{changes[run.left_out]: 0.0})
    scenes = None if run.left_out == "synthetic scenes" or run.fixed else ScenePool(spec, scenes=SCENES)
    source = BatchSource(material, scenes, spec, plan)
    if run.left_out == "audio augmentation":
        source.augment_sound = PlainSound(spec.spectrogram)
    return source


def batches_of(run: Run, source: BatchSource) -> BatchAt:
    """By step."""
    if not run.fixed:
        return seeded(source.draw, 100 + run.seed, CPU)
    drawn = [to_device(source.draw(np.random.default_rng([7, number])), CPU) for number in range(FIXED_BATCHES)]

    def batch_at(step: int) -> TensorBatch:
        order = np.random.default_rng([run.seed, step // FIXED_BATCHES]).permutation(FIXED_BATCHES)
        return drawn[order[step % FIXED_BATCHES]]

    return batch_at


def map_logits(network: TwoTowerNetwork, batch: TensorBatch, context: int) -> Tensor:
    """Every picture with every sound: ``N x M x GH x GW``."""
    columns = network.spectrogram(batch.samples)
    with torch.autocast("cpu", torch.bfloat16):
        grid = network.frame_tower(batch.frames)
        vector = running_vectors(network.audio_tower, columns, context) if context else network.audio_tower(columns)
    return network.head.all_pairs(grid.float(), vector.float())


def localiser(network: TwoTowerNetwork, context: int):  # noqa: ANN201 (a Localise)
    """The network in evaluation mode as the evaluator asks for it."""

    def localise(frames: NDArray[np.uint8], samples: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            grid = network.frame_tower(torch.from_numpy(frames))
            with torch.autocast("cpu", enabled=False):
                columns = network.spectrogram(torch.from_numpy(samples))
            tower = network.audio_tower
            vector = running_vectors(tower, columns, context) if context else tower(columns)
        with torch.no_grad():
            return np.asarray(torch.sigmoid(network.head(grid.float(), vector.float())).numpy())

    return localise


def starting_network(run: Run, distilled: Path, guide: Path) -> TwoTowerNetwork:
    """Random, or as second-model's fine-tuning starts."""
    torch.manual_seed(run.seed)
    network = build_network(preset_spec(run.preset))
    if run.distilled:
        network.load_state_dict(torch.load(guide, weights_only=True)["network"])
        network.frame_tower.load_state_dict(torch.load(distilled, weights_only=True)["tower"])
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def learn(run: Run, network: TwoTowerNetwork, batch_at: BatchAt, evaluator: Evaluator) -> list[dict[str, float]]:
    """Train in place; gives the log."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=run.learning_rate)
    log, measured, started = [], [], time.monotonic()
    for step in range(run.steps):
        rate = min(1.0, (step + 1) / 40) * 0.5 * (1 + np.cos(np.pi * step / run.steps))
        for group in optimizer.param_groups:
            group["lr"] = run.learning_rate * rate
        network.train()
        batch = batch_at(step)
        logits = map_logits(network, batch, run.context_columns)
        loss = correspondence_loss(logits, batch.matches, known=batch.known)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        measured.append((loss.item(), balanced_accuracy(logits.detach(), batch.matches, batch.known)))
        every = FIXED_BATCHES if run.fixed else 25
        if (step + 1) % every == 0:
            loss_mean, accuracy = np.mean(measured[-every:], axis=0).tolist()
            log.append({"step": step + 1, "loss": loss_mean, "accuracy": accuracy})
            if run.fixed:
                log[-1] |= validated(network, evaluator)
            log[-1]["seconds"] = time.monotonic() - started
    return log


def validated(network: TwoTowerNetwork, evaluator: Evaluator) -> dict[str, float]:
    """Accuracy and loss of fixed pairs of the validation part."""
    network.eval()
    asked, scores = evaluator.sets.composite_pairs(VALIDATION_PAIRS), []
    localise = localiser(network, 0)
    for windows in (asked.own, asked.foreign):
        maps = [
            localise(np.stack(asked.frames[at : at + 32]), np.stack(windows[at : at + 32]))
            for at in range(0, len(windows), 32)
        ]
        scores.append(np.concatenate(maps).max(axis=(1, 2)).clip(SMALLEST, 1 - SMALLEST))
    true, false = scores
    return {
        "validation_accuracy": float(((true > 0.5).mean() + (false <= 0.5).mean()) / 2),
        "validation_loss": float(-(np.log(true).mean() + np.log(1 - false).mean()) / 2),
    }


def write_result(run: Run, log: list[dict[str, float]], results: Results) -> None:
    """The log, and the configuration with the figures."""
    lines = "".join(json.dumps({name: round(value, 5) for name, value in record.items()}) + "\n" for record in log)
    folder = FOLDER / "results" / run.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.jsonl").write_text(lines, encoding="utf-8")
    figures = {name: asdict(figure) for name, figure in results.figures.items()}
    text = json.dumps({"config": asdict(run), "part": "validation", "figures": figures}, indent=1)
    (folder / "result.json").write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Run what has no result yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--distilled", type=Path, required=True)
    parser.add_argument("--guide", type=Path, required=True)
    parser.add_argument("--only", default="", help="runs whose names begin so")
    arguments = parser.parse_args()
    spec = preset_spec("avol-128-half-width")
    train = load_together(arguments.data, part="train", spec=spec)
    held_out = load_together(arguments.data[:1], part="validation", spec=spec)
    labels = BatchSource(train, None, spec, BatchPlan()).trained_labels
    evaluators: dict[int, Evaluator] = {}
    for run in RUNS:
        if not run.name.startswith(arguments.only) or (FOLDER / "results" / run.name / "result.json").exists():
            continue
        heard = with_context(spec, run.context_columns)
        if run.context_columns not in evaluators:
            evaluators[run.context_columns] = Evaluator(held_out, heard, labels)
        evaluator = evaluators[run.context_columns]
        network = starting_network(run, arguments.distilled, arguments.guide)
        source = source_of(run, train, heard)
        log = learn(run, network, batches_of(run, source), evaluator)
        network.eval()
        results = evaluator.everything(localiser(network, run.context_columns))
        write_result(run, log, results)
        means = {name: round(figure.value, 3) for name, figure in results.figures.items()}
        print(run.name, log[-1], means, flush=True)


if __name__ == "__main__":
    main()
