"""Every system on the same synthetic scenes, for the same number of batches: one row each in reports/README.md.

    python reports/systems/compare.py [--only NAME ...] [--steps 120] [--runs runs/systems]
    python reports/systems/compare.py --time
    python reports/systems/compare.py --probe ../shared/data

The first trains what has no result yet (`avol train`, which goes on where it was cut off), fits a calibration on scenes
that it has not seen, measures on others, and writes `NAME/result.json` and `NAME/log.jsonl`. It needs nothing but this
repository. The second adds how long a pair takes in PyTorch on one core, all in turn; run it on an idle machine. The
third adds what a linear probe makes of the audio towers' vectors on ESC-10 (`avol eval --protocol esc10`).
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from avol.runtime.model_folder import CHECKPOINT_FILE
from avol.runtime.spec import ModelSpec
from avol.train.checkpoint import load_checkpoint
from avol.train.data.scene_pool import scene_moments
from avol.train.metrics import (
    Figure,
    centred_disc,
    median_rule_iou,
    peak_position,
    platt_scaling,
    point_in_boxes,
)
from avol.train.network import TwoTowerNetwork, build_network, preset_spec
from avol.train.network.activation import activation_logits
from avol.train.network.cost import count_multiply_adds, count_parameters
from avol.train.network.presets import SYSTEMS

Box = tuple[float, float, float, float]
Maps = NDArray[np.float32]
FOLDER = Path(__file__).parent
STEPS = 120
SCENES, FIRST_VALIDATION, FIRST_TEST = 100, 5_000_000, 6_000_000  # of others than those of training
BATCH = 32
TIMED_PAIRS, TIMED_ROUNDS = 8, 9
PROBE = ("ESC-10, accuracy of a linear probe", "mean of the folds")


@dataclass(frozen=True)
class Contender:
    """A row: its words, its preset, and what ``avol train`` is told beside it."""

    words: str
    preset: str
    options: tuple[str, ...] = ()


CONTENDERS = {
    "avol-net": Contender("AVOL-net", "avol-128-half-width"),
    "avol-net-full": Contender("AVOL-net, full width", "avol-128"),
    "avol-net-224": Contender("AVOL-net, full width, 224 pixels, 48 kHz", "avol-224"),
    "avol-net-half-depth": Contender("AVOL-net, full width, half depth", "avol-128-half-depth"),
    "ave-net": Contender("AVE-Net", "ave-net-128-half-width"),
    "l3-net": Contender("L3-Net", "l3-net-128-half-width"),
    "ez-vsl": Contender("EZ-VSL", "ez-vsl-128-half-width"),
    "attention": Contender("Attention, triplets", "attention-128-half-width"),
    "attention-boxes": Contender("Attention, told boxes", "attention-128-half-width", ("--box-weight", "0.5")),
    "sound-net": Contender("AVOL-net with SoundNet's ear", "sound-net-128-half-width"),
}


def train(contender: Contender, steps: int, out: Path) -> None:
    """`avol train` on scenes; a run that is complete is left alone."""
    command = [sys.executable, "-m", "avol", "train", "--preset", contender.preset, "--steps", str(steps)]
    subprocess.run([*command, "--out", str(out), *contender.options], check=True)


@dataclass(frozen=True)
class Questions:
    """Moments of scenes of several objects, of which one is heard; foreign sounds are of a kind not in the picture."""

    frames: NDArray[np.uint8]
    own: NDArray[np.float32]
    foreign: NDArray[np.float32]
    boxes: list[list[Box]]
    groups: list[str]


def questions(spec: ModelSpec, first_seed: int) -> Questions:
    """The same for every system of one front end."""
    moments = [(seed, m) for seed in range(first_seed, first_seed + SCENES) for m in scene_moments(seed, spec)]
    rng, foreign = np.random.default_rng(first_seed), []
    for _, moment in moments:
        others = [other for _, other in moments if other.sounding not in moment.kinds]
        foreign.append(others[rng.integers(len(others))].samples)
    return Questions(
        frames=np.stack([moment.frame for _, moment in moments]),
        own=np.stack([moment.samples for _, moment in moments]),
        foreign=np.stack(foreign),
        boxes=[[moment.box] for _, moment in moments],
        groups=[str(seed) for seed, _ in moments],
    )


@torch.no_grad()
def logits(network: TwoTowerNetwork, frames: NDArray[np.uint8], samples: NDArray[np.float32]) -> Maps:
    """Pairs' map logits: of a network of one cell ``N x 1 x 1``."""
    starts = range(0, len(frames), BATCH)
    return np.concatenate(
        [
            network(torch.from_numpy(frames[i : i + BATCH]), torch.from_numpy(samples[i : i + BATCH])).numpy()
            for i in starts
        ]
    )


def places(network: TwoTowerNetwork, frames: NDArray[np.uint8], samples: NDArray[np.float32]) -> Maps:
    """Where a network of one cell would hear the sound: its class activation."""
    starts = range(0, len(frames), BATCH)
    return np.concatenate(
        [
            activation_logits(
                network, torch.from_numpy(frames[i : i + BATCH]), torch.from_numpy(samples[i : i + BATCH])
            ).numpy()
            for i in starts
        ]
    )


def measure(checkpoint: Path) -> dict[str, Figure]:
    """Figures on held-out scenes, each beside its control; right and wrong by a threshold fitted on others."""
    network = load_checkpoint(checkpoint)
    fitted, asked = (questions(network.spec, seed) for seed in (FIRST_VALIDATION, FIRST_TEST))
    true, false = (logits(network, fitted.frames, w).max(axis=(1, 2)) for w in (fitted.own, fitted.foreign))
    truth = np.concatenate([np.ones(len(true)), np.zeros(len(false))])
    scale, bias = platt_scaling(np.concatenate([true, false]).astype(np.float64), truth)
    own, foreign, silent = (
        logits(network, asked.frames, windows) for windows in (asked.own, asked.foreign, np.zeros_like(asked.own))
    )
    scores = [1 / (1 + np.exp(-(scale * maps.max(axis=(1, 2)) + bias))) for maps in (own, foreign, silent)]
    figures = {
        "pairs_accuracy": Figure.accuracy(scores[0], scores[1], asked.groups),
        "pairs_auc": Figure.auc(scores[0], scores[1], asked.groups),
        "own_over_silence_auc": Figure.auc(scores[0], scores[2], asked.groups),
    }
    if network.frame_tower.pooled:
        own, foreign = (places(network, asked.frames, windows) for windows in (asked.own, asked.foreign))
    disc = np.broadcast_to(centred_disc(*own.shape[1:]), own.shape)
    for name, maps in (("", own), ("_with_foreign_sound", foreign), ("_of_centred_disc", disc)):
        hits = [float(median_rule_iou(m, boxes) >= 0.5) for m, boxes in zip(maps, asked.boxes, strict=True)]
        figures[f"ciou{name}"] = Figure.share(hits, asked.groups)
        points = [(0.5, 0.5) if maps is disc else peak_position(m) for m in maps]
        inside = [float(point_in_boxes(p, boxes)) for p, boxes in zip(points, asked.boxes, strict=True)]
        figures[f"peak_in_box{name}"] = Figure.share(inside, asked.groups)
    return figures


def row_of(contender: Contender, figures: dict[str, Any], milliseconds: float | None) -> dict[str, str]:
    """The row of the table."""
    network = build_network(preset_spec(contender.preset))

    def share(name: str) -> str:
        figure = figures.get(name)
        return "" if figure is None else f"{100 * figure['value']:.1f} %"

    by_activation = "\N{DAGGER}" if SYSTEMS[network.spec.system].one_cell else ""
    return {
        "System": contender.words,
        "Preset": f"`{contender.preset}`",
        "Parameters": f"{count_parameters(network) / 1e6:.2f} M",
        "Multiply-adds a pair": f"{count_multiply_adds(network) / 1e9:.2f} G",
        "ms a pair": "" if milliseconds is None else f"{milliseconds:.1f}",
        "Pairs": share("pairs_accuracy"),
        "AUC": share("pairs_auc"),
        "Over silence, AUC": share("own_over_silence_auc"),
        "Peak in box": share("peak_in_box") + by_activation,
        "with a foreign sound": share("peak_in_box_with_foreign_sound"),
        "centre": share("peak_in_box_of_centred_disc"),
        "ESC-10 probe": share("esc10_network"),
        "untrained": share("esc10_untrained_network"),
    }


def write_result(name: str, record: dict[str, Any]) -> None:
    """Beside the others, under its final name when complete."""
    path = FOLDER / name / "result.json"
    path.parent.mkdir(exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)


def compare(names: list[str], steps: int, runs: Path) -> None:
    """Train and measure what has no result."""
    for name in names:
        if (FOLDER / name / "result.json").exists():
            continue
        contender, out = CONTENDERS[name], runs / name
        train(contender, steps, out)
        figures = {key: asdict(figure) for key, figure in measure(out / CHECKPOINT_FILE).items()}
        record = {"row": row_of(contender, figures, None), "preset": contender.preset, "steps": steps}
        write_result(name, record | {"options": list(contender.options), "milliseconds": None, "figures": figures})
        shutil.copy(out / "log.jsonl", FOLDER / name / "log.jsonl")
        print(json.dumps(record["row"], ensure_ascii=False, indent=1), flush=True)


def time_pairs(names: list[str]) -> None:
    """Milliseconds a pair on one core, the median of rounds in which all take turns."""
    torch.set_num_threads(1)
    networks = {name: build_network(preset_spec(CONTENDERS[name].preset)).eval() for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-1, TIMED_ROUNDS):
        for name, network in networks.items():
            spec = network.spec
            frames = torch.zeros(TIMED_PAIRS, spec.frame_height, spec.frame_width, 3, dtype=torch.uint8)
            samples = torch.zeros(TIMED_PAIRS, spec.spectrogram.clip_samples)
            started = time.perf_counter()
            with torch.no_grad():
                network(frames, samples)
            if number >= 0:
                seconds[name].append(time.perf_counter() - started)
    for name, taken in seconds.items():
        path = FOLDER / name / "result.json"
        if path.exists():
            record = json.loads(path.read_text(encoding="utf-8"))
            record["milliseconds"] = round(1000 * statistics.median(taken) / TIMED_PAIRS, 2)
            record["row"] = row_of(CONTENDERS[name], record["figures"], record["milliseconds"])
            write_result(name, record)


def probe(checkpoint: Path, data: Path) -> dict[str, Any]:
    """Accuracies of a linear probe on ESC-10, of the trained tower's vectors and of an untrained one's."""
    found = checkpoint.with_name("esc10.json")
    clips = ["--annotations", str(data / "audio.csv"), "--media", str(data / "audio")]
    command = [sys.executable, "-m", "avol", "eval", "--protocol", "esc10", *clips, str(checkpoint)]
    subprocess.run([*command, "--json", str(found)], check=True)
    table, row = PROBE
    figures = json.loads(found.read_text(encoding="utf-8"))["tables"][table][row]
    return {f"esc10_{name.replace(' ', '_')}": figure for name, figure in figures.items()}


def add_probes(names: list[str], data: Path, runs: Path) -> None:
    """Probe the audio towers of runs that have a result and no probe."""
    for name in names:
        path = FOLDER / name / "result.json"
        record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        if record is None or "esc10_network" in record["figures"]:
            continue
        record["figures"] |= probe(runs / name / CHECKPOINT_FILE, data)
        record["row"] = row_of(CONTENDERS[name], record["figures"], record["milliseconds"])
        write_result(name, record)


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS), metavar="NAME")
    parser.add_argument("--steps", type=int, default=STEPS, help="(default: %(default)s)")
    parser.add_argument("--runs", type=Path, default=Path("runs/systems"), help="(default: %(default)s)")
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--probe", type=Path, metavar="DATA", help="labelled material with the clips of ESC-10")
    arguments = parser.parse_args()
    if arguments.time:
        time_pairs(arguments.only)
    elif arguments.probe is not None:
        add_probes(arguments.only, arguments.probe, arguments.runs)
    else:
        compare(arguments.only, arguments.steps, arguments.runs)


if __name__ == "__main__":
    main()
