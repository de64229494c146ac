"""The downstream test: what of ESC-10's classes a linear probe reads from the vectors of an audio tower.

A clip is described by the mean of the vectors of its windows, which overlap by half, as ``avol embed`` writes it; the
probe (:mod:`avol.train.probe`) learns on four of the official folds and is asked about the fifth, each in turn. Beside
the network stand, under the same probe: untrained networks of its shape; the plain spectrogram, mean and deviation of
each row over the clip, of ``avol-128``'s, so that it is one control for all networks; and the commonest class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from avol.runtime.errors import AvolError
from avol.runtime.sound_windows import read_windows
from avol.runtime.spec import ModelSpec, SpectrogramSpec
from avol.train.data.classes import split_names
from avol.train.embedder import sound_arrays
from avol.train.metrics import Figure, mean_interval
from avol.train.network import build_network
from avol.train.network.presets import SPECTROGRAM_128
from avol.train.network.spectrogram import Spectrogram
from avol.train.probe import Probed, commonest, probe
from avol.train.protocols.collect import Skipped
from avol.train.protocols.esc10_list import CLASSES, CLIPS, Clip, ClipList
from avol.train.protocols.measure import Measured
from avol.train.protocols.media import Media, MediaFolder

NETWORK, UNTRAINED, SPECTROGRAM, COMMONEST = "network", "untrained network", "spectrogram", "commonest class"
UNTRAINED_SEEDS = (0, 1, 2)
MEAN = "mean of the folds"

Samples = NDArray[np.float32]  # N x clip_samples
Features = NDArray[np.float32]


@dataclass
class Described:
    """Clips with their features.

    Attributes:
        clips: ``N``.
        features: by what made them, float32 ``N x D``.
        missing: clips whose file is not there.
        unusable: clips whose file is there, but not its sound.
        padded: how many are shorter than a window of the network.
    """

    clips: list[Clip] = field(default_factory=list)
    features: dict[str, Features] = field(default_factory=dict)
    missing: list[Skipped] = field(default_factory=list)
    unusable: list[Skipped] = field(default_factory=list)
    padded: int = 0


def describe(
    listed: ClipList, folder: MediaFolder, spec: ModelSpec, vectors: Callable[[Samples], Features], layer: str
) -> Described:
    """Features of every clip that is there.

    Args:
        listed: the clips.
        folder: with their files.
        spec: of the network.
        vectors: windows float32 ``N x clip_samples`` to vectors float32 ``N x D``.
        layer: that they are of, of :data:`avol.train.embedder.LAYERS`.

    Raises:
        AvolError: not one clip can be used.
    """
    towers = {NETWORK: vectors}
    for seed in UNTRAINED_SEEDS:
        towers[f"{UNTRAINED} {seed}"] = _untrained(spec, seed, layer)
    plain = Spectrogram(SPECTROGRAM_128)
    found, rows = Described(), dict[str, list[Features]]()
    for clip in tqdm(listed.clips, desc="hearing", unit="clip", leave=False, disable=None):
        media = folder.find(clip.key)
        path = media if isinstance(media, str) else _sound_of(media)
        if isinstance(path, str):
            found.missing.append(Skipped(clip.key, None, path))
            continue
        try:
            windows, padded = _windows(path, spec.spectrogram)
            control = windows if spec.spectrogram == SPECTROGRAM_128 else _windows(path, SPECTROGRAM_128)[0]
        except AvolError as error:
            found.unusable.append(Skipped(clip.key, None, f"unreadable: {error}"))
            continue
        found.clips.append(clip)
        found.padded += padded
        for name, tower in towers.items():
            rows.setdefault(name, []).append(tower(windows).mean(axis=0))
        rows.setdefault(SPECTROGRAM, []).append(_statistics(plain, control))
    if not found.clips:
        first = (found.missing + found.unusable)[0]
        raise AvolError(
            f"{folder.folder}: holds none of the {len(listed.clips)} clips ({first.key}: {first.reason}); name the "
            "folder with their files."
        )
    found.features = {name: np.stack(values) for name, values in rows.items()}
    return found


def measure_probes(found: Described, spec: ModelSpec) -> tuple[Measured, dict[str, dict[int, float]]]:
    """Accuracy of the probe on every kind of features, by fold; and the penalties that were chosen.

    Raises:
        AvolError: the clips that could be used are of fewer than three folds.
    """
    names = sorted({clip.label for clip in found.clips})
    labels = np.array([names.index(clip.label) for clip in found.clips], np.int64)
    folds = np.array([clip.fold for clip in found.clips], np.int64)
    probed = {name: probe(values, labels, folds) for name, values in found.features.items()}
    rights = {name: _rights(one, labels) for name, one in probed.items() if not name.startswith(UNTRAINED)}
    untrained = [_rights(one, labels) for name, one in probed.items() if name.startswith(UNTRAINED)]
    hits = {
        NETWORK: rights[NETWORK],
        UNTRAINED: np.mean(untrained, axis=0),
        SPECTROGRAM: rights[SPECTROGRAM],
        COMMONEST: _rights(commonest(labels, folds), labels),
    }
    measured, recordings = Measured(), [clip.recording for clip in found.clips]

    def row(chosen: NDArray[np.bool_]) -> dict[str, Figure]:
        groups = [recording for recording, is_chosen in zip(recordings, chosen, strict=True) if is_chosen]
        return {name: Figure.share(values[chosen].tolist(), groups) for name, values in hits.items()}

    everything = {name: _over_folds(values, folds, recordings) for name, values in hits.items()}
    table = {MEAN: everything} | {f"fold {number}": row(folds == number) for number in sorted(set(folds.tolist()))}
    learnt = set(split_names(spec.training.get("classes", ""))) & set(names)
    new = np.array([clip.label not in learnt for clip in found.clips])
    if learnt and new.any():
        table["clips of classes that it did not learn"] = row(new)
    tested = np.array([clip.part == "test" for clip in found.clips])
    if tested.any() and not tested.all():
        table["clips of the list's test part"] = row(tested)
    measured.tables["ESC-10, accuracy of a linear probe"] = table
    measured.notes += _notes(found, names, sorted(learnt), tested)
    return measured, {name: one.penalties for name, one in probed.items()}


def _notes(found: Described, names: list[str], learnt: list[str], tested: NDArray[np.bool_]) -> list[str]:
    notes = []
    if len(found.clips) != CLIPS or len(names) != CLASSES:
        notes.append(
            f"{len(found.clips)} clips of {len(names)} classes were used, ESC-10 has {CLIPS} of {CLASSES}: not "
            "comparable with other results"
        )
    if learnt:
        test = ", but perhaps not those of the list's test part" if tested.any() else ""
        notes.append(
            f"the network learnt the classes {', '.join(learnt)} in its training, perhaps from these very "
            f"clips{test}: on them this is no transfer to anything new"
        )
    return notes


def _untrained(spec: ModelSpec, seed: int, layer: str) -> Callable[[Samples], Features]:
    """As it is built, in evaluation mode: every norm still passes its input on."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build_network(spec).eval()
    return lambda windows: sound_arrays(network, windows, layer)


def _sound_of(media: Media) -> Path | str:
    path = media.sound or media.video
    return "no sound, only a picture" if path is None else path


def _windows(path: Path, grid: SpectrogramSpec) -> tuple[Samples, bool]:
    """Windows of a file, and whether it was padded."""
    windows = read_windows(path, grid)
    if not windows:
        raise AvolError(f"{path}: no sound in it can be decoded.")
    return np.stack([window.samples for window in windows]), windows[0].heard < grid.clip_samples


@torch.no_grad()
def _statistics(spectrogram: Spectrogram, windows: Samples) -> Features:
    """Mean and deviation of every row over all columns: float32 ``2 rows``."""
    columns = spectrogram(torch.from_numpy(windows)).numpy()
    return np.concatenate([columns.mean(axis=(0, 2)), columns.std(axis=(0, 2))])


def _rights(probed: Probed, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(probed.predicted == labels, np.float64)


def _over_folds(hits: NDArray[np.float64], folds: NDArray[np.int64], recordings: list[str]) -> Figure:
    """Mean of the folds' accuracies; the interval draws whole recordings from all clips."""
    value = float(np.mean([hits[folds == number].mean() for number in sorted(set(folds.tolist()))]))
    return Figure(value, *mean_interval(hits, recordings), len(hits))
