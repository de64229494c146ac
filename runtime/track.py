"""A track, read as it is needed: the windows of its running spectrogram, or of its samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from avol.runtime.spec import SpectrogramSpec

Columns = NDArray[np.float32]
CHUNK_COLUMNS = 256


class Track(Protocol):
    """One track, cut into windows."""

    def windows_at(self, times_seconds: Sequence[float]) -> Any:  # noqa: ANN401 (of the system)
        """The windows centred on the times, as the system's ``localise`` takes them.

        Times ascend, within a call and from call to call. Beyond the ends of the track is silence.
        """


class RunningSpectrogram:
    """Columns of a track, transformed once, in chunks; a window is a slice of them.

    Memory holds two windows and one chunk, whatever the length.

    Args:
        chunks: consecutive float32 mono samples at the spec's rate; sample 0 is time zero.
        spec: the column grid.
        transform: samples ``S`` to columns ``rows x T``, as the model's spectrogram graph does.
        beside_columns: how far before a window at time zero columns may be asked for.
    """

    def __init__(
        self,
        chunks: Iterable[NDArray[np.float32]],
        spec: SpectrogramSpec,
        transform: Callable[[NDArray[np.float32]], Columns],
        beside_columns: int = 0,
    ) -> None:
        self.spec, self._chunks, self._transform = spec, iter(chunks), transform
        # Windows near time zero reach back before it. From this column on, a whole window hears nothing but silence.
        self._earliest_column = -spec.columns - -(-spec.window_samples // spec.hop_samples) - beside_columns
        self._first_column = self._earliest_column
        self._samples = np.zeros(-self._earliest_column * spec.hop_samples, np.float32)
        self._columns: Columns = np.zeros((spec.rows, 0), np.float32)
        self._ended = False

    def window_at(self, time_seconds: float) -> Columns:
        """The window centred on a time: float32 ``rows x columns``. Times must not go back by more than a window.

        Beyond the ends of the track is silence.
        """
        return self.stretch(max(self.spec.first_column_at(time_seconds), self._earliest_column), self.spec.columns)

    def stretch(self, first_column: int, count: int) -> Columns:
        """So many columns of the track: float32 ``rows x count``; they must not go back by more than a window."""
        while self._first_column + self._columns.shape[1] < first_column + count:
            self._append_columns(CHUNK_COLUMNS)
            self._drop_before(first_column - self.spec.columns)
        start = first_column - self._first_column
        if start < 0:
            raise ValueError(f"column {first_column} of the track has been dropped already")
        return np.ascontiguousarray(self._columns[:, start : start + count])

    def windows_at(self, times_seconds: Sequence[float]) -> Columns:
        """Several windows, at ascending times: float32 ``N x rows x columns``."""
        windows = [self.window_at(time_seconds) for time_seconds in times_seconds]
        return np.stack(windows) if windows else np.zeros((0, self.spec.rows, self.spec.columns), np.float32)

    def _append_columns(self, count: int) -> None:
        spec = self.spec
        needed = (count - 1) * spec.hop_samples + spec.window_samples
        while len(self._samples) < needed:
            chunk = None if self._ended else next(self._chunks, None)
            if chunk is None:
                self._ended = True
                chunk = np.zeros(needed - len(self._samples), np.float32)
            self._samples = np.concatenate([self._samples, chunk])
        self._columns = np.concatenate([self._columns, self._transform(self._samples[:needed])], axis=1)
        self._samples = self._samples[count * spec.hop_samples :]

    def _drop_before(self, column: int) -> None:
        surplus = min(column - self._first_column, self._columns.shape[1])
        if surplus > CHUNK_COLUMNS:
            self._columns = self._columns[:, surplus:]
            self._first_column += surplus


class RunningSamples:
    """Windows of a track's samples, on the grid of its columns, for devices that transform each window themselves.

    Memory holds two windows and one chunk, whatever the length.

    Args:
        chunks: consecutive float32 mono samples at the spec's rate; sample 0 is time zero.
        spec: the column grid.
    """

    def __init__(self, chunks: Iterable[NDArray[np.float32]], spec: SpectrogramSpec) -> None:
        self.spec, self._chunks = spec, iter(chunks)
        self._first_sample, self._ended = 0, False
        self._samples = np.zeros(0, np.float32)

    def windows_at(self, times_seconds: Sequence[float]) -> NDArray[np.float32]:
        """The windows centred on ascending times: float32 ``N x clip_samples``.

        Times must not go back by more than a window. Beyond the ends of the track is silence.
        """
        windows = np.zeros((len(times_seconds), self.spec.clip_samples), np.float32)
        for window, time_seconds in zip(windows, times_seconds, strict=True):
            self._fill(window, self.spec.first_column_at(time_seconds) * self.spec.hop_samples)
        return windows

    def _fill(self, window: NDArray[np.float32], start: int) -> None:
        while not self._ended and self._first_sample + len(self._samples) < start + len(window):
            chunk = next(self._chunks, None)
            self._ended = chunk is None
            if chunk is not None:
                self._samples = np.concatenate([self._samples, chunk])
                self._drop_before(start - len(window))
        if max(start, 0) < self._first_sample:
            raise ValueError(f"the window at sample {start} has been dropped already")
        first, last = (
            min(max(edge - self._first_sample, 0), len(self._samples)) for edge in (start, start + len(window))
        )
        begin = self._first_sample + first - start
        window[begin : begin + last - first] = self._samples[first:last]

    def _drop_before(self, sample: int) -> None:
        surplus = min(sample - self._first_sample, len(self._samples))
        if surplus > self.spec.clip_samples:
            self._samples = self._samples[surplus:]
            self._first_sample += surplus
