"""Encoded packets that wait on disk until a video is complete.

While libavformat writes an MP4 it holds 64 bytes of index for every packet: 18 MB for an hour of pictures and sound, as
long as a run lasts. Packets that wait on disk instead meet the muxer when the run's decoders, encoders and queues have
been freed.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

# Stream, bits of what is there, pts, dts, duration, the tick's numerator and denominator, bytes that follow.
RECORD = struct.Struct("<BBqqqIII")
BUFFER_BYTES = 1 << 18
KEYFRAME, HAS_PTS, HAS_DTS, KEPT = 1, 2, 4, 8
FOR_THE_ENCODERS_USER = frozenset({"quality_stats", "cpb_properties"})  # side data that no muxer reads


class PacketSink(Protocol):
    """What takes packets: an output, or a spool before it."""

    def mux(self, packets: Packet[Any] | Sequence[Packet[Any]]) -> None:
        """Take packets of the output's streams."""


class PacketSpool:
    """Takes packets in place of an output and hands them on, in the same order, when all are there.

    The file has no name: nothing is left of it whatever happens. The few packets with side data stay in memory.

    Args:
        output: where the packets go.
        folder: with room for as much as the output needs.

    Raises:
        OSError: the file cannot be made or written (from all methods).
    """

    def __init__(self, output: OutputContainer, folder: Path) -> None:
        self._output = output
        self._file = tempfile.TemporaryFile(buffering=BUFFER_BYTES, dir=folder)  # noqa: SIM115 (closed by close)
        self._kept: list[Packet[Any]] = []

    def mux(self, packets: Packet[Any] | Sequence[Packet[Any]]) -> None:
        """Take packets of the output's streams."""
        for packet in [packets] if isinstance(packets, Packet) else packets:
            if any(item.data_type not in FOR_THE_ENCODERS_USER for item in packet.iter_sidedata()):
                self._kept.append(packet)
                self._file.write(RECORD.pack(0, KEPT, 0, 0, 0, 0, 0, 0))
                continue
            content, tick = bytes(packet), Fraction(packet.time_base)
            bits = KEYFRAME * packet.is_keyframe
            bits |= HAS_PTS * (packet.pts is not None) | HAS_DTS * (packet.dts is not None)
            times = packet.pts or 0, packet.dts or 0, packet.duration or 0
            head = (packet.stream_index, bits, *times, tick.numerator, tick.denominator, len(content))
            self._file.write(RECORD.pack(*head) + content)

    def hand_on(self) -> None:
        """Mux everything."""
        streams, kept = {stream.index: stream for stream in self._output.streams}, iter(self._kept)
        self._file.seek(0)
        while head := self._file.read(RECORD.size):
            packet = next(kept) if RECORD.unpack(head)[1] == KEPT else self._read(head, streams)
            self._output.mux(packet)
        self.close()

    def close(self) -> None:
        """Give the room back."""
        self._kept.clear()
        self._file.close()

    def _read(self, head: bytes, streams: dict[int, Stream]) -> Packet[Any]:
        index, bits, pts, dts, duration, numerator, denominator, size = RECORD.unpack(head)
        packet: Packet[Any] = Packet(self._file.read(size))
        packet.stream, packet.time_base = streams[index], Fraction(numerator, denominator)
        packet.pts, packet.dts = (pts if bits & HAS_PTS else None), (dts if bits & HAS_DTS else None)
        packet.duration, packet.is_keyframe = duration, bool(bits & KEYFRAME)
        return packet
