"""``avol run`` (``avol-run``): find where the sound of a video comes from."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from avol.runtime.backends import DEVICES, PRECISIONS, open_backend
from avol.runtime.errors import AvolError

if TYPE_CHECKING:
    from avol.runtime.pipeline import RunOptions, RunSummary

EXAMPLES = """\
examples:
  avol-run concert.mp4                        writes concert.avol.mp4 and concert.avol.json beside it
  avol-run concert.mp4 --output-dir results   ... into results/
  avol-run concert.mp4 --no-video --maps      only the timeline, with every cell of every map
  avol-run band.mp4 --audio violin.wav        what in these pictures could make that sound?
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avol run``."""
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument("video", type=Path, help="the video to analyse")
    parser.add_argument("--output-dir", type=Path, metavar="DIR", help="folder for the results (default: the video's)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="name of the timeline (default: VIDEO.avol.json)")
    parser.add_argument("--no-video", action="store_true", help="write the timeline only")
    parser.add_argument("--maps", action="store_true", help="put every cell of the maps into the timeline")
    parser.add_argument("--rate", type=_rate, default=10.0, metavar="HZ", help="analyses a second (default: 10)")
    parser.add_argument(
        "--model", type=Path, metavar="PATH", help="folder of an exported model (default: the bundled one)"
    )
    parser.add_argument(
        "--device",
        choices=DEVICES,
        default="auto",
        metavar="D",
        help=f"what computes: {', '.join(DEVICES)} (default: auto, the fastest that works here)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        metavar="P",
        help=f"{', '.join(PRECISIONS)} (default: auto, the fastest that suits the device)",
    )
    parser.add_argument(
        "--threshold", type=_threshold, metavar="P", help="score that counts as sounding, 0..1 (default: the model's)"
    )
    parser.add_argument(
        "--audio", type=Path, metavar="OTHER", help="file whose sound is used instead of the video's own"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the model over one video; gives the exit code."""
    from avol.runtime.pipeline import run_on_video
    from avol.runtime.system import AvolNetSystem

    options = _options(arguments)
    with _termination_cleans_up(), open_backend(arguments.model, arguments.device, arguments.precision) as backend:
        system = AvolNetSystem(backend)
        timeline_folder = arguments.json.parent if arguments.json is not None else None
        with _folder_for_results(arguments.output_dir), _folder_for_results(timeline_folder), _Progress() as progress:
            summary = run_on_video(options, system, progress)
        description = backend.description
    _report(options, summary, description)
    return 0


def _options(arguments: argparse.Namespace) -> RunOptions:
    from avol.runtime.pipeline import RunOptions

    video: Path = arguments.video
    folder: Path = arguments.output_dir or video.parent
    return RunOptions(
        video=video,
        audio=arguments.audio,
        timeline_out=arguments.json or folder / f"{video.stem}.avol.json",
        video_out=None if arguments.no_video else folder / f"{video.stem}.avol.mp4",
        rate_hz=arguments.rate,
        threshold=arguments.threshold,
        maps=arguments.maps,
    )


@contextlib.contextmanager
def _folder_for_results(folder: Path | None) -> Iterator[None]:
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
def _termination_cleans_up() -> Iterator[None]:
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


class _Progress:
    """A bar on standard error, in seconds of video; silent where that is not a terminal."""

    def __enter__(self) -> _Progress:
        from tqdm import tqdm

        form = "{desc} {percentage:3.0f}% |{bar}| {n:.1f}/{total:.1f} s  {remaining} left"
        self._bar = tqdm(total=0.0, desc="avol-run", bar_format=form, leave=False, disable=None)
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def __call__(self, done_seconds: float, total_seconds: float) -> None:
        self._bar.total = max(total_seconds, done_seconds)
        self._bar.update(done_seconds - self._bar.n)


def _report(options: RunOptions, summary: RunSummary, description: str) -> None:
    """Notes on standard error, one line of summary on standard output."""
    for note in summary.notes:
        print(f"avol-run: {_one_line(note, sys.stderr)}", file=sys.stderr)
    written = " and ".join(str(path) for path in (options.video_out, options.timeline_out) if path is not None)
    silent = f" ({summary.silence}: silence)" if summary.silence else ""
    speed = summary.duration_seconds / max(summary.elapsed_seconds, 1e-9)
    line = (
        f"{options.video}{silent}: {summary.duration_seconds:.1f} s in {summary.elapsed_seconds:.1f} s "
        f"({speed:.1f}x real time), {summary.sounding} of {summary.analysed} analysed frames sounding, "
        f"{description} -> {written}"
    )
    try:
        print(_one_line(line, sys.stdout))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise AvolError(
            f"standard output: cannot be written: {error.strerror}; the result files are complete."
        ) from None


def _one_line(text: str, stream: TextIO) -> str:
    """Names of files may hold line breaks, bytes that are no text, and letters that the terminal's coding lacks."""
    coding = stream.encoding or "utf-8"
    return text.replace("\n", "\\n").replace("\r", "\\r").encode(coding, "backslashreplace").decode(coding)


def _rate(text: str) -> float:
    return _number(text, lowest=0.001, highest=1000.0)


def _threshold(text: str) -> float:
    return _number(text, lowest=0.0, highest=1.0)


def _number(text: str, *, lowest: float, highest: float) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not lowest <= value <= highest:
        raise argparse.ArgumentTypeError(f"{text} is not between {lowest:g} and {highest:g}")
    return value
