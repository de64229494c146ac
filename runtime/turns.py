"""A system that several threads share: calls of it take turns."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avol.runtime.system import BackendInfo, Localisation, System
from avol.runtime.track import Track


class SharedSystem:
    """A :class:`System` whose calls take turns, and which can be closed while others still hold it.

    Args:
        system: what is shared.
        free: called once, when it is closed.
    """

    def __init__(self, system: System, free: Callable[[], None]) -> None:
        self._turn = threading.Lock()
        self._system: System | None = system
        self._free = free
        self.spec = system.spec

    @property
    def backend(self) -> BackendInfo:
        """What computes."""
        return self.opened().backend

    def open_track(self, chunks: Iterable[NDArray[np.float32]], *, rate_hz: float | None = None) -> Track:
        """See :meth:`System.open_track`."""
        with self._turn:
            return _SharedTrack(self, self.opened().open_track(chunks, rate_hz=rate_hz), self._turn)

    def localise(self, frames: NDArray[np.uint8], windows: Any) -> Localisation:  # noqa: ANN401 (of the system's tracks)
        """See :meth:`System.localise`."""
        with self._turn:
            return self.opened().localise(frames, windows)

    def opened(self) -> System:
        """What is shared.

        Raises:
            ValueError: it is closed.
        """
        if self._system is None:
            raise ValueError("the localiser is closed")
        return self._system

    def close(self) -> None:
        """Free the system once no call is under way; closing twice is fine."""
        with self._turn:
            if self._system is not None:
                self._system = None
                self._free()


class _SharedTrack:
    def __init__(self, shared: SharedSystem, track: Track, turn: threading.Lock) -> None:
        self._shared, self._track, self._turn = shared, track, turn

    def windows_at(self, times_seconds: Sequence[float]) -> Any:  # noqa: ANN401 (of the system)
        with self._turn:
            self._shared.opened()
            return self._track.windows_at(times_seconds)
