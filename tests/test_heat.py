"""Heat between two analyses: each picture has what lies between the maps at its time, and pictures keep their order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avol.runtime.heat import Shown, between, held_heat, moving_heat
from avol.runtime.timeline import TimelineFrame

LOW, HIGH = np.full((2, 3), 0.2, np.float32), np.full((2, 3), 0.8, np.float32)


def entry(time: float, map: Any, *, sounding: bool = True) -> TimelineFrame:
    return TimelineFrame(time_seconds=time, score=0.0, sounding=sounding, map=map)


def pictures(times: list[float], analyses: dict[int, TimelineFrame]) -> list[Shown]:
    return [Shown(time, index, analyses.get(index)) for index, time in enumerate(times)]  # type: ignore[arg-type]


def level(shown: Shown) -> float:
    """The heat where it is the same everywhere; none is zero."""
    if shown.heat is None:
        return 0.0
    assert shown.heat.dtype == np.float32
    assert float(np.ptp(shown.heat)) < 1e-6
    return float(shown.heat[0, 0])


@settings(max_examples=150, deadline=None)
@given(
    gaps=st.lists(st.floats(0.001, 3.0), min_size=1, max_size=40),
    chosen=st.sets(st.integers(1, 39)),
    reach=st.integers(1, 8),
    seed=st.integers(0, 99),
)
def test_heat_moves_linearly_and_no_more_than_reach_wait(
    gaps: list[float], chosen: set[int], reach: int, seed: int
) -> None:
    times = list(np.cumsum(gaps))
    chance = np.random.default_rng(seed)
    analysed = sorted({0, *(k for k in chosen if k < len(times))})
    levels = {k: float(chance.choice([0.0, 0.3, 0.9])) for k in analysed}
    entries = {k: entry(times[k], np.full((2, 3), levels[k], np.float32), sounding=levels[k] > 0) for k in analysed}
    given_in = 0

    def counted() -> Iterator[Shown]:
        nonlocal given_in
        for given_in, shown in enumerate(pictures(times, entries), 1):  # noqa: B007
            yield shown

    result = []
    for shown in moving_heat(counted(), reach):
        assert given_in - len(result) <= reach + 1
        result.append(shown)
    assert [shown.picture for shown in result] == list(range(len(times)))
    assert [shown.time_seconds for shown in result] == times
    for k, shown in enumerate(result):
        before = max(a for a in analysed if a <= k)
        assert shown.entry is entries[before]
        after = min((a for a in analysed if a > k), default=None)
        expected = levels[before]
        if after is not None:
            start = max(before, after - 1 - reach)
            share = max(0.0, times[k] - times[start]) / (times[after] - times[start])
            expected += share * (levels[after] - levels[before])
        assert level(shown) == pytest.approx(expected, abs=1e-5)


def test_nothing_sounding_is_no_heat_and_not_a_cold_map() -> None:
    """Pictures without heat are not drawn on at all."""
    silent = {0: entry(0.0, HIGH, sounding=False), 2: entry(2.0, LOW, sounding=False)}
    assert [shown.heat for shown in moving_heat(pictures([0.0, 1.0, 2.0, 3.0], silent), 4)] == [None] * 4


def test_a_system_without_maps_has_no_heat() -> None:
    scores = {0: entry(0.0, None), 2: entry(2.0, None)}
    assert [shown.heat for shown in moving_heat(pictures([0.0, 1.0, 2.0], scores), 4)] == [None] * 3


def test_maps_of_the_timeline_are_not_changed() -> None:
    first, second = LOW.copy(), HIGH.copy()
    list(moving_heat(pictures([0.0, 1.0, 2.0], {0: entry(0.0, first), 2: entry(2.0, second)}), 4))
    assert np.array_equal(first, LOW)
    assert np.array_equal(second, HIGH)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_between(share: float) -> None:
    assert between(None, None, share) is None
    for before, after, expected in [
        (LOW, HIGH, 0.2 + 0.6 * share),
        (None, HIGH, 0.8 * share),
        (HIGH, None, 0.8 * (1 - share)),
    ]:
        heat = between(before, after, share)
        assert heat is not None
        assert heat.dtype == np.float32
        assert np.allclose(heat, expected, atol=1e-6)


def test_no_pictures() -> None:
    assert list(moving_heat([], 3)) == []


def test_held_heat_stands_still_until_the_next_analysis() -> None:
    given = pictures([0.0, 0.1, 0.2, 0.3, 0.4], {1: entry(0.1, LOW), 3: entry(0.3, HIGH, sounding=False)})
    shown = list(held_heat(given))
    assert [picture.picture for picture in shown] == [0, 1, 2, 3, 4]
    assert [level(picture) for picture in shown] == pytest.approx([0.0, 0.2, 0.2, 0.0, 0.0])
    assert [picture.entry and picture.entry.time_seconds for picture in shown] == [None, 0.1, 0.1, 0.3, 0.3]
