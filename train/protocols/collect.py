"""Read the media of all annotated samples; what cannot be had is listed, and never replaced by anything else."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from avol.runtime.errors import AvolError
from avol.runtime.spec import ModelSpec
from avol.train.protocols.media import Media, MediaFolder
from avol.train.protocols.moments import Moments, read_moments
from avol.train.protocols.samples import AnnotatedSample, Annotations


@dataclass(frozen=True)
class Skipped:
    """A sample that was not measured, and why."""

    key: str
    time_seconds: float | None
    reason: str


@dataclass(frozen=True)
class Collected:
    """Samples with their media.

    Attributes:
        samples: ``N``.
        frames: uint8 ``N x H x W x 3``.
        windows: int16 ``N x clip_samples``: the sound of each sample's first source.
        second_windows: of the samples' second source, by position, where it has a sound of its own.
        missing: samples whose media is not there.
        unusable: samples whose media is there, but not the picture or the sound.
    """

    samples: list[AnnotatedSample]
    frames: NDArray[np.uint8]
    windows: NDArray[np.int16]
    second_windows: dict[int, NDArray[np.int16]]
    missing: list[Skipped]
    unusable: list[Skipped]


@dataclass(frozen=True)
class _Wanted:
    """A sample's picture and sounds: (key of media, time) each."""

    sample: AnnotatedSample
    picture: tuple[str, float | None]
    sounds: tuple[tuple[str, float | None], ...]


def collect(annotations: Annotations, folder: MediaFolder, spec: ModelSpec) -> Collected:
    """Read a picture and its sounds for every sample that has them.

    A media file is decoded once, however many of its moments are asked for.

    Raises:
        AvolError: not one sample has its media.
    """
    wanted = [_wanted(sample) for sample in annotations.samples]
    keys = dict.fromkeys(key for want in wanted for key, _ in (want.picture, *want.sounds))
    media = {key: folder.find(key) for key in keys}
    missing = [
        Skipped(want.sample.key, want.sample.time_seconds, reason)
        for want in wanted
        if (reason := _absent(want, media))
    ]
    there = [want for want in wanted if not _absent(want, media)]
    read = _read_all(there, {key: found for key, found in media.items() if isinstance(found, Media)}, spec)
    usable, unusable = [], []
    for want in there:
        problem = _problem(want, read)
        if problem:
            unusable.append(Skipped(want.sample.key, want.sample.time_seconds, problem))
        else:
            usable.append(want)
    if not usable:
        first = (missing + unusable)[0]
        raise AvolError(
            f"{folder.folder}: holds none of the {len(wanted)} annotated samples ({first.key}: {first.reason}); name "
            "the folder with their media."
        )
    return Collected(
        samples=[want.sample for want in usable],
        frames=np.stack([_frame(want, read) for want in usable]),
        windows=np.stack([_window(want, 0, read) for want in usable]),
        second_windows={n: _window(want, 1, read) for n, want in enumerate(usable) if len(want.sounds) > 1},
        missing=missing,
        unusable=unusable,
    )


def _wanted(sample: AnnotatedSample) -> _Wanted:
    own = (sample.key, sample.time_seconds)
    sounds = [own if s.sound_key is None else (s.sound_key, s.sound_seconds) for s in sample.sources]
    # Sources that are heard in one sound are asked for together.
    return _Wanted(sample, own, tuple(dict.fromkeys(sounds)))


def _absent(want: _Wanted, media: dict[str, Media | str]) -> str:
    """Why a sample's media is not there; nothing if it is."""
    for key, _ in (want.picture, *want.sounds):
        found = media[key]
        if isinstance(found, str):
            return found if key == want.sample.key else f"{key}: {found}"
    return ""


def _read_all(wanted: Sequence[_Wanted], media: dict[str, Media], spec: ModelSpec) -> dict[str, Moments]:
    seen: dict[str, dict[float | None, None]] = {}
    heard: dict[str, dict[float | None, None]] = {}
    for want in wanted:
        seen.setdefault(want.picture[0], {})[want.picture[1]] = None
        for key, time in want.sounds:
            heard.setdefault(key, {})[time] = None
    keys = list(seen | heard)

    def read(key: str) -> Moments:
        return read_moments(media[key], list(seen.get(key, ())), list(heard.get(key, ())), spec)

    with ThreadPoolExecutor() as pool:
        moments = tqdm(pool.map(read, keys), total=len(keys), desc="reading", unit="file", leave=False, disable=None)
        return dict(zip(keys, moments, strict=True))


def _problem(want: _Wanted, read: dict[str, Moments]) -> str:
    key, time = want.picture
    if time not in read[key].frames:
        return read[key].problems[time]
    for key, time in want.sounds:
        if time not in read[key].windows:
            return read[key].problems[time]
    return ""


def _frame(want: _Wanted, read: dict[str, Moments]) -> NDArray[np.uint8]:
    key, time = want.picture
    return read[key].frames[time]


def _window(want: _Wanted, source: int, read: dict[str, Moments]) -> NDArray[np.int16]:
    key, time = want.sounds[source]
    return read[key].windows[time]
