"""Tests of autoseg.network.outputs: from outputs to probabilities of classes, of regions as sums of their parts."""

from __future__ import annotations

import made
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.labels import Label, LabelScheme
from autoseg.network.build import build
from autoseg.network.outputs import activate, logits_of, of_classes, output_channels, part_of_atoms, parts_of

LABELS = tuple(Label(value=value, name=name) for value, name in enumerate(("whole", "core", "left"), start=1))
SCHEME = LabelScheme(labels=LABELS, regions=((1, 2, 3, 4), (2, 4), (3, 4)), by_parts=True)  # core and left meet in 4

PARTS = parts_of(SCHEME)
SCHEMES = {
    "disjoint": LabelScheme(labels=LABELS),
    "regions": LabelScheme(labels=LABELS, regions=SCHEME.regions, logit_scale=2.0),
    "parts": SCHEME,
}


def test_parts_are_the_sets_of_regions_that_a_voxel_can_be_in() -> None:
    assert PARTS.astype(int).tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 0, 1], [1, 1, 1]]
    same = LabelScheme(labels=LABELS[:2], regions=((1, 2, 3), (2, 3)), by_parts=True)  # 2 and 3 are never told apart
    assert parts_of(same).astype(int).tolist() == [[0, 0], [1, 0], [1, 1]]
    assert part_of_atoms(same) == (0, 1, 2, 2)


def test_disjoint_organs_have_no_parts_and_parts_no_factor() -> None:
    with pytest.raises(ValueError, match="only regions have parts"):
        LabelScheme(labels=LABELS, by_parts=True)
    with pytest.raises(ValueError, match="logit_scale is of a sigmoid"):
        LabelScheme(labels=LABELS, regions=SCHEME.regions, by_parts=True, logit_scale=2.0)


def test_disjoint_organs_share_one_probability_and_regions_by_themselves_have_one_each() -> None:
    logits = torch.tensor([0.0, 0.0, np.log(2.0)])
    disjoint = LabelScheme(labels=LABELS[:2])
    assert activate(disjoint, logits, dim=0).tolist() == pytest.approx([0.25, 0.25, 0.5])
    alone = LabelScheme(labels=LABELS, regions=SCHEME.regions)
    assert activate(alone, logits, dim=0).tolist() == pytest.approx([0.5, 0.5, 2 / 3])


@given(st.integers(0, 2**16))
@settings(max_examples=20)
def test_a_region_is_as_likely_as_its_parts_together(seed: int) -> None:
    probabilities = torch.rand(2, len(PARTS), 2, 3, 4, generator=torch.Generator().manual_seed(seed)).softmax(dim=1)
    expected = torch.stack([probabilities[:, inside].sum(dim=1) for inside in torch.tensor(PARTS).T], dim=1)
    torch.testing.assert_close(of_classes(SCHEME, probabilities, dim=1), expected)
    torch.testing.assert_close(of_classes(SCHEME, probabilities[0], dim=0), expected[0])
    assert of_classes(SCHEME, probabilities * 1.01, dim=1).max() <= 1.0


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_logits_of_probabilities_give_them_back(scheme: LabelScheme) -> None:
    logits = torch.randn(1, output_channels(scheme), 2, 2, 3, generator=torch.Generator().manual_seed(0))
    probabilities = activate(scheme, logits, dim=1)
    found = activate(scheme, logits_of(scheme, probabilities.clone()), dim=1)
    torch.testing.assert_close(found, probabilities)


@given(st.integers(0, 2**16))
@settings(max_examples=20)
def test_no_region_is_likelier_than_the_one_it_lies_in(seed: int) -> None:
    logits = 9 * torch.randn(1, len(PARTS), 4, 4, 4, generator=torch.Generator().manual_seed(seed))
    whole, core, left = of_classes(SCHEME, activate(SCHEME, logits, 1), 1).unbind(1)
    assert bool((core <= whole + 1e-6).all())
    assert bool((left <= whole + 1e-6).all())


def test_the_last_layer_has_an_output_a_part() -> None:
    plan = made.plan(labels=LABELS, regions=SCHEME.regions, region_parts=True)
    assert len(build(plan).state_dict()["classify.bias"]) == len(PARTS)
