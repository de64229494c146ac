"""`avol-run` between pipes: what comes out is what the files hold, and nothing else is said there."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
import pytest

from avol.runtime.media.picture import plane_pixels
from avol.runtime.model_folder import bundled_model_folder
from media_factory import AudioTrack, VideoTrack, bursts, write_media

RATE = 16000
RUN = "import sys; from avol.apps.cli import main_run; sys.exit(main_run())"


@pytest.fixture(scope="module")
def model() -> Path:
    return bundled_model_folder()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    track = AudioTrack(samples=bursts([0.2, 0.9], seconds=1.5, sample_rate=RATE), sample_rate=RATE)
    return write_media(tmp_path_factory.mktemp("clip") / "clip.mp4", VideoTrack(seconds=1.5, rate=25), track)


def run(
    folder: Path, model: Path, *options: str | Path, given: bytes | None = b""
) -> subprocess.CompletedProcess[bytes]:
    """`avol-run` in a folder, with its temporary files in a folder of their own that has to be empty after it."""
    temporary = folder / "temporary"
    temporary.mkdir()
    environment = os.environ | {"TMPDIR": str(temporary)}
    command = [sys.executable, "-c", RUN, *map(str, options), "--model", str(model), "--device", "cpu"]
    done = subprocess.run(command, check=False, capture_output=True, cwd=folder, env=environment, input=given)
    assert list(temporary.iterdir()) == []
    temporary.rmdir()
    return done


def pictures_and_sound(source: io.BytesIO | str) -> tuple[list[float], list[np.ndarray], list[tuple[float, bytes]]]:
    """Times and luma of the pictures, and times and packets of the sound.

    Times count from the first picture: Matroska has none before zero, where sound of AAC begins.
    """
    with av.open(source) as container:
        frames = [(float(frame.time or 0), plane_pixels(frame.planes[0]).copy()) for frame in container.decode(video=0)]
    if isinstance(source, io.BytesIO):
        source.seek(0)
    with av.open(source) as container:
        packets = [
            (float((packet.pts or 0) * packet.time_base), bytes(packet))
            for packet in container.demux(audio=0)
            if packet.size
        ]
    zero = frames[0][0]
    return (
        [time - zero for time, _ in frames],
        [luma for _, luma in frames],
        [(time - zero, content) for time, content in packets],
    )


def test_the_video_on_standard_output_is_the_one_of_the_file(tmp_path: Path, model: Path, clip: Path) -> None:
    to_file = run(tmp_path, model, clip, "--output", "named.mp4", "--json", "named.json")
    assert to_file.returncode == 0, to_file.stderr
    piped = run(tmp_path, model, "-", "--output", "-", "--json", "piped.json", given=clip.read_bytes())
    assert piped.returncode == 0, piped.stderr
    assert piped.stdout.startswith(b"\x1a\x45\xdf\xa3")  # Matroska
    assert b"standard input" in piped.stderr
    assert b"-> standard output and piped.json" in piped.stderr
    times, lumas, packets = pictures_and_sound(io.BytesIO(piped.stdout))
    expected_times, expected_lumas, expected_packets = pictures_and_sound(str(tmp_path / "named.mp4"))
    assert np.allclose(times, expected_times, atol=5.1e-4)
    assert len(lumas) == len(expected_lumas)
    assert all(np.array_equal(a, b) for a, b in zip(lumas, expected_lumas, strict=True))
    assert [content for _, content in packets] == [content for _, content in expected_packets] != []
    assert np.allclose([time for time, _ in packets], [time for time, _ in expected_packets], atol=1.1e-3)
    timelines = [json.loads((tmp_path / name).read_text()) for name in ("piped.json", "named.json")]
    assert timelines[0]["frames"] == timelines[1]["frames"] != []
    assert timelines[0]["source"].pop("path") == "standard input"
    assert timelines[1]["source"].pop("path") == str(clip)
    assert timelines[0]["source"] == timelines[1]["source"]
    assert sorted(child.name for child in tmp_path.iterdir()) == ["named.json", "named.mp4", "piped.json"]


def test_the_video_alone_leaves_no_file(tmp_path: Path, model: Path, clip: Path) -> None:
    done = run(tmp_path, model, clip, "--output", "-", "--quiet")
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(pictures_and_sound(io.BytesIO(done.stdout))[0]) == 38
    assert list(tmp_path.iterdir()) == []


def test_results_of_standard_input_have_a_name(tmp_path: Path, model: Path, clip: Path) -> None:
    done = run(tmp_path, model, "-", given=clip.read_bytes())
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"standard input: 1.5 s in ")
    assert done.stdout.rstrip().endswith(b"-> stdin.avol.mp4 and stdin.avol.json")
    assert sorted(child.name for child in tmp_path.iterdir()) == ["stdin.avol.json", "stdin.avol.mp4"]


@pytest.mark.parametrize("name", ["json", "jsonl", "csv", "npz"])
def test_the_timeline_on_standard_output_is_that_of_the_file(
    name: str, tmp_path: Path, model: Path, clip: Path
) -> None:
    options = [clip, "--no-video", "--format", name, "--json"]
    assert run(tmp_path, model, *options, tmp_path / f"timeline.{name}").returncode == 0
    done = run(tmp_path, model, *options, "-")
    assert done.returncode == 0, done.stderr
    if name == "npz":
        with np.load(io.BytesIO(done.stdout)) as found, np.load(tmp_path / "timeline.npz") as expected:
            assert found.files == expected.files
            assert np.array_equal(found["score"], expected["score"])
    else:
        assert done.stdout == (tmp_path / f"timeline.{name}").read_bytes()


def test_a_reader_that_goes_ends_it_quietly(tmp_path: Path, model: Path, clip: Path) -> None:
    command = [sys.executable, "-c", RUN, str(clip), "--output", "-", "--model", str(model), "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(4) == b"\x1a\x45\xdf\xa3"
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode in (0, 141)  # short videos may fit into the pipe before anybody goes
    assert b"Traceback" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"", "standard input: the file is empty"),
        (b"only words\n" * 100, "standard input: "),
        (b"\x00\x00\x00\x20ftypisom" + b"\x00" * 4000, "standard input: "),
    ],
)
def test_what_is_no_video_is_said_in_one_line(given: bytes, said: str, tmp_path: Path, model: Path) -> None:
    done = run(tmp_path, model, "-", "--output", "-", given=given)
    lines = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout, len(lines)) == (1, b"", 1)
    assert said in lines[0]
    assert tempfile.gettempdir() not in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_a_cut_off_video_is_run_up_to_there_or_refused(tmp_path: Path, model: Path, clip: Path) -> None:
    content = clip.read_bytes()
    for length in (100, len(content) // 2, len(content) - 100):
        done = run(tmp_path, model, "-", "--output", "-", given=content[:length])
        assert b"Traceback" not in done.stderr
        assert done.returncode in (0, 1)
        assert bool(done.stdout) == (done.returncode == 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-", "CLIP"], "goes with one video"),
        (["CLIP", "CLIP", "--output", "-"], "goes with one video"),
        (["CLIP", "--output", "-", "--json", "-"], "cannot both be standard output"),
        (["CLIP", "--output", "-", "--no-video"], "leaves out"),
        (["CLIP", "--output", "clip.mkv"], "the video is MP4"),
        (["-", "--skip-existing"], "goes with files"),
        (["--live", "udp://127.0.0.1:9", "--output", "-"], "go with one video"),
        (["CLIP", "-", "--output", "a.mp4"], "goes with one video"),
        (["--image", "a.png", "--audio", "CLIP", "--json", "-"], "goes with a video or --live"),
    ],
)
def test_what_does_not_go_together(options: list[str], said: str, tmp_path: Path, model: Path, clip: Path) -> None:
    done = run(tmp_path, model, *[str(clip) if word == "CLIP" else word for word in options])
    assert done.returncode == 2
    assert said in done.stderr.decode()
    assert list(tmp_path.iterdir()) == []


def test_terminals_are_no_pipes(tmp_path: Path, model: Path, clip: Path) -> None:
    import pty

    leader, follower = pty.openpty()
    try:
        for options, streams in ((["-"], {"stdin": follower}), ([str(clip), "--output", "-"], {"stdout": follower})):
            command = [sys.executable, "-c", RUN, *options, "--model", str(model)]
            done = subprocess.run(command, check=False, stderr=subprocess.PIPE, cwd=tmp_path, **streams)  # type: ignore[call-overload]
            assert done.returncode == 2
            assert b"terminal" in done.stderr or b"is no video" in done.stderr
    finally:
        os.close(leader)
        os.close(follower)


@pytest.mark.parametrize("options", [["--output", "-"], ["--no-video", "--json", "-"]])
def test_a_closed_standard_output_is_no_pipe(options: list[str], tmp_path: Path, model: Path, clip: Path) -> None:
    command = shlex.join([sys.executable, "-c", RUN, str(clip), *options, "--model", str(model)])
    done = subprocess.run(["sh", "-c", f"{command} >&-"], check=False, stderr=subprocess.PIPE, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(b"standard output is closed; pipe it into a player or a file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_standard_output_is_one_line(tmp_path: Path, model: Path, clip: Path) -> None:
    options = [str(clip), "--no-video", "--json", "-", "--quiet", "--model", str(model), "--device", "cpu"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", RUN, *options], check=False, stdout=full, stderr=subprocess.PIPE, cwd=tmp_path
        )
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        "avol-run: standard output: cannot be written: No space left on device. Free some space, or choose another "
        "directory."
    ]
