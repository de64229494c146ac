"""Memory of a run does not depend on its length: ten minutes of small pictures, every part of a run at work."""

from __future__ import annotations

import gc
import importlib.util
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest

from avol.runtime import overlay_video
from avol.runtime.media.spool import PacketSpool
from avol.runtime.pipeline import RunOptions, run_on_video
from fake_system import SquareSystem
from media_factory import AudioTrack, VideoTrack, bursts, write_media

MINUTES, RATE = 10, 2
SAMPLED_SECONDS = 5.0
PYTHON_BAR, RESIDENT_BAR = 300_000, 12_000_000  # bytes that ten minutes may add; a picture kept each second adds 3 MB


@pytest.fixture(scope="module")
def benchmark(repository: Path) -> ModuleType:
    """benchmarks/long_run.py, which makes the video."""
    spec = importlib.util.spec_from_file_location("long_run", repository / "benchmarks" / "long_run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_long_video_is_as_long_as_asked(benchmark: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    benchmark.write_long_video(path, seconds=2.5, width=64, height=48, rate=8)
    with av.open(str(path)) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
        assert times == pytest.approx([k / 8 for k in range(20)])
        assert container.streams.audio[0].codec_context.sample_rate == benchmark.AUDIO_RATE_HZ


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc here")
def test_ten_minutes_need_no_more_memory_than_two(benchmark: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    benchmark.write_long_video(path, seconds=60 * MINUTES, width=64, height=48, rate=RATE)
    samples: list[tuple[float, int, float]] = []

    def look(done_seconds: float, total_seconds: float) -> None:
        if not samples or done_seconds >= samples[-1][0] + SAMPLED_SECONDS:
            gc.collect()
            samples.append((done_seconds, tracemalloc.get_traced_memory()[0], resident_bytes()))

    options = RunOptions(
        video=path, video_out=tmp_path / "out.mp4", timeline_out=tmp_path / "out.json", rate_hz=1.0, maps=True
    )
    tracemalloc.start()
    try:
        summary = run_on_video(options, SquareSystem(), look)
    finally:
        tracemalloc.stop()
    assert (summary.frames, summary.analysed) == (60 * MINUTES * RATE, 60 * MINUTES)
    seconds, traced, resident = (np.array(column) for column in zip(*samples, strict=True))
    early, late = (seconds > 60) & (seconds < 180), seconds > 60 * (MINUTES - 2)
    assert early.sum() >= 20 <= late.sum()
    assert np.median(traced[late]) - np.median(traced[early]) < PYTHON_BAR
    assert np.median(resident[late]) - np.median(resident[early]) < RESIDENT_BAR


def test_packets_of_a_long_video_wait_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    track = AudioTrack(samples=bursts([0.2], seconds=1, sample_rate=16000), sample_rate=16000)
    video = write_media(tmp_path / "clip.mp4", VideoTrack(seconds=1, rate=25), track)
    handed_on = []
    monkeypatch.setattr(PacketSpool, "hand_on", _told(PacketSpool.hand_on, handed_on))
    for number, long_seconds in enumerate((1200.0, 0.5)):
        monkeypatch.setattr(overlay_video, "LONG_SECONDS", long_seconds)
        out = tmp_path / f"{number}.mp4"
        run_on_video(RunOptions(video=video, timeline_out=tmp_path / f"{number}.json", video_out=out), SquareSystem())
        assert len(handed_on) == number
    assert packets_of(tmp_path / "0.mp4") == packets_of(tmp_path / "1.mp4") != []


def _told(method: Callable[[PacketSpool], None], calls: list[PacketSpool]) -> Callable[[PacketSpool], None]:
    def call(spool: PacketSpool) -> None:
        calls.append(spool)
        method(spool)

    return call


def packets_of(path: Path) -> list[tuple[int, int | None, bytes]]:
    """Stream, time and content."""
    with av.open(str(path)) as container:
        return [(packet.stream_index, packet.pts, bytes(packet)) for packet in container.demux()]


def resident_bytes() -> float:
    """Of this process; the kernel counts in pages."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096.0


def test_pictures_go_as_soon_as_nobody_needs_them(tmp_path: Path) -> None:
    """Not only when Python looks for cycles: by then hours of video may have piled up hundreds of them."""
    track = AudioTrack(samples=bursts([0.2], seconds=1, sample_rate=16000), sample_rate=16000)
    video = write_media(tmp_path / "clip.mp4", VideoTrack(seconds=1, rate=25), track)
    options = RunOptions(video=video, timeline_out=tmp_path / "t.json", video_out=tmp_path / "o.mp4")
    run_on_video(options, SquareSystem())
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        run_on_video(options, SquareSystem())
        gc.collect()
        left = [type(found).__name__ for found in gc.garbage if type(found).__module__.startswith("av.")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert left == []
