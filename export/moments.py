"""Frames with their own and a foreign second of sound: what graphs are calibrated and judged on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avol.runtime.errors import AvolError
from avol.runtime.media.audio import AudioReader
from avol.runtime.media.source import open_source
from avol.runtime.media.video import VideoReader
from avol.runtime.model_folder import bundled_sample
from avol.runtime.spec import ModelSpec
from avol.train.data.classes import split_names
from avol.train.data.listing import list_videos
from avol.train.data.material import load_material
from avol.train.data.scene_pool import scene_moments
from avol.train.data.shards import ClipStore, is_prepared
from avol.train.data.sounds import window_at
from avol.train.data.variation import view_whole
from avol.train.test_sets import TestSets

RATE_HZ = 5.0  # frames a second, of a plain video
LONGEST_SECONDS = 30.0  # that are read of one
CALIBRATION_SCENES, JUDGING_SCENES = 2_000_000, 3_000_000  # first seeds; training takes others
SCENES = 170  # enough that 500 frames are above the threshold of a model that has learnt them

Frame = NDArray[np.uint8]
Window = NDArray[np.float32]
LABELLED_LISTS = ("images.csv", "audio.csv", "videos.csv")


@dataclass(frozen=True)
class Moments:
    """``N`` frames with sounds.

    Attributes:
        frames: uint8 ``N x H x W x 3``.
        own: float32 ``N x clip_samples``, of the frame's own time.
        foreign: the same of another source; None where there is only one.
        description: where they come from, for the reader.
    """

    frames: NDArray[np.uint8]
    own: NDArray[np.float32]
    foreign: NDArray[np.float32] | None
    description: str

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True)
class _Candidate:
    """A frame that may be drawn; pixels and samples are read only then."""

    group: str
    frame: Callable[[], Frame]
    window: Callable[[], Window]
    excluded: frozenset[str] = frozenset()  # groups whose sounds have a source in the frame
    foreign: Callable[[], Window] | None = None


def synthetic_moments(spec: ModelSpec, *, first_seed: int, scenes: int = SCENES) -> Moments:
    """Synthetic scenes and the bundled video: what there is without data.

    Args:
        spec: sizes of frames and windows.
        first_seed: of the scenes.
        scenes: how many to render.
    """
    candidates: list[_Candidate] = []
    for seed in range(first_seed, first_seed + scenes):
        for moment in scene_moments(seed, spec):
            shown = frozenset(moment.kinds)
            candidates.append(
                _Candidate(moment.sounding, lambda m=moment: m.frame, lambda m=moment: m.samples, shown)  # type: ignore[misc]
            )
    sample = _video_candidates(bundled_sample(), "guitar", spec, excluded=frozenset({"guitar", "horn"}))
    return _draw([*sample, *candidates], f"{scenes} synthetic scenes and the bundled video")


def load_moments(data: Path, spec: ModelSpec, *, part: str | None = None, limit: int = 1000, seed: int = 0) -> Moments:
    """Moments of clips: videos, a folder of them, prepared pairs or labelled material.

    Args:
        data: file or folder.
        spec: sizes of frames and windows, classes that the model was trained on.
        part: of prepared or labelled data, ``validation`` if None; of plain videos, ``train`` are every other one,
            ``validation`` the rest (all of them where there is only one), None all.
        limit: the most to draw.
        seed: of the drawing.

    Raises:
        AvolError: nothing usable there.
    """
    if not data.exists():
        raise AvolError(f"{data}: no such file or folder; name clips, prepared pairs or labelled material.")
    if is_prepared(data):
        clips = ClipStore(data, part=part or "validation", spec=spec)
        named = f"{part or 'validation'} part of {data}"
        candidates = _clip_candidates(clips, spec)
    elif all((data / name).is_file() for name in LABELLED_LISTS):
        named = f"{part or 'validation'} part of {data}"
        candidates = _labelled_candidates(data, spec, part or "validation", limit, seed)
    else:
        candidates, named = _plain_candidates(data, spec, part)
    if not candidates:
        raise AvolError(f"{data}: holds no clip with picture and sound for this; name other clips.")
    return _draw(candidates, named, limit=limit, seed=seed)


def _draw(candidates: Sequence[_Candidate], named: str, *, limit: int | None = None, seed: int = 0) -> Moments:
    rng = np.random.default_rng([seed, 1])
    chosen = [candidates[n] for n in sorted(rng.permutation(len(candidates))[:limit])]
    several = len({candidate.group for candidate in chosen}) > 1
    foreign: list[Window] = []
    for candidate in chosen:
        if candidate.foreign is not None:
            foreign.append(candidate.foreign())
            continue
        others = [c for c in chosen if c.group != candidate.group and c.group not in candidate.excluded]
        if others:
            foreign.append(others[rng.integers(len(others))].window())
        else:  # every kind there is can be seen in the frame
            foreign.append(np.zeros_like(candidate.window()))
    return Moments(
        np.stack([candidate.frame() for candidate in chosen]),
        np.stack([candidate.window() for candidate in chosen]),
        np.stack(foreign) if several else None,
        f"{len(chosen)} frames of {named}",
    )


def _plain_candidates(data: Path, spec: ModelSpec, part: str | None) -> tuple[list[_Candidate], str]:
    videos = list_videos([data]).videos
    if not videos:
        raise AvolError(f"{data}: holds no videos; name clips, prepared pairs or labelled material.")
    of_video: dict[str, list[_Candidate]] = {}
    unusable: list[AvolError] = []
    for video in videos:
        try:
            found = _video_candidates(Path(video.path), video.video_id, spec)
        except AvolError as error:
            unusable.append(error)
            continue
        if found:
            of_video.setdefault(video.video_id, []).extend(found)
    if unusable and not of_video:
        raise unusable[0]
    names = sorted(of_video)
    if part is not None and len(names) > 1:
        names = names[0 if part == "train" else 1 :: 2]
    left_out = f" ({len(unusable)} left out that cannot be used)" if unusable else ""
    return [candidate for name in names for candidate in of_video[name]], f"{len(names)} videos of {data}{left_out}"


def _video_candidates(
    path: Path, group: str, spec: ModelSpec, *, excluded: frozenset[str] = frozenset()
) -> list[_Candidate]:
    """Frames of a video's beginning; none of one without sound."""
    source = open_source(path)
    if source.audio_sample_rate is None:
        return []
    sound = spec.spectrogram
    rate = sound.sample_rate_hz
    with VideoReader(source, frame_height=spec.frame_height, frame_width=spec.frame_width, rate_hz=RATE_HZ) as pictures:
        kept: list[tuple[float, Frame]] = []
        for frame in pictures:
            if frame.time_seconds > LONGEST_SECONDS:
                break
            if frame.pixels is not None:
                kept.append((frame.time_seconds, frame.pixels))
    needed, chunks = round((LONGEST_SECONDS + sound.clip_seconds) * rate), []
    with AudioReader(path, sample_rate_hz=rate, zero_seconds=source.zero_seconds) as reader:
        for chunk in reader:
            chunks.append(chunk)
            needed -= len(chunk)
            if needed <= 0:
                break
    samples = (np.concatenate([*chunks, np.zeros(0, np.float32)]) * 32767).astype(np.int16)
    return [
        _Candidate(group, lambda p=pixels: p, lambda t=time: _window(samples, t, spec), excluded)  # type: ignore[misc]
        for time, pixels in kept
    ]


def _clip_candidates(clips: Sequence[object], spec: ModelSpec) -> list[_Candidate]:
    """Frames of stored clips, at the network's size when they are drawn."""

    def view(clip: object, number: int) -> Frame:
        frame = torch.from_numpy(np.array(clip.frames[number : number + 1]))  # type: ignore[attr-defined]
        return np.asarray(view_whole(frame, spec.frame_height)[0].numpy(), dtype=np.uint8)

    return [
        _Candidate(
            clip.video_id,  # type: ignore[attr-defined]
            lambda c=clip, n=number: view(c, n),  # type: ignore[misc]
            lambda c=clip, t=time: _window(c.samples, t, spec),  # type: ignore[misc]
        )
        for clip in clips
        for number, time in enumerate(clip.times_seconds)  # type: ignore[attr-defined]
    ]


def _labelled_candidates(data: Path, spec: ModelSpec, part: str, limit: int, seed: int) -> list[_Candidate]:
    """Frames of clips, and as many photographs with a recording of their class and one of another."""
    material = load_material(data, part=part, spec=spec)
    candidates = _clip_candidates([clip for clip in material.clips if clip.source_visible], spec)
    labels = split_names(spec.training.get("classes", ""))
    sets = TestSets(material, spec, labels, seed=seed)
    if not sets.has_pairs:
        return candidates
    order = np.random.default_rng([seed, 2]).permutation(len(candidates))[: limit // 2]
    asked = sets.composite_pairs(limit - len(order))
    pairs = zip(asked.frames, asked.own, asked.foreign, asked.groups, strict=True)
    return [candidates[n] for n in order] + [
        _Candidate(group, lambda x=frame: x, lambda x=own: x, foreign=lambda x=foreign: x)  # type: ignore[misc]
        for frame, own, foreign, group in pairs
    ]


def _window(samples: NDArray[np.int16], time_seconds: float, spec: ModelSpec) -> Window:
    sound = spec.spectrogram
    return window_at(samples, round(time_seconds * sound.sample_rate_hz) - sound.clip_samples // 2, sound.clip_samples)
