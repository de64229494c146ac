"""Wall time of a whole `avol-run` against a plain transcode, and against the script that one writes first.

    python benchmarks/run_video.py [--video FILE] [--model FOLDER] [--rounds 5] [--only NAME ...]
        [--no-heat] [--json FILE]

Contenders take turns, so that whatever else the machine does meets all of them; what is told are medians over the
rounds of the ratios within a round. Each is a process of its own, started and ended within the measured time:

- `fp32-10`, `int8-10`, `int8-30`: `avol-run` with its default output, in that precision, analyses a second;
- `ffmpeg`: `ffmpeg -preset veryfast -crf 23 -c:a copy`; its own frames per second are told as well;
- `plain`: `benchmarks/plain_script.py`, 30 analyses a second.

Outputs have the same codec, preset, CRF, size and number of frames, which is checked. Without --video, 60 s of 1280x720
at 30 fps with AAC are made, 2 to 6 Mbit/s: the bundled sample, so that there is something to find and heat to draw,
under textures that move and flicker. With --no-heat nothing is drawn: what drawing costs is the difference.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
from natural_video import write_natural_video
from records import processor, publish

from avol.runtime.model_folder import bundled_model_folder, read_spec

ROOT = Path(__file__).resolve().parents[1]
AVOL_RUN = "import sys; from avol.apps.cli import main_run; sys.exit(main_run())"
RUNS = {"fp32-10": ("fp32", 10), "int8-10": ("int8", 10), "int8-30": ("int8", 30), "fp32-30": ("fp32", 30)}
# Contender, what it is divided by, goal, and whether the ratio may be at most or has to be at least that.
BARS = (
    ("fp32-10", "ffmpeg", 1.30, "at most"),
    ("int8-10", "ffmpeg", 1.10, "at most"),
    ("int8-30", "ffmpeg", 1.35, "at most"),
    ("plain", "fp32-30", 3.0, "at least"),
    ("plain", "int8-30", 5.0, "at least"),
)


def commands(video: Path, folder: Path, model: list[str], drawing: list[str]) -> dict[str, tuple[list[str], Path]]:
    """By name: the command, and what it writes."""
    found: dict[str, tuple[list[str], Path]] = {}
    for name, (precision, rate) in RUNS.items():
        out = folder / name
        run = [
            sys.executable,
            "-c",
            AVOL_RUN,
            str(video),
            "--precision",
            precision,
            "--rate",
            str(rate),
            *model,
            *drawing,
        ]
        found[name] = ([*run, "--device", "cpu", "--output-dir", str(out)], out / f"{video.stem}.avol.mp4")
    encode = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-c:a", "copy"]
    out = folder / "ffmpeg.mp4"
    found["ffmpeg"] = ([shutil.which("ffmpeg") or "ffmpeg", "-y", "-i", str(video), *encode, str(out)], out)
    out = folder / "plain.mp4"
    found["plain"] = ([sys.executable, str(ROOT / "benchmarks" / "plain_script.py"), str(video), str(out), *model], out)
    return found


def sounding_share(timeline: Path) -> float:
    """The share of analysed frames in which something was found: only those are drawn on."""
    frames = json.loads(timeline.read_text(encoding="utf-8"))["frames"]
    return round(sum(frame["sounding"] for frame in frames) / max(len(frames), 1), 3)


def timed(command: list[str]) -> tuple[float, str]:
    """Wall time of a process, and what it said."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    started = time.perf_counter()
    done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    return time.perf_counter() - started, done.stderr


def frames_of(path: Path) -> int:
    """Number of pictures in a file."""
    with av.open(str(path)) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)


def measure(
    contenders: dict[str, tuple[list[str], Path]], wanted: int, names: list[str], rounds: int
) -> tuple[dict[str, list[float]], list[float], dict[str, float]]:
    """Seconds of every contender in every round, ffmpeg's frames per second, and the shares of frames with heat.

    Who starts changes every round. Every output has to have ``wanted`` frames.
    """
    seconds: dict[str, list[float]] = {name: [] for name in names}
    frame_rates: list[float] = []
    shares: dict[str, float] = {}
    for number in range(-1, rounds):  # round -1 warms the disk's cache
        for name in names[number % len(names) :] + names[: number % len(names)]:
            command, out = contenders[name]
            taken, said = timed(command)
            if number < 0:
                assert frames_of(out) == wanted, f"{out}: {frames_of(out)} frames, not {wanted}"
                if name in RUNS:
                    shares[name] = sounding_share(out.with_suffix(".json"))
                continue
            seconds[name].append(round(taken, 3))
            if name == "ffmpeg" and (rates := re.findall(r"fps=\s*([\d.]+)", said)):
                frame_rates.append(float(rates[-1]))
            print(f"round {number + 1}: {name} {taken:.2f} s", file=sys.stderr)
    return seconds, frame_rates, shares


def described(video: Path) -> dict[str, object]:
    """The material."""
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        length = float((container.duration or 0) / av.time_base)
        return {
            "size": [stream.width, stream.height],
            "frame_rate": float(stream.average_rate or 0),
            "seconds": round(length, 2),
            "megabits_per_second": round(video.stat().st_size * 8e-6 / max(length, 1e-9), 2),
        }


def ratios(seconds: dict[str, list[float]]) -> dict[str, dict[str, object]]:
    """Medians of the ratios within rounds, beside the bars."""
    found: dict[str, dict[str, object]] = {}
    for top, bottom, bar, kind in BARS:
        if top in seconds and bottom in seconds:
            parts = [a / b for a, b in zip(seconds[top], seconds[bottom], strict=True)]
            ratio = statistics.median(parts)
            found[f"{top} / {bottom}"] = {
                "median": round(ratio, 3),
                "lowest": round(min(parts), 3),
                "highest": round(max(parts), 3),
                "bar": f"{kind} {bar}",
                "met": ratio <= bar if kind == "at most" else ratio >= bar,
            }
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, help="another video than the one that is made")
    parser.add_argument(
        "--model", type=Path, help="folder of an exported model with its checkpoint (default: the bundled one)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    names = [*RUNS, "ffmpeg", "plain"]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--no-heat", action="store_true", help="avol-run finds nothing, and so draws nothing")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if "ffmpeg" in arguments.only and shutil.which("ffmpeg") is None:
        parser.error("there is no ffmpeg to compare with; install it, or leave it out of --only")
    model = [] if arguments.model is None else ["--model", str(arguments.model)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video = arguments.video or folder / "made.mp4"
        if arguments.video is None:
            write_natural_video(video)
        contenders = commands(video, folder, model, ["--threshold", "1"] if arguments.no_heat else [])
        seconds, frame_rates, shares = measure(contenders, frames_of(video), arguments.only, arguments.rounds)
        material = described(video)
    record = {
        "model": read_spec(arguments.model or bundled_model_folder()).preset,
        "material": material,
        "cores": len(os.sched_getaffinity(0)),
        "processor": processor(),
        "sounding_share": shares,
        "seconds": seconds,
        "median_seconds": {name: round(statistics.median(values), 3) for name, values in seconds.items()},
        "ffmpeg_frames_per_second": frame_rates,
        "ratios": ratios(seconds),
    }
    publish(record, arguments.json)


if __name__ == "__main__":
    main()
