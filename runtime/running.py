"""A track that the audio tower runs over: what neighbouring windows have in common is computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from avol.runtime.spec import RunningGrid, SpectrogramSpec
from avol.runtime.track import Columns, RunningSpectrogram

FEWEST_EMBEDDINGS, MOST_EMBEDDINGS = 4, 32  # of one stretch: the first ones are waited for, long ones repeat less

Vectors = NDArray[np.float32]


class RunningEmbeddings:
    """Embeddings of a track's windows, on a grid coarser than its columns; a window is the nearest one on that grid.

    A stretch of the track goes through the tower as a whole, so that the cost is that of little more than one window
    for each length of a window, however many are asked for. Its convolutions see the track beside a window, where they
    see zeros beside one that is computed alone; ``reports/experiments`` measures what that changes. Memory holds one
    stretch, whatever the length.

    Args:
        chunks: consecutive float32 mono samples at the spec's rate; sample 0 is time zero.
        spec: the column grid.
        transform: samples ``S`` to columns ``rows x T``.
        grid: of the embeddings.
        embed: a stretch of columns, ``1 x rows x T``, to the embeddings of all its windows at multiples of the stride,
            float32 ``P x E``; those that lack context come with them.
    """

    def __init__(
        self,
        chunks: Iterable[NDArray[np.float32]],
        spec: SpectrogramSpec,
        *,
        transform: Callable[[NDArray[np.float32]], Columns],
        grid: RunningGrid,
        embed: Callable[[Columns], Vectors],
    ) -> None:
        self.spec, self.grid, self._embed = spec, grid, embed
        # Windows that begin earlier hear nothing of the track, and neither does what is beside them.
        silent_columns = spec.columns + -(-spec.window_samples // spec.hop_samples) + grid.context_columns
        self._earliest = -(silent_columns // grid.stride_columns)
        self._columns = RunningSpectrogram(chunks, spec, transform, beside_columns=2 * grid.context_columns)
        self._first, self._count = self._earliest, 0  # of the embeddings at hand
        self._vectors: Vectors = np.zeros((0, 0), np.float32)

    def windows_at(self, times_seconds: Sequence[float]) -> Vectors:
        """Embeddings of the windows nearest to ascending times: float32 ``N x E``, N being 1 or more."""
        return np.stack([self._at(time_seconds) for time_seconds in times_seconds])

    def _at(self, time_seconds: float) -> Vectors:
        place = max(round(self.spec.first_column_at(time_seconds) / self.grid.stride_columns), self._earliest)
        if place >= self._first + len(self._vectors):
            self._compute(place)
        if place < self._first:
            raise ValueError(f"the window at {time_seconds} s has been dropped already")
        vector: Vectors = self._vectors[place - self._first]
        return vector

    def _compute(self, place: int) -> None:
        """The next stretch, that holds a place: after the last one, or from the place on if it is far from there."""
        following = self._first + len(self._vectors)
        count = min(max(2 * self._count, FEWEST_EMBEDDINGS), MOST_EMBEDDINGS)
        if place >= following + count:
            following, count = place, FEWEST_EMBEDDINGS
        stride, context = self.grid.stride_columns, self.grid.context_columns
        columns = (count - 1) * stride + self.spec.columns + 2 * context
        found = self._embed(self._columns.stretch(following * stride - context, columns)[None])
        margin = context // stride
        self._first, self._count, self._vectors = following, count, found[margin : margin + count]
