"""The overlay video of a run: one thread draws, another encodes, while the run goes on."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av

from avol.runtime.frame_localiser import frames_in_queue
from avol.runtime.heat import Shown, held_heat, moving_heat
from avol.runtime.media.encoders import DEFAULT_CODEC
from avol.runtime.media.source import Source
from avol.runtime.media.writer import VideoWriter
from avol.runtime.results import MADE_BY
from avol.runtime.stage_times import timed
from avol.runtime.stages import FrameQueue, Stages
from avol.runtime.strip import Strip, strip_height, with_strip
from avol.runtime.styles import Painter, StyleOptions
from avol.runtime.timeline import TimelineFrame


@dataclass(frozen=True, kw_only=True)
class VideoOptions:
    """How the overlay video looks and is coded.

    Attributes:
        style: what is drawn.
        strip: whether the score and the waveform run along under the picture.
        sound: whether the video has the sound.
        smooth: whether heat moves from one analysis to the next; otherwise each stays until the next one.
        codec, crf: of :class:`VideoWriter`.
    """

    style: StyleOptions = field(default_factory=StyleOptions)
    strip: bool = False
    sound: bool = True
    smooth: bool = True
    codec: str = DEFAULT_CODEC
    crf: int = 23


LONG_SECONDS = 1200.0  # from here on what a muxer holds in memory is worth a second copy on disk
USUAL_TIME_BASE = Fraction(1, 90_000)  # seconds, of pictures that say nothing of their clock


class OverlayVideo:
    """Context manager that takes the pictures of a run in order and writes them with their heat.

    Args:
        target: the MP4 to write, or a descriptor that is open for writing.
        shown_as: the name for messages where that is a temporary one, or None.
        source: what is run.
        options: how it looks.
        strip: drawn under each picture; None: nothing is.

    Attributes:
        notes: one line each, for the user; complete after :meth:`close`.

    Raises:
        AvolError: the video cannot be written (from :meth:`write`, :meth:`close` and the end of the ``with`` block).
    """

    def __init__(
        self,
        target: Path | int,
        shown_as: Path | None,
        source: Source,
        options: VideoOptions,
        strip: Strip | None = None,
    ) -> None:
        self.notes: list[str] = []
        self._options, self._painter, self._strip = options, Painter(options.style), strip
        self._target, self._shown_as, self._source = target, shown_as, source
        self._started = False
        self._stages = Stages()
        capacity = frames_in_queue(source)
        self._reach = capacity
        self._pictures: FrameQueue[Shown] = self._stages.queue(capacity)
        self._drawn: FrameQueue[tuple[float, Fraction, av.VideoFrame]] = self._stages.queue(capacity)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stages.__exit__(kind, error, trace)

    def write(self, time_seconds: float, picture: av.VideoFrame, entry: TimelineFrame | None) -> None:
        """Append a picture, with its entry of the timeline if it was analysed; waits while too many are under way."""
        if not self._started:  # not before the ``with`` block is entered, whose end stops the threads
            self._started = True
            self._stages.start("draw", self._draw)
            self._stages.start("encode", self._encode)
        self._pictures.put(Shown(time_seconds, picture, entry))

    def close(self) -> None:
        """Wait until the file is complete."""
        self._pictures.end()
        self._stages.wait()

    def _draw(self) -> None:
        smooth = self._options.smooth
        for shown in moving_heat(self._pictures, self._reach) if smooth else held_heat(self._pictures):
            # The encoder's thread gives a picture new times: its clock is asked for before.
            clock = Fraction(shown.picture.time_base or USUAL_TIME_BASE)
            with timed("overlay"):
                painted = self._painted(shown)
            self._drawn.put((shown.time_seconds, clock, painted))
        self._drawn.end()

    def _painted(self, shown: Shown) -> av.VideoFrame:
        box = shown.entry.box if shown.entry is not None else None
        picture = self._painter.draw(shown.picture, shown.heat, box)
        return picture if self._strip is None else with_strip(picture, self._strip, shown.time_seconds)

    def _encode(self) -> None:
        """Write what was drawn; the file is opened at the first picture, whose clock it takes over."""
        first = next(self._drawn, None)
        if first is None:
            return
        with self._open(first[1]) as writer:
            for time_seconds, _, picture in itertools.chain([first], self._drawn):
                with timed("encode"):
                    writer.write(picture, time_seconds)
            with timed("encode"):
                writer.close()
        self.notes += writer.notes

    def _open(self, clock: Fraction) -> VideoWriter:
        source, options = self._source, self._options
        width, height = self._painter.size(source.picture_width, source.picture_height)
        return VideoWriter(
            self._target,
            width=width,
            height=height + (strip_height(height) if self._strip is not None else 0),
            sample_aspect_ratio=source.sample_aspect_ratio,
            time_base=clock,
            frame_rate=Fraction(source.frame_rate).limit_denominator(1001),
            audio_path=source.sound_path if source.audio_sample_rate is not None and options.sound else None,
            audio_zero_seconds=source.audio_zero_seconds,
            audio_ends_with_video=source.audio_path is not None or source.part_seconds is not None,
            audio_is_part=source.start_seconds > 0,
            codec=options.codec,
            crf=options.crf,
            comment=MADE_BY,
            spooled=isinstance(self._target, Path) and not 0 < source.duration_seconds < LONG_SECONDS,
            shown_as=self._shown_as,
        )
