"""``avol data prepare``: any videos become clips to train on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avol.train.data.prepare import Outcome

PROBLEMS_SHOWN = 10
EXAMPLES = """\
examples:
  avol data prepare videos --out pairs
  avol data prepare one.mp4 more/ --out pairs --labels clips.csv --frames-per-second 5

The same command again, with the same videos or more, reads only what is new; so does one after a kill. Files without
sound, shorter than the second that a network hears at once, or the same as another are left out, and listed with what
cannot be read in DIR/problems.csv.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avol data prepare``."""
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO", help="files, and folders of any depth")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the clips")
    parser.add_argument(
        "--preset", default="avol-128", metavar="NAME", help="network whose sizes to take (default: %(default)s)"
    )
    parser.add_argument(
        "--frames-per-second", type=float, default=3.0, metavar="N", help="to keep, up to 25 (default: %(default)g)"
    )
    parser.add_argument(
        "--piece-seconds", type=float, default=10.0, metavar="S", help="longest clip (default: %(default)g)"
    )
    parser.add_argument(
        "--split", default="90:8:2", metavar="A:B:C", help="train, validation, test by video (default: %(default)s)"
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="CSV",
        help="list with the columns file, label, video_id (default: clips.csv in the folders)",
    )
    parser.add_argument("--drop-still", action="store_true", help="leave out clips in which nothing moves (album art)")
    parser.add_argument("--drop-silent", action="store_true", help="leave out clips without any sound to be heard")
    parser.add_argument("--jobs", type=int, metavar="N", help="processes (default: one per processor)")


def run(arguments: argparse.Namespace) -> int:
    """Prepare and report; gives the exit status."""
    from avol.train.data.prepare import prepare
    from avol.train.data.prepare_settings import Settings, frame_side
    from avol.train.network.presets import preset_spec

    _check(arguments)
    spec = preset_spec(arguments.preset)
    settings = Settings(
        frame_side=frame_side(spec),
        sample_rate_hz=spec.spectrogram.sample_rate_hz,
        margin_samples=-(-spec.spectrogram.clip_samples // 2),
        frames_per_second=arguments.frames_per_second,
        piece_seconds=arguments.piece_seconds,
        split=_split(arguments.split),
        drop_still=arguments.drop_still,
        drop_silent=arguments.drop_silent,
    )
    outcome = prepare(arguments.videos, arguments.out, settings, labels_path=arguments.labels, jobs=arguments.jobs)
    _report(arguments.out, outcome)
    return 0


def _report(out: Path, outcome: Outcome) -> None:
    import sys

    from avol.train.data.prepare import PROBLEM_LIST
    from avol.train.data.split import PARTS

    for problem in outcome.problems[:PROBLEMS_SHOWN]:
        print(f"avol data prepare: {problem.file}: {problem.detail}", file=sys.stderr)
    if (more := len(outcome.problems) - PROBLEMS_SHOWN) > 0:
        print(f"avol data prepare: {more} more in {out / PROBLEM_LIST}", file=sys.stderr)
    parts = ", ".join(f"{part} {outcome.clips[part]}" for part in PARTS)
    left_out = outcome.left_out
    reasons = f" ({', '.join(f'{count} {reason}' for reason, count in left_out.most_common())})" if left_out else ""
    print(
        f"{out}: {outcome.clips.total()} clips ({parts}), {outcome.new_clips} of them new; "
        f"videos: {outcome.read} read, {outcome.kept} already there, {left_out.total()} left out{reasons}"
    )


def _check(arguments: argparse.Namespace) -> None:
    for name, lowest, highest in (("frames_per_second", 0.5, 25), ("piece_seconds", 2, 600), ("jobs", 1, 1024)):
        value = getattr(arguments, name)
        if value is not None and not lowest <= value <= highest:
            raise argparse.ArgumentError(None, f"--{name.replace('_', '-')} must be from {lowest:g} to {highest:g}")


def _split(text: str) -> tuple[float, float, float]:
    from avol.train.data.split import parse_split

    try:
        return parse_split(text)
    except ValueError:
        raise argparse.ArgumentError(
            None, f"--split is {text!r}, not the shares of train, validation and test, such as 90:8:2"
        ) from None
