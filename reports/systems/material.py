"""Every system on the same photographs, sounds and clips, for the same number of batches: the second table of systems.

    python reports/systems/material.py --data ../shared/data [--only NAME ...] [--steps 300] [--runs runs/material]

Trains what has no `NAME/material.json` yet (`avol train`, which goes on where it was cut off), measures it on the
validation part (`avol eval`), and probes its audio tower on ESC-10 (`avol eval --protocol esc10`). Systems are as in
compare.py.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from contenders import CONTENDERS, FOLDER, Contender, percent, probe, write_result

from avol.runtime.model_folder import CHECKPOINT_FILE

STEPS = 300
COLUMNS = {
    "Pairs, AUC": "composite_pairs_auc",
    "Photograph mosaics": "photograph_mosaics_right_quarter",
    "Clip mosaics": "clip_mosaics_right_quarter",
    "Clips: peak in box": "clip_peak_in_box",
    "with a foreign sound": "clip_peak_in_box_with_foreign_sound",
    "centre": "clip_centre_in_box",
    "Over silence, AUC": "own_sound_over_silence_auc",
    "Over foreign sound, AUC": "own_sound_over_foreign_auc",
    "ESC-10 probe": "esc10_network",
    "untrained": "esc10_untrained_network",
}


def train_and_measure(contender: Contender, data: Path, steps: int, out: Path) -> dict[str, Any]:
    """A system's figures on the validation part; a run that is complete is not trained again."""
    avol = [sys.executable, "-m", "avol"]
    train = [*avol, "train", "--data", str(data), "--preset", contender.preset, "--steps", str(steps)]
    subprocess.run([*train, "--out", str(out), *contender.options], check=True)
    found = out / "validation.json"
    checkpoint = out / CHECKPOINT_FILE
    ask = [*avol, "eval", str(checkpoint), str(data), "--part", "validation", "--json", str(found)]
    subprocess.run(ask, check=True)
    figures: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))["figures"]
    return figures | probe(checkpoint, data)


def row_of(contender: Contender, figures: dict[str, Any]) -> dict[str, str]:
    """The row of the table; a system of one cell has no figures of places."""
    return {"System": contender.words} | {column: percent(figures, name) for column, name in COLUMNS.items()}


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS), metavar="NAME")
    parser.add_argument("--steps", type=int, default=STEPS, help="(default: %(default)s)")
    parser.add_argument("--runs", type=Path, default=Path("runs/material"), help="(default: %(default)s)")
    arguments = parser.parse_args()
    for name in arguments.only:
        result = FOLDER / name / "material.json"
        if result.exists():
            continue
        contender, out = CONTENDERS[name], arguments.runs / name
        figures = train_and_measure(contender, arguments.data, arguments.steps, out)
        record = {
            "row": row_of(contender, figures),
            "preset": contender.preset,
            "options": list(contender.options),
            "steps": arguments.steps,
            "figures": figures,
        }
        result.parent.mkdir(exist_ok=True)
        shutil.copy(out / "log.jsonl", result.with_name("material.jsonl"))
        write_result(name, record, result.name)
        print(json.dumps(record["row"], ensure_ascii=False, indent=1), flush=True)


if __name__ == "__main__":
    main()
