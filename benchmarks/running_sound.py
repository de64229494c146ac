"""What changes when the audio tower runs over a video's track, as it does on a CPU.

    python benchmarks/running_sound.py VIDEOS ... [--rate 10] [--precision int8] [--json FILE]

Every video is localised twice, every frame with a window of its own and as ``avol-run`` does it, and the answers are
compared frame by frame: the peak, the score, and whether the frame is sounding. What it costs in accuracy is in
``reports/experiments/running.json``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from records import processor, publish

from avol.runtime.backends.cpu import CpuBackend
from avol.runtime.errors import AvolError
from avol.runtime.frame_localiser import FrameLocaliser, LocalisedFrame
from avol.runtime.media.source import open_source
from avol.runtime.model_folder import bundled_model_folder
from avol.runtime.system import AvolNetSystem
from avol.runtime.track import Track


class WindowsAlone(AvolNetSystem):
    """Every frame is heard with exactly the window around it."""

    def open_track(self, chunks: Iterable[NDArray[np.float32]], *, rate_hz: float | None = None) -> Track:
        """See :meth:`AvolNetSystem.open_track`."""
        return super().open_track(chunks)


def analysed(video: Path, system: AvolNetSystem, rate_hz: float) -> list[LocalisedFrame]:
    """The analysed frames of a video."""
    frames = FrameLocaliser(open_source(video), system, rate_hz, pictures=False)
    return [frame for frame in frames if frame.score is not None]


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--rate", type=float, default=10.0, help="analyses a second (default: %(default)s)")
    parser.add_argument("--model", type=Path, default=bundled_model_folder(), help="(default: the bundled one)")
    parser.add_argument("--precision", default="auto", help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    own: list[LocalisedFrame] = []
    over_track: list[LocalisedFrame] = []
    passed_over = 0
    with CpuBackend(arguments.model, precision=arguments.precision) as backend:
        running, alone = AvolNetSystem(backend), WindowsAlone(backend)
        for video in arguments.videos:
            try:
                own += analysed(video, alone, arguments.rate)
                over_track += analysed(video, running, arguments.rate)
            except AvolError:
                passed_over += 1
        threshold, name, precision = backend.spec.threshold, backend.spec.name, backend.precision
    if len(own) != len(over_track) or not own:
        raise SystemExit(f"{len(own)} and {len(over_track)} frames were analysed: nothing to compare.")
    maps = [np.stack([frame.map for frame in frames if frame.map is not None]) for frames in (own, over_track)]
    scores = [np.array([frame.score for frame in frames]) for frames in (own, over_track)]
    peaks = [
        np.array(np.unravel_index(found.reshape(len(found), -1).argmax(axis=1), found.shape[1:])) for found in maps
    ]
    sounding = scores[0] >= threshold
    distances = np.abs(peaks[0] - peaks[1]).max(axis=0)[sounding]
    differences = np.abs(scores[0] - scores[1])
    record = {
        "model": name,
        "precision": precision,
        "processor": processor(),
        "rate_hz": arguments.rate,
        "videos": len(arguments.videos) - passed_over,
        "frames": len(own),
        "sounding_frames": int(sounding.sum()),
        "same_peak_of_sounding_frames": round(float((distances == 0).mean()), 4),
        "peak_within_a_cell_of_sounding_frames": round(float((distances <= 1).mean()), 4),
        "same_sounding": round(float((sounding == (scores[1] >= threshold)).mean()), 4),
        "score_difference": {
            "median": round(float(np.median(differences)), 4),
            "p95": round(float(np.percentile(differences, 95)), 4),
        },
    }
    publish(record, arguments.json)


if __name__ == "__main__":
    main()
