"""From a video to localisations: pictures and the sound around them, in step, while a thread decodes ahead."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

import av
import numpy as np
from numpy.typing import NDArray

from avol.runtime.media.audio import AudioReader
from avol.runtime.media.source import Source
from avol.runtime.media.video import VideoReader
from avol.runtime.stages import FrameQueue, Stages
from avol.runtime.system import System
from avol.runtime.track import Track

MOST_ANALYSES = 4  # in one call of the towers: each waits for the last of them, and their memory grows with them
QUEUED_BYTES = 32 << 20  # of decoded pictures in one queue
QUEUED_FRAMES = (4, 8)  # at least and at most, whatever their size
QUEUED_SMALL_FRAMES = 64  # where only the analysed frames are kept, at the network's size


@dataclass(frozen=True, kw_only=True)
class LocalisedFrame:
    """A frame of the video and, if it was analysed, what was found in it.

    Attributes:
        time_seconds: when it is shown, seconds since the output's zero.
        picture: the decoded frame, upright; None where pictures are not wanted.
        score: calibrated probability that its sound comes from the picture; None for a frame not analysed.
        map: float32 ``GH x GW``; None for a frame not analysed, or from a system that cannot tell where.
    """

    time_seconds: float
    picture: av.VideoFrame | None = None
    score: float | None = None
    map: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class _Decoded:
    """What the decoding thread hands over; ``pixels`` (``H x W x 3``, uint8) only if the frame is to be analysed."""

    time_seconds: float
    picture: av.VideoFrame | None
    pixels: NDArray[np.uint8] | None


@dataclass
class FrameLocaliser:
    """Iterates over all frames of a source in order; analyses ``rate_hz`` of them a second.

    A thread decodes ahead and shrinks the frames that are to be analysed; the model runs in the thread that iterates.
    Frames that wait by then share one call of it, a frame that nobody waits behind is analysed at once. Closing the
    iterator ends the thread.

    Attributes:
        source: what is run; without sound it is heard as silence.
        system: the model.
        rate_hz: analyses a second; more than the frame rate analyses every frame.
        pictures: whether the whole pictures are wanted.
        listener: called with every chunk of samples that is heard, in order.
        warnings: one line each, complete when the iteration has ended.
        cut_off_seconds: where the pictures end if that is before their declared end; None before the iteration ends.
    """

    source: Source
    system: System
    rate_hz: float
    pictures: bool = True
    listener: Callable[[NDArray[np.float32]], None] | None = None
    warnings: list[str] = field(default_factory=list)
    cut_off_seconds: float | None = None

    def __iter__(self) -> Generator[LocalisedFrame, None, None]:
        """Run the model over the source, once; memory stays flat.

        Raises:
            AvolError: nothing decodes.
        """
        with contextlib.ExitStack() as stack:
            audio, chunks = self._open_sound(stack)
            heard = chunks if self.listener is None else _told(chunks, self.listener)
            track = self.system.open_track(heard, rate_hz=min(self.rate_hz, self.source.frame_rate))
            stages = stack.enter_context(Stages())
            capacity = frames_in_queue(self.source) if self.pictures else QUEUED_SMALL_FRAMES
            queue: FrameQueue[_Decoded] = stages.queue(capacity)
            stages.start("decode", lambda: self._decode(queue))
            for batch in _batches(queue, capacity):
                yield from self._localise(batch, track)
            stages.wait()
            chunks.close()  # the video may end before the sound
            if audio is not None:
                self.warnings += audio.warnings

    def _open_sound(
        self, stack: contextlib.ExitStack
    ) -> tuple[AudioReader | None, Generator[NDArray[np.float32], None, None]]:
        if self.source.audio_sample_rate is None:
            return None, _silence()
        reader = AudioReader(
            self.source.sound_path,
            sample_rate_hz=self.system.spec.spectrogram.sample_rate_hz,
            zero_seconds=self.source.audio_zero_seconds,
            seek=self.source.start_seconds > 0,
        )
        return stack.enter_context(reader), iter(reader)

    def _decode(self, queue: FrameQueue[_Decoded]) -> None:
        spec = self.system.spec
        with VideoReader(
            self.source,
            frame_height=spec.frame_height,
            frame_width=spec.frame_width,
            rate_hz=self.rate_hz,
            upright=self.pictures,
        ) as reader:
            for frame in reader:
                queue.put(_Decoded(frame.time_seconds, frame.picture if self.pictures else None, frame.pixels))
            self.warnings += reader.warnings
            self.cut_off_seconds = reader.cut_off_seconds
        queue.end()

    def _localise(self, batch: list[_Decoded], track: Track) -> Iterator[LocalisedFrame]:
        chosen = [(frame.time_seconds, frame.pixels) for frame in batch if frame.pixels is not None]
        found = None
        if chosen:
            windows = track.windows_at([time_seconds for time_seconds, _ in chosen])
            found = self.system.localise(np.stack([pixels for _, pixels in chosen]), windows)
        index = 0
        for frame in batch:
            if frame.pixels is None or found is None:
                yield LocalisedFrame(time_seconds=frame.time_seconds, picture=frame.picture)
                continue
            score, heat = float(found.score[index]), None if found.map is None else found.map[index]
            index += 1
            yield LocalisedFrame(time_seconds=frame.time_seconds, picture=frame.picture, score=score, map=heat)


def _told(
    chunks: Iterator[NDArray[np.float32]], listener: Callable[[NDArray[np.float32]], None]
) -> Iterator[NDArray[np.float32]]:
    for chunk in chunks:
        listener(chunk)
        yield chunk


def _silence() -> Generator[NDArray[np.float32], None, None]:
    """A track without samples."""
    yield from ()


def frames_in_queue(source: Source) -> int:
    """How many whole pictures of a source one queue may hold."""
    least, most = QUEUED_FRAMES
    picture_bytes = max(1, source.picture_width * source.picture_height * 3 // 2)
    return min(most, max(least, QUEUED_BYTES // picture_bytes))


def _batches(queue: FrameQueue[_Decoded], most_frames: int) -> Iterator[list[_Decoded]]:
    """The next frame, and those that wait behind it by now, up to as many analyses as go into one call."""
    for first in queue:
        batch = [first]
        analyses = int(first.pixels is not None)
        waiting = queue.waiting()
        while analyses < MOST_ANALYSES and len(batch) < most_frames and (frame := next(waiting, None)) is not None:
            batch.append(frame)
            analyses += frame.pixels is not None
        yield batch
