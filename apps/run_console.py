"""What a run says and leaves on the way: folders, signals, the progress bar, the lines of the summary."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from avol.runtime.errors import AvolError

if TYPE_CHECKING:
    from avol.runtime.backends.backend import Backend
    from avol.runtime.pipeline import RunOptions, RunSummary

FAILED, SKIPPED = "failed", "skipped: its results are there"  # facts of rows


@contextlib.contextmanager
def folder_for_results(folder: Path | None) -> Iterator[None]:
    """Create a folder for results and its parents where missing; take them away again if nothing got there.

    Raises:
        AvolError: it cannot be created.
    """
    # os.path: Path.exists raises where a name is too long.
    missing = [] if folder is None else [p for p in (folder, *folder.parents) if not os.path.exists(p)]  # noqa: PTH110
    try:
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                reason = os.strerror(error.errno) if error.errno else str(error)
                raise AvolError(f"{folder}: cannot be a folder for results: {reason}. Choose another.") from None
        yield
    finally:
        for path in missing:
            with contextlib.suppress(OSError):  # it holds results, or never came to be
                path.rmdir()


@contextlib.contextmanager
def termination_cleans_up() -> Iterator[None]:
    """Let a request to end (``kill``, a closed terminal) unwind like Ctrl-C, so that no unfinished file stays.

    Requests that are ignored (``nohup``) or handled by a program around this one stay so.
    """

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    signals = (signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    taken = [number for number in signals if signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


class Progress:
    """A bar on standard error, in seconds of video; silent where that is not a terminal."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._shown = not quiet and sys.stderr.isatty()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done_seconds: float, total_seconds: float) -> None:
        """Move on."""
        if self._shown:
            if self._bar is None:  # an empty one counts as false
                self._bar = _bar()
            self._bar.total = max(total_seconds, done_seconds)
            self._bar.update(done_seconds - self._bar.n)


def _bar() -> Any:  # noqa: ANN401 (a bar of tqdm, which is imported when the run is under way and somebody watches)
    from tqdm import tqdm

    form = "{desc} {percentage:3.0f}% |{bar}| {n:.1f}/{total:.1f} s  {remaining} left"
    return tqdm(total=0.0, desc="avol-run", bar_format=form, leave=False)


def report_run(
    options: RunOptions, summary: RunSummary, description: str, *, quiet: bool = False, results: str = ""
) -> None:
    """Notes on standard error, one line of summary on standard output; ``results`` says where they are, if not so."""
    shown = options.shown_as or str(options.video)
    for note in summary.notes:
        print(f"avol-run: {one_line(note.replace(str(options.video), shown), sys.stderr)}", file=sys.stderr)
    if quiet:
        return
    paths = (options.video_out, options.timeline_out)
    written = results or " and ".join(str(path) for path in paths if path is not None)
    silent = f" ({summary.silence}: silence)" if summary.silence else ""
    speed = summary.duration_seconds / max(summary.elapsed_seconds, 1e-9)
    say(
        f"{shown}{silent}: {summary.duration_seconds:.1f} s in {summary.elapsed_seconds:.1f} s "
        f"({speed:.1f}x real time), {summary.sounding} of {summary.analysed} analysed frames sounding, "
        f"{description} -> {written}"
    )


def report_start(options: RunOptions, backend: Backend) -> None:
    """What is about to be read, and what computes, on standard error; the input is looked at once more for it."""
    from avol.runtime.media.source import open_source, part_of

    source = part_of(open_source(options.video, options.audio), options.start_seconds, options.end_seconds)
    sound = "no sound" if source.audio_sample_rate is None else f"sound at {source.audio_sample_rate} Hz"
    lines = [
        f"{options.shown_as or options.video}: {source.width}x{source.height}, "
        f"{source.frame_rate:.3f} pictures a second, {source.duration_seconds:.2f} s, {sound}",
        f"model {backend.folder}: {backend.spec.name} {backend.spec.weights_sha256[:12]}",
        f"computes: {backend.description}",
        *(f"passed over: {reason}" for reason in backend.passed_over),
    ]
    for line in lines:
        print(f"avol-run: {one_line(line, sys.stderr)}", file=sys.stderr)


def report_speed(summary: RunSummary) -> None:
    """Pictures and analyses, and how many a second, on standard error."""
    elapsed = max(summary.elapsed_seconds, 1e-9)
    print(
        f"avol-run: {summary.frames} pictures ({summary.frames / elapsed:.0f}/s), {summary.analysed} analysed "
        f"({summary.analysed / elapsed:.0f}/s), {summary.elapsed_seconds:.2f} s",
        file=sys.stderr,
    )


@dataclass(frozen=True)
class Row:
    """Of the table after several videos: ``summary`` is None for one that was not run, ``fact`` says why."""

    video: Path
    summary: RunSummary | None
    fact: str = ""


def report_all(rows: Sequence[Row]) -> None:
    """A line for each video, and one for all."""
    width = max(len(row.video.name) for row in rows)
    for row in rows:
        if row.summary is None:
            say(f"{row.video.name:<{width}}  {row.fact}")
            continue
        done, share = row.summary, row.summary.sounding / max(row.summary.analysed, 1)
        say(f"{row.video.name:<{width}}  {done.duration_seconds:>8.1f} s  {share:>4.0%} sounding")
    ran = [row.summary for row in rows if row.summary is not None]
    seconds, elapsed = sum(run.duration_seconds for run in ran), sum(run.elapsed_seconds for run in ran)
    failed = sum(row.fact == FAILED for row in rows)
    say(
        f"{len(ran)} of {len(rows)} videos run, {failed} failed: {seconds:.1f} s in {elapsed:.1f} s "
        f"({seconds / max(elapsed, 1e-9):.1f}x real time)"
    )


def say(line: str) -> None:
    """A line on standard output.

    Raises:
        AvolError: it cannot be written.
    """
    try:
        print(one_line(line, sys.stdout))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise AvolError(
            f"standard output: cannot be written: {error.strerror}; the result files are complete."
        ) from None


def one_line(text: str, stream: TextIO) -> str:
    """Names of files may hold line breaks, bytes that are no text, and letters that the terminal's coding lacks."""
    coding = stream.encoding or "utf-8"
    return text.replace("\n", "\\n").replace("\r", "\\r").encode(coding, "backslashreplace").decode(coding)
