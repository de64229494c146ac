"""Which sounds of a list are ESC-10's, and in which of its five folds."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from avol.runtime.errors import AvolError

CLIPS, CLASSES = 400, 10
# FOLD-RECORDING-TAKE, in ESC-50 with the number of the class behind it; a prefix is of whoever copied the file.
_ORIGINAL = re.compile(r"(?:.*_)?([1-5])-(\d+)-([A-Z])(?:-\d+)?")
_FILE, _CLASS = ("file", "filename"), ("class", "category")


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A sound of ESC-10.

    Attributes:
        key: names the file, see :class:`avol.train.protocols.media.MediaFolder`.
        label: its class.
        fold: 1 to 5, the first digit of its original name.
        recording: number of the recording it was cut out of; all clips of one are in one fold.
        part: ``train`` or ``test`` where the list says so, else empty.
    """

    key: str
    label: str
    fold: int
    recording: str
    part: str = ""


@dataclass(frozen=True, kw_only=True)
class ClipList:
    """What a list holds.

    Attributes:
        path: of the list.
        sha256: of its bytes.
        clips: of ESC-10, in the order of the list.
        others: how many of its rows are something else.
    """

    path: Path
    sha256: str
    clips: list[Clip]
    others: int


def read_clips(path: Path) -> ClipList:
    """Read a CSV list whose rows name sounds, ESC-10's among them.

    Columns: ``file`` (or ``filename``), ``class`` (or ``category``), and, where there are such, ``path`` with the
    original name if the file has another one, ``split``, and ``esc10``, which tells ESC-10 from the rest of ESC-50.
    Source: Piczak, *ESC: Dataset for Environmental Sound Classification*, ACM Multimedia 2015.

    Raises:
        AvolError: it cannot be read, lacks a column, or names no clip, a clip twice, or more than ten classes.
    """
    try:
        content = path.read_bytes()
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), restval="", strict=True)
        rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AvolError(f"{path}: not a readable list ({error}); save it as CSV in UTF-8.") from None
    names = reader.fieldnames or []
    columns = [next((name for name in wanted if name in names), None) for wanted in (_FILE, _CLASS)]
    if None in columns:
        raise AvolError(f"{path}: lacks the columns file and class; give a list of sounds, or esc50.csv of ESC-50.")
    clips: dict[str, Clip] = {}
    for row in rows:
        original = PurePosixPath(row.get("path") or row[str(columns[0])]).stem
        match = _ORIGINAL.fullmatch(original)
        if match is None or (row.get("esc10") or "True").lower() != "true":
            continue
        name = "-".join(match.groups())
        if name in clips:
            raise AvolError(f"{path}: {name} is there twice; keep one of them.")
        clips[name] = Clip(
            key=row[str(columns[0])],
            label=row[str(columns[1])],
            fold=int(match[1]),
            recording=match[2],
            part=row.get("split") or "",
        )
    if not clips:
        raise AvolError(
            f"{path}: names no clip of ESC-10 (such as 1-100032-A); give a list that has their original names."
        )
    labels = {clip.label for clip in clips.values()}
    if len(labels) > CLASSES:
        raise AvolError(f"{path}: its clips have {len(labels)} classes, ESC-10 has ten; leave the others out.")
    digest = hashlib.sha256(content).hexdigest()
    return ClipList(path=path, sha256=digest, clips=list(clips.values()), others=len(rows) - len(clips))
