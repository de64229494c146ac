"""The first thing a user sees: the bundled model on the bundled sample."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from avol.apps.cli import main_run
from avol.runtime.model_folder import bundled_sample
from avol.runtime.timeline import read_timeline
from avol.train.scenes.sample import TURNS, sample_scene


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder: Path = tmp_path_factory.mktemp("sample")
    assert main_run([str(bundled_sample()), "--output-dir", str(folder), "--no-video"]) == 0
    return read_timeline(folder / "two-instruments.avol.json")["frames"]


def test_the_hot_spot_jumps_when_the_sound_does(frames: list[dict]) -> None:
    scene = sample_scene()
    for actor, start, end in TURNS:
        # The window reaches half a second to both sides: in the middle of a turn it hears nothing else.
        inside = [frame for frame in frames if start + 0.4 <= frame["time_seconds"] <= end - 0.4]
        hits = []
        for frame in inside:
            _, (x0, y0, x1, y1), sounding = scene.boxes(frame["time_seconds"])[actor]
            x, y = frame["peak"]
            assert sounding
            hits.append(x0 <= x <= x1 and y0 <= y <= y1)
        assert len(inside) >= 7
        assert np.mean(hits) >= 0.85
        assert np.mean([frame["sounding"] for frame in inside]) >= 0.85


def test_silence_sounds_from_nowhere(frames: list[dict]) -> None:
    quiet = [frame for frame in frames if frame["time_seconds"] >= TURNS[-1][2] + 0.6]
    assert len(quiet) >= 4
    assert not any(frame["sounding"] or frame["box"] for frame in quiet)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_behind_a_redirection_is_one_line(tmp_path: Path) -> None:
    program = "import sys; from avol.apps.cli import main_run; sys.exit(main_run())"
    command = [sys.executable, "-c", program, str(bundled_sample()), "--no-video", "--output-dir", str(tmp_path)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "standard output: cannot be written" in done.stderr
    assert read_timeline(tmp_path / "two-instruments.avol.json")["frames"]
