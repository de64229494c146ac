"""Fetch the segments of a list: some at a time, not too fast, each once; stop when the site wants it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from avol.runtime.errors import AvolError
from avol.train.data.fetch.download import BLOCKED, Fetch, Outcome, fetch_segment
from avol.train.data.fetch.journal import Journal
from avol.train.data.fetch.segments import Segment

LOCK_FILE = ".fetch.lock"
JITTER = 0.5  # of the interval, more or less
FIRST_PAUSE_SECONDS = 30.0  # when the site says that it is too much; doubled every time
BLOCKS_BEFORE_STOP = 4  # in a row


@dataclass(frozen=True, kw_only=True)
class Manners:
    """How politely to fetch.

    Attributes:
        jobs: segments at a time.
        interval_seconds: between the starts of two, on average.
        pause_seconds: after the first refusal; doubles with every further one in a row.
        retry: ask again for what was gone, private, or otherwise final.
    """

    jobs: int = 4
    interval_seconds: float = 1.0
    pause_seconds: float = FIRST_PAUSE_SECONDS
    retry: bool = False


class Pace:
    """Lets threads start one after the other, with random distances, and holds all of them while the site refuses."""

    def __init__(self, manners: Manners, *, stop: threading.Event) -> None:
        self._manners, self._stop = manners, stop
        self._lock = threading.Lock()
        self._next_start = time.monotonic()
        self.refusals = 0  # in a row

    def wait_turn(self) -> bool:
        """Wait until the next may start; False: stop."""
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next_start)
            interval = self._manners.interval_seconds
            self._next_start = start + interval * (1 + random.uniform(-JITTER, JITTER))
        return not self._stop.wait(max(0.0, start - now))

    def heard(self, outcome: Outcome) -> None:
        """Take the site's answer into account."""
        with self._lock:
            if outcome.status != BLOCKED:
                self.refusals = 0
                return
            self.refusals += 1
            pause = self._manners.pause_seconds * 2 ** (self.refusals - 1)
            self._next_start = max(self._next_start, time.monotonic() + pause)


def fetch_all(
    segments: Sequence[Segment],
    folder: Path,
    manners: Manners,
    *,
    fetch: Fetch = fetch_segment,
    progress: Callable[[Segment, Outcome], None] = lambda segment, outcome: None,
) -> Counter[str]:
    """Fetch what is not there; leaves ``fetch.jsonl``, ``fetch.csv`` and ``clips.csv`` beside the clips.

    Args:
        segments: of one list.
        folder: made if missing; another list's clips in it stay, in their own right.
        manners: how politely.
        fetch: gets one.
        progress: called after each that was asked for.

    Returns:
        How many segments have which status.

    Raises:
        AvolError: the folder cannot be written, another fetch works in it, or the site refuses again and again.
        KeyboardInterrupt: what is being fetched is dropped, the rest is as it was; the tables are written.
    """
    with _locked(folder), Journal(folder) as journal:
        for unfinished in folder.glob(".*.partial.mp4"):  # of a fetch that was killed
            unfinished.unlink(missing_ok=True)
        waiting = [segment for segment in segments if not journal.is_done(segment, retry=manners.retry)]
        try:
            _fetch_waiting(waiting, folder, manners, journal, fetch, progress)
        finally:
            counts = journal.write_tables(segments)
    return counts


def _fetch_waiting(
    waiting: Sequence[Segment],
    folder: Path,
    manners: Manners,
    journal: Journal,
    fetch: Fetch,
    progress: Callable[[Segment, Outcome], None],
) -> None:
    stop = threading.Event()
    pace = Pace(manners, stop=stop)

    def work(segment: Segment) -> Outcome | None:
        if not pace.wait_turn():
            return None
        outcome = fetch(segment, folder / segment.file_name)
        pace.heard(outcome)
        return outcome

    pool = ThreadPoolExecutor(manners.jobs, thread_name_prefix="fetch")
    try:
        for segment, outcome in _results(pool, work, waiting, 2 * manners.jobs):
            if outcome is None:
                continue
            journal.add(segment, outcome)
            progress(segment, outcome)
            if pace.refusals >= BLOCKS_BEFORE_STOP:
                raise AvolError(
                    f"{folder}: the site refused {pace.refusals} times in a row ({outcome.reason}); wait some hours, "
                    "or ask for less with --jobs 1 --interval 10. The same command goes on from here."
                )
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _results(
    pool: ThreadPoolExecutor,
    work: Callable[[Segment], Outcome | None],
    waiting: Sequence[Segment],
    ahead: int,
) -> Iterator[tuple[Segment, Outcome | None]]:
    """Results as they come; never more than ``ahead`` are asked for, so that a stop is a stop."""
    rest = iter(waiting)
    running: dict[Future[Outcome | None], Segment] = {}
    while True:
        for segment in rest:
            running[pool.submit(work, segment)] = segment
            if len(running) >= ahead:
                break
        if not running:
            return
        # With a timeout, so that an interrupt is heard while nothing finishes.
        done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
        for future in done:
            yield running.pop(future), future.result()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One fetch at a time in a folder; the lock goes with the process, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_FILE, os.O_WRONLY | os.O_CREAT, 0o666)
    except OSError as error:
        raise AvolError(f"{folder}: cannot be written: {error.strerror}; choose another --out.") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AvolError(f"{folder}: another avol data fetch works there; wait for it.") from None
        yield
    finally:
        os.close(descriptor)
