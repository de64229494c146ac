"""How long the stages of a run take, where somebody asks: what is timed is the code that runs, and no copy of it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

# In the order in which a picture meets them. The first two and the last two run in threads of their own.
STAGES = ("decode", "shrink", "spectrogram", "towers", "overlay", "encode")

_NOTHING: AbstractContextManager[None] = contextlib.nullcontext()
_watching: StageTimes | None = None


class StageTimes:
    """Context manager that gathers the time of every stage of the runs in this process; one at a time.

    Stages run beside each other, so that their times add up to more than a run takes, and a stage that waits for a core
    is slower than it would be alone. Encoders and decoders work on in threads of their own between two calls.

    Args:
        clock: seconds.
        ended: called after every piece of work with the name of its stage, in the stage's own thread.

    Attributes:
        seconds: by stage, of :data:`STAGES`; those that were not at work are missing.
    """

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, ended: Callable[[str], None] | None = None
    ) -> None:
        self.seconds: dict[str, float] = {}
        self._clock, self._ended, self._lock = clock, ended, threading.Lock()

    def __enter__(self) -> Self:
        global _watching  # noqa: PLW0603 (stages are reached through many hands, which need not know of it)
        if _watching is not None:
            raise RuntimeError("the stages are being timed already")
        _watching = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _watching  # noqa: PLW0603
        _watching = None

    @contextlib.contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Add what is done meanwhile to a stage."""
        started = self._clock()
        yield
        taken = self._clock() - started
        with self._lock:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + taken
        if self._ended is not None:
            self._ended(stage)


def timed(stage: str) -> AbstractContextManager[None]:
    """A piece of a stage's work; costs next to nothing while nobody watches."""
    watching = _watching
    return _NOTHING if watching is None else watching.timing(stage)
