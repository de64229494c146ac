"""Cut videos into clips of small frames and mono sound, and write them as shards: one call is one process's task."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from avol.runtime.atomic import AtomicOutput, write_error
from avol.runtime.errors import AvolError
from avol.runtime.media.audio import AudioReader
from avol.runtime.media.source import open_source
from avol.runtime.media.video import VideoReader
from avol.train.data.shards import SHARD_FOLDER, ClipEntry, Settings, Table, shard_path, to_json

if TYPE_CHECKING:
    from avol.train.data.prepare import SourceFile

SHARD_BYTES = 128 << 20
MARGIN_SECONDS = 0.6  # of sound kept beyond a piece's frames: half a window, so that cutting makes no silence
LOUDNESS_SECONDS = 0.1
STILL_DIFFERENCE = 1.0  # mean over pixels, of 255: codecs flicker


@dataclass(frozen=True)
class Piece:
    """Some seconds of a video; ``times_seconds`` of frames are on the clock of ``samples``."""

    start_seconds: float
    frames: NDArray[np.uint8]
    times_seconds: NDArray[np.float64]
    samples: NDArray[np.int16]


def write_clips(sources: Sequence[SourceFile], out: Path, settings: Settings) -> None:
    """Read some files and write their clips; the table comes last.

    Raises:
        AvolError: the folder cannot be written.
    """
    name = hashlib.sha256("".join(source.digest for source in sources).encode()).hexdigest()[:16]
    table_path = out / SHARD_FOLDER / f"{name}.json"
    table = Table(sources={str(source.path): source.digest for source in sources}, problems={})
    shard = _Shard(table_path, 0, settings.sample_rate_hz)
    for source in sources:
        clips_before = len(table.clips)
        try:
            for piece in read_pieces(source.path, settings):
                table.clips.append(shard.add(piece, source))
                if shard.bytes > SHARD_BYTES:
                    shard.write()
                    shard = _Shard(table_path, shard.number + 1, settings.sample_rate_hz)
        except AvolError as error:
            if isinstance(error, _FullDiskError):
                raise
            if len(table.clips) == clips_before:
                table.problems[str(source.path)] = str(error).removeprefix(f"{source.path}: ")
    if shard.bytes:
        shard.write()
    _write(table_path, to_json(table).encode())


def read_pieces(path: Path, settings: Settings) -> Iterator[Piece]:
    """The pieces of a video, one at a time: memory does not grow with its length.

    Raises:
        AvolError: it cannot be used: damaged, no pictures, no sound.
    """
    source = open_source(path)
    if source.audio_sample_rate is None:
        raise AvolError(f"{path}: no sound.")
    rate_hz, side = settings.sample_rate_hz, settings.side
    with (
        VideoReader(source, frame_height=side, frame_width=side, rate_hz=settings.frames_per_second) as pictures,
        AudioReader(path, sample_rate_hz=rate_hz, zero_seconds=source.zero_seconds) as reader,
    ):
        sound = _Sound(iter(reader))
        waiting: list[tuple[float, NDArray[np.uint8]]] = []
        start_seconds = 0.0
        for frame in pictures:
            if frame.pixels is None:
                continue
            while frame.time_seconds >= start_seconds + settings.piece_seconds:
                if waiting:
                    yield _piece(waiting, sound, start_seconds, settings)
                waiting, start_seconds = [], start_seconds + settings.piece_seconds
            waiting.append((frame.time_seconds, frame.pixels))
        if waiting:
            yield _piece(waiting, sound, start_seconds, settings)


def _piece(
    frames: list[tuple[float, NDArray[np.uint8]]], sound: _Sound, start_seconds: float, settings: Settings
) -> Piece:
    rate_hz = settings.sample_rate_hz
    first = max(0, round((start_seconds - MARGIN_SECONDS) * rate_hz))
    last = round((start_seconds + settings.piece_seconds + MARGIN_SECONDS) * rate_hz)
    times = np.array([time for time, _ in frames])
    return Piece(start_seconds, np.stack([p for _, p in frames]), times - first / rate_hz, sound.between(first, last))


class _Sound:
    """Samples of a track as they come, of which only what may still be asked for is kept."""

    def __init__(self, chunks: Iterator[NDArray[np.float32]]) -> None:
        self.chunks, self.kept, self.first = chunks, np.zeros(0, np.int16), 0

    def between(self, first: int, last: int) -> NDArray[np.int16]:
        """Samples ``first`` to ``last``, fewer at the end of the track; ``first`` never falls."""
        parts, end = [self.kept], self.first + len(self.kept)
        while end < last and (chunk := next(self.chunks, None)) is not None:
            parts.append((chunk * 32767).astype(np.int16))
            end += len(chunk)
        self.kept = np.concatenate(parts)
        self.kept, self.first = self.kept[max(0, first - self.first) :], max(first, self.first)
        return self.kept[: last - first].copy()


class _Shard:
    """Clips on their way to a file."""

    def __init__(self, table_path: Path, number: int, sample_rate_hz: int) -> None:
        self.path, self.number, self.sample_rate_hz = shard_path(table_path, number), number, sample_rate_hz
        self.pieces: list[Piece] = []
        self.frames = self.samples = self.bytes = 0

    def add(self, piece: Piece, source: SourceFile) -> ClipEntry:
        entry = ClipEntry(
            file=str(source.path),
            video_id=source.video_id,
            label=source.label,
            part=source.part,
            digest=source.digest,
            start_seconds=piece.start_seconds,
            shard=self.number,
            first_frame=self.frames,
            times_seconds=[float(time) for time in piece.times_seconds],
            first_sample=self.samples,
            sample_count=len(piece.samples),
            loudness=_loudness(piece.samples, self.sample_rate_hz),
            still=_is_still(piece.frames),
        )
        self.pieces.append(piece)
        self.frames, self.samples = self.frames + len(piece.frames), self.samples + len(piece.samples)
        self.bytes += piece.frames.nbytes + piece.samples.nbytes
        return entry

    def write(self) -> None:
        tensors = {
            "frames": np.concatenate([piece.frames for piece in self.pieces]),
            "samples": np.concatenate([piece.samples for piece in self.pieces]),
        }
        _write(self.path, save(tensors))


class _FullDiskError(AvolError):
    """What cannot be blamed on a video."""


def _write(path: Path, content: bytes) -> None:
    try:
        with AtomicOutput(path) as output:
            try:
                output.temporary.write_bytes(content)
            except OSError as error:
                raise write_error(path, error) from None
            output.commit()
    except AvolError as error:
        raise _FullDiskError(str(error)) from None


def _loudness(samples: NDArray[np.int16], sample_rate_hz: int) -> float:
    """RMS of the loudest tenth of a second, 0..1."""
    length = max(1, min(len(samples), round(LOUDNESS_SECONDS * sample_rate_hz)))
    count = len(samples) // length
    if count == 0:
        return 0.0
    windows = samples[: count * length].reshape(count, length).astype(np.float32) / 32767
    return float(np.sqrt(np.square(windows).mean(axis=1)).max())


def _is_still(frames: NDArray[np.uint8]) -> bool:
    differences = np.abs(frames.astype(np.int16) - frames[0]).mean(axis=(1, 2, 3))
    return len(frames) > 1 and bool(differences.max() < STILL_DIFFERENCE)
