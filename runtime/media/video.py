"""Reading pictures: every frame for the overlay, upright, and the analysed ones at the network's size."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from numpy.typing import NDArray

from avol.runtime.errors import AvolError
from avol.runtime.media.picture import orientation_of, resize_frame, to_yuv420, turn_upright
from avol.runtime.media.source import Source, frame_seconds, open_container, stream_end_seconds, video_stream_of

__all__ = ["AnalysisClock", "VideoFrame", "VideoReader", "read_picture", "resize_frame"]


@dataclass(frozen=True)
class VideoFrame:
    """One picture of the source.

    Attributes:
        time_seconds: pts * time_base minus the source's zero; strictly increasing, never negative, never counted.
        picture: the decoded frame, upright, of ``picture_width x picture_height`` pixels of the source.
        pixels: ``H x W x 3`` RGB uint8 at the network's size if this frame is to be analysed, else None.
    """

    time_seconds: float
    picture: av.VideoFrame
    pixels: NDArray[np.uint8] | None


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


class VideoReader:
    """Context manager and iterator over all frames of a source, decoded once, with flat memory.

    Damage does not end a run: packets that do not decode are left out, and what follows is used. ``warnings`` is
    complete when the iteration has ended.
    """

    def __init__(self, source: Source, *, frame_height: int, frame_width: int, rate_hz: float) -> None:
        self.warnings: list[str] = []
        self._source = source
        self._height, self._width = frame_height, frame_width
        self._clock = AnalysisClock(rate_hz)
        self._stack = contextlib.ExitStack()
        self._container = self._stack.enter_context(open_container(source.path))
        try:
            self._stream = video_stream_of(self._container, source.path)
        except AvolError:
            self._stack.close()
            raise
        self._stream.codec_context.thread_type = "AUTO"  # frames and slices: 20-50 % faster than the default
        self._last_seconds: float | None = None
        self._damaged_packets = self._late_frames = 0
        self._demux_error = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def __iter__(self) -> Iterator[VideoFrame]:
        """Every frame in order of time.

        Raises:
            AvolError: not one frame decodes.
        """
        for picture in self._pictures():
            time_seconds = self._time_of(picture)
            if time_seconds is None:
                self._late_frames += 1
                continue
            self._last_seconds = time_seconds
            pixels = None
            if self._clock.due(time_seconds):
                pixels = resize_frame(picture, height=self._height, width=self._width)
            yield VideoFrame(time_seconds, self._upright(picture), pixels)
        if self._last_seconds is None:
            raise AvolError(f"{self._source.path}: no picture could be decoded. Copy, download or record it again.")
        self._sum_up()

    def _pictures(self) -> Iterator[av.VideoFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                self._demux_error = str(error.strerror)
                yield from self._flushed()
                return
            if packet is None:
                return
            try:
                pictures = packet.decode()
            except av.FFmpegError:
                self._damaged_packets += 1
                continue
            yield from pictures

    def _flushed(self) -> Iterator[av.VideoFrame]:
        """Frames that the decoder still holds when reading broke off."""
        with contextlib.suppress(av.FFmpegError):
            yield from self._stream.codec_context.decode(None)

    def _time_of(self, picture: av.VideoFrame) -> float | None:
        """Output time of a picture; None if it would not come after the one before."""
        seconds = frame_seconds(picture)
        if seconds is not None:
            time_seconds = max(0.0, seconds - self._source.zero_seconds)
        elif self._last_seconds is None:
            time_seconds = 0.0
        else:
            time_seconds = self._last_seconds + 1 / self._source.frame_rate
        if self._last_seconds is not None and time_seconds <= self._last_seconds:
            return None
        return time_seconds

    def _upright(self, picture: av.VideoFrame) -> av.VideoFrame:
        """Upright and of one size, whatever the stream changes on its way: an encoder's size is fixed."""
        width, height = self._source.picture_width, self._source.picture_height
        stored = (height, width) if orientation_of(picture).transposed else (width, height)
        if (picture.width, picture.height) != stored:
            picture = to_yuv420(picture, width=stored[0], height=stored[1])
        return turn_upright(picture)

    def _sum_up(self) -> None:
        """Say once, at the end, what was not usable."""
        name, reached = self._source.path, (self._last_seconds or 0.0) + 1 / self._source.frame_rate
        end = stream_end_seconds(self._stream)
        declared = None if end is None else end - self._source.zero_seconds
        if declared is not None and reached < declared - max(0.5, 2 / self._source.frame_rate):
            self.warnings.append(
                f"{name}: the pictures end at {reached:.1f} s of {declared:.1f} s; what is there was used."
            )
        elif self._demux_error:
            self.warnings.append(f"{name}: reading broke off at {reached:.1f} s ({self._demux_error}).")
        if self._damaged_packets:
            self.warnings.append(f"{name}: {self._damaged_packets} damaged video packets were left out.")
        if self._late_frames:
            self.warnings.append(f"{name}: {self._late_frames} frames whose time runs backwards were left out.")


def read_picture(path: str | Path, *, height: int, width: int) -> NDArray[np.uint8]:
    """A single picture (JPEG, PNG, WebP, ...) through the same resizer, upright after its EXIF orientation.

    Returns:
        ``height x width x 3`` RGB, uint8.

    Raises:
        AvolError: the file is missing, empty, or not a picture.
    """
    path = Path(path)
    with open_container(path) as container, contextlib.suppress(av.FFmpegError):
        for picture in container.decode(video=0) if container.streams.video else ():
            return resize_frame(picture, height=height, width=width)
    raise AvolError(f"{path}: no picture could be decoded. Give a JPEG or PNG.")
