"""The heat that a picture shows between two analyses: it moves from one map to the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray

from avol.runtime.timeline import TimelineFrame

Heat = NDArray[np.float32]


@dataclass(frozen=True)
class Shown:
    """A picture and what it shows.

    Attributes:
        time_seconds: the picture's time in the output.
        picture: the decoded picture, upright.
        entry: the newest entry of the timeline at that time.
        heat: float32 ``GH x GW``, or None where nothing sounds.
    """

    time_seconds: float
    picture: av.VideoFrame
    entry: TimelineFrame | None
    heat: Heat | None = None


def moving_heat(pictures: Iterable[Shown], reach: int) -> Iterator[Shown]:
    """Give each picture its heat: an analysed one that of its own map, the others what lies between, linear in time.

    Only the picture moves between analyses; the timeline holds what was found. A picture waits for the next analysis,
    but never more than ``reach`` do: where analyses are further apart the heat stays and moves on in the last ``reach``
    pictures before the next one. What is shown depends on nothing but the pictures, never on which thread was faster.

    Args:
        pictures: in order; ``entry`` is None for one that was not analysed, ``heat`` is not looked at.
        reach: pictures that may wait.

    Yields:
        The same pictures in order, with ``heat``, and ``entry`` filled in from the newest analysis.
    """
    held: deque[Shown] = deque()
    newest: TimelineFrame | None = None
    start_seconds, before = 0.0, None
    for shown in pictures:
        if shown.entry is None:
            held.append(shown)
            if len(held) > reach:
                still = held.popleft()
                start_seconds = still.time_seconds
                yield Shown(still.time_seconds, still.picture, newest, before)
            continue
        after = _heat_of(shown.entry)
        while held:
            moving = held.popleft()
            share = (moving.time_seconds - start_seconds) / (shown.time_seconds - start_seconds)
            yield Shown(moving.time_seconds, moving.picture, newest, between(before, after, share))
        newest, before, start_seconds = shown.entry, after, shown.time_seconds
        yield Shown(shown.time_seconds, shown.picture, newest, after)
    for still in held:
        yield Shown(still.time_seconds, still.picture, newest, before)


def held_heat(pictures: Iterable[Shown]) -> Iterator[Shown]:
    """Give each picture the heat of the newest analysis as it is, until the next one.

    Args:
        pictures: as for :func:`moving_heat`.

    Yields:
        The same pictures in order, with ``heat``, and ``entry`` filled in from the newest analysis.
    """
    newest: TimelineFrame | None = None
    for shown in pictures:
        newest = shown.entry or newest
        yield Shown(shown.time_seconds, shown.picture, newest, None if newest is None else _heat_of(newest))


def between(before: Heat | None, after: Heat | None, share: float) -> Heat | None:
    """The heat at a share 0..1 of the way; nothing (None) counts as no heat anywhere."""
    if before is None and after is None:
        return None
    if before is None or after is None:
        known, weight = (after, share) if after is not None else (before, 1.0 - share)
        return (np.float32(weight) * known).astype(np.float32, copy=False)  # type: ignore[operator]
    return (before + np.float32(share) * (after - before)).astype(np.float32, copy=False)


def _heat_of(entry: TimelineFrame) -> Heat | None:
    return entry.map if entry.sounding else None
