"""Stages of a run: threads joined by bounded queues, which end together whatever happens in one of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

T = TypeVar("T")

NEWS_SECONDS = 0.2  # after which a thread's end is seen even if an interrupt swallowed the news of it

_SLOT, _END, _WAKE = object(), object(), object()


class Stopped(BaseException):
    """Raised in a stage that waits at a queue when the run ends because of another stage.

    Not an ``Exception``: no stage may take it for a failure of what it was doing.
    """


class FrameQueue(Generic[T]):
    """Hands frames from one stage to the next in their order; holds at most ``capacity`` of them.

    One thread puts, one thread gets. Everything a thread waits at is a single call into the interpreter's own queue, so
    that Ctrl-C in the main thread never leaves a lock behind.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}, must be at least 1")
        self._slots: SimpleQueue[object] = SimpleQueue()
        self._frames: SimpleQueue[object] = SimpleQueue()
        self._ended = self._stopped = False
        for _ in range(capacity):
            self._slots.put(_SLOT)

    def put(self, frame: T) -> None:
        """Append a frame; waits while the queue is full."""
        self._check()
        self._slots.get()
        self._check()
        self._frames.put(frame)

    def end(self) -> None:
        """Say that no more frames come; never waits."""
        self._frames.put(_END)

    def stop(self) -> None:
        """End both sides at once: what waits or comes raises :class:`Stopped`; frames in the queue are dropped."""
        self._stopped = True
        self._slots.put(_WAKE)  # whoever waits already
        self._frames.put(_WAKE)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        """The next frame; waits for it."""
        return self._received(self._frames.get)

    def waiting(self) -> Iterator[T]:
        """The frames that are there by now, one by one as they are asked for; never waits."""
        while True:
            try:
                yield self._received(self._frames.get_nowait)
            except (Empty, StopIteration):
                return

    def _received(self, get: Callable[[], object]) -> T:
        self._check()
        if self._ended:
            raise StopIteration
        frame = get()
        self._check()
        if frame is _END:
            self._ended = True
            raise StopIteration
        self._slots.put(_SLOT)
        return cast("T", frame)

    def _check(self) -> None:
        if self._stopped:
            raise Stopped


class Stages:
    """Context manager of the threads of a run and the queues between them.

    The first exception in any thread stops all queues; :meth:`wait` and the end of the ``with`` block raise it in the
    calling thread. However the block is left, no thread is running afterwards.
    """

    def __init__(self) -> None:
        self._queues: list[FrameQueue[Any]] = []
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        self._begun: list[str] = []
        self._ended: list[str] = []
        self._news: SimpleQueue[None] = SimpleQueue()
        self._stopped = False

    def queue(self, capacity: int) -> FrameQueue[Any]:
        """A queue that ends with the others."""
        made: FrameQueue[Any] = FrameQueue(capacity)
        self._queues.append(made)
        return made

    def start(self, name: str, work: Callable[[], None]) -> None:
        """Start a thread; ``name`` is for debuggers."""

        def run() -> None:
            self._begun.append(name)
            try:
                if not self._stopped:
                    work()
            except Stopped:
                pass
            except BaseException as error:
                self._failures.append(error)
                self.stop()
            finally:
                self._ended.append(name)
                self._news.put(None)

        # A daemon: a program may end while it holds a localisation that it has not read to its end.
        thread = threading.Thread(target=run, name=f"avol-stage-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """Let every stage end at its next frame."""
        self._stopped = True
        for queue in self._queues:
            queue.stop()

    def wait(self) -> None:
        """Wait until every stage has done its work.

        Raises:
            BaseException: what a stage raised.
        """
        self._wait_for_threads(self._threads)
        self._raise_failure()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stop_and_join()
        except (KeyboardInterrupt, SystemExit):
            # Each thread is at most one frame from its end, which an interrupt waits for. A second one does not: a disk
            # or a device that hangs cannot hold the user.
            self._stop_and_join()
            raise
        if error is None or isinstance(error, Stopped):
            self._raise_failure()

    def _stop_and_join(self) -> None:
        self.stop()
        self._wait_for_threads(self._begun)
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _wait_for_threads(self, all_of_them: Sized) -> None:
        """Not by joining: Python 3.11 takes a thread for dead when Ctrl-C interrupts joining it."""
        while len(self._ended) < len(all_of_them):
            with suppress(Empty):
                self._news.get(timeout=NEWS_SECONDS)

    def _raise_failure(self) -> None:
        if self._failures:
            failure = self._failures[0]
            raise failure from failure.__cause__  # without the Stopped that brought the news


def feed(frames: Iterable[T], queue: FrameQueue[T]) -> None:
    """Put all frames into a queue, and its end."""
    for frame in frames:
        queue.put(frame)
    queue.end()
