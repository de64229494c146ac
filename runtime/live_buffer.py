"""Between a live stream and the model: the newest pictures and the last seconds of sound. Stale ones are dropped."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray

KEPT_SECONDS = 6.0  # of sound
MOST_PICTURES = 32  # waiting for their sound
SOUND_PATIENCE_SECONDS = 0.3  # beyond the window's own half: sound that is later than this is taken for silence


@dataclass(frozen=True)
class LivePicture:
    """A picture that is to be analysed.

    Attributes:
        time_seconds: on the clock of the run: seconds since it began, gaps of the stream included.
        arrived_seconds: of :func:`time.monotonic`, when it came out of the decoder.
        pixels: uint8 ``H x W x 3`` RGB at the network's size.
        picture: the decoded frame, upright.
    """

    time_seconds: float
    arrived_seconds: float
    pixels: NDArray[np.uint8]
    picture: av.VideoFrame


@dataclass(frozen=True)
class LiveMoment:
    """A picture with the sound around it, and how many that were to be analysed were dropped before it."""

    picture: LivePicture
    samples: NDArray[np.float32]
    dropped: int


class LiveBuffer:
    """Pictures and sound from one thread, moments for another; memory is bounded whatever either does.

    Args:
        rate_hz: of the samples.
        window_samples: of a moment, centred on its picture.
    """

    def __init__(self, *, rate_hz: int, window_samples: int) -> None:
        self._rate_hz, self._window = rate_hz, window_samples
        self._pictures: deque[LivePicture] = deque()
        self._sound = np.zeros(round(KEPT_SECONDS * rate_hz), np.float32)
        self._sound_end = 0  # sample number, from time zero, after the last one in the buffer
        self._hears = True
        self._dropped = 0
        self._closed = False
        self._changed = threading.Condition()

    def expect_sound(self, *, hears: bool) -> None:
        """Whether the stream has sound; without, pictures do not wait for it."""
        with self._changed:
            self._hears = hears
            self._changed.notify_all()

    def add_picture(self, picture: LivePicture) -> None:
        """A picture to analyse; the oldest one waiting makes room."""
        with self._changed:
            if len(self._pictures) >= MOST_PICTURES:
                self._pictures.popleft()
                self._dropped += 1
            self._pictures.append(picture)
            self._changed.notify_all()

    def add_samples(self, start: int, samples: NDArray[np.float32]) -> None:
        """Samples by the number of the first one; what lies between them and the last ones is silence."""
        with self._changed:
            samples = samples[max(0, self._sound_end - start) :]
            gap = max(0, start - self._sound_end)
            size = len(self._sound)
            new = np.concatenate([np.zeros(min(gap, size), np.float32), samples])[-size:]
            if len(new):
                self._sound = np.concatenate([self._sound, new])[-size:]
            self._sound_end += gap + len(samples)
            self._changed.notify_all()

    def close(self) -> None:
        """No more will come: what is waiting is given out, then nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self, timeout_seconds: float) -> LiveMoment | None:
        """The newest picture whose sound is there; older ones are dropped. None: nothing came in time, or the end.

        A picture without all of its sound is given out, too, once it has waited for longer than sound ever takes.
        """
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            while True:
                now = time.monotonic()
                ready = [index for index, picture in enumerate(self._pictures) if self._is_ready(picture, now)]
                if ready:
                    for _ in range(ready[-1]):
                        self._pictures.popleft()
                        self._dropped += 1
                    picture, dropped, self._dropped = self._pictures.popleft(), self._dropped, 0
                    return LiveMoment(picture, self._window_at(picture.time_seconds), dropped)
                if now >= deadline or (self._closed and not self._pictures):
                    return None
                self._changed.wait(min(deadline - now, SOUND_PATIENCE_SECONDS / 4))

    @property
    def ended(self) -> bool:
        """Whether nothing is left and nothing will come."""
        with self._changed:
            return self._closed and not self._pictures

    def _is_ready(self, picture: LivePicture, now_seconds: float) -> bool:
        half = self._window / 2 / self._rate_hz
        heard = self._sound_end / self._rate_hz >= picture.time_seconds + half
        waited = now_seconds - picture.arrived_seconds > half + SOUND_PATIENCE_SECONDS
        return heard or waited or self._closed or not self._hears

    def _window_at(self, time_seconds: float) -> NDArray[np.float32]:
        """Silence beyond both ends of what is kept."""
        start = round(time_seconds * self._rate_hz) - self._window // 2
        window = np.zeros(self._window, np.float32)
        kept_start = self._sound_end - len(self._sound)
        first, last = max(start, kept_start), min(start + self._window, self._sound_end)
        if first < last:
            window[first - start : last - start] = self._sound[first - kept_start : last - kept_start]
        return window
