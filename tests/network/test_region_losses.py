"""Tests of autoseg.network.region_losses: regions by their parts, against the same loss written with torch."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from autoseg.labels import IGNORED, Label, LabelScheme
from autoseg.network.losses import add_sums, loss_of, loss_sums, segmentation_loss
from autoseg.network.outputs import part_of_atoms, parts_of
from autoseg.network.region_losses import _by_slab
from autoseg.plan import LossPlan

LABELS = tuple(Label(value=value, name=name) for value, name in enumerate(("whole", "core", "left"), start=1))
REGIONS = ((1, 2, 3, 4), (2, 4), (3, 4))  # core and left meet in 4
SHAPE = (2, 3, 4, 5)  # images, and voxels of each
LOSS = LossPlan(kind="dice-ce", background=False, over="batch")
WEIGHTS = torch.tensor((2.0, 3.0, 5.0))


def scheme_with(ignored: int | None) -> LabelScheme:
    return LabelScheme(labels=LABELS, regions=REGIONS, ignored=ignored, by_parts=True)


def plainly(logits: Tensor, truth: Tensor, loss: LossPlan, weights: Tensor | None, scheme: LabelScheme) -> Tensor:
    """Return the loss as torch's own functions give it, voxels whose truth is not known left out one by one."""
    inside, known = torch.tensor(parts_of(scheme)).double(), truth != IGNORED
    part = torch.tensor(part_of_atoms(scheme))[truth.clamp(max=len(scheme.values) - 1)]
    z = logits.double().movedim(1, -1)
    of_images = []
    for image in range(len(logits)):
        q = z[image][known[image]].softmax(dim=-1) @ inside
        r = inside[part[image][known[image]]]
        of_images.append(((q * r).sum(0), q.sum(0) + r.sum(0)))
    both, either = (torch.stack(sums) for sums in zip(*of_images, strict=True))
    if loss.over == "batch":
        both, either = both.sum(0), either.sum(0)
    dice = (-2 * both / either.clamp_min(1e-5)).mean()
    of_parts = torch.ones(len(inside)).double()  # the outside is in no region
    if weights is not None:
        of_parts = torch.tensor(
            [max([w for w, i in zip(weights, row, strict=True) if i], default=1.0) for row in inside]
        )
    return dice + cross_entropy(z[known], part[known], weight=of_parts.double())


@settings(max_examples=60)
@given(
    st.integers(0, 2**16),
    st.sampled_from([0.1, 1.0, 10.0]),
    st.sampled_from([None, 9]),
    st.booleans(),
    st.sampled_from(["batch", "image"]),
)
def test_loss_and_gradient_are_those_of_a_softmax_over_the_parts(
    seed: int, spread: float, ignored: int | None, weighted: bool, over: str
) -> None:
    noise = torch.Generator().manual_seed(seed)
    scheme, loss = scheme_with(ignored), LOSS.model_copy(update={"over": over})
    truth = torch.randint(0, len(scheme.values), SHAPE, generator=noise)
    if ignored is not None:
        truth[torch.rand(SHAPE, generator=noise) < 0.3] = IGNORED
    start = torch.randn(SHAPE[0], len(parts_of(scheme)), *SHAPE[1:], generator=noise) * spread
    logits, other = start.clone().requires_grad_(), start.clone().requires_grad_()
    weights = WEIGHTS if weighted else None
    found = segmentation_loss(logits, truth, loss, weights, None, scheme)
    expected = plainly(other, truth, loss, weights, scheme)
    assert found.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-5)
    found.backward()
    expected.backward()
    torch.testing.assert_close(logits.grad, other.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 1, 40, 24), (2, 3, 9, 33), (2, 9, 9, 9)])
def test_slabs_lie_along_an_axis_that_is_long_and_are_alike(shape: tuple[int, ...]) -> None:
    scheme, truth = scheme_with(None), torch.zeros(shape, dtype=torch.int64)
    logits = torch.zeros(2, 5, *shape[1:])
    slabs = [part.numel() for part, *_ in _by_slab(logits, truth, torch.zeros(256, dtype=torch.int64))]
    assert sum(slabs) == truth.numel()
    assert max(slabs) <= truth.numel() / 4
    assert math.isfinite(segmentation_loss(logits, truth, LOSS, None, None, scheme).item())


def test_slabs_of_a_volume_add_up_to_it() -> None:
    noise, scheme = torch.Generator().manual_seed(0), scheme_with(9)
    truth = torch.randint(0, 5, (1, 20, 3, 3), generator=noise)
    truth[0, 3] = IGNORED
    logits = torch.randn(1, 5, 20, 3, 3, generator=noise)
    slabs = [loss_sums(logits[:, :, z], truth[:, z], LOSS, None, None, scheme) for z in (slice(0, 7), slice(7, 20))]
    whole = segmentation_loss(logits, truth, LOSS, None, None, scheme)
    assert loss_of(add_sums(slabs), LOSS, None, scheme).item() == pytest.approx(whole.item(), abs=1e-6)


def test_where_all_is_right_the_loss_is_least_and_where_nothing_is_known_it_is_0() -> None:
    scheme = scheme_with(9)
    truth = torch.arange(5).view(1, 1, 1, 5)
    sure = torch.zeros(1, 5, 1, 1, 5)
    sure[0, list(part_of_atoms(scheme)), 0, 0, range(5)] = 100.0
    assert segmentation_loss(sure, truth, LOSS, None, None, scheme).item() == pytest.approx(-1.0)
    logits = sure.clone().requires_grad_()
    unknown = segmentation_loss(logits, torch.full_like(truth, IGNORED), LOSS, None, None, scheme)
    unknown.backward()
    assert unknown.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()
