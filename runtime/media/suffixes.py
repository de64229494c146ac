"""Endings of file names by which a folder's videos are known; a file that is named needs none of them."""

from __future__ import annotations

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "mts", "m2ts"),
        *("flv", "wmv", "3gp", "ogv", "vob", "mxf"),
    )
)
