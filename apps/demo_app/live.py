"""Webcam and microphone: the newest second of sound, and the picture from the middle of it."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import av
import numpy as np
from numpy.typing import NDArray

from avol.apps.demo_app.limits import Limits
from avol.apps.demo_app.still import draw, read_sound
from avol.runtime import Localiser
from avol.runtime.errors import AvolError
from avol.runtime.media.picture import resize_frame

FRAMES_KEPT = 12
LARGEST_SIDE_PIXELS = 4096
STALE_SECONDS = 2.0  # sound that is older than this is not heard with a picture any more
SESSIONS = 8


@dataclass(frozen=True, kw_only=True)
class LiveResult:
    """What one picture of a camera shows.

    Attributes:
        picture: ``H x W x 3`` RGB, uint8, with heat while something sounds.
        score: 0..1; None while there is no sound.
        sounding: whether the score reaches the threshold.
    """

    picture: NDArray[np.uint8]
    score: float | None
    sounding: bool


@dataclass
class LiveBuffer:
    """The newest pictures and the newest sound of one visitor, both with the time at which they arrived."""

    samples: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    heard_until_seconds: float = -1e9
    frames: deque[tuple[float, av.VideoFrame]] = field(default_factory=lambda: deque(maxlen=FRAMES_KEPT))


class LiveSessions:
    """The buffers of those who are looking now; the one that was used least recently leaves for a new one."""

    def __init__(self) -> None:
        self._buffers: OrderedDict[str, LiveBuffer] = OrderedDict()
        self._turn = Lock()

    def buffer_of(self, session: str) -> LiveBuffer:
        """The buffer of a visitor."""
        with self._turn:
            buffer = self._buffers.setdefault(session, LiveBuffer())
            self._buffers.move_to_end(session)
            while len(self._buffers) > SESSIONS:
                self._buffers.popitem(last=False)
            return buffer

    def forget(self, session: str) -> None:
        """Drop a visitor's buffer, if there is one."""
        with self._turn:
            self._buffers.pop(session, None)

    def __len__(self) -> int:
        return len(self._buffers)


def live_sound(
    localiser: Localiser, buffer: LiveBuffer, sound: Path, *, limits: Limits, now_seconds: float | None = None
) -> None:
    """Append what a microphone has sent; a window and a half is kept.

    Args:
        localiser: the model.
        buffer: of the visitor.
        sound: a file with the newest piece of sound.
        limits: what is too much.
        now_seconds: on the clock of :func:`time.monotonic`; None: now.

    Raises:
        AvolError: the piece is not sound, or exceeds a limit.
    """
    spec = localiser.spec.spectrogram
    samples = read_sound(sound, spec.sample_rate_hz, limits)
    buffer.samples = np.concatenate([buffer.samples, samples])[-spec.clip_samples * 3 // 2 :]
    buffer.heard_until_seconds = time.monotonic() if now_seconds is None else now_seconds


def live_frame(
    localiser: Localiser, buffer: LiveBuffer, pixels: NDArray[np.uint8], now_seconds: float | None = None
) -> LiveResult:
    """Localise the newest second of sound in the picture that was taken in the middle of it.

    Args:
        localiser: the model.
        buffer: of the visitor.
        pixels: the camera's newest picture: uint8 ``H x W x 3`` RGB.
        now_seconds: on the clock of :func:`time.monotonic`; None: now.

    Raises:
        AvolError: pixels of another kind.
    """
    now_seconds = time.monotonic() if now_seconds is None else now_seconds
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise AvolError("camera: sends pictures of a kind that avol cannot use; choose another camera.")
    if max(pixels.shape) > LARGEST_SIDE_PIXELS:
        raise AvolError(f"camera: sends pictures of more than {LARGEST_SIDE_PIXELS} pixels; choose a smaller size.")
    spec = localiser.spec
    buffer.frames.append((now_seconds, av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
    middle_seconds = buffer.heard_until_seconds - spec.spectrogram.clip_seconds / 2
    if now_seconds - buffer.heard_until_seconds > STALE_SECONDS:
        return LiveResult(picture=draw(buffer.frames[-1][1], None), score=None, sounding=False)
    frame = min(buffer.frames, key=lambda entry: abs(entry[0] - middle_seconds))[1]
    small = resize_frame(frame, height=spec.frame_height, width=spec.frame_width)
    samples = buffer.samples[-spec.spectrogram.clip_samples :]
    samples = np.pad(samples, (spec.spectrogram.clip_samples - len(samples), 0))
    found = localiser.localise_picture(small, samples, spec.spectrogram.sample_rate_hz)
    return LiveResult(
        picture=draw(frame, found.map if found.sounding else None), score=found.score, sounding=found.sounding
    )
