"""Tests of autoseg.network.parts: regions as sums of parts, against the same written with a softmax."""

from __future__ import annotations

import made
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from autoseg.labels import Label, LabelScheme
from autoseg.network.build import build
from autoseg.network.parts import RegionsOfParts, parts_of

LABELS = tuple(Label(value=value, name=name) for value, name in enumerate(("whole", "core", "left"), start=1))
SCHEME = LabelScheme(labels=LABELS, regions=((1, 2, 3, 4), (2, 4), (3, 4)), by_parts=True)  # core and left meet in 4

PARTS = parts_of(SCHEME)


def by_softmax(logits: Tensor, parts: Tensor) -> Tensor:
    """Return the log odds of each region of logits (B, parts, Z, Y, X)."""
    columns = []
    for inside in parts.T:
        within, without = (logits.double().softmax(dim=1)[:, some].sum(dim=1) for some in (inside, ~inside))
        columns.append((within / without).log())
    return torch.stack(columns, dim=1)


def test_parts_are_the_sets_of_regions_that_a_voxel_can_be_in() -> None:
    assert PARTS.astype(int).tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 0, 1], [1, 1, 1]]
    same = LabelScheme(labels=LABELS[:2], regions=((1, 2, 3), (2, 3)), by_parts=True)  # 2 and 3 are never told apart
    assert parts_of(same).astype(int).tolist() == [[0, 0], [1, 0], [1, 1]]


def test_disjoint_organs_have_no_parts() -> None:
    with pytest.raises(ValueError, match="only regions have parts"):
        LabelScheme(labels=LABELS, by_parts=True)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from([0.1, 1.0, 10.0]))
def test_log_odds_and_their_gradient_are_those_of_a_softmax_over_the_parts(seed: int, spread: float) -> None:
    noise = torch.Generator().manual_seed(seed)
    start = torch.randn(2, len(PARTS), 2, 3, 4, generator=noise) * spread
    of_regions = torch.randn(2, len(LABELS), 2, 3, 4, generator=noise)
    logits, other = start.clone().requires_grad_(), start.clone().requires_grad_()
    odds, expected = RegionsOfParts(PARTS)(logits), by_softmax(other, torch.tensor(PARTS))
    (odds * of_regions).sum().backward()
    (expected * of_regions).sum().backward()
    torch.testing.assert_close(odds.double(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits.grad, other.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(RegionsOfParts(PARTS)(start), odds.detach())  # as in prediction


@pytest.mark.parametrize("kind", ["unet", "residual"])
def test_no_region_is_likelier_than_the_one_it_lies_in(kind: str) -> None:
    network = made.plan().network.model_copy(update={"kind": kind})
    plan = made.plan(labels=LABELS, regions=SCHEME.regions, region_parts=True, network=network)
    logits = build(plan)(torch.randn(1, len(plan.channels), *plan.crop_size))
    whole, core, left = plan.scheme.activate(logits, 1).unbind(1)
    assert bool((core <= whole + 1e-6).all())
    assert bool((left <= whole + 1e-6).all())


def test_the_parts_are_in_no_weights_file() -> None:
    plan = made.plan(labels=LABELS, regions=SCHEME.regions, region_parts=True)
    weights = build(plan).state_dict()
    assert len(weights["classify.bias"]) == len(PARTS)
    assert not [name for name in weights if name.startswith("outputs")]
