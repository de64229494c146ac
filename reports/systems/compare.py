"""Every system on the same material, for the same number of batches: one row each in reports/README.md.

    python reports/systems/compare.py --data ../shared/data [--only NAME ...] [--steps 400] [--runs runs/systems]
    python reports/systems/compare.py --time

The first trains what has no result yet (`avol train`, which goes on where it was cut off), fits a calibration on the
validation part, measures on the test part, and writes `NAME/result.json` and `NAME/log.jsonl`. The second adds how long
a pair takes in PyTorch on one core, all systems in turn; run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from avol.runtime.model_folder import CHECKPOINT_FILE
from avol.train.calibration import fit, score_pairs
from avol.train.checkpoint import load_checkpoint
from avol.train.data.classes import split_names
from avol.train.data.material import load_together
from avol.train.evaluate import Evaluator, Localise, Results
from avol.train.network import TwoTowerNetwork, build_network, preset_spec
from avol.train.network.activation import activation_logits
from avol.train.network.cost import count_multiply_adds, count_parameters
from avol.train.network.presets import SYSTEMS
from avol.train.protocols.model import open_model

FOLDER = Path(__file__).parent
STEPS = 400
TIMED_PAIRS, TIMED_ROUNDS = 8, 9


@dataclass(frozen=True)
class Contender:
    """A row: its words, its preset, and what ``avol train`` is told beside it."""

    words: str
    preset: str
    options: tuple[str, ...] = ()


CONTENDERS = {
    "avol-net": Contender("AVOL-net", "avol-128-half-width"),
    "avol-net-half-depth": Contender("AVOL-net, full width, half depth", "avol-128-half-depth"),
    "ave-net": Contender("AVE-Net", "ave-net-128-half-width"),
    "l3-net": Contender("L3-Net", "l3-net-128-half-width"),
    "ez-vsl": Contender("EZ-VSL", "ez-vsl-128-half-width"),
    "attention": Contender("Attention, triplets", "attention-128-half-width"),
    "attention-boxes": Contender(
        "Attention, told the places of cut-outs and scenes", "attention-128-half-width", ("--box-weight", "0.5")
    ),
    "sound-net": Contender("AVOL-net with SoundNet's ear", "sound-net-128-half-width"),
}


def train(contender: Contender, data: list[Path], steps: int, out: Path) -> None:
    """`avol train`; a run that is complete is left alone."""
    command = [sys.executable, "-m", "avol", "train", "--preset", contender.preset, "--steps", str(steps)]
    for folder in data:
        command += ["--data", str(folder)]
    subprocess.run([*command, "--out", str(out), *contender.options], check=True)


def probabilities(network: TwoTowerNetwork, scale: float, bias: float) -> Localise:
    """Calibrated maps; of a network of one cell, its class activation."""

    @torch.no_grad()
    def localise(frames: NDArray[np.uint8], samples: NDArray[np.float32]) -> NDArray[np.float32]:
        given = torch.from_numpy(frames), torch.from_numpy(samples)
        logits = activation_logits(network, *given) if network.frame_tower.pooled else network(*given)
        return np.asarray(torch.sigmoid(logits * scale + bias), dtype=np.float32)

    return localise


def measure(checkpoint: Path, data: list[Path]) -> Results:
    """Figures of the test part, with a calibration fitted on the validation part.

    Pairs are told apart by the network's own score; where it has no map, places come from its class activation.
    """
    model = open_model(checkpoint)
    calibration = fit(score_pairs(model, data, part="validation")).calibration
    network = load_checkpoint(checkpoint)
    network.spec = replace(network.spec, calibration=calibration)
    labels = split_names(network.spec.training["classes"])
    evaluator = Evaluator(load_together(data, part="test", spec=network.spec), network.spec, labels)
    places = evaluator.everything(probabilities(network, calibration.scale, calibration.bias))
    if network.frame_tower.pooled:

        @torch.no_grad()
        def score(frames: NDArray[np.uint8], samples: NDArray[np.float32]) -> NDArray[np.float32]:
            logits = network(torch.from_numpy(frames), torch.from_numpy(samples))
            return np.asarray(torch.sigmoid(logits * calibration.scale + calibration.bias), dtype=np.float32)

        scores = Results()
        evaluator.composite_pairs(score, scores)
        evaluator.silence_and_foreign_sound(score, scores)
        places.figures |= scores.figures
        places.by_class |= scores.by_class
    return places


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
        "Pairs": share("composite_pairs_accuracy"),
        "AUC": share("composite_pairs_auc"),
        "Own over foreign, AUC": share("own_sound_over_foreign_auc"),
        "Photograph mosaics": share("photograph_mosaics_right_quarter") + by_activation,
        "Clip mosaics": share("clip_mosaics_right_quarter") + by_activation,
        "Peak in box": share("clip_peak_in_box") + by_activation,
        "… centre of the frame": share("clip_centre_in_box"),
    }


def write_result(name: str, record: dict[str, Any]) -> None:
    """Beside the others, under its final name when complete."""
    path = FOLDER / name / "result.json"
    path.parent.mkdir(exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)


def compare(names: list[str], data: list[Path], steps: int, runs: Path) -> None:
    """Train and measure what has no result."""
    for name in names:
        if (FOLDER / name / "result.json").exists():
            continue
        contender, out = CONTENDERS[name], runs / name
        train(contender, data, steps, out)
        found = measure(out / CHECKPOINT_FILE, data)
        figures = {key: asdict(figure) for key, figure in found.figures.items()}
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


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", default=[], metavar="DIR", help="labelled material")
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS), metavar="NAME")
    parser.add_argument("--steps", type=int, default=STEPS, help="(default: %(default)s)")
    parser.add_argument("--runs", type=Path, default=Path("runs/systems"), help="(default: %(default)s)")
    parser.add_argument("--time", action="store_true")
    arguments = parser.parse_args()
    if arguments.time:
        time_pairs(arguments.only)
    elif arguments.data:
        compare(arguments.only, arguments.data, arguments.steps, arguments.runs)
    else:
        parser.error("--data is needed, or --time")


if __name__ == "__main__":
    main()
