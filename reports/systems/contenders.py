"""The systems of the tables, and what both tables need: cells, results, and the probe of a tower's vectors."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
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


def percent(figures: dict[str, Any], name: str) -> str:
    """A cell of the table; empty if there is no such figure."""
    return f"{100 * figures[name]['value']:.1f} %" if name in figures else ""


def write_result(name: str, record: dict[str, Any], file: str = "result.json") -> None:
    """Beside the others, under its final name when complete."""
    path = FOLDER / name / file
    path.parent.mkdir(exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)


def probe(checkpoint: Path, data: Path) -> dict[str, Any]:
    """Accuracies of a linear probe on ESC-10, of the trained tower's vectors and of an untrained one's."""
    found = checkpoint.with_name("esc10.json")
    clips = ["--annotations", str(data / "audio.csv"), "--media", str(data / "audio")]
    command = [sys.executable, "-m", "avol", "eval", "--protocol", "esc10", *clips, str(checkpoint)]
    subprocess.run([*command, "--json", str(found)], check=True)
    table, row = PROBE
    figures = json.loads(found.read_text(encoding="utf-8"))["tables"][table][row]
    return {f"esc10_{name.replace(' ', '_')}": figure for name, figure in figures.items()}
