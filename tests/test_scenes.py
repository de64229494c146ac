"""The synthetic world: pure in its seed, exact in its boxes, heard when it says so."""

from __future__ import annotations

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avol.runtime.model_folder import bundled_sample
from avol.train.data.scene_pool import ScenePool, scene_moments
from avol.train.network import preset_spec
from avol.train.scenes import KINDS, Placement, SyntheticScene, Turn
from avol.train.scenes.sample import FRAME_RATE, HEIGHT, TURNS, WIDTH, sample_scene

RATE_HZ = 16_000
SIZE = 96


@given(seed=st.integers(0, 10_000), time_seconds=st.floats(0, 6))
@settings(max_examples=15, deadline=None)
def test_a_scene_is_a_function_of_its_seed(seed: int, time_seconds: float) -> None:
    one, two = SyntheticScene(seed), SyntheticScene(seed)
    one.frame(0.0, 32, 48)  # what was asked before changes nothing
    assert np.array_equal(one.frame(time_seconds, SIZE, SIZE), two.frame(time_seconds, SIZE, SIZE))
    assert np.array_equal(one.samples(time_seconds, 500, RATE_HZ), two.samples(time_seconds, 500, RATE_HZ))
    assert one.boxes(time_seconds) == two.boxes(time_seconds)
    assert not np.array_equal(one.frame(0, SIZE, SIZE), SyntheticScene(seed + 1).frame(0, SIZE, SIZE))


@given(start=st.integers(-3000, 100_000), count=st.integers(1, 5000))
@settings(max_examples=30, deadline=None)
def test_any_stretch_of_sound_is_a_slice_of_the_whole(start: int, count: int) -> None:
    scene = SyntheticScene(3)
    whole = np.concatenate([np.zeros(3000, np.float32), scene.samples(0, 105_000, RATE_HZ)])
    assert np.array_equal(scene.samples(start / RATE_HZ, count, RATE_HZ), whole[start + 3000 : start + 3000 + count])


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_are_where_the_objects_are(kind: str) -> None:
    """The pixels that differ from the empty scene are those of the box, to within a pixel."""
    height, width, time_seconds = 180, 240, 0.7
    place = Placement(x=0.6, y=0.45, radius=0.25, tilt_turns=0.03)
    empty = SyntheticScene(5, kinds=(), aspect=width / height, background="room", silent_things=0, turns=[])
    turns = [Turn(actor=0, start_seconds=0.5, end_seconds=2.0)]
    filled = SyntheticScene(
        5, kinds=(kind,), places=[place], aspect=width / height, background="room", silent_things=0, turns=turns
    )
    difference = filled.frame(time_seconds, height, width).astype(int) - empty.frame(time_seconds, height, width)
    rows, columns = np.nonzero(np.abs(difference).max(axis=2) > 12)
    ((found, box, sounding),) = filled.boxes(time_seconds)
    assert (found, sounding) == (kind, True)
    drawn = (columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height)
    assert np.abs(np.subtract(box, drawn)).max() <= 2 / height


def test_sound_and_boxes_agree_on_who_sounds() -> None:
    for seed in range(12):
        scene = SyntheticScene(seed)
        for time_seconds in np.arange(0.1, scene.duration_seconds - 0.1, 0.23):
            loudness = np.sqrt(np.mean(scene.samples(time_seconds - 0.05, 1600, RATE_HZ) ** 2))
            sounding = [kind for kind, _, on in scene.boxes(time_seconds) if on]
            assert len(sounding) <= 1
            if all(not on for at in (-0.06, 0, 0.06) for *_, on in scene.boxes(time_seconds + at)):
                assert loudness < 0.01
    assert not scene.samples(scene.duration_seconds, 1000, RATE_HZ).any()
    assert not scene.samples(-1.0, 1000, RATE_HZ).any()


def test_every_kind_has_a_sound_of_its_own() -> None:
    spectra = {}
    for kind in KINDS:
        turns = [Turn(actor=0, start_seconds=0.0, end_seconds=2.0)]
        samples = SyntheticScene(1, kinds=(kind,), duration_seconds=2.0, turns=turns).samples(0, 2 * RATE_HZ, RATE_HZ)
        assert np.abs(samples).max() > 0.02, kind
        power = np.abs(np.fft.rfft(samples)) ** 2
        bands = np.add.reduceat(power, np.geomspace(100, len(power) - 1, 20).astype(int))
        spectra[kind] = bands / np.linalg.norm(bands)
    likeness = [float(spectra[a] @ spectra[b]) for a in KINDS for b in KINDS if a < b]
    assert max(likeness) < 0.995


def test_moments_show_and_hear_one_object() -> None:
    spec = preset_spec("avol-128")
    for moment in scene_moments(11, spec):
        assert moment.frame.shape == (128, 128, 3)
        assert moment.samples.shape == (spec.spectrogram.clip_samples,)
        assert moment.sounding in moment.kinds
        x0, y0, x1, y1 = moment.box
        assert 0 <= x0 < x1 <= 1
        assert 0 <= y0 < y1 <= 1


def test_moments_last_as_long_as_what_is_heard_of_them() -> None:
    """EZ-VSL hears three seconds, which is longer than the usual turns."""
    spec = preset_spec("ez-vsl-224")
    moments = scene_moments(11, spec)
    assert moments
    for moment in moments:
        assert len(moment.samples) == spec.spectrogram.clip_samples
        assert min(float(np.abs(third).max()) for third in np.array_split(moment.samples, 3)) > 0.01


def test_a_pool_draws_true_matches() -> None:
    pool = ScenePool(preset_spec("avol-128"), scenes=12, first_seed=0)
    drawn = pool.draw(np.random.default_rng(0), 3, pictures_per_kind=2)
    assert (len(drawn.frames), len(drawn.samples), drawn.matches.shape) == (6, 3, (6, 3))
    assert len(set(drawn.heard)) == 3
    assert drawn.located.tolist() == [0, 0, 1, 1, 2, 2]
    assert drawn.matches[np.arange(6), drawn.located].all()
    assert (drawn.sources.max(axis=(1, 2)) > 0).all()
    again = pool.draw(np.random.default_rng(0), 3, pictures_per_kind=2)
    assert np.array_equal(drawn.frames, again.frames)
    assert np.array_equal(drawn.samples, again.samples)


def test_the_bundled_sample_is_the_scene_it_claims_to_be() -> None:
    scene = sample_scene()
    with av.open(str(bundled_sample())) as container:
        pictures = list(container.decode(video=0))
        assert container.streams.audio[0].rate == 48_000
    assert (pictures[0].width, pictures[0].height) == (WIDTH, HEIGHT)
    assert len(pictures) == round(scene.duration_seconds * FRAME_RATE)
    for number in (0, 60, 200):
        expected = scene.frame(number / FRAME_RATE, HEIGHT, WIDTH).astype(float)
        assert np.abs(pictures[number].to_ndarray(format="rgb24") - expected).mean() < 6  # compression, nothing else
    assert {actor for actor, *_ in TURNS} == {0, 1}
