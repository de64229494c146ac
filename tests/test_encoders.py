"""Encoders are there when they open; those of a GPU that do not are refused before the work."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avol.apps import doctor
from avol.apps.cli import main_run
from avol.runtime.errors import AvolError
from avol.runtime.media import encoders
from avol.runtime.media.encoders import ENCODERS, Encoder, encoder_problem, require_encoder
from avol.runtime.media.writer import VideoWriter

SOFTWARE = [name for name, encoder in ENCODERS.items() if not encoder.hardware]


@pytest.mark.parametrize("codec", SOFTWARE)
def test_encoders_in_software_open(codec: str) -> None:
    assert encoder_problem(codec) == ""
    require_encoder(codec)


def test_one_that_this_ffmpeg_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODERS, "h264-qsv", Encoder("h264_of_tomorrow", hardware="a machine of tomorrow"))
    assert encoder_problem("h264-qsv") == "this build of FFmpeg has no h264_of_tomorrow"
    with pytest.raises(
        AvolError, match=r"--codec h264-qsv: cannot be had here: this build .* Choose one of h264, hevc"
    ):
        require_encoder("h264-qsv")


def test_one_that_does_not_open_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        ENCODERS, "h264-nvenc", Encoder("libx264", options={"x264-params": "threads=1"}, hardware="luck")
    )
    monkeypatch.setattr(encoders, "TRIED_WIDTH", 321)  # yuv420p has no odd widths
    problem = encoder_problem("h264-nvenc")
    assert problem.startswith("libx264 does not open (")
    assert problem.endswith("it needs luck")


def test_what_works_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hardware that opens counts; that which does not is left out."""
    monkeypatch.setattr(encoders, "encoder_problem", lambda codec: "" if codec == "hevc-nvenc" else "no such thing")
    with pytest.raises(AvolError) as caught:
        require_encoder("h264-nvenc")
    assert str(caught.value).endswith("Choose one of h264, hevc, vp9, hevc-nvenc.")
    require_encoder("hevc-nvenc")


def test_a_run_is_refused_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(encoders, "encoder_problem", lambda codec: "there is none")
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"not even looked at")
    assert main_run([str(clip), "--codec", "h264-nvenc"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said == ["avol-run: --codec h264-nvenc: cannot be had here: there is none. Choose one of h264, hevc, vp9."]
    assert list(tmp_path.iterdir()) == [clip]


def test_the_doctor_tries_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor._encoders().keys() == ENCODERS.keys()
    assert {doctor._encoders()[name] for name in SOFTWARE} == {"works"}


def test_an_encoder_of_another_pixel_format_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Intel's take nothing but NV12: x264 takes that as well."""
    monkeypatch.setitem(ENCODERS, "h264-qsv", Encoder("libx264", options={"preset": "ultrafast"}, pixel_format="nv12"))
    planes = np.full((96 * 3 // 2, 128), 128, np.uint8)
    planes[:48, :64] = 40
    with VideoWriter(tmp_path / "clip.mp4", width=128, height=96, codec="h264-qsv") as writer:
        for index in range(5):
            picture = av.VideoFrame.from_ndarray(planes, "yuv420p")
            picture.time_base = Fraction(1, 25)
            writer.write(picture, index / 25)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert len(frames) == 5
    assert frames[-1][:40, :56].mean() + 40 < frames[-1][56:, 72:].mean()
