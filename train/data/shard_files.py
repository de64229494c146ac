"""Shards: one safetensors file each, with the table of its clips (format: :mod:`avol.train.data.shards`)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from avol.runtime.errors import AvolError
from avol.train.data.prepare_settings import FORMAT, Settings, write_file
from avol.train.data.split import PARTS

SHARD_FOLDER = "shards"
SHARD_CLIPS = 64
SHARD_BYTES = 128 << 20

# Wide numbers first, so that all are aligned.
_TENSORS = {
    "frame_times_seconds": ("F64", np.float64, 1),
    "samples": ("I16", np.int16, 1),
    "frames": ("U8", np.uint8, 4),
}


@dataclass(frozen=True, kw_only=True)
class ClipRecord:
    """A row of a shard's table.

    Attributes:
        file: absolute path of the source.
        label: its class, None if unknown.
        video_id: the source video; clips of one are never in two parts.
        piece: number of the piece in the file, from 0.
        is_last: whether the file holds no further piece.
        start_seconds, duration_seconds: of the piece in the file.
        first_frame, frame_count, first_sample, sample_count: where the clip is in the shard.
        first_sample_seconds: time of its first sample in the file.
        size_bytes, mtime_ns, file_digest: of the source, to know it again.
        content_digest: of frames and samples; equal clips have equal ones, however their files differ.
        silent_share: share of the time at which the sound stays below -60 dBFS.
        is_still: whether nothing moves, as in a song over its album art.
    """

    file: str
    label: str | None
    video_id: str
    piece: int
    is_last: bool
    start_seconds: float
    duration_seconds: float
    first_frame: int
    frame_count: int
    first_sample: int
    sample_count: int
    first_sample_seconds: float
    size_bytes: int
    mtime_ns: int
    file_digest: str
    content_digest: str
    silent_share: float
    is_still: bool


_RECORD_FIELDS = frozenset(field.name for field in dataclasses.fields(ClipRecord))


@dataclass(frozen=True, kw_only=True)
class ClipData:
    """A clip on its way to a shard; its record's ``first_frame`` and ``first_sample`` are set there."""

    record: ClipRecord
    frames: NDArray[np.uint8]
    frame_times_seconds: NDArray[np.float64]
    samples: NDArray[np.int16]

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in a shard."""
        return self.frames.nbytes + self.frame_times_seconds.nbytes + self.samples.nbytes


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A finished shard: its table, and where its tensors lie (first byte and shape)."""

    path: Path
    part: str
    records: tuple[ClipRecord, ...]
    layout: dict[str, tuple[int, tuple[int, ...]]]

    def map(self) -> dict[str, NDArray[Any]]:
        """Its tensors as read-only views of the file.

        Raises:
            AvolError: the file has gone.
        """
        try:
            data = np.asarray(np.memmap(self.path, np.uint8, "r"))
        except (OSError, ValueError) as error:
            raise AvolError(
                f"{self.path}: cannot be read ({error}); delete it and run avol data prepare again."
            ) from None
        views = {}
        for name, (first, shape) in self.layout.items():
            kind = np.dtype(_TENSORS[name][1])
            views[name] = data[first : first + kind.itemsize * int(np.prod(shape))].view(kind).reshape(shape)
        return views


def write_shard(folder: Path, part: str, clips: Sequence[ClipData]) -> Path:
    """Write a shard under its final name, complete.

    Args:
        folder: prepared.
        part: of all the clips.
        clips: at least one.

    Raises:
        AvolError: it cannot be written.
    """
    records, first_frame, first_sample = [], 0, 0
    for clip in clips:
        frames, samples = len(clip.frames), len(clip.samples)
        place = {
            "first_frame": first_frame,
            "frame_count": frames,
            "first_sample": first_sample,
            "sample_count": samples,
        }
        records.append(asdict(clip.record) | place)
        first_frame, first_sample = first_frame + frames, first_sample + samples
    identity = [(record["file"], record["piece"], record["content_digest"]) for record in records]
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    path = folder / SHARD_FOLDER / f"{part}-{name}.safetensors"
    metadata = {"format": FORMAT, "part": part, "clips": json.dumps(records)}
    write_file(path, _serialised(clips, metadata))
    return path


def _serialised(clips: Sequence[ClipData], metadata: dict[str, str]) -> Iterator[bytes | memoryview]:
    """A safetensors file as chunks: the library's own writer would hold every clip four times in memory."""
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, (kind, dtype, _) in _TENSORS.items():
        arrays = [getattr(clip, name) for clip in clips]
        assert all(array.dtype == dtype for array in arrays)
        start, end = end, end + sum(array.nbytes for array in arrays)
        shape = [sum(map(len, arrays)), *arrays[0].shape[1:]]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # which aligns the first tensor
    yield len(text).to_bytes(8, "little") + text
    for name in _TENSORS:
        for clip in clips:
            yield np.ascontiguousarray(getattr(clip, name)).data


def read_shards(folder: Path, settings: Settings, part: str | None = None) -> list[Shard]:
    """Tables of the finished shards, in order of name; a clip that two of them hold is listed once.

    Args:
        folder: prepared.
        settings: its settings.
        part: only of this part.

    Raises:
        AvolError: a shard is damaged, or of another folder.
    """
    if part is not None and part not in PARTS:
        raise ValueError(f"part is {part!r}, allowed is one of {', '.join(PARTS)}")
    shards, seen = [], set()
    for path in sorted((folder / SHARD_FOLDER).glob(f"{part or '*'}-*.safetensors")):
        if path.name.startswith("."):
            continue
        shard = _read_shard(path, settings)
        fresh = tuple(record for record in shard.records if (record.file, record.piece) not in seen)
        seen |= {(record.file, record.piece) for record in fresh}
        shards.append(dataclasses.replace(shard, records=fresh))
    return shards


def _read_shard(path: Path, settings: Settings) -> Shard:
    try:
        with safe_open(path, framework="np") as file:  # which checks that the header and the length agree
            metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT or metadata.get("part") not in PARTS:
            raise ValueError(f"its format is not {FORMAT!r}")
        layout = _read_layout(path)
        records = tuple(
            ClipRecord(**{name: row[name] for name in _RECORD_FIELDS}) for row in json.loads(metadata["clips"])
        )
        frames, samples = layout["frames"][1], layout["samples"][1][0]
        if frames[1:] != (settings.frame_side, settings.frame_side, 3):
            raise ValueError(f"its frames are {frames[1]} pixels wide, those of the folder {settings.frame_side}")
        ends = [(r.first_frame + r.frame_count, r.first_sample + r.sample_count) for r in records]
        if layout["frame_times_seconds"][1][0] != frames[0] or any(f > frames[0] or s > samples for f, s in ends):
            raise ValueError("its table and its tensors differ")
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise AvolError(f"{path}: a damaged shard ({error}); delete it and run avol data prepare again.") from None
    return Shard(path=path, part=metadata["part"], records=records, layout=layout)


def _read_layout(path: Path) -> dict[str, tuple[int, tuple[int, ...]]]:
    """First byte and shape of each tensor of a checked safetensors file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    layout = {}
    for name, (kind, _, axes) in _TENSORS.items():
        entry = header[name]
        if entry["dtype"] != kind or len(entry["shape"]) != axes:
            raise ValueError(f"its tensor {name} is {entry['dtype']} {entry['shape']}")
        layout[name] = (8 + length + int(entry["data_offsets"][0]), tuple(entry["shape"]))
    return layout
