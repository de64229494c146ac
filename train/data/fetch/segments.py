"""Lists of segments of web videos: AudioSet's, VGGSound's, and a plain one of one's own."""

from __future__ import annotations

import base64
import csv
import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from avol.runtime.errors import AvolError

OWN_COLUMNS = "video_id or url, start_seconds, end_seconds, label"
VGGSOUND_SECONDS = 10.0  # of every clip; its list names starts only
LONGEST_SECONDS = 600.0
VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{11}")
WEB_ADDRESS = re.compile(r"https?://\S+")
WATCH_PAGE = "https://www.youtube.com/watch?v="

# The 25 classes of AudioSet-Instruments, by AudioSet's display names.
AUDIOSET_INSTRUMENTS = (
    *("Accordion", "Acoustic guitar", "Banjo", "Bass guitar", "Cello", "Clarinet", "Cymbal", "Double bass"),
    *("Drum kit", "Electric guitar", "Flute", "French horn", "Harmonica", "Harp", "Mandolin"),
    *("Marimba, xylophone", "Organ", "Piano", "Saxophone", "Sitar", "Tabla", "Trombone", "Trumpet", "Ukulele"),
    "Violin, fiddle",
)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Some seconds of a web video.

    Attributes:
        video_id: eleven characters: YouTube's, or a hash of the address.
        url: where it is.
        start_seconds, end_seconds: in the video.
        labels: what sounds; may be empty.
    """

    video_id: str
    url: str
    start_seconds: float
    end_seconds: float
    labels: tuple[str, ...]

    @property
    def file_name(self) -> str:
        """Of the clip; says which video and which seconds, as :func:`avol.train.data.split.video_id_of` reads it."""
        return f"{self.video_id}_{self.start_seconds:.3f}_{self.end_seconds:.3f}.mp4"


def read_segments(path: Path, *, class_names: Path | None = None) -> list[Segment]:
    """Read a list, whichever of the three kinds it is; a segment named twice is one with all its labels.

    - AudioSet: comment lines with ``#``; rows of video, start, end and quoted class identifiers (``/m/...``).
    - VGGSound: no header; rows of video, start, label, part.
    - One's own: a header with the columns ``video_id`` or ``url``, ``start_seconds``, ``end_seconds`` and, if known,
      ``label``.

    Args:
        path: CSV in UTF-8.
        class_names: AudioSet's ``class_labels_indices.csv``, which turns identifiers into names.

    Raises:
        AvolError: a list cannot be read, is of no known kind, or a row is wrong (the line is named).
    """
    rows = _rows(path)
    if not rows:
        raise AvolError(f"{path}: holds no segments; give a list with the columns {OWN_COLUMNS}.")
    names = {} if class_names is None else read_class_names(class_names)
    first = [cell.lower() for cell in rows[0][1]]
    if "start_seconds" in first and not WEB_ADDRESS.match(rows[0][1][0]):
        segments = _own(path, rows)
    elif len(first) >= 4 and _number(first[2]) is not None:
        segments = [
            _segment(path, line, r[0], r[1], r[2], [names.get(m, m) for m in _identifiers(r[3:])]) for line, r in rows
        ]
    elif len(first) == 4:
        segments = [_segment(path, line, r[0], r[1], None, [r[2]]) for line, r in _of_length(path, rows, 4)]
    else:
        raise AvolError(f"{path}: neither a list of AudioSet or VGGSound nor one with the columns {OWN_COLUMNS}.")
    return _merged(segments)


def read_class_names(path: Path) -> dict[str, str]:
    """AudioSet's class identifiers to display names.

    Raises:
        AvolError: it is no such list.
    """
    rows = _rows(path)
    if not rows or [cell.lower() for cell in rows[0][1]] != ["index", "mid", "display_name"]:
        raise AvolError(f"{path}: not AudioSet's class list (columns index, mid, display_name).")
    return {row[1]: row[2] for _, row in _of_length(path, rows[1:], 3)}


def with_classes(segments: Iterable[Segment], classes: Sequence[str]) -> list[Segment]:
    """Those with one of the classes (any case), labels of other classes left out.

    Raises:
        AvolError: no segment has one of them.
    """
    wanted = {name.casefold() for name in classes}
    found = []
    for segment in segments:
        labels = tuple(label for label in segment.labels if label.casefold() in wanted)
        if labels:
            found.append(_relabelled(segment, labels))
    if not found:
        raise AvolError(f"--class {classes[0]}: no segment of the list has one of the classes; look how it names them.")
    return found


def _relabelled(segment: Segment, labels: Iterable[str]) -> Segment:
    return Segment(
        video_id=segment.video_id,
        url=segment.url,
        start_seconds=segment.start_seconds,
        end_seconds=segment.end_seconds,
        labels=tuple(dict.fromkeys(labels)),
    )


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Rows with their line numbers, without comments and empty ones, cells stripped."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise AvolError(f"{path}: cannot be read: {error.strerror}; name a CSV file.") from None
    except UnicodeDecodeError:
        raise AvolError(f"{path}: not text in UTF-8; save the list as CSV in UTF-8.") from None
    lines = text.splitlines()
    kept = [
        (number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith("#")
    ]
    try:
        table = list(csv.reader((line for _, line in kept), skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise AvolError(f"{path}: not a list that can be read ({error}); save it as CSV.") from None
    if len(table) != len(kept):
        raise AvolError(f"{path}: a quoted cell goes over several lines; save the list as plain CSV.")
    return [(number, [cell.strip() for cell in row]) for (number, _), row in zip(kept, table, strict=True)]


def _of_length(path: Path, rows: Sequence[tuple[int, list[str]]], length: int) -> list[tuple[int, list[str]]]:
    for line, row in rows:
        if len(row) != length:
            raise AvolError(f"{path}, line {line}: has {len(row)} cells, expected {length}; mend or remove it.")
    return list(rows)


def _own(path: Path, rows: list[tuple[int, list[str]]]) -> list[Segment]:
    header = [cell.lower() for cell in rows[0][1]]
    where = next((name for name in ("url", "video_id") if name in header), None)
    if where is None or "end_seconds" not in header:
        raise AvolError(f"{path}: lacks columns; its header must have {OWN_COLUMNS}.")
    segments = []
    for line, row in _of_length(path, rows[1:], len(header)):
        cells = dict(zip(header, row, strict=True))
        place = cells[where] or cells.get("video_id", "")
        label = cells.get("label", "")
        labels = [label] if label else []
        segments.append(_segment(path, line, place, cells["start_seconds"], cells["end_seconds"], labels))
    if not segments:
        raise AvolError(f"{path}: holds no segments below its header; add rows.")
    return segments


def _segment(path: Path, line: int, place: str, start: str, end: str | None, labels: Iterable[str]) -> Segment:
    start_seconds = _number(start)
    end_seconds = None if start_seconds is None else start_seconds + VGGSOUND_SECONDS if end is None else _number(end)
    if start_seconds is None or end_seconds is None or not 0 <= start_seconds < end_seconds:
        raise AvolError(f"{path}, line {line}: not a stretch of time: from {start} to {end} s; mend or remove it.")
    if end_seconds - start_seconds > LONGEST_SECONDS:
        raise AvolError(f"{path}, line {line}: longer than {LONGEST_SECONDS:g} s; cut it into several.")
    if WEB_ADDRESS.fullmatch(place):
        video_id, url = _id_of(place), place
    elif VIDEO_ID.fullmatch(place):
        video_id, url = place, WATCH_PAGE + place
    else:
        raise AvolError(f"{path}, line {line}: {place[:80]!r} is neither a video's eleven characters nor an address.")
    return Segment(
        video_id=video_id,
        url=url,
        start_seconds=start_seconds,
        end_seconds=end_seconds,
        labels=tuple(dict.fromkeys(label for label in labels if label)),
    )


def _id_of(url: str) -> str:
    """Eleven characters for any address; for one of YouTube its own."""
    watched = re.search(r"(?:youtube\.com/watch\?(?:\S*&)?v=|youtu\.be/)([A-Za-z0-9_-]{11})(?![A-Za-z0-9_-])", url)
    if watched:
        return watched[1]
    return base64.urlsafe_b64encode(hashlib.sha256(url.encode()).digest()[:8]).decode().rstrip("=")


def _merged(segments: Iterable[Segment]) -> list[Segment]:
    """One segment per file, in the order of the list, with the labels of all its rows."""
    merged: dict[str, Segment] = {}
    for segment in segments:
        known = merged.get(segment.file_name)
        merged[segment.file_name] = segment if known is None else _relabelled(known, (*known.labels, *segment.labels))
    return list(merged.values())


def _identifiers(cells: Sequence[str]) -> list[str]:
    """Class identifiers, whether the list's quotes were kept or not."""
    return [identifier for cell in cells for identifier in cell.strip('"').split(",") if identifier]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
