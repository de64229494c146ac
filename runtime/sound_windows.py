"""A whole sound as windows of the model's length, with flat memory however long it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avol.runtime.media.audio import AudioReader
from avol.runtime.media.source import first_sound_seconds
from avol.runtime.spec import SpectrogramSpec

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class SoundWindow:
    """What a model hears at once.

    Attributes:
        start_sample: of the sound.
        samples: float32 ``clip_samples`` in -1..1.
        heard: how many of them are the sound's; the rest, behind them, is silence that pads a sound shorter than a
            window.
    """

    start_sample: int
    samples: Samples
    heard: int


def sound_windows(chunks: Iterable[Samples], *, clip_samples: int, hop_samples: int) -> Iterator[SoundWindow]:
    """Every window at a multiple of the hop that lies within the sound, and one more that ends with it.

    So every sample is in a window, if the hop is not longer than one, and nothing is padded but a sound shorter than a
    window. A sound without a sample has no window.

    Args:
        chunks: consecutive mono samples.
        clip_samples: length of a window.
        hop_samples: from the start of one to the start of the next, 1 or more.
    """
    kept, first, following = np.zeros(0, np.float32), 0, 0
    for chunk in chunks:
        kept = np.concatenate([kept, chunk])
        while following + clip_samples <= first + len(kept):
            window = kept[following - first :][:clip_samples]
            yield SoundWindow(following, window.copy(), clip_samples)
            following += hop_samples
        dropped = max(0, min(following, first + len(kept) - clip_samples) - first)
        kept, first = kept[dropped:], first + dropped
    end = first + len(kept)
    if 0 < end < clip_samples:
        yield SoundWindow(0, np.pad(kept, (0, clip_samples - end)), end)
    elif end and following - hop_samples + clip_samples < end:
        yield SoundWindow(end - clip_samples, kept[-clip_samples:].copy(), clip_samples)


def hop_in_samples(grid: SpectrogramSpec, hop_seconds: float | None) -> int:
    """A hop in samples; None is half a window."""
    return grid.clip_samples // 2 if hop_seconds is None else max(1, round(hop_seconds * grid.sample_rate_hz))


def read_windows(path: Path, grid: SpectrogramSpec, hop_seconds: float | None = None) -> list[SoundWindow]:
    """All windows of a short sound, from its first sample on.

    Raises:
        AvolError: the file does not open, or has no sound that decodes.
    """
    zero_seconds = first_sound_seconds(path)
    with AudioReader(path, sample_rate_hz=grid.sample_rate_hz, zero_seconds=zero_seconds) as reader:
        hop_samples = hop_in_samples(grid, hop_seconds)
        return list(sound_windows(reader, clip_samples=grid.clip_samples, hop_samples=hop_samples))
