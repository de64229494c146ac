"""From videos to prepared clips (:mod:`avol.train.data.shards`): in parallel, resumable, nothing replaced silently."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from avol.runtime.atomic import AtomicOutput, write_error
from avol.runtime.errors import AvolError
from avol.train.data.cut_clips import write_clips
from avol.train.data.shards import (
    PARTS,
    SETTINGS_FILE,
    SHARD_FOLDER,
    Settings,
    is_prepared,
    read_settings,
    read_table,
    table_paths,
    to_json,
)

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in "mp4 m4v mov mkv webm avi mpg mpeg ts mts flv wmv 3gp ogv mxf".split()  # noqa: SIM905
)
FILES_PER_TASK = 16
DIGESTED_BYTES = 1 << 20  # at each end of a file: enough to know it again
# What avol data fetch writes: an identifier and where in the video the clip starts.
FETCHED_NAME = re.compile(r"(?P<video>.+)_\d+(\.\d+)?")


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file to be read: what it is called, whose it is, and which part its video belongs to."""

    path: Path
    video_id: str
    label: str | None
    part: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a call of :func:`prepare` did: files read now, read before, and left out with the reason."""

    read: int
    kept: int
    clips: int
    left_out: dict[str, str]


def prepare(
    inputs: Sequence[Path], out: Path, settings: Settings, *, labels: Mapping[str, tuple[str, str]], jobs: int
) -> Outcome:
    """Read all videos that are not in ``out`` yet.

    Args:
        inputs: video files and folders of them.
        out: the prepared folder, made if missing.
        settings: of the folder; those of an existing one must be the same.
        labels: label and video id by file name, for files that have them.
        jobs: processes.

    Raises:
        AvolError: no videos, other settings, a folder that cannot be written, or nothing usable in the end. What was
            finished stays.
    """
    files = find_videos(inputs)
    if not files:
        raise AvolError(f"{inputs[0]}: holds no video files; give files or folders of MP4, MKV, WebM ...")
    _open_folder(out, settings)
    done = {name: digest for path in table_paths(out) for name, digest in read_table(path).sources.items()}
    sources, left_out, kept = _sort_out(files, done, labels, settings)
    tasks = [sources[first : first + FILES_PER_TASK] for first in range(0, len(sources), FILES_PER_TASK)]
    _run(tasks, out, settings, jobs)
    tables = [read_table(path) for path in table_paths(out)]
    clips = sum(len(table.clips) for table in tables)
    given = {str(path) for path in files}
    left_out |= {name: why for table in tables for name, why in table.problems.items() if name in given}
    if not clips:
        name, why = next(iter(left_out.items()))
        raise AvolError(f"{out}: none of {len(files)} videos gave a clip; the first, {name}: {why}")
    return Outcome(read=len(sources), kept=kept, clips=clips, left_out=left_out)


def find_videos(inputs: Sequence[Path]) -> list[Path]:
    """Files as given, and those in folders, however deep, that are called like videos and are not avol's own.

    Raises:
        AvolError: an input does not exist.
    """
    found: dict[Path, None] = {}
    for given in inputs:
        if given.is_dir():
            inside = (path for path in given.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())
            found |= dict.fromkeys(sorted(path for path in inside if ".avol" not in path.suffixes))
        elif given.exists():
            found[given] = None
        else:
            raise AvolError(f"{given}: no such file or folder.")
    return list(found)


def part_of(video_id: str, split: tuple[float, float, float]) -> str:
    """The part of a video, by its hash: adding files moves nobody."""
    position = int.from_bytes(hashlib.sha256(video_id.encode(errors="surrogateescape")).digest()[:8], "big") / 2**64
    train, validation, test = (share / sum(split) for share in split)
    del test
    return PARTS[(position >= train) + (position >= train + validation)]


def video_id_of(path: Path) -> str:
    """The video that a file was cut from: its stem, without the start that ``avol data fetch`` adds."""
    match = FETCHED_NAME.fullmatch(path.stem)
    return match["video"] if match else path.stem


def _sort_out(
    files: list[Path], done: dict[str, str], labels: Mapping[str, tuple[str, str]], settings: Settings
) -> tuple[list[SourceFile], dict[str, str], int]:
    """Which files are to be read, which are left out as copies of others, and how many are done."""
    sources, left_out, kept = [], {}, 0
    known = {digest: name for name, digest in done.items()}
    for path in files:
        try:
            digest = _digest(path)
        except OSError as error:
            left_out[str(path)] = f"cannot be read ({error.strerror})"
            continue
        if done.get(str(path)) == digest:
            kept += 1
        elif digest in known:
            left_out[str(path)] = f"the same as {known[digest]}"
        else:
            label, video_id = labels.get(path.name, (None, video_id_of(path)))
            part = part_of(video_id, settings.split)
            sources.append(SourceFile(path=path, video_id=video_id, label=label, part=part, digest=digest))
            known[digest] = str(path)
    return sources, left_out, kept


def _digest(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        digest = hashlib.sha256(size.to_bytes(8, "big") + file.read(DIGESTED_BYTES))
        file.seek(max(0, size - DIGESTED_BYTES))
        digest.update(file.read())
    return digest.hexdigest()[:32]


def _open_folder(out: Path, settings: Settings) -> None:
    if is_prepared(out):
        if (there := read_settings(out)) != settings:
            different = [name for name in vars(settings) if getattr(there, name) != getattr(settings, name)]
            raise AvolError(f"{out}: was prepared with other {', '.join(different)}; choose another --out.")
    elif out.is_dir() and any(out.iterdir()):
        raise AvolError(f"{out}: holds something else; choose an empty or a new folder as --out.")
    try:
        (out / SHARD_FOLDER).mkdir(parents=True, exist_ok=True)
        if not is_prepared(out):
            with AtomicOutput(out / SETTINGS_FILE) as output:
                output.temporary.write_text(to_json(settings), encoding="utf-8")
                output.commit()
    except OSError as error:
        raise write_error(out, error) from None
    named = {path.stem for path in table_paths(out)}
    for path in (out / SHARD_FOLDER).iterdir():  # left by a run that was killed
        if path.name.startswith(".") or (path.suffix == ".safetensors" and path.stem.rpartition("-")[0] not in named):
            path.unlink()


def _run(tasks: list[list[SourceFile]], out: Path, settings: Settings, jobs: int) -> None:
    if not tasks:
        return
    bar = tqdm(total=sum(map(len, tasks)), unit="video", disable=None)
    # Not forked: threads of PyAV do not survive it.
    with bar, ProcessPoolExecutor(min(jobs, len(tasks)), get_context("spawn")) as pool:
        futures = {pool.submit(write_clips, task, out, settings): len(task) for task in tasks}
        try:
            for future in as_completed(futures):
                future.result()
                bar.update(futures[future])
        except BrokenProcessPool:
            raise AvolError(
                f"{out}: a process was killed, perhaps for want of memory; run again with fewer --jobs: what is "
                "finished stays."
            ) from None
        finally:
            _cancel(futures)


def _cancel(futures: Mapping[Future[None], int]) -> None:
    for future in futures:
        future.cancel()


def read_labels(path: Path) -> dict[str, tuple[str, str]]:
    """Labels and video ids by file name, of a list with the columns ``file``, ``label`` and ``video_id``.

    Raises:
        AvolError: no such list, or one without the columns.
    """
    return {
        Path(row["file"]).name: (row["label"], row["video_id"] or video_id_of(Path(row["file"]))) for row in _rows(path)
    }


def _rows(path: Path) -> Iterator[dict[str, str]]:
    import csv

    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AvolError(f"{path}: not a readable list ({error}); save it as CSV in UTF-8.") from None
    if missing := [name for name in ("file", "label", "video_id") if rows and name not in rows[0]]:
        raise AvolError(f"{path}: has no column {', '.join(missing)}; add it.")
    yield from rows


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))
