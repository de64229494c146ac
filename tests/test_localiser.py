"""The way in from Python gives what a run gives, from files and from memory, and leaves nothing behind."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avol.runtime import Localiser, TimelineFrame
from avol.runtime.errors import AvolError
from avol.runtime.frame_localiser import MOST_ANALYSES
from avol.runtime.media.arrays import samples_at_rate
from avol.runtime.media.audio import AudioReader
from avol.runtime.media.source import open_source
from avol.runtime.media.video import VideoReader
from avol.runtime.model_folder import bundled_model_folder, bundled_sample
from avol.runtime.pipeline import RunOptions, run_on_video
from avol.runtime.timeline import read_timeline
from fake_system import DARK, GRID, LIT, SquareSystem
from media_factory import AudioTrack, VideoTrack, bursts, cut, numbered_picture, write_media, write_picture

BURST = (0.4, 0.4)  # start, length in seconds
SECONDS = 1.2


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    yield
    gc.collect()
    assert [t.name for t in threading.enumerate() if t.name.startswith("avol-stage-")] == []


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    video, track = VideoTrack(seconds=SECONDS), AudioTrack(samples=sound(16000)[None], sample_rate=16000)
    return write_media(tmp_path_factory.mktemp("localiser") / "clip.mp4", video, track)


def sound(sample_rate: int, channels: int = 1) -> Any:
    samples = bursts([BURST[0]], seconds=SECONDS, sample_rate=sample_rate, channels=channels, length_seconds=BURST[1])
    return samples[0] if channels == 1 else samples


def fake() -> Localiser:
    return Localiser(system=SquareSystem())


def plain(frames: list[TimelineFrame]) -> list[dict[str, Any]]:
    """As the timeline holds them."""
    return [
        {
            "time_seconds": round(f.time_seconds, 6),
            "score": round(f.score, 4),
            "sounding": f.sounding,
            "peak": None if f.peak is None else [round(x, 4) for x in f.peak],
            "box": None if f.box is None else [round(x, 4) for x in f.box],
        }
        for f in frames
    ]


def test_a_video_gives_the_entries_of_its_timeline(tmp_path: Path) -> None:
    """With the model that ships, on the video that ships."""
    with Localiser(device="cpu", precision="fp32") as localiser:
        found = list(localiser.localise(bundled_sample(), rate_hz=4))
        assert (localiser.backend.name, localiser.backend.precision) == ("onnxruntime-cpu", "fp32")
        options = RunOptions(video=bundled_sample(), timeline_out=tmp_path / "t.json", rate_hz=4)
        run_on_video(options, localiser._system)
    assert plain(found) == read_timeline(tmp_path / "t.json")["frames"]
    assert {f.sounding for f in found} == {True, False}
    assert all(f.map is not None and f.map.shape == (8, 8) and f.map.dtype == np.float32 for f in found)


def test_another_model_and_threshold(clip: Path) -> None:
    with Localiser(str(bundled_model_folder()), device="cpu", threshold=0.0) as localiser:
        assert all(f.sounding for f in localiser.localise(str(clip), rate_hz=3))


def test_notices_tell_what_is_wrong_with_the_file(clip: Path, tmp_path: Path) -> None:
    silent = write_media(tmp_path / "silent.mp4", VideoTrack(seconds=0.3))
    notices: list[str] = []
    assert not any(f.sounding for f in fake().localise(silent, notice=notices.append))
    assert notices == [f"{silent}: no audio stream: treated as silence."]
    whole = write_media(tmp_path / "whole.mp4", VideoTrack(seconds=2.0), container_options={"movflags": "faststart"})
    notices.clear()
    assert len(list(fake().localise(cut(whole, tmp_path / "cut.mp4", keep=0.7), notice=notices.append))) < 20
    assert any("the data ends at" in line for line in notices)
    notices.clear()
    assert any(f.sounding for f in fake().localise(silent, audio=clip, notice=notices.append)) is False
    assert notices == []


def test_a_picture_file_with_a_sound(clip: Path, tmp_path: Path) -> None:
    still = write_picture(tmp_path / "still.png", numbered_picture(0, 96, 64))
    assert [f.time_seconds for f in fake().localise(still, audio=clip)] == [0.0]


def test_mistakes_are_told_at_once(clip: Path, tmp_path: Path) -> None:
    localiser = fake()
    with pytest.raises(AvolError, match=r"absent\.mp4: no such file"):
        localiser.localise(tmp_path / "absent.mp4")
    with pytest.raises(ValueError, match="rate_hz must be positive"):
        localiser.localise(clip, rate_hz=0)
    with pytest.raises(ValueError, match="threshold is 2"):
        Localiser(threshold=2)
    with pytest.raises(AvolError, match="no such model"):
        Localiser(tmp_path / "absent")


@pytest.mark.parametrize("read", [0, 1, 3])
@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_leaving_early_leaves_no_thread(clip: Path, how: str, read: int) -> None:
    found = fake().localise(clip, rate_hz=100)
    for _ in range(read):
        next(found)
    running = [t for t in threading.enumerate() if t.name.startswith("avol-stage-")]
    assert len(running) <= 1
    if how == "closed":
        found.close()  # type: ignore[attr-defined]
        assert list(found) == []
    del found
    gc.collect()
    assert not any(t.is_alive() for t in running)


def test_a_closed_localiser_says_so(clip: Path) -> None:
    system = SquareSystem()
    with Localiser(system=system) as localiser:
        found = localiser.localise(clip, rate_hz=100)
        next(found)
    with pytest.raises(ValueError, match="closed"):
        list(found)
    for use in (
        lambda: localiser.localise(clip),
        lambda: localiser.localise_arrays([], [], [], 8000),
        lambda: localiser.backend,
    ):
        with pytest.raises(ValueError, match="closed"):
            use()
    localiser.close()


def test_threads_share_a_localiser(clip: Path) -> None:
    class Single(SquareSystem):
        inside = 0

        def localise(self, frames: Any, windows: Any) -> Any:
            self.inside += 1
            assert self.inside == 1
            try:
                return super().localise(frames, windows)
            finally:
                self.inside -= 1

    localiser = Localiser(system=Single())
    expected = plain(list(localiser.localise(clip, rate_hz=100)))
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(lambda: plain(list(localiser.localise(clip, rate_hz=100)))) for _ in range(6)]
        assert [run.result() for run in runs] == [expected] * 6
    interleaved = [localiser.localise(clip, rate_hz=100) for _ in range(3)]
    assert [plain(list(found)) for found in zip(*interleaved, strict=True)] == [[entry] * 3 for entry in expected]


# ---- arrays


@pytest.mark.parametrize("as_generator", [True, False])
def test_arrays_give_what_their_file_gives(clip: Path, as_generator: bool) -> None:
    source, system = open_source(clip), SquareSystem()
    size = {"frame_height": 64, "frame_width": 64}
    with VideoReader(source, rate_hz=1000, **size) as video:
        read = [(f.time_seconds, f.picture.to_ndarray(format="rgb24")) for f in video]
    with AudioReader(clip, sample_rate_hz=16000, zero_seconds=source.audio_zero_seconds) as audio:
        samples = np.concatenate(list(audio))
    frames: Any = [picture for _, picture in read]
    found = list(
        Localiser(system=system).localise_arrays(
            (f for f in frames) if as_generator else frames, [time for time, _ in read], samples, 16000
        )
    )
    assert plain(found) == plain(list(fake().localise(clip, rate_hz=1000)))
    assert set(system.batches) == ({1} if as_generator else {MOST_ANALYSES, 30 % MOST_ANALYSES})


@pytest.mark.parametrize("sample_rate", [8000, 11025, 44100, 96000])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("kind", ["float32", "float64", "int16", "int32"])
def test_any_kind_of_samples(sample_rate: int, channels: int, kind: str) -> None:
    samples = sound(sample_rate, channels)
    if kind.startswith("int"):
        samples = np.round(samples * (np.iinfo(kind).max // 2 * 2)).astype(kind)
    times = [0.1, 0.6, 1.1]
    frames = [numbered_picture(0, 96, 64)] * 3
    found = list(fake().localise_arrays(frames, times, samples.astype(kind), sample_rate))
    assert [(f.time_seconds, f.sounding) for f in found] == [(0.1, False), (0.6, True), (1.1, False)]


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(0, 40_000),
    from_hz=st.sampled_from([4000, 8000, 11025, 22050, 48000]),
    to_hz=st.sampled_from([8000, 16000]),
)
def test_resampling_keeps_the_length(count: int, from_hz: int, to_hz: int) -> None:
    samples = np.random.default_rng(count).uniform(-1, 1, count).astype(np.float32)
    chunks = list(samples_at_rate(samples, from_hz, to_hz))
    assert all(chunk.dtype == np.float32 and chunk.ndim == 1 and np.abs(chunk).max() <= 1 for chunk in chunks)
    assert sum(map(len, chunks)) == round(count * to_hz / from_hz)
    if from_hz == to_hz and count:
        assert np.array_equal(np.concatenate(chunks), samples)


@pytest.mark.parametrize(
    ("frames", "times", "samples", "rate", "message"),
    [
        ([np.zeros((4, 4), np.uint8)], [0.0], [0.0], 8000, "a frame is uint8 (4, 4)"),
        ([np.zeros((4, 4, 3), np.float32)], [0.0], [0.0], 8000, "expected uint8"),
        ([np.zeros((0, 4, 3), np.uint8)], [0.0], [0.0], 8000, "a frame is"),
        ([np.zeros((4, 4, 3), np.uint8)] * 2, [0.0], [0.0], 8000, "zip"),
        ([np.zeros((4, 4, 3), np.uint8)], [0.0, 1.0], [0.0], 8000, "zip"),
        ([np.zeros((4, 4, 3), np.uint8)] * 2, [1.0, 1.0], [0.0], 8000, "must increase"),
        ([np.zeros((4, 4, 3), np.uint8)] * 2, [1.0, 0.5], [0.0], 8000, "must increase"),
        ([np.zeros((4, 4, 3), np.uint8)], [float("nan")], [0.0], 8000, "must increase"),
        ([], [], np.zeros((9, 100)), 8000, "samples are float64 (9, 100)"),
        ([], [], np.zeros((2, 3, 4)), 8000, "samples are"),
        ([], [], np.zeros(4, np.uint8), 8000, "samples are uint8"),
        ([], [], np.zeros(4), 0, "sample_rate_hz is 0"),
        ([], [], np.zeros(4), 44100.5, "sample_rate_hz is 44100.5"),
    ],
)
def test_arrays_of_another_kind_are_refused(frames: Any, times: Any, samples: Any, rate: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the message is checked)
        list(fake().localise_arrays(frames, times, samples, rate))
    assert message in str(caught.value)


def test_samples_that_are_no_numbers_are_silence() -> None:
    samples = np.full(8000, np.nan, np.float32)
    (found,) = fake().localise_arrays([numbered_picture(0, 96, 64)], [0.5], samples, 8000)
    assert (found.score, found.sounding) == (pytest.approx(DARK), False)


def test_no_frames_and_no_samples() -> None:
    assert list(fake().localise_arrays([], [], [], 8000)) == []
    (found,) = fake().localise_arrays([numbered_picture(0, 8, 8)], [0.0], [], 8000)
    assert not found.sounding


# ---- one picture


@pytest.mark.parametrize("from_file", [True, False])
def test_one_picture_with_one_sound(tmp_path: Path, from_file: bool) -> None:
    picture: Any = numbered_picture(0, 96, 64)
    if from_file:
        picture = write_picture(tmp_path / "still.png", picture)
    found = fake().localise_picture(picture, sound(44100), 44100)
    assert (found.time_seconds, found.sounding, found.score) == (SECONDS / 2, True, LIT)
    assert found.peak == (pytest.approx(0.25, abs=0.5 / GRID), pytest.approx(0.6, abs=0.5 / GRID))
    quiet = fake().localise_picture(picture, sound(44100), 44100, at_seconds=0.1)
    assert (quiet.time_seconds, quiet.sounding) == (0.1, False)


def test_a_picture_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(AvolError, match="no such file"):
        fake().localise_picture(tmp_path / "absent.png", sound(8000), 8000)
    with pytest.raises(ValueError, match="sample_rate_hz is 0"):
        fake().localise_picture(numbered_picture(0, 96, 64), sound(8000), 0)


def test_importing_the_package_is_cheap() -> None:
    code = (
        "import sys, avol.runtime; heavy = ('numpy', 'av', 'cv2', 'onnxruntime', 'avol.runtime.localiser');"
        "print([name for name in heavy if name in sys.modules], 'Localiser' in dir(avol.runtime));"
        "from avol.runtime import Localiser; print(Localiser.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] True\navol.runtime.localiser\n"
    with pytest.raises(ImportError):
        from avol.runtime import Nothing  # type: ignore[attr-defined]  # noqa: F401
