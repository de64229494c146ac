"""Memory of a run does not depend on its length: ten minutes of small pictures, every part of a run at work."""

from __future__ import annotations

import gc
import importlib
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import numpy as np
import pytest
from av.packet import Packet

from avol.runtime import overlay_video
from avol.runtime.media.spool import PacketSpool
from avol.runtime.pipeline import RunOptions, run_on_video
from fake_system import SquareSystem
from media_factory import AudioTrack, VideoTrack, bursts, write_media

MINUTES, RATE = 10, 2
SAMPLED_SECONDS = 5.0
KeptPacket = tuple[int, int | None, int | None, bool, bytes]  # stream, pts, dts, whether it is a key frame, content
PYTHON_BAR, RESIDENT_BAR = 300_000, 12_000_000  # bytes that ten minutes may add; a picture kept each second adds 3 MB


@pytest.fixture(scope="module")
def benchmark(repository: Path) -> ModuleType:
    """benchmarks/long_run.py, which makes the video."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(repository / "benchmarks"))
        return importlib.import_module("long_run")


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
    waited = recorded(monkeypatch)
    for number, long_seconds in enumerate((1200.0, 0.5)):
        monkeypatch.setattr(overlay_video, "LONG_SECONDS", long_seconds)
        out = tmp_path / f"{number}.mp4"
        run_on_video(RunOptions(video=video, timeline_out=tmp_path / f"{number}.json", video_out=out), SquareSystem())
        assert bool(waited) == bool(number)
    usual, spooled = packets_of(tmp_path / "0.mp4"), packets_of(tmp_path / "1.mp4")
    # The pictures' contents are not compared: no encoder promises to give the same twice.
    assert [head for *head, _ in usual] == [head for *head, _ in spooled]
    assert sorted(spooled, key=at) == sorted(waited, key=at) != []


def at(packet: KeptPacket) -> tuple[int, int]:
    """Stream and time."""
    return packet[0], packet[1] or 0


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[KeptPacket]:
    """Every packet that a spool takes from now on."""
    waited: list[KeptPacket] = []
    take = PacketSpool.mux

    def mux(spool: PacketSpool, packets: Packet[Any] | Sequence[Packet[Any]]) -> None:
        for packet in [packets] if isinstance(packets, Packet) else packets:
            waited.append(kept(packet))
        take(spool, packets)

    monkeypatch.setattr(PacketSpool, "mux", mux)
    return waited


def packets_of(path: Path) -> list[KeptPacket]:
    """All packets; the empty ones with which demuxing ends are none."""
    with av.open(str(path)) as container:
        return [kept(packet) for packet in container.demux() if packet.size]


def kept(packet: Packet[Any]) -> KeptPacket:
    """What every container leaves as it is: of pictures not the bytes that say where or how long a unit is."""
    content = bytes(packet)
    if packet.stream.type == "video":
        content = content[-64:] if packet.is_keyframe else content[4:]  # a key frame comes with a unit of settings
    return packet.stream_index, packet.pts, packet.dts, packet.is_keyframe, content


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
