"""Step 1: cut the train part's sounds into windows, and keep what the ears make of each.

python reports/ears/make_sound_bank.py SOUND_BANK --ears ears --data ../shared/data --data data/extra-sounds
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from ears import Ears, Features, load_ears
from numpy.typing import NDArray

from avol.train.data.material import load_together
from avol.train.data.sounds import QUIET_RMS, SoundAugmenter, root_mean_square, window_at
from avol.train.network import preset_spec

sys.path.insert(0, str(Path(__file__).parents[1] / "second-model"))
from common import COMPONENTS, PRESET

EVERY_SECONDS = 1.1
PER_CALL = 32
NETWORKS = (1706, 1706, 1024)  # features of each


def cut(recordings: list[NDArray[np.int16]], augmenter: SoundAugmenter) -> NDArray[np.int16]:
    """Windows with the lead that augmentation needs; quiet ones left out."""
    windows = []
    for samples in recordings:
        for start in range(0, max(len(samples) - augmenter.count, 1), round(EVERY_SECONDS * augmenter.rate_hz)):
            window = window_at(samples, start - augmenter.lead, augmenter.needed_samples)
            if root_mean_square(heard(window, augmenter)) > 3 * QUIET_RMS:
                windows.append(np.round(window * 32767).astype(np.int16))
    return np.stack(windows)


def heard(window: NDArray[np.float32], augmenter: SoundAugmenter) -> NDArray[np.float32]:
    """The part of a window that an untreated one consists of."""
    return window[..., augmenter.lead : augmenter.lead + augmenter.count]


def listen(ears: Ears, windows: NDArray[np.int16], augmenter: SoundAugmenter) -> Features:
    """The features of all windows, 4 KB each."""
    answers = []
    for first in range(0, len(windows), PER_CALL):
        some = windows[first : first + PER_CALL].astype(np.float32) / 32767
        answers.append(ears(np.ascontiguousarray(heard(some, augmenter))))
        if first % (50 * PER_CALL) == 0:
            print(f"{first} of {len(windows)}", flush=True)
    return np.concatenate(answers)


def components_of(features: Features) -> Features:
    """256 principal components, every network counting as much as the others.

    Each is divided by the fourth root of its variance: between what they are, where the first few are nearly all there
    is to learn, and all alike, where the last ones, which are chance, count as much.
    """
    centred = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-3)
    centred /= np.sqrt(np.repeat(NETWORKS, NETWORKS)).astype(np.float32)
    values, axes = np.linalg.eigh((centred.T @ centred / len(centred)).astype(np.float64))
    values, axes = values[::-1][:COMPONENTS], axes[:, ::-1][:, :COMPONENTS]
    print(f"{COMPONENTS} components keep {100 * values.sum() / len(NETWORKS):.1f} % of the variance")
    return np.asarray(centred @ (axes / values**0.25).astype(np.float32))


def main() -> None:
    """Make the bank."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--ears", type=Path, required=True)
    parser.add_argument("--data", type=Path, action="append", required=True)
    arguments = parser.parse_args()
    spec = preset_spec(PRESET)
    material = load_together(arguments.data, part="train", spec=spec)
    augmenter = SoundAugmenter(spec.spectrogram)
    windows = cut([item.samples for item in [*material.sounds, *material.clips]], augmenter)
    components = components_of(listen(load_ears(arguments.ears), windows, augmenter))
    arguments.out.mkdir(parents=True, exist_ok=True)
    np.save(arguments.out / "windows.npy", windows)
    np.save(arguments.out / "components.npy", components.astype(np.float32))


if __name__ == "__main__":
    main()
