"""What a call of a backend consists of, timed on the host's clock: the columns that trtexec prints."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Phases:
    """Seconds of one call; None: there is no such phase, or it cannot be told from another one.

    Attributes:
        enqueue: the host puts the work on the device's stream; part of ``compute``.
        h2d: inputs go from the host to the device.
        compute: the graphs run.
        d2h: outputs come back.
    """

    enqueue: float | None = None
    h2d: float | None = None
    compute: float
    d2h: float | None = None


PHASES = tuple(field.name for field in fields(Phases))


class LapClock:
    """Adds up what lies between two calls; does nothing unless it is running, so that any call can carry one."""

    def __init__(self, *, running: bool = True, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._clock, self._running, self._last = clock, running, 0.0

    def start(self) -> None:
        """What comes now belongs to the next lap."""
        if self._running:
            self._last = self._clock()

    def lap(self, phase: str) -> None:
        """What came since the last call was this."""
        if self._running:
            now = self._clock()
            self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
            self._last = now


NO_LAPS = LapClock(running=False)
