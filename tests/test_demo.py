"""What the demo does behind its page, as plain functions: no browser, no server, no Gradio."""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import struct
import time
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avol.apps import demo
from avol.apps.demo_app import chart
from avol.apps.demo_app.card import model_card
from avol.apps.demo_app.clip import CancelledError, analyse_video, sounding_intervals
from avol.apps.demo_app.desk import Desk, plain
from avol.apps.demo_app.examples import example_picture, example_sounds, example_video
from avol.apps.demo_app.folder import PrivateFolder
from avol.apps.demo_app.limits import Limits
from avol.apps.demo_app.live import FRAMES_KEPT, SESSIONS, LiveBuffer, LiveSessions, live_frame, live_sound
from avol.apps.demo_app.still import LARGEST_SHOWN_PIXELS, analyse_picture
from avol.runtime import Localiser
from avol.runtime.backends import open_backend
from avol.runtime.errors import AvolError
from avol.runtime.timeline import read_timeline
from fake_system import SquareSystem
from media_factory import AudioTrack, VideoTrack, bursts, write_media, write_picture


@pytest.fixture(scope="module")
def localiser() -> Iterator[Localiser]:
    with Localiser(device="cpu") as opened:
        yield opened


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("example")
    guitar, horn = example_sounds(folder)
    return {"picture": example_picture(folder), "guitar": guitar, "horn": horn, "video": example_video(folder)}


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Two seconds; the red square sounds from 0.5 to 0.9 s and from 1.4 to 1.8 s."""
    samples = bursts([0.5, 1.4], seconds=2.0, sample_rate=16000, length_seconds=0.4)
    sound = AudioTrack(samples=samples, sample_rate=16000, codec="aac")
    return write_media(tmp_path / "clip.mp4", VideoTrack(seconds=2.0), sound)


def tone(path: Path, seconds: float, loudness: float = 0.0) -> Path:
    samples = loudness * np.sin(np.arange(round(seconds * 16000)) / 5.0)[None].astype(np.float32)
    return write_media(path, None, AudioTrack(samples=samples, sample_rate=16000, codec="pcm_s16le"))


# Videos


def test_a_clip_sounds_when_and_where_it_does(clip: Path, tmp_path: Path) -> None:
    shares: list[float] = []
    found = analyse_video(SquareSystem(), clip, tmp_path, rate_hz=25, progress=shares.append)
    assert [round(i.start_seconds, 1) for i in found.intervals] == [0.5, 1.4]
    for interval, end_seconds in zip(found.intervals, (0.9, 1.8), strict=True):
        assert interval.end_seconds == pytest.approx(end_seconds, abs=0.1)
        assert interval.peak == pytest.approx((0.25, 0.6), abs=0.1)
        assert interval.score >= found.threshold
    assert len(found.times_seconds) == len(found.scores) == 50
    assert shares == sorted(shares)
    assert all(0 <= share <= 1 for share in shares)
    assert found.video.stat().st_size
    assert read_timeline(found.timeline)["source"]["path"] == "clip.mp4"


def test_cancelling_leaves_nothing(clip: Path, tmp_path: Path) -> None:
    answers = iter([False] * 20 + [True])
    (tmp_path / "out").mkdir()
    with pytest.raises(CancelledError):
        analyse_video(SquareSystem(), clip, tmp_path / "out", cancelled=lambda: next(answers))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (Limits(duration_seconds=1.5), "2 s long; this demo takes up to 1.5 s"),
        (Limits(megabytes=0.001), "takes files up to 0.001 MB"),
        (Limits(video_megapixels=0.001), "96 x 64 pixels; this demo takes up to 0.001 million"),
    ],
)
def test_limits_are_named(clip: Path, tmp_path: Path, limits: Limits, says: str) -> None:
    system = SquareSystem()
    with pytest.raises(AvolError, match=says):
        analyse_video(system, clip, tmp_path, limits=limits)
    assert system.batches == []


@pytest.mark.parametrize("settings", [{"rate_hz": 0.0}, {"rate_hz": 1e6}, {"threshold": -0.1}, {"threshold": 1.5}])
def test_settings_that_no_page_offers(clip: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(AvolError, match="is not between"):
        analyse_video(SquareSystem(), clip, tmp_path, **settings)


@pytest.mark.parametrize("content", [b"", b"hello" * 100, bytes(range(256)) * 40, b"\x00\x00\x00\x18ftypmp42" * 9])
def test_files_that_are_no_videos(localiser: Localiser, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.mp4"
    path.write_bytes(content)
    for call in (
        lambda: analyse_video(SquareSystem(), path, tmp_path),
        lambda: analyse_picture(localiser, path, path),
        lambda: live_sound(localiser, LiveBuffer(), path, limits=Limits()),
    ):
        with pytest.raises(AvolError) as raised:
            call()
        assert "\n" not in str(raised.value)


def test_a_file_that_has_been_swept(localiser: Localiser, tmp_path: Path) -> None:
    with pytest.raises(AvolError, match="Upload it again"):
        analyse_video(SquareSystem(), tmp_path / "gone.mp4", tmp_path)


@given(st.lists(st.booleans(), max_size=30))
def test_intervals_hold_the_sounding_frames_and_no_other(sounding: list[bool]) -> None:
    frames = [
        {"time_seconds": k / 10, "score": (k % 7) / 7, "sounding": value, "peak": [0.5, 0.5]}
        for k, value in enumerate(sounding)
    ]
    intervals = sounding_intervals(frames, len(frames) / 10)
    for frame in frames:
        inside = [i for i in intervals if i.start_seconds <= frame["time_seconds"] < i.end_seconds]
        assert len(inside) == frame["sounding"]
    assert all(a.end_seconds < b.start_seconds for a, b in itertools.pairwise(intervals))


@pytest.mark.parametrize(
    ("places", "starts"),
    [
        ("LLLLRRRR", [0, 4]),
        ("LLLLRLLLRLLL", [0]),
        ("LLLLRLRRRR", [0, 6]),
        ("LLLLLR", [0]),
        ("LLLRRR..RR", [0, 3, 8]),
        ("LLLLRMRMRM", [0]),
        ("????LLLRRR", [0, 7]),
        ("LRRR", [0, 1]),
    ],
)
def test_another_place_is_another_interval(places: str, starts: list[int]) -> None:
    peaks = {"L": [0.2, 0.5], "R": [0.8, 0.5], "M": [0.5, 0.1]}
    frames = [
        {"time_seconds": float(k), "score": 0.9, "sounding": place != ".", "peak": peaks.get(place)}
        for k, place in enumerate(places)
    ]
    intervals = sounding_intervals(frames, float(len(places)))
    assert [i.start_seconds for i in intervals] == starts
    silent = {k for k, place in enumerate(places) if place == "."}
    heard = {k for k in range(len(places)) if any(i.start_seconds <= k < i.end_seconds for i in intervals)}
    assert heard == set(range(len(places))) - silent


# Pictures


def test_two_sounds_in_one_picture(localiser: Localiser, example: dict[str, Path]) -> None:
    found = {name: analyse_picture(localiser, example["picture"], example[name]) for name in ("guitar", "horn")}
    assert found["guitar"].sounding
    assert found["horn"].sounding
    assert found["guitar"].peak[0] < 0.45
    assert found["horn"].peak[0] > 0.55
    changed = np.abs(found["guitar"].picture.astype(int) - found["horn"].picture)
    assert changed[:, :320].max() > 50


def test_silence_comes_from_nowhere(localiser: Localiser, example: dict[str, Path], tmp_path: Path) -> None:
    silent = analyse_picture(localiser, example["picture"], tone(tmp_path / "silence.wav", 2.0))
    assert not silent.sounding
    with av.open(str(example["picture"])) as file:
        original = next(file.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(silent.picture.astype(int) - original).mean() < 3


@pytest.mark.parametrize("seconds", [0.01, 0.5, 3.0])
def test_sounds_of_any_length(localiser: Localiser, example: dict[str, Path], tmp_path: Path, seconds: float) -> None:
    found = analyse_picture(localiser, example["picture"], tone(tmp_path / "tone.wav", seconds, 0.5))
    assert len(found.scores) == len(found.times_seconds) == max(1, int((seconds - 1.0241875) * 4) + 1)
    assert 0 <= found.score <= 1
    assert found.score == max(found.scores)


def test_a_sound_that_is_too_long(localiser: Localiser, example: dict[str, Path], tmp_path: Path) -> None:
    long = tone(tmp_path / "long.wav", 3.0)
    with pytest.raises(AvolError, match="up to 2 s"):
        analyse_picture(localiser, example["picture"], long, limits=Limits(sound_seconds=2.0))


def test_a_picture_that_is_huge(localiser: Localiser, example: dict[str, Path], tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8_000, 8_000, 1, 0, 0, 0, 0))  # black and white: a byte for eight
    path = tmp_path / "huge.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(8_000 * 1_001))) + chunk(b"IEND", b"")
    )
    with pytest.raises(AvolError, match="8000 x 8000 pixels; this demo takes up to 50 million"):
        analyse_picture(localiser, path, example["guitar"])


def test_large_pictures_are_shown_smaller(localiser: Localiser, example: dict[str, Path], tmp_path: Path) -> None:
    path = write_picture(tmp_path / "large.png", np.zeros((1500, 2001, 3), np.uint8))
    found = analyse_picture(localiser, path, example["guitar"])
    assert found.picture.shape == (960, LARGEST_SHOWN_PIXELS, 3)


# Live


def test_without_sound_there_is_a_picture_and_no_score(localiser: Localiser) -> None:
    pixels = np.full((48, 64, 3), 90, np.uint8)
    found = live_frame(localiser, LiveBuffer(), pixels)
    assert found.score is None
    assert found.picture.shape == pixels.shape


def test_live_sound_is_found_and_grows_stale(localiser: Localiser, example: dict[str, Path]) -> None:
    with av.open(str(example["picture"])) as file:
        pixels = next(file.decode(video=0)).to_ndarray(format="rgb24")
    buffer = LiveBuffer()
    live_sound(localiser, buffer, example["guitar"], limits=Limits(), now_seconds=10.0)
    found = live_frame(localiser, buffer, pixels, now_seconds=10.1)
    assert found.sounding
    heat = np.abs(found.picture.astype(int) - pixels).sum(axis=(0, 2))
    assert heat[:320].sum() > 3 * heat[320:].sum()
    assert live_frame(localiser, buffer, pixels, now_seconds=13.0).score is None


def test_the_picture_is_from_the_middle_of_the_sound(localiser: Localiser, example: dict[str, Path]) -> None:
    buffer = LiveBuffer()
    for tenth in range(20):
        live_frame(localiser, buffer, np.full((32, 32, 3), 10 * tenth, np.uint8), now_seconds=tenth / 10)
    live_sound(localiser, buffer, example["guitar"], limits=Limits(), now_seconds=1.9)
    found = live_frame(localiser, buffer, np.full((32, 32, 3), 250, np.uint8), now_seconds=2.0)
    assert len(buffer.frames) == FRAMES_KEPT
    half_window = localiser.spec.spectrogram.clip_seconds / 2
    shown_at = round((1.9 - half_window) * 10)
    assert np.median(found.picture[:2, :2]) == pytest.approx(10 * shown_at, abs=12)


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 4), (4, 4, 4), (1, 5000, 3)])
def test_cameras_of_another_kind(localiser: Localiser, shape: tuple[int, ...]) -> None:
    with pytest.raises(AvolError, match="camera"):
        live_frame(localiser, LiveBuffer(), np.zeros(shape, np.uint8))


def test_few_visitors_are_remembered() -> None:
    sessions = LiveSessions()
    first = sessions.buffer_of("0")
    for number in range(SESSIONS):
        assert sessions.buffer_of("0") is first
        sessions.buffer_of(f"visitor {number}")
    assert len(sessions) == SESSIONS
    assert sessions.buffer_of("0") is first
    sessions.forget("0")
    sessions.forget("0")
    assert sessions.buffer_of("0") is not first


# The page's parts


@given(
    st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1)), max_size=20), st.floats(0, 1), st.none() | st.floats(0, 1e5)
)
def test_any_score_is_a_drawing(points: list[tuple[float, float]], threshold: float, duration: float | None) -> None:
    times = sorted(time for time, _ in points)
    svg = chart.score_chart(times, [score for _, score in points], threshold, (), duration)
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == root.findtext("title")
    (line,) = root.findall("polyline")
    for point in (line.get("points") or "").split():
        x, y = map(float, point.split(","))
        assert 0 <= x <= chart.WIDTH
        assert 0 <= y <= chart.HEIGHT


@given(st.floats(1e-3, 1e6))
def test_an_axis_has_a_few_round_times(end_seconds: float) -> None:
    found = chart.ticks(end_seconds)
    assert found[0] == 0
    assert found == sorted(found)
    assert 3 <= len(found) <= chart.MOST_TICKS + 2
    assert found[-1] <= end_seconds * (1 + 1e-6)


def test_a_table_is_whole_or_says_what_it_leaves_out() -> None:
    frames = [
        {"time_seconds": k / 10, "score": 0.9, "sounding": k % 2 == 0, "peak": None} for k in range(4 * chart.MOST_ROWS)
    ]
    intervals = sounding_intervals(frames, 1.0)
    table = ElementTree.fromstring(chart.interval_table(intervals))
    assert len(table.findall("tbody/tr")) == chart.MOST_ROWS + 1
    assert f"{len(intervals) - chart.MOST_ROWS} more" in ElementTree.tostring(table, encoding="unicode")
    assert "Nothing" in chart.interval_table([])


def test_the_card_says_what_runs_and_links_nowhere() -> None:
    with open_backend(device="cpu") as backend:
        card = model_card(backend)
    for fact in (backend.spec.name, backend.name, backend.precision, backend.provider, "How well it does"):
        assert fact in card
    assert "](reports" not in card


# Visitors and their files


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with PrivateFolder() as folder:
        yield Desk(SquareSystem(), folder)


def test_results_stay_until_the_next_ones(desk: Desk) -> None:
    made = []
    for visitor, kind in [("ada", "video"), ("ada", "picture"), ("grace", "video"), ("ada", "video")]:
        with desk.job(visitor, kind) as (folder, _):
            (folder / "result").touch()
            made.append(folder)
    assert [folder.exists() for folder in made] == [False, True, True, True]
    with pytest.raises(AvolError), desk.job("ada", "video") as (failed, _):
        raise AvolError("a mistake")
    assert not failed.exists()
    assert made[3].exists()
    desk.leave("ada")
    assert [folder.exists() for folder in made] == [False, False, True, False]


def test_what_refers_to_itself_goes_with_its_request(desk: Desk) -> None:
    class Container:
        def __init__(self) -> None:
            self.itself = self

    gc.disable()
    try:
        with desk.job("ada", "video"):
            left = weakref.ref(Container())
            assert left() is not None
        assert left() is None
    finally:
        gc.enable()


def test_cancelling_is_for_oneself(desk: Desk) -> None:
    assert desk.cancel("ada") == 0
    with desk.job("ada", "video") as (_, ada), desk.job("grace", "video") as (_, grace):
        assert desk.cancel("ada") == 1
        assert ada()
        assert not grace()
        desk.leave("grace")
        assert grace()


def test_messages_say_names_only() -> None:
    path = Path("/private/where/clip.mp4")
    assert plain(AvolError(f"{path}: is odd; {path} again."), path, None) == "clip.mp4: is odd; clip.mp4 again."


def test_the_folder_is_private_and_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    with PrivateFolder() as folder:
        assert folder.path.stat().st_mode & 0o777 == 0o700
        assert os.environ["GRADIO_TEMP_DIR"] == str(folder.path)
        (folder.new_results() / "result").touch()
    assert not folder.path.exists()
    assert "GRADIO_TEMP_DIR" not in os.environ
    assert list(tmp_path.iterdir()) == []


def test_old_files_are_swept_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with PrivateFolder(keep_seconds=100.0, most_bytes=2500) as folder:
        paths = [folder.path / f"{age}" for age in (200, 90, 50, 10)]
        for path in paths:
            path.write_bytes(bytes(1000))
            used = time.time() - float(path.name)
            os.utime(path, (used, used))
        folder.sweep()
        assert [path.exists() for path in paths] == [False, False, True, True]
        folder.touch(paths[2])
        folder.sweep(30.0)
        assert [path.exists() for path in paths[2:]] == [True, True]
        empty = folder.new_results()
        folder.sweep(0.0)
        assert folder.files() == []
        assert not empty.exists()


# The command


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    return parser.parse_args(words)


def test_it_is_for_this_machine_unless_told_otherwise() -> None:
    arguments = parsed()
    assert arguments.host == "127.0.0.1"
    assert not arguments.share
    assert demo._is_loopback("::1")
    assert demo._is_loopback("localhost")
    assert not demo._is_loopback("0.0.0.0")
    assert not demo._is_loopback("example.org")


def test_credentials(tmp_path: Path) -> None:
    people = tmp_path / "people"
    people.write_text("ada:lovelace\n\n grace:hopper:navy \n", encoding="utf-8")
    assert demo._credentials(None, None) == ()
    found = demo._credentials("me:secret", people)
    assert found == (("me", "secret"), ("ada", "lovelace"), ("grace", "hopper:navy"))


@pytest.mark.parametrize("pair", ["hunter2", ":hunter2", "me:", ""])
def test_credentials_of_another_form_are_not_repeated(pair: str) -> None:
    with pytest.raises(argparse.ArgumentError) as raised:
        demo._credentials(pair, None)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00"])
def test_files_of_credentials_that_are_of_no_use(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "people").write_bytes(content)
    with pytest.raises(AvolError, match="NAME:PASSWORD"):
        demo._credentials(None, tmp_path / "people")


@pytest.mark.parametrize(
    "words", [("--port", "65536"), ("--port", "-1"), ("--max-seconds", "0"), ("--max-megabytes", "nan")]
)
def test_arguments_out_of_range(words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        parsed(*words)
    assert raised.value.code == 2
    assert words[0] in capsys.readouterr().err
