"""From videos to prepared clips (:mod:`avol.train.data.shards`): in parallel, resumable, nothing replaced silently."""

from __future__ import annotations

import csv
import fcntl
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from tqdm import tqdm

from avol.runtime.atomic import AtomicOutput, write_error
from avol.runtime.errors import AvolError
from avol.runtime.media.suffixes import VIDEO_SUFFIXES
from avol.train.data.crew import Answer, Job, run_crew
from avol.train.data.listing import Listing, Problem, VideoFile, digest_of, list_videos
from avol.train.data.prepare_settings import SETTINGS_FILE, Settings, is_prepared, read_settings, write_settings
from avol.train.data.shard_files import SHARD_CLIPS, SHARD_FOLDER, ClipRecord, read_shards
from avol.train.data.split import PARTS, part_of

PROBLEM_LIST = "problems.csv"
LOCK_FILE = ".lock"
# Facts about a file that do not change while it does not: it need not be read again to know them.
LASTING_REASONS = frozenset({"no sound", "too short", "still", "silent"})


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        clips: clips in the folder by part, in all.
        new_clips: those of this run.
        read: videos read now that gave clips.
        kept: videos that earlier runs had read.
        problems: videos that gave nothing or not all, and why.
    """

    clips: Counter[str] = field(default_factory=Counter)
    new_clips: int = 0
    read: int = 0
    kept: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def left_out(self) -> Counter[str]:
        """Files that gave no clip, by reason."""
        return Counter(problem.reason for problem in self.problems if problem.reason != "damaged")


@dataclass
class _Plan:
    jobs: list[Job] = field(default_factory=list)
    kept: int = 0
    problems: list[Problem] = field(default_factory=list)


def prepare(
    inputs: Sequence[Path],
    out: Path,
    settings: Settings,
    *,
    labels_path: Path | None = None,
    jobs: int | None = None,
    shard_clips: int = SHARD_CLIPS,
) -> Outcome:
    """Read all videos that are not in ``out`` yet.

    Args:
        inputs: video files, and folders of them; see :func:`avol.train.data.listing.list_videos`.
        out: the prepared folder, made if missing.
        settings: of the folder; those of an existing one must be the same.
        labels_path: a list with labels and source videos.
        jobs: processes; one per processor if None.
        shard_clips: clips in a shard, at most.

    Raises:
        AvolError: no videos, other settings, a folder that cannot be written or that another run works on, a killed
            process, or no usable clip. What was finished stays.
    """
    listing = list_videos(inputs, labels_path)
    if not listing.videos:
        named = ", ".join(map(str, inputs[:3])) + (" ..." if len(inputs) > 3 else "")
        suffixes = ", ".join(sorted(suffix[1:] for suffix in VIDEO_SUFFIXES))
        why = f"; {listing.problems[0].file}: {listing.problems[0].detail}" if listing.problems else ""
        raise AvolError(f"{named}: no video files in there ({suffixes}){why}; name videos or folders of videos.")
    with _folder(out, settings):
        records = _records(out, settings)
        plan = _make_plan(listing, records, _known_problems(out), settings)
        outcome = Outcome(kept=plan.kept, problems=[*listing.problems, *plan.problems])
        try:
            answers = run_crew(plan.jobs, out, settings, processes=jobs or _processors(), shard_clips=shard_clips)
            _follow(answers, len(plan.jobs), outcome)
        finally:
            _write_problems(out, outcome.problems, records.keys())
        for shard in read_shards(out, settings):
            outcome.clips[shard.part] += len(shard.records)
        outcome.new_clips = outcome.clips.total() - sum(map(len, records.values()))
    if not outcome.clips.total():
        counts = ", ".join(f"{count} {reason}" for reason, count in outcome.left_out.most_common())
        raise AvolError(f"{out}: no usable clips in {len(listing.videos)} videos ({counts}); see {out / PROBLEM_LIST}.")
    return outcome


def _follow(answers: Iterable[Answer], expected: int, outcome: Outcome) -> None:
    """Take the answers as they come, and what they say into the outcome, however it ends."""
    last: dict[str, Answer] = {}
    bar = tqdm(total=expected, desc="avol data prepare", unit="video", leave=False, disable=None)
    with bar:
        try:
            for answer in answers:
                bar.update(answer.job.video.path not in last)
                last[answer.job.video.path] = answer
        finally:
            for answer in last.values():
                outcome.read += not answer.reason
                outcome.problems += _problems_of(answer)


def _processors() -> int:
    return len(os.sched_getaffinity(0))


def _problems_of(answer: Answer) -> Iterator[Problem]:
    video, prefix = answer.job.video, f"{answer.job.video.path}: "
    found = [(answer.reason, answer.detail)] if answer.reason else [("damaged", line) for line in answer.warnings]
    for reason, detail in found:
        yield Problem(
            file=video.path,
            reason=reason,
            detail=detail.removeprefix(prefix),
            size_bytes=video.size_bytes,
            mtime_ns=video.mtime_ns,
        )


def _records(out: Path, settings: Settings) -> dict[str, list[ClipRecord]]:
    """Stored clips by file."""
    records: dict[str, list[ClipRecord]] = {}
    for shard in read_shards(out, settings):
        for record in shard.records:
            records.setdefault(record.file, []).append(record)
    return records


def _make_plan(
    listing: Listing, records: dict[str, list[ClipRecord]], known: dict[str, Problem], settings: Settings
) -> _Plan:
    """What is to be read: not what is stored, not what is known to be unusable, and of equal files only one."""
    plan, candidates = _Plan(), []
    for video in listing.videos:
        stored, problem = records.get(video.path, []), known.get(video.path)
        if any(record.is_last and _same(record, video) for record in stored):
            plan.kept += 1
        elif not stored and problem is not None and _same(problem, video) and problem.reason in LASTING_REASONS:
            plan.problems.append(problem)
        else:
            candidates.append(video)
    owners = {stored[0].file_digest: file for file, stored in records.items()}
    for video, digest in zip(candidates, _digests(candidates, plan), strict=True):
        if digest is None:
            continue
        stored = records.get(video.path, [])
        owner = owners.setdefault(digest, video.path)
        if stored and stored[0].file_digest != digest:
            plan.problems.append(_problem(video, "changed", "has changed since it was read; its old clips were kept"))
        elif any(record.is_last for record in stored):
            plan.kept += 1  # only its time has changed
        elif owner != video.path:
            plan.problems.append(_problem(video, "duplicate", f"the same file as {owner}"))
        else:
            first_piece = max((record.piece + 1 for record in stored), default=0)
            # What is stored has decided the part, whatever a list says now.
            video_id = stored[0].video_id if stored else video.video_id
            part = part_of(video_id, settings.split)
            plan.jobs.append(Job(video=video, digest=digest, part=part, first_piece=first_piece))
    plan.jobs.sort(key=lambda job: PARTS.index(job.part))
    return plan


def _same(known: ClipRecord | Problem, video: VideoFile) -> bool:
    return (known.size_bytes, known.mtime_ns) == (video.size_bytes, video.mtime_ns)


def _problem(video: VideoFile, reason: str, detail: str) -> Problem:
    return Problem(file=video.path, reason=reason, detail=detail, size_bytes=video.size_bytes, mtime_ns=video.mtime_ns)


def _digests(videos: Sequence[VideoFile], plan: _Plan) -> list[str | None]:
    def digest(video: VideoFile) -> str | None:
        try:
            return digest_of(video)
        except OSError as error:
            plan.problems.append(_problem(video, "unreadable", error.strerror or str(error)))
            return None

    with ThreadPoolExecutor() as pool:
        return list(pool.map(digest, videos))


@contextmanager
def _folder(out: Path, settings: Settings) -> Iterator[None]:
    """The folder, made or checked, for this run alone."""
    if out.is_dir() and _holds_other_files(out) and not is_prepared(out):
        raise AvolError(f"{out}: holds other files; name an empty or a new folder with --out.")
    try:
        (out / SHARD_FOLDER).mkdir(parents=True, exist_ok=True)
        lock = (out / LOCK_FILE).open("w")
    except OSError as error:
        raise write_error(out, error) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AvolError(f"{out}: another avol data prepare is at work on it; wait for its end.") from None
        except OSError:  # a file system without locks
            pass
        if not is_prepared(out):
            for path in out.glob(f".{Path(SETTINGS_FILE).stem}.*.partial.json"):  # left by a run that was killed
                path.unlink(missing_ok=True)
            write_settings(out, settings)
        _check_settings(out, settings)
        for path in (out / SHARD_FOLDER).glob(".*.partial.safetensors"):  # left by a run that was killed
            path.unlink(missing_ok=True)
        yield


def _holds_other_files(out: Path) -> bool:
    """Whether there is more than a run leaves that was killed, or found the disk full, before it wrote the settings."""

    def is_ours(path: Path) -> bool:
        if path.name == SHARD_FOLDER:
            return path.is_dir() and not any(path.iterdir())
        return path.name == LOCK_FILE or path.match(f".{Path(SETTINGS_FILE).stem}.*.partial.json")

    return not all(map(is_ours, out.iterdir()))


def _check_settings(out: Path, settings: Settings) -> None:
    there = asdict(read_settings(out))
    different = [
        f"{name.replace('_', ' ')} {there[name]} (now {value})"
        for name, value in asdict(settings).items()
        if there[name] != value
    ]
    if different:
        raise AvolError(f"{out}: was prepared with {', '.join(different)}; take the same, or another folder.")


def _known_problems(out: Path) -> dict[str, Problem]:
    """Problems that earlier runs found; a list that cannot be read is none: it is only a saving of time."""
    try:
        with (out / PROBLEM_LIST).open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = list(csv.DictReader(file))
        return {
            row["file"]: Problem(
                file=row["file"],
                reason=row["reason"],
                detail=row["detail"],
                size_bytes=int(row["size_bytes"]),
                mtime_ns=int(row["mtime_ns"]),
            )
            for row in rows
        }
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return {}


def _write_problems(out: Path, problems: Sequence[Problem], stored: Iterable[str]) -> None:
    """The list of this run's problems, and of earlier runs' with files that were not given this time."""
    done = set(stored)
    kept = {p.file: p for p in _known_problems(out).values() if p.file not in done or p.reason == "damaged"}
    merged = kept | {problem.file: problem for problem in problems}
    with AtomicOutput(out / PROBLEM_LIST) as output:
        try:
            with output.temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
                writer = csv.DictWriter(file, [item.name for item in fields(Problem)])
                writer.writeheader()
                writer.writerows(asdict(merged[name]) for name in sorted(merged))
        except OSError as error:
            raise write_error(output.path, error) from None
        output.commit()


def read_problems(folder: Path) -> list[Problem]:
    """Problems of all runs into a prepared folder, by file."""
    return list(_known_problems(folder).values())
