"""``avol data prepare``: any videos become pairs to train on."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """\
examples:
  avol data prepare videos --out pairs
  avol data prepare one.mp4 more/ --out pairs --labels clips.csv --frames-per-second 5

The same command again, with the same videos or more, reads only what is new. A run that was killed goes on.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avol data prepare``."""
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument("videos", type=Path, nargs="+", help="video files, or folders of them (all levels)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the clips")
    parser.add_argument(
        "--preset", default="avol-128", metavar="NAME", help="network whose sizes to take (default: %(default)s)"
    )
    parser.add_argument(
        "--frames-per-second", type=float, default=3.0, metavar="N", help="frames to keep (default: %(default)g)"
    )
    parser.add_argument(
        "--piece-seconds", type=float, default=10.0, metavar="S", help="longest clip (default: %(default)g)"
    )
    parser.add_argument(
        "--split", default="90:8:2", metavar="T:V:T", help="train, validation and test, by video (default: %(default)s)"
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="CSV",
        help="list with the columns file, label and video_id (either may be empty)",
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="processes (default: one per processor)")


def run(arguments: argparse.Namespace) -> int:
    """Prepare and report; gives the exit status."""
    import sys
    from collections import Counter

    from avol.train.data.prepare import prepare, processors, read_labels
    from avol.train.data.shards import ClipStore, Settings, frame_side
    from avol.train.network.presets import preset_spec

    for name, lowest, highest in (("frames_per_second", 0.1, 60), ("piece_seconds", 1.0, 600), ("jobs", 1, 1024)):
        value = getattr(arguments, name)
        if value is not None and not lowest <= value <= highest:
            raise argparse.ArgumentError(None, f"--{name.replace('_', '-')} must be between {lowest:g} and {highest:g}")
    spec = preset_spec(arguments.preset)
    settings = Settings(
        preset=spec.preset,
        side=frame_side(spec),
        sample_rate_hz=spec.spectrogram.sample_rate_hz,
        frames_per_second=arguments.frames_per_second,
        piece_seconds=arguments.piece_seconds,
        split=_split(arguments.split),
    )
    labels = {} if arguments.labels is None else read_labels(arguments.labels)
    jobs = arguments.jobs or processors()
    outcome = prepare(arguments.videos, arguments.out, settings, labels=labels, jobs=jobs)
    for name, why in outcome.left_out.items():
        print(f"avol data prepare: {name}: left out: {why}", file=sys.stderr)
    parts = Counter(clip.entry.part for clip in ClipStore(arguments.out))
    shares = ", ".join(f"{count} {part}" for part, count in sorted(parts.items()))
    print(
        f"{arguments.out}: {outcome.clips} clips ({shares}); {outcome.read} videos read, {outcome.kept} read before, "
        f"{len(outcome.left_out)} left out"
    )
    return 0


def _split(text: str) -> tuple[float, float, float]:
    try:
        train, validation, test = map(float, text.split(":"))
    except ValueError:
        raise argparse.ArgumentError(None, f"--split is {text!r}, not three shares such as 90:8:2") from None
    if not (train > 0 and validation >= 0 and test >= 0 and train + validation + test < float("inf")):
        raise argparse.ArgumentError(None, "--split takes shares of 0 and more, that of train above 0")
    return train, validation, test
