"""Tests of autoseg.network.losses: numbers worked by hand on volumes of a few voxels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from autoseg.network.losses import LOSSES, add_sums, dice_terms, loss_of, loss_sums, overlaps, segmentation_loss
from autoseg.plan import LossPlan

PAPER = LossPlan(kind="dice", background=True, over="image")


def row(*classes: int) -> Tensor:
    """Return one image of one row: (1, 1, 1, X)."""
    return torch.tensor(classes)[None, None, None]


def sure(truth: Tensor, classes: int) -> Tensor:
    """Return probabilities 0 and 1 that say exactly `truth`."""
    return one_hot(truth, classes).movedim(-1, 1).float()


def logits_of(truth: Tensor, classes: int) -> Tensor:
    return 100.0 * sure(truth, classes)


def loss(logits: Tensor, truth: Tensor, plan: LossPlan) -> Tensor:
    """Return the loss with the plan's own weights, as in the first iteration."""
    weights = None if plan.weights is None else torch.tensor(plan.weights)
    return segmentation_loss(logits, truth, plan, weights)


def test_a_perfect_prediction_is_minus_one() -> None:
    truth = row(0, 1, 1, 2)
    assert dice_terms(*overlaps(sure(truth, 3), truth), over_batch=False).tolist() == [[-1.0, -1.0, -1.0]]
    assert loss(logits_of(truth, 3), truth, PAPER).item() == pytest.approx(-1.0)


def test_half_an_overlap_is_minus_a_half() -> None:
    terms = dice_terms(*overlaps(sure(row(0, 1, 1, 0), 2), row(0, 0, 1, 1)), over_batch=False)
    assert terms.tolist() == [[-0.5, -0.5]]  # one voxel of two shared: 2·1 / (2 + 2)


def test_denominators_are_not_squared() -> None:
    terms = dice_terms(*overlaps(torch.full((1, 2, 1, 1, 4), 0.5), row(0, 0, 0, 1)), over_batch=False)
    assert terms[0, 1].item() == pytest.approx(-2 * 0.5 / (2 + 1))  # squares would give -2 · 0.5 / (1 + 1)


def test_a_class_absent_from_truth_and_prediction_is_zero() -> None:
    truth = row(0, 1, 1, 0)
    assert dice_terms(*overlaps(sure(truth, 3), truth), over_batch=False).tolist() == [[-1.0, -1.0, 0.0]]


def test_over_the_image_is_the_mean_over_images_and_over_the_batch_pools_the_voxels() -> None:
    truth = torch.cat([row(1, 0, 0, 0), row(1, 1, 1, 0)])
    found = torch.cat([row(0, 0, 0, 0), row(1, 1, 1, 0)])  # misses the one voxel, finds the three
    assert dice_terms(*overlaps(sure(found, 2), truth), over_batch=False)[:, 1].tolist() == [0.0, -1.0]
    assert dice_terms(*overlaps(sure(found, 2), truth), over_batch=True).shape == (1, 2)
    assert dice_terms(*overlaps(sure(found, 2), truth), over_batch=True)[0, 1].item() == pytest.approx(
        -6 / 7
    )  # 2·3 / (3 + 4)
    image, batch = (LossPlan(kind="dice", background=False, over=over) for over in ("image", "batch"))
    assert loss(logits_of(found, 2), truth, image).item() == pytest.approx(-0.5)
    assert loss(logits_of(found, 2), truth, batch).item() == pytest.approx(-6 / 7)


def test_background_is_left_out_where_the_plan_says_so() -> None:
    truth, found = row(0, 0, 0, 1), row(0, 0, 1, 1)
    background, organ = -2 * 2 / (2 + 3), -2 * 1 / (2 + 1)
    for plan, expected in ((PAPER, (background + organ) / 2), (PAPER.model_copy(update={"background": False}), organ)):
        assert loss(logits_of(found, 2), truth, plan).item() == pytest.approx(expected)


def test_weights_multiply_their_classes_and_the_sum_is_still_divided_by_their_number() -> None:
    truth = row(0, 1, 2, 2)
    plan = LossPlan(kind="dice", background=True, over="image", weights=(1, 2, 0.5))
    assert loss(logits_of(truth, 3), truth, plan).item() == pytest.approx(-(1 + 2 + 0.5) / 3)


def test_dice_with_cross_entropy_is_their_sum() -> None:
    logits, truth = torch.zeros(1, 2, 1, 1, 4), row(0, 1, 1, 0)  # p = 1/2 everywhere: Dice 2·1 / (2 + 2)
    plan = LossPlan(kind="dice-ce", background=False, over="batch")
    assert loss(logits, truth, plan).item() == pytest.approx(-0.5 + math.log(2))


def test_weights_go_into_the_cross_entropy() -> None:
    logits, truth = torch.randn(1, 2, 1, 1, 4, generator=torch.Generator().manual_seed(0)), row(0, 1, 1, 0)
    plan = LossPlan(kind="dice-ce", background=False, over="batch", weights=(1, 3))
    plain = LossPlan(kind="dice", background=False, over="batch")
    expected = loss(logits, truth, plain) + cross_entropy(logits, truth, weight=torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(loss(logits, truth, plan), expected)


@pytest.mark.parametrize("kind", LOSSES)
def test_no_prediction_has_less_than_the_least_loss_and_a_perfect_one_has_it(kind: str) -> None:
    truth, plan = row(0, 1, 1, 2), LossPlan(kind=kind, background=True, over="image")  # type: ignore[arg-type]
    assert loss(logits_of(truth, 3), truth, plan).item() == pytest.approx(LOSSES[kind].least)
    assert loss(torch.zeros(1, 3, 1, 1, 4), truth, plan).item() > LOSSES[kind].least


@pytest.mark.parametrize("kind", LOSSES)
def test_class_weights_weigh_what_the_loss_says(kind: str) -> None:
    logits, truth = torch.randn(1, 2, 1, 1, 4, generator=torch.Generator().manual_seed(0)), row(0, 1, 1, 0)
    even, heavy = (
        LossPlan(kind=kind, background=True, over="image", weights=(w, w))  # type: ignore[arg-type]
        for w in (1, 2)
    )
    # twice the weight of every class is twice the Dice, but the same mean over voxels
    factor = 2 if LOSSES[kind].weighs == "dice terms" else 1
    assert loss(logits, truth, heavy).item() == pytest.approx(factor * loss(logits, truth, even).item())


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("kind", LOSSES)
def test_the_gradient_is_finite_even_where_a_class_is_absent_or_the_network_is_sure(scale: float, kind: str) -> None:
    torch.manual_seed(0)
    logits = (scale * torch.randn(2, 4, 2, 2, 2)).requires_grad_()
    plan = LossPlan(kind=kind, background=True, over="image")  # type: ignore[arg-type]
    loss(logits, torch.zeros(2, 2, 2, 2, dtype=torch.int64), plan).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_the_gradient_raises_the_right_class_and_lowers_the_wrong_one() -> None:
    logits = torch.zeros(1, 2, 1, 1, 4, requires_grad=True)
    loss(logits, row(0, 0, 1, 1), PAPER).backward()
    assert logits.grad is not None
    assert logits.grad[0, 1, 0, 0].sign().tolist() == [1, 1, -1, -1]


def test_bfloat16_logits_are_summed_in_float32() -> None:
    truth = torch.zeros(1, 16, 16, 16, dtype=torch.int64)
    truth[:, :2] = 1  # 512 voxels; sums of thousands lose the last ones in bfloat16
    logits = torch.randn(1, 2, 16, 16, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    found = loss(logits, truth, PAPER)
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(logits.float(), truth, PAPER))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(found, loss(logits, truth, PAPER))


@pytest.mark.parametrize("kind", LOSSES)
def test_sums_of_slabs_give_the_loss_of_the_whole(kind: str) -> None:
    torch.manual_seed(0)
    logits, truth = torch.randn(1, 3, 6, 4, 5), torch.randint(0, 3, (1, 6, 4, 5))
    plan, weights = LossPlan(kind=kind, background=True, over="image"), torch.tensor([0.5, 1.0, 2.0])
    slabs = [loss_sums(logits[:, :, z], truth[:, z], plan, weights) for z in (slice(0, 1), slice(1, 6))]
    whole = segmentation_loss(logits, truth, plan, weights)
    assert loss_of(add_sums(slabs), plan, weights).item() == pytest.approx(whole.item(), abs=1e-6)
