"""Boxes as shares of cells, and what a network that is told of them makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avol.apps.cli import main
from avol.train.data.batch import to_device
from avol.train.data.batches import BatchPlan, BatchSource
from avol.train.data.located import NOWHERE, cell_coverage, locate
from avol.train.data.material import load_material
from avol.train.data.pictures import Picture
from avol.train.data.scene_pool import ScenePool
from avol.train.learner import Learner
from avol.train.network import build_network, preset_spec
from avol.train.parallel import Team
from avol.train.recipes import TrainingOptions
from material_factory import write_material

SIZE = 32


def test_coverage_by_hand() -> None:
    covered = cell_coverage([(0.25, 0.0, 0.75, 0.25)], 2, 2)
    assert np.allclose(covered, [[0.25, 0.25], [0.0, 0.0]])
    both = cell_coverage([(0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 0.75)], 2, 2)
    assert np.allclose(both, [[1.0, 0.0], [0.0, 0.5]])
    assert not cell_coverage([], 3, 4).any()


def test_a_cutout_before_a_frame_of_its_own_class_has_no_known_place() -> None:
    picture = Picture(
        np.zeros((SIZE, SIZE, 3), np.uint8), [("dog", (0.0, 0.0, 1.0, 1.0)), ("dog", (0.1, 0.1, 0.4, 0.4))]
    )
    located, sources = locate([picture], ["dog"], np.array([[True]]), 4, 4)
    assert located.tolist() == [NOWHERE]
    assert not sources.any()


unit = st.floats(0, 1)


@given(st.tuples(unit, unit, unit, unit), st.integers(1, 9), st.integers(1, 9))
def test_coverage_adds_up_to_the_area(corners: tuple[float, float, float, float], height: int, width: int) -> None:
    x0, x1 = sorted(corners[:2])
    y0, y1 = sorted(corners[2:])
    covered = cell_coverage([(x0, y0, x1, y1)], height, width)
    assert covered.shape == (height, width)
    assert covered.min() >= 0
    assert covered.max() <= 1 + 1e-6
    assert covered.mean() == pytest.approx((x1 - x0) * (y1 - y0), abs=1e-6)


def test_a_picture_is_located_by_what_is_heard_of_it() -> None:
    pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
    box, whole = (0.0, 0.0, 0.5, 0.5), (0.0, 0.0, 1.0, 1.0)
    pictures = [
        Picture(pixels, [("cat", whole), ("dog", box)]),  # of the cat it is known that it is somewhere
        Picture(pixels, [("dog", box), ("dog", (0.5, 0.5, 1.0, 1.0))]),
        Picture(pixels, [("cow", box)]),  # is not heard
        Picture(pixels, [("dog", (0.2, 0.2, 0.2, 0.9))]),  # cropped away
        Picture(pixels, []),
    ]
    matches = np.array([[True, True, False], [False, True, False], *[[False, False, False]] * 3])
    matches[3, 1] = True
    located, sources = locate(pictures, ["cat", "dog", None], matches, 2, 2)
    assert located.tolist() == [1, 1, NOWHERE, NOWHERE, NOWHERE]
    assert np.allclose(sources[0], [[1, 0], [0, 0]])
    assert np.allclose(sources[1], [[1, 0], [0, 1]])
    assert not sources[2:].any()


def test_boxes_of_scenes_are_mirrored_with_their_pictures() -> None:
    """The source is what differs between the frame and the scene without sound: there, brightness is not enough, so
    that the same moment is drawn until both ways round have come up."""
    spec = preset_spec("attention-128-half-width")
    pool = ScenePool(spec, scenes=12)
    pool.by_kind = {kind: moments[:1] for kind, moments in pool.by_kind.items()}
    originals = {kind: moments[0] for kind, moments in pool.by_kind.items() if moments}
    ways = set()
    for seed in range(6):
        drawn = pool.draw(np.random.default_rng(seed), 3)
        for row, number in enumerate(drawn.located):
            moment = originals[drawn.heard[number]]
            mirrored = not np.array_equal(drawn.frames[row], moment.frame)
            x0, y0, x1, y1 = moment.box
            box = (1 - x1, y0, 1 - x0, y1) if mirrored else moment.box
            assert np.allclose(drawn.sources[row], cell_coverage([box], 8, 8), atol=1e-6)
            assert drawn.matches[row, number]
            ways.add(mirrored)
    assert ways == {False, True}


def test_batches_of_material_know_where_cut_outs_and_scenes_are(tmp_path: Path) -> None:
    spec = preset_spec("attention-128-half-width")
    write_material(tmp_path)
    material = load_material(tmp_path, part="train", spec=spec)
    source = BatchSource(material, ScenePool(spec, scenes=12), spec, BatchPlan(), fewest_photographs=1)
    batch = source.draw(np.random.default_rng(0))
    assert batch.located is not None
    assert batch.sources is not None
    rows = np.flatnonzero(batch.located >= 0)
    assert len(rows) > 0
    assert batch.matches[rows, batch.located[rows]].all()
    assert (batch.sources[rows].reshape(len(rows), -1).max(axis=1) > 0).all()
    assert len(batch.sources) == len(batch.located) == len(batch.frames)


def test_learning_with_boxes_moves_the_attention_into_them() -> None:
    torch.manual_seed(0)
    spec = preset_spec("attention-128-half-width")
    pool = ScenePool(spec, scenes=6)
    batch = to_device(pool.draw_batch(np.random.default_rng(0)), torch.device("cpu"))
    shares = []
    for weight in (0.0, 2.0):
        torch.manual_seed(0)
        network = build_network(spec)
        learner = Learner(network, None, TrainingOptions(steps=12, warmup_steps=0, box_weight=weight), CPU, Team())
        for step in range(10):
            logits = learner.step(step, batch).logits
        rows = torch.arange(len(logits))
        attention = logits[rows, batch.located].flatten(1).softmax(dim=1)
        shares.append((attention * batch.sources.flatten(1)).sum(dim=1).mean().item())
    assert shares[1] > shares[0] + 0.05


CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--preset", "ave-net-128-half-width", "--box-weight", "1"], "it has no map"),
        (["--preset", "avol-128-half-width", "--box-weight", "-1"], "--box-weight must be at least 0"),
        (["--preset", "avol-128-half-width", "--box-weight", "nan"], "--box-weight must be at least 0"),
        (["--preset", "attention-128-half-width", "--clip-boxes"], "goes only with --box-weight"),
        (["--preset", "ez-vsl-224-guided"], "needs --imagenet"),
        (["--preset", "avol-128", "--imagenet", "resnet18.pth"], "has no ResNet"),
        (["--preset", "attention-128-half-width", "--recipe", "report"], "from a whole batch"),
    ],
)
def test_options_that_do_not_go_together(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", *options, "--out", str(tmp_path / "run"), "--steps", "1"])
    assert caught.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
