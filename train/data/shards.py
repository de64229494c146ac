"""Prepared clips on disk: small frames and mono sound in shards that are read through the page cache.

A prepared folder holds::

    prepared.json             what is the same for all of it (:class:`Settings`)
    shards/NAME.json          a table of the clips of a few videos, and of the files that could not be used
    shards/NAME-K.safetensors `frames` uint8 F x S x S x 3, `samples` int16 A: their frames and samples end to end

A table is written after its shards, so what no table names is unfinished work of a run that was killed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from avol.runtime.errors import AvolError
from avol.runtime.spec import ModelSpec

FORMAT = "avol.pairs/1"
SETTINGS_FILE = "prepared.json"
SHARD_FOLDER = "shards"
CLIP_FRAME_SHARE = 1.125  # side in memory as a multiple of the network's frame: room to crop
PARTS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is the same for all clips of a prepared folder.

    Attributes:
        preset: whose sizes were taken; others with the same fit as well.
        side: of the frames, pixels.
        sample_rate_hz: of the sound.
        frames_per_second: frames that are kept.
        piece_seconds: longer videos are cut into pieces of this length.
        split: shares of train, validation and test.
    """

    preset: str
    side: int
    sample_rate_hz: int
    frames_per_second: float
    piece_seconds: float
    split: tuple[float, float, float]
    format: str = FORMAT


@dataclass(frozen=True, kw_only=True)
class ClipEntry:
    """A clip in a table; times are on the clock of its samples.

    Attributes:
        file: as it was given; ``start_seconds`` is where in it the clip begins.
        digest: of the file's content.
        shard: number of the shard of its table.
        loudness: RMS of the loudest tenth of a second, 0..1.
        still: whether all frames are the same picture, as album art is.
    """

    file: str
    video_id: str
    label: str | None
    part: str
    digest: str
    start_seconds: float
    shard: int
    first_frame: int
    times_seconds: list[float]
    first_sample: int
    sample_count: int
    loudness: float
    still: bool


@dataclass(frozen=True, kw_only=True)
class Table:
    """What came of a few files: their clips, and why some gave none."""

    sources: dict[str, str]  # file -> digest, of all files that were read
    problems: dict[str, str]  # file -> why it gave no clip
    clips: list[ClipEntry] = field(default_factory=list)


class StoredClip:
    """A clip whose frames and samples are read when asked for."""

    def __init__(self, entry: ClipEntry, frames: NDArray[np.uint8], samples: NDArray[np.int16]) -> None:
        self.entry, self.video_id, self.label, self.file = entry, entry.video_id, entry.label, entry.file
        self.frames = frames[entry.first_frame : entry.first_frame + len(entry.times_seconds)]
        self.samples = samples[entry.first_sample : entry.first_sample + entry.sample_count]
        self.times_seconds: NDArray[np.float64] = np.array(entry.times_seconds)


class ClipStore(Sequence[StoredClip]):
    """The clips of one part of a prepared folder, memory-mapped.

    Args:
        folder: made by ``avol data prepare``.
        part: ``train``, ``validation`` or ``test``; None: all.
        spec: of the network that is to learn; its sizes must be those of the folder.

    Raises:
        AvolError: no prepared folder, one for other sizes, or a damaged shard.
    """

    def __init__(self, folder: Path, *, part: str | None = None, spec: ModelSpec | None = None) -> None:
        self.settings = read_settings(folder)
        if spec is not None:
            _check_sizes(folder, self.settings, spec)
        self._clips = [clip for path in table_paths(folder) for clip in _clips_of(path, self.settings, part)]

    def __len__(self) -> int:
        return len(self._clips)

    @overload
    def __getitem__(self, index: int) -> StoredClip: ...
    @overload
    def __getitem__(self, index: slice) -> list[StoredClip]: ...
    def __getitem__(self, index: int | slice) -> StoredClip | list[StoredClip]:
        return self._clips[index]


def is_prepared(folder: Path) -> bool:
    """Whether ``avol data prepare`` has written there."""
    return (folder / SETTINGS_FILE).is_file()


def read_settings(folder: Path) -> Settings:
    """Settings of a prepared folder.

    Raises:
        AvolError: there are none, or they cannot be read.
    """
    path = folder / SETTINGS_FILE
    if not path.is_file():
        raise AvolError(f"{folder}: not a prepared folder; run avol data prepare VIDEOS --out {folder}.")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']}")
        return Settings(**record | {"split": tuple(record["split"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AvolError(f"{path}: not usable settings ({error}); prepare into another folder.") from None


def table_paths(folder: Path) -> list[Path]:
    """Tables of finished work, in order of name; a hidden one is still being written, or was left by a kill."""
    return sorted(path for path in (folder / SHARD_FOLDER).glob("*.json") if not path.name.startswith("."))


def read_table(path: Path) -> Table:
    """One table.

    Raises:
        AvolError: it cannot be read.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return Table(**record | {"clips": [ClipEntry(**clip) for clip in record["clips"]]})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AvolError(f"{path}: not a readable table ({error}); delete it and prepare again.") from None


def to_json(record: Settings | Table) -> str:
    """The text of a settings file or a table."""
    return json.dumps(asdict(record), ensure_ascii=False, indent=1 if isinstance(record, Settings) else None)


def shard_path(table: Path, number: int) -> Path:
    """The shard of a number beside its table."""
    return table.with_name(f"{table.stem}-{number}.safetensors")


def map_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file as memory maps: nothing is read before it is asked for.

    Raises:
        AvolError: no such file, or one that is shorter than its header says.
    """
    kinds = {"U8": np.uint8, "I16": np.int16}
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > path.stat().st_size:
                raise ValueError("cut off")
            header = json.loads(file.read(length))
        tensors = {}
        for name, tensor in header.items():
            if name != "__metadata__":
                kind, shape, (first, last) = kinds[tensor["dtype"]], tuple(tensor["shape"]), tensor["data_offsets"]
                if 8 + length + last > path.stat().st_size:
                    raise ValueError("cut off")
                empty = first == last  # of which there is no memory map
                tensors[name] = (
                    np.zeros(shape, kind) if empty else np.memmap(path, kind, "r", 8 + length + first, shape)
                )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AvolError(f"{path}: not a readable shard ({error}); delete its table and prepare again.") from None
    return tensors


def _clips_of(table_path: Path, settings: Settings, part: str | None) -> Iterator[StoredClip]:
    maps: dict[int, dict[str, NDArray[Any]]] = {}
    for entry in read_table(table_path).clips:
        if part is not None and entry.part != part:
            continue
        if entry.shard not in maps:
            path = shard_path(table_path, entry.shard)
            maps[entry.shard] = map_tensors(path)
            if (
                maps[entry.shard].keys() < {"frames", "samples"}
                or maps[entry.shard]["frames"].shape[1] != settings.side
            ):
                raise AvolError(f"{path}: not a shard of this folder; delete its table and prepare again.")
        yield StoredClip(entry, maps[entry.shard]["frames"], maps[entry.shard]["samples"])


def _check_sizes(folder: Path, settings: Settings, spec: ModelSpec) -> None:
    side, rate_hz = frame_side(spec), spec.spectrogram.sample_rate_hz
    if (settings.side, settings.sample_rate_hz) != (side, rate_hz):
        raise AvolError(
            f"{folder}: holds frames of {settings.side} pixels and sound at {settings.sample_rate_hz} Hz, preset "
            f"{spec.preset} takes {side} and {rate_hz}; prepare again with --preset {spec.preset}."
        )


def frame_side(spec: ModelSpec) -> int:
    """Side of prepared frames for a network."""
    return round(CLIP_FRAME_SHARE * spec.frame_height)
