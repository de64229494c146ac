"""Which files are results of avol: a rerun replaces those, and nothing else."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

import av

from avol.runtime.errors import AvolError
from avol.runtime.timeline_formats import CSV_COLUMNS, FORMATS

MADE_BY = "made by avol"  # the comment in videos
HEAD_BYTES = 4096
TIMELINE_MARK = b'"format": "avol.timeline/'


def refuse_foreign(paths: Iterable[Path]) -> None:
    """See to it that no file is replaced that avol did not write.

    Args:
        paths: where results will be written; folders and such are left for writing to refuse.

    Raises:
        AvolError: one of them is another file.
    """
    for path in paths:
        if os.path.isfile(path) and not is_own(path):  # noqa: PTH113 (a name too long is left for writing to refuse)
            raise AvolError(
                f"{path}: is there already and is no result of avol; move it away, or choose another --output-dir."
            )


def is_own(path: Path) -> bool:
    """Whether avol wrote a file: by what is in it, or by the timeline beside it."""
    if path.suffix.removeprefix(".") in FORMATS:
        return _is_timeline(path)
    if any(_is_timeline(path.with_suffix(f".{format}")) for format in FORMATS):
        return True  # pictures, and videos of versions that wrote no comment
    with contextlib.suppress(av.FFmpegError, OSError), av.open(str(path.absolute())) as container:
        return container.metadata.get("comment", "") == MADE_BY
    return False


def _is_timeline(path: Path) -> bool:
    try:
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                return "head.npy" in archive.namelist()
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except (OSError, zipfile.BadZipFile):
        return False
    if path.suffix == ".csv":
        return head.startswith(",".join(CSV_COLUMNS).encode())
    return TIMELINE_MARK in head
