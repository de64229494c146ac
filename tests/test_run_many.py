"""avol-run over several videos, in every style, format and codec; live runs from the command line."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from avol.apps import run_arguments
from avol.apps.cli import main, main_run
from avol.apps.live import RollingLines
from avol.runtime import heat_layer, styles, timeline_formats
from avol.runtime.errors import AvolError
from avol.runtime.media import encoders
from avol.runtime.strip import strip_height
from avol.runtime.timeline import read_timeline
from live_sender import LiveSender, free_udp_port
from media_factory import AudioTrack, VideoTrack, bursts, write_media

WIDTH, HEIGHT, SECONDS = 96, 64, 1.2


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sound = AudioTrack(samples=bursts([0.3], seconds=SECONDS, sample_rate=16_000), sample_rate=16_000)
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_media(path, VideoTrack(seconds=SECONDS, rate=25, width=WIDTH, height=HEIGHT), sound)


@pytest.fixture
def folder(tmp_path: Path, clip: Path) -> Path:
    for name in ("a.mp4", "b.mkv.mp4", "in/c.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(clip.read_bytes())
    return tmp_path


def run(*arguments: object) -> int:
    return main_run([str(argument) for argument in arguments])


def test_names_on_the_command_line_are_those_of_the_runtime() -> None:
    assert run_arguments.STYLES == styles.STYLES
    assert tuple(heat_layer.COLOUR_MAPS) == run_arguments.COLOUR_MAPS
    assert run_arguments.FORMATS == timeline_formats.FORMATS
    assert tuple(encoders.ENCODERS) == run_arguments.CODECS


def test_a_folder_is_run_file_by_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "out"
    assert run(folder, "--recursive", "--output-dir", out) == 0
    names = {path.relative_to(out).as_posix() for path in out.rglob("*.avol.*")}
    assert names == {f"{stem}.avol.{ending}" for stem in ("a", "b.mkv", "in/c") for ending in ("mp4", "json")}
    said = capsys.readouterr().out
    assert "3 of 3 videos run, 0 failed" in said


def test_a_bad_file_does_not_stop_the_others(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.mp4").write_bytes(b"nothing")
    assert run(folder, folder / "gone.mp4", "--recursive", "--no-video") == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 2
    assert "a.mp4: not a media file" in said.err
    assert "gone.mp4: no such file" in said.err
    assert "2 of 4 videos run, 2 failed" in said.out
    assert (folder / "in" / "c.avol.json").is_file()
    assert not (folder / "a.avol.json").exists()


def test_what_is_there_is_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder / "a.mp4", "--no-video") == 0
    before = (folder / "a.avol.json").stat().st_mtime_ns
    assert run(folder, "--no-video", "--skip-existing") == 0
    assert (folder / "a.avol.json").stat().st_mtime_ns == before
    assert (folder / "b.mkv.avol.json").is_file()
    assert "skipped" in capsys.readouterr().out
    assert run(folder / "a.mp4", "--no-video", "--skip-existing") == 0
    assert (folder / "a.avol.json").stat().st_mtime_ns == before


def test_colliding_names_stop_everything(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.mov").write_bytes((folder / "a.mp4").read_bytes())
    assert run(folder) == 1
    assert "a.avol.json: would be written for" in capsys.readouterr().err
    assert not list(folder.rglob("*.avol.*"))


def test_quiet_says_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--no-video", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("style", styles.STYLES)
def test_every_style_makes_a_video_that_plays(clip: Path, tmp_path: Path, style: str) -> None:
    assert (
        run(clip, "--output-dir", tmp_path, "--style", style, "--strip", "--legend", "--threshold", 0, "--quiet") == 0
    )
    with av.open(str(tmp_path / "clip.avol.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    width = WIDTH * (2 if style == "side-by-side" else 1)
    assert {frame.shape for frame in frames} == {(HEIGHT + strip_height(HEIGHT), width, 3)}
    assert len(frames) == round(SECONDS * 25)


@pytest.mark.parametrize(("codec", "name"), [("h264", "h264"), ("hevc", "hevc"), ("vp9", "vp9")])
def test_every_codec_makes_a_video_that_plays(clip: Path, tmp_path: Path, codec: str, name: str) -> None:
    assert run(clip, "--output-dir", tmp_path, "--codec", codec, "--crf", 30, "--no-audio", "--quiet") == 0
    with av.open(str(tmp_path / "clip.avol.mp4")) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == name
        assert not container.streams.audio
        assert len(list(container.decode(video=0))) == round(SECONDS * 25)


def test_formats_of_the_timeline(clip: Path, tmp_path: Path) -> None:
    for format in run_arguments.FORMATS:
        assert run(clip, "--output-dir", tmp_path, "--no-video", "--format", format, "--quiet") == 0
    entries = read_timeline(tmp_path / "clip.avol.json")["frames"]
    lines = (tmp_path / "clip.avol.jsonl").read_text().splitlines()
    with (tmp_path / "clip.avol.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with np.load(tmp_path / "clip.avol.npz") as arrays:
        scores = arrays["score"].tolist()
    assert [json.loads(line)["score"] for line in lines[1:]] == [entry["score"] for entry in entries]
    assert [float(row["score"]) for row in rows] == [entry["score"] for entry in entries]
    assert scores == pytest.approx([entry["score"] for entry in entries])


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a.mp4", "b.mp4", "--json", "x.json"],
        ["a.mp4", "--live", "udp://127.0.0.1:1"],
        ["a.mp4", "--seconds", "3"],
        ["a.mp4", "--format", "csv", "--maps"],
        ["a.mp4", "--json", "-", "--output", "-"],
        ["a.mp4", "--crf", "99"],
        ["a.mp4", "--opacity", "2"],
    ],
)
def test_what_does_not_go_together_is_a_usage_mistake(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", *arguments])
    assert caught.value.code == 2


def test_a_live_run_writes_lines_and_a_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port, lines, video = free_udp_port(), tmp_path / "live.jsonl", tmp_path / "live.mp4"
    with LiveSender(f"udp://127.0.0.1:{port}?pkt_size=1316"):
        status = run("--live", f"udp://127.0.0.1:{port}", "--json", lines, "--live-video", video, "--seconds", 4)
    assert status == 0
    head, *entries = [json.loads(line) for line in lines.read_text().splitlines()]
    assert head["format"] == "avol.live/1"
    assert len(entries) >= 3
    assert all(entry["latency_seconds"] > 0 and entry["written_at"] > 1e9 for entry in entries)
    with av.open(str(video)) as container:
        assert len(list(container.decode(video=0))) == len(entries)
    assert f"{len(entries)} analysed" in capsys.readouterr().err


def test_an_interrupted_live_run_keeps_what_it_has(tmp_path: Path) -> None:
    port, lines, video = free_udp_port(), tmp_path / "live.jsonl", tmp_path / "live.mp4"
    command = [sys.executable, "-m", "avol", "run", "--live", f"udp://127.0.0.1:{port}", "--json", str(lines)]
    with LiveSender(f"udp://127.0.0.1:{port}?pkt_size=1316"):
        process = subprocess.Popen([*command, "--live-video", str(video)], stderr=subprocess.PIPE, text=True)
        _wait(lambda: lines.is_file() and len(lines.read_text().splitlines()) > 3)
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "analysed" in said
    assert "Traceback" not in said
    with av.open(str(video)) as container:
        assert len(list(container.decode(video=0))) >= 3


def test_rolling_lines_stay_small_and_begin_with_their_head(tmp_path: Path) -> None:
    path = tmp_path / "live.jsonl"
    with RollingLines(path, {"format": "head"}, largest_bytes=400) as lines:
        for number in range(40):
            lines.write({"number": number})
    kept = [json.loads(line) for file in (path.with_name("live.jsonl.1"), path) for line in file.open()]
    assert path.stat().st_size <= 400
    assert [line for line in kept if "format" in line] == [{"format": "head"}] * 2
    numbers = [line["number"] for line in kept if "number" in line]
    assert numbers == list(range(numbers[0], 40))
    with pytest.raises(AvolError, match="cannot be written"):
        RollingLines(tmp_path / "none" / "live.jsonl", {})


def _wait(ready: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 60
    while not ready() and time.monotonic() < give_up:
        time.sleep(0.1)
    assert ready()


@pytest.mark.parametrize("name", ["clip.avol.mp4", "clip.avol.json", "clip.avol.csv", "clip.avol.npz"])
def test_only_results_of_avol_are_replaced(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    track = AudioTrack(samples=bursts([0.2], seconds=0.5, sample_rate=16000), sample_rate=16000)
    video = write_media(tmp_path / "clip.mp4", VideoTrack(seconds=0.5, rate=10), track)
    suffix = name.rpartition(".")[2]
    words = [str(video), "--format", "json" if suffix == "mp4" else suffix]
    (tmp_path / name).write_bytes(b"somebody's own")
    assert main_run(words) == 1
    said = capsys.readouterr().err
    assert f"{name}: is there already and is no result of avol" in said
    assert said.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({"clip.mp4", name})
    assert (tmp_path / name).read_bytes() == b"somebody's own"
    (tmp_path / name).unlink()
    for _ in range(2):
        assert main_run(words) == 0
    (tmp_path / f"clip.avol.{words[2]}").unlink()  # the video alone is known by what it says of itself
    assert main_run(words) == 0
