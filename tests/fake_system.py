"""A system with known answers: it marks the red square, as surely as the middle of the sound around it is loud.

With it a run shows whether times and places are right, whatever a trained model is able to see and hear.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from avol.runtime.spec import ModelSpec, SpectrogramSpec
from avol.runtime.system import Localisation
from avol.runtime.track import RunningSpectrogram
from media_factory import find_square

GRID = 8
LIT, DARK = 0.9, 0.02
AUDIBLE = 1e-3  # mean square of samples in -1..1
EAR_SECONDS = 0.04  # on both sides of the middle that count as "now"

SPEC = ModelSpec(
    name="square-and-loudness",
    system="fake",
    preset="none",
    frame_height=64,
    frame_width=64,
    grid_height=GRID,
    grid_width=GRID,
    embedding_size=1,
    spectrogram=SpectrogramSpec(
        sample_rate_hz=8000,
        window_samples=80,
        fft_samples=80,
        hop_samples=40,
        first_bin=0,
        bins_per_row=41,
        rows=1,
        columns=201,
        power_floor=1e-9,
        log_mean=0.0,
        log_scale=1.0,
    ),
    weights_sha256="5" * 64,
)


class SquareSystem:
    """Stands in for ``AvolNetSystem``; raises ``error`` at frame ``fail_at``; ``batches`` are the sizes of calls."""

    def __init__(
        self, *, fail_at: int | None = None, error: BaseException | None = None, with_map: bool = True
    ) -> None:
        self.spec, self.with_map = SPEC, with_map
        self.backend = SimpleNamespace(name="numpy", precision="fp32")
        self.fail_at, self.error = fail_at, error
        self.batches: list[int] = []

    def open_track(self, chunks: Iterable[NDArray[np.float32]], *, rate_hz: float | None = None) -> RunningSpectrogram:
        """Every window as it is asked for: it hears when something sounds, to a few hundredths of a second."""
        return RunningSpectrogram(chunks, self.spec.spectrogram, self.transform)

    def transform(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Columns that hold the mean square of their samples."""
        spec = self.spec.spectrogram
        parts = np.lib.stride_tricks.sliding_window_view(samples, spec.window_samples)[:: spec.hop_samples]
        return np.square(parts).mean(axis=1, dtype=np.float32)[None]

    def localise(self, frames: NDArray[np.uint8], windows: NDArray[np.float32]) -> Localisation:
        """The square's cell in each frame, lit if the middle of its window is loud."""
        self.batches.append(len(frames))
        if self.error is not None and self.fail_at is not None and sum(self.batches) >= self.fail_at:
            raise self.error
        maps = np.stack([self._map(frame, window) for frame, window in zip(frames, windows, strict=True)])
        return Localisation(maps.max(axis=(1, 2)), maps if self.with_map else None)

    def _map(self, frame: NDArray[np.uint8], window: NDArray[np.float32]) -> NDArray[np.float32]:
        middle = window.shape[1] // 2
        reach = round(EAR_SECONDS * self.spec.spectrogram.columns_per_second)
        loud = window[0, middle - reach : middle + reach + 1].mean() > AUDIBLE
        cells = np.full((GRID, GRID), DARK, np.float32)
        if loud and (frame[..., 0] > frame[..., 1].astype(int) + 80).any():  # a damaged picture may lack it
            x, y = find_square(frame)
            cells[int(y * GRID), int(x * GRID)] = LIT
        return cells
