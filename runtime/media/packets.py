"""The sound of the output: the source's own audio packets, unchanged, in step with the pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Discard

from avol.runtime.media.aac import AacEncoder, TimedPacket
from avol.runtime.media.audio import damaged_sound
from avol.runtime.media.container import Packets, audio_stream_of, open_container, seek_before
from avol.runtime.media.spool import PacketSink

# What MP4 can hold and players play. FFmpeg would also put PCM, Vorbis and others into MP4, where browsers and most
# players stay silent.
COPIED_CODECS = frozenset({"aac", "mp3", "mp2", "ac3", "eac3", "alac", "flac", "opus"})
LEAD_SECONDS = 0.25  # AAC needs a packet before, Opus 80 ms, MP3 what its reservoir of bits reaches back
JITTER_TICKS = Fraction(3, 2)  # of the source's clock: what rounding to it can do to two neighbours


class AudioPacketCopier:
    """Copies the audio packets of a file unchanged into an output, as far as the pictures have come.

    Packets before zero are kept: decoders need them to come into their stride, and an edit list hides them from the
    ear. Packets that the decoder refuses are left out; players fill the gap in time with silence, whereas one such
    packet would end the playback in Chrome. Sound that players would not play from MP4 is encoded to AAC instead;
    ``notes`` says so.

    Construct it before anything is muxed: it adds the output's audio stream. A file without sound adds none.

    Args:
        path: the file whose sound is taken, from its default audio stream.
        output: the MP4 that is being written.
        zero_seconds: time in ``path`` (pts * time_base) that is zero in the output.
        is_part: whether much lies before zero: then only what a decoder needs to come into its stride is copied.
        sink: takes the packets for the output; None: the output itself.

    Attributes:
        notes: one line each, for the user; complete after :meth:`finish`.

    Raises:
        AvolError: the file does not open.
    """

    def __init__(
        self,
        path: Path,
        output: OutputContainer,
        *,
        zero_seconds: float,
        is_part: bool = False,
        sink: PacketSink | None = None,
    ) -> None:
        self.notes: list[str] = []
        self._path = path
        self._sink: PacketSink = output if sink is None else sink
        self._zero_seconds = zero_seconds
        self._damaged_packets = 0
        self._timed_packets: Iterator[TimedPacket] = iter(())
        self._next: TimedPacket | None = None
        self._stack = ExitStack()
        self._container = self._stack.enter_context(open_container(path))
        stream = audio_stream_of(self._container)
        if stream is None:
            return
        for other in self._container.streams:
            if other is not stream:
                other.discard = Discard.all  # the demuxer passes over the pictures
        self._first_seconds = -math.inf
        if is_part:
            self._first_seconds = -LEAD_SECONDS
            seek_before(self._container, zero_seconds)
        name = stream.codec_context.codec.canonical_name
        if stream.codec_context.sample_rate <= 0:
            self.notes.append(f"{path}: the sound ({name}) has no sample rate and is left out.")
            return
        if name in COPIED_CODECS:
            target = output.add_stream_from_template(stream, opaque=True)
            self._timed_packets = self._copied(stream, target)
        else:
            encoder = AacEncoder(output, stream.codec_context, zero_seconds=zero_seconds)
            self._timed_packets = self._encoded(stream, encoder)
            self.notes.append(f"{path}: the sound ({name}) is encoded to AAC: players do not expect {name} in MP4.")

    def copy_until(self, time_seconds: float) -> None:
        """Write all packets that start before this time of the output."""
        while True:
            self._next = self._next or next(self._timed_packets, None)
            if self._next is None or self._next[0] >= time_seconds:
                return
            packet, self._next = self._next[1], None
            self._sink.mux(packet)

    def finish(self, end_seconds: float | None = None) -> None:
        """Write the packets that start before the end (None: all that are left) and close the file."""
        self.copy_until(float("inf") if end_seconds is None else end_seconds)
        if self._damaged_packets:
            self.notes.append(damaged_sound(self._path, self._damaged_packets))
        self.close()

    def close(self) -> None:
        """Close the file whose sound is taken; what was not copied is left out."""
        self._timed_packets, self._next = iter(()), None
        self._stack.close()

    def _demuxed(self, stream: AudioStream) -> Iterator[Packet[AudioStream]]:
        """The stream's packets and, last, the empty one that makes a decoder give what it still holds."""
        packets = Packets(self._container, stream)
        yield from cast("Iterator[Packet[AudioStream]]", iter(packets))
        if packets.broke_off:
            self.notes.append(f"{self._path}: reading the sound broke off ({packets.broke_off}).")

    def _copied(self, stream: AudioStream, target: AudioStream) -> Iterator[TimedPacket]:
        """Packets on the clock of the output, whose tick is one sample."""
        rate = stream.codec_context.sample_rate
        clock = _PacketClock(Fraction(1, rate), Fraction(self._zero_seconds), stream.codec_context.frame_size)
        for packet in self._demuxed(stream):
            intact = self._decodes(packet)
            if packet.size == 0:
                continue
            if not intact:
                self._damaged_packets += 1
                continue
            time_seconds = clock.retime(packet)
            if time_seconds < self._first_seconds:
                continue
            packet.stream = target
            yield time_seconds, packet

    @staticmethod
    def _decodes(packet: Packet[AudioStream]) -> bool:
        """Whether a decoder takes a packet; they are to come one after the other, as it will see them."""
        if packet.is_corrupt:  # the demuxer knows that a part is missing
            return False
        try:
            packet.decode()
        except av.FFmpegError:
            return False
        return True

    def _encoded(self, stream: AudioStream, encoder: AacEncoder) -> Iterator[TimedPacket]:
        for packet in self._demuxed(stream):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self._damaged_packets += 1
                continue
            for frame in frames:
                yield from encoder.encode(frame)
        yield from encoder.finish()


class _PacketClock:
    """Moves packets from the clock of their file to the one of the output.

    Files that count in milliseconds round every time; the output counts in samples, so packets that follow each other
    there follow each other here without gap or overlap.
    """

    def __init__(self, tick: Fraction, zero_seconds: Fraction, packet_ticks: int) -> None:
        self._tick = tick
        self._zero_seconds = zero_seconds
        self._packet_ticks = packet_ticks  # 0: the packets' own durations count
        self._end: int | None = None
        self._last: int | None = None

    def retime(self, packet: Packet[Any]) -> float:
        """Set the packet's times; gives its start in the output in seconds."""
        time_base = Fraction(packet.time_base)
        source = packet.dts if packet.dts is not None else packet.pts
        ticks = self._end or 0
        if source is not None:
            ticks = round((source * time_base - self._zero_seconds) / self._tick)
            if self._end is not None and abs(ticks - self._end) * self._tick <= JITTER_TICKS * time_base:
                ticks = self._end
        if self._last is not None:
            ticks = max(ticks, self._last + 1)  # MP4 knows no packets at the same time
        duration = round((packet.duration or 0) * time_base / self._tick)
        full = self._packet_ticks
        # A shorter duration is meant: the last packet of a file ends where the sound ends.
        if duration == 0 or abs(duration - full) * self._tick <= JITTER_TICKS * time_base:
            duration = full
        packet.time_base = self._tick
        packet.pts = packet.dts = ticks
        packet.duration = duration
        self._last, self._end = ticks, ticks + duration
        return float(ticks * self._tick)
