"""What hearing a video with the audio tower run over its track costs: the bundled model, asked both ways.

    python reports/experiments/running.py runtime/models/avol-128-half-width --data ../shared/data

Every question about clips is asked twice: with the window around the frame alone, as the model was trained, and with
the vector of the nearest place on the tower's grid, its convolutions over the track beside the window.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avol.export.modules import RunningAudio
from avol.runtime.spec import ModelSpec
from avol.train.checkpoint import load_checkpoint
from avol.train.data.material import load_together
from avol.train.evaluate import Evaluator, Localise, Results
from avol.train.network import TwoTowerNetwork

BESIDE = 96  # columns to both sides of a window: what the convolutions reach, and half a step of the grid


def wider(spec: ModelSpec) -> ModelSpec:
    """A spec whose windows hold what is beside them in the track."""
    sound = spec.spectrogram
    return replace(spec, spectrogram=replace(sound, columns=sound.columns + 2 * BESIDE))


def localiser(network: TwoTowerNetwork, *, running: bool) -> Localise:
    """Answers to windows that hold what is beside them; off the grid by up to half a step, as frames of videos are."""
    sound, tower, rng = network.spec.spectrogram, network.audio_tower, np.random.default_rng(5)
    assert tower.running is not None
    stride, context = tower.running.stride_columns, tower.running.context_columns
    over_track = RunningAudio(tower, sound.columns)

    def vectors(columns: Tensor) -> Tensor:
        if not running:
            return tower(columns[..., BESIDE : BESIDE + sound.columns])
        firsts = BESIDE - context + rng.integers(-stride // 2, stride // 2, len(columns))
        count = sound.columns + 2 * context
        stretches = [one[:, first : first + count] for one, first in zip(columns, firsts, strict=True)]
        found: Tensor = over_track(torch.stack(stretches)).reshape(len(columns), -1, network.spec.embedding_size)
        return found[:, context // stride]

    def localise(frames: NDArray[np.uint8], samples: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            grid = network.frame_tower(torch.from_numpy(frames))
            logits = network.head(grid, vectors(network.spectrogram(torch.from_numpy(samples))))
            calibration = network.spec.calibration
            return np.asarray(torch.sigmoid(logits * calibration.scale + calibration.bias).numpy())

    return localise


def main() -> None:
    """Measure both on validation and test part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "running.json")
    arguments = parser.parse_args()
    network = load_checkpoint(arguments.model / "checkpoint.safetensors").eval()
    spec, found = network.spec, {}
    for part in ("validation", "test"):
        material = load_together([arguments.data], part=part, spec=spec)
        evaluator = Evaluator(material, wider(spec), spec.training["classes"].split(", "))
        for name, running in (("windows", False), ("running", True)):
            localise, results = localiser(network, running=running), Results()
            evaluator.clip_mosaics(localise, results)
            evaluator.clip_boxes(localise, results)
            evaluator.silence_and_foreign_sound(localise, results)
            found[f"{part}, {name}"] = {key: asdict(figure) for key, figure in results.figures.items()}
            for key, figure in results.figures.items():
                print(part, name, key, figure, flush=True)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
