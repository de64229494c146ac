"""How late a live run is: from a picture's being sent to its line's standing in the timeline.

    python benchmarks/live_latency.py [--seconds 60] [--rate 10] [--precision auto] [--json FILE]

A process of its own sends 640x360 at 25 pictures a second and a tone as MPEG-TS to 127.0.0.1, and notes the time at
which each picture goes to its encoder. The pictures carry their number as black and white blocks. `avol-run --live`
analyses them and writes its pictures as well, one for each line; the number read from the picture says when it was
sent, the line says when it was written. A picture waits for the half window of sound behind it, which no program can
shorten: what is told is the latency beyond it. Sending, encoding, decoding, analysing and writing share the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np
from records import processor, publish

from avol.runtime.model_folder import bundled_model_folder, read_spec

ROOT = Path(__file__).resolve().parents[1]
AVOL_RUN = "import sys; from avol.apps.cli import main_run; sys.exit(main_run())"
WIDTH, HEIGHT, FRAME_RATE, AUDIO_RATE_HZ = 640, 360, 25, 48_000
BITS, BLOCK_PIXELS = 20, 16
AUDIO_BLOCK = 1152  # samples of MP2
BAR_MILLISECONDS = 250.0
WARM_UP_SECONDS = 5.0


def numbered(number: int, background: np.ndarray) -> np.ndarray:
    """A picture (planes of yuv420p) that goes round, with its number in blocks along the top."""
    planes = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    planes[:HEIGHT] = np.roll(background, -3 * number, axis=1)
    for bit in range(BITS):
        block = slice(bit * BLOCK_PIXELS, (bit + 1) * BLOCK_PIXELS)
        planes[:BLOCK_PIXELS, block] = 235 if number >> bit & 1 else 16
    return planes


def number_of(luma: np.ndarray) -> int:
    """The number in a picture's blocks."""
    middle = BLOCK_PIXELS // 2
    centres = [
        luma[middle - 3 : middle + 3, bit * BLOCK_PIXELS + middle - 3 : bit * BLOCK_PIXELS + middle + 3].mean()
        for bit in range(BITS)
    ]
    return sum(1 << bit for bit, value in enumerate(centres) if value > 125)


def send(url: str, log: Path) -> None:
    """Send until killed; a line for each picture with the time of day at which it went to the encoder."""
    rng = np.random.default_rng(0)
    background = np.kron(rng.integers(60, 190, (HEIGHT // 8, WIDTH // 8)), np.ones((8, 8))).astype(np.uint8)
    index = np.arange(AUDIO_BLOCK)
    with log.open("w", encoding="ascii") as sent, av.open(url, "w", format="mpegts") as container:
        video = container.add_stream(
            "libx264", rate=FRAME_RATE, options={"preset": "ultrafast", "tune": "zerolatency", "g": "25"}
        )
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = container.add_stream("mp2", rate=AUDIO_RATE_HZ)
        audio.layout = "mono"
        started, samples = time.monotonic(), 0
        for number in range(1 << BITS):
            time.sleep(max(0.0, started + number / FRAME_RATE - time.monotonic()))
            picture = av.VideoFrame.from_ndarray(numbered(number, background), "yuv420p")
            picture.pts = number
            sent.write(f"{number} {time.time():.4f}\n")
            sent.flush()
            container.mux(video.encode(picture))
            while samples / AUDIO_RATE_HZ < (number + 1) / FRAME_RATE:
                tone = 9000 * np.sin(2 * np.pi * 440 / AUDIO_RATE_HZ * (samples + index))
                block = av.AudioFrame.from_ndarray(tone.astype(np.int16)[None], "s16", "mono")
                block.sample_rate, block.pts = AUDIO_RATE_HZ, samples
                container.mux(audio.encode(block))
                samples += AUDIO_BLOCK


def run(folder: Path, port: int, arguments: argparse.Namespace) -> tuple[list[float], list[dict[str, float]]]:
    """Latencies in seconds and the lines, without those of the first seconds."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    log, lines, video = folder / "sent.txt", folder / "live.jsonl", folder / "live.mp4"
    url = f"udp://127.0.0.1:{port}?pkt_size=1316"
    sender = subprocess.Popen([sys.executable, __file__, "--send", url, str(log)], env=environment)
    try:
        options = ["--seconds", str(arguments.seconds), "--rate", str(arguments.rate), "--json", str(lines)]
        options += ["--live-video", str(video), "--opacity", "0", "--device", "cpu", "--precision", arguments.precision]
        command = [sys.executable, "-c", AVOL_RUN, "--live", f"udp://127.0.0.1:{port}", *options]
        subprocess.run(command, check=True, env=environment)
    finally:
        sender.send_signal(signal.SIGKILL)
        sender.wait()
    sent = {int(a): float(b) for a, b in (line.split() for line in log.read_text(encoding="ascii").splitlines())}
    entries = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()[1:]]
    with av.open(str(video)) as container:
        numbers = [number_of(frame.to_ndarray(format="gray")) for frame in container.decode(video=0)]
    assert len(numbers) == len(entries), f"{len(numbers)} pictures, {len(entries)} lines"
    kept = [
        (entry["written_at"] - sent[number], entry)
        for number, entry in zip(numbers, entries, strict=True)
        if entry["time_seconds"] >= entries[0]["time_seconds"] + WARM_UP_SECONDS
    ]
    return [latency for latency, _ in kept], [entry for _, entry in kept]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="(default: %(default)s)")
    parser.add_argument("--rate", type=float, default=10.0, help="analyses a second (default: %(default)s)")
    parser.add_argument("--precision", default="auto", help="(default: %(default)s)")
    parser.add_argument("--port", type=int, default=23_457, help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--send", nargs=2, metavar=("URL", "LOG"), help="what the sending process is told")
    arguments = parser.parse_args()
    if arguments.send:
        send(arguments.send[0], Path(arguments.send[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        latencies, entries = run(Path(name), arguments.port, arguments)
    half_window = read_spec(bundled_model_folder()).spectrogram.clip_seconds / 2
    beyond = 1000 * (np.array(latencies) - half_window)
    recorded = 1000 * np.array([entry["latency_seconds"] for entry in entries])
    quantiles = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
    record = {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "seconds": arguments.seconds,
        "rate_hz": arguments.rate,
        "precision": arguments.precision,
        "findings": len(latencies),
        "findings_per_second": round(
            len(latencies) / max(entries[-1]["time_seconds"] - entries[0]["time_seconds"], 1), 2
        ),
        "dropped": sum(int(entry["dropped"]) for entry in entries),
        "half_window_milliseconds": round(1000 * half_window, 1),
        "beyond_half_window_milliseconds": {k: round(float(np.percentile(beyond, q)), 1) for k, q in quantiles.items()},
        "recorded_from_the_decoder_milliseconds": {
            k: round(float(np.percentile(recorded, q)), 1) for k, q in quantiles.items()
        },
        "goal": f"p95 at most {BAR_MILLISECONDS:g}",
        "met": bool(np.percentile(beyond, 95) <= BAR_MILLISECONDS),
    }
    publish(record, arguments.json)


if __name__ == "__main__":
    main()
