"""A strip under the picture: the score over the last seconds, the threshold, and the waveform beneath."""

from __future__ import annotations

import itertools
import threading
from collections import deque

import av
import numpy as np
from numpy.typing import NDArray

from avol.runtime.canvas import Canvas, Colour
from avol.runtime.media.picture import plane_pixels
from avol.runtime.overlay import blank_for, matrix_of

STRIP_SHARE = 0.2  # of the picture's height
SHOWN_SECONDS = 10.0  # now is at the right edge
PEAKS_PER_SECOND = 50
SCORE_SHARE = 0.6  # of the strip's height; the rest is the waveform's
MARGIN = 0.06  # above and below both curves, shares of the strip

GROUND: Colour = (0.08, 0.08, 0.10)
WAVE: Colour = (0.45, 0.50, 0.55)
QUIET: Colour = (0.62, 0.66, 0.70)
SOUNDING: Colour = (0.98, 0.65, 0.15)
FAINT = 0.35  # what lies under the curve, of its colour
QUIETEST_FULL_SCALE = 0.05  # the loudest of the seconds shown fills the waveform's height, unless it is fainter
LIMIT: Colour = (0.75, 0.75, 0.78)

Path = NDArray[np.float32]


def strip_height(picture_height: int) -> int:
    """Of the strip under a picture, pixels, even."""
    return max(16, round(picture_height * STRIP_SHARE / 2) * 2)


def with_strip(picture: av.VideoFrame, strip: Strip, time_seconds: float) -> av.VideoFrame:
    """A picture (yuv420p of limited range, even size) with the strip under it, as long as the picture is wide."""
    result = blank_for(picture, picture.width, picture.height + strip_height(picture.height))
    for target, plane in zip(result.planes, picture.planes, strict=True):
        pixels = plane_pixels(plane)
        plane_pixels(target)[: pixels.shape[0]] = pixels
    area = (0, picture.height, picture.width, strip_height(picture.height))
    strip.draw(Canvas(result, matrix_of(picture), area), time_seconds)
    return result


class Strip:
    """Keeps the last seconds of scores and sound, and draws them. Threads may add while another draws.

    Args:
        threshold: the score from which something sounds, drawn as a line.
        sample_rate_hz: of the samples that :meth:`add_samples` takes.
    """

    def __init__(self, *, threshold: float, sample_rate_hz: int) -> None:
        self._threshold, self._block = threshold, max(1, sample_rate_hz // PEAKS_PER_SECOND)
        self._block_seconds = self._block / sample_rate_hz
        self._scores: deque[tuple[float, float, bool]] = deque()
        self._peaks: deque[tuple[float, float]] = deque()  # time, largest magnitude
        self._rest = np.zeros(0, np.float32)
        self._blocks = 0
        self._lock = threading.Lock()

    def add_score(self, time_seconds: float, score: float, *, sounding: bool) -> None:
        """A score, in the order of times."""
        with self._lock:
            self._scores.append((time_seconds, score, sounding))

    def add_samples(self, samples: NDArray[np.float32]) -> None:
        """The next samples of the track, from time zero on, float32 in -1..1; they may come ahead of the pictures."""
        samples = np.concatenate([self._rest, samples])
        count = len(samples) // self._block
        peaks = np.abs(samples[: count * self._block]).reshape(count, self._block).max(axis=1)
        with self._lock:
            for peak in peaks.tolist():
                self._peaks.append((self._blocks * self._block_seconds, peak))
                self._blocks += 1
        self._rest = samples[count * self._block :].copy()

    def draw(self, canvas: Canvas, time_seconds: float) -> None:
        """Draw the seconds up to a time over the whole canvas; what lies before them is forgotten."""
        with self._lock:
            self._draw(canvas, time_seconds - SHOWN_SECONDS, time_seconds)

    def _draw(self, canvas: Canvas, first: float, time_seconds: float) -> None:
        while len(self._scores) > 1 and self._scores[1][0] < first:
            self._scores.popleft()
        while self._peaks and self._peaks[0][0] < first:
            self._peaks.popleft()
        canvas.fill((0.0, 0.0, 1.0, 1.0), GROUND)
        self._draw_waveform(canvas, first, time_seconds)
        paths = [(SOUNDING if sounding else QUIET, path) for sounding, path in self._score_paths(first, time_seconds)]
        base = _height_of(0.0)
        for (red, green, blue), path in paths:
            under = np.concatenate([path, [(path[-1, 0], base), (path[0, 0], base)]]).astype(np.float32)
            canvas.polygon(under, (FAINT * red, FAINT * green, FAINT * blue))
        y = _height_of(self._threshold)
        canvas.lines([np.array([(0, y), (1, y)], np.float32)], LIMIT, closed=False, rim=False)
        for colour, path in paths:
            canvas.lines([path], colour, closed=False, rim=False)

    def _draw_waveform(self, canvas: Canvas, first_seconds: float, now_seconds: float) -> None:
        shown = np.array([entry for entry in self._peaks if entry[0] <= now_seconds], np.float32).reshape(-1, 2)
        middle, half = SCORE_SHARE + (1 - SCORE_SHARE) / 2, (1 - SCORE_SHARE) / 2 - MARGIN
        if len(shown) > 1:
            x = (shown[:, 0] - first_seconds) / SHOWN_SECONDS
            reach = half * shown[:, 1] / max(QUIETEST_FULL_SCALE, float(shown[:, 1].max()))
            above, below = np.stack([x, middle - reach], axis=1), np.stack([x, middle + reach], axis=1)
            canvas.polygon(np.concatenate([above, below[::-1]]).astype(np.float32), WAVE)

    def _score_paths(self, first_seconds: float, now_seconds: float) -> list[tuple[bool, Path]]:
        """Stretches of the curve of one colour, each beginning where the last one ends; the last score holds on."""
        points = [(time, _height_of(score), sounding) for time, score, sounding in self._scores if time <= now_seconds]
        if not points:
            return []
        points.append((now_seconds, *points[-1][1:]))
        paths: list[tuple[bool, list[tuple[float, float]]]] = []
        for (start, y, sounding), (end, next_y, _) in itertools.pairwise(points):
            piece = [((time - first_seconds) / SHOWN_SECONDS, height) for time, height in ((start, y), (end, next_y))]
            if paths and paths[-1][0] == sounding:
                paths[-1][1].append(piece[1])
            else:
                paths.append((sounding, piece))
        return [(sounding, np.clip(np.array(path, np.float32), 0, 1)) for sounding, path in paths]


def _height_of(score: float) -> float:
    """Where a score 0..1 lies on the strip, 0 on top."""
    return MARGIN + (SCORE_SHARE - 2 * MARGIN) * (1.0 - score)
