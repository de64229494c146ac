"""Read the labelled material (lists in CSV, layout in the docstring of :func:`load_material`) into memory, small."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from avol.runtime.errors import AvolError
from avol.runtime.media.audio import AudioReader
from avol.runtime.media.source import open_source
from avol.runtime.media.video import VideoReader
from avol.runtime.spec import ModelSpec
from avol.train.data.cutouts import foreground_mask
from avol.train.data.prepare_settings import frame_side
from avol.train.data.split import PARTS

PHOTOGRAPH_SHARE = 1.375  # side in memory as a multiple of the network's frame: room to crop and turn
CLIP_FRAMES_PER_SECOND = 3.0
CLIP_COLUMNS = ("video_id", "source_visible", "box_time_s", "box_x0y0x1y1_norm")

Box = tuple[float, float, float, float]
Row = dict[str, str]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Photograph:
    """One object: uint8 ``H x W x 3`` RGB in its own aspect; ``mask`` float32 ``H x W`` if it can be cut out."""

    label: str
    file: str
    pixels: NDArray[np.uint8]
    mask: NDArray[np.float32] | None


@dataclass(frozen=True, kw_only=True)
class Sound:
    """One recording: int16 mono at the model's rate."""

    label: str
    file: str
    samples: NDArray[np.int16]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One real clip: frames uint8 ``T x S x S x 3`` squashed to the square, their times, int16 mono sound."""

    label: str
    file: str
    video_id: str
    source_visible: bool
    frames: NDArray[np.uint8]
    times_seconds: NDArray[np.float64]
    samples: NDArray[np.int16]
    boxes: list[Box]
    box_time_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Material:
    """Everything of one split."""

    photographs: list[Photograph]
    sounds: list[Sound]
    clips: list[Clip]


def load_material(folder: Path, *, part: str, spec: ModelSpec, validation_share: float = 0.1) -> Material:
    """Load one part of the labelled material.

    Args:
        folder: holds the lists ``images.csv``, ``audio.csv``, ``videos.csv`` beside the folders ``images``, ``audio``,
            ``videos``. Columns of all: ``file`` (inside that folder), ``class``, ``split`` (``train``, ``validation``
            or ``test``; empty means ``train``). Of ``videos.csv`` as well: ``video_id`` (clips of one id stay
            together), ``source_visible`` (``no``: the source is out of view), ``box_time_s`` and
            ``box_x0y0x1y1_norm`` (both may be empty; fractions of the frame, several boxes joined by ``|``).
        part: ``train``, ``validation`` (taken out of the train split by hash of the source, and
            what the list says) or ``test``.
        spec: of the network: sizes of pictures and the rate of sounds in memory follow it.
        validation_share: share of the train split's sources that validation takes.

    Raises:
        AvolError: a list is missing or malformed, or a file in it cannot be read.
    """
    belongs = _part_filter(part, validation_share)
    photographs = _read_rows(folder / "images.csv", belongs, "file", ())
    sounds = _read_rows(folder / "audio.csv", belongs, "file", ())
    clips = _read_rows(folder / "videos.csv", belongs, "video_id", CLIP_COLUMNS)
    return Material(
        photographs=_in_parallel(
            lambda row: _read_photograph(folder, row, round(PHOTOGRAPH_SHARE * spec.frame_height)), photographs
        ),
        sounds=_in_parallel(lambda row: _read_sound(folder, row, spec.spectrogram.sample_rate_hz), sounds),
        clips=_in_parallel(lambda row: _read_clip(folder, row, spec), clips),
    )


def load_together(folders: Sequence[Path], *, part: str, spec: ModelSpec) -> Material:
    """The material of several labelled folders."""
    parts = [load_material(folder, part=part, spec=spec) for folder in folders]
    return Material(
        photographs=[photograph for material in parts for photograph in material.photographs],
        sounds=[sound for material in parts for sound in material.sounds],
        clips=[clip for material in parts for clip in material.clips],
    )


def _part_filter(part: str, validation_share: float) -> Callable[[Row, str], bool]:
    """Test rows by their split column, validation by a hash of the source: adding files moves nobody."""
    if part not in PARTS:
        raise ValueError(f"part is {part!r}, allowed is one of {', '.join(PARTS)}")

    def belongs(row: Row, key: str) -> bool:
        if row["split"] in ("test", "validation") or part == "test":
            return row["split"] == part
        digest = hashlib.sha256((row[key] or row["file"]).encode()).digest()
        is_validation = int.from_bytes(digest[:4], "big") < validation_share * 2**32
        return is_validation == (part == "validation")

    return belongs


def _read_rows(path: Path, belongs: Callable[[Row, str], bool], key: str, columns: tuple[str, ...]) -> list[Row]:
    """The rows that belong to the part; ``columns`` are needed besides ``file``, ``class`` and ``split``."""
    if not path.is_file():
        raise AvolError(
            f"{path}: no such list; name a folder that holds images.csv, audio.csv and videos.csv, or one that avol "
            "data prepare has made of videos."
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets write a mark before the header
            rows = list(csv.DictReader(file, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AvolError(f"{path}: not a readable list ({error}); save it as CSV in UTF-8.") from None
    if missing := [name for name in ("file", "class", "split", *columns) if rows and name not in rows[0]]:
        raise AvolError(f"{path}: has no column {', '.join(missing)}; add it.")
    if odd := [row for row in rows if row["split"] not in ("", *PARTS)]:
        raise AvolError(
            f"{path}: the split of {odd[0]['file']} is {odd[0]['split']!r}; write one of {', '.join(PARTS)}."
        )
    return [row for row in rows if belongs(row, key)]


def _in_parallel(read: Callable[[Row], T], rows: list[Row]) -> list[T]:
    with ThreadPoolExecutor() as pool:
        return list(pool.map(read, rows))


def _read_photograph(folder: Path, row: Row, longer_side: int) -> Photograph:
    path = folder / "images" / row["file"]
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise AvolError(f"{path}: not a readable picture; restore it or take it out of images.csv.")
    height, width = pixels.shape[:2]
    zoom = longer_side / max(height, width)
    size = (max(8, round(width * zoom)), max(8, round(height * zoom)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
    rgb = np.ascontiguousarray(small[:, :, ::-1], dtype=np.uint8)
    return Photograph(label=row["class"], file=row["file"], pixels=rgb, mask=foreground_mask(rgb))


def _read_sound(folder: Path, row: Row, sample_rate_hz: int) -> Sound:
    samples = _read_samples(folder / "audio" / row["file"], sample_rate_hz)
    return Sound(label=row["class"], file=row["file"], samples=samples)


def _read_clip(folder: Path, row: Row, spec: ModelSpec) -> Clip:
    path = folder / "videos" / row["file"]
    try:
        boxes = list(parse_boxes(row["box_x0y0x1y1_norm"]))
        box_time_seconds = float(row["box_time_s"]) if row["box_time_s"] else None
    except ValueError as error:
        raise AvolError(f"{folder / 'videos.csv'}: box of {row['file']}: {error}; write x0,y0,x1,y1.") from None
    source = open_source(path)
    side = frame_side(spec)
    with VideoReader(source, frame_height=side, frame_width=side, rate_hz=CLIP_FRAMES_PER_SECOND) as reader:
        kept = [(frame.time_seconds, frame.pixels) for frame in reader if frame.pixels is not None]
    return Clip(
        label=row["class"],
        file=row["file"],
        video_id=row["video_id"],
        source_visible=row["source_visible"] != "no",
        frames=np.stack([pixels for _, pixels in kept]),
        times_seconds=np.array([time for time, _ in kept]),
        samples=_read_samples(path, spec.spectrogram.sample_rate_hz, zero_seconds=source.zero_seconds),
        boxes=boxes,
        box_time_seconds=box_time_seconds,
    )


def parse_boxes(text: str) -> Iterator[Box]:
    """Boxes of the list: ``x0,y0,x1,y1`` as fractions of the frame, several joined by ``|``."""
    for part in filter(None, text.split("|")):
        x0, y0, x1, y1 = map(float, part.split(","))
        yield x0, y0, x1, y1


def _read_samples(path: Path, sample_rate_hz: int, *, zero_seconds: float = 0.0) -> NDArray[np.int16]:
    with AudioReader(path, sample_rate_hz=sample_rate_hz, zero_seconds=zero_seconds) as reader:
        chunks = list(reader)
    samples = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
    return (samples * 32767).astype(np.int16)
