"""Writing the result: H.264 pictures and the source's own sound as an MP4 that plays everywhere."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.container import OutputContainer
from av.packet import Packet
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream

from avol.runtime.atomic import write_error
from avol.runtime.errors import AvolError
from avol.runtime.media.encoders import DEFAULT_CODEC, ENCODERS
from avol.runtime.media.packets import AudioPacketCopier
from avol.runtime.media.picture import even
from avol.runtime.media.spool import PacketSink, PacketSpool

LONGEST_CLUSTER_MILLISECONDS = 500  # in a pipe: what a viewer waits for
FINEST_TICKS = 1_000_000  # a second; a finer clock is a container's habit and no picture needs it
USUAL_TICKS = 90_000  # a second, a multiple of the usual frame rates
COARSEST_TICKS = 10_000  # a second; coarser clocks are divided, so that a picture can be moved by next to nothing
UNSPECIFIED = 2  # colour matrix, in H.273
USUAL_FRAME_SECONDS = Fraction(1, 25)


class VideoWriter:
    """Context manager that writes pictures with their exact times, and the sound of a file as it is.

    The file is complete when :meth:`close` has returned, or the ``with`` block has ended without an error.

    Args:
        target: the MP4 to write; or a descriptor that is open for writing, to which Matroska goes while it is made (its
            clock is a millisecond).
        width: of the upright picture in pixels. An odd one becomes even, as :class:`Overlay` draws it.
        height: likewise.
        sample_aspect_ratio: width of a pixel over its height.
        time_base: tick of the source's clock in seconds; the output's clock has every one of its ticks.
        frame_rate: pictures per second, where the source says; only describes the stream.
        audio_path: the file whose sound is taken, or None.
        audio_zero_seconds: time in ``audio_path`` (pts * time_base) that is zero in the output.
        audio_ends_with_video: leave out sound beyond the last picture.
        audio_is_part: much of the sound lies before zero, and is left out.
        crf: constant rate factor; smaller is better and larger. What a number means differs between codecs.
        codec: one of :data:`avol.runtime.media.encoders.ENCODERS`.
        comment: goes into the file's metadata.
        spooled: packets wait on disk until :meth:`close`, so that memory stays flat however long the video is; costs
            room for a second copy while it is written.
        shown_as: the name for messages where ``target`` is a temporary one.

    Attributes:
        notes: one line each, for the user; complete after :meth:`close`.

    Raises:
        AvolError: ``audio_path`` does not open; the file cannot be written (also from :meth:`write`, :meth:`close`).
        BrokenPipeError: who reads the descriptor has gone (likewise).
    """

    def __init__(  # noqa: PLR0913
        self,
        target: Path | int,
        *,
        width: int,
        height: int,
        sample_aspect_ratio: Fraction = Fraction(1),
        time_base: Fraction = Fraction(1, USUAL_TICKS),
        frame_rate: Fraction | None = None,
        audio_path: Path | None = None,
        audio_zero_seconds: float = 0.0,
        audio_ends_with_video: bool = False,
        audio_is_part: bool = False,
        crf: int = 23,
        codec: str = DEFAULT_CODEC,
        comment: str = "",
        spooled: bool = False,
        shown_as: Path | None = None,
    ) -> None:
        self.notes: list[str] = []
        self._path = target if isinstance(target, Path) else None
        self._shown_as = shown_as or self._path or Path("standard output")
        self._ticks_per_second = output_ticks_per_second(time_base)
        self._time_base = Fraction(1, self._ticks_per_second)
        self._frame_ticks = round((1 / frame_rate if frame_rate else USUAL_FRAME_SECONDS) / self._time_base)
        self._audio_ends_with_video = audio_ends_with_video
        self._last_tick: int | None = None
        self._delay_ticks: int | None = None  # between decoding a picture and showing it
        self._closed = False
        self._sound: AudioPacketCopier | None = None
        self._output = _open_output(target, self._ticks_per_second)
        self._output.metadata["comment"] = comment
        self._spool: PacketSpool | None = None
        if spooled:
            with self._writing():
                assert self._path is not None
                self._spool = PacketSpool(self._output, self._path.absolute().parent)
        self._sink: PacketSink = self._spool or self._output
        kind = ENCODERS[codec]
        stream = self._output.add_stream(
            kind.name,
            rate=frame_rate.limit_denominator(1_000_000) if frame_rate else None,
            options=kind.options | {kind.quality: str(crf)},
            width=even(width),
            height=even(height),
            time_base=self._time_base,
        )
        assert isinstance(stream, VideoStream)
        self._stream = stream
        encoder = self._stream.codec_context
        encoder.time_base = self._time_base
        encoder.pix_fmt = kind.pixel_format  # another than a picture's own makes PyAV convert it
        encoder.sample_aspect_ratio = sample_aspect_ratio
        if codec.startswith("hevc") and self._path is not None:
            encoder.codec_tag = "hvc1"  # by which Apple's players know it
        encoder.thread_type = "FRAME"  # with PyAV's default of slices x264 leaves a core idle
        if audio_path is not None:
            self._sound = AudioPacketCopier(
                audio_path, self._output, zero_seconds=audio_zero_seconds, is_part=audio_is_part, sink=self._sink
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._abandon()

    def write(self, picture: av.VideoFrame, time_seconds: float) -> None:
        """Append a picture.

        Args:
            picture: yuv420p of the size given; the colour tags of the first one hold for the file. Its pts is changed.
            time_seconds: when it is shown, from zero of the output. A picture that does not come after the one before
                it is moved by a tick.
        """
        encoder = self._stream.codec_context
        if (picture.format.name, picture.width, picture.height) != ("yuv420p", encoder.width, encoder.height):
            raise ValueError(f"the picture is {picture}, expected yuv420p {encoder.width}x{encoder.height}")
        if self._last_tick is None:
            self._tag_colours(picture)
        tick = max(0, round(time_seconds * self._ticks_per_second))
        if self._last_tick is not None:
            tick = max(tick, self._last_tick + 1)
            self._frame_ticks = tick - self._last_tick
        self._last_tick = tick
        picture.pts, picture.time_base = tick, self._time_base
        picture.pict_type = 0  # the encoder chooses; the source's choice would force key frames
        with self._writing():
            packets = self._encode(picture)
            if self._sound is not None:
                self._sound.copy_until(time_seconds)
            self._sink.mux(packets)

    def close(self) -> None:
        """Complete the file; closing twice is fine.

        Raises:
            AvolError: the file cannot be written, or no picture was.
        """
        if self._closed:
            return
        if self._last_tick is None:
            self._abandon()
            raise AvolError(f"{self._shown_as}: no picture to write. Check that the video has any.")
        end_tick = self._last_tick + self._frame_ticks
        with self._writing():
            packets = self._encode(None)
            self._set_end(packets, end_tick)
            if self._sound is not None:
                self._sound.finish(end_tick / self._ticks_per_second if self._audio_ends_with_video else None)
                self.notes += self._sound.notes
            self._sink.mux(packets)
            if self._spool is not None:
                self._spool.hand_on()
            self._output.close()
        self._closed = True

    def _encode(self, picture: av.VideoFrame | None) -> list[Packet[VideoStream]]:
        packets = self._stream.encode(picture)
        if packets and self._delay_ticks is None:
            self._delay_ticks = (packets[0].pts or 0) - (packets[0].dts or 0)
        return packets

    def _set_end(self, packets: list[Packet[VideoStream]], end_tick: int) -> None:
        """Make the durations in the file reach to its end.

        The muxer adds them up in the order of decoding, whose last packet is not the last picture. Where the rate
        varies the sum may fall short, and players that go by it would leave pictures out.
        """
        for packet in packets:
            packet.duration = self._frame_ticks if packet.pts == self._last_tick else 1
        if packets and packets[-1].dts is not None:
            missing = end_tick - (self._delay_ticks or 0) - packets[-1].dts
            packets[-1].duration = max(packets[-1].duration or 1, missing)

    def _tag_colours(self, picture: av.VideoFrame) -> None:
        encoder = self._stream.codec_context
        encoder.color_range = ColorRange.MPEG
        # 0 stands for RGB among the matrices, which YUV cannot be.
        encoder.colorspace = picture.colorspace or UNSPECIFIED
        encoder.color_primaries, encoder.color_trc = picture.color_primaries, picture.color_trc

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Every failure to write as one line, the unfinished file closed."""
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            self._abandon()
            if self._path is None and getattr(error, "errno", None) == errno.EPIPE:
                raise BrokenPipeError(errno.EPIPE, "the reader has gone") from None
            raise _as_user_error(self._shown_as, error) from None

    def _abandon(self) -> None:
        """Close an unfinished file without the long last step: whoever named it removes it.

        Without its name libavformat cannot open the file again to move the index to its front.
        """
        if self._closed:
            return
        self._closed = True
        with suppress(OSError):
            if self._path is not None:
                self._path.unlink(missing_ok=True)
        if self._sound is not None:
            self._sound.close()
        with suppress(av.FFmpegError, OSError):
            if self._spool is not None:
                self._spool.close()
            self._output.close()


def _open_output(target: Path | int, ticks_per_second: int) -> OutputContainer:
    """An MP4, of which no file is touched yet; or Matroska into a pipe, which needs no way back."""
    if isinstance(target, Path):
        # Edit lists count in ticks of the movie: its default of a millisecond would move the start.
        options = {"movflags": "faststart", "movie_timescale": str(ticks_per_second)}
        return av.open(str(target.absolute()), "w", format="mp4", container_options=options)
    options = {"cluster_time_limit": str(LONGEST_CLUSTER_MILLISECONDS), "flush_packets": "1"}
    return av.open(f"pipe:{target}", "w", format="matroska", container_options=options)


def output_ticks_per_second(time_base: Fraction) -> int:
    """Ticks of the output's clock: a multiple of the source's, so that every time is exact, and fine enough."""
    ticks = time_base.denominator
    if ticks > FINEST_TICKS:
        return USUAL_TICKS
    return ticks * max(1, -(-COARSEST_TICKS // ticks))


def _as_user_error(path: Path, error: av.FFmpegError | OSError) -> AvolError:
    if isinstance(error, OSError) and error.errno:
        return write_error(path, error)
    return AvolError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}. Please report this.")
