"""Processes that read videos and write shards; one that a broken file kills is replaced, and the file is named."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from avol.runtime.errors import AvolError
from avol.train.data.listing import VideoFile
from avol.train.data.pieces import Piece, PieceReader, UnusableVideoError
from avol.train.data.prepare_settings import Settings
from avol.train.data.shard_files import SHARD_BYTES, SHARD_CLIPS, ClipData, ClipRecord, write_shard

# Signals by which a decoder ends its own process. Any other comes from outside, as when memory runs out.
_CRASHES = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL})


@dataclass(frozen=True, kw_only=True)
class Job:
    """A video to read, the part it belongs to, and the first of its pieces that is not stored yet."""

    video: VideoFile
    digest: str
    part: str
    first_piece: int = 0


@dataclass(kw_only=True)
class Answer:
    """What came of a job.

    Attributes:
        clips: pieces that were kept.
        reason, detail: why there are none; empty when all went well.
        warnings: of the readers: what was damaged and left out.
        saved: whether everything of the process's earlier jobs is in finished shards.
        unsaved_from: the first piece of this job that is not yet in one; None if all are.
        failure: why the folder cannot be written; ends the run.
    """

    job: Job
    clips: int = 0
    reason: str = ""
    detail: str = ""
    warnings: list[str] = field(default_factory=list)
    saved: bool = False
    unsaved_from: int | None = None
    failure: str = ""


class _Writer:
    """In a process: collects clips of one part, and writes a shard when it is full."""

    def __init__(self, folder: Path, shard_clips: int) -> None:
        self.folder, self.shard_clips, self.parent, self.part = folder, shard_clips, os.getppid(), ""
        self.clips: list[ClipData] = []
        self.bytes = 0

    def add(self, clip: ClipData, part: str) -> bool:
        """Take a clip; gives whether everything before it was written."""
        full = len(self.clips) >= self.shard_clips or self.bytes + clip.nbytes > SHARD_BYTES
        written = bool(self.clips) and (full or part != self.part)
        if written:
            self.write()
        self.clips.append(clip)
        self.part, self.bytes = part, self.bytes + clip.nbytes
        return written

    def write(self) -> None:
        if os.getppid() != self.parent:  # its run was killed, and another may be at work on the folder
            os._exit(1)
        if self.clips:
            write_shard(self.folder, self.part, self.clips)
        self.clips, self.bytes = [], 0


def _work(connection: Connection, folder: Path, settings: Settings, shard_clips: int) -> None:
    """A process: jobs come, answers go, None ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run ends its processes itself
    writer = _Writer(folder, shard_clips)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the run has been killed
        while (job := connection.recv()) is not None:
            connection.send(_read(job, settings, writer))
        answer = ""
        try:
            writer.write()
        except AvolError as error:
            answer = str(error)
        connection.send(answer)


def _read(job: Job, settings: Settings, writer: _Writer) -> Answer:
    """Read one video into the writer."""
    answer = Answer(job=job)
    reader = PieceReader(Path(job.video.path), settings, first_piece=job.first_piece)
    pieces = iter(reader)
    while True:
        try:
            piece = next(pieces, None)
        except UnusableVideoError as error:
            answer.reason, answer.detail = error.reason, str(error)
            break
        except AvolError as error:
            answer.reason, answer.detail = "unreadable", str(error)
            break
        except Exception as error:  # one file in ten thousand must not end the run; it is reported
            answer.reason, answer.detail = "unreadable", f"{job.video.path}: {type(error).__name__}: {error}"
            break
        if piece is None:
            break
        try:
            if writer.add(_clip_of(piece, job), job.part):
                answer.saved, answer.unsaved_from = True, None
        except AvolError as error:
            answer.failure = str(error)
            break
        answer.clips += 1
        answer.unsaved_from = piece.number if answer.unsaved_from is None else answer.unsaved_from
    answer.warnings = reader.warnings
    return answer


def _clip_of(piece: Piece, job: Job) -> ClipData:
    record = ClipRecord(
        file=job.video.path,
        label=job.video.label,
        video_id=job.video.video_id,
        piece=piece.number,
        is_last=piece.is_last,
        start_seconds=piece.start_seconds,
        duration_seconds=piece.duration_seconds,
        first_frame=0,
        frame_count=len(piece.frames),
        first_sample=0,
        sample_count=len(piece.samples),
        first_sample_seconds=piece.first_sample_seconds,
        size_bytes=job.video.size_bytes,
        mtime_ns=job.video.mtime_ns,
        file_digest=job.digest,
        content_digest=piece.content_digest,
        silent_share=piece.silent_share,
        is_still=piece.is_still,
    )
    return ClipData(record=record, frames=piece.frames, frame_times_seconds=piece.times_seconds, samples=piece.samples)


@dataclass
class _Member:
    """A process as the run sees it: its present job, and earlier ones that are not in finished shards yet."""

    process: BaseProcess
    connection: Connection
    job: Job | None = None
    unsaved: list[Job] = field(default_factory=list)


def run_crew(
    jobs: Iterable[Job], folder: Path, settings: Settings, *, processes: int, shard_clips: int = SHARD_CLIPS
) -> Iterator[Answer]:
    """Read videos and write their shards; when the iteration has ended, everything is written.

    Args:
        jobs: those of one part together: a shard holds one part.
        folder: prepared.
        settings: of the folder.
        processes: how many at a time.
        shard_clips: clips in a shard, at most.

    Yields:
        An answer per job, as they come; a job is answered twice if the process that had read it died later.

    Raises:
        AvolError: a process was killed, or the folder cannot be written.
    """

    def start() -> None:
        context = get_context("spawn")  # not forked: threads of decoders do not survive it
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, folder, settings, shard_clips), daemon=True)
        process.start()
        theirs.close()
        member = _Member(process, ours)
        members.append(member)
        _hand_out(member, waiting)

    waiting, members = deque(jobs), list[_Member]()
    try:
        for _ in range(min(processes, len(waiting))):
            start()
        while members:
            for member in _ready(members):
                try:
                    answer = member.connection.recv()
                except (EOFError, ConnectionResetError):
                    members.remove(member)
                    yield from _bury(member, waiting, folder)
                    start()
                    continue
                if isinstance(answer, Answer) and not answer.failure:
                    _keep_account(member, answer)
                    yield answer
                    _hand_out(member, waiting)
                    continue
                if failure := answer.failure if isinstance(answer, Answer) else answer:
                    raise AvolError(failure)
                members.remove(member)
                member.process.join()
    finally:
        for member in members:
            member.process.terminate()
            member.process.join()


def _hand_out(member: _Member, waiting: deque[Job]) -> None:
    member.job = waiting.popleft() if waiting else None
    with suppress(BrokenPipeError, ConnectionResetError):  # it is dead, which shows when its answer is read
        member.connection.send(member.job)


def _ready(members: list[_Member]) -> list[_Member]:
    ready = wait([member.connection for member in members])
    return [member for member in members if member.connection in ready]


def _keep_account(member: _Member, answer: Answer) -> None:
    if answer.saved:
        member.unsaved.clear()
    if answer.unsaved_from is not None:
        member.unsaved.append(replace(answer.job, first_piece=answer.unsaved_from))


def _bury(member: _Member, waiting: deque[Job], folder: Path) -> Iterator[Answer]:
    """A process has died: blame the file that it read, and have its unsaved work done again."""
    member.process.join()
    status = member.process.exitcode or 0
    if member.job is None or -status not in _CRASHES:
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        raise AvolError(
            f"{folder}: a process was ended from outside ({how}), perhaps for want of memory; finished shards "
            "stay: run the same command again, with fewer --jobs."
        )
    waiting.extendleft(reversed(member.unsaved))
    detail = f"{member.job.video.path}: its decoder crashed ({signal.Signals(-status).name})."
    yield Answer(job=member.job, reason="crashed", detail=detail)
