"""The whole of training in a world with known answers: a network that knew nothing finds what sounds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from avol.train.anchors import ClassAnchors
from avol.train.data.batch import seeded
from avol.train.data.scene_pool import SceneMoment, ScenePool, scene_moments
from avol.train.loop import train
from avol.train.metrics import peak_position, point_in_boxes
from avol.train.network import TwoTowerNetwork, build_network, preset_spec
from avol.train.recipes import TrainingOptions
from avol.train.scenes import KINDS

STEPS = 250
PRESET = "avol-128-half-width"
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Exam:
    """Moments of scenes with three objects and more that training has not seen, and maps of them."""

    network: TwoTowerNetwork
    moments: list[SceneMoment]
    own: np.ndarray  # map logits with the picture's own sound
    shuffled: np.ndarray  # with the sound of another scene
    absent: np.ndarray  # with a sound of a kind that is not in the picture

    def share_inside(self, points: list[tuple[float, float]]) -> float:
        """Share of points that are in the box of what sounds."""
        pairs = zip(points, self.moments, strict=True)
        return float(np.mean([point_in_boxes(point, [moment.box]) for point, moment in pairs]))


@pytest.fixture(scope="module")
def exam(tmp_path_factory: pytest.TempPathFactory) -> Exam:
    torch.manual_seed(0)
    spec = preset_spec(PRESET)
    network = build_network(spec)
    pool = ScenePool(spec, scenes=200)
    options = TrainingOptions(steps=STEPS, warmup_steps=30, checkpoint_every=STEPS)
    anchors = ClassAnchors(len(KINDS), spec.embedding_size)
    batch_at = seeded(pool.draw_batch, options.seed, torch.device("cpu"))
    train(network, batch_at, options, tmp_path_factory.mktemp("run"), anchors=anchors)
    moments = [moment for seed in range(120) for moment in scene_moments(seed, spec) if len(moment.kinds) > 2]
    half = len(moments) // 2  # moments of one scene are neighbours: half of the list away is another scene
    absent = [_first(moments, lambda other, m=moment: other.sounding not in m.kinds) for moment in moments]
    return Exam(
        network=network,
        moments=moments,
        own=_maps(network, moments, moments),
        shuffled=_maps(network, moments, moments[half:] + moments[:half]),
        absent=_maps(network, moments, absent),
    )


def _first(moments: list[SceneMoment], wanted) -> SceneMoment:  # noqa: ANN001
    return next(moment for moment in moments if wanted(moment))


def _maps(network: TwoTowerNetwork, seen: list[SceneMoment], heard: list[SceneMoment]) -> np.ndarray:
    frames = torch.from_numpy(np.stack([moment.frame for moment in seen]))
    samples = torch.from_numpy(np.stack([moment.samples for moment in heard]))
    with torch.no_grad():
        parts = [network(frames[i : i + 32], samples[i : i + 32]) for i in range(0, len(frames), 32)]
    return torch.cat(parts).numpy()


def test_the_peak_is_on_what_sounds(exam: Exam) -> None:
    assert len(exam.moments) > 100
    assert exam.share_inside([peak_position(found) for found in exam.own]) >= 0.60


def test_the_scenes_are_no_gift(exam: Exam) -> None:
    """Neither the centre of the frame nor the most striking object would pass."""
    assert exam.share_inside([(0.5, 0.5)] * len(exam.moments)) <= 0.20
    assert exam.share_inside([peak_position(found) for found in exam.shuffled]) <= 0.35


def test_true_pairs_score_higher_than_false_ones(exam: Exam) -> None:
    """A network trained on swapped labels would fail here, and its maps would light up on mismatch."""
    own, absent = exam.own.max(axis=(1, 2)), exam.absent.max(axis=(1, 2))
    assert np.mean(own > 0) >= 0.8
    assert np.mean(absent < own) >= 0.8


def test_training_leaves_the_network_in_evaluation_mode(exam: Exam) -> None:
    assert not exam.network.training
    alone = _maps(exam.network, exam.moments[:1], exam.moments[:1])
    assert np.allclose(alone, exam.own[:1], atol=1e-3)


def test_the_checkpoint_is_the_network(exam: Exam, tmp_path: Path) -> None:
    from avol.train.checkpoint import load_checkpoint, save_checkpoint

    save_checkpoint(exam.network, exam.network.spec, tmp_path / "trained.safetensors", half=True)
    again = load_checkpoint(tmp_path / "trained.safetensors")
    differences = np.abs(_maps(again, exam.moments[:32], exam.moments[:32]) - exam.own[:32])
    assert differences.max() < 0.1  # logits, through weights of half precision
