"""``avol data fetch``: clips of a list, from the web."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import Counter

    from avol.train.data.fetch.segments import Segment

AUDIOSET_FOLDER = "http://storage.googleapis.com/us_audioset/youtube_corpus/v1/csv"
AUDIOSET_PARTS = {part: f"{part}_segments.csv" for part in ("balanced_train", "eval", "unbalanced_train")}
AUDIOSET_CLASSES = "class_labels_indices.csv"
VGGSOUND_LIST = "https://www.robots.ox.ac.uk/~vgg/data/vggsound/vggsound.csv"
LIST_FOLDER = "lists"
DOWNLOAD_TIMEOUT_SECONDS = 60

EXAMPLES = """\
examples:
  avol data fetch audioset --instruments --per-class 40 --out clips
  avol data fetch vggsound --class "playing cello" --class "dog barking" --out clips
  avol data fetch mine.csv --out clips      (columns video_id or url, start_seconds, end_seconds, label)
  avol data prepare clips --out pairs

Only the seconds in the list are read, some clips at a time, not too fast. The same command again, also after a kill,
asks only for what is missing; DIR/fetch.csv says of every segment what became of it. YouTube needs a JavaScript
runtime: install Deno (https://deno.com). Mind the rights of those whose videos these are.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``avol data fetch``."""
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument("list", metavar="LIST", help="audioset, vggsound, or a CSV file (theirs or one's own)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the clips")
    parser.add_argument(
        "--part", choices=AUDIOSET_PARTS, default="balanced_train", help="of audioset (default: %(default)s)"
    )
    parser.add_argument(
        "--class", dest="classes", action="append", default=[], metavar="NAME", help="only of this class (repeatable)"
    )
    parser.add_argument("--instruments", action="store_true", help="only of the 25 classes of AudioSet-Instruments")
    parser.add_argument(
        "--class-names", type=Path, metavar="CSV", help="AudioSet's class_labels_indices.csv, for a list of its kind"
    )
    parser.add_argument("--per-class", type=int, metavar="N", help="at most N segments of a class, from the list's top")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N segments, from the list's top")
    parser.add_argument("--jobs", type=int, default=4, metavar="N", help="clips at a time (default: %(default)s)")
    parser.add_argument(
        "--interval", type=float, default=1.0, metavar="S", help="seconds between requests (default: %(default)g)"
    )
    parser.add_argument("--retry", action="store_true", help="ask again for what was gone, private or refused")


def run(arguments: argparse.Namespace) -> int:
    """Fetch and report; gives the exit status: 1 if no clip is there in the end."""
    import importlib
    import sys

    from tqdm import tqdm

    from avol.train.data.fetch.download import lacks_javascript
    from avol.train.data.fetch.fetch import Manners, fetch_all
    from avol.train.data.fetch.journal import TABLE_FILE

    _check(arguments)
    importlib.import_module("yt_dlp")  # what is missing shows before the work
    segments = _chosen(arguments)
    if lacks_javascript() and any("youtube.com/" in segment.url for segment in segments):
        print(
            "avol data fetch: no JavaScript runtime found, without which YouTube gives few streams; install Deno "
            "(https://deno.com).",
            file=sys.stderr,
        )
    manners = Manners(jobs=arguments.jobs, interval_seconds=arguments.interval, retry=arguments.retry)
    with tqdm(total=len(segments), unit="clip", disable=None) as bar:
        counts = fetch_all(segments, arguments.out, manners, progress=lambda segment, outcome: bar.update())
    _report(counts, arguments.out, arguments.out / TABLE_FILE)
    return 0 if counts["fetched"] else 1


def _check(arguments: argparse.Namespace) -> None:
    for name, least in {"per_class": 1, "limit": 1, "jobs": 1, "interval": 0.0}.items():
        value = getattr(arguments, name)
        if value is not None and not value >= least:
            raise argparse.ArgumentError(None, f"--{name.replace('_', '-')} must be at least {least:g}")
    if arguments.jobs > 16:
        raise argparse.ArgumentError(None, "--jobs must be at most 16: sites lock out who asks for more")


def _chosen(arguments: argparse.Namespace) -> list[Segment]:
    """The segments of the list that were asked for."""
    from avol.train.data.fetch.segments import AUDIOSET_INSTRUMENTS, read_segments, with_classes

    lists, class_names = arguments.out / LIST_FOLDER, arguments.class_names
    if arguments.list == "audioset":
        name = AUDIOSET_PARTS[arguments.part]
        path = _official(f"{AUDIOSET_FOLDER}/{name}", lists / name)
        class_names = class_names or _official(f"{AUDIOSET_FOLDER}/{AUDIOSET_CLASSES}", lists / AUDIOSET_CLASSES)
    elif arguments.list == "vggsound":
        path = _official(VGGSOUND_LIST, lists / "vggsound.csv")
    else:
        path = Path(arguments.list)
    segments = read_segments(path, class_names=class_names)
    classes = [*arguments.classes, *(AUDIOSET_INSTRUMENTS if arguments.instruments else ())]
    if classes:
        segments = with_classes(segments, classes)
    if arguments.per_class is not None:
        segments = _first_of_each(segments, arguments.per_class)
    return segments[: arguments.limit]


def _first_of_each(segments: list[Segment], count: int) -> list[Segment]:
    """Segments that bring a class no further than ``count``; one of several classes counts for each."""
    from collections import Counter

    taken, kept = Counter[str](), []
    for segment in segments:
        if not segment.labels or any(taken[label] < count for label in segment.labels):
            taken.update(segment.labels)
            kept.append(segment)
    return kept


def _official(url: str, path: Path) -> Path:
    """A published list, downloaded once."""
    import urllib.request

    from avol.runtime.errors import AvolError
    from avol.train.data.prepare_settings import write_file

    if path.is_file():
        return path
    try:
        with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_SECONDS) as answer:
            content = answer.read()
    except (OSError, ValueError) as error:
        raise AvolError(
            f"{url}: cannot be downloaded ({getattr(error, 'reason', error)}); save the list yourself as {path}, or "
            "name it in place of the list's name."
        ) from None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AvolError(f"{path.parent}: cannot be made ({error.strerror}); choose another --out.") from None
    write_file(path, [content])
    return path


def _report(counts: Counter[str], folder: Path, table: Path) -> None:
    total = counts.total()
    for status, count in counts.most_common():
        print(f"{status:<18}{count:>8}{count / total:>8.1%}")
    print(f"{folder}: {counts['fetched']} of {total} clips are there; why the others are not is in {table}")
    if counts["fetched"]:
        print(f"next: avol data prepare {folder} --out pairs")
