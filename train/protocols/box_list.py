"""Boxes in a CSV list: the format for one's own annotations.

Columns, in any order, named in the first line:

``file``
    the media: a path inside the folder of media, or a name without suffix.
``time_seconds``
    of the picture, from the start of the media; empty for its middle (a still picture has no time).
``x0``, ``y0``, ``x1``, ``y1``
    left, top, right and bottom edge as fractions of the frame.
``class``, ``video_id``
    optional: what it is; clips of one video count as one where intervals are computed (default: by the file's name).
``source``
    optional: tells two sources in one picture apart.
``sound``, ``sound_seconds``
    optional: a media file whose sound this source makes, instead of the picture's own, and when in it (default: its
    middle). Two sources of one picture with a sound each are asked for one after the other.

A line is a box; lines of one ``file``, ``time_seconds`` and ``source`` are boxes of one source.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from pathlib import Path

from avol.runtime.errors import AvolError
from avol.train.data.split import video_id_of
from avol.train.metrics import Box
from avol.train.protocols.samples import AnnotatedSample, Annotations, Source

EDGES = ("x0", "y0", "x1", "y1")
REQUIRED = ("file", "time_seconds", *EDGES)
OPTIONAL = ("class", "video_id", "source", "sound", "sound_seconds")
MOST_SOURCES = 2

Row = dict[str, str]


def read_box_list(path: Path) -> Annotations:
    """Read a list of boxes.

    Raises:
        AvolError: it cannot be read, lacks a column, or a line is malformed.
    """
    rows, digest = _read_rows(path)
    pictures: dict[tuple[str, str], dict[str, list[tuple[int, Row]]]] = {}
    for line, row in rows:
        picture = pictures.setdefault((row["file"], row["time_seconds"]), {})
        picture.setdefault(row["source"], []).append((line, row))
    samples = []
    for (file, time), by_source in pictures.items():
        lines = [item for items in by_source.values() for item in items]
        where = f"{path}: line {lines[0][0]}"
        if len(by_source) > MOST_SOURCES:
            raise AvolError(f"{where}: {file} has {len(by_source)} sources at one time; keep two at most.")
        samples.append(
            AnnotatedSample(
                key=file,
                time_seconds=_seconds(time, where),
                sources=tuple(_source(path, items) for items in by_source.values()),
                group=_one(lines, "video_id", where) or video_id_of(file),
            )
        )
    return Annotations(protocol="", path=path, sha256=digest, samples=samples)


def _read_rows(path: Path) -> tuple[list[tuple[int, Row]], str]:
    """Rows with the numbers of their lines, absent columns empty; and the hash of the file."""
    try:
        content = path.read_bytes()
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), restval="", strict=True)
        rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AvolError(f"{path}: not a readable list ({error}); save it as CSV in UTF-8.") from None
    names = reader.fieldnames or []
    if missing := [name for name in REQUIRED if name not in names]:
        raise AvolError(f"{path}: has no column {', '.join(missing)}; name them in the first line.")
    if twice := [name for name in (*REQUIRED, *OPTIONAL) if names.count(name) > 1]:
        raise AvolError(f"{path}: has the column {twice[0]} twice; keep one.")
    for line, row in rows:
        if None in row or not row["file"]:
            raise AvolError(f"{path}: line {line} has more fields than columns, or no file; mend it.")
    kept = [(line, {name: row.get(name, "").strip() for name in (*REQUIRED, *OPTIONAL)}) for line, row in rows]
    return kept, hashlib.sha256(content).hexdigest()


def _source(path: Path, lines: list[tuple[int, Row]]) -> Source:
    where = f"{path}: line {lines[0][0]}"
    boxes = [_box(row, f"{path}: line {line}") for line, row in lines]
    if len(set(boxes)) < len(boxes):
        raise AvolError(f"{where}: the same box is there twice; keep one line.")
    return Source(
        boxes=tuple(boxes),
        label=_one(lines, "class", where),
        sound_key=_one(lines, "sound", where) or None,
        sound_seconds=_seconds(_one(lines, "sound_seconds", where), where),
    )


def _box(row: Row, where: str) -> Box:
    try:
        x0, y0, x1, y1 = (float(row[name]) for name in EDGES)
    except ValueError:
        raise AvolError(f"{where}: x0, y0, x1, y1 are not four numbers; mend it.") from None
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):  # also of NaN
        raise AvolError(
            f"{where}: the box {x0:g},{y0:g},{x1:g},{y1:g} is not inside the frame; write fractions of the frame, "
            "0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1."
        )
    return x0, y0, x1, y1


def _seconds(text: str, where: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise AvolError(f"{where}: the time {text[:40]!r} is not a number of seconds from 0 on; mend it.")
    return seconds


def _one(lines: list[tuple[int, Row]], name: str, where: str) -> str:
    """The value that all lines of a source or picture agree on."""
    values = {row[name] for _, row in lines}
    if len(values) > 1:
        raise AvolError(f"{where}: {name} differs between lines that belong together; make them agree.")
    return values.pop()
