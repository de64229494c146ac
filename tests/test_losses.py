"""Losses against values worked out by hand, and what their gradients must and must not do."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avol.train.anchors import ClassAnchors
from avol.train.losses import (
    balanced_cross_entropy,
    box_loss,
    contrastive_loss,
    correspondence_loss,
    mean_log_exp,
    triplet_loss,
)
from avol.train.network.heads import ScalarProductHead


def flat_maps(logits: list[list[float]], cells: int = 1) -> Tensor:
    """Maps ``N x M x cells x cells`` whose cells all hold the pair's logit."""
    return torch.tensor(logits, dtype=torch.float64)[:, :, None, None].expand(-1, -1, cells, cells).clone()


def table(rows: list[str]) -> Tensor:
    """``["x.", ".x"]`` to a bool table."""
    return torch.tensor([[cell == "x" for cell in row] for row in rows])


def random_case(seed: int, pictures: int = 5, sounds: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(pictures, sounds, 3, 3, generator=generator, dtype=torch.float64)
    matches = torch.rand(pictures, sounds, generator=generator) < 0.3
    known = torch.rand(pictures, sounds, generator=generator) < 0.7
    return maps, matches, known


def test_soft_maximum_of_equal_cells_is_their_value() -> None:
    torch.testing.assert_close(mean_log_exp(torch.full((2, 3, 4, 4), 1.5)), torch.full((2, 3), 1.5))


def test_soft_maximum_worked_by_hand() -> None:
    cells = torch.tensor([[math.log(1.0), math.log(2.0)], [math.log(3.0), math.log(6.0)]])
    assert mean_log_exp(cells).item() == pytest.approx(math.log(3.0))  # mean of 1, 2, 3, 6


def test_balanced_cross_entropy_worked_by_hand() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.0], [1.0, 3.0, -2.0]])
    matches, unlike = table(["x..", ".x."]), table([".xx", "..x"])
    softplus = {x: math.log1p(math.exp(x)) for x in (-3.0, -2.0, -1.0, 0.0)}
    true = (softplus[-2.0] + softplus[-3.0]) / 2
    false = ((softplus[-1.0] + softplus[0.0]) / 2 + softplus[-2.0]) / 2
    assert balanced_cross_entropy(logits, matches, unlike).item() == pytest.approx(0.5 * (true + false), rel=1e-6)


def test_many_false_pairs_weigh_as_much_as_one_true_pair() -> None:
    few, many = flat_maps([[1.0, -1.0]]), flat_maps([[1.0] + [-1.0] * 20])
    losses = [
        balanced_cross_entropy(maps[..., 0, 0], table([row]), ~table([row]))
        for maps, row in ((few, "x."), (many, "x" + "." * 20))
    ]
    assert losses[0].item() == pytest.approx(losses[1].item())


def test_correspondence_loss_worked_by_hand() -> None:
    a, b, c, d = 1.0, -0.5, 0.25, 2.0
    loss = correspondence_loss(flat_maps([[a, b], [c, d]], cells=2), table(["x.", ".x"]), balanced_weight=0.25)

    def cross_entropy(true: float, false: float) -> float:
        return -math.log(math.exp(true) / (math.exp(true) + math.exp(false)))

    over_sounds = (cross_entropy(a, b) + cross_entropy(d, c)) / 2
    over_pictures = (cross_entropy(a, c) + cross_entropy(d, b)) / 2
    binary = (math.log1p(math.exp(-a)) + math.log1p(math.exp(-d))) / 2
    binary = 0.5 * (binary + (math.log1p(math.exp(b)) + math.log1p(math.exp(c))) / 2)
    assert loss.item() == pytest.approx(0.75 * 0.5 * (over_sounds + over_pictures) + 0.25 * binary, rel=1e-6)


def test_all_logits_zero_give_log_two() -> None:
    assert correspondence_loss(flat_maps([[0.0, 0.0], [0.0, 0.0]], 4), table(["x.", ".x"])).item() == pytest.approx(
        math.log(2.0)
    )


def test_right_polarity_costs_less_than_wrong() -> None:
    matches = table(["x..", ".x.", "..x"])
    right = flat_maps([[3.0, -3.0, -3.0], [-3.0, 3.0, -3.0], [-3.0, -3.0, 3.0]], 2)
    assert correspondence_loss(right, matches) < 0.06
    assert correspondence_loss(-right, matches) > 3.0


def test_gradient_raises_matches_and_lowers_the_others() -> None:
    maps, matches, known = random_case(3)
    known = torch.ones_like(known)
    matches[:, 0], matches[:, 1], matches[0], matches[1] = True, False, False, True  # every row and column has both
    matches[0, 0], matches[1, 1] = True, False
    maps.requires_grad_()
    correspondence_loss(maps, matches, known=known).backward()  # type: ignore[no-untyped-call]
    assert maps.grad is not None
    pushed = maps.grad.sum(dim=(2, 3))
    assert torch.all(pushed[matches] < 0)
    assert torch.all(pushed[~matches] > 0)


def test_other_matches_of_a_picture_do_not_compete() -> None:
    one = correspondence_loss(flat_maps([[2.0, 0.0]]), table(["x."]), balanced_weight=0.0)
    two = correspondence_loss(flat_maps([[2.0, 2.0, 0.0]]), table(["xx."]), balanced_weight=0.0)
    assert one.item() == pytest.approx(two.item())


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), pictures=st.integers(1, 6), sounds=st.integers(1, 6))
def test_gradients_are_finite_and_unknown_pairs_have_none(seed: int, pictures: int, sounds: int) -> None:
    """Any table: rows without matches, without false pairs, without anything known."""
    maps, matches, known = random_case(seed, pictures, sounds)
    maps.requires_grad_()
    loss = correspondence_loss(maps, matches, known=known)
    loss.backward()  # type: ignore[no-untyped-call]
    assert maps.grad is not None
    assert torch.isfinite(loss)
    assert torch.isfinite(maps.grad).all()
    assert torch.all(maps.grad[~known] == 0)


@pytest.mark.parametrize("rows", [["..", ".."], ["xx", "xx"], ["x.", "xx"]])
def test_one_sided_tables(rows: list[str]) -> None:
    maps = random_case(0, 2, 2)[0].requires_grad_()
    loss = correspondence_loss(maps, table(rows))
    loss.backward()  # type: ignore[no-untyped-call]
    assert maps.grad is not None
    assert torch.isfinite(loss)
    assert torch.isfinite(maps.grad).all()


def test_nothing_known_costs_nothing() -> None:
    maps, matches, _ = random_case(5)
    maps.requires_grad_()
    loss = correspondence_loss(maps, matches, known=torch.zeros_like(matches))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0.0
    assert maps.grad is not None
    assert torch.all(maps.grad == 0)


def test_huge_logits_do_not_overflow() -> None:
    maps = flat_maps([[1e4, -1e4], [1e4, -1e4]], 2).float().requires_grad_()
    loss = correspondence_loss(maps, table(["x.", ".x"]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert maps.grad is not None
    assert torch.isfinite(loss)
    assert torch.isfinite(maps.grad).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_order_of_pictures_sounds_and_cells_is_all_one(seed: int) -> None:
    maps, matches, known = random_case(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    rows, columns = torch.randperm(5, generator=generator), torch.randperm(4, generator=generator)
    loss = correspondence_loss(maps, matches, known=known)
    shuffled = correspondence_loss(
        maps[rows][:, columns].flip(-1).transpose(-1, -2), matches[rows][:, columns], known=known[rows][:, columns]
    )
    assert shuffled.item() == pytest.approx(loss.item(), rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), value=st.floats(-50, 50))
def test_logits_of_unknown_pairs_are_all_one(seed: int, value: float) -> None:
    maps, matches, known = random_case(seed)
    changed = torch.where(known[:, :, None, None], maps, torch.tensor(value, dtype=maps.dtype))
    first = correspondence_loss(maps, matches, known=known)
    assert correspondence_loss(changed, matches, known=known).item() == pytest.approx(first.item(), rel=1e-9)
    # Nor does it matter what the table of matches says of them.
    assert correspondence_loss(maps, matches | ~known, known=known).item() == pytest.approx(first.item(), rel=1e-9)


def test_anchors_draw_both_towers_to_one_class_vector() -> None:
    """Steps on the anchors' loss alone: pictures and sounds of a class meet without ever having met."""
    torch.manual_seed(0)
    anchors, head = ClassAnchors(3, 8), ScalarProductHead()
    grid, vector = torch.randn(3, 8, 2, 2, requires_grad=True), torch.randn(3, 8, requires_grad=True)
    own = torch.eye(3, dtype=torch.bool), torch.ones(3, 3, dtype=torch.bool)
    optimizer = torch.optim.Adam([grid, vector, *anchors.parameters()], lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        anchors.loss(head, grid, vector, own, own).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    scores = head.all_pairs(grid, vector).amax(dim=(2, 3))
    assert scores.argmax(dim=1).tolist() == [0, 1, 2]
    assert scores.argmax(dim=0).tolist() == [0, 1, 2]


def test_anchors_of_other_sizes_than_the_batch() -> None:
    """``N`` pictures and ``M`` sounds against ``C`` anchors: the tables are ``N x C`` and ``M x C``."""
    torch.manual_seed(1)
    anchors = ClassAnchors(7, 8)
    seen = torch.rand(5, 7) < 0.3, torch.rand(5, 7) < 0.8
    heard = torch.rand(4, 7) < 0.3, torch.rand(4, 7) < 0.8
    loss = anchors.loss(ScalarProductHead(), torch.randn(5, 8, 2, 2), torch.randn(4, 8), seen, heard)
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss)
    assert anchors.vectors.grad is not None
    assert torch.isfinite(anchors.vectors.grad).all()


def maps_of(scores: list[list[float]]) -> torch.Tensor:
    """Map logits ``N x M x 1 x 2`` whose maximum is the score, beside a cell that is far below it."""
    values = torch.tensor(scores)[:, :, None, None]
    return torch.cat([values, values - 50.0], dim=3)


def test_contrastive_loss_by_hand() -> None:
    """Two pictures, two sounds: each softmax has one right and one wrong answer, e.g. log(1 + e^-2) in row one."""
    maps, matches = maps_of([[2.0, 0.0], [1.0, 4.0]]), torch.eye(2, dtype=torch.bool)
    rows = [math.log1p(math.exp(-2.0)), math.log1p(math.exp(-3.0))]
    columns = [math.log1p(math.exp(-1.0)), math.log1p(math.exp(-4.0))]
    found = contrastive_loss(maps, matches, known=torch.ones_like(matches))
    assert found.item() == pytest.approx((sum(rows) + sum(columns)) / 4, abs=1e-5)


def test_triplet_loss_by_hand() -> None:
    """The first picture has one triplet, the second two true sounds and one false; the third none that is known."""
    maps = maps_of([[1.0, 0.0, 3.0], [0.0, 2.0, 1.0], [5.0, 5.0, 5.0]])
    matches = torch.tensor([[True, False, False], [True, True, False], [True, False, False]])
    known = torch.tensor([[True, True, False], [True, True, True], [False, True, True]])

    def ratio(true_score: float, false_score: float) -> float:
        return 2 / (1 + math.exp(true_score - false_score)) ** 2

    expected = (ratio(1, 0) + (ratio(0, 1) + ratio(2, 1)) / 2) / 2
    assert triplet_loss(maps, matches, known=known).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("loss", [contrastive_loss, triplet_loss])
def test_losses_of_whole_batches_do_not_mind_a_constant_or_a_batch_without_false_pairs(loss) -> None:  # noqa: ANN001
    maps, matches = torch.randn(4, 4, 2, 2), torch.eye(4, dtype=torch.bool)
    everything = torch.ones_like(matches)
    assert loss(maps + 7.0, matches, known=everything).item() == pytest.approx(
        loss(maps, matches, known=everything).item(), abs=1e-5
    )
    maps.requires_grad_()
    nothing = loss(maps, everything, known=everything)
    nothing.backward()
    assert nothing.item() == 0.0
    assert maps.grad is not None
    assert torch.isfinite(maps.grad).all()


def test_box_loss_by_hand() -> None:
    """Half of the attention on the box of the first map, of equal cells a quarter each; the second knows of no box."""
    maps = torch.zeros(2, 2, 2)
    sources = torch.zeros(2, 2, 2)
    sources[0, 0, 0], sources[0, 0, 1] = 1.0, 0.5
    assert box_loss(maps, sources).item() == pytest.approx(math.log(4), abs=1e-6)
    assert box_loss(maps + 3.0, sources).item() == pytest.approx(math.log(4), abs=1e-5)
    maps[0, 0, 0] = 2.0
    peak = 2.0 - math.log(math.exp(2.0) + 3)
    other = 0.0 - math.log(math.exp(2.0) + 3)
    assert box_loss(maps, sources).item() == pytest.approx(-(peak + 0.5 * other) / 1.5, abs=1e-5)
    assert box_loss(maps[:0], sources[:0]).item() == 0.0
    assert box_loss(maps, torch.zeros_like(sources)).item() == 0.0
