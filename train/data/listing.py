"""Which files there are to prepare, what is known of each, and which of them are copies."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avol.runtime.errors import AvolError
from avol.runtime.media.suffixes import VIDEO_SUFFIXES
from avol.train.data.split import video_id_of

LABEL_LIST = "clips.csv"
DIGESTED_BYTES = 1 << 16  # at the beginning, the middle and the end of a file


@dataclass(frozen=True, kw_only=True)
class VideoFile:
    """A file as it was found: absolute path, its class if a list names one, its source video, size and time."""

    path: str
    label: str | None
    video_id: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Why a file gave no clip, or not all it should: a category in a word or two, and the details in a line."""

    file: str
    reason: str
    detail: str
    size_bytes: int = 0
    mtime_ns: int = 0


@dataclass
class Listing:
    """Everything found."""

    videos: list[VideoFile] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class Labels:
    """Rows of lists, by file: a path relative to its list, or a name alone where no such path exists."""

    def __init__(self) -> None:
        self._by_path: dict[str, tuple[str | None, str]] = {}
        self._by_name: dict[str, list[tuple[str, str | None, str]]] = {}
        self._read: set[Path] = set()

    def read(self, path: Path) -> None:
        """Add the rows of a list with the columns ``file`` and, both optional, ``label`` and ``video_id``.

        Raises:
            AvolError: it cannot be read, or has no column ``file``.
        """
        if (path := path.absolute()) in self._read:
            return
        self._read.add(path)
        for row in _rows(path):
            file, label = absolute(path.parent / row["file"]), row.get("label") or None
            video_id = row.get("video_id") or video_id_of(file)
            if os.path.lexists(file):
                known = self._by_path.get(file)
                # A clip with several classes has a row for each.
                several = known is not None and known[0] and label and label not in known[0].split("|")
                self._by_path[file] = (f"{known[0]}|{label}" if known and several else label, video_id)
            else:
                self._by_name.setdefault(Path(file).name, []).append((file, label, video_id))

    def of(self, file: str) -> tuple[str | None, str]:
        """Label and source video of a file."""
        if file in self._by_path:
            return self._by_path[file]
        rows = self._by_name.get(Path(file).name, [])
        if len(rows) == 1:
            return rows[0][1:]
        return None, video_id_of(file)

    def missing(self, found: Sequence[str]) -> Iterator[str]:
        """Files that a list names and that are nowhere."""
        names = {Path(file).name for file in found}
        for name, rows in self._by_name.items():
            if name not in names:
                yield from (file for file, _, _ in rows)


def list_videos(inputs: Sequence[Path], labels_path: Path | None = None) -> Listing:
    """Video files given, and those in folders, however deep, by suffix; hidden ones are passed over.

    Args:
        inputs: files, whatever they are called, and folders; a folder's ``clips.csv`` gives labels and source videos.
        labels_path: another such list.

    Raises:
        AvolError: an input does not exist, or a list cannot be read.
    """
    labels, listing, paths = Labels(), Listing(), dict[str, None]()
    if labels_path is not None:
        labels.read(labels_path)
    for given in inputs:
        if given.is_dir():
            paths |= dict.fromkeys(_walk(given, labels, listing))
        elif given.exists():
            paths[absolute(given)] = None
            if (beside := given.parent / LABEL_LIST).is_file() and labels_path is None:
                labels.read(beside)
        else:
            raise AvolError(f"{given}: no such file or folder; name videos or folders of videos.")
    for path in paths:
        try:
            status = Path(path).stat()
        except OSError as error:
            listing.problems.append(Problem(file=path, reason="unreadable", detail=error.strerror or str(error)))
            continue
        label, video_id = labels.of(path)
        listing.videos.append(
            VideoFile(path=path, label=label, video_id=video_id, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)
        )
    listing.problems += [
        Problem(file=file, reason="missing", detail="named in a list, not there")
        for file in labels.missing(list(paths))
    ]
    return listing


def absolute(path: str | Path) -> str:
    """A path as the identity of a file. Links are not followed: they may lead to files that are called by a hash."""
    return os.path.abspath(path)  # noqa: PTH100 (which drops "..", and does not ask the disk)


def digest_of(video: VideoFile) -> str:
    """Cheap hash of a file's content: its size, and some of its beginning, middle and end.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256(video.size_bytes.to_bytes(8, "big"))
    with open(video.path, "rb") as file:  # noqa: PTH123 (paths are text here)
        for start in sorted({0, max(0, video.size_bytes // 2), max(0, video.size_bytes - DIGESTED_BYTES)}):
            file.seek(start)
            digest.update(file.read(DIGESTED_BYTES))
    return digest.hexdigest()[:32]


def _walk(folder: Path, labels: Labels, listing: Listing) -> Iterator[str]:
    """Videos in a folder in order of their names; links to folders are followed once."""

    def report(error: OSError) -> None:
        name = absolute(str(error.filename))
        listing.problems.append(Problem(file=name, reason="unreadable", detail=error.strerror or str(error)))

    entered: set[str] = set()
    for root, folders, files in os.walk(folder, onerror=report, followlinks=True):
        if (real := os.path.realpath(root)) in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if LABEL_LIST in files:
            labels.read(Path(root, LABEL_LIST))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES:
                yield absolute(Path(root, name))


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise AvolError(f"{path}: no such list; name a CSV file with the columns file, label, video_id.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AvolError(f"{path}: not a readable list ({error}); save it as CSV in UTF-8.") from None
    if rows and "file" not in rows[0]:
        raise AvolError(f"{path}: has no column file; add it (columns: file, label, video_id).")
    return [row for row in rows if row["file"]]
