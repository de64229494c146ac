"""The way in from Python: videos, arrays and single pictures to what sounds where."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avol.runtime.backends import open_backend
from avol.runtime.errors import AvolError
from avol.runtime.finding import finding
from avol.runtime.frame_localiser import MOST_ANALYSES, FrameLocaliser
from avol.runtime.media.arrays import samples_at_rate, shrink
from avol.runtime.media.source import open_source
from avol.runtime.media.video import read_picture
from avol.runtime.system import AvolNetSystem, BackendInfo, System
from avol.runtime.timeline import TimelineFrame
from avol.runtime.track import Track
from avol.runtime.turns import SharedSystem


def _ignore(line: str) -> None:
    """Notices that nobody asked for."""


class Localiser:
    """A model that is ready to find where a sound comes from; a context manager.

    Every method gives :class:`~avol.runtime.timeline.TimelineFrame` objects, the entries of a timeline:
    ``time_seconds``, ``score``, ``sounding``, ``peak``, ``box`` and ``map``, as the README explains them.

    Several threads may use one localiser, and several localisations may be under way: calls of the model take turns.
    One iterator belongs to one thread. An iterator that is not read to its end holds a thread that decodes until it is
    closed (``close()``, ``contextlib.closing``) or no longer referred to.

    Args:
        model: folder that ``avol export`` wrote; None: the bundled model.
        device: of :data:`avol.runtime.backends.DEVICES`; ``auto`` is the fastest that works here.
        precision: of :data:`avol.runtime.backends.PRECISIONS`; ``auto`` is the fastest that suits the device.
        threshold: score from which a frame counts as sounding, 0..1; None: the model's own.
        system: a system that is open already, instead of the first three; it stays open.

    Raises:
        AvolError: no usable model, or a device or precision that cannot be had.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        device: str = "auto",
        precision: str = "auto",
        threshold: float | None = None,
        system: System | None = None,
    ) -> None:
        if threshold is not None and not 0.0 <= threshold <= 1.0:
            raise ValueError(f"threshold is {threshold}, allowed is 0..1")
        free: Callable[[], None] = _nothing
        if system is None:
            system, free = _open_system(None if model is None else Path(model), device, precision)
        self._system = SharedSystem(system, free)
        self.spec = system.spec
        self.threshold = system.spec.threshold if threshold is None else threshold

    def localise(
        self,
        video: str | Path,
        *,
        audio: str | Path | None = None,
        rate_hz: float = 10.0,
        notice: Callable[[str], None] = _ignore,
    ) -> Iterator[TimelineFrame]:
        """Localise the sound of a video, as ``avol-run`` does; memory stays flat, whatever its length.

        Args:
            video: a video file, or a picture together with ``audio``.
            audio: a file whose sound is used instead of the video's own.
            rate_hz: analyses a second; more than the frame rate analyses every frame.
            notice: called with one line for everything the user should know of the file: no sound, damage.

        Returns:
            What was found, frame by frame. A thread decodes ahead from the first frame on.

        Raises:
            AvolError: a file is unusable (at once, or while it is read).
            ValueError: ``rate_hz`` is not positive.
        """
        self._system.opened()
        if not (math.isfinite(rate_hz) and rate_hz > 0):
            raise ValueError(f"rate_hz must be positive, got {rate_hz}")
        source = open_source(video, audio)
        for line in source.warnings:
            notice(line)
        if source.audio_sample_rate is None and not source.warnings:
            notice(f"{video}: no audio stream: treated as silence.")
        return self._found_in(FrameLocaliser(source, self._system, rate_hz, pictures=False), notice)

    def localise_arrays(
        self,
        frames: Iterable[NDArray[np.uint8]],
        times_seconds: Iterable[float],
        samples: ArrayLike,
        sample_rate_hz: int,
    ) -> Iterator[TimelineFrame]:
        """Localise the sound of frames that are in memory; every one of them is analysed.

        Args:
            frames: ``H x W x 3`` RGB, uint8, upright, of any size; may be a generator, which is read as it is needed.
            times_seconds: of the frames; zero is the first sample. Increasing.
            samples: the track: ``N`` or ``channels x N``; floating in -1..1, or int16 or int32 of full range. Silence
                is around it.
            sample_rate_hz: samples a second.

        Raises:
            ValueError: arrays of another kind, times that do not increase, more frames than times or fewer.
        """
        chunks = samples_at_rate(samples, sample_rate_hz, self.spec.spectrogram.sample_rate_hz)
        # Who hands out frames one by one wants them answered one by one.
        most = MOST_ANALYSES if isinstance(frames, Sequence | np.ndarray) else 1
        track = self._system.open_track(chunks)
        return self._found_in_arrays(zip(frames, times_seconds, strict=True), track, most)

    def localise_picture(
        self,
        picture: NDArray[np.uint8] | str | Path,
        samples: ArrayLike,
        sample_rate_hz: int,
        *,
        at_seconds: float | None = None,
    ) -> TimelineFrame:
        """Localise one sound in one picture.

        The model hears about a second (``spec.spectrogram.clip_seconds``).

        Args:
            picture: ``H x W x 3`` RGB, uint8, upright; or a picture file.
            samples: as in :meth:`localise_arrays`.
            sample_rate_hz: samples a second.
            at_seconds: the middle of what is heard; None: the middle of the sound.

        Returns:
            What was found; its ``time_seconds`` is the middle of what was heard.

        Raises:
            AvolError: the file is not a picture.
            ValueError: arrays of another kind.
        """
        spec = self.spec
        if isinstance(picture, str | Path):
            picture = read_picture(picture, height=spec.frame_height, width=spec.frame_width)
        if at_seconds is None:
            at_seconds = np.shape(samples)[-1] / max(1, sample_rate_hz) / 2
        (found,) = self.localise_arrays([picture], [at_seconds], samples, sample_rate_hz)
        return found

    @property
    def backend(self) -> BackendInfo:
        """What computes: its ``name`` and ``precision``."""
        return self._system.backend

    def close(self) -> None:
        """Free the model; closing twice is fine. Iterators that are under way can no longer be read."""
        self._system.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _found_in(self, frames: FrameLocaliser, notice: Callable[[str], None]) -> Generator[TimelineFrame, None, None]:
        with closing(iter(frames)) as localised:
            for frame in localised:
                if frame.score is not None:
                    yield finding(frame.time_seconds, frame.score, frame.map, self.threshold)
        for line in frames.warnings:
            notice(line)

    def _found_in_arrays(
        self, frames: Iterator[tuple[NDArray[np.uint8], float]], track: Track, most: int
    ) -> Iterator[TimelineFrame]:
        height, width, last_seconds = self.spec.frame_height, self.spec.frame_width, -math.inf
        while batch := list(itertools.islice(frames, most)):
            times = [float(time_seconds) for _, time_seconds in batch]
            for time_seconds in times:
                if not last_seconds < time_seconds < math.inf:
                    raise ValueError(f"times_seconds must increase: {time_seconds} comes after {last_seconds}")
                last_seconds = time_seconds
            pixels = np.stack([shrink(frame, height=height, width=width) for frame, _ in batch])
            found = self._system.localise(pixels, track.windows_at(times))
            maps = itertools.repeat(None) if found.map is None else found.map
            for time_seconds, score, heat in zip(times, found.score, maps, strict=False):
                yield finding(time_seconds, float(score), heat, self.threshold)


def _nothing() -> None:
    """What there is to free of a system that somebody else has opened."""


def _open_system(model: Path | None, device: str, precision: str) -> tuple[System, Callable[[], None]]:
    """A model on a device, and what frees it."""
    backend = open_backend(model, device, precision)
    try:
        return AvolNetSystem(backend), backend.close
    except AvolError:
        backend.close()
        raise
