"""How well a linear layer tells the classes of held-out recordings apart, by what it is given of them.

    python reports/ears/probe.py runs/third/checkpoint.safetensors --ears ears --distilled ears.pt \
        --data ../shared/data --data data/extra-sounds

Learnt on the train part, asked about the validation part, five windows of a second a recording; the share right is a
mean over classes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from ears import load_ears
from torch import Tensor, nn

from avol.train.checkpoint import load_checkpoint
from avol.train.data.material import Sound, load_together
from avol.train.data.sounds import root_mean_square, window_at
from avol.train.network import TwoTowerNetwork

WINDOWS, PER_CALL, QUIET = 5, 32, 3e-3
STEPS, BATCH = 600, 1024


def windows_of(sounds: list[Sound], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows float32 ``N x count`` spread over each recording, and their classes."""
    windows, labels = [], []
    for sound in sounds:
        for start in np.linspace(0.05, 0.9, WINDOWS) * max(len(sound.samples) - count, 0):
            window = window_at(sound.samples, int(start), count)
            if root_mean_square(window) > QUIET:
                windows.append(window)
                labels.append(sound.label)
    return np.stack(windows), np.array(labels)


def pooled(network: TwoTowerNetwork, windows: np.ndarray) -> np.ndarray:
    """The layer of the audio tower before its embedding."""
    with torch.no_grad():
        return network.audio_tower.pooled_features(network.spectrogram(torch.from_numpy(windows))).numpy()


def fitted(features: Tensor, classes: Tensor) -> nn.Linear:
    """A linear layer, every class counting as much as the others."""
    torch.manual_seed(0)
    layer = nn.Linear(features.shape[1], int(classes.max()) + 1)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=3e-3, weight_decay=0.1)
    weights = 1 / torch.bincount(classes).float()
    for _ in range(STEPS):
        rows = torch.randint(len(features), (BATCH,))
        found = layer(F.dropout(features[rows], 0.3))
        loss = F.cross_entropy(found, classes[rows], weights, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return layer


def main() -> None:
    """Probe and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--ears", type=Path, required=True)
    parser.add_argument("--distilled", type=Path, required=True)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "probe.json")
    arguments = parser.parse_args()
    own, taught = (load_checkpoint(arguments.checkpoint).eval() for _ in range(2))
    taught.audio_tower.load_state_dict(torch.load(arguments.distilled, weights_only=True)["tower"])
    ears, asked = load_ears(arguments.ears), {}
    for part in ("train", "validation"):
        sounds = load_together(arguments.data, part=part, spec=own.spec).sounds
        asked[part] = windows_of(sounds, own.spec.spectrogram.clip_samples)
    classes = sorted(set(asked["train"][1]))
    known = np.isin(asked["validation"][1], classes)
    truth = np.searchsorted(classes, asked["validation"][1][known])
    found: dict[str, object] = {"classes": len(set(truth)), "windows": int(known.sum())}
    listeners = {"own": lambda w: pooled(own, w), "ears": ears, "own, taught by the ears": lambda w: pooled(taught, w)}
    for name, listen in listeners.items():
        features = {}
        for part, (windows, _) in asked.items():
            parts = [windows[first : first + PER_CALL] for first in range(0, len(windows), PER_CALL)]
            features[part] = torch.from_numpy(np.concatenate([listen(some) for some in parts]))
        mean, deviation = features["train"].mean(dim=0), features["train"].std(dim=0) + 1e-3
        layer = fitted(
            (features["train"] - mean) / deviation, torch.from_numpy(np.searchsorted(classes, asked["train"][1]))
        )
        with torch.no_grad():
            told = layer((features["validation"][torch.from_numpy(known)] - mean) / deviation).argmax(dim=1).numpy()
        found[name] = round(float(np.mean([np.mean(told[truth == kind] == kind) for kind in np.unique(truth)])), 4)
        print(name, found[name], flush=True)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
