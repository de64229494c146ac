"""The strip under the picture: now is at the right edge, curves are where their values say, memory stays flat."""

from __future__ import annotations

import av
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from avol.runtime.canvas import Canvas, limited_yuv
from avol.runtime.media.picture import plane_pixels
from avol.runtime.strip import GROUND, SCORE_SHARE, SHOWN_SECONDS, SOUNDING, Strip, strip_height

RATE = 16_000
WIDTH, HEIGHT = 400, 100


def drawn(strip: Strip, time_seconds: float) -> NDArray[np.uint8]:
    picture = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
    strip.draw(Canvas(picture, 1), time_seconds)
    return plane_pixels(picture.planes[0]).copy()


def luma(colour: tuple[float, float, float]) -> int:
    return round(float(limited_yuv(np.array(colour), 1)[0]))


def waveform_columns(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    below = picture[round((SCORE_SHARE + 0.05) * HEIGHT) :]
    return np.asarray((below != luma(GROUND)).sum(axis=0) > 6)


def test_loud_seconds_are_where_they_were() -> None:
    strip = Strip(threshold=0.5, sample_rate_hz=RATE)
    loud, quiet = np.full(RATE, 0.9, np.float32), np.zeros(RATE, np.float32)
    for samples in (quiet, quiet, loud, quiet, quiet):
        strip.add_samples(samples)
    columns = waveform_columns(drawn(strip, 5.0))
    seconds = np.flatnonzero(columns) / WIDTH * SHOWN_SECONDS - SHOWN_SECONDS + 5.0
    assert 1.9 < seconds.min() < 2.1
    assert 2.9 < seconds.max() < 3.1


@given(score=st.floats(0, 1), threshold=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_a_sounding_score_is_a_bright_line_at_its_height(score: float, threshold: float) -> None:
    strip = Strip(threshold=threshold, sample_rate_hz=RATE)
    for step in range(50):
        strip.add_score(step / 10, score, sounding=True)
    rows = np.flatnonzero(drawn(strip, 5.0)[:, -20] == luma(SOUNDING))
    expected = HEIGHT * (0.06 + (SCORE_SHARE - 0.12) * (1 - score))
    assert len(rows) >= 1
    assert abs(rows.mean() - expected) < 2


def test_what_is_still_to_come_is_not_drawn() -> None:
    strip = Strip(threshold=0.5, sample_rate_hz=RATE)
    before = drawn(strip, 2.0)
    strip.add_samples(np.ones(RATE * 9, np.float32))
    strip.add_score(8.0, 1.0, sounding=True)
    after = drawn(strip, 2.0)
    now = after[:, : round(WIDTH * (1 - 2.0 / SHOWN_SECONDS)) - 2]
    assert np.array_equal(now, before[:, : now.shape[1]])
    assert luma(SOUNDING) not in after


def test_hours_take_no_more_memory_than_seconds() -> None:
    strip = Strip(threshold=0.5, sample_rate_hz=RATE)
    for second in range(200):
        strip.add_samples(np.zeros(RATE + 7, np.float32))
        strip.add_score(float(second), 0.5, sounding=False)
        drawn(strip, float(second))
    assert len(strip._peaks) < 700
    assert len(strip._scores) < 20


def test_any_chunks_give_the_same_waveform() -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, RATE * 2).astype(np.float32)
    whole, parts = Strip(threshold=0.5, sample_rate_hz=RATE), Strip(threshold=0.5, sample_rate_hz=RATE)
    whole.add_samples(samples)
    for start in range(0, len(samples), 777):
        parts.add_samples(samples[start : start + 777])
    assert np.array_equal(drawn(whole, 2.0), drawn(parts, 2.0))


def test_its_height_is_even() -> None:
    assert all(strip_height(height) % 2 == 0 for height in range(2, 2000))
