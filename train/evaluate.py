"""Measure a localiser on labelled material, each figure beside its control.

A localiser is anything that maps frames and samples to probability maps, so that the same functions measure a network
in training, an ONNX graph and an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from avol.runtime.spec import ModelSpec
from avol.train.data.classes import match_table
from avol.train.data.material import Clip, Material, Photograph, Sound
from avol.train.data.pictures import Picture, frame_view, mosaic, photograph_view
from avol.train.data.sounds import draw_window, window_at
from avol.train.metrics import Figure, peak_position, point_in_boxes

Scores = NDArray[np.float32]
# frames uint8 N x H x W x 3, samples float32 N x clip_samples -> probabilities float32 N x GH x GW
Localise = Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.float32]]
Labelled = TypeVar("Labelled", Photograph, Clip)
BATCH = 32
MOSAIC_TILES = 4
# What guessing reaches; the figures on boxes have measured controls of their own.
CHANCE = {
    "composite_pairs_accuracy": 0.5,
    "composite_pairs_auc": 0.5,
    "photograph_mosaics_right_quarter": 1 / MOSAIC_TILES,
    "clip_mosaics_right_quarter": 1 / MOSAIC_TILES,
    "own_sound_over_silence_auc": 0.5,
    "own_sound_over_foreign_auc": 0.5,
}
PATIENCE = 1000  # draws without finding an unlike class


class Evaluator:
    """Draws fixed test sets from material with a seed and measures a localiser on them.

    Photographs and recordings of one class make class-level pairs; clips bring their own sound.
    """

    def __init__(self, material: Material, spec: ModelSpec, trained_labels: list[str], *, seed: int = 0) -> None:
        self.spec, self.size, self.seed = spec, spec.frame_height, seed
        labels = sorted({*trained_labels, *(s.label for s in material.sounds), *(c.label for c in material.clips)})
        matches, known = match_table(labels)
        self.index = {label: position for position, label in enumerate(labels)}
        self.matches, self.unlike = matches, ~matches & known
        self.sounds = material.sounds
        self._sounds_of = {label: self._fitting_sounds(label) for label in trained_labels}
        self.photographs = [p for p in material.photographs if self._sounds_of.get(p.label)]
        self.clips = [clip for clip in material.clips if clip.label in trained_labels and clip.source_visible]

    def composite_pairs(self, localise: Localise, count: int = 800) -> dict[str, Figure]:
        """Balanced true and false pairs of photographs and recordings: accuracy at one half, and AUC."""
        rng = np.random.default_rng([self.seed, 1])
        frames, true_windows, false_windows = [], [], []
        groups = []
        for _ in range(count):
            photograph, sound = self._photograph_with_sound(rng)
            other = self._unlike_sound(rng, photograph.label)
            frames.append(photograph_view(rng, photograph, self.size).pixels)
            true_windows.append(self._window(rng, sound))
            false_windows.append(self._window(rng, other))
            groups.append(photograph.file)
        true_scores = self._scores(localise, frames, true_windows)
        false_scores = self._scores(localise, frames, false_windows)
        return {
            "composite_pairs_accuracy": Figure.accuracy(true_scores, false_scores, groups),
            "composite_pairs_auc": Figure.auc(true_scores, false_scores, groups),
        }

    def photograph_mosaics(self, localise: Localise, count: int = 600) -> Figure:
        """Four photographs of unlike classes, one of them heard: the peak is in its quarter (chance 25 %)."""
        rng = np.random.default_rng([self.seed, 2])
        frames, windows, quarters, groups = [], [], [], []
        for _ in range(count):
            photograph, sound = self._photograph_with_sound(rng)
            others = self._three_unlike(rng, self.photographs, sound.label)
            tiles = [photograph_view(rng, p, self.size) for p in (photograph, *others)]
            picture, quarter = _shuffled_mosaic(rng, tiles)
            frames.append(picture.pixels)
            windows.append(self._window(rng, sound))
            quarters.append(quarter)
            groups.append(photograph.file)
        return _right_quarters(self._maps(localise, frames, windows), quarters, groups)

    def clip_mosaics(self, localise: Localise, count: int = 400) -> Figure:
        """Four frames of real clips of unlike classes, one of them heard: the peak is in its quarter (chance 25 %)."""
        rng = np.random.default_rng([self.seed, 3])
        frames, windows, quarters, groups = [], [], [], []
        for _ in range(count):
            clip = self.clips[rng.integers(len(self.clips))]
            others = self._three_unlike(rng, self.clips, clip.label)
            time_seconds = float(rng.choice(clip.times_seconds))
            moments = [time_seconds, *(float(rng.choice(other.times_seconds)) for other in others)]
            tiles = [self._clip_picture(c, t) for c, t in zip((clip, *others), moments, strict=True)]
            picture, quarter = _shuffled_mosaic(rng, tiles)
            frames.append(picture.pixels)
            windows.append(self._clip_window(clip, time_seconds))
            quarters.append(quarter)
            groups.append(clip.video_id)
        return _right_quarters(self._maps(localise, frames, windows), quarters, groups)

    def clip_boxes(self, localise: Localise) -> dict[str, Figure]:
        """Frames of clips with boxes near the box's time: how often the peak is in a box.

        The controls: how often the frame's centre is, and the peak under the sound of an unlike clip. Nothing where no
        clip has a box.
        """
        rng = np.random.default_rng([self.seed, 4])
        frames, own, foreign, boxes, groups = [], [], [], [], []
        for clip in self.clips:
            if not clip.boxes or clip.box_time_seconds is None:
                continue
            for time_seconds in clip.times_seconds[np.abs(clip.times_seconds - clip.box_time_seconds) <= 0.6]:
                other = self._three_unlike(rng, self.clips, clip.label)[0]
                frames.append(self._clip_picture(clip, float(time_seconds)).pixels)
                own.append(self._clip_window(clip, float(time_seconds)))
                foreign.append(self._clip_window(other, float(rng.choice(other.times_seconds))))
                boxes.append(clip.boxes)
                groups.append(clip.video_id)
        if not frames:
            return {}

        def inside(points: list[tuple[float, float]]) -> Figure:
            return Figure.share([float(point_in_boxes(p, b)) for p, b in zip(points, boxes, strict=True)], groups)

        return {
            "clip_peak_in_box": inside([peak_position(m) for m in self._maps(localise, frames, own)]),
            "clip_centre_in_box": inside([(0.5, 0.5)] * len(boxes)),
            "clip_peak_in_box_with_foreign_sound": inside(
                [peak_position(m) for m in self._maps(localise, frames, foreign)]
            ),
        }

    def silence_and_foreign_sound(self, localise: Localise, count: int = 300) -> dict[str, Figure]:
        """AUC of the score: a clip's own sound against silence, and against the sound of an unlike clip."""
        rng = np.random.default_rng([self.seed, 5])
        frames, own, foreign, groups = [], [], [], []
        for _ in range(count):
            clip = self.clips[rng.integers(len(self.clips))]
            other = self._three_unlike(rng, self.clips, clip.label)[0]
            time_seconds = float(rng.choice(clip.times_seconds))
            frames.append(self._clip_picture(clip, time_seconds).pixels)
            own.append(self._clip_window(clip, time_seconds))
            foreign.append(self._clip_window(other, float(rng.choice(other.times_seconds))))
            groups.append(clip.video_id)
        own_scores = self._scores(localise, frames, own)
        silent_scores = self._scores(localise, frames, [np.zeros_like(window) for window in own])
        return {
            "own_sound_over_silence_auc": Figure.auc(own_scores, silent_scores, groups),
            "own_sound_over_foreign_auc": Figure.auc(own_scores, self._scores(localise, frames, foreign), groups),
        }

    def everything(self, localise: Localise) -> dict[str, Figure]:
        """All of the above by name; parts for which the material holds too little are left out."""
        figures: dict[str, Figure] = {}
        seen = {photograph.label for photograph in self.photographs}
        heard = {sound.label for label in seen for sound in self._sounds_of[label]}
        if self._have_unlike(self.sounds, seen, 1):
            figures |= self.composite_pairs(localise)
        if self._have_unlike(self.photographs, heard, MOSAIC_TILES - 1):
            figures["photograph_mosaics_right_quarter"] = self.photograph_mosaics(localise)
        if self._have_unlike(self.clips, {clip.label for clip in self.clips}, MOSAIC_TILES - 1):
            figures["clip_mosaics_right_quarter"] = self.clip_mosaics(localise)
            figures |= self.clip_boxes(localise)
            figures |= self.silence_and_foreign_sound(localise)
        return figures

    def _photograph_with_sound(self, rng: np.random.Generator) -> tuple[Photograph, Sound]:
        photograph = self.photographs[rng.integers(len(self.photographs))]
        fitting = self._sounds_of[photograph.label]
        return photograph, fitting[rng.integers(len(fitting))]

    def _fitting_sounds(self, seen: str) -> list[Sound]:
        """Recordings of what a photograph shows."""
        return [sound for sound in self.sounds if self.matches[self.index[seen], self.index[sound.label]]]

    def _have_unlike(self, items: Sequence[Photograph | Sound | Clip], heard: set[str], count: int) -> bool:
        """Whether, for each of some classes, ``count`` items are unlike it and unlike each other."""
        labels = sorted({item.label for item in items})

        def all_unlike(names: tuple[str, ...]) -> bool:
            return all(self.unlike[self.index[one], self.index[other]] for one, other in combinations(names, 2))

        found = [any(all_unlike((label, *others)) for others in combinations(labels, count)) for label in heard]
        return bool(found) and all(found)

    def _unlike_sound(self, rng: np.random.Generator, label: str) -> Sound:
        others = [s for s in self.sounds if self.unlike[self.index[label], self.index[s.label]]]
        return others[rng.integers(len(others))]

    def _three_unlike(self, rng: np.random.Generator, items: list[Labelled], heard: str) -> list[Labelled]:
        chosen: list[Labelled] = []
        labels = {heard}
        tries = 0
        while len(chosen) < MOSAIC_TILES - 1:
            tries += 1
            if tries % PATIENCE == 0:  # two that leave no third: start again
                chosen, labels = [], {heard}
            item = items[rng.integers(len(items))]
            label = item.label
            if all(self.unlike[self.index[label], self.index[used]] for used in labels):
                chosen.append(item)
                labels.add(label)
        return chosen

    def _window(self, rng: np.random.Generator, sound: Sound) -> NDArray[np.float32]:
        return draw_window(rng, sound.samples, self.spec.spectrogram.clip_samples)

    def _clip_picture(self, clip: Clip, time_seconds: float) -> Picture:
        frame = clip.frames[int(np.argmin(np.abs(clip.times_seconds - time_seconds)))]
        whole = np.random.default_rng(0)  # a view of the whole frame has nothing random
        return frame_view(whole, frame, clip.label, clip.boxes, self.size, smallest_crop=1.0)

    def _clip_window(self, clip: Clip, time_seconds: float) -> NDArray[np.float32]:
        count = self.spec.spectrogram.clip_samples
        return window_at(clip.samples, round(time_seconds * self.spec.spectrogram.sample_rate_hz) - count // 2, count)

    def _maps(
        self, localise: Localise, frames: list[NDArray[np.uint8]], windows: list[NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        parts = [
            localise(np.stack(frames[start : start + BATCH]), np.stack(windows[start : start + BATCH]))
            for start in range(0, len(frames), BATCH)
        ]
        return np.concatenate(parts)

    def _scores(
        self, localise: Localise, frames: list[NDArray[np.uint8]], windows: list[NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = self._maps(localise, frames, windows).max(axis=(1, 2))
        return scores


def _shuffled_mosaic(rng: np.random.Generator, tiles: list[Picture]) -> tuple[Picture, int]:
    """A mosaic in random order, and the quarter in which the first tile came to lie."""
    order = rng.permutation(4)
    return mosaic([tiles[position] for position in order]), int(np.argmin(order))


def _right_quarters(maps: Scores, quarters: list[int], groups: list[str]) -> Figure:
    hits = [float(_quarter_of(peak_position(m)) == q) for m, q in zip(maps, quarters, strict=True)]
    return Figure.share(hits, groups)


def _quarter_of(point: tuple[float, float]) -> int:
    return 2 * int(point[1] >= 0.5) + int(point[0] >= 0.5)
