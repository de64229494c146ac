"""A picture of what a prepared folder holds: frames of some clips over their spectrograms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from avol.runtime.atomic import AtomicOutput, write_error
from avol.runtime.errors import AvolError
from avol.train.data.shards import ClipStore, StoredClip

COLUMNS = 4
FRAMES_PER_CLIP = 3
TILE = 112  # side of a frame, pixels
GAP = 8
CAPTION = 16
SPECTROGRAM_HEIGHT = 72
FFT_SAMPLES = 512
LOWEST_DB, HIGHEST_DB = -90.0, -10.0

Pixels = NDArray[np.uint8]


def write_contact_sheet(folder: Path, path: Path, *, count: int = 24) -> None:
    """Draw some clips of all parts and classes: first, middle and last frame, and the spectrogram of the sound.

    The spectrogram is a plain one for the eye (512 samples, Hann window, decibels), not the network's.

    Args:
        folder: prepared.
        path: PNG to write.
        count: clips, at most.

    Raises:
        AvolError: not a prepared folder, an empty one, or ``path`` cannot be written.
    """
    store = ClipStore(folder, None)
    if not len(store):
        raise AvolError(f"{folder}: holds no clips yet; run avol data prepare VIDEOS --out {folder}.")
    with AtomicOutput(path) as output:
        parts = {record: shard.part for shard in store.shards for record in shard.records}
        rate_hz = store.settings.sample_rate_hz
        tiles = [_tile(clip, parts[clip.record], rate_hz) for clip in choose(store, count)]
        blank = np.full_like(tiles[0], 255)
        tiles += [blank] * (-len(tiles) % min(COLUMNS, len(tiles)))
        columns = min(COLUMNS, len(tiles))
        rows = [np.hstack(tiles[first : first + columns]) for first in range(0, len(tiles), columns)]
        coded = cv2.imencode(".png", np.vstack(rows)[:, :, ::-1])[1]
        try:
            output.temporary.write_bytes(coded.tobytes())
        except OSError as error:
            raise write_error(path, error) from None
        output.commit()


def choose(clips: Sequence[StoredClip], count: int) -> list[StoredClip]:
    """Clips from all over the classes and files, always the same ones."""
    ordered = sorted(clips, key=lambda clip: (clip.label or "", clip.file, clip.record.piece))
    positions = np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int)
    return [ordered[position] for position in positions]


def _tile(clip: StoredClip, part: str, rate_hz: int) -> Pixels:
    """Caption, frames, spectrogram: RGB on white."""
    last = len(clip.frames) - 1
    frames = [
        np.asarray(cv2.resize(clip.frames[position], (TILE, TILE), interpolation=cv2.INTER_AREA), dtype=np.uint8)
        for position in (0, last // 2, last)
    ]
    strip = np.hstack(frames)
    heat = _spectrogram(clip.samples, rate_hz, strip.shape[1])
    framed = cv2.copyMakeBorder(
        np.vstack([strip, heat]), CAPTION, GAP, GAP, GAP, cv2.BORDER_CONSTANT, value=(255, 255, 255)
    )
    record = clip.record
    marks = [name for name, is_set in (("still", record.is_still), ("silent", record.silent_share == 1.0)) if is_set]
    words = [part, clip.label or "", f"{Path(clip.file).stem} {record.start_seconds:g} s", *marks]
    text = " | ".join(filter(None, words)).encode("ascii", "replace").decode()
    cv2.putText(framed, text[:58], (GAP, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.33, (0, 0, 0), 1, cv2.LINE_AA)
    return np.asarray(framed, dtype=np.uint8)


def _spectrogram(samples: NDArray[np.int16], rate_hz: int, width: int) -> Pixels:
    """Decibels over linear frequency up to 8 kHz, low ones below, squeezed to ``width``: RGB."""
    padded = np.zeros(max(len(samples), FFT_SAMPLES), np.float32)
    padded[: len(samples)] = samples.astype(np.float32) / 2**15
    starts = np.linspace(0, len(padded) - FFT_SAMPLES, width).astype(int)
    windows = padded[starts[:, None] + np.arange(FFT_SAMPLES)] * np.hanning(FFT_SAMPLES).astype(np.float32)
    power = np.square(np.abs(np.fft.rfft(windows)) / (FFT_SAMPLES / 4))
    decibels = 10 * np.log10(power[:, : 1 + FFT_SAMPLES * min(8000, rate_hz // 2) // rate_hz].T[::-1] + 1e-12)
    levels = np.clip((decibels - LOWEST_DB) / (HIGHEST_DB - LOWEST_DB) * 255, 0, 255).astype(np.uint8)
    small = cv2.resize(levels, (width, SPECTROGRAM_HEIGHT), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.applyColorMap(small, cv2.COLORMAP_MAGMA)[:, :, ::-1], dtype=np.uint8)
