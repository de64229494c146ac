"""One picture and one sound: at which moment of the sound the model is surest that its source is in the picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from avol.runtime.errors import AvolError
from avol.runtime.localiser import Localiser
from avol.runtime.media.audio import AudioReader
from avol.runtime.media.container import open_container
from avol.runtime.media.picture import resize_frame, turn_upright
from avol.runtime.timeline import TimelineFrame


def localise_still(
    localiser: Localiser, picture: av.VideoFrame, samples: NDArray[np.float32], rate_hz: float
) -> list[TimelineFrame]:
    """What of a picture is heard in every window of a sound.

    Args:
        localiser: the model.
        picture: upright, of any size.
        samples: of the sound, float32 ``N`` in -1..1, at the model's rate.
        rate_hz: analyses a second of sound.

    Returns:
        Entries whose ``time_seconds`` are the middles of the windows, in their order; at least one.
    """
    spec = localiser.spec
    sample_rate_hz = spec.spectrogram.sample_rate_hz
    # At the network's size once, not at every analysis: a still picture may be huge.
    pixels = resize_frame(picture, height=spec.frame_height, width=spec.frame_width)
    times_seconds = middles_seconds(len(samples) / sample_rate_hz, spec.spectrogram.clip_seconds, rate_hz)
    return list(localiser.localise_arrays([pixels] * len(times_seconds), times_seconds, samples, sample_rate_hz))


def middles_seconds(duration_seconds: float, window_seconds: float, rate_hz: float) -> list[float]:
    """The middles of windows in a sound, so many a second; a sound shorter than one is heard once, amid silence."""
    spare = duration_seconds - window_seconds
    if spare <= 0:
        return [duration_seconds / 2]
    return [window_seconds / 2 + step / rate_hz for step in range(int(spare * rate_hz) + 1)]


def read_still(path: Path) -> av.VideoFrame:
    """The picture of a file, upright; the first one of a film.

    Raises:
        AvolError: there is none.
    """
    with open_container(path) as container:
        try:
            for picture in container.decode(video=0) if container.streams.video else ():
                return turn_upright(picture)
        except av.FFmpegError:
            pass
    raise AvolError(f"{path}: no picture could be decoded. Give a JPEG or PNG.")


def read_samples(
    path: Path, sample_rate_hz: int, check: Callable[[float], None] = lambda seconds: None
) -> NDArray[np.float32]:
    """The sound of a file, from its first sample on: float32 ``N`` in -1..1.

    Args:
        path: a file with sound.
        sample_rate_hz: wanted.
        check: called with the seconds read so far; whatever it raises ends the reading.

    Raises:
        AvolError: there is no sound that decodes.
    """
    chunks, seconds = [], 0.0
    with AudioReader(path, sample_rate_hz=sample_rate_hz, zero_seconds=0.0) as reader:
        for chunk in reader:
            chunks.append(chunk)
            seconds += len(chunk) / sample_rate_hz
            check(seconds)
    if not chunks:
        raise AvolError(f"{path}: no sound could be decoded. Give a WAV, MP3, FLAC or a video with sound.")
    return np.concatenate(chunks)
