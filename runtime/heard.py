"""Windows that are heard again: an embedding is computed once as long as the window stays the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avol.runtime.backends.backend import Backend, MapsAndScores

Windows = NDArray[np.float32]


class HeardWindows:
    """Localises with a backend on the host; a window that equals the one before it keeps its embedding.

    Analyses that share a window of the sound are common: those of a tenth of a second
    (:attr:`avol.runtime.system.System.sound_step_seconds`), and all of a stretch of digital silence.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._window: Windows | None = None
        self._vector: NDArray[np.float32] | None = None

    def localise(self, frames: NDArray[np.uint8], windows: Windows) -> MapsAndScores:
        """Maps and scores of frames with a window of the spectrogram each.

        Args:
            frames: uint8 ``N x H x W x 3`` RGB.
            windows: float32 ``N x rows x columns``.

        Returns:
            float32 ``N x GH x GW`` and ``N``.
        """
        fresh = [not self._is_known(windows, row) for row in range(len(windows))]
        if all(fresh):
            # Together: where there are fewer rows than cores, the towers are computed side by side.
            found = self._backend.compute(
                ("frame", "audio", "head"), {"frames": frames, "columns": windows}, ("vector", "map", "score")
            )
            vectors = found["vector"]
        else:
            vectors = self._vectors(windows, fresh)
            found = self._backend.compute(("frame", "head"), {"frames": frames, "vector": vectors}, ("map", "score"))
        if len(windows):
            self._window, self._vector = windows[-1].copy(), vectors[-1]
        return found["map"], found["score"]

    def _is_known(self, windows: Windows, row: int) -> bool:
        before = windows[row - 1] if row else self._window
        return before is not None and np.array_equal(windows[row], before)

    def _vectors(self, windows: Windows, fresh: list[bool]) -> NDArray[np.float32]:
        """Embeddings of all windows, of which only the fresh ones are computed."""
        kept = [] if self._vector is None else [self._vector[None]]  # of the window before the first
        made = self._backend.infer("audio", columns=windows[fresh]) if any(fresh) else []
        which = np.cumsum(fresh) - 1 + len(kept)
        vectors: NDArray[np.float32] = np.concatenate([*kept, *made])[which]
        return vectors
