"""Render the sample that ships with the package: two instruments on a stage that sound in turn.

``python -m avol.train.scenes.sample OUT.mp4``
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from avol.runtime.atomic import AtomicOutput
from avol.train.scenes.scene import SyntheticScene
from avol.train.scenes.staging import Placement, Turn

WIDTH, HEIGHT, FRAME_RATE = 640, 360, 25
SAMPLE_RATE_HZ = 48_000
DURATION_SECONDS = 9.0  # the last second is silent
# Who sounds from when to when: the guitar on the left is 0, the horn on the right 1.
TURNS = ((0, 0.2, 2.1), (1, 2.3, 4.2), (0, 4.4, 6.0), (1, 6.2, 7.8))


def sample_scene() -> SyntheticScene:
    """The scene of the sample."""
    aspect = WIDTH / HEIGHT
    return SyntheticScene(
        7,
        kinds=("guitar", "horn"),
        duration_seconds=DURATION_SECONDS,
        aspect=aspect,
        turns=[Turn(actor=actor, start_seconds=start, end_seconds=end) for actor, start, end in TURNS],
        places=[
            Placement(x=0.27 * aspect, y=0.54, radius=0.36, tilt_turns=0.02),
            Placement(x=0.73 * aspect, y=0.56, radius=0.3, tilt_turns=-0.03),
        ],
        background="stage",
        silent_things=0,
    )


def write_sample(path: Path) -> None:
    """Render the sample as H.264 and AAC in MP4.

    Raises:
        AvolError: the file cannot be written.
    """
    scene = sample_scene()
    with AtomicOutput(path) as result:
        with av.open(str(result.temporary), "w", format="mp4", options={"movflags": "faststart"}) as output:
            video = output.add_stream("libx264", rate=FRAME_RATE, options={"crf": "23", "preset": "slow"})
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            audio = output.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono", bit_rate=96_000)
            output.mux(audio.encode(_sound(scene)))
            for number in range(round(DURATION_SECONDS * FRAME_RATE)):
                pixels = scene.frame(number / FRAME_RATE, HEIGHT, WIDTH)
                picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                picture.pts, picture.time_base = number, Fraction(1, FRAME_RATE)
                output.mux(video.encode(picture))
            for stream in (video, audio):
                output.mux(stream.encode(None))
        result.commit()


def _sound(scene: SyntheticScene) -> av.AudioFrame:
    samples = scene.samples(0.0, round(DURATION_SECONDS * SAMPLE_RATE_HZ), SAMPLE_RATE_HZ)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, 0, Fraction(1, SAMPLE_RATE_HZ)
    return frame


def main() -> None:
    """Read the command line and render."""
    parser = argparse.ArgumentParser(prog="python -m avol.train.scenes.sample", description=__doc__)
    parser.add_argument("out", type=Path)
    write_sample(parser.parse_args().out)


if __name__ == "__main__":
    main()
