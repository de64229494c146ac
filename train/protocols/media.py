"""Find the media that annotations name, in whatever way the folder's files are called."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from avol.runtime.errors import AvolError
from avol.runtime.media.suffixes import MEDIA_SUFFIXES, PICTURE_SUFFIXES, SOUND_SUFFIXES, VIDEO_SUFFIXES

# ID_START, ID_START_END; seconds, padded or not, with or without decimals, or milliseconds of a ten-second clip.
_FETCHED = re.compile(r"(?P<id>[A-Za-z0-9_-]{11})_(?P<start>\d+(?:\.\d+)?)(?:_(?P<end>\d+(?:\.\d+)?))?")
CLIP_MILLISECONDS = 10_000


@dataclass(frozen=True)
class Media:
    """A video, or a still picture with a sound beside it; or one of them alone."""

    video: Path | None = None
    picture: Path | None = None
    sound: Path | None = None


class MediaFolder:
    """The files of a folder, however deep, by name; hidden ones are passed over.

    A key finds, in this order: the file of that relative path; files of that stem (a video, else a picture and a
    sound); for a key ``VIDEO_SECONDS``, the clip of that video which starts then, under any usual name; for the bare
    identifier of a web video, its only clip.

    Raises:
        AvolError: there is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise AvolError(f"{folder}: no such folder; name the one that holds the media with --media.")
        self.folder = folder
        self._by_stem: dict[str, list[Path]] = {}
        self._by_clip: dict[tuple[str, float], set[str]] = {}
        self._by_video: dict[str, set[str]] = {}
        for path in _files(folder):
            self._add(path)

    def find(self, key: str) -> Media | str:
        """The media of a key, or why there is none."""
        exact = self.folder / key
        if exact.suffix.lower() in VIDEO_SUFFIXES | SOUND_SUFFIXES and _is_inside(exact, self.folder):
            return Media(video=exact) if exact.suffix.lower() in VIDEO_SUFFIXES else Media(sound=exact)
        stem = Path(key).stem if Path(key).suffix.lower() in MEDIA_SUFFIXES else key
        if stem in self._by_stem:
            return _choose(self._by_stem[stem])
        clip = _clip_of(stem)
        stems = self._by_video.get(stem, set()) if clip is None else self._by_clip.get(clip, set())
        if len(stems) > 1:
            return f"several files: {', '.join(sorted(stems)[:3])}"
        return _choose(self._by_stem[next(iter(stems))]) if stems else "no such file"

    def _add(self, path: Path) -> None:
        stem = path.stem
        self._by_stem.setdefault(stem, []).append(path)
        if clip := _clip_of(stem):
            self._by_clip.setdefault(clip, set()).add(stem)
            self._by_video.setdefault(clip[0], set()).add(stem)


def _files(folder: Path) -> list[Path]:
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = (Path(place) / name for name in sorted(names) if not name.startswith("."))
        found += [path for path in visible if path.suffix.lower() in MEDIA_SUFFIXES]
    return found


def _choose(paths: list[Path]) -> Media | str:
    """What files of one stem are together."""

    def of(suffixes: frozenset[str]) -> list[Path]:
        return [path for path in paths if path.suffix.lower() in suffixes]

    for kind in (VIDEO_SUFFIXES, PICTURE_SUFFIXES, SOUND_SUFFIXES):
        if len(alike := of(kind)) > 1:
            return f"several files: {', '.join(path.name for path in alike[:3])}"
    if videos := of(VIDEO_SUFFIXES):
        return Media(video=videos[0])
    pictures, sounds = of(PICTURE_SUFFIXES), of(SOUND_SUFFIXES)
    return Media(picture=pictures[0] if pictures else None, sound=sounds[0] if sounds else None)


def _clip_of(stem: str) -> tuple[str, float] | None:
    """Identifier and start in seconds of a clip that was cut out of a web video."""
    match = _FETCHED.fullmatch(stem)
    if match is None:
        return None
    start, end = float(match["start"]), float(match["end"] or 0)
    if end - start == CLIP_MILLISECONDS:
        start /= 1000
    return match["id"], start


def _is_inside(path: Path, folder: Path) -> bool:
    """Whether a file is there, and in the folder: a key such as ``../other.mp4`` leads nowhere."""
    return ".." not in path.relative_to(folder).parts and path.is_file() if path.is_relative_to(folder) else False
