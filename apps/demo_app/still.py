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
from avol.runtime.overlay import Overlay
from avol.runtime.still import localise_still, read_samples, read_still

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
    samples = read_sound(sound, localiser.spec.spectrogram.sample_rate_hz, limits)
    found = localise_still(localiser, frame, samples, RATE_HZ)
    best = max(found, key=lambda entry: entry.score)
    return StillResult(
        picture=draw(frame, best.map if best.sounding else None),
        score=best.score,
        sounding=best.sounding,
        time_seconds=best.time_seconds,
        times_seconds=[entry.time_seconds for entry in found],
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
    return read_still(path)


def read_sound(path: Path, sample_rate_hz: int, limits: Limits) -> NDArray[np.float32]:
    """The sound of a file, from its first sample on: float32 ``N`` in -1..1.

    Raises:
        AvolError: it exceeds a limit or has no sound that decodes.
    """
    check_size(path, limits)
    return read_samples(path, sample_rate_hz, lambda seconds: check_duration(path, seconds, limits.sound_seconds))


def draw(frame: av.VideoFrame, heat: NDArray[np.float32] | None) -> NDArray[np.uint8]:
    """A picture with heat over it: ``H x W x 3`` RGB, made smaller where it is larger than a screen shows."""
    shown = Overlay().draw(frame, heat).to_ndarray(format="rgb24")[: frame.height, : frame.width]
    scale = LARGEST_SHOWN_PIXELS / max(shown.shape[:2])
    if scale < 1.0:
        size = (max(1, round(shown.shape[1] * scale)), max(1, round(shown.shape[0] * scale)))
        return np.asarray(cv2.resize(shown, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.ascontiguousarray(shown, dtype=np.uint8)
