"""avol-run on real clips, where the measuring material lies beside the checkout."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from avol.apps.cli import main_run
from avol.runtime.timeline import read_timeline

CLIPS = 3  # of 161: enough to meet real encoders, few enough for every run


@pytest.mark.shared
def test_real_clips_run_and_keep_their_time_and_sound(shared_data: Path, tmp_path: Path) -> None:
    clips = sorted((shared_data / "videos").glob("*.mp4"))[:: 161 // CLIPS][:CLIPS]
    assert len(clips) == CLIPS
    for clip in clips:
        assert main_run([str(clip), "--output-dir", str(tmp_path)]) == 0
        timeline = read_timeline(tmp_path / f"{clip.stem}.avol.json")
        with av.open(str(tmp_path / f"{clip.stem}.avol.mp4")) as overlay, av.open(str(clip)) as source:
            times = [frame.time for frame in overlay.decode(video=0)]
            assert len(times) == sum(1 for _ in source.decode(video=0))
        for entry in timeline["frames"]:
            assert min(abs(entry["time_seconds"] - time) for time in times) < 1e-3
        assert _packets(tmp_path / f"{clip.stem}.avol.mp4") == _packets(clip)


def _packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]
