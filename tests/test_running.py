"""An audio tower that runs over a track: the same embeddings as of the whole track at once, with bounded work."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from avol.export.engines_graph import hear_windows, profiles_of, read_graph
from avol.runtime.backends.cpu import CpuBackend
from avol.runtime.errors import AvolError
from avol.runtime.frame_localiser import FrameLocaliser
from avol.runtime.media.source import open_source
from avol.runtime.model_folder import bundled_model_folder
from avol.runtime.running import FEWEST_EMBEDDINGS, MOST_EMBEDDINGS, RunningEmbeddings
from avol.runtime.spec import RUNNING_KEY, RunningGrid, SpectrogramSpec
from avol.runtime.system import AvolNetSystem
from avol.runtime.track import RunningSpectrogram
from backend_models import copy_bundled_model
from media_factory import AudioTrack, VideoTrack, bursts, write_media

GRID = RunningGrid(stride_columns=2, context_columns=6)
SMALL = SpectrogramSpec(
    sample_rate_hz=1000,
    window_samples=25,
    fft_samples=32,
    hop_samples=10,
    first_bin=1,
    bins_per_row=2,
    rows=1,
    columns=9,
    power_floor=1e-6,
    log_mean=0.0,
    log_scale=1.0,
)
CELLS = SMALL.columns // GRID.stride_columns  # of features in a window


@pytest.fixture(scope="module")
def system() -> Iterator[AvolNetSystem]:
    with CpuBackend(bundled_model_folder(), precision="fp32", threads=1) as backend:
        yield AvolNetSystem(backend)


def loudness(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """A column each: the mean of its samples."""
    parts = np.lib.stride_tricks.sliding_window_view(samples, SMALL.window_samples)[:: SMALL.hop_samples]
    return parts.mean(axis=1, dtype=np.float32)[None]


def smoothed(columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """What stands for the convolutions: sums over the context, which see zeros beyond the columns; every second."""
    reach = GRID.context_columns - 1
    padded = np.pad(columns.astype(np.float64), (reach, reach))
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).sum(axis=1)[:: GRID.stride_columns]


class Tower:
    """Stands in for the tower; notes how many columns it was given."""

    def __init__(self) -> None:
        self.columns: list[int] = []

    def __call__(self, stretch: NDArray[np.float32]) -> NDArray[np.float32]:
        assert stretch.shape[:2] == (1, 1)
        self.columns.append(stretch.shape[2])
        features = smoothed(stretch[0, 0])[: stretch.shape[2] // GRID.stride_columns]
        return np.lib.stride_tricks.sliding_window_view(features, CELLS).max(axis=1)[:, None].astype(np.float32)


def open_small(samples: NDArray[np.float32], tower: Tower) -> RunningEmbeddings:
    return RunningEmbeddings(np.array_split(samples, 5), SMALL, transform=loudness, grid=GRID, embed=tower)


def embeddings_of_the_whole(samples: NDArray[np.float32], times: list[float]) -> NDArray[np.float32]:
    """Cut from one run over the track between long silences."""
    margin = 40 * GRID.stride_columns
    last = max(0, SMALL.first_column_at(max(times))) + margin
    silence = np.zeros(margin * SMALL.hop_samples, np.float32)
    tail = np.zeros(max(0, last * SMALL.hop_samples - len(samples)) + 100 * SMALL.hop_samples, np.float32)
    vectors = Tower()(loudness(np.concatenate([silence, samples, tail]))[None])
    places = [round(SMALL.first_column_at(time) / GRID.stride_columns) for time in times]
    return vectors[[place + margin // GRID.stride_columns for place in places]]


@settings(max_examples=80, deadline=None)
@given(
    length=st.integers(0, 9000),
    calls=st.lists(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=4), min_size=1, max_size=6),
    start=st.floats(-0.3, 1.0),
    seed=st.integers(0, 9),
)
def test_embeddings_are_those_of_the_whole_track(
    length: int, calls: list[list[float]], start: float, seed: int
) -> None:
    """Before its start, after its end, and across jumps of any length."""
    samples = np.random.default_rng(seed).uniform(-1, 1, length).astype(np.float32)
    track, time = open_small(samples, Tower()), start
    for steps in calls:
        times = list(time + np.cumsum(steps))
        np.testing.assert_allclose(track.windows_at(times), embeddings_of_the_whole(samples, times), atol=1e-4)
        time = times[-1]


def test_a_long_track_is_computed_once_in_growing_stretches_and_a_jump_begins_anew() -> None:
    tower = Tower()
    track = open_small(np.zeros(60 * SMALL.sample_rate_hz, np.float32), tower)
    for time in np.arange(0.0, 30.0, 0.03):
        track.windows_at([float(time)])
    beside = SMALL.columns + 2 * GRID.context_columns - GRID.stride_columns
    counts = [(columns - beside) // GRID.stride_columns for columns in tower.columns]
    growing = [FEWEST_EMBEDDINGS * 2**step for step in range(int(math.log2(MOST_EMBEDDINGS / FEWEST_EMBEDDINGS)))]
    assert counts[: len(growing)] == growing
    assert set(counts[len(growing) :]) == {MOST_EMBEDDINGS}
    places = 30.0 * SMALL.columns_per_second / GRID.stride_columns
    assert sum(counts) <= places + MOST_EMBEDDINGS + CELLS + GRID.context_columns
    tower.columns.clear()
    track.windows_at([55.0])
    assert tower.columns == [beside + FEWEST_EMBEDDINGS * GRID.stride_columns]


def test_going_back_is_a_bug_and_says_so() -> None:
    track = open_small(np.zeros(60 * SMALL.sample_rate_hz, np.float32), Tower())
    track.windows_at([50.0])
    with pytest.raises(ValueError, match="dropped"):
        track.windows_at([1.0])


def test_the_bundled_towers_convolutions_look_no_further_than_their_context(system: AvolNetSystem) -> None:
    """Embeddings of a track do not depend on how it is cut into stretches: to 1e-5 of values around 1."""
    spec = system.spec.spectrogram
    samples = np.random.default_rng(0).normal(0, 0.1, 12 * spec.sample_rate_hz).astype(np.float32)
    running = system.open_track([samples], rate_hz=10.0)
    assert isinstance(running, RunningEmbeddings)
    times = [place * 16 * spec.hop_samples / spec.sample_rate_hz + spec.clip_seconds / 2 for place in range(0, 88, 3)]
    grid, found = running.grid, np.concatenate([running.windows_at([time]) for time in times])
    columns = RunningSpectrogram([samples], spec, system.transform, beside_columns=400)
    for time, vector in zip(times, found, strict=True):
        first = spec.first_column_at(time)
        beside = grid.context_columns + 3 * grid.stride_columns
        stretch = columns.stretch(first - beside, spec.columns + 2 * beside)
        (others,) = system.backend.infer("audio", columns=stretch[None])
        np.testing.assert_allclose(vector, others[beside // grid.stride_columns], atol=1e-5)


def test_a_stretch_of_one_window_is_what_the_tower_gives_for_a_window(system: AvolNetSystem) -> None:
    """Which is why one graph serves both; several windows at once are rows of their own."""
    spec = system.spec.spectrogram
    windows = np.random.default_rng(1).normal(size=(3, spec.rows, spec.columns)).astype(np.float32)
    (together,) = system.backend.infer("audio", columns=windows)
    assert together.shape == (3, system.spec.embedding_size)
    alone = np.concatenate([system.backend.infer("audio", columns=window[None])[0] for window in windows])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_sound_of_a_video_is_heard_nearly_as_in_windows_of_its_own(tmp_path: Path, system: AvolNetSystem) -> None:
    """The bundled sample: scores within 0.1 nearly everywhere, and where something sounds the peak within a cell."""
    scores, peaks = [], []
    sample = bundled_model_folder().parents[1] / "samples" / "two-instruments.mp4"
    for asked in (system, _Alone(system)):
        frames = [f for f in FrameLocaliser(open_source(sample), asked, 10.0, pictures=False) if f.score is not None]
        scores.append(np.array([frame.score for frame in frames]))
        maps = np.stack([frame.map for frame in frames if frame.map is not None])
        peaks.append(np.stack(np.unravel_index(maps.reshape(len(maps), -1).argmax(axis=1), maps.shape[1:])))
    assert np.quantile(np.abs(scores[0] - scores[1]), 0.9) < 0.1
    sounding = scores[1] >= system.spec.threshold
    assert sounding.sum() > 20
    assert (np.abs(peaks[0] - peaks[1]).max(axis=0)[sounding] <= 1).mean() >= 0.9


class _Alone:
    """A system whose every window is computed alone."""

    def __init__(self, system: AvolNetSystem) -> None:
        self.spec, self.backend, self.localise, self._system = system.spec, system.backend, system.localise, system

    def open_track(self, chunks: Any, *, rate_hz: float | None = None) -> Any:
        return self._system.open_track(chunks)


@pytest.mark.parametrize(
    ("frame_rate", "rate_hz", "runs"), [(25, 10, True), (12, 1000, True), (25, 1, False), (1, 1000, False)]
)
def test_the_tower_runs_where_windows_overlap(
    tmp_path: Path, system: AvolNetSystem, frame_rate: int, rate_hz: float, runs: bool
) -> None:
    sound = AudioTrack(samples=bursts([0.5], seconds=3.0, sample_rate=48_000))
    path = write_media(tmp_path / "clip.mp4", VideoTrack(seconds=3.0, rate=frame_rate), sound)
    opened: list[Any] = []

    class Noting(_Alone):
        def open_track(self, chunks: Any, *, rate_hz: float | None = None) -> Any:
            opened.append(system.open_track(chunks, rate_hz=rate_hz))
            return opened[-1]

    assert list(FrameLocaliser(open_source(path), Noting(system), rate_hz))
    assert isinstance(opened[0], RunningEmbeddings) is runs


def test_single_moments_are_heard_exactly(system: AvolNetSystem) -> None:
    assert isinstance(system.open_track([]), RunningSpectrogram)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"stride_columns": 16}', '{"stride_columns": 0, "context_columns": 8}']
)
def test_damaged_metadata_are_told_in_one_line(text: str) -> None:
    with pytest.raises(AvolError, match=r"^audio\.onnx: .*; run avol export again\.$"):
        RunningGrid.from_json(text, origin="audio.onnx")


@pytest.mark.parametrize(("stride", "context"), [(0, 16), (16, 0), (16, 40)])
def test_a_context_is_whole_steps(stride: int, context: int) -> None:
    with pytest.raises(ValueError, match=r"context|expected more than 0"):
        RunningGrid(stride_columns=stride, context_columns=context)


def rewrite_audio(folder: Path, change: Any) -> Path:
    """A copy of the bundled model whose audio graph has been changed."""
    copy_bundled_model(folder)
    graph = onnx.load(folder / "audio.onnx")
    change(graph)
    onnx.save(graph, folder / "audio.onnx")
    return folder


def forget_the_grid(graph: onnx.ModelProto) -> None:
    entries = {entry.key: entry.value for entry in graph.metadata_props}
    del entries[RUNNING_KEY], graph.metadata_props[:]
    onnx.helper.set_model_props(graph, entries)


def test_a_model_exported_before_towers_could_run_is_shown_windows(tmp_path: Path, system: AvolNetSystem) -> None:
    def change(graph: onnx.ModelProto) -> None:
        forget_the_grid(graph)
        hear_windows(graph, system.spec)

    with CpuBackend(rewrite_audio(tmp_path / "old", change), threads=1) as backend:
        assert isinstance(AvolNetSystem(backend).open_track([], rate_hz=10.0), RunningSpectrogram)


def test_a_free_axis_that_the_metadata_do_not_announce_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AvolError, match=r"audio\.onnx: its tensors are .*; export the model again"):
        CpuBackend(rewrite_audio(tmp_path / "free", forget_the_grid))


def test_engines_are_built_of_windows(system: AvolNetSystem) -> None:
    """The axis that is free in the file has one size for TensorRT, and the graph gives the same."""
    source = read_graph(bundled_model_folder() / "audio.onnx", "audio", "fp32")
    sound = system.spec.spectrogram
    (profile,) = profiles_of(source, (1, 4, 8), profile_per_batch=False)
    assert profile == {"columns": tuple((size, sound.rows, sound.columns) for size in (1, 4, 8))}
    windows = np.random.default_rng(2).normal(size=(3, sound.rows, sound.columns)).astype(np.float32)
    session = onnxruntime.InferenceSession(source.model.SerializeToString())
    (found,) = session.run(None, {"columns": windows})
    np.testing.assert_allclose(found, system.backend.infer("audio", columns=windows)[0], atol=1e-5)
