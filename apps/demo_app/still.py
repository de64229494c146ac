"""A picture with a sound: where in the picture, and in which second of the sound the model is surest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from avol.apps.demo_app.limits import Limits, check_duration, check_pixels, check_size
from avol.runtime import Localiser
from avol.runtime.errors import AvolError
from avol.runtime.media.audio import AudioReader
from avol.runtime.media.container import open_container
from avol.runtime.media.picture import resize_frame, turn_upright
from avol.runtime.overlay import Overlay

RATE_HZ = 4.0  # analyses a second of sound
LARGEST_SHOWN_PIXELS = 1280  # of the longer side of a result


@dataclass(frozen=True, kw_only=True)
class StillResult:
    """What one sound has to do with a picture.

    Attributes:
        picture: ``H x W x 3`` RGB, uint8: the picture, with heat where the sound comes from if it sounds at all.
        score: the highest, 0..1.
        sounding: whether it reaches the threshold.
        time_seconds: the middle of the second of sound at which the score is highest.
        times_seconds, scores: of all seconds that were heard.
        threshold: score from which the sound belongs to the picture.
        peak: x and y of the hottest cell, 0..1; None from systems that cannot tell where.
    """

    picture: NDArray[np.uint8]
    score: float
    sounding: bool
    time_seconds: float
    times_seconds: list[float]
    scores: list[float]
    threshold: float
    peak: tuple[float, float] | None


def analyse_picture(localiser: Localiser, picture: Path, sound: Path, *, limits: Limits | None = None) -> StillResult:
    """Localise a sound in a picture.

    Args:
        localiser: the model.
        picture: a file with a picture.
        sound: a file with sound, of any length up to the limit.
        limits: what is too much.

    Raises:
        AvolError: a file is unusable or exceeds a limit.
    """
    limits = limits or Limits()
    frame = read_upright(picture, limits)
    spec = localiser.spec
    rate_hz = spec.spectrogram.sample_rate_hz
    samples = read_sound(sound, rate_hz, limits)
    # At the network's size once, not at every analysis: a still picture may be huge.
    pixels = resize_frame(frame, height=spec.frame_height, width=spec.frame_width)
    times_seconds = middles_seconds(len(samples) / rate_hz, spec.spectrogram.clip_seconds)
    found = list(localiser.localise_arrays([pixels] * len(times_seconds), times_seconds, samples, rate_hz))
    best = max(found, key=lambda entry: entry.score)
    return StillResult(
        picture=draw(frame, best.map if best.sounding else None),
        score=best.score,
        sounding=best.sounding,
        time_seconds=best.time_seconds,
        times_seconds=times_seconds,
        scores=[entry.score for entry in found],
        threshold=localiser.threshold,
        peak=best.peak,
    )


def read_upright(path: Path, limits: Limits) -> av.VideoFrame:
    """The picture of a file, the first one of a film.

    Raises:
        AvolError: it exceeds a limit or is not a picture.
    """
    check_size(path, limits)
    check_pixels(path, limits.picture_megapixels)
    with open_container(path) as container:
        try:
            for picture in container.decode(video=0) if container.streams.video else ():
                return turn_upright(picture)
        except av.FFmpegError:
            pass
    raise AvolError(f"{path}: no picture could be decoded. Give a JPEG or PNG.")


def read_sound(path: Path, sample_rate_hz: int, limits: Limits) -> NDArray[np.float32]:
    """The sound of a file, from its first sample on: float32 ``N`` in -1..1.

    Raises:
        AvolError: it exceeds a limit or has no sound that decodes.
    """
    check_size(path, limits)
    chunks, seconds = [], 0.0
    with AudioReader(path, sample_rate_hz=sample_rate_hz, zero_seconds=0.0) as reader:
        for chunk in reader:
            chunks.append(chunk)
            seconds += len(chunk) / sample_rate_hz
            check_duration(path, seconds, limits.sound_seconds)
    if not chunks:
        raise AvolError(f"{path}: no sound could be decoded. Give a WAV, MP3, FLAC or a video with sound.")
    return np.concatenate(chunks)


def draw(frame: av.VideoFrame, heat: NDArray[np.float32] | None) -> NDArray[np.uint8]:
    """A picture with heat over it: ``H x W x 3`` RGB, made smaller where it is larger than a screen shows."""
    shown = Overlay().draw(frame, heat).to_ndarray(format="rgb24")[: frame.height, : frame.width]
    scale = LARGEST_SHOWN_PIXELS / max(shown.shape[:2])
    if scale < 1.0:
        size = (max(1, round(shown.shape[1] * scale)), max(1, round(shown.shape[0] * scale)))
        return np.asarray(cv2.resize(shown, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.ascontiguousarray(shown, dtype=np.uint8)


def middles_seconds(duration_seconds: float, window_seconds: float) -> list[float]:
    """The middles of windows in a sound, ``RATE_HZ`` a second; a sound shorter than one is heard once, amid silence."""
    spare = duration_seconds - window_seconds
    if spare <= 0:
        return [duration_seconds / 2]
    return [window_seconds / 2 + step / RATE_HZ for step in range(int(spare * RATE_HZ) + 1)]
