"""Odd but legal inputs, in any combination: times, lengths and turns come out as they went in."""

from __future__ import annotations

import itertools
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avol.runtime import Localiser
from avol.runtime.pipeline import RunOptions, RunSummary, run_on_video
from avol.runtime.timeline import read_timeline
from fake_system import SquareSystem
from media_factory import AudioTrack, VideoTrack, bursts, numbered_picture, read_number, write_media

AUDIO_RATE = 16_000


def run(path: Path, **options: Any) -> tuple[dict[str, Any], list[tuple[float, int]], RunSummary]:
    """The timeline, times and numbers of the pictures in the video, and the summary."""
    out = path.with_name("out.mp4")
    chosen = RunOptions(video=path, video_out=out, timeline_out=path.with_name("out.json"), **options)
    summary = run_on_video(chosen, SquareSystem())
    with av.open(str(out)) as container:
        shown = [
            (float(f.pts * f.time_base), read_number(np.asarray(f.to_ndarray(format="rgb24"))))
            for f in container.decode(video=0)
        ]
    return read_timeline(chosen.timeline_out), shown, summary


def audio_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        streams = container.streams.audio
        return [bytes(packet) for packet in container.demux(streams[0]) if packet.size] if streams else []


@settings(max_examples=14, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    gaps_ms=st.lists(st.sampled_from([1, 7, 20, 33, 40, 41, 250, 900]), max_size=14),
    start_ms=st.sampled_from([0, 40, 777]),
    rotation=st.sampled_from([0, 90, 180, 270]),
    sound_seconds=st.sampled_from([None, 0.05, 0.3, 4.0]),
    sound_start_seconds=st.sampled_from([0.0, 0.4]),
    rate_hz=st.sampled_from([0.001, 7.0, 1000.0]),
)
def test_any_times_lengths_and_turns(
    tmp_path_factory: pytest.TempPathFactory,
    gaps_ms: list[int],
    start_ms: int,
    rotation: int,
    sound_seconds: float | None,
    sound_start_seconds: float,
    rate_hz: float,
) -> None:
    times = [ms / 1000 for ms in itertools.accumulate(gaps_ms, initial=0)]
    video = VideoTrack(times=times, start_seconds=start_ms / 1000, rotation=rotation, width=96, height=64)
    sound, zero = None, start_ms / 1000
    if sound_seconds is not None:
        samples = bursts([0.0], seconds=sound_seconds, sample_rate=AUDIO_RATE)
        sound = AudioTrack(samples=samples, sample_rate=AUDIO_RATE, start_seconds=sound_start_seconds)
        # The file of a late track does not mark the encoder's priming: the sound begins that much earlier.
        zero = min(zero, sound_start_seconds - (1024 / AUDIO_RATE if sound_start_seconds else 0.0))
    path = write_media(tmp_path_factory.mktemp("odd") / "clip.mp4", video, sound)
    timeline, shown, summary = run(path, rate_hz=rate_hz)
    expected = [start_ms / 1000 + time - zero for time in times]
    assert [time for time, _ in shown] == pytest.approx(expected, abs=1.5 / 90000)
    if rotation in (0, 180):  # the bars of a number are as wide as a block of the encoder only on the wide side
        assert [number for _, number in shown] == list(range(len(times)))
    analysed = [frame["time_seconds"] for frame in timeline["frames"]]
    assert len(analysed) == {0.001: 1, 1000.0: len(times)}.get(rate_hz, len(analysed)) == summary.analysed
    assert all(min(abs(time - other) for other in expected) < 2e-5 for time in analysed)
    assert audio_packets(path.with_name("out.mp4")) == audio_packets(path)
    found = list(Localiser(system=SquareSystem()).localise(path, rate_hz=rate_hz))
    assert [frame.score for frame in found] == [frame["score"] for frame in timeline["frames"]]
    assert not [t for t in threading.enumerate() if t.name.startswith("avol-stage-")]


def write_out_of_order(path: Path, order: list[int]) -> Path:
    """Pictures whose times come in this order: each is complete by itself, so that the decoder does not sort them."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for place, tick in enumerate(order):
            frame = av.VideoFrame.from_ndarray(numbered_picture(tick, 96, 64)).reformat(format="yuvj420p")
            frame.pts, frame.time_base = place * 40, Fraction(1, 1000)
            for packet in stream.encode(frame):
                packet.dts, packet.pts, packet.time_base = place - 100, tick * 40, Fraction(1, 1000)
                container.mux_one(packet)
    return path


@pytest.mark.parametrize(
    "order", [[0, 2, 1, 3, 4], [0, 1, 2, 3, 2, 1, 4, 5], [0, 0, 1, 1, 2], [5, 4, 3, 2, 1, 0], [0, 1, 9, 2, 3, 10]]
)
def test_times_that_run_backwards_never_reach_the_output(tmp_path: Path, order: list[int]) -> None:
    path = write_out_of_order(tmp_path / "clip.mkv", order)
    with av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) == len(order)
    timeline, shown, summary = run(path, rate_hz=1000)
    times = [time for time, _ in shown]
    highest = list(itertools.accumulate(order, max))
    assert [number for _, number in shown] == sorted(set(highest))
    assert times == pytest.approx([(number - order[0]) * 0.04 for _, number in shown], abs=0.0011)
    assert len(times) == summary.frames == len(timeline["frames"])
    assert [f["time_seconds"] for f in timeline["frames"]] == pytest.approx(times, abs=1e-4)
    left_out = len(order) - len(times)
    assert [str(left_out) in note for note in summary.notes if "runs backwards" in note] == [True] * (left_out > 0)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_a_sound_track_without_sound(tmp_path: Path, suffix: str) -> None:
    """Announced by the file, and then not a packet of it."""
    empty = AudioTrack(samples=np.zeros((1, 0), np.float32), sample_rate=AUDIO_RATE)
    path = write_media(tmp_path / f"clip.{suffix}", VideoTrack(seconds=0.4), empty)
    timeline, shown, summary = run(path)
    assert len(shown) == 10
    assert not any(frame["sounding"] for frame in timeline["frames"])
    assert summary.silence


@pytest.mark.parametrize("seconds", [None, 0.02, 3.0])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_video_of_one_picture(tmp_path: Path, suffix: str, seconds: float | None) -> None:
    sound = None
    if seconds is not None:
        sound = AudioTrack(samples=bursts([0.0], seconds=seconds, sample_rate=AUDIO_RATE), sample_rate=AUDIO_RATE)
    path = write_media(tmp_path / f"clip.{suffix}", VideoTrack(times=[0.0]), sound)
    timeline, shown, summary = run(path)
    assert [number for _, number in shown] == [0]
    assert (len(timeline["frames"]), summary.frames) == (1, 1)
    assert audio_packets(tmp_path / "out.mp4") == audio_packets(path)
