"""The picture at an annotated time and the sound around it, as the runtime would have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avol.runtime.errors import AvolError
from avol.runtime.media.audio import AudioReader
from avol.runtime.media.container import open_container
from avol.runtime.media.source import Source as VideoSource
from avol.runtime.media.source import open_source
from avol.runtime.media.timing import container_end_seconds
from avol.runtime.media.video import VideoReader, read_picture
from avol.runtime.spec import ModelSpec
from avol.train.data.pieces import Track
from avol.train.protocols.media import Media

EVERY_FRAME_HZ = 1000.0
TOLERANCE_SECONDS = 0.1  # after the end of the last picture: containers round

Frame = NDArray[np.uint8]
Window = NDArray[np.int16]


@dataclass
class Moments:
    """What was read of one media, by time; of the others, why not.

    Attributes:
        frames: uint8 ``H x W x 3`` at the network's size.
        windows: int16 ``clip_samples``, silence beyond the ends.
        problems: why there is nothing of a time.
    """

    frames: dict[float | None, Frame] = field(default_factory=dict)
    windows: dict[float | None, Window] = field(default_factory=dict)
    problems: dict[float | None, str] = field(default_factory=dict)


def read_moments(media: Media, seen: Sequence[float | None], heard: Sequence[float | None], spec: ModelSpec) -> Moments:
    """Decode a media once, from its start to the last time that is asked for.

    Args:
        media: a video with sound, or a still picture and a sound.
        seen: times of pictures, in seconds from the start; None for the middle.
        heard: times in the middle of windows of sound, likewise.
        spec: sizes of frames and windows.
    """
    moments = Moments()
    try:
        _read(media, seen, heard, spec, moments)
    except AvolError as error:
        moments = Moments(problems=dict.fromkeys([*seen, *heard], f"unreadable: {error}"))
    return moments


def _read(
    media: Media, seen: Sequence[float | None], heard: Sequence[float | None], spec: ModelSpec, moments: Moments
) -> None:
    if media.video is not None:
        source = open_source(media.video)
        at = _times(seen, source.duration_seconds)
        frames = _frames_at(source, sorted(set(at.values())), spec)
        moments.frames = {time: frames[second] for time, second in at.items() if second in frames}
        end = source.duration_seconds
        if source.audio_sample_rate is not None:
            _hear(moments, source.sound_path, source.audio_zero_seconds, heard, end, spec)
    else:
        if media.picture is not None and seen:
            picture = read_picture(media.picture, height=spec.frame_height, width=spec.frame_width)
            moments.frames = dict.fromkeys(seen, picture)
        if media.sound is not None:
            _hear(moments, media.sound, 0.0, heard, _duration(media.sound), spec)
    for time in seen:
        if time not in moments.frames:
            moments.problems[time] = _without("picture", media.video or media.picture, time)
    for time in heard:
        if time not in moments.windows:
            moments.problems[time] = _without("sound", media.video or media.sound, time)


def _without(what: str, path: Path | None, time: float | None) -> str:
    if path is None or time is None:
        return f"no {what}"
    return f"no {what} at {time:g} s: {path.name} is shorter or has none"


def _times(times: Sequence[float | None], duration_seconds: float) -> dict[float | None, float]:
    return {time: duration_seconds / 2 if time is None else time for time in times}


def _frames_at(source: VideoSource, times: Sequence[float], spec: ModelSpec) -> dict[float, Frame]:
    """The picture shown at each of some rising times; a time after the end has none."""
    found: dict[float, Frame] = {}
    left = list(times)
    shown, shown_seconds = None, 0.0
    with VideoReader(
        source, frame_height=spec.frame_height, frame_width=spec.frame_width, rate_hz=EVERY_FRAME_HZ, threads=1
    ) as reader:
        for frame in reader:
            while left and shown is not None and left[0] < frame.time_seconds:
                found[left.pop(0)] = shown
            if not left:
                return found
            shown, shown_seconds = frame.pixels if frame.pixels is not None else shown, frame.time_seconds
    end = shown_seconds + 1 / source.frame_rate + TOLERANCE_SECONDS
    if shown is not None:
        found |= {time: shown for time in left if time <= end}
    return found


def _hear(
    moments: Moments,
    path: Path,
    zero_seconds: float,
    heard: Sequence[float | None],
    duration_seconds: float,
    spec: ModelSpec,
) -> None:
    """Windows of sound on the runtime's grid of columns; a time after the end of the sound has none."""
    grid, at = spec.spectrogram, _times(heard, duration_seconds)
    with AudioReader(path, sample_rate_hz=grid.sample_rate_hz, zero_seconds=zero_seconds) as reader:
        track = Track(reader)
        for time, seconds in sorted(at.items(), key=lambda item: item[1]):
            first = grid.first_column_at(seconds) * grid.hop_samples
            samples = track.take(max(0, first), first + grid.clip_samples)
            centre = round(seconds * grid.sample_rate_hz)
            if max(0, first) + len(samples) + TOLERANCE_SECONDS * grid.sample_rate_hz < centre:
                continue
            window = np.zeros(grid.clip_samples, np.int16)
            start = max(0, -first)
            window[start : start + len(samples)] = samples
            moments.windows[time] = window


def _duration(path: Path) -> float:
    """How long a sound is, as its file declares it."""
    with open_container(path) as container:
        return container_end_seconds(container) or 0.0
