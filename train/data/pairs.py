"""Pairs of a frame and a second of sound, cut from clips that nobody has labelled.

A true pair is a frame and the sound around its time; a false pair takes the sound of another source video. Both kinds
take their sound around the time of some frame of its clip, that is, from one grid of offsets, and from the same clips
as often: where false pairs are drawn otherwise, a network can tell them apart without looking.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avol.runtime.errors import AvolError
from avol.runtime.spec import ModelSpec
from avol.train.data.batch import TensorBatch
from avol.train.data.clip_memory import ClipMemory
from avol.train.data.epochs import Epochs
from avol.train.data.variation import vary_frames, vary_samples, view_whole
from avol.train.recipes import Recipe

Indices = NDArray[np.int64]


class PairClip(Protocol):
    """A clip as pairs are cut from it."""

    @property
    def video_id(self) -> str:
        """Source video: two clips of one are never a false pair."""

    @property
    def frames(self) -> NDArray[np.uint8]:
        """``T x S x S x 3`` RGB."""

    @property
    def times_seconds(self) -> NDArray[np.float64]:
        """``T``, on the clock of the samples."""

    @property
    def samples(self) -> NDArray[np.int16]:
        """Mono, at the model's rate."""


@dataclass(frozen=True)
class Moments:
    """``N`` frames by clip and position in it."""

    clips: Indices
    frames: Indices


@dataclass(frozen=True)
class Question:
    """Pictures with two sounds each.

    Attributes:
        clips: numbers of the clips that are seen.
        frames: uint8 ``N x H x W x 3``.
        own: float32 ``N x clip_samples``, the sounds around the frames.
        foreign: the same of other source videos.
    """

    clips: Indices
    frames: Tensor
    own: Tensor
    foreign: Tensor


class PairSource:
    """Batches of pairs by the number of the step.

    Args:
        clips: of one part.
        spec: sizes of frames and windows.
        recipe: batch, stages, and whether all pairs of a batch count.
        seed: of everything random.
        device: where the batches are made; all clips are kept there when they fit.

    Raises:
        AvolError: fewer source videos than a batch takes.
    """

    def __init__(
        self, clips: Sequence[PairClip], spec: ModelSpec, recipe: Recipe, *, seed: int, device: torch.device
    ) -> None:
        videos = {clip.video_id for clip in clips}
        if len(videos) < recipe.batch:
            remedy = "add videos or lower --batch" if len(videos) > 1 else "add videos with avol data prepare"
            raise AvolError(
                f"the data holds {len(videos)} source videos with sound, a batch takes {recipe.batch}; {remedy}."
            )
        self.recipe, self.seed, self.size = recipe, seed, spec.frame_height
        self.memory = ClipMemory(clips, spec.spectrogram, device)
        numbers = {video: number for number, video in enumerate(sorted(videos))}
        self.videos = np.array([numbers[clip.video_id] for clip in clips])
        self.epochs = Epochs(clips=len(self.videos), batch=recipe.batch, stages=recipe.stages)
        self._order = lru_cache(maxsize=2)(self._draw_order)

    def batch_at(self, step: int) -> TensorBatch:
        """The batch of a step, a pure function of the seed and the step."""
        epoch, step_of_epoch = self.epochs.place(step)
        order = self._order(epoch)
        size = self.recipe.batch
        slots = np.arange(step_of_epoch * size, (step_of_epoch + 1) * size) % len(order)
        rng = np.random.default_rng([self.seed, 1, step])
        augment = self.epochs.stage(epoch).augment
        seen = self._moments(rng, order[slots])
        if self.recipe.all_pairs:
            return self._all_pairs(rng, seen, augment=augment)
        return self._pair_list(rng, seen, _every_other(size), augment=augment)

    def fixed_batches(self, count: int, batch: int) -> list[TensorBatch]:
        """``count`` moments in batches of the recipe's kind, without variation: the same for every run and seed.

        Every picture against every sound, or single pairs of which half are true: what is asked of held-out clips is
        what training asks, so that the two losses can be held against each other.
        """
        rng = np.random.default_rng(0)
        order = np.concatenate([rng.permutation(len(self.videos)) for _ in range(-(-count // len(self.videos)))])
        batches = []
        for start in range(0, count, batch):
            moments = self._moments(rng, order[start : min(start + batch, count)])
            if self.recipe.all_pairs:
                batches.append(self._all_pairs(rng, moments, augment=False))
            else:
                batches.append(self._pair_list(rng, moments, _every_other(len(moments.clips)), augment=False))
        return batches

    def questions(self, count: int) -> Iterator[Question]:
        """``count`` pictures without variation, the clips in turn, each with its own and with a foreign sound."""
        rng, clips = np.random.default_rng([self.seed, 2]), np.zeros(0, np.int64)
        while len(clips) < count:
            clips = np.concatenate([clips, rng.permutation(len(self.videos))])
        for start in range(0, count, self.recipe.batch):
            seen = self._moments(rng, clips[start : min(start + self.recipe.batch, count)])
            heard = self._moments(rng, self._swapped(rng, seen.clips))
            yield Question(
                clips=seen.clips,
                frames=view_whole(self.memory.frames(seen.clips, seen.frames), self.size),
                own=self.memory.windows(seen.clips, seen.frames),
                foreign=self.memory.windows(heard.clips, heard.frames),
            )

    def _all_pairs(self, rng: np.random.Generator, moments: Moments, *, augment: bool) -> TensorBatch:
        videos = self.videos[moments.clips]
        matches = np.eye(len(videos), dtype=np.bool_)
        known = matches | (videos[:, None] != videos[None, :])
        return self._batch(rng, moments, moments, (matches, known), augment=augment)

    def _pair_list(
        self, rng: np.random.Generator, seen: Moments, truth: NDArray[np.bool_], *, augment: bool
    ) -> TensorBatch:
        foreign = np.where(truth, seen.clips, self._swapped(rng, seen.clips))
        other = self._moments(rng, foreign)
        heard = Moments(foreign, np.where(truth, seen.frames, other.frames))
        known = np.eye(len(truth), dtype=np.bool_)
        return self._batch(rng, seen, heard, (known & truth[:, None], known), augment=augment)

    def _batch(
        self,
        rng: np.random.Generator,
        seen: Moments,
        heard: Moments,
        tables: tuple[NDArray[np.bool_], NDArray[np.bool_]],
        *,
        augment: bool,
    ) -> TensorBatch:
        frames = self.memory.frames(seen.clips, seen.frames)
        samples = self.memory.windows(heard.clips, heard.frames)
        if augment:
            frames, samples = vary_frames(rng, frames, self.size), vary_samples(rng, samples)
        else:
            frames = view_whole(frames, self.size)
        matches, known = (torch.from_numpy(table).to(frames.device) for table in tables)
        return TensorBatch(frames, samples, matches, known)

    def _draw_order(self, epoch: int) -> Indices:
        """The clips of an epoch, each as often as it gives pairs, in random order."""
        clips = np.repeat(np.arange(len(self.videos)), self.epochs.stage(epoch).pairs_per_clip)
        return np.random.default_rng([self.seed, 0, epoch]).permutation(clips)

    def _moments(self, rng: np.random.Generator, clips: Indices) -> Moments:
        return Moments(clips, (rng.random(len(clips)) * self.memory.frame_counts[clips]).astype(np.int64))

    def _swapped(self, rng: np.random.Generator, clips: Indices) -> Indices:
        """The same clips, each beside one of another source video.

        Clips of a video with many of them are heard in as many false pairs as in true ones. Were the sounds drawn from
        all other videos instead, theirs would be rarer in false pairs, which tells the kinds apart without looking.
        """
        order = rng.permutation(len(clips))
        videos, groups, counts = np.unique(self.videos[clips[order]], return_inverse=True, return_counts=True)
        order = order[np.argsort(rng.permutation(len(videos))[groups], kind="stable")]  # video by video, shuffled
        swapped = np.empty_like(clips)
        swapped[order] = clips[np.roll(order, counts.max(initial=0))]  # by the longest group: past the end of each
        alone = self.videos[swapped] == self.videos[clips]  # more than half are of one video
        swapped[alone] = self._other_videos(rng, clips[alone])
        return swapped

    def _other_videos(self, rng: np.random.Generator, clips: Indices) -> Indices:
        """For each clip one of another source video."""
        others = rng.integers(len(self.videos), size=len(clips))
        while (same := self.videos[others] == self.videos[clips]).any():
            others[same] = rng.integers(len(self.videos), size=int(same.sum()))
        return others


def _every_other(count: int) -> NDArray[np.bool_]:
    """Which pairs of a list are true: half of every batch."""
    return np.asarray(np.arange(count) % 2 == 0)
