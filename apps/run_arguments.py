"""The options of ``avol run``."""

from __future__ import annotations

import argparse
from pathlib import Path

from avol.runtime.backends import DEVICES, PRECISIONS

EXAMPLES = """\
examples:
  avol-run concert.mp4                        writes concert.avol.mp4 and concert.avol.json beside it
  avol-run clips/ --recursive --output-dir results --skip-existing
  avol-run band.mp4 --audio violin.wav        what in these pictures could make that sound?
  avol-run --image band.jpg --audio violin.wav   the same for one picture
  avol-run - --output - < clip.mp4 | ffplay -    between pipes, as Matroska while it is made
  avol-run --live rtsp://camera/stream        a stream, as it comes; --live /dev/video0 --microphone default
"""
STYLES = ("overlay", "contour", "box", "side-by-side", "heatmap")
COLOUR_MAPS = ("inferno", "magma", "plasma", "viridis", "cividis", "turbo")
FORMATS = ("json", "jsonl", "csv", "npz")
CODECS = ("h264", "hevc", "vp9", "h264-nvenc", "hevc-nvenc", "h264-qsv", "hevc-qsv")
HIGHEST_CRF = 63


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything, in the groups of the help."""
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.usage = "%(prog)s [options] VIDEO [VIDEO ...]"
    parser.add_argument(
        "videos", type=Path, nargs="*", metavar="VIDEO", help="files, folders, patterns such as '*.mp4'; - is stdin"
    )
    parser.add_argument("--recursive", action="store_true", help="look in the folders below a folder as well")
    parser.add_argument("--skip-existing", action="store_true", help="leave out videos whose results are there")
    parser.add_argument("--quiet", action="store_true", help="say nothing but what is wrong")
    parser.add_argument("--verbose", action="store_true", help="say what is read, what computes, and how fast")
    _add_model(parser.add_argument_group("model"))
    _add_results(parser.add_argument_group("results"))
    _add_picture(parser.add_argument_group("picture"))
    _add_live(parser.add_argument_group("live"))


def _add_model(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--model", type=Path, metavar="PATH", help="folder of an exported model (default: the bundled)")
    group.add_argument(
        "--device", choices=DEVICES, metavar="D", default="auto", help=f"{_names(DEVICES)} (default: auto, the fastest)"
    )
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        metavar="P",
        default="auto",
        help=f"{_names(PRECISIONS)} (default: auto, the fastest)",
    )
    group.add_argument(
        "--start", type=_time, default=0.0, metavar="TIME", help="run from here: seconds, M:SS or H:MM:SS"
    )
    group.add_argument("--end", type=_time, metavar="TIME", help="run up to here")
    group.add_argument("--rate", type=_rate, default=10.0, metavar="HZ", help="analyses a second (default: 10)")
    group.add_argument("--threshold", type=_share, metavar="P", help="score that counts as sounding, 0..1")
    group.add_argument(
        "--audio", type=Path, metavar="OTHER", help="file whose sound is used instead of the video's own"
    )
    group.add_argument(
        "--image", type=Path, metavar="PICTURE", help="a picture for --audio: writes a PNG and a timeline"
    )


def _add_results(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--output-dir", type=Path, metavar="DIR", help="folder of the results (default: the video's)")
    group.add_argument("--output", type=Path, metavar="PATH", help="name of the video (default: VIDEO.avol.mp4)")
    group.add_argument("--json", type=Path, metavar="PATH", help="name of the timeline (default: VIDEO.avol.json)")
    group.add_argument(
        "--format",
        choices=FORMATS,
        metavar="F",
        default="json",
        help=f"of the timeline: {_names(FORMATS)} (default: json)",
    )
    group.add_argument("--maps", action="store_true", help="put every cell of the maps into the timeline")
    group.add_argument("--no-video", action="store_true", help="write the timeline only")
    group.add_argument("--no-audio", action="store_true", help="leave the sound out of the video")
    group.add_argument("--codec", choices=CODECS, metavar="C", default="h264", help=f"{_names(CODECS)} (default: h264)")
    group.add_argument("--crf", type=_crf, default=23, metavar="N", help="quality: smaller is better (default: 23)")


def _add_picture(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--style", choices=STYLES, metavar="S", default="overlay", help=f"{_names(STYLES)} (default: overlay)"
    )
    group.add_argument(
        "--colormap",
        choices=COLOUR_MAPS,
        metavar="C",
        default="inferno",
        help=f"{_names(COLOUR_MAPS)} (default: inferno)",
    )
    group.add_argument("--opacity", type=_share, default=0.65, metavar="P", help="of the hottest place (default: 0.65)")
    group.add_argument("--strip", action="store_true", help="show the score and the waveform under the picture")
    group.add_argument("--no-smoothing", action="store_true", help="let heat stand still between two analyses")
    group.add_argument("--legend", action="store_true", help="show what the colours mean")


def _add_live(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--live", metavar="SOURCE", help="stream (rtsp, rtp, udp, http ...) or camera (/dev/video0)")
    group.add_argument("--microphone", default="", metavar="DEVICE", help="ALSA device for a camera, e.g. default")
    group.add_argument("--live-video", type=Path, metavar="PATH", help="write the analysed pictures there as well")
    group.add_argument("--seconds", type=_positive, metavar="S", help="end after so many seconds")


def _names(choices: tuple[str, ...]) -> str:
    return ", ".join(choices)


def _rate(text: str) -> float:
    return _number(text, lowest=0.001, highest=1000.0)


def _share(text: str) -> float:
    return _number(text, lowest=0.0, highest=1.0)


def _time(text: str) -> float:
    parts = text.split(":")
    if len(parts) > 3:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 90, 1:30 or 0:01:30")
    seconds = 0.0
    for place, part in enumerate(parts):
        highest = 1e9 if place == 0 else 59.999999
        number = _number(part, lowest=0.0, highest=highest)
        if place < len(parts) - 1 and number != int(number):
            raise argparse.ArgumentTypeError(f"{text!r}: only seconds have decimals")
        seconds = 60 * seconds + number
    return seconds


def _positive(text: str) -> float:
    return _number(text, lowest=0.001, highest=1e9)


def _crf(text: str) -> int:
    return round(_number(text, lowest=0, highest=HIGHEST_CRF))


def _number(text: str, *, lowest: float, highest: float) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not lowest <= value <= highest:
        raise argparse.ArgumentTypeError(f"{text} is not between {lowest:g} and {highest:g}")
    return value
