"""Windows that are heard again are embedded once, and nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from avol.runtime.backends.backend import Arrays, Backend
from avol.runtime.backends.cpu import CpuBackend
from avol.runtime.frame_localiser import FrameLocaliser
from avol.runtime.heard import HeardWindows
from avol.runtime.media.source import open_source
from avol.runtime.model_folder import bundled_model_folder, read_spec
from avol.runtime.system import AvolNetSystem
from fake_system import SquareSystem
from media_factory import AudioTrack, VideoTrack, bursts, write_media

TOWERS_AND_HEAD = ("frame", "audio", "head")
BUNDLED = read_spec(bundled_model_folder())


class CountingBackend(Backend):
    """Vectors are sums of windows, maps are pixels times those; notes what was computed."""

    def __init__(self) -> None:
        super().__init__(Path(), BUNDLED, "fp32")
        self.computed: list[tuple[str, int]] = []

    def compute(self, roles: tuple[str, ...], inputs: Arrays, outputs: tuple[str, ...]) -> Arrays:
        """One number a row."""
        known: dict[str, NDArray[Any]] = dict(inputs)
        for role in roles:
            self.computed.append((role, len(next(iter(inputs.values())))))
        if "audio" in roles:
            known["vector"] = inputs["columns"].sum(axis=(1, 2))[:, None].astype(np.float32)
        if "head" in roles:
            known["score"] = (known["frames"].mean(axis=(1, 2, 3)) * known["vector"][:, 0]).astype(np.float32)
            known["map"] = known["score"][:, None, None]
        return {name: known[name] for name in outputs}

    def close(self) -> None:
        """Holds nothing."""


def window(kind: int) -> NDArray[np.float32]:
    """Kind 0 is silence."""
    return np.full((2, 3), kind, np.float32)


@given(st.lists(st.lists(st.integers(0, 2), max_size=5), max_size=6))
def test_windows_that_stay_the_same_are_embedded_once(calls: list[list[int]]) -> None:
    backend = CountingBackend()
    heard = HeardWindows(backend)
    kinds = [kind for call in calls for kind in call]
    for number, call in enumerate(calls):
        frames = np.full((len(call), 1, 1, 3), number + 1, np.uint8)
        windows = np.stack([window(kind) for kind in call]) if call else np.zeros((0, 2, 3), np.float32)
        wanted = CountingBackend().compute(TOWERS_AND_HEAD, {"frames": frames, "columns": windows}, ("map", "score"))
        for found, name in zip(heard.localise(frames, windows), ("map", "score"), strict=True):
            np.testing.assert_array_equal(found, wanted[name])
        windows[:] = 7  # what was given stays the caller's: nothing of it is remembered in place
    changes = sum(kind != before for before, kind in zip([None, *kinds], kinds, strict=False))
    assert sum(rows for role, rows in backend.computed if role == "audio") == changes
    assert sum(rows for role, rows in backend.computed if role == "frame") == len(kinds)


def test_the_bundled_model_finds_the_same_with_windows_heard_again() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (7, BUNDLED.frame_height, BUNDLED.frame_width, 3), np.uint8)
    sound = BUNDLED.spectrogram
    some = rng.normal(0, 1, (3, sound.rows, sound.columns)).astype(np.float32)
    windows = some[[0, 0, 0, 1, 1, 2, 2]]
    with CpuBackend(bundled_model_folder(), precision="fp32", threads=2) as backend:
        system = AvolNetSystem(backend)
        found = [system.localise(frames[part], windows[part]) for part in (slice(0, 4), slice(4, 5), slice(5, 7))]
        wanted = backend.compute(TOWERS_AND_HEAD, {"frames": frames, "columns": windows}, ("map", "score"))
    together = [one.map for one in found if one.map is not None]
    np.testing.assert_allclose(np.concatenate(together), wanted["map"], atol=1e-5)
    np.testing.assert_allclose(np.concatenate([one.score for one in found]), wanted["score"], atol=1e-5)


class _Asked(SquareSystem):
    """Notes the times whose windows are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.sound_step_seconds = 0.1
        self.times: list[float] = []

    def open_track(self, chunks: Any) -> Any:
        track, times = super().open_track(chunks), self.times

        class Noting:
            def windows_at(self, times_seconds: list[float]) -> NDArray[np.float32]:
                times.extend(times_seconds)
                return track.windows_at(times_seconds)

        return Noting()


@pytest.mark.parametrize(
    ("frame_rate", "rate_hz", "shared"), [(30, 30, True), (25, 1000, True), (30, 15, False), (12, 1000, False)]
)
def test_many_analyses_share_the_nearest_window(tmp_path: Path, frame_rate: int, rate_hz: float, shared: bool) -> None:
    sound = AudioTrack(samples=bursts([0.5], seconds=1.5, sample_rate=48_000))
    path = write_media(tmp_path / "clip.mp4", VideoTrack(seconds=1.5, rate=frame_rate), sound)
    system = _Asked()
    analysed = [frame for frame in FrameLocaliser(open_source(path), system, rate_hz) if frame.score is not None]
    times = [frame.time_seconds for frame in analysed]
    assert len(times) == len(system.times)
    assert system.times == sorted(system.times)
    distances = np.abs(np.subtract(times, system.times))
    if shared:
        assert distances.max() <= 0.05 + 1e-9
        assert len(set(system.times)) == 16  # 0, 0.1 … 1.5
    else:
        assert distances.max() == 0
