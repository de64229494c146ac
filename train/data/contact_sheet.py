"""A picture of what a prepared folder holds: frames of some clips, each over the spectrogram of the sound around it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from avol.runtime.atomic import AtomicOutput, write_error
from avol.runtime.errors import AvolError
from avol.train.data.shards import ClipStore, StoredClip
from avol.train.data.sounds import window_at
from avol.train.network.presets import preset_spec
from avol.train.network.spectrogram import Spectrogram

COLUMNS, ROWS = 8, 5
TILE = 144  # pixels
GAP = 4
Pixels = NDArray[np.uint8]


def write_contact_sheet(folder: Path, path: Path) -> None:
    """Draw clips from all over the folder.

    Raises:
        AvolError: not a prepared folder, an empty one, or ``path`` cannot be written.
    """
    clips = ClipStore(folder)
    if not len(clips):
        raise AvolError(f"{folder}: holds no clips; prepare some.")
    spectrogram = Spectrogram(preset_spec(clips.settings.preset).spectrogram)
    chosen = np.unique(np.linspace(0, len(clips) - 1, COLUMNS * ROWS).round().astype(int))
    tiles = [_tile(clips[int(number)], spectrogram, clips.settings.sample_rate_hz) for number in chosen]
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % COLUMNS)
    rows = [np.hstack(tiles[first : first + COLUMNS]) for first in range(0, len(tiles), COLUMNS)]
    coded = cv2.imencode(".png", np.vstack(rows)[:, :, ::-1])[1]
    with AtomicOutput(path) as output:
        try:
            output.temporary.write_bytes(coded.tobytes())
        except OSError as error:
            raise write_error(path, error) from None
        output.commit()


def _tile(clip: StoredClip, spectrogram: Spectrogram, rate_hz: int) -> Pixels:
    """The clip's middle frame, its spectrogram (low frequencies below), its label: RGB."""
    position = len(clip.times_seconds) // 2
    count = spectrogram.spec.clip_samples
    window = window_at(clip.samples, round(clip.times_seconds[position] * rate_hz) - count // 2, count)
    with torch.no_grad():
        columns = spectrogram(torch.from_numpy(window)[None])[0].numpy()
    levels = np.asarray(np.clip((columns[::-1] + 2) / 4 * 255, 0, 255), dtype=np.uint8)
    heat = np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS), dtype=np.uint8)[:, :, ::-1]
    frame = cv2.resize(np.asarray(clip.frames[position]), (TILE, TILE), interpolation=cv2.INTER_AREA)
    picture = np.vstack([frame, cv2.resize(heat, (TILE, TILE // 2), interpolation=cv2.INTER_AREA)])
    framed = cv2.copyMakeBorder(picture, 14, GAP, GAP, GAP, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    text = f"{clip.entry.part[:2]} {clip.label or clip.video_id}"[:24]
    cv2.putText(framed, text, (GAP, 10), cv2.FONT_HERSHEY_SIMPLEX, 0.33, (0, 0, 0), 1, cv2.LINE_AA)
    return np.asarray(framed, dtype=np.uint8)
