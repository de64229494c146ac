"""When decoded frames are shown, and which of them are analysed."""

from __future__ import annotations

import contextlib
import math
from fractions import Fraction

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream


def frame_seconds(frame: av.VideoFrame | av.AudioFrame) -> float | None:
    """Time of a decoded frame in its file, pts * time_base; the decoding time where there is no pts; None: neither."""
    return _seconds(frame.pts if frame.pts is not None else frame.dts, frame.time_base)


def stream_end_seconds(stream: VideoStream | AudioStream) -> float | None:
    """When a stream says that it ends, in the file's own time; None where the file does not say."""
    if stream.duration is not None and stream.time_base is not None:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    tag = stream.metadata.get("DURATION")  # Matroska: the end of the last frame as hours:minutes:seconds
    with contextlib.suppress(ValueError):
        hours, minutes, seconds = str(tag).strip("\0 ").split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return None


def container_end_seconds(container: InputContainer) -> float | None:
    """When the container says that its longest stream ends, in the file's own time; None where it does not say."""
    if container.duration is None:
        return None
    return ((container.start_time or 0) + container.duration) / av.time_base


def packet_end_seconds(packet: Packet[Stream]) -> float:
    """When what a packet holds ends, in the file's own time; 0 where it has no pts."""
    return 0.0 if packet.pts is None else float((packet.pts + (packet.duration or 0)) * packet.time_base)


class PictureTimes:
    """Output times of pictures in the order in which the decoder gives them: never negative, strictly increasing.

    The pts is taken at its word until it runs backwards. AVI files with B-frames hold pts that are only decoding order;
    there the decoding time, which leaves the decoder in order, has fewer faults and is used, as FFmpeg does. Raw
    streams have neither; there, and only there, frames follow each other at the frame rate.
    """

    def __init__(self, *, zero_seconds: float, frame_rate: float) -> None:
        self._zero_seconds = zero_seconds
        self._frame_seconds = 1 / frame_rate
        self._pts_faults = self._dts_faults = 0
        self._highest_pts = self._highest_dts = -math.inf
        self.last_seconds: float | None = None

    def time_of(self, picture: av.VideoFrame) -> float | None:
        """Seconds since the output's zero, or None if the picture would not come after the one before."""
        seconds = _seconds(self._trusted_ticks(picture.pts, picture.dts), picture.time_base)
        last = self.last_seconds
        if seconds is not None:
            time_seconds = max(0.0, seconds - self._zero_seconds)
        else:
            time_seconds = 0.0 if last is None else last + self._frame_seconds
        if last is not None and time_seconds <= last:
            return None
        self.last_seconds = time_seconds
        return time_seconds

    def _trusted_ticks(self, pts: int | None, dts: int | None) -> int | None:
        if pts is not None:
            self._pts_faults += pts <= self._highest_pts
            self._highest_pts = max(self._highest_pts, pts)
        if dts is not None:
            self._dts_faults += dts <= self._highest_dts
            self._highest_dts = max(self._highest_dts, dts)
        if self._pts_faults <= self._dts_faults:
            return pts if pts is not None else dts
        return dts


class AnalysisClock:
    """Chooses the frames to analyse: in each cell of the grid ``k / rate_hz`` the first frame.

    Cells are fixed in time, so the choice never drifts, and there are at most ``rate_hz`` analyses in a second. A
    rate at or above the frame rate takes every frame.
    """

    # Matroska, FLV and ASF round times to a millisecond: a frame that is early by that much is on time.
    TOLERANCE_SECONDS = 0.001

    def __init__(self, rate_hz: float) -> None:
        if not (math.isfinite(rate_hz) and rate_hz > 0):
            raise ValueError(f"rate_hz must be positive, got {rate_hz}")
        self._rate_hz = rate_hz
        self._tolerance_seconds = min(self.TOLERANCE_SECONDS, 0.1 / rate_hz)
        self._next_cell: int | None = None

    def due(self, time_seconds: float) -> bool:
        """Whether the frame at this time is analysed; call it once per frame, in order of time."""
        cell = math.floor((time_seconds + self._tolerance_seconds) * self._rate_hz)
        if self._next_cell is not None and cell < self._next_cell:
            return False
        self._next_cell = cell + 1
        return True


def _seconds(ticks: int | None, time_base: Fraction | None) -> float | None:
    return None if ticks is None or time_base is None else float(ticks * Fraction(time_base))
