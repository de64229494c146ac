"""Parts of videos: exactly the pictures and the sound between two times, however the file is found into; pictures."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avol.apps import cli
from avol.runtime.errors import AvolError
from avol.runtime.media.audio import JITTER_SECONDS, AudioReader
from avol.runtime.media.source import Source, open_source, part_of
from avol.runtime.media.video import VideoReader
from avol.runtime.timeline import read_timeline
from media_factory import AudioTrack, VideoTrack, bursts, read_number, write_media, write_picture

SECONDS, RATE, AUDIO_RATE = 8.0, 20, 16000
BURSTS = (0.5, 2.5, 4.5, 6.5)
SUFFIXES = ("mp4", "mkv", "ts", "avi", "webm")
CODECS = {"avi": ("mpeg4", "mp3"), "webm": ("libvpx", "libopus")}


@functools.cache
def film(suffix: str) -> Path:
    """Pictures that carry their number, with few key frames and B-frames where the codec has them, and bursts."""
    folder = Path(tempfile.mkdtemp(prefix="parts"))
    video_codec, audio_codec = CODECS.get(suffix, ("libx264", "aac"))
    options = {"g": "60"} | ({"bf": "2"} if video_codec == "libx264" else {})
    rate = 48000 if audio_codec == "libopus" else AUDIO_RATE
    samples = bursts(BURSTS, seconds=SECONDS, sample_rate=rate)
    return write_media(
        folder / f"film.{suffix}",
        VideoTrack(seconds=SECONDS, rate=RATE, codec=video_codec, options=options),
        AudioTrack(samples=samples, sample_rate=rate, codec=audio_codec),
    )


def frames_of(source: Source) -> list[tuple[float, int]]:
    """Time and number of every picture."""
    with VideoReader(source, frame_height=64, frame_width=96, rate_hz=1000.0) as reader:
        return [(frame.time_seconds, read_number(frame.pixels)) for frame in reader if frame.pixels is not None]


@functools.cache
def all_frames(suffix: str) -> list[tuple[float, int]]:
    return frames_of(open_source(film(suffix)))


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_a_part_holds_exactly_the_pictures_between_two_times(suffix: str, data: st.DataObject) -> None:
    # A third of a millisecond off: containers round times to one.
    start = data.draw(st.integers(0, 7800)) / 1000 - 0.0003
    end = start + data.draw(st.integers(100, 10_000)) / 1000
    found = frames_of(part_of(open_source(film(suffix)), start, end))
    wanted = [(time - start, number) for time, number in all_frames(suffix) if start <= time < end]
    assert [number for _, number in found] == [number for _, number in wanted]
    assert np.allclose([time for time, _ in found], [time for time, _ in wanted], atol=2e-6)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("start", [0.7, 3.9, 6.0])
def test_the_sound_of_a_part_does_not_depend_on_how_it_is_found(suffix: str, start: float) -> None:
    source = part_of(open_source(film(suffix)), start)
    heard = []
    for seek in (False, True):
        with AudioReader(
            film(suffix), sample_rate_hz=AUDIO_RATE, zero_seconds=source.audio_zero_seconds, seek=seek
        ) as reader:
            heard.append(np.concatenate(list(reader)))
    length = min(map(len, heard))
    assert abs(len(heard[0]) - len(heard[1])) <= 0.05 * AUDIO_RATE
    assert np.abs(heard[0][:length] - heard[1][:length]).max() < 0.02
    whole = open_source(film(suffix))
    with AudioReader(film(suffix), sample_rate_hz=AUDIO_RATE, zero_seconds=whole.audio_zero_seconds) as reader:
        rest = np.concatenate(list(reader))[round(start * AUDIO_RATE) :]
    # Containers round the times of blocks; a track runs on from its first one.
    onsets = [np.flatnonzero(np.abs(samples) > 0.1)[0] / AUDIO_RATE for samples in (rest, heard[1])]
    assert onsets[0] == pytest.approx(onsets[1], abs=JITTER_SECONDS)


def test_an_index_that_leads_astray_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is then read from its beginning."""

    def too_far(container: av.container.InputContainer, time_seconds: float) -> bool:
        container.seek(int(7.5 * av.time_base), backward=True)
        return True

    monkeypatch.setattr("avol.runtime.media.video.seek_before", too_far)
    found = frames_of(part_of(open_source(film("mp4")), 2.0, 3.0))
    assert [number for _, number in found] == list(range(40, 60))


def test_behind_the_end() -> None:
    with pytest.raises(AvolError, match=r"film.mp4: is 8\.\d+ s long and ends before --start 9; choose an earlier"):
        part_of(open_source(film("mp4")), 9.0)


@pytest.mark.parametrize(
    ("words", "start", "length"), [(("--start", "0:02", "--end", "5"), 2.0, 3.0), (("--start", "6"), 6.0, 2.0)]
)
def test_results_of_a_part(tmp_path: Path, words: tuple[str, ...], start: float, length: float) -> None:
    arguments = [str(film("mp4")), "--rate", "5", *words, "--output-dir", str(tmp_path)]
    assert cli.main_run(arguments) == 0
    timeline = read_timeline(tmp_path / "film.avol.json")
    assert timeline["source"]["start_seconds"] == start
    assert timeline["source"]["duration_seconds"] == pytest.approx(length, abs=0.15)
    assert [entry["time_seconds"] for entry in timeline["frames"]] == pytest.approx(np.arange(0, length, 0.2), abs=1e-6)
    written = open_source(tmp_path / "film.avol.mp4")
    assert len(frames_of(written)) == length * RATE
    with AudioReader(written.path, sample_rate_hz=AUDIO_RATE, zero_seconds=written.zero_seconds) as reader:
        samples = np.concatenate(list(reader))
    assert len(samples) / AUDIO_RATE == pytest.approx(length, abs=0.2)
    first = np.flatnonzero(np.abs(samples) > 0.1)[0] / AUDIO_RATE
    assert first == pytest.approx(min(b for b in BURSTS if b > start) - start, abs=0.03)


@pytest.mark.parametrize(
    "words",
    [
        ("--start", "3", "--end", "2"),
        ("--start", "-1"),
        ("--end", "x"),
        ("--start", "1:2:3:4"),
        ("--end", "0"),
        ("--start", "1:90"),
        ("--start", "1.5:30"),
    ],
)
def test_times_that_cannot_be(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main_run([str(film("mp4")), *words])
    assert caught.value.code == 2


# --- one picture with a sound


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (96, 161, 3)).astype(np.uint8)
    return write_picture(tmp_path / "band.png", pixels)


def test_a_picture_with_a_sound(picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert (
        cli.main_run(["--image", str(picture), "--audio", str(film("mp4")), "--rate", "4", "--output-dir", str(out)])
        == 0
    )
    assert sorted(path.name for path in out.iterdir()) == ["band.avol.json", "band.avol.png"]
    timeline = read_timeline(out / "band.avol.json")
    assert timeline["source"]["audio_path"] == str(film("mp4"))
    times = [entry["time_seconds"] for entry in timeline["frames"]]
    assert times == pytest.approx(0.5121 + np.arange(len(times)) / 4, abs=1e-3)
    assert len(times) == 28
    best = max(entry["score"] for entry in timeline["frames"])
    assert f"score {best:.2f}" in capsys.readouterr().out
    with av.open(str(out / "band.avol.png")) as container:
        shown = next(container.decode(video=0))
    assert (shown.width, shown.height) == (162, 96)  # even, as the videos are


@pytest.mark.parametrize("format", ["jsonl", "csv", "npz"])
def test_a_picture_without_the_png(picture: Path, format: str) -> None:
    words = ["--image", str(picture), "--audio", str(film("mkv")), "--no-video", "--format", format]
    assert cli.main_run(words) == 0
    assert sorted(path.name for path in picture.parent.iterdir()) == [f"band.avol.{format}", "band.png"]


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        (["--image", "absent.png", "--audio", "sound.wav"], "absent.png: no such file"),
        (["--image", "band.png", "--audio", "absent.wav"], "absent.wav: no such file"),
        (["--image", "sound.wav", "--audio", "sound.wav"], "sound.wav: no picture could be decoded"),
        (["--image", "band.png", "--audio", "band.png"], "band.png: no audio stream"),
        (["--image", "band.png", "--audio", "sound.wav", "--json", "band.png"], "band.png: is the input"),
        (["--image", "band.png", "--audio", "sound.wav", "--json", "sound.wav"], "would be written for"),
    ],
)
def test_bad_pictures_and_sounds_are_one_line(
    picture: Path, words: list[str], fact: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(picture.parent)
    samples = bursts([0.1], seconds=0.5, sample_rate=AUDIO_RATE)
    write_media(Path("sound.wav"), None, AudioTrack(samples=samples, sample_rate=AUDIO_RATE, codec="pcm_s16le"))
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    assert cli.main_run(words) == 1
    said = capsys.readouterr()
    assert fact in said.err
    assert said.err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


@pytest.mark.parametrize("words", [["--image", "a.png"], ["--image", "a.png", "--audio", "b.wav", "c.mp4"]])
def test_what_a_picture_needs(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main_run(words)
    assert caught.value.code == 2


def test_a_short_sound_is_heard_once(picture: Path, tmp_path: Path) -> None:
    samples = bursts([0.1], seconds=0.5, sample_rate=AUDIO_RATE)
    sound = write_media(
        tmp_path / "s.wav", None, AudioTrack(samples=samples, sample_rate=AUDIO_RATE, codec="pcm_s16le")
    )
    assert cli.main_run(["--image", str(picture), "--audio", str(sound)]) == 0
    (entry,) = json.loads((tmp_path / "band.avol.json").read_text(encoding="utf-8"))["frames"]
    assert entry["time_seconds"] == pytest.approx(0.25, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "codec", "file_start"),
    [
        ("a.mp4", "aac", 0.0),
        ("a.mkv", "flac", 0.0),
        ("a.ts", "aac", 0.0),
        ("a.mp4", "aac", 2.3),
        ("a.mov", "alac", 0.0),
    ],
)
@pytest.mark.parametrize("start_seconds", [2.57, 3.37])  # one is 10 ms behind a packet of AAC
def test_the_sound_of_a_part_lies_on_the_sample(
    tmp_path: Path, name: str, codec: str, file_start: float, start_seconds: float
) -> None:
    samples = bursts(BURSTS, seconds=SECONDS, sample_rate=AUDIO_RATE)
    path = write_media(
        tmp_path / name,
        VideoTrack(seconds=SECONDS, rate=RATE, start_seconds=file_start),
        AudioTrack(samples=samples, sample_rate=AUDIO_RATE, codec=codec, start_seconds=file_start),
    )
    whole = open_source(path)
    part = part_of(whole, start_seconds)
    first = round(start_seconds * AUDIO_RATE)
    heard, expected = samples_of(part), samples_of(whole)[first : first + 2 * AUDIO_RATE]
    assert np.abs(expected).max() > 0.1
    assert np.abs(heard[: expected.size] - expected)[16:].max() < 2e-3  # 16: where the resampler begins


def samples_of(source: Source) -> np.ndarray:
    with AudioReader(
        source.sound_path,
        sample_rate_hz=AUDIO_RATE,
        zero_seconds=source.audio_zero_seconds,
        seek=source.start_seconds > 0,
    ) as reader:
        return np.concatenate(list(reader))
