"""Memory of a run over hours of video: it has to stay flat.

    python benchmarks/long_run.py [--hours 3] [--size 640x360] [--rate 30] [--json FILE]

Writes a video of that length (a block that goes round, a tone that comes and goes; minutes of work, some hundred MB),
runs `avol-run` over it in a process of its own with the model that ships, overlay video and timeline included, and
samples the resident memory of that process. Bars: below 400 MB, and less than 5 MB an hour of growth after warm-up (the
first quarter of the samples). Growth is the slope of a straight line through the rest.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from records import processor, publish

RESIDENT_BAR_MB, GROWTH_BAR_MB = 400.0, 5.0
WARM_UP_SHARE = 0.25
AUDIO_RATE_HZ = 48_000
PHASES = 64  # pictures that repeat: drawing must not cost more than encoding


def write_long_video(path: Path, *, seconds: float, width: int, height: int, rate: int) -> None:
    """H.264 and AAC, encoded as it is made: no more than a few pictures are in memory."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "30", "g": "250"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.thread_type = "FRAME"
        audio = container.add_stream("aac", rate=AUDIO_RATE_HZ)
        audio.layout = "mono"
        pictures = _pictures(width, height)
        tone = np.sin(2 * np.pi * 440 * np.arange(AUDIO_RATE_HZ) / AUDIO_RATE_HZ).astype(np.float32)
        for second in range(int(np.ceil(seconds))):
            frame = av.AudioFrame.from_ndarray((tone * (0.3 if second % 4 < 2 else 0.0))[None], "fltp", "mono")
            frame.sample_rate, frame.pts = AUDIO_RATE_HZ, second * AUDIO_RATE_HZ
            frame.time_base = Fraction(1, AUDIO_RATE_HZ)
            container.mux(audio.encode(frame))
            for index in range(second * rate, min((second + 1) * rate, round(seconds * rate))):
                picture = av.VideoFrame.from_ndarray(pictures[index % PHASES], "yuv420p")
                picture.pts, picture.time_base = index, Fraction(1, rate)
                container.mux(video.encode(picture))
        container.mux(audio.encode(None))
        container.mux(video.encode(None))


def _pictures(width: int, height: int) -> list[np.ndarray]:
    """A bright block that goes round over a smooth ground, as yuv420p: little to encode."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    found = []
    for phase in range(PHASES):
        angle = 2 * np.pi * phase / PHASES
        block = np.maximum(abs(x - 0.5 - 0.3 * np.cos(angle)), abs(y - 0.5 - 0.3 * np.sin(angle))) < 0.1
        planes = np.full((height * 3 // 2, width), 128, np.uint8)
        planes[:height] = np.where(block, 220, 60 + 80 * x)
        found.append(planes)
    return found


def resident_mb(process: int) -> float | None:
    """Resident memory of a process; None when it has gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")]
    return found[0] if found else None


def sampled(process: subprocess.Popen[str], interval_seconds: float) -> Iterator[tuple[float, float]]:
    """Seconds since the start and resident megabytes, while the process runs."""
    started = time.monotonic()
    while process.poll() is None:
        if (found := resident_mb(process.pid)) is not None:
            yield time.monotonic() - started, found
        time.sleep(interval_seconds)


def measure(video: Path, folder: Path, *, hours: float, interval_seconds: float) -> dict[str, object]:
    """Run over the video and look at the memory; times are scaled to hours of video."""
    command = [sys.executable, "-m", "avol", "run", str(video), "--output-dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        samples = list(sampled(process, interval_seconds))
        assert process.stdout is not None
        summary = process.stdout.read().strip()
    if process.returncode:
        raise SystemExit(f"avol run failed with status {process.returncode}")
    seconds, megabytes = (np.array(column) for column in zip(*samples, strict=True))
    of_video = seconds / seconds[-1] * hours
    later = of_video >= WARM_UP_SHARE * hours
    slope = float(np.polyfit(of_video[later], megabytes[later], 1)[0])
    return {
        "summary": summary.replace(str(folder), "").replace(str(video.parent), ""),
        "elapsed_seconds": round(float(seconds[-1]), 1),
        "resident_mb": {"peak": round(float(megabytes.max()), 1), "median": round(float(np.median(megabytes)), 1)},
        "growth_mb_per_hour": round(slope, 2),
        "samples": [[round(float(h), 4), round(float(m), 1)] for h, m in zip(of_video, megabytes, strict=True)][::10],
        "within_bars": bool(megabytes.max() < RESIDENT_BAR_MB and slope < GROWTH_BAR_MB),
    }


def main() -> int:
    """Measure; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--rate", type=int, default=30)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--interval-seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "long.mp4"
        write_long_video(video, seconds=arguments.hours * 3600, width=width, height=height, rate=arguments.rate)
        record = {
            "hours": arguments.hours,
            "size": [width, height],
            "rate": arguments.rate,
            "processor": processor(),
            **measure(video, Path(folder), hours=arguments.hours, interval_seconds=arguments.interval_seconds),
        }
    publish(record, arguments.json)
    return 0 if record["within_bars"] else 1


if __name__ == "__main__":
    sys.exit(main())
