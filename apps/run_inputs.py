"""Which videos a command line means, and under which names their results go."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avol.runtime.errors import AvolError
from avol.runtime.media.suffixes import VIDEO_SUFFIXES

RESULT_MARK = ".avol"  # clip.avol.mp4, clip.avol.json: what avol wrote is no input
GLOB_SIGNS = "*?["


@dataclass(frozen=True)
class Input:
    """A video, and its folder below the one that was named (empty for a file that was named itself)."""

    video: Path
    below: Path = Path()


@dataclass
class Inputs:
    """What was found, in order, each file once, and how many results of avol were passed over."""

    inputs: list[Input] = field(default_factory=list)
    results_passed_over: int = 0


def find_videos(
    names: Sequence[Path],
    *,
    recursive: bool = False,
    suffixes: frozenset[str] = VIDEO_SUFFIXES,
    kind: str = "videos",
) -> Inputs:
    """The videos, or files of another ``kind`` with other ``suffixes``, that files, folders and patterns stand for.

    A folder gives those in it by their suffix, hidden ones not, with ``recursive`` those below as well. A name
    with ``*``, ``?`` or ``[`` that no file has is a pattern (for shells that expand none). A file that is missing
    stays in the list: it fails alone, when its turn comes.

    Raises:
        AvolError: a folder cannot be read, or a folder, a pattern or everything together gives no video.
    """
    found, seen = Inputs(), set()
    for name in names:
        for entry in _videos_of(name, suffixes, kind, recursive=recursive):
            identity = os.path.realpath(entry.video)
            if identity in seen:
                continue
            seen.add(identity)
            if is_result(entry.video):
                found.results_passed_over += 1
            else:
                found.inputs.append(entry)
    if not found.inputs:
        raise AvolError(f"{names[0]}: holds nothing but results of avol; name the {kind} that they were made from.")
    return found


def is_result(path: Path) -> bool:
    """Whether a name is one that avol gives its results."""
    return Path(path.stem).suffix == RESULT_MARK


def result_path(entry: Input, output_dir: Path | None, suffix: str) -> Path:
    """``clip.mp4`` gives ``clip.avol`` and the suffix, beside it or as deep in ``output_dir`` as it was found."""
    folder = entry.video.parent if output_dir is None else output_dir / entry.below
    return folder / f"{entry.video.stem}{RESULT_MARK}{suffix}"


def refuse_collisions(results: dict[Path, Sequence[Path]]) -> None:
    """Stop before anything runs when two videos' results would have one name, or a result an input's.

    Args:
        results: by video, what will be written for it.

    Raises:
        AvolError: two would collide.
    """
    owners: dict[str, Path] = {os.path.realpath(video): video for video in results}
    for video, paths in results.items():
        for path in paths:
            owner = owners.setdefault(os.path.realpath(path), video)
            if owner is not video or os.path.realpath(path) == os.path.realpath(video):
                raise AvolError(
                    f"{path}: would be written for {video} and for {owner}; run them one by one, with another "
                    "--output-dir."
                    if owner is not video
                    else f"{path}: is the input; choose another name for the result."
                )


def _videos_of(name: Path, suffixes: frozenset[str], kind: str, *, recursive: bool) -> Iterator[Input]:
    # os.path never raises: a name too long for the file system is left for opening it to report.
    if os.path.isdir(name):  # noqa: PTH112
        entries = list(_videos_in(name, suffixes, recursive=recursive))
        if not entries:
            below = "" if recursive else "; --recursive looks in the folders below as well"
            raise AvolError(f"{name}: no {kind} in this folder ({', '.join(sorted(suffixes))}){below}.")
        yield from entries
    elif any(sign in str(name) for sign in GLOB_SIGNS) and not os.path.exists(name):  # noqa: PTH110
        matches = [Path(match) for match in sorted(glob.glob(str(name), recursive=True))]  # noqa: PTH207 (absolute ones)
        files = [match for match in matches if not match.is_dir()]
        if not files:
            raise AvolError(f"{name}: no file has a name like this; check the pattern.")
        yield from map(Input, files)
    else:
        yield Input(name)


def _videos_in(folder: Path, suffixes: frozenset[str], *, recursive: bool) -> Iterator[Input]:
    def refuse(error: OSError) -> None:
        raise AvolError(f"{error.filename}: cannot be read: {error.strerror}; change its permissions or leave it out.")

    for root, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if recursive else []
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes:
                yield Input(Path(root) / name, Path(root).relative_to(folder))
