"""Wall time of a whole `avol-run`, against the same in one thread and against a plain transcode.

    python benchmarks/run_video.py [--video FILE] [--pairs 5] [--rate 10] [--old COMMIT] [--json FILE]

Three contenders take turns, so that whatever else the machine does meets all of them; what is told are medians over the
rounds of the ratios within a round:

- `new`: this checkout;
- `old`: the commit before the run had stages, checked out into a temporary git worktree;
- `transcode`: decoding and encoding alone through PyAV with the same encoder settings (libx264, veryfast, CRF 23, frame
  threads), the audio packets copied.

Each is a process of its own, started and ended within the measured time. Without --video, 60 s of 1280x720 at 30 fps
with AAC are made: textures that move and flicker, 2 to 6 Mbit/s.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
OLD_COMMIT = "86aad89"  # the last one that decodes, analyses, draws and encodes in one thread
SECONDS, WIDTH, HEIGHT, RATE = 60, 1280, 720, 30
AUDIO_RATE_HZ = 48_000
AVOL_RUN = "import sys; from avol.apps.cli import main_run; sys.exit(main_run())"


def write_natural_video(path: Path) -> None:
    """Blurred noise that drifts at several speeds, with a little grain; a tone that comes and goes."""
    rng = np.random.default_rng(0)
    layers = []
    for blur in (3, 9, 31):
        noise = cv2.GaussianBlur(rng.standard_normal((HEIGHT, 2 * WIDTH)).astype(np.float32), (0, 0), blur)
        layers.append(noise / noise.std())
    grain = rng.normal(0, 1.5, (8, HEIGHT, WIDTH)).astype(np.float32)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "b": "4M", "maxrate": "6M"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.thread_type = "FRAME"
        audio = container.add_stream("aac", rate=AUDIO_RATE_HZ)
        audio.layout = "mono"
        for second in range(SECONDS):
            tone = np.sin(2 * np.pi * (220 + 20 * second) * np.arange(AUDIO_RATE_HZ) / AUDIO_RATE_HZ)
            block = (tone * (0.3 if second % 3 else 0.0)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(block[None], "fltp", "mono")
            frame.sample_rate, frame.pts = AUDIO_RATE_HZ, second * AUDIO_RATE_HZ
            container.mux(audio.encode(frame))
            for index in range(second * RATE, (second + 1) * RATE):
                luma = sum(
                    np.roll(layer, -index * (3 - k), axis=1)[:, :WIDTH] * (14 + 8 * k) for k, layer in enumerate(layers)
                )
                planes = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
                planes[:HEIGHT] = np.clip(120 + luma + grain[index % len(grain)], 16, 235)
                picture = av.VideoFrame.from_ndarray(planes, "yuv420p")
                picture.pts, picture.time_base = index, Fraction(1, RATE)
                container.mux(video.encode(picture))
        container.mux(audio.encode(None))
        container.mux(video.encode(None))


def transcode(source: Path, target: Path) -> None:
    """What a run cannot do without: every picture decoded and encoded, the audio packets copied."""
    with av.open(str(source)) as given, av.open(str(target), "w", options={"movflags": "faststart"}) as output:
        pictures = given.streams.video[0]
        pictures.codec_context.thread_type = "AUTO"
        video = output.add_stream("libx264", rate=pictures.average_rate, options={"crf": "23", "preset": "veryfast"})
        video.width, video.height, video.pix_fmt = pictures.width, pictures.height, "yuv420p"
        video.codec_context.time_base = pictures.time_base
        video.codec_context.thread_type = "FRAME"
        sound = given.streams.audio[0] if given.streams.audio else None
        copied = None if sound is None else output.add_stream_from_template(sound, opaque=True)
        for packet in given.demux(*(stream for stream in (pictures, sound) if stream is not None)):
            if packet.stream is pictures:
                for picture in packet.decode():
                    picture.pict_type = 0
                    output.mux(video.encode(picture))
            elif packet.size and copied is not None:
                packet.stream = copied
                output.mux(packet)
        output.mux(video.encode(None))


@contextlib.contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """A temporary worktree of a commit."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", "--quiet", str(tree), commit], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def timed(command: list[str], source_root: Path) -> float:
    """Wall time of a process that sees the package of one checkout."""
    environment = os.environ | {"PYTHONPATH": str(source_root / "src")}
    started = time.perf_counter()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def measure(video: Path, old: Path, *, rounds: int, rate_hz: float, folder: Path) -> dict[str, list[float]]:
    """Seconds of every contender in every round; who starts changes from round to round."""
    run = [sys.executable, "-c", AVOL_RUN, str(video), "--rate", str(rate_hz), "--output-dir", str(folder)]
    contenders = {
        "new": (run, ROOT),
        "old": (run, old),
        "transcode": ([sys.executable, __file__, "--transcode", str(video), str(folder / "plain.mp4")], ROOT),
    }
    names = list(contenders)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-1, rounds):  # round -1 warms the disk's cache
        for name in names[number % len(names) :] + names[: number % len(names)]:
            taken = timed(*contenders[name])
            if number >= 0:
                seconds[name].append(round(taken, 3))
    return seconds


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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, help="another video than the one that is made")
    parser.add_argument("--pairs", type=int, default=5, help="rounds (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=10.0, help="analyses a second (default: %(default)s)")
    parser.add_argument("--old", default=OLD_COMMIT, metavar="COMMIT", help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--transcode", type=Path, nargs=2, metavar=("IN", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.transcode:
        transcode(*arguments.transcode)
        return
    with tempfile.TemporaryDirectory() as name, checkout(arguments.old) as old:
        folder = Path(name)
        video = arguments.video or folder / "made.mp4"
        if arguments.video is None:
            write_natural_video(video)
        seconds = measure(video, old, rounds=arguments.pairs, rate_hz=arguments.rate, folder=folder)
        material = described(video)
    record = {
        "material": material,
        "rate_hz": arguments.rate,
        "cores": len(os.sched_getaffinity(0)),
        "processor": platform.processor() or platform.machine(),
        "seconds": seconds,
        "median_seconds": {name: round(statistics.median(values), 3) for name, values in seconds.items()},
        "ratios": {
            f"{top} / {bottom}": round(
                statistics.median(a / b for a, b in zip(seconds[top], seconds[bottom], strict=True)), 3
            )
            for top, bottom in (("new", "transcode"), ("old", "transcode"), ("old", "new"))
        },
    }
    text = json.dumps(record, indent=2)
    print(text)
    if arguments.json is not None:
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
