"""Endings of file names by which media in a folder are known; a file that is named needs none of them."""

from __future__ import annotations

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "mts", "m2ts"),
        *("flv", "wmv", "3gp", "ogv", "vob", "mxf"),
    )
)
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
SOUND_SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus", ".aac"})
MEDIA_SUFFIXES = VIDEO_SUFFIXES | PICTURE_SUFFIXES | SOUND_SUFFIXES
