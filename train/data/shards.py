"""Prepared clips on disk: small frames and mono sound in a few large files, read through memory maps.

A prepared folder (format ``avol.pairs/1``) holds::

    prepared.json                          what is the same for all of it (:class:`Settings`); written first
    shards/<part>-<hash>.safetensors       up to 64 clips of one part, or 128 MiB
    problems.csv                           files that gave no clip, or not all they should, and why

Tensors of a shard, its clips end to end: ``frames`` uint8 F x S x S x 3 RGB, the whole picture squashed to the square;
``frame_times_seconds`` float64 F, exact presentation times, zero is the first thing seen or heard of the file;
``samples`` int16 A, mono. Its metadata: ``format``, ``part``, and ``clips``, the table as a JSON list of
:class:`ClipRecord`. A shard appears under its name when it is complete, and never changes: that is all there is to
resuming after a kill. Long files are cut into pieces; the sound of a piece reaches half a window beyond its frames, so
that the cuts make no silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from avol.runtime.spec import ModelSpec
from avol.train.data.prepare_settings import (
    CLIP_FRAME_SHARE,
    Settings,
    check_sizes,
    frame_side,
    is_prepared,
    read_settings,
)
from avol.train.data.shard_files import ClipRecord, Shard, read_shards
from avol.train.data.split import PARTS

if TYPE_CHECKING:
    from avol.train.data.material import Clip

__all__ = [
    "CLIP_FRAME_SHARE",
    "PARTS",
    "ClipRecord",
    "ClipStore",
    "Settings",
    "Shard",
    "StoredClip",
    "frame_side",
    "is_prepared",
    "load_clips",
    "read_settings",
    "read_shards",
]

MAPPED_SHARDS = 400  # a map holds a file descriptor, of which a process has 1024


class StoredClip:
    """One clip of a store; frames and samples are read from the disk where they are indexed."""

    def __init__(self, store: ClipStore, shard: int, record: ClipRecord) -> None:
        self._store, self._shard, self.record = store, shard, record

    @property
    def file(self) -> str:
        """Absolute path of the source."""
        return self.record.file

    @property
    def label(self) -> str | None:
        """Class, None if unknown."""
        return self.record.label

    @property
    def video_id(self) -> str:
        """Source video: two clips of one are never a false pair."""
        return self.record.video_id

    @property
    def frames(self) -> NDArray[np.uint8]:
        """``T x S x S x 3`` RGB, read-only."""
        return self._slice("frames", self.record.first_frame, self.record.frame_count)

    @property
    def times_seconds(self) -> NDArray[np.float64]:
        """``T``, on the clock of :attr:`samples`: time zero is the first of them."""
        times = self._slice("frame_times_seconds", self.record.first_frame, self.record.frame_count)
        return np.asarray(times - self.record.first_sample_seconds, dtype=np.float64)

    @property
    def samples(self) -> NDArray[np.int16]:
        """Mono, read-only."""
        return self._slice("samples", self.record.first_sample, self.record.sample_count)

    def _slice(self, name: str, first: int, count: int) -> NDArray[Any]:
        return self._store.mapped(self._shard)[name][first : first + count]


class ClipStore(Sequence[StoredClip]):
    """The clips of one part of a prepared folder, in an order that depends on the shards' names alone.

    Args:
        folder: made by ``avol data prepare``.
        part: ``train``, ``validation`` or ``test``; None for all.
        spec: of the network that is to learn; its sizes must be the folder's.

    Raises:
        AvolError: not a prepared folder, one for other sizes, or a damaged shard.
    """

    def __init__(self, folder: Path, part: str | None = "train", *, spec: ModelSpec | None = None) -> None:
        self.settings = read_settings(folder)
        if spec is not None:
            check_sizes(folder, self.settings, spec)
        self.shards = read_shards(folder, self.settings, part)
        self._clips = [
            StoredClip(self, number, record) for number, shard in enumerate(self.shards) for record in shard.records
        ]
        self.mapped = lru_cache(maxsize=MAPPED_SHARDS)(lambda number: self.shards[number].map())

    def __len__(self) -> int:
        return len(self._clips)

    @overload
    def __getitem__(self, index: int) -> StoredClip: ...
    @overload
    def __getitem__(self, index: slice) -> list[StoredClip]: ...
    def __getitem__(self, index: int | slice) -> StoredClip | list[StoredClip]:
        return self._clips[index]


def load_clips(folder: Path, part: str = "train") -> list[Clip]:
    """The labelled clips of a part as those of labelled material, without boxes; frames stay on the disk until used.

    Raises:
        AvolError: as :class:`ClipStore`.
    """
    from avol.train.data.material import Clip

    return [
        Clip(
            label=clip.label,
            file=clip.file,
            video_id=clip.video_id,
            source_visible=True,
            frames=clip.frames,
            times_seconds=clip.times_seconds,
            samples=clip.samples,
            boxes=[],
            box_time_seconds=None,
        )
        for clip in ClipStore(folder, part)
        if clip.label is not None
    ]
