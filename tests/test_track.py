"""The running spectrogram equals the transform of the whole track; frames meet the sound around them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from avol.runtime.frame_localiser import FrameLocaliser
from avol.runtime.media.source import open_source
from avol.runtime.model_folder import bundled_model_folder
from avol.runtime.onnx_backend import OnnxBackend
from avol.runtime.spec import SpectrogramSpec
from avol.runtime.system import AvolNetSystem, Localisation
from avol.runtime.track import CHUNK_COLUMNS, RunningSamples, RunningSpectrogram, Track
from media_factory import AudioTrack, VideoTrack, bursts, write_media

# As small as a spec can be and still have an odd window, a hop that does not divide it and an odd number of columns.
SMALL = SpectrogramSpec(
    sample_rate_hz=1000,
    window_samples=25,
    fft_samples=32,
    hop_samples=10,
    first_bin=1,
    bins_per_row=2,
    rows=8,
    columns=9,
    power_floor=1e-6,
    log_mean=0.0,
    log_scale=1.0,
)


@pytest.fixture(scope="module")
def system() -> Iterator[AvolNetSystem]:
    with OnnxBackend(bundled_model_folder()) as backend:
        yield AvolNetSystem(backend)


def transform(samples: NDArray[np.float32], spec: SpectrogramSpec = SMALL) -> NDArray[np.float32]:
    """The spec in NumPy."""
    parts = np.lib.stride_tricks.sliding_window_view(samples, spec.window_samples)[:: spec.hop_samples]
    hann = np.hanning(spec.window_samples + 1)[:-1]
    power = np.abs(np.fft.rfft(parts * hann, spec.fft_samples)) ** 2
    bins = power[:, spec.first_bin : spec.first_bin + spec.rows * spec.bins_per_row]
    rows = bins.reshape(len(parts), spec.rows, spec.bins_per_row).mean(axis=2)
    return ((np.log(rows + spec.power_floor) - spec.log_mean) / spec.log_scale).T.astype(np.float32)


def windows_of_the_whole(
    samples: NDArray[np.float32], times: list[float], spec: SpectrogramSpec, compute: object = transform
) -> list[NDArray[np.float32]]:
    """Windows cut from one transform of the track between long silences."""
    margin = 4 * spec.columns
    last = spec.first_column_at(max(times)) + 2 * spec.columns
    silence = np.zeros(margin * spec.hop_samples, np.float32)
    tail = np.zeros(max(0, last * spec.hop_samples - len(samples)) + spec.clip_samples, np.float32)
    columns = compute(np.concatenate([silence, samples, tail]))  # type: ignore[operator]
    starts = [margin + spec.first_column_at(time) for time in times]
    return [columns[:, start : start + spec.columns] for start in starts]


def chunked(samples: NDArray[np.float32], sizes: list[int]) -> Iterator[NDArray[np.float32]]:
    """The samples in pieces whose sizes repeat."""
    first = turn = 0
    while first < len(samples):
        size = sizes[turn % len(sizes)]
        yield samples[first : first + size]
        first, turn = first + size, turn + 1


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(0, 9000),
    sizes=st.lists(st.integers(1, 4000), min_size=1, max_size=5),
    steps=st.lists(st.floats(0.0, 4.0), min_size=1, max_size=12),
    start=st.floats(-0.3, 1.0),
    seed=st.integers(0, 9),
)
def test_windows_are_slices_of_the_whole_transform(
    length: int, sizes: list[int], steps: list[float], start: float, seed: int
) -> None:
    """However the track is cut into chunks, before its start, after its end, and across jumps of any length."""
    samples = np.random.default_rng(seed).uniform(-1, 1, length).astype(np.float32)
    times = list(start + np.cumsum(steps))
    track = RunningSpectrogram(chunked(samples, sizes), SMALL, transform)
    for time, expected in zip(times, windows_of_the_whole(samples, times, SMALL), strict=True):
        found = track.window_at(time)
        assert found.shape == (SMALL.rows, SMALL.columns)
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(0, 9000),
    sizes=st.lists(st.integers(1, 4000), min_size=1, max_size=5),
    calls=st.lists(st.lists(st.floats(0.0, 4.0), max_size=4), min_size=1, max_size=6),
    start=st.floats(-0.3, 1.0),
    seed=st.integers(0, 9),
)
def test_windows_of_samples_become_windows_of_the_whole_transform(
    length: int, sizes: list[int], calls: list[list[float]], start: float, seed: int
) -> None:
    """What a GPU is given lies on the grid of the track's columns."""
    samples = np.random.default_rng(seed).uniform(-1, 1, length).astype(np.float32)
    track, time = RunningSamples(chunked(samples, sizes), SMALL), start
    for steps in calls:
        times = list(time + np.cumsum(steps))
        found = track.windows_at(times)
        assert found.shape == (len(times), SMALL.clip_samples)
        assert found.dtype == np.float32
        if times:
            time = times[-1]
            for window, expected in zip(found, windows_of_the_whole(samples, times, SMALL), strict=True):
                np.testing.assert_allclose(transform(window), expected, rtol=0, atol=1e-6)


def test_the_models_graph_in_chunks_equals_the_models_graph_at_once(system: AvolNetSystem) -> None:
    """Largest difference allowed: 1e-5 of values that spread over several units (the order of sums may differ)."""
    spec = system.spec.spectrogram
    generator = np.random.default_rng(0)
    samples = (generator.standard_normal(6 * spec.sample_rate_hz) * generator.uniform(0, 0.3)).astype(np.float32)
    times = [0.0, 0.04, 0.5, 1.0, 2.345, 2.346, 4.9, 5.99, 6.5, 30.0]
    track = RunningSpectrogram(chunked(samples, [1, 1024, 16000, 333]), spec, system.transform)
    expected = windows_of_the_whole(samples, times, spec, system.transform)
    differences = [np.abs(track.window_at(t) - e).max() for t, e in zip(times, expected, strict=True)]
    assert max(differences) < 1e-5


@pytest.mark.parametrize("time_seconds", [0.0, 0.2, 0.513, 1.0, 1.999, 3.3])
def test_a_click_is_in_the_middle_of_its_window(system: AvolNetSystem, time_seconds: float) -> None:
    spec = system.spec.spectrogram
    samples = np.zeros(4 * spec.sample_rate_hz, np.float32)
    samples[round(time_seconds * spec.sample_rate_hz)] = 1.0
    window = RunningSpectrogram([samples], spec, system.transform).window_at(time_seconds)
    level = window - window.min(axis=1, keepdims=True)
    centre = (level.mean(axis=0) @ np.arange(spec.columns)) / level.mean(axis=0).sum()
    assert abs(centre - (spec.columns - 1) / 2) <= 1.0


@pytest.mark.parametrize("of_samples", [False, True])
def test_going_back_too_far_is_a_bug_and_says_so(of_samples: bool) -> None:
    minute = np.zeros(60 * SMALL.sample_rate_hz, np.float32)
    chunks = chunked(minute, [SMALL.sample_rate_hz])
    track = RunningSamples(chunks, SMALL) if of_samples else RunningSpectrogram(chunks, SMALL, transform)
    track.windows_at([60.0])
    with pytest.raises(ValueError, match="dropped"):
        track.windows_at([1.0])


def test_half_an_hour_of_samples_needs_the_memory_of_seconds() -> None:
    second = np.zeros(SMALL.sample_rate_hz, np.float32)
    track, most = RunningSamples((second for _ in range(1800)), SMALL), 0
    for time in np.arange(0.0, 1800, 0.5):
        track.windows_at([float(time)])
        most = max(most, len(track._samples))
    assert most <= 2 * SMALL.clip_samples + 2 * len(second)


def test_half_an_hour_needs_the_memory_of_seconds() -> None:
    spec = SMALL
    seconds = 1800
    read = 0

    def silence() -> Iterator[NDArray[np.float32]]:
        nonlocal read
        for _ in range(seconds):
            read += 1
            yield np.zeros(spec.sample_rate_hz, np.float32)

    track = RunningSpectrogram(silence(), spec, lambda samples: np.zeros((spec.rows, _columns(samples)), np.float32))
    tracemalloc.start()
    columns, samples = 0, 0
    for time in np.arange(0.0, seconds, 0.1):
        track.window_at(float(time))
        columns = max(columns, track._columns.shape[1])
        samples = max(samples, len(track._samples))
        # Read as needed: no further ahead than a chunk of columns and a window.
        assert read <= time + (CHUNK_COLUMNS + 2 * spec.columns) * spec.hop_samples / spec.sample_rate_hz + 2
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read == seconds
    assert columns <= 2 * CHUNK_COLUMNS + 3 * spec.columns
    assert samples <= CHUNK_COLUMNS * spec.hop_samples + spec.window_samples + spec.sample_rate_hz
    assert peak < 1_000_000


def test_a_long_jump_needs_no_more_memory() -> None:
    track = RunningSpectrogram(iter(()), SMALL, lambda samples: np.zeros((SMALL.rows, _columns(samples)), np.float32))
    tracemalloc.start()
    track.window_at(3600.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert track._columns.shape[1] <= 2 * CHUNK_COLUMNS + 3 * SMALL.columns
    assert peak < 500_000


def _columns(samples: NDArray[np.float32]) -> int:
    return (len(samples) - SMALL.window_samples) // SMALL.hop_samples + 1


class Recorder:
    """A system that notes what it is given; its score is the loudness in the middle of the window."""

    def __init__(self, system: AvolNetSystem, *, with_map: bool = True) -> None:
        self.spec, self.backend, self.with_map = system.spec, system.backend, with_map
        self._system = system
        self.shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def open_track(self, chunks: Iterable[NDArray[np.float32]], *, rate_hz: float | None = None) -> Track:
        """Every window as it is asked for."""
        return self._system.open_track(chunks)

    def localise(self, frames: NDArray[np.uint8], windows: NDArray[np.float32]) -> Localisation:
        self.shapes.append((frames.shape, windows.shape))
        middle = windows.shape[2] // 2
        loud = windows[:, :, middle - 1 : middle + 1].mean(axis=(1, 2)) - windows.min(axis=(1, 2))
        cells = np.tile(loud[:, None, None], (1, 2, 3)).astype(np.float32)
        return Localisation(loud.astype(np.float32), cells if self.with_map else None)


@pytest.mark.parametrize("with_map", [True, False])
def test_every_frame_comes_and_the_due_ones_are_localised(
    tmp_path: Path, system: AvolNetSystem, with_map: bool
) -> None:
    track = AudioTrack(samples=bursts([0.8], seconds=2.0, sample_rate=16000), sample_rate=16000)
    path = write_media(tmp_path / "clip.mp4", VideoTrack(seconds=2.0), track)
    recorder = Recorder(system, with_map=with_map)
    localiser = FrameLocaliser(open_source(path), recorder, 5.0)  # type: ignore[arg-type]
    frames = list(localiser)
    assert [frame.time_seconds for frame in frames] == pytest.approx([k / 25 for k in range(50)])
    analysed = [frame for frame in frames if frame.score is not None]
    assert [frame.time_seconds for frame in analysed] == pytest.approx([k / 5 for k in range(10)])
    assert [frame.map is not None for frame in frames] == [with_map and frame.score is not None for frame in frames]
    spec = system.spec
    assert sum(frames[0] for frames, _ in recorder.shapes) == 10
    for pixels, windows in recorder.shapes:
        assert pixels[1:] == (spec.frame_height, spec.frame_width, 3)
        assert windows == (pixels[0], spec.spectrogram.rows, spec.spectrogram.columns)
    scores = {round(frame.time_seconds, 2): frame.score or 0.0 for frame in analysed}
    assert max(scores, key=lambda time: scores[time]) == 0.8
    assert scores[0.8] > max(scores[0.6], scores[1.2]) + 1
    assert not localiser.warnings


def test_warnings_of_both_readers_are_passed_on(tmp_path: Path, system: AvolNetSystem) -> None:
    samples = bursts([0.3], seconds=4.0, sample_rate=16000)
    whole = write_media(
        tmp_path / "whole.mp4",
        VideoTrack(seconds=4.0, options={"g": "10"}),
        AudioTrack(samples=samples, sample_rate=16000),
        container_options={"movflags": "faststart"},
    )
    path = tmp_path / "clip.mp4"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    localiser = FrameLocaliser(open_source(path), Recorder(system), 5.0)  # type: ignore[arg-type]
    assert 5 < len(list(localiser)) < 100
    assert any("the data ends at" in warning for warning in localiser.warnings)
