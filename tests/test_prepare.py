"""From videos to prepared clips: exact times, split by video, resumable, honest about what was left out."""

from __future__ import annotations

import csv
import fcntl
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avol.apps import cli
from avol.runtime.errors import AvolError
from avol.train.data import crew, pieces
from avol.train.data.listing import list_videos
from avol.train.data.pieces import PieceReader, UnusableVideoError, is_still, silent_share
from avol.train.data.prepare import Outcome, prepare
from avol.train.data.prepare_settings import Settings
from avol.train.data.shards import ClipStore
from avol.train.data.split import PARTS, parse_split, part_of, video_id_of
from media_factory import AudioTrack, VideoTrack, bursts, cut, read_number, write_media

RATE_HZ = 16_000
SETTINGS = Settings(frame_side=144, sample_rate_hz=RATE_HZ, margin_samples=8194)
ALL_TRAIN = replace(SETTINGS, split=(1.0, 0.0, 0.0))
WORK = crew._work


def film(
    path: Path, *, seconds: float = 1.2, marks: tuple[float, ...] = (0.5,), sound_from: float = 0.0, **track: Any
) -> Path:
    """A film whose frames carry their number, with a burst of sound at each mark."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = bursts(marks, seconds=seconds - sound_from, sample_rate=48_000)
    sound = AudioTrack(samples=samples, codec="pcm_s16le", start_seconds=sound_from)
    return write_media(path, VideoTrack(**{"seconds": seconds, "rate": 10} | track), sound)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    for number in range(4):
        film(tmp_path / "films" / f"film{number}.mkv", marks=(0.2 + 0.1 * number,))
    return tmp_path / "films"


def content(folder: Path) -> dict[tuple[str, int], tuple[Any, ...]]:
    """All clips by file and piece, whatever the shard they lie in."""
    store = ClipStore(folder, None)
    parts = {record: shard.part for shard in store.shards for record in shard.records}
    return {
        (clip.file, clip.record.piece): (
            clip.frames.tobytes(),
            clip.samples.tobytes(),
            tuple(clip.times_seconds),
            parts[clip.record],
            replace(clip.record, first_frame=0, first_sample=0),
        )
        for clip in store
    }


def run(inputs: list[Path], out: Path, settings: Settings = SETTINGS, **options: Any) -> Outcome:
    return prepare(inputs, out, settings, jobs=options.pop("jobs", 1), **options)


def reasons(outcome: Outcome) -> dict[str, str]:
    return {Path(problem.file).name: problem.reason for problem in outcome.problems}


def presentation_times(path: Path) -> list[float]:
    """Times of all decoded frames, by PyAV alone."""
    with av.open(str(path)) as container:
        return [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]


# Pieces


@pytest.mark.parametrize(
    ("sound_from", "start", "zero"),
    [(0.0, 0.0, 0.0), (0.4, 0.0, 0.0), (0.0, 0.3, 0.0), (0.5, 0.7, 0.5)],
    ids=["together", "late sound", "late pictures", "both late"],
)
@pytest.mark.parametrize("irregular", [False, True])
def test_frame_times_are_those_of_the_file(
    tmp_path: Path, sound_from: float, start: float, zero: float, irregular: bool
) -> None:
    times = [0.0, 0.21, 0.34, 0.38, 0.8, 0.95, 1.3, 1.31, 1.6, 1.9] if irregular else None
    path = film(
        tmp_path / "a.mkv", seconds=2.0, marks=(0.5, 0.9), sound_from=sound_from, times=times, start_seconds=start
    )
    (piece,) = PieceReader(path, SETTINGS)
    decoded = presentation_times(path)
    # In each third of a second the first frame.
    cells = [int((time_seconds - zero + 1e-3) * 3) for time_seconds in decoded]
    assert [read_number(frame) for frame in piece.frames] == [cells.index(cell) for cell in sorted(set(cells))]
    for frame, time_seconds in zip(piece.frames, piece.times_seconds, strict=True):
        assert time_seconds == pytest.approx(decoded[read_number(frame)] - zero, abs=1e-9)
    loud = np.flatnonzero(np.abs(piece.samples) > 3000) / RATE_HZ
    assert loud[0] == pytest.approx(sound_from + 0.5 - zero, abs=2e-3)
    assert loud[loud > sound_from + 0.7 - zero][0] == pytest.approx(sound_from + 0.9 - zero, abs=2e-3)


def test_every_frame_at_25_a_second(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", rate=25)
    (piece,) = PieceReader(path, replace(SETTINGS, frames_per_second=25.0))
    assert list(piece.times_seconds) == pytest.approx(presentation_times(path), abs=1e-9)
    assert [read_number(frame) for frame in piece.frames] == list(range(30))


def test_long_videos_are_cut_and_the_cuts_make_no_silence(tmp_path: Path) -> None:
    path = film(tmp_path / "long.mkv", seconds=5.6, marks=(0.5, 1.9, 2.1, 3.95, 4.5))
    (whole,) = PieceReader(path, SETTINGS)
    cuts = list(PieceReader(path, replace(SETTINGS, piece_seconds=2.0)))
    assert [(piece.number, piece.start_seconds, piece.is_last) for piece in cuts] == [
        (0, 0, False),
        (1, 2, False),
        (2, 4, True),
    ]
    assert [piece.duration_seconds for piece in cuts] == pytest.approx([2, 2, 1.6], abs=0.11)
    assert np.concatenate([piece.times_seconds for piece in cuts]) == pytest.approx(whole.times_seconds)
    assert np.array_equal(np.concatenate([piece.frames for piece in cuts]), whole.frames)
    for piece in cuts:
        first = round(piece.first_sample_seconds * RATE_HZ)
        assert first == max(0, round(piece.start_seconds * RATE_HZ) - SETTINGS.margin_samples)
        last = round((piece.start_seconds + 2) * RATE_HZ) + SETTINGS.margin_samples
        assert np.array_equal(piece.samples, whole.samples[first:last])


def test_a_rest_shorter_than_a_second_is_left_out(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", seconds=4.5, marks=(0.5, 4.2))
    cuts = list(PieceReader(path, replace(SETTINGS, piece_seconds=2.0)))
    assert [(piece.number, piece.is_last) for piece in cuts] == [(0, False), (1, True)]


def test_earlier_pieces_are_passed_over(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", seconds=6.0, marks=(0.5, 4.2))
    short = replace(SETTINGS, piece_seconds=2.0)
    everything = list(PieceReader(path, short))
    (rest,) = PieceReader(path, short, first_piece=2)
    assert rest.content_digest == everything[2].content_digest
    assert rest.is_last


def test_pictures_that_end_early_and_gaps_in_them(tmp_path: Path) -> None:
    """No piece without a picture, and sound after a gap is where it belongs."""
    times = [0.1 * k for k in range(15)] + [8.0 + 0.1 * k for k in range(15)]
    path = film(tmp_path / "gap.mkv", seconds=20.0, marks=(0.5, 8.5, 15.0), times=times)
    cuts = list(PieceReader(path, replace(SETTINGS, piece_seconds=2.0)))
    assert [piece.number for piece in cuts] == [0, 4]
    loud = np.flatnonzero(np.abs(cuts[1].samples) > 3000) / RATE_HZ + cuts[1].first_sample_seconds
    assert loud[0] == pytest.approx(8.5, abs=2e-3)


def test_memory_does_not_grow_with_the_length() -> None:
    track = pieces.Track(iter([np.full(RATE_HZ, 0.5, np.float32)] * 100))  # type: ignore[arg-type]
    for second in range(0, 100, 10):
        taken = track.take(second * RATE_HZ, (second + 2) * RATE_HZ)
        assert len(taken) == 2 * RATE_HZ
        assert len(track._kept) <= 3 * RATE_HZ


@given(
    st.lists(st.integers(0, 50), max_size=12), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 40)), max_size=8)
)
def test_track_gives_any_slice_forwards(chunks: list[int], steps: list[tuple[int, int]]) -> None:
    whole = np.arange(sum(chunks)) / 32767
    parts = np.split(whole, np.cumsum(chunks)[:-1]) if chunks else []
    track, first = pieces.Track(iter(parts)), 0  # type: ignore[arg-type]
    for step, length in steps:
        first += step
        assert list(track.take(first, first + length)) == list(range(len(whole)))[first : first + length]


def test_silence_is_measured() -> None:
    tone = np.full(RATE_HZ, 3000, np.int16)
    quiet = np.full(RATE_HZ, 20, np.int16)
    assert silent_share(tone, RATE_HZ, 1.0) == 0
    assert silent_share(quiet, RATE_HZ, 1.0) == 1
    assert silent_share(np.concatenate([tone, quiet]), RATE_HZ, 4.0) == pytest.approx(0.75)
    assert silent_share(np.zeros(0, np.int16), RATE_HZ, 1.0) == 1
    assert silent_share(np.full(RATE_HZ, -(2**15), np.int16), RATE_HZ, 1.0) == 0


def test_still_pictures_flicker_and_small_things_move() -> None:
    rng = np.random.default_rng(0)
    frames = np.repeat(rng.integers(0, 256, (1, 144, 144, 3)), 5, axis=0)
    noisy = np.clip(frames + rng.integers(-4, 5, frames.shape), 0, 255).astype(np.uint8)
    assert is_still(noisy)
    assert is_still(noisy[:1])
    moving = noisy.copy()
    moving[3, 70:82, 70:82] = 255 - moving[3, 70:82, 70:82]
    assert not is_still(moving)


# Split


@given(st.lists(st.text(max_size=12), max_size=40), st.text(max_size=12))
def test_adding_files_moves_nobody(names: list[str], name: str) -> None:
    shares = parse_split("90:8:2")
    before = {each: part_of(each, shares) for each in names}
    after = {each: part_of(each, shares) for each in [name, *names]}
    assert before.items() <= after.items()
    assert set(after.values()) <= set(PARTS)


@given(st.tuples(st.integers(1, 100), st.integers(0, 100), st.integers(0, 100)), st.text(max_size=8))
def test_shares_are_within_tolerance(numbers: tuple[int, int, int], salt: str) -> None:
    shares = parse_split(":".join(map(str, numbers)))
    parts = [part_of(f"{salt} {number}", shares) for number in range(3000)]
    for part, share in zip(PARTS, shares, strict=True):
        # Five standard deviations: one example in two million would fail by chance.
        assert abs(parts.count(part) / 3000 - share) <= 5 * (share * (1 - share) / 3000) ** 0.5 + 1e-9


def test_who_was_held_out_stays_so_when_training_gets_less() -> None:
    names = [f"video {number}" for number in range(5000)]
    held_out = {name for name in names if part_of(name, parse_split("90:8:2")) != "train"}
    assert held_out <= {name for name in names if part_of(name, parse_split("80:15:5")) != "train"}


@pytest.mark.parametrize("text", ["1:2", "0:1:1", "a:b:c", "-1:1:1", "nan:1:1", "inf:1:1", "", "1:2:3:4"])
def test_bad_splits(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (float's own message is another)
        parse_split(text)


@pytest.mark.parametrize(
    ("name", "video_id"),
    [
        ("dQw4w9WgXcQ_30.mp4", "dQw4w9WgXcQ"),
        ("dQw4w9WgXcQ_000030.mp4", "dQw4w9WgXcQ"),
        ("dQw4w9WgXcQ_30.500.mp4", "dQw4w9WgXcQ"),
        ("-a_bcdefg_9_30_40.mkv", "-a_bcdefg_9"),
        ("holiday.mov", "holiday"),
        ("holiday_2.mov", "holiday_2"),  # not a web video's identifier: numbered films are films of their own
        ("clip_0001.mp4", "clip_0001"),
    ],
)
def test_identity_of_a_file(name: str, video_id: str) -> None:
    assert video_id_of(Path("somewhere") / name) == video_id


# Runs


def test_prepared_clips_are_what_the_videos_hold(films: Path, tmp_path: Path) -> None:
    outcome = run([films], tmp_path / "out", ALL_TRAIN)
    assert (outcome.read, outcome.kept, outcome.new_clips, dict(outcome.clips)) == (4, 0, 4, {"train": 4})
    assert outcome.problems == []
    for clip in ClipStore(tmp_path / "out"):
        (piece,) = PieceReader(Path(clip.file), SETTINGS)
        assert np.array_equal(clip.frames, piece.frames)
        assert np.array_equal(clip.samples, piece.samples)
        assert np.array_equal(clip.times_seconds, piece.times_seconds)
        assert (clip.video_id, clip.label, clip.record.is_still) == (Path(clip.file).stem, None, False)
        assert 0.85 < clip.record.silent_share < 0.95


def test_again_with_more_videos_reads_only_those(films: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run([films], out)
    before, files = content(out), {path: path.read_bytes() for path in (out / "shards").iterdir()}
    outcome = run([films], out)
    assert (outcome.read, outcome.kept, outcome.new_clips) == (0, 4, 0)
    film(films / "deeper" / "new.mkv", marks=(0.1, 0.9))
    outcome = run([films], out)
    assert (outcome.read, outcome.kept, outcome.new_clips, outcome.clips.total()) == (1, 4, 1, 5)
    assert before.items() <= content(out).items()
    assert all(path.read_bytes() == kept for path, kept in files.items())


def test_a_shard_holds_one_part_and_no_more_clips_than_it_may(films: Path, tmp_path: Path) -> None:
    film(films / "long.mkv", seconds=9.0, marks=(0.3,))
    halves = replace(SETTINGS, split=(0.4, 0.3, 0.3), piece_seconds=2.0)
    outcome = run([films], tmp_path / "out", halves, shard_clips=2)
    shards = ClipStore(tmp_path / "out", None).shards
    assert all(1 <= len(shard.records) <= 2 for shard in shards)
    assert outcome.clips.total() == 4 + 5
    for shard in shards:
        assert shard.path.name.startswith(f"{shard.part}-")
        assert {part_of(record.video_id, halves.split) for record in shard.records} == {shard.part}


KILLED_RUN = """
import sys
from pathlib import Path
from avol.train.data.prepare import prepare
from avol.train.data.prepare_settings import Settings
settings = Settings(frame_side=144, sample_rate_hz=16_000, margin_samples=8194, piece_seconds=2.0)
prepare([Path(sys.argv[1])], Path(sys.argv[2]), settings, jobs=2, shard_clips=2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("orphans", [False, True], ids=["all killed", "only the run killed"])
def test_a_killed_run_goes_on_to_the_same_content(tmp_path: Path, orphans: bool) -> None:
    for number in range(12):
        film(tmp_path / "films" / f"{number}.mkv", marks=(0.1 + 0.05 * number,))
    film(tmp_path / "films" / "long.mkv", seconds=15.0, marks=(0.3, 11.0))
    out, settings = tmp_path / "out", replace(SETTINGS, piece_seconds=2.0)
    command = [sys.executable, "-c", KILLED_RUN, str(tmp_path / "films"), str(out)]
    process = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 120
    while len(list(out.glob("shards/[!.]*"))) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    (os.kill if orphans else os.killpg)(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    stored = content(out)
    assert 0 < len(stored) < 12 + 8
    outcome = run([tmp_path / "films"], out, settings, shard_clips=2)
    run([tmp_path / "films"], tmp_path / "whole", settings)
    assert content(out) == content(tmp_path / "whole")
    assert stored.items() <= content(out).items()
    assert outcome.new_clips <= 12 + 8 - len(stored)
    assert not list(out.glob("shards/.*"))


def test_a_video_of_which_only_the_beginning_is_stored_is_finished(tmp_path: Path) -> None:
    path = film(tmp_path / "films" / "long.mkv", seconds=7.0, marks=(0.3, 4.0))
    out, settings = tmp_path / "out", replace(SETTINGS, piece_seconds=2.0)
    run([path], out, settings, shard_clips=2)
    whole = content(out)
    shards = ClipStore(out, None).shards
    (end,) = [shard for shard in shards if any(record.is_last for record in shard.records)]
    end.path.unlink()
    assert 0 < len(content(out)) < len(whole) == 4
    assert run([path], out, settings, shard_clips=2).new_clips == len(end.records)
    assert content(out) == whole


def crashing_work(connection: Connection, *arguments: Any) -> None:
    """A process whose decoder crashes on some files, and that others kill at some."""
    read = pieces.open_source

    def open_source(path: Path) -> Any:
        if "crash" in path.name:
            signal.signal(signal.SIGSEGV, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGSEGV)
        if "killer" in path.name:
            os.kill(os.getpid(), signal.SIGKILL)
        if "odd" in path.name:
            raise IndexError("out of range")
        return read(path)

    pieces.open_source = open_source  # type: ignore[assignment]
    WORK(connection, *arguments)


def test_a_file_that_crashes_its_decoder_is_named_and_the_rest_is_read(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "_work", crashing_work)
    for name in ("film1-crash.mkv", "film3-crash.mkv", "film2-odd.mkv"):
        film(films / name, marks=(0.01 * len(name), 0.7))
    outcome = run([films], tmp_path / "out", ALL_TRAIN)
    assert outcome.clips.total() == 4
    assert reasons(outcome) == {
        "film1-crash.mkv": "crashed",
        "film3-crash.mkv": "crashed",
        "film2-odd.mkv": "unreadable",
    }
    assert len(content(tmp_path / "out")) == 4


def test_a_killed_process_ends_the_run_in_one_line(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film(films / "killer.mkv")
    with monkeypatch.context() as patch:
        patch.setattr(crew, "_work", crashing_work)
        with pytest.raises(AvolError, match=r"ended from outside \(SIGKILL\).* run the same command again, with fewer"):
            run([films], tmp_path / "out", shard_clips=1)
    assert run([films], tmp_path / "out", shard_clips=1).clips.total() == 5


def work_on_a_full_disk(connection: Connection, *arguments: Any) -> None:
    """A process that may not write more than a shard's beginning."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    WORK(connection, *arguments)


@pytest.mark.parametrize("shard_clips", [1, 64], ids=["in the middle", "at the end"])
def test_a_full_disk_is_one_line_and_leaves_nothing_half(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard_clips: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(crew, "_work", work_on_a_full_disk)
        with pytest.raises(AvolError, match=r"safetensors: cannot be written: File too large\. Free some space"):
            run([films], tmp_path / "out", shard_clips=shard_clips)
    assert list((tmp_path / "out" / "shards").iterdir()) == []
    assert run([films], tmp_path / "out").clips.total() == 4


@pytest.mark.parametrize("left", ["shards", ".lock", ".prepared.0123abcd.partial.json"])
def test_a_run_that_ended_before_it_wrote_the_settings_goes_on(films: Path, tmp_path: Path, left: str) -> None:
    """Killed, or on a disk that was full from the start: what it left is no file of somebody else's."""
    out = tmp_path / "out"
    (out / "shards").mkdir(parents=True)
    if left != "shards":
        (out / left).write_text("{")
    assert run([films], out).clips.total() == 4
    assert not list(out.glob(".prepared.*"))


def test_shards_without_settings_are_somebody_elses(films: Path, tmp_path: Path) -> None:
    shard = tmp_path / "out" / "shards" / "train-0123456789abcdef.safetensors"
    shard.parent.mkdir(parents=True)
    shard.write_text("precious")
    with pytest.raises(AvolError, match="holds other files"):
        run([films], tmp_path / "out")
    assert shard.read_text() == "precious"


def test_what_gives_no_clip_is_named_and_counted(films: Path, tmp_path: Path) -> None:
    (films / "text.mp4").write_text("no film")
    (films / "empty.mp4").write_bytes(b"")
    write_media(films / "mute.mkv", VideoTrack())
    film(films / "short.mkv", seconds=0.6, marks=(0.1,))
    cut(write_media(tmp_path / "whole.mp4", VideoTrack()), films / "cut.mp4", keep=0.5)
    (films / "copy.mkv").write_bytes((films / "film3.mkv").read_bytes())
    outcome = run([films], tmp_path / "out")
    assert (outcome.read, outcome.clips.total()) == (4, 4)
    expected = {
        **dict.fromkeys(("text.mp4", "empty.mp4", "cut.mp4"), "unreadable"),
        "mute.mkv": "no sound",
        "short.mkv": "too short",
        "film3.mkv": "duplicate",  # in order of name, the copy comes first
    }
    assert reasons(outcome) == expected
    assert outcome.left_out == {"unreadable": 3, "no sound": 1, "too short": 1, "duplicate": 1}
    with (tmp_path / "out" / "problems.csv").open(newline="") as file:
        assert {Path(row["file"]).name: row["reason"] for row in csv.DictReader(file)} == expected
    again = run([films], tmp_path / "out")
    assert (again.read, again.kept, reasons(again)) == (0, 4, expected)
    # A file that was mended is read.
    film(films / "mute.mkv", marks=(0.15,))
    mended = run([films], tmp_path / "out")
    assert (mended.read, reasons(mended)) == (1, {k: v for k, v in expected.items() if k != "mute.mkv"})


def test_damage_is_reported_and_what_is_there_is_used(tmp_path: Path) -> None:
    path = film(tmp_path / "films" / "whole.mkv", seconds=4.0)
    cut(path, tmp_path / "films" / "half.mkv", keep=0.5)
    outcome = run([tmp_path / "films"], tmp_path / "out")
    assert outcome.clips.total() == 2
    assert reasons(outcome) == {"half.mkv": "damaged"}
    assert outcome.left_out == {}


def test_a_copy_of_a_stored_file_is_refused_and_a_changed_file_keeps_its_clips(films: Path, tmp_path: Path) -> None:
    run([films], tmp_path / "out")
    before = content(tmp_path / "out")
    (films / "a.mkv").write_bytes((films / "film2.mkv").read_bytes())
    film(films / "film1.mkv", marks=(0.05,))
    os.utime(films / "film0.mkv")
    outcome = run([films], tmp_path / "out")
    assert reasons(outcome) == {"a.mkv": "duplicate", "film1.mkv": "changed"}
    assert content(tmp_path / "out") == before


def still(index: int, width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), 120, np.uint8)


@pytest.mark.parametrize("drop", [False, True])
def test_still_pictures_and_silence_are_kept_unless_dropped(tmp_path: Path, drop: bool) -> None:
    film(tmp_path / "films" / "still.mkv", picture=still)
    film(tmp_path / "films" / "silent.mkv", marks=())
    film(tmp_path / "films" / "good.mkv")
    settings = replace(ALL_TRAIN, drop_still=drop, drop_silent=drop)
    outcome = run([tmp_path / "films"], tmp_path / "out", settings)
    flags = {
        Path(clip.file).name: (clip.record.is_still, clip.record.silent_share == 1.0)
        for clip in ClipStore(tmp_path / "out")
    }
    everything = {"still.mkv": (True, False), "silent.mkv": (False, True), "good.mkv": (False, False)}
    assert flags == ({"good.mkv": (False, False)} if drop else everything)
    assert reasons(outcome) == ({"still.mkv": "still", "silent.mkv": "silent"} if drop else {})


def test_all_of_a_video_is_too_short(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", seconds=0.5, marks=(0.1,))
    with pytest.raises(UnusableVideoError, match=r"a\.mkv: shorter than the second"):
        list(PieceReader(path, SETTINGS))


# Finding files


def test_folders_are_searched_for_videos_alone(films: Path) -> None:
    (films / "notes.txt").write_text("x")
    (films / ".hidden.mkv").write_bytes(b"x")
    (films / ".git").mkdir()
    (films / ".git" / "object.mkv").write_bytes(b"x")
    (films / "deep").mkdir()
    (films / "deep" / "LOUD.MP4").write_bytes(b"x")
    (films / "deep" / "loop").symlink_to(films)
    (films / "gone.mkv").symlink_to(films / "nowhere.mkv")
    listing = list_videos([films, films / "film2.mkv", films / "notes.txt"])
    names = [Path(video.path).name for video in listing.videos]
    assert names == ["film0.mkv", "film1.mkv", "film2.mkv", "film3.mkv", "LOUD.MP4", "notes.txt"]
    assert [Path(problem.file).name for problem in listing.problems] == ["gone.mkv"]


def test_labels_and_source_videos_come_from_lists(films: Path, tmp_path: Path) -> None:
    (films / "clips.csv").write_text(
        "file,label,video_id\nfilm0.mkv,banjo,tape\nfilm0.mkv,voice,tape\nfilm1.mkv,dog,\nabsent.mkv,cat,x\n"
    )
    listing = list_videos([films])
    assert [(video.label, video.video_id) for video in listing.videos] == [
        ("banjo|voice", "tape"),
        ("dog", "film1"),
        (None, "film2"),
        (None, "film3"),
    ]
    assert [(Path(p.file).name, p.reason) for p in listing.problems] == [("absent.mkv", "missing")]
    other = tmp_path / "elsewhere.csv"
    other.write_text("\ufefffile,label,video_id\nfilms/film2.mkv,harp,tape\nsomewhere/film3.mkv,,tape\n")
    listing = list_videos([films], other)
    assert [(video.label, video.video_id) for video in listing.videos][2:] == [("harp", "tape"), (None, "tape")]


# Mistakes


def one_line(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert cli.main(["data", "prepare", *map(str, arguments)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


def test_mistakes_are_one_line(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, empty = tmp_path / "out", tmp_path / "empty"
    empty.mkdir()
    assert "no video files in there" in one_line(capsys, empty, "--out", out)
    assert "no such file or folder" in one_line(capsys, tmp_path / "absent", "--out", out)
    assert "no such list" in one_line(capsys, films, "--out", out, "--labels", tmp_path / "absent.csv")
    assert not out.exists()
    assert "holds other files" in one_line(capsys, films, "--out", films)
    assert "no such preset" in one_line(capsys, films, "--out", out, "--preset", "avol-1")
    (tmp_path / "file").write_text("x")
    assert "cannot be written: Not a directory" in one_line(capsys, films, "--out", tmp_path / "file" / "out")
    (films / "clips.csv").write_text("name,label\na,b\n")
    assert "clips.csv: has no column file" in one_line(capsys, films, "--out", out)
    (films / "clips.csv").unlink()
    write_media(empty / "mute.mkv", VideoTrack())
    mute = one_line(capsys, empty, "--out", tmp_path / "mute", "--jobs", "1")
    assert "no usable clips in 1 videos (1 no sound); see" in mute


def test_other_settings_and_another_run(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert cli.main(["data", "prepare", str(films), "--out", str(out), "--jobs", "1"]) == 0
    printed = capsys.readouterr()
    assert "4 clips (train " in printed.out
    assert "videos: 4 read, 0 already there, 0 left out\n" in printed.out
    assert printed.err == ""
    # A preset of the same sizes is no other setting.
    same = ["data", "prepare", str(films), "--out", str(out), "--preset", "avol-128-half-width", "--split", "45:4:1"]
    assert cli.main(same) == 0
    changed = one_line(capsys, films, "--out", out, "--frames-per-second", "5")
    assert "was prepared with frames per second 3.0 (now 5.0); take the same, or another folder" in changed
    assert "frame side 144 (now 252)" in one_line(capsys, films, "--out", out, "--preset", "avol-224")
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another avol data prepare is at work" in one_line(capsys, films, "--out", out)
    (shard, *_) = (out / "shards").iterdir()
    shard.write_bytes(shard.read_bytes()[:-1000])
    assert "a damaged shard" in one_line(capsys, films, "--out", out)


@pytest.mark.parametrize(
    "option",
    [
        ("--split", "1:2"),
        ("--split", "0:1:1"),
        ("--jobs", "0"),
        ("--piece-seconds", "0"),
        ("--piece-seconds", "nan"),
        ("--frames-per-second", "26"),
    ],
)
def test_usage_mistakes(films: Path, tmp_path: Path, option: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["data", "prepare", str(films), "--out", str(tmp_path / "out"), *option])
    assert caught.value.code == 2
    assert not (tmp_path / "out").exists()


def test_many_problems_are_cut_short_on_the_screen(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(13):
        (films / f"bad{number}.mp4").write_text(f"bad {number}")
    assert cli.main(["data", "prepare", str(films), "--out", str(tmp_path / "out"), "--jobs", "1"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[-1].endswith("3 more in " + str(tmp_path / "out" / "problems.csv"))


def test_actions_are_imported_when_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from avol.apps import data

    monkeypatch.setitem(data.ACTIONS, "later", ("avol.apps.not_written_yet", "Something to come."))
    for arguments in (["--help"], ["prepare", "--help"], ["inspect", "--help"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(["data", *arguments])
        assert caught.value.code == 0
    assert "Something to come." in capsys.readouterr().out
