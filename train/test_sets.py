"""Fixed test sets from labelled material: which pictures meet which sounds, and what the right answer is.

Photographs and recordings of one class make class-level pairs; clips bring their own sound. Everything drawn is a
function of the material and a seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from avol.runtime.spec import ModelSpec
from avol.train.data.classes import match_table
from avol.train.data.material import Clip, Material, Photograph, Sound
from avol.train.data.pictures import Picture, frame_view, mosaic, photograph_view
from avol.train.data.sounds import draw_window, window_at

Box = tuple[float, float, float, float]
Frame = NDArray[np.uint8]
Window = NDArray[np.float32]
Labelled = TypeVar("Labelled", Photograph, Clip)
MOSAIC_TILES = 4
PATIENCE = 1000  # draws without finding an unlike class
BOX_TOLERANCE_SECONDS = 0.6  # a box is drawn on one frame; so much earlier and later the source is still there


@dataclass
class TestSet:
    """``N`` questions, each list one entry per question.

    Attributes:
        frames: uint8 ``H x W x 3``.
        own: sounds whose source is in the frame, float32 ``clip_samples``.
        foreign: sounds of an unlike class, where the set asks for them.
        boxes: of the source of the own sound, 0..1 of the frame, where known.
        quarters: 0..3, in which the source is, row by row, where the frame is a mosaic.
        labels: class of the source.
        groups: photograph or source video; questions of one group are not independent.
    """

    frames: list[Frame] = field(default_factory=list)
    own: list[Window] = field(default_factory=list)
    foreign: list[Window] = field(default_factory=list)
    boxes: list[list[Box]] = field(default_factory=list)
    quarters: list[int] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)

    def add(self, frame: Frame, own: Window, *, label: str, group: str) -> None:
        """One more question; its other entries are appended by whoever has them."""
        self.frames.append(frame)
        self.own.append(own)
        self.labels.append(label)
        self.groups.append(group)


class TestSets:
    """Draws test sets.

    Args:
        material: of one part.
        spec: sizes of frames and windows.
        trained_labels: classes that are asked for.
        seed: of everything drawn.
    """

    __test__ = False  # no class of tests, whatever pytest makes of the name

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

    @property
    def has_pairs(self) -> bool:
        """Whether photographs and sounds of unlike classes can be told apart."""
        return self._have_unlike(self.sounds, {photograph.label for photograph in self.photographs}, 1)

    @property
    def has_photograph_mosaics(self) -> bool:
        """Whether there are photographs of four unlike classes for every class that is heard."""
        heard = {sound.label for p in self.photographs for sound in self._sounds_of[p.label]}
        return self._have_unlike(self.photographs, heard, MOSAIC_TILES - 1)

    @property
    def has_clip_mosaics(self) -> bool:
        """The same of clips."""
        return self._have_unlike(self.clips, {clip.label for clip in self.clips}, MOSAIC_TILES - 1)

    def composite_pairs(self, count: int) -> TestSet:
        """Photographs, each with a recording of its class and one of an unlike class."""
        rng, drawn = np.random.default_rng([self.seed, 1]), TestSet()
        for _ in range(count):
            photograph, sound = self._photograph_with_sound(rng)
            other = self._unlike_sound(rng, photograph.label)
            frame = photograph_view(rng, photograph, self.size).pixels
            drawn.add(frame, self._window(rng, sound), label=photograph.label, group=photograph.file)
            drawn.foreign.append(self._window(rng, other))
        return drawn

    def photograph_mosaics(self, count: int) -> TestSet:
        """Four photographs of unlike classes in one picture, one of them heard."""
        rng, drawn = np.random.default_rng([self.seed, 2]), TestSet()
        for _ in range(count):
            photograph, sound = self._photograph_with_sound(rng)
            others = self._three_unlike(rng, self.photographs, sound.label)
            tiles = [photograph_view(rng, p, self.size) for p in (photograph, *others)]
            self._add_mosaic(rng, drawn, tiles, [], group=photograph.file)
            drawn.own.append(self._window(rng, sound))
        return drawn

    def clip_mosaics(self, count: int) -> TestSet:
        """Four frames of real clips of unlike classes in one picture, one of them heard."""
        rng, drawn = np.random.default_rng([self.seed, 3]), TestSet()
        for _ in range(count):
            clip = self.clips[rng.integers(len(self.clips))]
            others = self._three_unlike(rng, self.clips, clip.label)
            time_seconds = float(rng.choice(clip.times_seconds))
            moments = [time_seconds, *(float(rng.choice(other.times_seconds)) for other in others)]
            tiles = [self._clip_picture(c, t) for c, t in zip((clip, *others), moments, strict=True)]
            self._add_mosaic(rng, drawn, tiles, clip.boxes, group=clip.video_id)
            drawn.own.append(self._clip_window(clip, time_seconds))
        return drawn

    def boxed_frames(self) -> TestSet:
        """Frames of clips near the time of their box, with their own sound and an unlike clip's."""
        rng, drawn = np.random.default_rng([self.seed, 4]), TestSet()
        for clip in self.clips:
            if not clip.boxes or clip.box_time_seconds is None:
                continue
            near = np.abs(clip.times_seconds - clip.box_time_seconds) <= BOX_TOLERANCE_SECONDS
            for time_seconds in clip.times_seconds[near]:
                self._add_clip_frame(rng, drawn, clip, float(time_seconds))
                drawn.boxes.append(clip.boxes)
        return drawn

    def clip_frames(self, count: int) -> TestSet:
        """Random frames of clips with their own sound and an unlike clip's."""
        rng, drawn = np.random.default_rng([self.seed, 5]), TestSet()
        for _ in range(count):
            clip = self.clips[rng.integers(len(self.clips))]
            self._add_clip_frame(rng, drawn, clip, None)
        return drawn

    def _add_clip_frame(self, rng: np.random.Generator, drawn: TestSet, clip: Clip, time_seconds: float | None) -> None:
        other = self._three_unlike(rng, self.clips, clip.label)[0]
        if time_seconds is None:
            time_seconds = float(rng.choice(clip.times_seconds))
        frame = self._clip_picture(clip, time_seconds).pixels
        drawn.add(frame, self._clip_window(clip, time_seconds), label=clip.label, group=clip.video_id)
        drawn.foreign.append(self._clip_window(other, float(rng.choice(other.times_seconds))))

    def _add_mosaic(
        self, rng: np.random.Generator, drawn: TestSet, tiles: list[Picture], boxes: list[Box], *, group: str
    ) -> None:
        """The tiles in random order; the first one is the source, ``boxes`` are its own within it."""
        order = rng.permutation(MOSAIC_TILES)
        quarter = int(np.argmin(order))
        drawn.frames.append(mosaic([tiles[position] for position in order]).pixels)
        drawn.quarters.append(quarter)
        column, row = quarter % 2, quarter // 2
        drawn.boxes.append([((column + a) / 2, (row + b) / 2, (column + c) / 2, (row + d) / 2) for a, b, c, d in boxes])
        drawn.labels.append(tiles[0].labels[0])
        drawn.groups.append(group)

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

    def _window(self, rng: np.random.Generator, sound: Sound) -> Window:
        return draw_window(rng, sound.samples, self.spec.spectrogram.clip_samples)

    def _clip_picture(self, clip: Clip, time_seconds: float) -> Picture:
        frame = clip.frames[int(np.argmin(np.abs(clip.times_seconds - time_seconds)))]
        whole = np.random.default_rng(0)  # a view of the whole frame has nothing random
        return frame_view(whole, frame, clip.label, clip.boxes, self.size, smallest_crop=1.0)

    def _clip_window(self, clip: Clip, time_seconds: float) -> Window:
        count = self.spec.spectrogram.clip_samples
        return window_at(clip.samples, round(time_seconds * self.spec.spectrogram.sample_rate_hz) - count // 2, count)
