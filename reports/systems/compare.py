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
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from contenders import CONTENDERS, FOLDER, Contender, percent, probe, write_result
from scene_questions import measure

from avol.runtime.model_folder import CHECKPOINT_FILE
from avol.train.network import build_network, preset_spec
from avol.train.network.cost import count_multiply_adds, count_parameters
from avol.train.network.presets import SYSTEMS

STEPS = 120
TIMED_PAIRS, TIMED_ROUNDS = 8, 9


def train(contender: Contender, steps: int, out: Path) -> None:
    """`avol train` on scenes; a run that is complete is left alone."""
    command = [sys.executable, "-m", "avol", "train", "--preset", contender.preset, "--steps", str(steps)]
    subprocess.run([*command, "--out", str(out), *contender.options], check=True)


def row_of(contender: Contender, figures: dict[str, Any], milliseconds: float | None) -> dict[str, str]:
    """The row of the table."""
    network = build_network(preset_spec(contender.preset))

    by_activation = "\N{DAGGER}" if SYSTEMS[network.spec.system].one_cell else ""
    return {
        "System": contender.words,
        "Preset": f"`{contender.preset}`",
        "Parameters": f"{count_parameters(network) / 1e6:.2f} M",
        "Multiply-adds a pair": f"{count_multiply_adds(network) / 1e9:.2f} G",
        "ms a pair": "" if milliseconds is None else f"{milliseconds:.1f}",
        "Pairs": percent(figures, "pairs_accuracy"),
        "AUC": percent(figures, "pairs_auc"),
        "Over silence, AUC": percent(figures, "own_over_silence_auc"),
        "Peak in box": percent(figures, "peak_in_box") + by_activation,
        "with a foreign sound": percent(figures, "peak_in_box_with_foreign_sound"),
        "centre": percent(figures, "peak_in_box_of_centred_disc"),
        "ESC-10 probe": percent(figures, "esc10_network"),
        "untrained": percent(figures, "esc10_untrained_network"),
    }


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
