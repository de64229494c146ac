"""``avol run`` (``avol-run``): find where the sound of a video comes from."""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
from typing import TYPE_CHECKING

from avol.apps.run_arguments import add_run_arguments
from avol.apps.run_console import (
    FAILED,
    SKIPPED,
    Progress,
    Row,
    folder_for_results,
    one_line,
    report_all,
    report_run,
    report_speed,
    report_start,
    termination_cleans_up,
)
from avol.apps.run_image import check_image, run_image
from avol.apps.run_inputs import Input, find_videos, refuse_collisions, result_path
from avol.apps.run_pipes import (
    NAMED_INPUT,
    SHOWN_INPUT,
    STANDARD,
    check_pipes,
    described_results,
    is_piped,
    piped_input,
    piped_output,
)
from avol.runtime.backends import open_backend
from avol.runtime.errors import AvolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from avol.runtime.backends.backend import Backend
    from avol.runtime.pipeline import RunOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avol run``."""
    add_run_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the model over videos, or a live stream; gives the exit code: 1 if one of several videos failed."""
    _check(arguments)
    if arguments.live is not None:
        return _run_live(arguments)
    if arguments.image is not None:
        with termination_cleans_up(), open_backend(arguments.model, arguments.device, arguments.precision) as backend:
            return run_image(arguments, backend)
    if "-" in arguments.codec:  # of hardware: not found out after a minute of work
        from avol.runtime.media.encoders import require_encoder

        require_encoder(arguments.codec)
    if is_piped(arguments):
        return _run_piped(arguments)
    inputs = find_videos(arguments.videos, recursive=arguments.recursive).inputs
    if len(inputs) > 1 and (arguments.json or arguments.output) is not None:
        raise argparse.ArgumentError(None, "--json and --output name one file; with several videos use --output-dir")
    threading.Thread(target=_import_media, name="avol-import", daemon=True).start()
    with termination_cleans_up(), open_backend(arguments.model, arguments.device, arguments.precision) as backend:
        jobs = [_options(arguments, entry) for entry in inputs]
        refuse_collisions({job.video: [path for path in (job.timeline_out, job.video_out) if path] for job in jobs})
        if len(jobs) == 1:
            if arguments.skip_existing and _is_there(jobs[0]):
                print(f"avol-run: {jobs[0].video}: {SKIPPED}", file=sys.stderr)
                return 0
            _run_one(jobs[0], backend, arguments)
            return 0
        return _run_several(jobs, backend, arguments)


def _run_piped(arguments: argparse.Namespace) -> int:
    """One video from standard input, or with a result on standard output."""
    from dataclasses import replace

    with termination_cleans_up(), piped_input(arguments.videos[0]) as entry:
        named = entry if arguments.videos[0] != STANDARD else Input(NAMED_INPUT)
        job = replace(_options(arguments, named), video=entry.video)
        if entry is not named:
            job = replace(job, shown_as=SHOWN_INPUT)
        results = [path for path in (job.timeline_out, job.video_out) if path is not None and path != STANDARD]
        refuse_collisions({entry.video: results})
        with (
            open_backend(arguments.model, arguments.device, arguments.precision) as backend,
            piped_output(arguments, job) as piped,
        ):
            _run_one(piped, backend, arguments, described_results(arguments, job))
    return 0


def _import_media() -> None:
    """Import what decodes and draws while the graphs are being read, which takes as long and needs no interpreter."""
    with contextlib.suppress(Exception):  # whoever needs it will say what is wrong
        import avol.runtime.pipeline  # noqa: F401


def _run_one(job: RunOptions, backend: Backend, arguments: argparse.Namespace, results: str = "") -> Row:
    from avol.runtime.pipeline import run_on_video
    from avol.runtime.system import AvolNetSystem

    folders = {job.timeline_out.parent} | ({job.video_out.parent} if job.video_out is not None else set())
    with contextlib.ExitStack() as stack:
        for folder in sorted(folders):
            stack.enter_context(folder_for_results(folder))
        if arguments.verbose:
            report_start(job, backend)
        progress = stack.enter_context(Progress(quiet=arguments.quiet))
        summary = run_on_video(job, AvolNetSystem(backend), progress)
    report_run(job, summary, backend.description, quiet=arguments.quiet, results=results)
    if arguments.verbose:
        report_speed(summary)
    return Row(job.video, summary)


def _run_several(jobs: Sequence[RunOptions], backend: Backend, arguments: argparse.Namespace) -> int:
    """One bad file does not stop the others."""
    rows = []
    for job in jobs:
        if arguments.skip_existing and _is_there(job):
            rows.append(Row(job.video, None, SKIPPED))
            continue
        try:
            rows.append(_run_one(job, backend, arguments))
        except AvolError as error:
            print(f"avol-run: {one_line(str(error), sys.stderr)}", file=sys.stderr)
            rows.append(Row(job.video, None, FAILED))
    if not arguments.quiet:
        report_all(rows)
    return 1 if any(row.fact == FAILED for row in rows) else 0


def _options(arguments: argparse.Namespace, entry: Input) -> RunOptions:
    from avol.runtime.overlay_video import VideoOptions
    from avol.runtime.pipeline import RunOptions
    from avol.runtime.styles import StyleOptions

    style = StyleOptions(
        style=arguments.style, colour_map=arguments.colormap, opacity=arguments.opacity, legend=arguments.legend
    )
    return RunOptions(
        video=entry.video,
        audio=arguments.audio,
        timeline_out=arguments.json or result_path(entry, arguments.output_dir, f".{arguments.format}"),
        video_out=None if arguments.no_video else arguments.output or result_path(entry, arguments.output_dir, ".mp4"),
        rate_hz=arguments.rate,
        threshold=arguments.threshold,
        maps=arguments.maps,
        format=arguments.format,
        look=VideoOptions(
            style=style,
            strip=arguments.strip,
            sound=not arguments.no_audio,
            smooth=not arguments.no_smoothing,
            codec=arguments.codec,
            crf=arguments.crf,
        ),
        start_seconds=arguments.start,
        end_seconds=arguments.end,
    )


def _is_there(job: RunOptions) -> bool:
    """Whether all results are there; they have their names only when complete."""
    return all(path is None or path.is_file() for path in (job.timeline_out, job.video_out))


def _run_live(arguments: argparse.Namespace) -> int:
    from avol.apps.live import run_live
    from avol.runtime.live_input import LiveSource
    from avol.runtime.system import AvolNetSystem

    source = LiveSource(url=arguments.live, microphone=arguments.microphone)
    with termination_cleans_up(), open_backend(arguments.model, arguments.device, arguments.precision) as backend:
        return run_live(source, AvolNetSystem(backend), arguments, backend.description, program="avol-run")


def _check(arguments: argparse.Namespace) -> None:
    """What only shows when several arguments are seen together."""
    if arguments.image is not None:
        check_image(arguments)
    elif (arguments.live is None) == (not arguments.videos):
        raise argparse.ArgumentError(None, "name videos or folders, a stream with --live, or a picture with --image")
    if arguments.live is None and (arguments.microphone or arguments.live_video or arguments.seconds is not None):
        raise argparse.ArgumentError(None, "--microphone, --live-video and --seconds go with --live")
    if (arguments.start or arguments.end is not None) and not arguments.videos:
        raise argparse.ArgumentError(None, "--start and --end go with videos")
    if arguments.end is not None and arguments.end <= arguments.start:
        raise argparse.ArgumentError(None, "--end must come after --start")
    if arguments.quiet and arguments.verbose:
        raise argparse.ArgumentError(None, "--quiet and --verbose exclude each other")
    if arguments.maps and arguments.format == "csv":
        raise argparse.ArgumentError(None, "a CSV timeline holds no maps; choose --format json, jsonl or npz")
    check_pipes(arguments)
