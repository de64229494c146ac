"""``avol-run`` from end to end: what must work is right in time and place, what must fail is one line and no trace."""

from __future__ import annotations

import itertools
import json
import math
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import termios
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from avol.apps import cli
from avol.runtime.errors import AvolError
from avol.runtime.media import container
from avol.runtime.media.packets import AudioPacketCopier
from avol.runtime.model_folder import bundled_model_folder
from avol.runtime.pipeline import RunOptions, RunSummary, run_on_video
from avol.runtime.timeline import read_timeline
from fake_system import DARK, EAR_SECONDS, GRID, LIT, SPEC, SquareSystem
from media_factory import (
    BACKGROUND,
    SQUARE,
    AudioTrack,
    Rgb,
    VideoTrack,
    bursts,
    cut,
    damage,
    write_media,
    write_picture,
)

SECONDS, RATE = 2.0, 25
BURSTS, BURST_SECONDS = [0.3, 1.3], 0.4
JUMP = 25  # the picture at which the square changes its place
PLACES = ((0.3125, 0.6875), (0.8125, 0.1875))  # centres of cells
EDGE_SECONDS = 0.03  # a burst counts as begun or ended this far from its ends, beyond the reach of the ear


def jumping_square(index: int, width: int, height: int) -> Rgb:
    """A red square of one and a half cells, in one place and then in another."""
    picture = np.full((height, width, 3), BACKGROUND, np.uint8)
    x, y = PLACES[index >= JUMP]
    half = 0.75 / GRID
    rows, columns = (
        slice(int((y - half) * height), int((y + half) * height)),
        slice(int((x - half) * width), int((x + half) * width)),
    )
    picture[rows, columns] = SQUARE
    return picture


def pictures(**values: Any) -> VideoTrack:
    return VideoTrack(**({"seconds": SECONDS, "width": 160, "height": 96, "picture": jumping_square} | values))


def sound(*, seconds: float = SECONDS, sample_rate: int = 16000, layout: str = "mono", **values: Any) -> AudioTrack:
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    samples = bursts(BURSTS, seconds=seconds, sample_rate=sample_rate, channels=channels, length_seconds=BURST_SECONDS)
    return AudioTrack(samples=samples, sample_rate=sample_rate, layout=layout, **values)


@dataclass(frozen=True, kw_only=True)
class Case:
    """An input that must work. ``tick``: of its container's clock; ``copied``: its audio packets go into the result."""

    video: VideoTrack
    audio: AudioTrack | None
    suffix: str = "mp4"
    tick: float = 1 / 90000
    priming_seconds: float = 0.0  # of the sound that the container does not tell the decoder to drop
    shown: tuple[int, int] = (160, 96)
    copied: bool = True
    notes: tuple[str, ...] = ()

    @property
    def zero_seconds(self) -> float:
        start = self.video.frame_times[0]
        return start if self.audio is None else min(start, self.audio.start_seconds - self.priming_seconds)

    @property
    def spans(self) -> list[tuple[float, float]]:
        """When the output sounds."""
        if self.audio is None or not self.audio.samples.any():
            return []
        start = self.audio.start_seconds - self.zero_seconds
        end = start + self.audio.samples.shape[1] / self.audio.sample_rate
        return [(start + at, min(start + at + BURST_SECONDS, end)) for at in BURSTS if start + at < end]


VARIABLE = [0, 0.1, 0.13, 0.36, 0.5, 0.51, 0.55, 0.68, 0.9, 1.0, 1.1, 1.25, 1.36, 1.4, 1.47, 1.52, 1.61, 1.64, 1.9]
VARIABLE += [1.91 + k / 100 for k in range(12)]
SILENT = AudioTrack(samples=np.zeros((1, 32000), np.float32), sample_rate=16000)

CASES = {
    "plain": Case(video=pictures(), audio=sound()),
    "no sound": Case(video=pictures(), audio=None, notes=("no audio stream: treated as silence",)),
    "silent sound": Case(video=pictures(), audio=SILENT),
    "short sound": Case(video=pictures(), audio=sound(seconds=0.6)),
    "late sound": Case(video=pictures(), audio=sound(seconds=1.0, start_seconds=0.7)),
    "late pictures": Case(video=pictures(start_seconds=0.4), audio=sound()),
    "three tenths": Case(video=pictures(seconds=0.32), audio=sound(seconds=0.3)),
    "8 kHz": Case(video=pictures(), audio=sound(sample_rate=8000)),
    "96 kHz 5.1": Case(video=pictures(), audio=sound(sample_rate=96000, layout="5.1")),
    "PCM": Case(
        video=pictures(),
        audio=sound(codec="pcm_s16le", sample_rate=44100, layout="stereo"),
        suffix="mkv",
        tick=0.001,
        copied=False,
        notes=("the sound (pcm_s16le) is encoded to AAC",),
    ),
    "variable rate": Case(video=pictures(times=VARIABLE), audio=sound()),
    "rotated 90": Case(video=pictures(rotation=90), audio=sound(), shown=(96, 160)),
    "rotated 180": Case(video=pictures(rotation=180), audio=sound()),
    "rotated 270": Case(video=pictures(rotation=270), audio=sound(), shown=(96, 160)),
    "anamorphic": Case(video=pictures(sample_aspect_ratio=Fraction(4, 3)), audio=sound(), shown=(213, 96)),
    "rotated and anamorphic": Case(
        video=pictures(rotation=90, sample_aspect_ratio=Fraction(4, 3)), audio=sound(), shown=(96, 213)
    ),
    "odd size": Case(
        video=pictures(width=161, height=97, pixel_format="yuv444p"), audio=sound(), shown=(161, 97), suffix="mov"
    ),
    "10 bit": Case(video=pictures(codec="libx265", pixel_format="yuv420p10le"), audio=sound()),
    "transport stream": Case(
        video=pictures(),
        audio=sound(codec="ac3", sample_rate=48000),
        suffix="ts",
        priming_seconds=256 / 48000,
    ),
    "WebM": Case(
        video=pictures(codec="libvpx-vp9", options={"cpu-used": "8", "deadline": "realtime"}),
        audio=sound(codec="libopus", sample_rate=48000),
        suffix="webm",
        tick=0.001,
    ),
}


@dataclass(frozen=True)
class Result:
    """What a run gave."""

    timeline: dict[str, Any]
    video: Path
    summary: RunSummary

    @property
    def times(self) -> list[float]:
        return [frame["time_seconds"] for frame in self.timeline["frames"]]


def run_fake(path: Path, system: SquareSystem | None = None, **options: Any) -> Result:
    video_out, timeline_out = path.with_name(f"{path.stem}.avol.mp4"), path.with_name(f"{path.stem}.avol.json")
    chosen = RunOptions(**({"video": path, "video_out": video_out, "timeline_out": timeline_out} | options))
    summary = run_on_video(chosen, system or SquareSystem())  # type: ignore[arg-type]
    return Result(read_timeline(chosen.timeline_out), video_out, summary)


def decoded(path: Path) -> tuple[list[float], list[Rgb]]:
    """Times and upright pictures, by nothing but PyAV."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    turns = [round((frame.rotation or 0) / 90) for frame in frames]
    pixels = [np.rot90(f.to_ndarray(format="rgb24"), turn) for f, turn in zip(frames, turns, strict=True)]
    return [float(frame.pts * frame.time_base) for frame in frames], pixels


def audio_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return []
        return [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]


def is_sounding(spans: list[tuple[float, float]], time: float) -> bool | None:
    """Whether the middle of the sound at this time is loud; None near the ends of a burst."""
    reach = EAR_SECONDS + EDGE_SECONDS
    if any(start + reach <= time <= end - reach for start, end in spans):
        return True
    return None if any(start - reach < time < end + reach for start, end in spans) else False


def place_at(case: Case, time: float) -> tuple[float, float]:
    times = [t - case.zero_seconds for t in case.video.frame_times]
    index = max(k for k, t in enumerate(times) if t <= time + case.tick)
    return PLACES[index >= JUMP]


@pytest.mark.parametrize("name", CASES)
def test_what_must_work_is_right_in_time_and_place(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    path = write_media(tmp_path / f"clip.{case.suffix}", case.video, case.audio)
    result = run_fake(path, maps=True)
    expected = [time - case.zero_seconds for time in case.video.frame_times]
    times, shown = decoded(result.video)
    assert times == pytest.approx(expected, abs=case.tick)
    assert_timeline(case, result, times)
    assert_overlay(result, times, shown, decoded(path)[1])
    if case.copied:
        assert audio_packets(result.video) == audio_packets(path)
    assert [any(part in note for part in case.notes) for note in result.summary.notes] == [True] * len(case.notes)
    assert (result.summary.frames, result.summary.analysed) == (len(expected), len(result.times))


def assert_timeline(case: Case, result: Result, shown_times: list[float]) -> None:
    """Every entry is at a picture of the overlay video and says what was there at that time."""
    source = result.timeline["source"]
    assert (source["width"], source["height"]) == case.shown
    # Cells of a tenth of a second: the first picture in each is analysed.
    cells = sorted({math.floor((time + 0.001) * 10) for time in shown_times})
    assert [math.floor((time + 0.001) * 10) for time in result.times] == cells
    known = 0
    for frame in result.timeline["frames"]:
        time = frame["time_seconds"]
        assert min(abs(time - shown) for shown in shown_times) <= 1 / 90000 + 1e-6
        expected = is_sounding(case.spans, time)
        if expected is None:
            continue
        known += 1
        assert (time, frame["sounding"], frame["score"]) == (time, expected, LIT if expected else pytest.approx(DARK))
        x, y = place_at(case, time)
        if expected:
            assert frame["peak"] == [x, y]
            half = 0.5 / GRID
            assert frame["box"] == pytest.approx([x - half, y - half, x + half, y + half], abs=1e-4)
            assert frame["map"][int(y * GRID)][int(x * GRID)] == LIT
        else:
            assert frame["box"] is None
    assert known >= len(result.times) / 2
    if case.spans and len(result.times) > 5:
        assert {frame["sounding"] for frame in result.timeline["frames"]} == {True, False}


def assert_overlay(result: Result, times: list[float], shown: list[Rgb], original: list[Rgb]) -> None:
    """Heat lies over the peaks of the two nearest entries, each by its share, and nowhere else."""
    assert len(shown) == len(original)
    for time, picture, before in zip(times, shown, original, strict=True):
        height, width = before.shape[:2]
        assert picture.shape == (height + height % 2, width + width % 2, 3)
        change = cv2.GaussianBlur(picture[:height, :width].astype(np.float32) - before, (0, 0), min(height, width) / 24)
        smooth = np.abs(change).sum(axis=2)
        rows, columns = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
        weights = heats_at(result.timeline["frames"], time)
        cold = np.ones((height, width), bool)
        for x, y in weights:
            cold &= (np.abs(rows - y)[:, None] > 1.5 / GRID) | (np.abs(columns - x)[None] > 1.5 / GRID)
        assert smooth[cold].max() < 45
        (x, y), weight = max(weights.items(), key=lambda item: item[1], default=((0.0, 0.0), 0.0))
        if weight > 0.7:
            row, column = divmod(int(smooth.argmax()), width)
            assert smooth.max() > (55 if weight > 0.999 else 40)
            assert abs((column + 0.5) / width - x) < 1 / GRID
            assert abs((row + 0.5) / height - y) < 1 / GRID


def heats_at(entries: list[dict[str, Any]], time: float) -> dict[tuple[float, float], float]:
    """How much of its full heat each peak has at a time: it moves from entry to entry."""
    newest = max(k for k, entry in enumerate(entries) if entry["time_seconds"] <= time + 1e-5)
    pair = entries[newest : newest + 2]
    share = 0.0
    if len(pair) == 2:
        first, second = (entry["time_seconds"] for entry in pair)
        share = max(0.0, time - first) / (second - first)
    weights: dict[tuple[float, float], float] = {}
    for entry, weight in zip(pair, (1 - share, share), strict=False):
        if entry["sounding"] and weight:
            x, y = entry["peak"]
            weights[x, y] = weights.get((x, y), 0.0) + weight
    return weights


def test_a_file_cut_off_in_its_data_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = write_media(
        tmp_path / "whole.mp4", pictures(options={"g": "10"}), sound(), container_options={"movflags": "faststart"}
    )
    path = cut(whole, tmp_path / "clip.mp4", keep=0.7)
    result = run_fake(path)
    times, _ = decoded(result.video)
    assert 10 <= len(times) < 50
    assert times == pytest.approx([k / RATE for k in range(len(times))], abs=1 / 90000)
    assert any("the data ends at" in note for note in result.summary.notes)
    assert result.summary.duration_seconds == pytest.approx(len(times) / RATE)
    assert result.timeline["source"]["duration_seconds"] == pytest.approx(len(times) / RATE, abs=1e-6)
    spans = [(at, at + BURST_SECONDS) for at in BURSTS]
    for frame in result.timeline["frames"][:-2]:  # the sound may end before the pictures
        assert is_sounding(spans, frame["time_seconds"]) in {None, frame["sounding"]}
    packets, complete = audio_packets(result.video), audio_packets(whole)
    assert len(packets) > 5
    assert packets[:-1] == complete[: len(packets) - 1]
    assert complete[len(packets) - 1].startswith(packets[-1])  # the one that was cut through


def test_a_stream_that_appears_on_the_way_ends_the_sound_quietly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As PyAV tells of one in a damaged FLV file: by an IndexError in the middle of reading."""
    path = write_media(tmp_path / "clip.mp4", pictures(), sound())

    class Breaking:
        def __init__(self, container: Any) -> None:
            self._container = container

        def demux(self, *streams: Any) -> Iterator[Any]:
            yield from itertools.islice(self._container.demux(*streams), 10)
            raise IndexError("list index out of range")

    plain = container.Packets.__init__
    monkeypatch.setattr(container.Packets, "__init__", lambda self, c, *streams: plain(self, Breaking(c), *streams))
    path_out = tmp_path / "out.mp4"
    with av.open(str(path_out), "w") as output:
        copier = AudioPacketCopier(path, output, zero_seconds=0.0)
        copier.finish()
    assert audio_packets(path_out) == audio_packets(path)[:10]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "flv"])
def test_any_damage_is_an_error_line_or_two_whole_results(tmp_path: Path, suffix: str) -> None:
    whole = write_media(tmp_path / f"whole.{suffix}", pictures(options={"g": "10"}), sound())
    generator = np.random.default_rng(5)
    kept = 0
    for start, length in zip(generator.uniform(0, 1, 12), [0.001, 0.01, 0.1] * 4, strict=True):
        path = damage(whole, tmp_path / f"clip.{suffix}", start=start, end=min(1.0, start + length))
        try:
            result = run_fake(path)
        except AvolError:
            assert {p.name for p in tmp_path.iterdir()} == {whole.name, path.name}
            continue
        times, _ = decoded(result.video)
        assert len(times) == result.summary.frames
        assert all(first < second for first, second in itertools.pairwise(times))
        assert all(min(abs(time - shown) for shown in times) < 1e-4 for time in result.times)
        kept += 1
        result.video.unlink()
        result.video.with_suffix(".json").unlink()
    assert kept > 3


def test_sound_that_cannot_be_decoded_is_silence_and_said_once(tmp_path: Path) -> None:
    path = write_media(tmp_path / "clip.mkv", pictures(seconds=0.4), sound(seconds=0.4))
    packets = audio_packets(path)
    data = path.read_bytes()
    for packet in packets:
        data = data.replace(packet, b"\xff" * len(packet))
    path.write_bytes(data)
    result = run_fake(path)
    assert result.summary.silence == "sound that cannot be decoded"
    assert not any("no audio stream" in note for note in result.summary.notes)
    assert result.timeline["source"]["audio_sample_rate"] is None
    assert not any(frame["sounding"] for frame in result.timeline["frames"])


def test_damaged_sound_is_told_once_also_beyond_the_last_window(tmp_path: Path) -> None:
    """By who analyses it and by who copies it, in the same words."""
    long = bursts(BURSTS, seconds=4.0, sample_rate=16000, length_seconds=BURST_SECONDS)
    path = write_media(tmp_path / "clip.mkv", pictures(), AudioTrack(samples=long, sample_rate=16000))
    packets, data = audio_packets(path), path.read_bytes()
    path.write_bytes(data.replace(packets[5], b"\xff" * len(packets[5])))
    notes = run_fake(path).summary.notes
    assert notes == [f"{path}: audio packets damaged, played as silence: 1."]
    assert run_fake(path, video_out=None).summary.notes == notes


def test_another_files_sound_is_heard_and_copied(tmp_path: Path) -> None:
    path = write_media(tmp_path / "clip.mp4", pictures(), SILENT)
    longer = bursts([0.9, 2.5], seconds=4.0, sample_rate=48000, length_seconds=BURST_SECONDS)
    other = write_media(tmp_path / "other.m4a", None, AudioTrack(samples=longer, sample_rate=48000))
    result = run_fake(path, audio=other)
    assert result.timeline["source"]["audio_path"] == str(other)
    assert result.timeline["source"]["audio_sample_rate"] == 48000
    spans = [(0.9, 0.9 + BURST_SECONDS)]
    for frame in result.timeline["frames"]:
        assert is_sounding(spans, frame["time_seconds"]) in {None, frame["sounding"]}
    copied = audio_packets(result.video)
    assert copied == audio_packets(other)[: len(copied)]
    assert len(copied) == pytest.approx(SECONDS * 48000 / 1024, abs=3)


@pytest.mark.parametrize(("rate_hz", "count"), [(0.001, 1), (1.0, 2), (4.0, 8), (25.0, 50), (1000.0, 50)])
def test_the_rate_chooses_how_many_pictures_are_analysed(tmp_path: Path, rate_hz: float, count: int) -> None:
    path = write_media(tmp_path / "clip.mp4", pictures(), sound())
    result = run_fake(path, rate_hz=rate_hz, video_out=None)
    assert len(result.times) == count == result.summary.analysed
    assert result.timeline["analysis"]["rate_hz"] == rate_hz
    assert not result.video.exists()


def test_a_system_without_maps_gives_scores_only(tmp_path: Path) -> None:
    path = write_media(tmp_path / "clip.mp4", pictures(seconds=1.0), sound(seconds=1.0))
    result = run_fake(path, SquareSystem(with_map=False), maps=True)
    frames = result.timeline["frames"]
    assert {frame["sounding"] for frame in frames} == {True, False}
    assert {(frame["peak"], frame["box"], frame["map"]) for frame in frames} == {(None, None, None)}
    assert len(decoded(result.video)[0]) == 25


def test_the_timeline_is_as_designed(tmp_path: Path) -> None:
    path = write_media(tmp_path / "clip.mp4", pictures(), sound())
    timeline = run_fake(path, maps=True, threshold=0.4).timeline
    assert list(timeline) == ["format", "source", "model", "analysis", "frames"]
    assert timeline["format"] == "avol.timeline/1"
    assert list(timeline["source"].items()) == [
        ("path", str(path)),
        ("audio_path", None),
        ("duration_seconds", pytest.approx(SECONDS, abs=0.07)),
        ("width", 160),
        ("height", 96),
        ("frame_rate", 25.0),
        ("audio_sample_rate", 16000),
    ]
    assert list(timeline["model"].items()) == [
        ("name", SPEC.name),
        ("sha256", SPEC.weights_sha256),
        ("system", "fake"),
        ("backend", "numpy"),
        ("precision", "fp32"),
    ]
    assert list(timeline["analysis"].items()) == [
        ("rate_hz", 10.0),
        ("window_seconds", SPEC.spectrogram.clip_seconds),
        ("threshold", 0.4),
    ]
    for frame in timeline["frames"]:
        assert list(frame) == ["time_seconds", "score", "sounding", "peak", "box", "map"]
        assert [type(frame[key]) for key in ("time_seconds", "score", "sounding", "peak")] == [float, float, bool, list]
        assert (np.shape(frame["map"]), frame["score"]) == ((GRID, GRID), np.max(frame["map"]))


# ---- the command, with the model that ships


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A clip alone in its folder."""
    folder = tmp_path / "clips"
    folder.mkdir()
    return write_media(folder / "clip.mp4", pictures(seconds=0.6), sound(seconds=0.6))


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder, hidden ones too, and what the files hold."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def run_quietly(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """A run that has nothing to complain of; gives its line of summary."""
    assert cli.main_run([str(argument) for argument in arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.count("\n") == 1
    return captured.out


def test_results_lie_beside_the_video(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = run_quietly(capsys, clip)
    assert set(contents(clip.parent)) == {"clip.mp4", "clip.avol.mp4", "clip.avol.json"}
    timeline = read_timeline(clip.with_name("clip.avol.json"))
    with av.open(str(clip.with_name("clip.avol.mp4"))) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    assert times == pytest.approx([k / RATE for k in range(15)], abs=1 / 90000)
    assert [frame["time_seconds"] for frame in timeline["frames"]] == [0.0, 0.12, 0.2, 0.32, 0.4, 0.52]
    assert all(0 <= frame["score"] <= 1 and "map" not in frame for frame in timeline["frames"])
    assert timeline["model"]["name"] == bundled_model_folder().name
    assert len(timeline["model"]["sha256"]) == 64
    assert audio_packets(clip.with_name("clip.avol.mp4")) == audio_packets(clip)
    for part in (f"{clip}: 0.6 s in ", "of 6 analysed frames", "clip.avol.mp4 and ", "clip.avol.json"):
        assert part in summary


def test_options_choose_names_and_content(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "deep"
    run_quietly(capsys, clip, "--output-dir", out)
    assert set(contents(out)) == {"clip.avol.mp4", "clip.avol.json"}
    named = tmp_path / "named.json"
    run_quietly(capsys, clip, "--json", named, "--no-video", "--maps", "--rate", "5", "--threshold", "0")
    assert set(contents(clip.parent)) == {"clip.mp4"}
    timeline = read_timeline(named)
    assert timeline["analysis"] | {"window_seconds": 0} == {"rate_hz": 5.0, "window_seconds": 0, "threshold": 0.0}
    for frame in timeline["frames"]:
        assert (frame["sounding"], frame["box"]) == (True, [0.0, 0.0, 1.0, 1.0])
        assert frame["score"] == np.max(frame["map"])
    run_quietly(capsys, clip, "--output-dir", tmp_path / "other", "--json", named, "--no-video", "--threshold", "1")
    assert not (tmp_path / "other").exists()
    assert not any(frame["sounding"] for frame in read_timeline(named)["frames"])


def test_a_video_without_sound_is_said_to_be_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_media(tmp_path / "clip.mp4", pictures(seconds=0.4))
    assert cli.main_run([str(path), "--no-video"]) == 0
    captured = capsys.readouterr()
    assert captured.err == f"avol-run: {path}: no audio stream: treated as silence.\n"
    assert captured.out.startswith(f"{path} (no audio stream: silence): 0.4 s in ")
    assert read_timeline(path.with_name("clip.avol.json"))["source"]["audio_sample_rate"] is None


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("clip", "clip"),
        ("clip.v2.mp4", "clip.v2"),
        ("Übung 演奏 🎻.mp4", "Übung 演奏 🎻"),
        ("a:b %d [1] 'x'  y.mp4", "a:b %d [1] 'x'  y"),
        (".hidden.mp4", ".hidden"),
        ("two\nlines.mp4", "two\nlines"),
        (os.fsdecode(b"caf\xe9.mp4"), os.fsdecode(b"caf\xe9")),
        ("-x.mp4", "-x"),
    ],
)
@pytest.mark.parametrize("absolute", [True, False])
def test_any_file_name(
    clip: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    stem: str,
    absolute: bool,
) -> None:
    monkeypatch.chdir(clip.parent)
    clip.rename(name)
    given = str(clip.parent / name) if absolute else name
    run_quietly(capsys, "--", given)
    assert set(contents(clip.parent)) == {name, f"{stem}.avol.mp4", f"{stem}.avol.json"}
    assert read_timeline(Path(f"{stem}.avol.json"))["source"]["path"] == given


def test_a_link_to_the_video_and_a_second_run(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = tmp_path / "link.mp4"
    link.symlink_to(clip)
    before = clip.read_bytes()
    run_quietly(capsys, link)
    video, timeline = tmp_path / "link.avol.mp4", tmp_path / "link.avol.json"
    first = set(contents(tmp_path)), timeline.read_bytes(), decoded(video), audio_packets(video)
    run_quietly(capsys, link)
    second = set(contents(tmp_path)), timeline.read_bytes(), decoded(video), audio_packets(video)
    # Not the bytes of the video: now and then x264 writes the same first picture with another quantiser.
    assert (first[:2], first[2][0], first[3]) == (second[:2], second[2][0], second[3])
    assert all(np.array_equal(a, b) for a, b in zip(first[2][1], second[2][1], strict=True))
    assert clip.read_bytes() == before


Arguments = list[str | Path]


def _bad_model(folder: Path, name: str, data: bytes | None) -> Path:
    """The bundled model with one file of another content, or without it."""
    model = folder / "model"
    model.mkdir()
    for path in bundled_model_folder().glob("*.[oj]*n*"):
        (model / path.name).write_bytes(path.read_bytes())
    if data is None:
        (model / name).unlink()
    else:
        (model / name).write_bytes(data)
    return model


def _edited_spec() -> bytes:
    text = (bundled_model_folder() / "spec.json").read_text(encoding="utf-8")
    return text.replace('"grid_width": 8', '"grid_width": 9').encode()


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


FAILS: dict[str, tuple[Callable[[Path, Path], Arguments], str]] = {
    "missing": (lambda clip, d: [d / "absent.mp4"], "absent.mp4: no such file"),
    "empty": (lambda clip, d: [_written(d / "clip.mp4", b"")], "clip.mp4: the file is empty"),
    "text": (lambda clip, d: [_written(d / "clip.mp4", b"hello\n" * 99)], "clip.mp4: not a media file"),
    "directory": (lambda clip, d: [_folder(d / "empty")], "no videos in this folder"),
    "index cut off": (lambda clip, d: [cut(clip, d / "clip.mp4", keep=0.6)], "its index (the moov box) is missing"),
    "no video stream": (lambda clip, d: [write_media(d / "clip.m4a", None, sound())], "no video stream"),
    "still picture": (
        lambda clip, d: [write_picture(d / "still.png", np.full((48, 64, 3), 90, np.uint8))],
        "still.png: a still picture without sound. Give a video, or a sound for it with --audio",
    ),
    "other sound missing": (lambda clip, d: [clip, "--audio", d / "a.wav"], "a.wav: no such file"),
    "other sound without": (
        lambda clip, d: [clip, "--audio", write_media(d / "a.mp4", pictures(seconds=0.2))],
        "a.mp4: no audio stream",
    ),
    "folder takes no files": (
        lambda clip, d: [clip, "--output-dir", "/proc"],
        "/proc/clip.avol.mp4: ",
    ),
    "folder cannot be": (lambda clip, d: [clip, "--output-dir", "/proc/new"], "/proc/new: cannot be a folder"),
    "folder is a file": (lambda clip, d: [clip, "--output-dir", clip], "clip.mp4: cannot be a folder for results"),
    "timeline in a file": (lambda clip, d: [clip, "--json", clip / "t.json"], "cannot be a folder for results"),
    "timeline a folder": (lambda clip, d: [clip, "--json", d], "exists and is not a regular file"),
    "over the input": (lambda clip, d: [clip, "--json", clip], "clip.mp4: is the input"),
    "one name twice": (lambda clip, d: [clip, "--json", clip.with_name("clip.avol.mp4")], "would be the same file"),
    "long name": (lambda clip, d: [clip, "--json", d / ("x" * 300)], "File name too long"),
    "long input": (lambda clip, d: [d / ("x" * 300)], "File name too long"),
    "no model": (lambda clip, d: [clip, "--model", d / "absent"], "absent: no such model"),
    "model a file": (lambda clip, d: [clip, "--model", clip], "clip.mp4: a file, not a model"),
    "corrupt graph": (
        lambda clip, d: [clip, "--model", _bad_model(d, "spectrogram.onnx", b"x" * 999)],
        "spectrogram.onnx: not a usable",
    ),
    "missing graph": (lambda clip, d: [clip, "--model", _bad_model(d, "head.onnx", None)], "lacks head.onnx"),
    "corrupt spec": (lambda clip, d: [clip, "--model", _bad_model(d, "spec.json", b"{")], "spec.json: not a usable"),
    "edited spec": (
        lambda clip, d: [clip, "--model", _bad_model(d, "spec.json", _edited_spec())],
        "differ in grid_width",
    ),
}


@pytest.mark.parametrize("name", FAILS)
@pytest.mark.parametrize("fresh", [False, True], ids=["with older results", "into a new folder"])
def test_what_must_fail_is_one_line_and_no_trace(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, fresh: bool
) -> None:
    make, fact = FAILS[name]
    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    arguments = [str(argument) for argument in make(clip, spoilt)]
    for folder in (clip.parent, spoilt):
        for suffix in ("mp4", "json"):
            (folder / f"clip.avol.{suffix}").write_bytes(b"an older result")
    if fresh and "--output-dir" not in arguments and name != "one name twice":
        arguments += ["--output-dir", str(tmp_path / "new" / "deep")]
    before = contents(tmp_path)
    assert cli.main_run(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("avol-run: ")
    assert captured.err.count("\n") == 1
    assert captured.err.endswith(".\n")
    assert fact in captured.err
    assert contents(tmp_path) == before


def test_verbose_says_what_is_read_and_what_computes(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main_run([str(clip), "--verbose", "--no-smoothing", "--device", "cpu"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith(f"avol-run: {clip}: 160x96, 25.000 pictures a second, 0.")
    assert "sound at 16000 Hz" in said[0]
    assert said[1].startswith("avol-run: model ")
    assert said[2].startswith("avol-run: computes: avol-128-half-width, onnxruntime-cpu")
    assert re.fullmatch(r"avol-run: 15 pictures \(\d+/s\), \d+ analysed \(\d+/s\), \d+\.\d\d s", said[-1])
    with pytest.raises(SystemExit):
        cli.main_run([str(clip), "--verbose", "--quiet"])


def test_folder_of_the_timeline_is_made(clip: Path, tmp_path: Path) -> None:
    assert cli.main_run([str(clip), "--no-video", "--json", str(tmp_path / "new" / "deep" / "t.json")]) == 0
    assert [path.name for path in (tmp_path / "new" / "deep").iterdir()] == ["t.json"]


def test_still_picture_with_a_sound(clip: Path, tmp_path: Path) -> None:
    still = write_picture(tmp_path / "still.png", np.full((48, 64, 3), 90, np.uint8))
    assert cli.main_run([str(still), "--audio", str(clip)]) == 0
    assert len(read_timeline(tmp_path / "still.avol.json")["frames"]) == 1


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_mistake(clip: Path, closed: str) -> None:
    """As a daemon may start it."""
    command_line = f"{shlex.quote(sys.executable)} -m avol run {shlex.quote(str(clip))} --no-video {closed}"
    assert subprocess.run(command_line, shell=True, capture_output=True, check=False).returncode == 0
    assert clip.with_name("clip.avol.json").is_file()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_beside_a_video_in_a_read_only_folder(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip.parent.chmod(0o555)
    try:
        assert cli.main_run([str(clip)]) == 1
        assert "is not writable" in capsys.readouterr().err
        run_quietly(capsys, clip, "--output-dir", tmp_path / "out")
        assert set(contents(tmp_path / "out")) == {"clip.avol.mp4", "clip.avol.json"}
    finally:
        clip.parent.chmod(0o755)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a", "--crf", "-1"],
        ["a", "--rate", "0"],
        ["a", "--rate", "x"],
        ["a", "--threshold", "nan"],
        ["a", "--thresh", "1"],
    ],
)
def test_usage_mistakes_exit_with_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main_run(arguments)
    assert caught.value.code == 2
    assert "avol-run: error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [AvolError("x: y. Do z."), RuntimeError("a bug"), KeyboardInterrupt(), SystemExit(143)]
)
@pytest.mark.parametrize("call", [1, 2, 6])
def test_a_run_that_breaks_off_leaves_no_trace(clip: Path, error: BaseException, call: int) -> None:
    for suffix in ("mp4", "json"):
        clip.with_name(f"clip.avol.{suffix}").write_bytes(b"an older result")
    before = contents(clip.parent)
    with pytest.raises(type(error)):
        run_fake(clip, SquareSystem(fail_at=call, error=error))
    assert contents(clip.parent) == before


def test_progress_is_told_in_seconds_of_video(clip: Path) -> None:
    seen: list[tuple[float, float]] = []
    options = RunOptions(video=clip, timeline_out=clip.with_name("t.json"))
    summary = run_on_video(options, SquareSystem(), lambda done, total: seen.append((done, total)))  # type: ignore[arg-type]
    assert [done for done, _ in seen] == pytest.approx([k / RATE for k in range(15)])
    assert all(total == pytest.approx(0.6, abs=0.1) for _, total in seen)
    assert summary.duration_seconds == pytest.approx(0.6)


# ---- processes of their own

PROGRAM = """
    import resource, signal, sys, time
    from avol.apps.cli import main_run
    from avol.runtime import system

    {before}
    sys.exit(main_run(sys.argv[1:]))
"""
SLOW = """signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL), signal.signal(signal.SIGHUP, signal.SIG_DFL)
    plain, calls = system.AvolNetSystem.localise, []
    def localise(*arguments):
        calls.extend(arguments[1])
        if len(calls) >= 4:
            print("ready", flush=True)
            time.sleep(60)
        return plain(*arguments)
    system.AvolNetSystem.localise = localise
"""


def command(before: str, *arguments: str | Path) -> list[str]:
    return [
        sys.executable,
        "-c",
        textwrap.dedent(PROGRAM).format(before=textwrap.dedent("    " + before)),
        *map(str, arguments),
    ]


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [(signal.SIGINT, 130, "avol-run: interrupted"), (signal.SIGTERM, 143, ""), (signal.SIGHUP, 129, "")],
)
def test_signals_leave_no_trace(clip: Path, tmp_path: Path, number: signal.Signals, status: int, said: str) -> None:
    clip.with_name("clip.avol.json").write_bytes(b"an older result")
    before = contents(tmp_path)
    arguments = command(SLOW, clip, "--json", clip.with_name("clip.avol.json"), "--output-dir", tmp_path / "new")
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert len(list(tmp_path.rglob(".*.partial.*"))) == 2
        process.send_signal(number)
        output, errors = process.communicate(timeout=120)
    assert (process.returncode, output, errors.strip()) == (status, "", said)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("options", [(), ("--no-video", "--maps")])
def test_a_full_disk_is_one_line(clip: Path, options: tuple[str, ...]) -> None:
    """A limit on the size of files stands in for it."""
    name = "clip.avol.json" if options else "clip.avol.mp4"
    clip.with_name(name).write_bytes(b"an older result")
    before = contents(clip.parent)
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))"
    done = subprocess.run(command(limit, clip, *options), check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"avol-run: {clip.with_name(name)}: cannot be written: File too large.")
    assert done.stderr.count("\n") == 1
    assert contents(clip.parent) == before


def test_a_run_imports_nothing_of_training(clip: Path) -> None:
    before = """import atexit
    names = ("torch", "torchaudio", "onnx", "scipy", "gradio", "safetensors", "avol.train", "avol.export")
    atexit.register(lambda: print([name for name in names if name in sys.modules]))
    """
    done = subprocess.run(command(before, clip, "--no-video"), check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_bar_is_for_terminals_only(clip: Path) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    often = os.environ | {"TQDM_MININTERVAL": "0"}
    arguments = command("", clip, "--no-video")
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=theirs, text=True, env=often) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # as Linux says that the terminal's other side is closed
                break
            if not part:
                break
            shown += part
        output, _ = process.communicate(timeout=120)
    os.close(ours)
    assert process.returncode == 0
    assert b"avol-run " in shown
    assert max(int(percent) for percent in re.findall(rb"(\d+)% \|", shown)) > 80
    assert b"/0.6 s" in shown
    assert shown.rstrip(b"\r").decode().split("\r")[-1].strip() == ""  # the bar has gone
    assert output.count("\n") == 1


@pytest.mark.parametrize("coding", ["ascii", "utf-8:strict", "latin-1"])
def test_the_summary_fits_any_terminal(clip: Path, coding: str) -> None:
    path = clip.rename(clip.with_name(os.fsdecode("演奏".encode() + b"\xe9.mp4")))
    environment = os.environ | {"PYTHONIOENCODING": coding}
    done = subprocess.run(command("", path, "--no-video"), check=False, capture_output=True, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"\n") == 1
    assert b"\\udce9" in done.stdout


def test_a_reader_that_has_gone_does_not_take_the_results_along(clip: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(command("", clip), check=False, stdout=writer, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
    assert set(contents(clip.parent)) == {"clip.mp4", "clip.avol.mp4", "clip.avol.json"}
    assert json.loads(clip.with_name("clip.avol.json").read_text(encoding="utf-8"))["frames"]
