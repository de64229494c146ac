"""True and false pairs of unlabelled clips: what belongs together, what is held against each other, and when."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avol.runtime.errors import AvolError
from avol.train.data.batch import TensorBatch
from avol.train.data.epochs import Epochs
from avol.train.data.pairs import PairSource
from avol.train.data.variation import vary_frames, vary_samples, view_whole
from avol.train.network import preset_spec
from avol.train.recipes import RECIPES, Recipe, Stage

SPEC = preset_spec("avol-128-half-width")
RATE_HZ = SPEC.spectrogram.sample_rate_hz
SIDE = 16
CPU = torch.device("cpu")
PLAIN = (Stage(from_epoch=0, pairs_per_clip=1, augment=False),)
REPORT = replace(RECIPES["report"], batch=6, stages=PLAIN)
ALL_PAIRS = replace(RECIPES["avol"], batch=6, stages=PLAIN)


@dataclass
class MarkedClip:
    """Pixels tell clip and frame; samples tell clip and time."""

    video_id: str
    frames: np.ndarray
    times_seconds: np.ndarray
    samples: np.ndarray


def clip(number: int, *, video: str | None = None, frames: int = 4, seconds: float = 3.0) -> MarkedClip:
    times = 0.25 + np.arange(frames) * (seconds - 0.5) / max(frames - 1, 1)
    pixels = np.zeros((frames, SIDE, SIDE, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = 10 + number, np.arange(frames)[:, None, None] * 10
    ticks = np.arange(round(seconds * RATE_HZ)) // 160  # hundredths of a second
    samples = (1000 * (1 + number % 8) + ticks % 900).astype(np.int16)
    return MarkedClip(video or f"video-{number}", pixels, times, samples)


CLIPS = [clip(number, frames=2 + number % 3) for number in range(7)] + [clip(7, video="video-0")]


def source(recipe: Recipe = REPORT, clips: list[MarkedClip] = CLIPS, *, seed: int = 0) -> PairSource:
    return PairSource(clips, replace(SPEC, frame_height=SIDE, frame_width=SIDE), recipe, seed=seed, device=CPU)


def seen_in(batch: TensorBatch) -> list[tuple[int, int]]:
    """Clip and frame of each picture."""
    centres = batch.frames[:, SIDE // 2, SIDE // 2].tolist()
    return [(red - 10, green // 10) for red, green, _ in centres]


def heard_in(batch: TensorBatch) -> list[tuple[int, float]]:
    """Clip and time of the middle of each sound; clips are told apart by video 0..7."""
    middle = np.rint(batch.samples[:, SPEC.spectrogram.clip_samples // 2].numpy() * 32767).astype(int)
    return [(int(value) // 1000 - 1, value % 1000 / 100) for value in middle]


def test_true_pairs_are_of_one_moment_and_false_ones_of_two_videos() -> None:
    pairs = source()
    counts = {True: 0, False: 0}
    for step in range(40):
        batch = pairs.batch_at(step)
        assert np.array_equal(batch.known.numpy(), np.eye(len(batch.frames)))
        truth = batch.matches.diagonal().tolist()
        for (seen, frame), (heard, time), true in zip(seen_in(batch), heard_in(batch), truth, strict=True):
            counts[true] += 1
            if true:
                assert heard == seen
                assert time == pytest.approx(CLIPS[seen].times_seconds[frame], abs=0.011)
            else:
                assert CLIPS[seen].video_id != CLIPS[heard].video_id
                # The same grid of offsets: the middle of a false sound is a frame's time as well.
                assert np.abs(CLIPS[heard].times_seconds - time).min() <= 0.011
    assert counts[True] == counts[False]


def test_every_clip_is_drawn_in_every_epoch() -> None:
    pairs = source()
    steps = pairs.epochs.steps_of(0)
    for epoch in range(3):
        drawn = [seen for step in range(steps) for seen, _ in seen_in(pairs.batch_at(epoch * steps + step))]
        assert set(drawn) == set(range(len(CLIPS)))


def test_later_stages_give_more_pairs() -> None:
    stages = (Stage(from_epoch=0, pairs_per_clip=1, augment=False), Stage(from_epoch=2, pairs_per_clip=9, augment=True))
    pairs = source(replace(REPORT, stages=stages))
    assert [pairs.epochs.steps_of(epoch) for epoch in range(4)] == [2, 2, 12, 12]
    plain, varied = pairs.batch_at(3), pairs.batch_at(4)
    # One colour over the whole of each picture, unless noise is in it.
    assert plain.frames[..., 0].float().flatten(1).std(dim=1).max() == 0
    assert varied.frames[..., 0].float().flatten(1).std(dim=1).max() > 0


def test_all_pairs_of_a_batch_count_but_those_of_one_video() -> None:
    batch = source(ALL_PAIRS).batch_at(0)
    seen = [clip_number for clip_number, _ in seen_in(batch)]
    videos = [CLIPS[number].video_id for number in seen]
    assert np.array_equal(batch.matches.numpy(), np.eye(len(seen)))
    for row in range(len(seen)):
        for column in range(len(seen)):
            assert bool(batch.known[row, column]) == (row == column or videos[row] != videos[column])


@given(step=st.integers(0, 500), seed=st.integers(0, 3))
def test_batch_depends_on_seed_and_step_alone(step: int, seed: int) -> None:
    recipe = replace(REPORT, stages=(Stage(from_epoch=0, pairs_per_clip=2, augment=True),))
    first, again = source(recipe, seed=seed).batch_at(step), source(recipe, seed=seed).batch_at(step)
    for name in ("frames", "samples", "matches", "known"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    other = source(recipe, seed=seed + 1).batch_at(step)
    assert not torch.equal(first.samples, other.samples)


def test_validation_pairs_are_fixed_and_balanced() -> None:
    batches, again = (source(seed=seed).fixed_batches(20, 6) for seed in (1, 2))
    assert [len(batch.frames) for batch in batches] == [6, 6, 6, 2]
    assert sum(int(batch.matches.sum()) for batch in batches) == 10
    for one, other in zip(batches, again, strict=True):
        assert torch.equal(one.frames, other.frames)
        assert torch.equal(one.samples, other.samples)
    assert {seen for batch in batches for seen, _ in seen_in(batch)} == set(range(len(CLIPS)))


def test_validation_asks_what_training_asks() -> None:
    """All pictures against all sounds where training does so: losses of two kinds could not be held side by side."""
    (batch, *_) = source(ALL_PAIRS).fixed_batches(20, 6)
    assert batch.matches.sum() == 6
    assert int(batch.known.sum()) > 2 * 6


def test_the_sound_alone_does_not_tell_true_from_false() -> None:
    """A third of the clips are of one video: its sounds are heard in false pairs as often as in true ones."""
    clips = [clip(0, video="long") for _ in range(8)]
    clips += [clip(1 + number % 7, video=f"video-{number}") for number in range(16)]
    pairs = source(replace(REPORT, batch=12), clips)
    heard = {True: 0, False: 0}
    for step in range(200):
        batch = pairs.batch_at(step)
        for (number, _), true in zip(heard_in(batch), batch.matches.diagonal().tolist(), strict=True):
            heard[true] += number == 0
    # 1,200 pairs of each kind, a third of them of that video; drawn from all other videos it would be a quarter.
    assert heard[True] == pytest.approx(400, abs=50)
    assert heard[False] == pytest.approx(400, abs=50)


@given(step=st.integers(0, 10**12), clips=st.integers(2, 9), first=st.integers(1, 5), more=st.integers(1, 5))
def test_steps_fall_into_epochs(step: int, clips: int, first: int, more: int) -> None:
    stages = (
        Stage(from_epoch=0, pairs_per_clip=first, augment=False),
        Stage(from_epoch=3, pairs_per_clip=more, augment=True),
    )
    epochs = Epochs(clips=clips, batch=2, stages=stages)
    epoch, rest = epochs.place(step)
    assert 0 <= rest < epochs.steps_of(epoch)
    assert epochs.first_step(epoch) + rest == step
    assert epochs.first_step(epoch + 1) == epochs.first_step(epoch) + epochs.steps_of(epoch)
    assert epochs.reached(epochs.first_step(epoch)) == epoch


def test_fewer_videos_than_a_batch() -> None:
    with pytest.raises(AvolError, match=r"holds 7 source videos .* a batch takes 8; add videos or lower --batch"):
        source(replace(REPORT, batch=8))
    with pytest.raises(AvolError, match=r"holds 1 source videos .* a batch takes 2; add videos with avol data prepare"):
        source(replace(REPORT, batch=2), [CLIPS[0], CLIPS[7]])


def test_sound_beyond_the_ends_is_silence() -> None:
    short = [clip(number, frames=1, seconds=0.5) for number in range(6)]
    batch = source(clips=short).batch_at(0)
    assert torch.count_nonzero(batch.samples[:, :4000]) == 0
    assert torch.count_nonzero(batch.samples[:, -4000:]) == 0
    assert torch.all(batch.samples[:, 8300] != 0)


def test_whole_view_keeps_the_picture() -> None:
    picture = np.zeros((1, 18, 18, 3), np.uint8)
    picture[0, :9, :9] = 200
    whole = view_whole(torch.from_numpy(picture), 16)[0].numpy()
    assert whole.shape == (16, 16, 3)
    assert (whole[:7, :7] == 200).all()
    assert (whole[9:, :] == 0).all()


@given(seed=st.integers(0, 1000))
def test_variation_keeps_form_and_range(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = torch.from_numpy(rng.integers(0, 256, (3, 18, 18, 3), dtype=np.uint8))
    varied = vary_frames(rng, frames, 16)
    assert varied.dtype == torch.uint8
    assert varied.shape == (3, 16, 16, 3)
    samples = torch.from_numpy(rng.uniform(-1, 1, (3, 400)).astype(np.float32))
    changed = vary_samples(rng, samples)
    assert changed.shape == samples.shape
    assert changed.abs().max() <= 1
    assert not torch.equal(changed, samples)


def test_half_of_the_views_are_mirrored() -> None:
    frames = torch.zeros((400, 18, 18, 3), dtype=torch.uint8)
    frames[:, :, 9:] = 255
    varied = vary_frames(np.random.default_rng(0), frames, 16).float()
    mirrored = (varied[:, :, 0].mean(dim=(1, 2)) > varied[:, :, -1].mean(dim=(1, 2))).float().mean()
    assert 0.4 < mirrored < 0.6
