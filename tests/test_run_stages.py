"""A run in threads: the same results under any timing, and one clean end whatever fails and wherever."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avol.runtime import frame_localiser, overlay_video, pipeline
from avol.runtime.errors import AvolError
from avol.runtime.media import video
from avol.runtime.media.audio import AudioReader
from avol.runtime.media.packets import AudioPacketCopier
from avol.runtime.media.video import VideoReader
from avol.runtime.media.writer import VideoWriter
from avol.runtime.overlay import Overlay
from avol.runtime.pipeline import RunOptions, run_on_video
from avol.runtime.timeline import TimelineWriter, read_timeline
from avol.runtime.track import RunningSpectrogram
from fake_system import SquareSystem
from media_factory import AudioTrack, VideoTrack, bursts, write_media

# Unequal steps: a picture that is counted instead of timed would show.
TIMES = [0.0, 0.03, 0.05, 0.12, 0.13, 0.2, 0.24, 0.31, 0.33, 0.4, 0.46, 0.5, 0.53, 0.6, 0.61, 0.7, 0.71, 0.72, 0.8]


def our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("avol-stage-")]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = bursts([0.25], seconds=0.85, sample_rate=16000, length_seconds=0.3)
    return write_media(
        tmp_path_factory.mktemp("stages") / "clip.mp4",
        VideoTrack(times=TIMES, width=96, height=64),
        AudioTrack(samples=samples, sample_rate=16000),
    )


def run(clip: Path, folder: Path, system: SquareSystem, **options: Any) -> tuple[dict[str, Any], list[Any]]:
    """The timeline, and the times and pictures of the video."""
    chosen = RunOptions(
        video=clip, video_out=folder / "out.mp4", timeline_out=folder / "out.json", maps=True, **options
    )
    run_on_video(chosen, system)
    with av.open(str(folder / "out.mp4")) as container:
        frames = [(float(f.pts * f.time_base), f.to_ndarray()) for f in container.decode(video=0)]
    return read_timeline(folder / "out.json"), frames


def slowed(plain: Callable[..., Any], chance: random.Random) -> Callable[..., Any]:
    def slow(*arguments: Any, **options: Any) -> Any:
        time.sleep(chance.choice([0, 0, 0, 0.001, 0.004]))
        return plain(*arguments, **options)

    return slow


def slowed_iterator(plain: Callable[..., Iterator[Any]], chance: random.Random) -> Callable[..., Iterator[Any]]:
    def slow(self: Any) -> Iterator[Any]:
        for item in plain(self):
            time.sleep(chance.choice([0, 0, 0, 0.001, 0.004]))
            yield item

    return slow


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 9999), queued=st.integers(1, 6), rate_hz=st.sampled_from([3.0, 10.0, 100.0]))
def test_any_timing_gives_the_same_results(
    clip: Path, tmp_path_factory: pytest.TempPathFactory, seed: int, queued: int, rate_hz: float
) -> None:
    chance = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        for module in (frame_localiser, overlay_video):
            patch.setattr(module, "frames_in_queue", lambda source: queued)
        expected = run(clip, tmp_path_factory.mktemp("plain"), SquareSystem(), rate_hz=rate_hz)
        for owner, name in [(Overlay, "draw"), (VideoWriter, "write"), (SquareSystem, "localise")]:
            patch.setattr(owner, name, slowed(getattr(owner, name), chance))
        for reader in (VideoReader, AudioReader):
            patch.setattr(reader, "__iter__", slowed_iterator(reader.__iter__, chance))
        system = SquareSystem()
        timeline, frames = run(clip, tmp_path_factory.mktemp("slow"), system, rate_hz=rate_hz)
    assert timeline == expected[0]
    assert sum(system.batches) == len(timeline["frames"])
    assert [time_seconds for time_seconds, _ in frames] == pytest.approx(TIMES, abs=1 / 90000)
    for (_, pixels), (_, wanted) in zip(frames, expected[1], strict=True):
        assert np.array_equal(pixels, wanted)
    assert our_threads() == []


def test_frames_that_wait_share_a_call_and_others_do_not(clip: Path, tmp_path: Path) -> None:
    """Small batches where the model is behind, one frame at a time where it is not."""
    slow, fast = SquareSystem(), SquareSystem()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SquareSystem, "localise", slowed_by(SquareSystem.localise, 0.05))
        run(clip, tmp_path, slow, rate_hz=100.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VideoReader, "__iter__", spread(VideoReader.__iter__, 0.02))
        run(clip, tmp_path, fast, rate_hz=100.0)
    assert max(slow.batches) > 3
    assert max(slow.batches) <= frame_localiser.MOST_ANALYSES
    assert max(fast.batches) <= 2
    assert sum(slow.batches) == sum(fast.batches) == len(TIMES)


def slowed_by(plain: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    def slow(*arguments: Any) -> Any:
        time.sleep(seconds)
        return plain(*arguments)

    return slow


def spread(plain: Callable[..., Iterator[Any]], seconds: float) -> Callable[..., Iterator[Any]]:
    def slow(self: Any) -> Iterator[Any]:
        for item in plain(self):
            yield item
            time.sleep(seconds)

    return slow


def failing_call(plain: Callable[..., Any], at: int, error: BaseException) -> Callable[..., Any]:
    calls = 0

    def fail(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise error
        return plain(*arguments, **options)

    return fail


def failing_iterator(plain: Callable[..., Iterator[Any]], at: int, error: BaseException) -> Callable[..., Any]:
    def fail(self: Any) -> Iterator[Any]:
        for number, item in enumerate(plain(self), 1):
            if number == at:
                raise error
            yield item

    return fail


STAGES: dict[str, tuple[Any, str, int]] = {
    "opening the pictures": (VideoReader, "__init__", 1),
    "decoding the first picture": (VideoReader, "__iter__", 1),
    "decoding": (VideoReader, "__iter__", 9),
    "shrinking": (video, "resize_frame", 4),
    "opening the sound": (AudioReader, "__init__", 1),
    "decoding sound": (AudioReader, "__iter__", 2),
    "the spectrogram": (SquareSystem, "transform", 2),
    "a window": (RunningSpectrogram, "windows_at", 1),
    "the towers": (SquareSystem, "localise", 1),
    "the timeline": (TimelineWriter, "write", 3),
    "the end of the timeline": (TimelineWriter, "close", 1),
    "the first drawing": (Overlay, "draw", 1),
    "drawing": (Overlay, "draw", 11),
    "opening the video": (VideoWriter, "__init__", 1),
    "encoding": (VideoWriter, "write", 7),
    "copying the sound": (AudioPacketCopier, "copy_until", 5),
    "the end of the sound": (AudioPacketCopier, "finish", 1),
    "the end of the video": (VideoWriter, "close", 1),
    "the final names": (pipeline, "commit_all", 1),
}


@pytest.mark.parametrize("error", [AvolError("x: y. Do z."), ValueError("a bug"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("stage", STAGES)
def test_a_failure_anywhere_ends_the_run_with_it(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, error: BaseException
) -> None:
    owner, name, at = STAGES[stage]
    plain = getattr(owner, name)
    monkeypatch.setattr(owner, name, (failing_iterator if name == "__iter__" else failing_call)(plain, at, error))
    (tmp_path / "out.json").write_bytes(b'{"format": "avol.timeline/1", "older": true}')
    with pytest.raises(type(error)) as caught:
        run(clip, tmp_path, SquareSystem())
    assert caught.value is error
    assert our_threads() == []
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "out.json": b'{"format": "avol.timeline/1", "older": true}'
    }


def test_a_failing_bar_ends_the_run(clip: Path, tmp_path: Path) -> None:
    def broken(done: float, total: float) -> None:
        if done > 0.3:
            raise BrokenPipeError

    options = RunOptions(video=clip, video_out=tmp_path / "out.mp4", timeline_out=tmp_path / "out.json")
    with pytest.raises(BrokenPipeError):
        run_on_video(options, SquareSystem(), broken)
    assert our_threads() == []
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(after_seconds=st.floats(0.001, 0.25))
def test_ctrl_c_at_any_moment(clip: Path, tmp_path_factory: pytest.TempPathFactory, after_seconds: float) -> None:
    """Two whole results or nothing, and no thread."""
    folder = tmp_path_factory.mktemp("interrupted")
    handler = signal.signal(signal.SIGALRM, signal.default_int_handler)  # as Ctrl-C comes
    interrupted = False
    try:
        signal.setitimer(signal.ITIMER_REAL, after_seconds)
        run(clip, folder, SquareSystem())
    except KeyboardInterrupt:
        interrupted = True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    assert our_threads() == []
    left = {path.name for path in folder.iterdir()}
    assert left in (set(), {"out.mp4", "out.json"}) if interrupted else left == {"out.mp4", "out.json"}
