"""Reading sound: one channel at the network's sample rate, exactly aligned with the output's time zero."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from avol.runtime.errors import AvolError
from avol.runtime.media.container import Packets, audio_stream_of, open_container, seek_before
from avol.runtime.media.timing import frame_seconds

Samples = NDArray[np.float32]

# Times of packets jitter by up to a millisecond (Matroska, FLV) without a sample missing; a lost packet of any codec is
# longer than this. Only a real gap or overlap is mended, so that jitter leaves no clicks.
JITTER_SECONDS = 0.015


class AudioReader:
    """Context manager and iterator over consecutive chunks of mono samples, float32 in -1..1, with flat memory.

    Sample 0 of the concatenation is the output's time zero: a late start and gaps are filled with silence, what lies
    before zero or overlaps is cut, so time never drifts from the stream's timestamps. Channels are mixed with
    libswresample's matrix, normalised so that the mix cannot exceed full scale. Packets that do not decode become
    silence of their length. ``warnings`` is complete when the iteration has ended or been closed.

    Args:
        path: a file with an audio stream.
        sample_rate_hz: rate of the samples that come out.
        zero_seconds: time in the file (pts * time_base) that is zero.
        seek: whether to go to zero by the file's index; the samples are the same, and those before are not decoded.

    Raises:
        AvolError: the file does not open or has no audio stream.
    """

    def __init__(self, path: str | Path, *, sample_rate_hz: int, zero_seconds: float, seek: bool = False) -> None:
        self.warnings: list[str] = []
        self._path = Path(path)
        self._rate_hz = sample_rate_hz
        self._zero_seconds = zero_seconds
        self._stack = contextlib.ExitStack()
        self._container = self._stack.enter_context(open_container(self._path))
        stream = audio_stream_of(self._container)
        if stream is None:
            self._stack.close()
            raise AvolError(f"{self._path}: no audio stream. Give a file that has sound.")
        self._stream = stream
        if seek:
            seek_before(self._container, zero_seconds)
        self._damaged_packets = 0
        self._broke_off = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def __iter__(self) -> Generator[Samples, None, None]:
        """Chunks of any length > 0, first to last."""
        try:
            yield from self._samples()
        finally:  # also where the reader stops before the end: what it met so far is to be said
            if self._damaged_packets:
                self.warnings.append(damaged_sound(self._path, self._damaged_packets))
            if self._broke_off:
                self.warnings.append(f"{self._path}: reading the sound broke off ({self._broke_off}).")

    def _samples(self) -> Iterator[Samples]:
        mixer, line, converter = Mixer(), None, None
        for frame in self._frames():
            samples, rate = mixer.mix(frame), frame.sample_rate
            if line is None or converter is None or line.rate_hz != rate:
                start = Fraction(0) if line is None else line.time
                if converter is not None:
                    yield from converter.finish(start)
                line, converter = SampleLine(rate, start), Converter(rate, self._rate_hz, start)
            seconds = frame_seconds(frame)
            for part in line.place(samples, None if seconds is None else seconds - self._zero_seconds):
                yield from converter.convert(part)
        if line is not None and converter is not None:
            yield from converter.finish(line.time)

    def _frames(self) -> Iterator[av.AudioFrame]:
        packets = Packets(self._container, self._stream)
        for packet in packets:
            try:
                frames = [frame for frame in packet.decode() if isinstance(frame, av.AudioFrame)]
            except av.FFmpegError:
                self._damaged_packets += 1
                continue
            yield from frames
        self._broke_off = packets.broke_off


def damaged_sound(path: Path, packets: int) -> str:
    """The line that tells of audio packets that do not decode; the same from all who meet them."""
    return f"{path}: audio packets damaged, played as silence: {packets}."


class SampleLine:
    """Places blocks of samples on one uninterrupted line that starts at ``start`` (seconds since zero)."""

    def __init__(self, rate_hz: int, start: Fraction = Fraction(0)) -> None:
        self.rate_hz = rate_hz
        self._start = start
        self._placed = 0
        self._first = True

    @property
    def time(self) -> Fraction:
        """Seconds since zero at the end of what has been placed, exact."""
        return self._start + Fraction(self._placed, self.rate_hz)

    def place(self, samples: Samples, time_seconds: float | None) -> Iterator[Samples]:
        """The blocks that continue the line: silence up to ``time_seconds``, then what of ``samples`` is not yet past.

        Args:
            samples: one block, mono.
            time_seconds: when it starts, None for right after the last one. Differences below ``JITTER_SECONDS``
                count as none, except for the first block.
        """
        gap = 0
        if time_seconds is not None:
            gap = round((time_seconds - float(self._start)) * self.rate_hz) - self._placed
            if not self._first and abs(gap) <= JITTER_SECONDS * self.rate_hz:
                gap = 0
        while gap > 0:  # in seconds, so that a late start of hours needs no memory
            silence = np.zeros(min(gap, self.rate_hz), np.float32)
            gap -= silence.size
            self._placed += silence.size
            yield silence
        samples = samples[-gap:]
        if samples.size:
            self._first = False  # a block that lies wholly before the line is none of it
            self._placed += samples.size
            yield samples


class Mixer:
    """Any sample format and channel layout to one float channel, at the stream's own rate."""

    def __init__(self) -> None:
        self._key: tuple[str, str, int] | None = None
        self._resampler: AudioResampler | None = None

    def mix(self, frame: av.AudioFrame) -> Samples:
        """One block of mono samples, float32 in -1..1."""
        key = (frame.format.name, frame.layout.name, frame.sample_rate)
        if key != self._key:
            self._key = key
            # Without the limit a float mix is not normalised: two channels at full scale would give 1.41.
            self._resampler = AudioResampler("flt", "mono", frame.sample_rate, options={"rematrix_maxval": "1.0"})
        assert self._resampler is not None
        parts = [mixed.to_ndarray().reshape(-1) for mixed in self._resampler.resample(frame)]
        samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        return np.nan_to_num(samples.astype(np.float32, copy=False), posinf=1.0, neginf=-1.0)


class Converter:
    """One stretch of mono samples from one rate to another; what comes out spans exactly the time that went in."""

    def __init__(self, from_hz: int, to_hz: int, start: Fraction) -> None:
        self._from_hz, self._to_hz = from_hz, to_hz
        self._emitted = round(start * to_hz)
        self._resampler = AudioResampler("flt", "mono", to_hz)

    def convert(self, samples: Samples) -> Iterator[Samples]:
        """What is ready at the new rate."""
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None], "flt", "mono")
        frame.sample_rate = self._from_hz
        yield from self._limited(self._resampler.resample(frame))

    def finish(self, end: Fraction) -> Iterator[Samples]:
        """The rest, cut or padded to ``end`` (seconds since zero)."""
        target = round(end * self._to_hz)
        rest = [] if self._from_hz == self._to_hz else list(self._limited(self._resampler.resample(None)))
        for samples in rest:
            surplus = max(0, self._emitted - target)
            self._emitted -= surplus
            if surplus < samples.size:
                yield samples[: samples.size - surplus]
        if self._emitted < target:
            yield np.zeros(target - self._emitted, np.float32)

    def _limited(self, frames: list[av.AudioFrame]) -> Iterator[Samples]:
        for frame in frames:
            samples = frame.to_ndarray().reshape(-1)
            self._emitted += samples.size
            yield np.clip(samples, -1.0, 1.0).astype(np.float32, copy=False)
