"""Batches of pictures and sounds with a table of what matches what.

The sounds of a batch have different labels, the pictures show one or several of them: every picture meets every sound,
and the labels say which meetings are true. A class-level pair (a photograph and a recording of one class) is weaker
than the instance-level pair of a clip's own frame and sound; both are used, and for clips without a class of
photographs only the latter exists.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from avol.runtime.errors import AvolError
from avol.runtime.spec import ModelSpec
from avol.train.data.batch import Batch, Tables
from avol.train.data.classes import match_table
from avol.train.data.located import locate
from avol.train.data.material import Clip, Material, Photograph, Sound
from avol.train.data.pictures import (
    Box,
    Picture,
    augment_photometry,
    drawn_background,
    frame_view,
    mosaic,
    paste_cutout,
    photograph_view,
)
from avol.train.data.scene_pool import ScenePool
from avol.train.data.sounds import SoundAugmenter, draw_window, window_at

Samples = NDArray[np.float32]
MOSAIC_TILES = 4
LONGEST_STILL_SECONDS = 0.25  # that a box is taken to hold for before and after its moment
FEWEST_PHOTOGRAPHS = 30  # of a class that is learnt from photographs
Labelled = TypeVar("Labelled", Photograph, Sound, Clip)


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """How a batch is composed; the shares are of pictures.

    Attributes:
        clip_boxes: learn from the boxes of clips as well; otherwise only from places that composing gives away.
    """

    photograph_labels: int = 22
    clip_only_labels: int = 3
    scene_kinds: int = 5
    quiet_sounds: int = 3
    pictures: int = 48
    empty_pictures: int = 2
    clip_picture_share: float = 0.4
    clip_sound_share: float = 0.5
    mosaic_share: float = 0.3
    cutout_share: float = 0.5  # of photographs that can be cut out
    real_background_share: float = 0.75
    clip_boxes: bool = False


class BatchSource:
    """Draws batches; everything random comes from the generator given to :meth:`draw`.

    Args:
        material: of one part.
        scenes: synthetic scenes to mix in.
        spec: sizes of frames and windows.
        plan: how a batch is composed.
        fewest_photographs: that a class must have for its photographs to be drawn.

    Raises:
        AvolError: the material holds no two classes that are both seen and heard: there is nothing to tell apart.
    """

    def __init__(
        self,
        material: Material,
        scenes: ScenePool | None,
        spec: ModelSpec,
        plan: BatchPlan,
        *,
        fewest_photographs: int = FEWEST_PHOTOGRAPHS,
    ) -> None:
        self.plan, self.size, self.scenes = plan, spec.frame_height, scenes
        self.grid = spec.grid_height, spec.grid_width
        self.augment_sound = SoundAugmenter(spec.spectrogram)
        self.photographs: dict[str, list[Photograph]] = _by_label(material.photographs)
        self.sounds: dict[str, list[Sound]] = _by_label(material.sounds)
        self.clips: dict[str, list[Clip]] = _by_label([clip for clip in material.clips if clip.source_visible])
        self.background_clips = material.clips
        heard = sorted({*self.sounds, *self.clips})
        labels = sorted({*self.photographs, *self.sounds, *self.clips})
        self.index = {label: position for position, label in enumerate(labels)}
        self.matches, self.known = match_table(labels)
        self.heard_for = {
            seen: [label for label in heard if self.matches[self.index[seen], self.index[label]]] for seen in labels
        }
        self.photograph_labels = photograph_labels(material, fewest_photographs)
        self.clip_only_labels = [label for label in self.clips if label not in self.photograph_labels]
        if len(self.trained_labels) < 2:
            held = "one class that is" if self.trained_labels else "no class that is"
            raise AvolError(
                f"the material holds {held} both seen and heard, at least 2 are "
                f"needed; add clips, or sounds and {fewest_photographs} photographs of each class."
            )

    @property
    def trained_labels(self) -> list[str]:
        """Every class that is both seen and heard in training."""
        return sorted({*self.photograph_labels, *self.clip_only_labels})

    def draw(self, rng: np.random.Generator) -> Batch:
        """Compose one batch."""
        plan = self.plan
        seen = _choose(rng, self.photograph_labels, plan.photograph_labels)
        seen += _choose(rng, self.clip_only_labels, plan.clip_only_labels)
        heard_labels: list[str | None] = []
        windows: list[Samples] = []
        moments: dict[str, tuple[Clip, float]] = {}
        for label in seen:
            heard = str(rng.choice(self.heard_for[label]))
            if heard not in heard_labels:
                heard_labels.append(heard)
                windows.append(self._draw_sound(rng, heard, moments))
        pictures = self._draw_pictures(rng, seen, moments)
        for _ in range(plan.quiet_sounds):
            heard_labels.append(None)
            windows.append(self._quiet_sound(rng))
        frames, samples = np.stack([picture.pixels for picture in pictures]), np.stack(windows)
        seen_tables, heard_tables = self._seen_tables(pictures), self._heard_tables(heard_labels)
        matches, known = _pair_tables(seen_tables, heard_tables)
        located, sources = locate(pictures, heard_labels, matches, *self.grid)
        batch = Batch(frames, samples, matches, known, seen_tables, heard_tables, located, sources)
        return batch if self.scenes is None else self._add_scenes(rng, batch, self.scenes)

    def draw_pictures(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Pictures as batches have them, without sounds: ``N x H x W x 3``."""
        seen = _choose(rng, self.photograph_labels, self.plan.photograph_labels)
        seen += _choose(rng, self.clip_only_labels, self.plan.clip_only_labels)
        return np.stack([picture.pixels for picture in self._draw_pictures(rng, seen, {})])

    def _draw_pictures(
        self, rng: np.random.Generator, seen: list[str], moments: dict[str, tuple[Clip, float]]
    ) -> list[Picture]:
        plan = self.plan
        pictures = [self._background(rng) for _ in range(plan.empty_pictures)]
        extra = plan.pictures - plan.empty_pictures - len(seen)
        for label in [*seen, *rng.choice(seen, size=max(extra, 0))]:
            others = [other for other in seen if other != label]
            if rng.random() < plan.mosaic_share and len(others) >= MOSAIC_TILES - 1:
                shown = [label, *rng.choice(others, size=MOSAIC_TILES - 1, replace=False)]
                tiles = [self._draw_picture(rng, str(name), moments) for name in shown]
                picture = mosaic([tiles[position] for position in rng.permutation(MOSAIC_TILES)])
            else:
                picture = self._draw_picture(rng, str(label), moments)
            pictures.append(augment_photometry(rng, picture))
        return pictures

    def _draw_picture(self, rng: np.random.Generator, label: str, moments: dict[str, tuple[Clip, float]]) -> Picture:
        """One picture of a label: the moment of a clip that is heard in this batch, a frame, or a photograph."""
        clips, photographs = self.clips.get(label, []), self.photographs.get(label, [])
        if label in moments and rng.random() < 0.6:
            return self._clip_frame(rng, *moments[label])
        if clips and (not photographs or rng.random() < self.plan.clip_picture_share):
            clip = clips[rng.integers(len(clips))]
            return self._clip_frame(rng, clip, float(rng.choice(clip.times_seconds)))
        photograph = photographs[rng.integers(len(photographs))]
        if photograph.mask is None or rng.random() > self.plan.cutout_share:
            return photograph_view(rng, photograph, self.size)
        return self._cutout_picture(rng, photograph)

    def _cutout_picture(self, rng: np.random.Generator, photograph: Photograph) -> Picture:
        """One to three cut-outs on a background; the asked-for one is pasted last, so that nothing hides it."""
        picture = self._background(rng)
        companions = int(rng.choice(3, p=[0.5, 0.3, 0.2]))
        for label in _choose(rng, self.photograph_labels, companions):
            other = self.photographs[label][rng.integers(len(self.photographs[label]))]
            if other.mask is not None:
                picture = paste_cutout(rng, picture, other, rng.uniform(0.25, 0.55))
        largest = 0.9 if companions == 0 else 0.6
        return paste_cutout(rng, picture, photograph, rng.uniform(0.3, largest))

    def _background(self, rng: np.random.Generator) -> Picture:
        """A frame of some real clip (with what is in it, and so in the table), or a drawn ground."""
        if rng.random() > self.plan.real_background_share or not self.background_clips:
            return drawn_background(rng, self.size)
        clip = self.background_clips[rng.integers(len(self.background_clips))]
        view = self._clip_frame(rng, clip, float(rng.choice(clip.times_seconds)))
        # What makes the sound of a clip whose source is out of view is not in the picture.
        return view if clip.source_visible else Picture(view.pixels, [])

    def _clip_frame(self, rng: np.random.Generator, clip: Clip, time_seconds: float) -> Picture:
        frame = clip.frames[int(np.argmin(np.abs(clip.times_seconds - time_seconds)))]
        return frame_view(rng, frame, clip.label, self._boxes_at(clip, time_seconds), self.size)

    def _boxes_at(self, clip: Clip, time_seconds: float) -> list[Box]:
        boxed = self.plan.clip_boxes and clip.box_time_seconds is not None
        near = boxed and abs(clip.box_time_seconds - time_seconds) <= LONGEST_STILL_SECONDS  # type: ignore[operator]
        return clip.boxes if near else []

    def _draw_sound(self, rng: np.random.Generator, label: str, moments: dict[str, tuple[Clip, float]]) -> Samples:
        clips, sounds = self.clips.get(label, []), self.sounds.get(label, [])
        needed = self.augment_sound.needed_samples
        if clips and (not sounds or rng.random() < self.plan.clip_sound_share):
            clip = clips[rng.integers(len(clips))]
            time_seconds = float(rng.choice(clip.times_seconds))
            moments[label] = (clip, time_seconds)
            centre = round(time_seconds * self.augment_sound.rate_hz)
            start = centre - self.augment_sound.count // 2 - self.augment_sound.lead
            window = window_at(clip.samples, start, needed)
        else:
            window = draw_window(rng, sounds[rng.integers(len(sounds))].samples, needed)
        return self.augment_sound(rng, window)

    def _quiet_sound(self, rng: np.random.Generator) -> Samples:
        """Silence, or noise from the faintest to the loudest: nothing in any picture makes it."""
        level = 0.0 if rng.random() < 0.25 else 10 ** (rng.uniform(-80, -14) / 20)
        noise = self.augment_sound.coloured_noise(rng) * np.float32(level)
        return np.asarray(np.clip(noise, -1, 1), dtype=np.float32)

    def _seen_tables(self, pictures: list[Picture]) -> Tables:
        """Which classes of sound a picture shows a source of, and where that is known: bool ``N x C`` each."""
        seen = np.zeros((len(pictures), len(self.index)), np.int32)
        for row, picture in enumerate(pictures):
            seen[row, [self.index[label] for label in picture.labels]] = 1
        matches = seen @ self.matches > 0
        return matches, matches | (seen @ ~self.known == 0)

    def _heard_tables(self, heard: list[str | None]) -> Tables:
        """The same for the classes that sounds belong to: bool ``M x C``; quiet ones belong to none."""
        matches = np.zeros((len(heard), len(self.index)), np.bool_)
        known = np.ones_like(matches)
        for row, label in enumerate(heard):
            if label is not None:
                matches[row] = np.arange(matches.shape[1]) == self.index[label]
                # A guitar may be heard in an acoustic guitar's sound: neither a match of that anchor nor a false one.
                known[row] = self.known[:, self.index[label]] & (matches[row] | ~self.matches[:, self.index[label]])
        return matches, known

    def _add_scenes(self, rng: np.random.Generator, batch: Batch, scenes: ScenePool) -> Batch:
        """Append pictures and sounds of synthetic scenes; across the worlds only silence and noise are asked for."""
        drawn = scenes.draw(rng, self.plan.scene_kinds)
        frames, samples, matches = drawn.frames, drawn.samples, drawn.matches
        pictures, sounds = len(batch.frames), len(batch.samples)
        joint = np.zeros((pictures + len(frames), sounds + len(samples)), np.bool_)
        joint[:pictures, :sounds], joint[pictures:, sounds:] = batch.matches, matches
        known = np.zeros_like(joint)  # a drawn guitar and a recorded one: neither a match nor none
        known[:pictures, :sounds], known[pictures:, sounds:] = batch.known, True
        known[pictures:, sounds - self.plan.quiet_sounds : sounds] = True
        # The kinds of the synthetic world are no classes of the material: nothing is known of them.
        seen = _pad_tables(batch.seen, len(frames))
        heard = _pad_tables(batch.heard, len(samples))
        assert batch.located is not None
        assert batch.sources is not None
        return Batch(
            frames=np.concatenate([batch.frames, frames]),
            samples=np.concatenate([batch.samples, samples]),
            matches=joint,
            known=known,
            seen=seen,
            heard=heard,
            located=np.concatenate([batch.located, drawn.located + sounds]),
            sources=np.concatenate([batch.sources, drawn.sources]),
        )


def photograph_labels(material: Material, fewest: int = FEWEST_PHOTOGRAPHS) -> list[str]:
    """Classes with enough photographs to learn from and any sound that goes with them."""
    counts = Counter(photograph.label for photograph in material.photographs)
    heard = {sound.label for sound in material.sounds}
    heard |= {clip.label for clip in material.clips if clip.source_visible}
    labels = sorted({*counts, *heard})
    matches, _ = match_table(labels)
    index = {label: position for position, label in enumerate(labels)}
    sounding = [index[label] for label in heard]
    return [label for label in sorted(counts) if counts[label] >= fewest and matches[index[label], sounding].any()]


def _pad_tables(tables: Tables, rows: int) -> Tables:
    """Append rows of which nothing is known."""
    matches, known = (np.pad(table, ((0, rows), (0, 0))) for table in tables)
    return matches, known


def _pair_tables(seen: Tables, heard: Tables) -> Tables:
    """Pictures with sounds: a sound of class ``c`` matches where the picture shows a source of ``c``."""
    of_class = heard[0].T.astype(np.int32)
    matches = seen[0] @ of_class > 0
    unknown = ~seen[1] @ of_class > 0
    return matches, matches | ~unknown


def _by_label(items: list[Labelled]) -> dict[str, list[Labelled]]:
    groups: dict[str, list[Labelled]] = defaultdict(list)
    for item in items:
        groups[item.label].append(item)
    return dict(groups)


def _choose(rng: np.random.Generator, items: list[str], count: int) -> list[str]:
    """Up to ``count`` different items."""
    return [str(item) for item in rng.choice(items, size=min(count, len(items)), replace=False)] if items else []
