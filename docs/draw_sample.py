"""The moving picture of README: the bundled video as ``avol-run --strip --legend`` shows it.

python docs/draw_sample.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import av
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "runtime" / "samples" / "two-instruments.mp4"
OUT = ROOT / "docs" / "sample.webp"
EVERY = 3  # frames
WIDTH = 480  # pixels


def main() -> None:
    """Run, shrink, write."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "avol", "run", str(SAMPLE), "--strip", "--legend", "--output-dir", folder]
        subprocess.run(command, check=True)
        with av.open(str(Path(folder) / f"{SAMPLE.stem}.avol.mp4")) as container:
            rate = float(container.streams.video[0].average_rate or 25)
            frames = [frame.to_image() for frame in container.decode(video=0)][::EVERY]
    height = round(frames[0].height * WIDTH / frames[0].width)
    small = [frame.resize((WIDTH, height), Image.Resampling.LANCZOS) for frame in frames]
    small[0].save(
        OUT, save_all=True, append_images=small[1:], duration=round(1000 * EVERY / rate), loop=0, quality=70, method=4
    )
    print(f"{OUT.relative_to(ROOT)}: {len(small)} frames, {OUT.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
