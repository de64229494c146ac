"""From videos to prepared clips: exact times, resumable, honest about what was left out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avol.apps import cli
from avol.runtime.errors import AvolError
from avol.train.data import cut_clips
from avol.train.data.cut_clips import read_pieces, write_clips
from avol.train.data.inventory import take_inventory
from avol.train.data.prepare import SourceFile, find_videos, part_of, prepare, video_id_of
from avol.train.data.shards import ClipStore, Settings, frame_side, table_paths
from avol.train.network import preset_spec
from media_factory import AudioTrack, VideoTrack, bursts, cut, read_number, write_media

SPEC = preset_spec("avol-128")
SETTINGS = Settings(
    preset="avol-128",
    side=frame_side(SPEC),
    sample_rate_hz=16_000,
    frames_per_second=3.0,
    piece_seconds=10.0,
    split=(90, 8, 2),
)
EVERYTHING_TRAINS = replace(SETTINGS, split=(1, 0, 0))


def video(path: Path, *, seconds: float = 1.0, marks: tuple[float, ...] = (0.5,), **track: object) -> Path:
    """A film whose frames carry their number, with a burst at each mark."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = AudioTrack(samples=bursts(marks, seconds=seconds, sample_rate=48_000), codec="pcm_s16le")
    return write_media(path, VideoTrack(seconds=seconds, **track), sound)  # type: ignore[arg-type]


@pytest.fixture
def films(tmp_path: Path) -> Path:
    for number in range(5):
        video(tmp_path / "films" / f"film{number}.mkv", marks=(0.2 + 0.1 * number,), width=96 + 8 * number)
    return tmp_path / "films"


def content(folder: Path) -> dict[str, tuple[bytes, bytes, tuple[float, ...], str]]:
    """All clips by name, whatever the shard they lie in."""
    return {
        f"{clip.file} {clip.entry.start_seconds}": (
            clip.frames.tobytes(),
            clip.samples.tobytes(),
            tuple(clip.times_seconds),
            clip.entry.part,
        )
        for clip in ClipStore(folder)
    }


def run_prepare(inputs: list[Path], out: Path, settings: Settings = SETTINGS) -> tuple[int, int, int, dict[str, str]]:
    outcome = prepare(inputs, out, settings, labels={}, jobs=1)
    return outcome.read, outcome.kept, outcome.clips, outcome.left_out


@pytest.mark.parametrize("irregular", [False, True])
def test_frames_keep_their_times_and_the_sound_is_in_step(tmp_path: Path, irregular: bool) -> None:
    times = [0.0, 0.21, 0.34, 0.38, 0.8, 0.95, 1.3, 1.31, 1.6, 1.9] if irregular else None
    path = video(tmp_path / "a.mkv", seconds=2.0, marks=(0.5, 1.25), times=times)
    (piece,) = read_pieces(path, SETTINGS)
    expected = times or [number / 25 for number in range(50)]
    for frame, time_seconds in zip(piece.frames, piece.times_seconds, strict=True):
        assert expected[read_number(np.asarray(frame))] == pytest.approx(time_seconds, abs=1.1e-3)
    loud = np.flatnonzero(np.abs(piece.samples) > 3000) / 16_000
    assert loud[0] == pytest.approx(0.5, abs=2e-3)
    assert loud[loud > 1][0] == pytest.approx(1.25, abs=2e-3)


def test_long_videos_are_cut_without_silence_at_the_cuts(tmp_path: Path) -> None:
    path = video(tmp_path / "long.mkv", seconds=5.0, marks=(0.5, 1.9, 2.1, 4.5), rate=10)
    pieces = list(read_pieces(path, replace(SETTINGS, piece_seconds=2.0)))
    assert [piece.start_seconds for piece in pieces] == [0.0, 2.0, 4.0]
    whole = next(iter(read_pieces(path, SETTINGS)))
    for piece in pieces:
        first = round((piece.start_seconds - cut_clips.MARGIN_SECONDS) * 16_000) if piece.start_seconds else 0
        assert np.array_equal(piece.samples, whole.samples[first : first + len(piece.samples)])
        assert ((piece.times_seconds + first / 16_000) // 2 * 2 == piece.start_seconds).all()
        shown = [read_number(np.asarray(frame)) / 10 for frame in piece.frames]
        assert shown == pytest.approx(list(piece.times_seconds + first / 16_000), abs=1e-3)


def test_prepared_clips_are_what_the_videos_hold(films: Path, tmp_path: Path) -> None:
    assert run_prepare([films], tmp_path / "out") == (5, 0, 5, {})
    for clip in ClipStore(tmp_path / "out"):
        (piece,) = read_pieces(Path(clip.file), SETTINGS)
        assert np.array_equal(clip.frames, piece.frames)
        assert np.array_equal(clip.samples, piece.samples)
        assert np.array_equal(clip.times_seconds, piece.times_seconds)
        assert clip.entry.loudness > 0.01
        assert not clip.entry.still


def test_again_with_more_videos_reads_only_those(films: Path, tmp_path: Path) -> None:
    run_prepare([films], tmp_path / "out")
    before = content(tmp_path / "out")
    assert run_prepare([films], tmp_path / "out") == (0, 5, 5, {})
    video(films / "deeper" / "new.mkv", marks=(0.1, 0.9))
    assert run_prepare([films], tmp_path / "out") == (1, 5, 6, {})
    after = content(tmp_path / "out")
    assert {name: after[name] for name in before} == before


def test_a_killed_run_goes_on(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between two shards, between a shard and its table, and while it reads."""
    monkeypatch.setattr("avol.train.data.prepare.FILES_PER_TASK", 2)
    run_prepare([films], tmp_path / "whole")
    out = tmp_path / "out"
    run_prepare([films / "film0.mkv", films / "film1.mkv"], out)
    shards = out / "shards"
    (shards / "0123456789abcdef-0.safetensors").write_bytes(b"half of a shard")
    (shards / ".0123.partial.json").write_bytes(b"{")
    assert run_prepare([films], out) == (3, 2, 5, {})
    assert content(out) == content(tmp_path / "whole")
    assert not list(shards.glob(".*"))
    assert len(list(shards.glob("*.safetensors"))) == len(table_paths(out))


@pytest.mark.slow
def test_kill_in_the_middle(tmp_path: Path) -> None:
    for number in range(40):
        video(tmp_path / "films" / f"{number}.mkv", seconds=0.6, marks=(0.1 + 0.01 * number,), rate=5)
    command = [sys.executable, "-m", "avol", "data", "prepare", str(tmp_path / "films"), "--jobs", "1"]
    process = subprocess.Popen([*command, "--out", str(tmp_path / "out")], start_new_session=True)
    deadline = time.monotonic() + 120
    while not table_paths(tmp_path / "out") and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = len(ClipStore(tmp_path / "out"))
    assert kept > 0
    for out in ("out", "whole"):
        subprocess.run([*command, "--out", str(tmp_path / out)], check=True, capture_output=True)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_what_gives_no_clip_is_named_and_counted(films: Path, tmp_path: Path) -> None:
    (films / "text.mp4").write_text("no film")
    (films / "empty.mp4").write_bytes(b"")
    write_media(films / "mute.mkv", VideoTrack())
    cut(write_media(tmp_path / "whole.mp4", VideoTrack()), films / "cut.mp4", keep=0.5)
    (films / "copy.mkv").write_bytes((films / "film3.mkv").read_bytes())
    read, _, clips, left_out = run_prepare([films], tmp_path / "out")
    assert (read, clips) == (9, 5)
    reasons = {Path(name).name: why for name, why in left_out.items()}
    assert reasons.keys() == {"text.mp4", "empty.mp4", "mute.mkv", "cut.mp4", "film3.mkv"}
    assert "no sound" in reasons["mute.mkv"]
    assert "the same as" in reasons["film3.mkv"]  # in order of name, the copy comes first
    # A second call does not read them again, and still says why.
    assert run_prepare([films], tmp_path / "out")[0] == 0
    assert run_prepare([films], tmp_path / "out")[3].keys() == left_out.keys()


def test_still_pictures_and_silence_are_counted(tmp_path: Path) -> None:
    def album_art(index: int, width: int, height: int) -> np.ndarray:
        return np.full((height, width, 3), 120, np.uint8)

    video(tmp_path / "films" / "still.mkv", picture=album_art)
    video(tmp_path / "films" / "quiet.mkv", marks=())
    run_prepare([tmp_path / "films"], tmp_path / "out", EVERYTHING_TRAINS)
    counts = take_inventory(tmp_path / "out").record()["parts"]["train"]  # type: ignore[index]
    assert (counts["clips"], counts["still"], counts["quiet"]) == (2, 1, 1)


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=50))
def test_the_part_is_the_videos_own(names: list[str]) -> None:
    assert {part_of(name, (90, 8, 2)) for name in names} <= {"train", "validation", "test"}
    assert [part_of(name, (90, 8, 2)) for name in names] == [part_of(name, (0.9, 0.08, 0.02)) for name in names]
    assert {part_of(name, (1, 0, 0)) for name in names} == {"train"}


def test_the_shares_are_those_asked_for() -> None:
    parts = [part_of(f"video {number}", (90, 8, 2)) for number in range(20_000)]
    shares = [parts.count(part) / len(parts) for part in ("train", "validation", "test")]
    assert shares == pytest.approx([0.9, 0.08, 0.02], abs=0.006)
    # Who was held out stays held out when training gets a smaller share.
    wider = [part_of(f"video {number}", (80, 10, 10)) for number in range(20_000)]
    assert all(now != "train" for before, now in zip(parts, wider, strict=True) if before != "train")


@pytest.mark.parametrize(
    ("name", "video_id"),
    [
        ("dQw4w9WgXcQ_30.mp4", "dQw4w9WgXcQ"),
        ("dQw4w9WgXcQ_30.5.mp4", "dQw4w9WgXcQ"),
        ("-a_b_120.mkv", "-a_b"),
        ("holiday.mov", "holiday"),
    ],
)
def test_clips_of_one_video_stay_together(name: str, video_id: str) -> None:
    assert video_id_of(Path(name)) == video_id


def test_folders_are_searched_for_videos_alone(films: Path) -> None:
    (films / "notes.txt").write_text("x")
    (films / "film0.avol.mp4").write_bytes(b"avol's own")
    assert [path.name for path in find_videos([films, films / "film2.mkv"])] == [f"film{n}.mkv" for n in range(5)]


def test_labels_and_video_ids_come_from_a_list(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = tmp_path / "clips.csv"
    labels.write_text("file,label,video_id\nsome/film1.mkv,banjo,tape\nfilm2.mkv,dog,\nfilm3.mkv,,tape\n")
    out = tmp_path / "out"
    arguments = ["data", "prepare", str(films), "--out", str(out), "--labels", str(labels), "--jobs", "1"]
    assert cli.main(arguments) == 0
    assert "5 clips" in capsys.readouterr().out
    described = {Path(clip.file).stem: (clip.label or None, clip.video_id) for clip in ClipStore(out)}
    assert described == {
        "film0": (None, "film0"),
        "film1": ("banjo", "tape"),
        "film2": ("dog", "film2"),
        "film3": (None, "tape"),
        "film4": (None, "film4"),
    }
    sheet, counts = tmp_path / "sheet.png", tmp_path / "counts.json"
    assert cli.main(["data", "inspect", str(out), "--sheet", str(sheet), "--json", str(counts)]) == 0
    printed = capsys.readouterr().out
    assert "banjo" in printed
    assert "0 files gave no clip" in printed
    assert sheet.read_bytes()[:4] == b"\x89PNG"
    record = json.loads(counts.read_text())
    assert sum(part["clips"] for part in record["parts"].values()) == 5


def one_line(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert cli.main(["data", *map(str, arguments)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_mistakes_are_one_line(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, empty = tmp_path / "out", tmp_path / "empty"
    empty.mkdir()
    assert "holds no video files" in one_line(capsys, "prepare", empty, "--out", out)
    assert "no such file" in one_line(capsys, "prepare", tmp_path / "absent", "--out", out)
    assert "holds something else" in one_line(capsys, "prepare", films, "--out", films)
    mute = write_media(tmp_path / "mute" / "mute.mkv" if (tmp_path / "mute").mkdir() is None else out, VideoTrack())
    assert "none of 1 videos gave a clip" in one_line(capsys, "prepare", mute, "--out", tmp_path / "o2", "--jobs", "1")
    assert cli.main(["data", "prepare", str(films), "--out", str(out), "--jobs", "1"]) == 0
    capsys.readouterr()
    changed = one_line(capsys, "prepare", films, "--out", out, "--frames-per-second", "5")
    assert "prepared with other frames_per_second" in changed
    assert "not a prepared folder" in one_line(capsys, "inspect", empty)
    with pytest.raises(AvolError, match="prepare again with --preset avol-224"):
        ClipStore(out, spec=preset_spec("avol-224"))
    (shard,) = (out / "shards").glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1000])
    assert "not a readable shard" in one_line(capsys, "inspect", out, "--sheet", tmp_path / "s.png")
    (table,) = table_paths(out)
    table.write_text("{")
    assert "not a readable table" in one_line(capsys, "inspect", out)


@pytest.mark.parametrize(
    "option", [("--split", "1:2"), ("--split", "0:1:1"), ("--jobs", "0"), ("--piece-seconds", "0")]
)
def test_usage_mistakes(films: Path, tmp_path: Path, option: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["data", "prepare", str(films), "--out", str(tmp_path / "out"), *option])
    assert caught.value.code == 2


def test_full_disk_names_the_folder(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    out = tmp_path / "out"
    (out / "shards").mkdir(parents=True)
    monkeypatch.setattr(Path, "write_bytes", full)
    path = films / "film0.mkv"
    source = SourceFile(path=path, video_id="film0", label=None, part="train", digest="0")
    with pytest.raises(AvolError, match=r"cannot be written: No space left on device\. Free some space"):
        write_clips([source], out, SETTINGS)
    assert list((out / "shards").iterdir()) == []
