"""Cut a video into pieces of small frames and mono sound, with flat memory however long it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avol.runtime.errors import AvolError
from avol.runtime.media.audio import AudioReader
from avol.runtime.media.source import Source, open_source
from avol.runtime.media.video import VideoReader
from avol.train.data.prepare_settings import Settings

SHORTEST_SECONDS = 0.999  # of a clip: a network hears a second at once
SILENCE = 2**15 // 1000  # level of a sample, -60 dBFS, below which sound counts as none
SILENCE_BLOCKS_PER_SECOND = 100
# Mean difference of one block of a frame from the first frame, in levels of 255: codecs flicker less, and what moves
# changes some block by more.
STILL_DIFFERENCE = 4.0
STILL_BLOCKS = 8


class UnusableVideoError(AvolError):
    """A video that is sound as a file and cannot be trained on; ``reason`` is its category."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some seconds of a video; all times are those of the file.

    Attributes:
        number: from 0; the piece starts at ``number`` times the length of pieces.
        frames: uint8 ``T x S x S x 3`` RGB, T > 0.
        times_seconds: float64 ``T``.
        samples: int16, with a margin on both sides as far as the file goes.
        first_sample_seconds: time of the first of them.
        is_last: whether no further piece of the file is kept.
    """

    number: int
    start_seconds: float
    duration_seconds: float
    frames: NDArray[np.uint8]
    times_seconds: NDArray[np.float64]
    samples: NDArray[np.int16]
    first_sample_seconds: float
    silent_share: float
    is_still: bool
    is_last: bool = False

    @property
    def content_digest(self) -> str:
        """Hash of frames and samples."""
        digest = hashlib.sha256(self.frames.tobytes())
        digest.update(self.samples.tobytes())
        return digest.hexdigest()[:32]


@dataclass
class _Group:
    """Frames of one piece, as they come."""

    number: int
    end_seconds: float  # of its last frame
    times: list[float] = field(default_factory=list)
    frames: list[NDArray[np.uint8]] = field(default_factory=list)


class PieceReader:
    """Iterator over the kept pieces of a video; ``warnings`` is complete when the iteration has ended.

    Left out are pieces without a picture and a rest shorter than a second. A video of which nothing is
    left is refused.

    Args:
        path: of the video.
        settings: what to keep.
        first_piece: earlier ones are passed over (a run that was killed has stored them).
    """

    def __init__(self, path: Path, settings: Settings, *, first_piece: int = 0) -> None:
        self.path, self.settings, self.first_piece = path, settings, first_piece
        self.warnings: list[str] = []

    def __iter__(self) -> Iterator[Piece]:
        """Pieces in order of time.

        Raises:
            UnusableVideoError: no sound, too short, or nothing left after what the settings drop.
            AvolError: not a readable video.
        """
        source = open_source(self.path)
        if source.audio_sample_rate is None:
            fact = "no sound in it can be decoded" if source.warnings else "no sound"
            raise UnusableVideoError("no sound", f"{self.path}: {fact}; nothing can be learnt from it.")
        held: Piece | None = None
        dropped = ""
        for piece in self._pieces(source):
            if why := self._dropped(piece):
                dropped = why
                continue
            if held is not None and held.number >= self.first_piece:
                yield held
            held = piece
        if held is not None and held.number >= self.first_piece:
            yield replace(held, is_last=True)
        if held is None:
            if dropped:
                raise UnusableVideoError(dropped, f"{self.path}: all of it is {dropped}, which is not kept.")
            raise UnusableVideoError("too short", f"{self.path}: shorter than the second that a network hears at once.")

    def _dropped(self, piece: Piece) -> str:
        if self.settings.drop_still and piece.is_still:
            return "still"
        return "silent" if self.settings.drop_silent and piece.silent_share == 1.0 else ""

    def _pieces(self, source: Source) -> Iterator[Piece]:
        side, rate_hz = self.settings.frame_side, self.settings.sample_rate_hz
        frames_per_second = self.settings.frames_per_second
        video = VideoReader(source, frame_height=side, frame_width=side, rate_hz=frames_per_second, threads=1)
        with video, AudioReader(self.path, sample_rate_hz=rate_hz, zero_seconds=source.zero_seconds) as audio:
            track = Track(audio)
            group: _Group | None = None
            for frame in video:
                number = int(frame.time_seconds // self.settings.piece_seconds)
                if group is not None and number > group.number and group.frames:
                    yield self._piece(group, track, ended=False)
                if group is None or number > group.number:
                    group = _Group(number, 0.0)
                group.end_seconds = frame.time_seconds + 1 / source.frame_rate
                if frame.pixels is not None:
                    group.times.append(frame.time_seconds)
                    group.frames.append(frame.pixels)
            if group is not None and group.frames:
                piece = self._piece(group, track, ended=True)
                if piece.duration_seconds >= SHORTEST_SECONDS:
                    yield piece
        self.warnings = [*video.warnings, *audio.warnings]

    def _piece(self, group: _Group, track: Track, *, ended: bool) -> Piece:
        """Frames of a group with the sound around them; ``ended``: the video has no further frames."""
        rate_hz, margin = self.settings.sample_rate_hz, self.settings.margin_samples
        start = group.number * self.settings.piece_seconds
        end = start + self.settings.piece_seconds
        first, last = max(0, round(start * rate_hz) - margin), round(end * rate_hz) + margin
        samples = track.take(first, last)
        sound_end = (first + len(samples)) / rate_hz
        if ended:
            end = min(end, max(group.end_seconds, sound_end))
        own = samples[round(start * rate_hz) - first : max(0, round(end * rate_hz) - first)]
        frames = np.stack(group.frames)
        return Piece(
            number=group.number,
            start_seconds=start,
            duration_seconds=end - start,
            frames=frames,
            times_seconds=np.array(group.times, np.float64),
            samples=samples,
            first_sample_seconds=first / rate_hz,
            silent_share=silent_share(own, rate_hz, end - start),
            is_still=is_still(frames),
        )


class Track:
    """Random access, forwards, to the samples that a reader gives in chunks."""

    def __init__(self, reader: AudioReader) -> None:
        self._chunks = iter(reader)
        self._kept: NDArray[np.int16] = np.zeros(0, np.int16)
        self._first = 0

    def take(self, first: int, last: int) -> NDArray[np.int16]:
        """Samples ``first`` to ``last``, fewer where the track ends; ``first`` must not fall from call to call."""
        parts, end = [self._kept], self._first + len(self._kept)
        while end < last and (chunk := next(self._chunks, None)) is not None:
            end += len(chunk)
            parts.append(np.rint(chunk * 32767).astype(np.int16))
            if end <= first:  # a gap in the pictures may be long
                parts, self._first = [], end
        kept = np.concatenate(parts) if parts else np.zeros(0, np.int16)
        skipped = min(max(0, first - self._first), len(kept))
        self._kept, self._first = kept[skipped:].copy(), self._first + skipped
        return self._kept[: max(0, last - self._first)].copy()


def silent_share(samples: NDArray[np.int16], rate_hz: int, seconds: float) -> float:
    """Share of ``seconds`` at which the sound stays below -60 dBFS; where there are no samples, it does."""
    block = rate_hz // SILENCE_BLOCKS_PER_SECOND
    blocks = max(1, round(seconds * SILENCE_BLOCKS_PER_SECOND))
    padded = np.zeros(-(-len(samples) // block) * block, np.int32)
    padded[: len(samples)] = np.abs(samples.astype(np.int32))
    loud = int((padded.reshape(-1, block).max(axis=1) > SILENCE).sum()) if len(padded) else 0
    return min(1.0, max(0.0, 1 - loud / blocks))


def is_still(frames: NDArray[np.uint8]) -> bool:
    """Whether ``T x S x S x 3`` frames show one picture without movement; a single frame does."""
    cell = max(1, frames.shape[1] // STILL_BLOCKS)
    side = frames.shape[1] // cell
    first = frames[0].astype(np.int16)
    for frame in frames[1:]:
        change = np.abs(frame - first).mean(axis=2)[: side * cell, : side * cell]
        if change.reshape(side, cell, side, cell).mean(axis=(1, 3)).max() > STILL_DIFFERENCE:
            return False
    return True
