"""Reading pictures: every frame for the overlay, upright, and the analysed ones at the network's size."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from numpy.typing import NDArray

from avol.runtime.errors import AvolError
from avol.runtime.media.container import (
    Packets,
    audio_stream_of,
    open_container,
    seek_before,
    video_stream_of,
)
from avol.runtime.media.picture import orientation_of, resize_frame, to_yuv420, turn_upright
from avol.runtime.media.source import Source
from avol.runtime.media.timing import (
    AnalysisClock,
    PictureTimes,
    container_end_seconds,
    frame_seconds,
    packet_end_seconds,
    stream_end_seconds,
)
from avol.runtime.stage_times import timed

__all__ = ["AnalysisClock", "VideoFrame", "VideoReader", "read_picture", "resize_frame"]

SAME_TIME_SECONDS = 1e-6


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


class VideoReader:
    """Context manager and iterator over all frames of a source, decoded once, with flat memory.

    Damage does not end a run: packets that do not decode are left out, and what follows is used. ``warnings`` is
    complete when the iteration has ended.

    Args:
        source: what to read.
        frame_height, frame_width: pixels of the analysed frames.
        rate_hz: analyses a second, at most.
        threads: of the decoder; 0 for as many as there are processors.
        upright: whether whole pictures are wanted upright; who uses only ``pixels`` saves the time to turn them.

    Attributes:
        warnings: one line each, for the user.
        cut_off_seconds: where the data ends if that is before its declared end; None otherwise, and before the end.
    """

    def __init__(
        self,
        source: Source,
        *,
        frame_height: int,
        frame_width: int,
        rate_hz: float,
        threads: int = 0,
        upright: bool = True,
    ) -> None:
        self.warnings: list[str] = []
        self.cut_off_seconds: float | None = None
        self._with_upright = upright
        self._source = source
        self._height, self._width = frame_height, frame_width
        self._clock = AnalysisClock(rate_hz)
        self._stack, self._threads = contextlib.ExitStack(), threads
        self._open()
        file_zero_seconds = source.zero_seconds - source.start_seconds
        self._times = PictureTimes(zero_seconds=file_zero_seconds, frame_rate=source.frame_rate)
        self._damaged_packets = self._damaged_frames = self._late_frames = 0
        self._packets: Packets | None = None
        self._data_end_seconds = 0.0

    def _open(self) -> None:
        self._container = self._stack.enter_context(open_container(self._source.path))
        try:
            self._stream = video_stream_of(self._container, self._source.path)
        except AvolError:
            self._stack.close()
            raise
        self._stream.codec_context.thread_type = "AUTO"  # frames and slices: 20-50 % faster than the default
        self._stream.codec_context.thread_count = self._threads

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
            time_seconds = self._times.time_of(picture)
            if time_seconds is None:
                self._late_frames += 1
                continue
            time_seconds -= self._source.start_seconds
            if time_seconds < -SAME_TIME_SECONDS:  # a part begins at the next picture, not in the middle of one
                continue
            time_seconds = max(0.0, time_seconds)
            if self._source.part_seconds is not None and time_seconds >= self._source.part_seconds - SAME_TIME_SECONDS:
                return
            self._damaged_frames += picture.is_corrupt
            pixels = None
            if self._clock.due(time_seconds):
                with timed("shrink"):
                    pixels = resize_frame(picture, height=self._height, width=self._width)
            yield VideoFrame(time_seconds, self._upright(picture) if self._with_upright else picture, pixels)
        if self._times.last_seconds is None:
            raise AvolError(f"{self._source.path}: no picture could be decoded. Copy, download or record it again.")
        self._sum_up()

    def _pictures(self) -> Iterator[av.VideoFrame]:
        """Decoded pictures from the source's zero on, or from somewhat before it."""
        if self._source.start_seconds > 0 and seek_before(self._container, self._source.zero_seconds):
            pictures = self._decoded()
            first = next(pictures, None)
            seconds = None if first is None else frame_seconds(first)
            if first is not None and seconds is not None and seconds <= self._source.zero_seconds:
                yield first
                yield from pictures
                return
            # The index led astray, as in streams that were cut: everything is decoded then.
            self._stack.close()
            self._open()
        yield from self._decoded()

    def _decoded(self) -> Iterator[av.VideoFrame]:
        # A container that declares only one length for all streams is cut off only if none of them reaches it.
        sound = audio_stream_of(self._container) if stream_end_seconds(self._stream) is None else None
        self._packets = Packets(self._container, *(s for s in (self._stream, sound) if s is not None))
        for packet in self._packets:
            self._data_end_seconds = max(self._data_end_seconds, packet_end_seconds(packet))
            if packet.stream is not self._stream:
                continue
            self._damaged_packets += packet.is_corrupt
            try:
                with timed("decode"):
                    pictures = [frame for frame in packet.decode() if isinstance(frame, av.VideoFrame)]
            except av.FFmpegError:
                self._damaged_packets += not packet.is_corrupt
                continue
            yield from pictures

    def _upright(self, picture: av.VideoFrame) -> av.VideoFrame:
        """Upright and of one size, whatever the stream changes on its way: an encoder's size is fixed."""
        width, height = self._source.picture_width, self._source.picture_height
        stored = (height, width) if orientation_of(picture).transposed else (width, height)
        if (picture.width, picture.height) != stored:
            picture = to_yuv420(picture, width=stored[0], height=stored[1])
        return turn_upright(picture)

    def _sum_up(self) -> None:
        """Say once, at the end, what was not usable."""
        last_seconds = (self._times.last_seconds or 0.0) - self._source.start_seconds
        name, reached = self._source.path, last_seconds + 1 / self._source.frame_rate
        end, data_end = stream_end_seconds(self._stream), reached
        if end is None:
            end = container_end_seconds(self._container)
            data_end = max(reached, self._data_end_seconds - self._source.zero_seconds)
        declared = 0.0 if end is None else end - self._source.zero_seconds
        if data_end < declared - max(0.5, 2 / self._source.frame_rate):
            self.cut_off_seconds = reached
            self.warnings.append(
                f"{name}: the data ends at {reached:.1f} s of {declared:.1f} s; what is there was used."
            )
        elif self._packets is not None and self._packets.broke_off:
            self.cut_off_seconds = min(reached, declared) if declared else reached
            self.warnings.append(f"{name}: reading broke off at {reached:.1f} s ({self._packets.broke_off}).")
        if self._damaged_packets:
            self.warnings.append(f"{name}: video packets damaged: {self._damaged_packets}; some pictures are missing.")
        elif self._damaged_frames:
            self.warnings.append(f"{name}: damaged pictures, used as they are: {self._damaged_frames}.")
        if self._late_frames:
            self.warnings.append(f"{name}: pictures left out because their time runs backwards: {self._late_frames}.")


def read_picture(path: str | Path, *, height: int, width: int) -> NDArray[np.uint8]:
    """A single picture (JPEG, PNG, WebP, ...) through the same resizer, upright after its EXIF orientation.

    The four EXIF orientations that rotate are followed; the four mirrored ones, which no camera writes, are not (PyAV
    18 hands out only the angle).

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
