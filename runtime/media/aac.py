"""Sound that MP4 cannot carry as it is becomes AAC, at the same place in time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, TypeAlias

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from numpy.typing import NDArray

from avol.runtime.media.audio import JITTER_SECONDS
from avol.runtime.media.timing import frame_seconds

SAMPLE_RATES_HZ = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000})
USUAL_RATE_HZ = 48_000
BITS_PER_SECOND_AND_CHANNEL = 96_000
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}  # by the number of channels; others are mixed to stereo

TimedPacket: TypeAlias = "tuple[float, Packet[Any]]"  # with its time in the output in seconds
Samples = NDArray[np.float32]


class AacEncoder:
    """Adds an AAC stream to an output and encodes decoded sound into it.

    Gaps in the sound become silence and overlaps are cut, so the encoded sound stays where the source's timestamps say.

    Args:
        output: the MP4 that is being written.
        source: the decoder of the sound.
        zero_seconds: time in the source that is zero in the output; what lies before is cut.
    """

    def __init__(self, output: OutputContainer, source: AudioCodecContext, *, zero_seconds: float) -> None:
        self._rate_hz = source.sample_rate if source.sample_rate in SAMPLE_RATES_HZ else USUAL_RATE_HZ
        self._layout = LAYOUTS.get(source.layout.nb_channels, "stereo")
        channels = source.layout.nb_channels if source.layout.nb_channels in LAYOUTS else 2
        self._target: AudioStream = output.add_stream("aac", rate=self._rate_hz)
        self._target.layout = self._layout
        self._target.bit_rate = BITS_PER_SECOND_AND_CHANNEL * channels
        self._zero_seconds = zero_seconds
        self._resampler: AudioResampler | None = None
        self._taken: tuple[str, str, int] | None = None
        self._next_sample: int | None = None

    def encode(self, frame: av.AudioFrame) -> Iterator[TimedPacket]:
        """Packets that are complete with this frame, each with its time in the output."""
        takes = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or takes != self._taken:
            yield from self._flush_resampler()
            self._resampler, self._taken = AudioResampler("fltp", self._layout, self._rate_hz), takes
        start = self._next_sample or 0
        seconds = frame_seconds(frame)
        if seconds is not None:
            start = round((seconds - self._zero_seconds) * self._rate_hz)
        frame.pts = None  # the resampler counts samples; places are kept here
        for resampled in self._resampler.resample(frame):
            yield from self._place(_samples(resampled), start)
            start += resampled.samples

    def finish(self) -> Iterator[TimedPacket]:
        """The packets that are left."""
        yield from self._flush_resampler()
        if self._next_sample is not None:
            yield from self._timed(self._target.encode(None))

    def _flush_resampler(self) -> Iterator[TimedPacket]:
        if self._resampler is not None:
            for resampled in self._resampler.resample(None):
                yield from self._place(_samples(resampled), self._next_sample or 0)

    def _place(self, samples: Samples, start: int) -> Iterator[TimedPacket]:
        """Encode ``channels x n`` samples that belong at ``start``, after silence or a cut where they do not follow."""
        if self._next_sample is None:
            if start + samples.shape[1] <= 0:
                return
            self._next_sample, gap = max(start, 0), min(start, 0)
        else:
            gap = start - self._next_sample
            gap = gap if abs(gap) > JITTER_SECONDS * self._rate_hz else 0
        while gap > 0:
            silence = np.zeros((samples.shape[0], min(gap, self._rate_hz)), np.float32)
            gap -= silence.shape[1]
            yield from self._append(silence)
        yield from self._append(samples[:, -gap:])

    def _append(self, samples: Samples) -> Iterator[TimedPacket]:
        if samples.shape[1] == 0:
            return
        assert self._next_sample is not None
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", self._layout)
        frame.sample_rate, frame.time_base = self._rate_hz, Fraction(1, self._rate_hz)
        frame.pts = self._next_sample
        self._next_sample += samples.shape[1]
        yield from self._timed(self._target.encode(frame))

    @staticmethod
    def _timed(packets: Sequence[Packet[Any]]) -> Iterator[TimedPacket]:
        for packet in packets:
            yield float((packet.pts or 0) * Fraction(packet.time_base)), packet


def _samples(frame: av.AudioFrame) -> Samples:
    return frame.to_ndarray().astype(np.float32, copy=False)
