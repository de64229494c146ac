"""Sounds and pictures to the vectors in which a model compares them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from avol.runtime.backends import open_backend
from avol.runtime.errors import AvolError
from avol.runtime.media.audio import AudioReader
from avol.runtime.media.container import is_picture_file, open_container, video_stream_of
from avol.runtime.media.source import first_sound_seconds, open_source
from avol.runtime.media.video import VideoReader, read_picture
from avol.runtime.sound_windows import hop_in_samples, sound_windows
from avol.runtime.spec import ModelSpec

BATCH = 32

Item = TypeVar("Item", np.float32, np.uint8)
Vectors = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Samples = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Embedder:
    """A model's towers, whatever runs them.

    Attributes:
        spec: of the model.
        backend: what computes, e.g. ``onnxruntime-cpu``.
        precision: of the towers, e.g. ``fp32``.
        sounds: samples float32 ``N x clip_samples`` to vectors float32 ``N x E``.
        frames: pixels uint8 ``N x H x W x 3`` to vectors float32 ``N x E``, the mean over the cells of the grid: its
            scalar product with a sound's vector is the mean of the scalar products of all cells.
    """

    spec: ModelSpec
    backend: str
    precision: str
    sounds: Callable[[Samples], Vectors]
    frames: Callable[[Pixels], Vectors]


@dataclass
class FileEmbeddings:
    """The vectors of one file.

    Attributes:
        sounds: float32 ``N x E``, a row per window; no rows where there is no sound.
        sound_start_seconds: float64 ``N``, of the windows, from the file's beginning.
        frames: float32 ``M x E``; no rows where there is no picture.
        frame_time_seconds: float64 ``M``; 0 for a picture file.
        padded_seconds: how much silence was put behind a sound shorter than a window.
        notes: one line each, for the user.
    """

    sounds: Vectors
    sound_start_seconds: NDArray[np.float64]
    frames: Vectors
    frame_time_seconds: NDArray[np.float64]
    padded_seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


@contextlib.contextmanager
def open_embedder(folder: Path, device: str, precision: str) -> Iterator[Embedder]:
    """The towers of an exported model.

    Raises:
        AvolError: as :func:`avol.runtime.backends.open_backend`.
    """
    with open_backend(folder, device, precision) as backend:

        def sounds(samples: Samples) -> Vectors:
            found = backend.compute(("spectrogram", "audio"), {"samples": samples}, ("vector",))
            return np.asarray(found["vector"], np.float32)

        def frames(pixels: Pixels) -> Vectors:
            (grid,) = backend.infer("frame", frames=pixels)
            return np.asarray(grid.mean(axis=(2, 3)), np.float32)

        yield Embedder(
            spec=backend.spec, backend=backend.name, precision=backend.precision, sounds=sounds, frames=frames
        )


def embed_file(
    path: Path, embedder: Embedder, *, hop_seconds: float | None = None, rate_hz: float = 1.0
) -> FileEmbeddings:
    """The vectors of a sound, a picture, or a video: its sound and its pictures. Memory holds little but the vectors.

    Args:
        path: of the file; what it holds decides, not its name.
        embedder: the model.
        hop_seconds: from one window of sound to the next; None: half a window.
        rate_hz: pictures a second of a video, at most.

    Raises:
        AvolError: the file is unusable, or the model makes no finite numbers of it.
    """
    spec = embedder.spec
    nothing, never = np.zeros((0, spec.embedding_size), np.float32), np.zeros(0)
    found = FileEmbeddings(nothing, never, nothing, never)
    kind, zero_seconds = _kind_of(path), None
    if kind == "picture":
        picture = read_picture(path, height=spec.frame_height, width=spec.frame_width)
        found.frames, found.frame_time_seconds = _in_batches(iter([(0.0, picture)]), embedder.frames, nothing)
    elif kind == "video":
        zero_seconds = _look(found, path, embedder, rate_hz)
    else:
        zero_seconds = first_sound_seconds(path)
    if zero_seconds is not None:
        _hear(found, path, zero_seconds, embedder, hop_seconds)
    if not (np.isfinite(found.sounds).all() and np.isfinite(found.frames).all()):
        raise AvolError(
            f"{path}: the model makes no finite numbers of it; use another model, or another precision of it."
        )
    return found


def _kind_of(path: Path) -> str:
    with open_container(path) as container:
        if is_picture_file(container):
            return "picture"
        try:
            video_stream_of(container, path)
        except AvolError:
            if container.streams.audio:
                return "sound"  # perhaps with a cover picture, or with pictures that nothing decodes
            raise
        return "video"


def _look(found: FileEmbeddings, path: Path, embedder: Embedder, rate_hz: float) -> float | None:
    """Add the vectors of a video's pictures; gives the time in the file that is zero for its sound, None without."""
    source, spec = open_source(path), embedder.spec
    found.notes += source.warnings
    with VideoReader(
        source, frame_height=spec.frame_height, frame_width=spec.frame_width, rate_hz=rate_hz, upright=False
    ) as reader:
        shown = ((frame.time_seconds, frame.pixels) for frame in reader if frame.pixels is not None)
        found.frames, found.frame_time_seconds = _in_batches(shown, embedder.frames, found.frames)
        found.notes += reader.warnings
    if source.audio_sample_rate is not None:
        return source.audio_zero_seconds
    if not source.warnings:
        found.notes.append(f"{path}: no audio stream: it has vectors of pictures alone.")
    return None


def _hear(
    found: FileEmbeddings, path: Path, zero_seconds: float, embedder: Embedder, hop_seconds: float | None
) -> None:
    """Add the vectors of the sound."""
    grid = embedder.spec.spectrogram
    hop_samples, heard = hop_in_samples(grid, hop_seconds), grid.clip_samples

    def windows() -> Iterator[tuple[float, Samples]]:
        nonlocal heard
        for window in sound_windows(reader, clip_samples=grid.clip_samples, hop_samples=hop_samples):
            heard = window.heard
            yield window.start_sample / grid.sample_rate_hz, window.samples

    with AudioReader(path, sample_rate_hz=grid.sample_rate_hz, zero_seconds=zero_seconds) as reader:
        found.sounds, found.sound_start_seconds = _in_batches(windows(), embedder.sounds, found.sounds)
        found.notes += reader.warnings
    if heard < grid.clip_samples:
        found.padded_seconds = (grid.clip_samples - heard) / grid.sample_rate_hz
        found.notes.append(
            f"{path}: {heard / grid.sample_rate_hz:.2f} s of sound, padded with silence to the "
            f"{grid.clip_seconds:.2f} s that the model hears."
        )


def _in_batches(
    items: Iterator[tuple[float, NDArray[Item]]], tower: Callable[[NDArray[Item]], Vectors], nothing: Vectors
) -> tuple[Vectors, NDArray[np.float64]]:
    """Vectors of items, and the seconds that came with them."""
    vectors, seconds = [nothing], list[float]()
    while batch := list(itertools.islice(items, BATCH)):
        seconds += [at_seconds for at_seconds, _ in batch]
        vectors.append(tower(np.stack([values for _, values in batch])))
    return np.concatenate(vectors), np.array(seconds, np.float64)
