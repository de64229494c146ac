"""The words and tables of reports/README.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HEAD = """\
# Report

Made by `make report` from the results in this folder. What was trained: class-labelled photographs and sounds, real
clips and synthetic scenes ([MODEL_CARD.md](../MODEL_CARD.md) lists the material). All pictures here are synthetic
scenes of this repository. Brackets are 95 % bootstrap intervals over sources."""

HISTORY = """\
The report's Figure 2. Training batches alone: this run logged no validation, so no point of overfitting is marked."""

VARIANTS = """\
The report's Figure 3: full width, half the channels, half the convolutions, each learning from the same 2,016 pairs
over and over on a CPU, one seed ([experiments](experiments/README.md)). The training loss is the recipe's, over all
pairs of a batch; the validation loss is cross-entropy, and its level another."""

WEIGHTS = "The report's Figure 4: strongest kernels of both towers first."

PANELS = """\
The report's Figures 5 and 6: true pairs, one picture with two sounds, and sounds whose source is not in the
picture."""

TRANSFER = """\
## What other tasks can use of the audio tower

Accuracy of a linear probe on ESC-10 (400 clips, the five official folds; `avol eval --protocol esc10`): logistic
regression on the mean vector of a clip's windows, standardised, its penalty chosen within the training folds. Published
figures probe denser features of networks that heard hundreds of thousands of clips.
"""

SYSTEMS = """\
Each learnt from the same 300 synthetic scenes for {steps} batches of 24 pictures and 8 sounds, from chance, one seed
(`python reports/systems/compare.py`), and was asked about scenes of several objects that it has not seen, with a
threshold fitted on others. It is a small budget on drawn pictures: what needs longer to get going, or the losses and
towers of photographs, does not show what it can. Pairs: the sound of an object in the picture, or of one that is not. \
Peak in box: of the sounding object; beside it the same with a foreign sound, and the centre of the picture. \
\N{DAGGER} By class activation: the head on every cell before the pooling. ESC-10: the linear probe (above) of what
these audio towers make of real sounds, after scenes alone and untrained; empty where it was not run. \
[docs/systems.md](../docs/systems.md) says what each system is."""

MATERIAL = """\
### On photographs, sounds and clips

The same systems, each for {steps} batches on the photographs, sounds, clips and scenes of the train part
(`python reports/systems/material.py`), asked on the validation part with `avol eval`; for what
is one cell there are none of places. Guessing gives 50 %, and 25 % of the mosaics. There are few validation clips:
intervals over their sources are some 15 points wide and are in the JSON files beside the logs. Last, the probe on
ESC-10 (above) of the audio tower, trained and untrained. It is a tenth of the steps of a usable model, one
seed, and ranks no system."""

LIMITS = """\
## What cannot be compared

- The report's 70.9 % is accuracy on pairs of frames and sounds of the same videos, against those of other videos.
  The pairs above are made of photographs and sounds of one class, which is another task.
- Published figures on VGG-SS, Flickr-SoundNet and MUSIC come from networks that learnt from 10,000 clips of
  them and more, and hear three seconds of sound or more. `avol eval --protocol` measures a model by the same
  rules, with controls beside it.
- The systems' tables above, where there are any, compare networks with each other on a small budget. They say
  nothing about what each reaches with its authors' data."""

# Figure -> words, control: a figure or a constant.
ROWS = {
    "composite_pairs_accuracy": ("Photograph with a sound of its class or of another: right answer", 0.5),
    "composite_pairs_auc": ("… area under the ROC curve", 0.5),
    "photograph_mosaics_right_quarter": ("Four photographs, one heard: right quarter", 0.25),
    "clip_mosaics_right_quarter": ("Four real clips, one heard: right quarter", 0.25),
    "clip_mosaics_peak_in_box": ("… and in that clip's box", None),
    "clip_peak_in_box": ("Real clips: peak in the source's box", "clip_centre_in_box"),
    "clip_iou": ("Real clips: IoU at least 0.5 by the median rule", "clip_iou_of_centred_disc"),
    "own_sound_over_silence_auc": ("Own sound over silence, AUC", 0.5),
    "own_sound_over_foreign_auc": ("Own sound over another class's, AUC", 0.5),
}
FOREIGN = {"clip_peak_in_box": "clip_peak_in_box_with_foreign_sound", "clip_iou": "clip_iou_with_foreign_sound"}


def bundled_model(results: Mapping[str, Any]) -> str:
    """Figures of the bundled model on the test part, each beside its control."""
    figures = results["figures"]
    lines = [
        f"## The bundled model\n\n{results['model']['name']}, `{results['model']['sha256'][:12]}…`, "
        f"{results['part']} part.\n",
        "| Measure | Model | Control | With a foreign sound | Samples |",
        "|---|---|---|---|---|",
    ]
    for name, (words, control) in ROWS.items():
        if name not in figures:
            continue
        beside = "" if control is None else _percent(figures[control]) if isinstance(control, str) else f"{control:.0%}"
        foreign = _percent(figures[FOREIGN[name]]) if name in FOREIGN else ""
        lines.append(f"| {words} | {_percent(figures[name])} | {beside} | {foreign} | {figures[name]['count']} |")
    return "\n".join(lines)


def by_class(results: Mapping[str, Any]) -> str:
    """Right answers by class, the worst first."""
    found = results["by_class"].get("composite_pairs_accuracy", {})
    mosaics = results["by_class"].get("photograph_mosaics_right_quarter", {})
    lines = ["## By class\n", "| Class | Pairs | n | Photograph mosaics | n |", "|---|---|---|---|---|"]
    for label, figure in sorted(found.items(), key=lambda item: item[1]["value"]):
        other = mosaics.get(label)
        cells = f"{other['value']:.0%} | {other['count']}" if other else " | "
        lines.append(f"| {label.replace('_', ' ')} | {figure['value']:.0%} | {figure['count']} | {cells} |")
    return "\n".join(lines)


def transfer(folder: Path) -> str:
    """The probe on ESC-10, a row per layer and part; empty where none was measured."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("esc10-*.json"))]
    if not found:
        return ""
    lines: list[str] = []
    for record in found:
        (table,) = record["tables"].values()
        if not lines:
            lines = [TRANSFER, f"| Layer | Clips | {' | '.join(next(iter(table.values())))} | n |"]
            lines.append("|---" * (len(lines[-1].split("|")) - 2) + "|")
        for row, figures in table.items():
            cells = " | ".join(_percent(figure) for figure in figures.values())
            count = next(iter(figures.values()))["count"]
            lines.append(f"| {record['model']['layer']} | {row} | {cells} | {count} |")
    notes = dict.fromkeys(note for record in found for note in record["notes"])
    return "\n".join([*lines, *(f"\n{note[0].upper()}{note[1:]}." for note in notes)])


def reliability(record: Mapping[str, Any]) -> str:
    """What a calibration changed."""
    before, after = (record[stage]["expected_calibration_error"] for stage in ("before", "after"))
    return (
        "Photographs and clips of the validation part, each with its own and a foreign sound. Expected calibration "
        f"error {before:.1%} as bundled, {after:.1%} after `avol calibrate` on the same pairs; the threshold for "
        "`sounding` travels with the model."
    )


def failures(counts: Mapping[str, tuple[int, int, int]]) -> str:
    """How often which class fails."""
    lines = [
        "Synthetic scenes of two objects, one heard; the classes that fail most first, and of each the worst scenes.\n",
        "| Class | Scenes | Peak beside the source | Score below the threshold |",
        "|---|---|---|---|",
    ]
    lines += [f"| {kind} | {n} | {beside} | {missed} |" for kind, (n, beside, missed) in counts.items()]
    return "\n".join(lines)


def systems(folder: Path) -> str:
    """One row per system that was trained on the same data and budget; empty where none was."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*/result.json"))]
    if not found:
        return ""
    steps = ", ".join(sorted({str(result["steps"]) for result in found}))
    parts = [f"## Systems\n\n{SYSTEMS.format(steps=steps)}\n", _rows(found)]
    material = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*/material.json"))]
    if material:
        steps = ", ".join(sorted({str(result["steps"]) for result in material}))
        parts += [f"\n{MATERIAL.format(steps=steps)}\n", _rows(material)]
    return "\n".join(parts)


def _rows(results: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for result in results for name in result["row"]))
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += ["| " + " | ".join(str(result["row"].get(name, "")) for name in columns) + " |" for result in results]
    return "\n".join(lines)


def _percent(figure: Mapping[str, float]) -> str:
    return f"{100 * figure['value']:.1f} % [{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]"
