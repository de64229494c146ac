"""``avol-run`` between pipes: a video from standard input, the overlay video or the timeline to standard output."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from avol.apps.run_inputs import Input
from avol.runtime.atomic import write_error
from avol.runtime.errors import AvolError

if TYPE_CHECKING:
    from avol.runtime.pipeline import RunOptions

STANDARD = Path("-")
NAMED_INPUT, NAMED_OUTPUT = Path("stdin"), "standard output"
SHOWN_INPUT = "standard input"
CHUNK_BYTES = 1 << 20


def is_piped(arguments: argparse.Namespace) -> bool:
    """Whether anything comes from or goes to a pipe."""
    return STANDARD in (*arguments.videos, arguments.output, arguments.json)


def check_pipes(arguments: argparse.Namespace) -> None:
    """What does not go together with ``-``."""
    if arguments.live is not None or arguments.image is not None:
        if arguments.output is not None or STANDARD in arguments.videos:
            raise argparse.ArgumentError(None, "--output and - go with one video")
        if arguments.image is not None and arguments.json == STANDARD:
            raise argparse.ArgumentError(None, "--json - goes with a video or --live; name a file")
        return
    if arguments.output is not None and arguments.no_video:
        raise argparse.ArgumentError(None, "--output names the video that --no-video leaves out")
    if arguments.output not in (None, STANDARD) and arguments.output.suffix.lower() != ".mp4":
        raise argparse.ArgumentError(None, f"--output {arguments.output}: the video is MP4; end its name in .mp4")
    if is_piped(arguments):
        _check_streams(arguments)


def _check_streams(arguments: argparse.Namespace) -> None:
    if arguments.output == arguments.json == STANDARD:
        raise argparse.ArgumentError(None, "--output and --json cannot both be standard output")
    if len(arguments.videos) > 1:
        raise argparse.ArgumentError(None, "- (standard input or output) goes with one video")
    if arguments.skip_existing:
        raise argparse.ArgumentError(None, "--skip-existing goes with files, not with -")
    if STANDARD in arguments.videos and (sys.stdin is None or sys.stdin.isatty()):
        raise argparse.ArgumentError(None, "standard input is no video; pipe one into avol-run, or name a file")
    if STANDARD in (arguments.output, arguments.json):
        if sys.__stdout__ is None:
            raise argparse.ArgumentError(None, "standard output is closed; pipe it into a player or a file")
        if sys.__stdout__.isatty():
            raise argparse.ArgumentError(None, "standard output is a terminal; pipe it into a player or a file")


@contextlib.contextmanager
def piped_input(video: Path) -> Iterator[Input]:
    """The video as a file, and under what name its results go: MP4 and others cannot be read without going back.

    Messages on the way out call a pipe by its name, not by that of the file.

    Raises:
        AvolError: there is nothing to read, or no room to keep it.
    """
    if video != STANDARD:
        yield Input(video)
        return
    with tempfile.TemporaryDirectory(prefix="avol-") as folder:
        path = Path(folder) / NAMED_INPUT
        try:
            with path.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file, CHUNK_BYTES)
        except OSError as error:
            raise write_error(Path(f"a copy of {SHOWN_INPUT} in {tempfile.gettempdir()}"), error) from None
        try:
            yield Input(path)
        except AvolError as error:
            raise AvolError(str(error).replace(str(path), SHOWN_INPUT)) from None


@contextlib.contextmanager
def piped_output(arguments: argparse.Namespace, job: RunOptions) -> Iterator[RunOptions]:
    """The job with its results where they are wanted; what is said goes to standard error meanwhile.

    The video goes out while it is made. The timeline goes out when it is complete.
    """
    from dataclasses import replace

    if STANDARD not in (arguments.output, arguments.json):
        yield job
        return
    with tempfile.TemporaryDirectory(prefix="avol-") as folder, contextlib.redirect_stdout(sys.stderr):
        unnamed = Path(folder) / f"timeline.{job.format}"
        if arguments.json == STANDARD:
            yield replace(job, timeline_out=unnamed)
            try:
                with unnamed.open("rb") as file, os.fdopen(os.dup(_standard_output()), "wb") as output:
                    shutil.copyfileobj(file, output)
            except BrokenPipeError:
                raise
            except OSError as error:
                raise write_error(Path(NAMED_OUTPUT), error) from None
        elif arguments.json is None and arguments.output_dir is None:
            yield replace(job, video_out=None, video_to=_standard_output(), timeline_out=unnamed)
        else:
            yield replace(job, video_out=None, video_to=_standard_output())


def described_results(arguments: argparse.Namespace, job: RunOptions) -> str:
    """Where the results of a job between pipes are, for the reader."""
    video = NAMED_OUTPUT if arguments.output == STANDARD else job.video_out
    timeline: Path | str | None = NAMED_OUTPUT if arguments.json == STANDARD else job.timeline_out
    if arguments.output == STANDARD and arguments.json is None and arguments.output_dir is None:
        timeline = None
    return " and ".join(str(result) for result in (video, timeline) if result is not None)


def _standard_output() -> int:
    assert sys.__stdout__ is not None
    return sys.__stdout__.fileno()
