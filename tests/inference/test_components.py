"""Tests of autoseg.inference.components: what scipy finds on the whole mask is found by runs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from autoseg.inference import components
from autoseg.inference.components import border_voxels, find_components, linked_components

CORNERS = np.ones((3, 3, 3))


@pytest.fixture(params=[(2**21, 2**22), (5, 2**22), (2**21, 0)], ids=["whole", "slice by slice", "noise"], autouse=True)
def bounds(request: pytest.FixtureRequest) -> Iterator[None]:
    """What is looked at at a time, and how many runs are noise: every way finds the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(components, "AT_ONCE", request.param[0])
        patch.setattr(components, "MOST_RUNS", request.param[1])
        yield


masks = st.builds(
    lambda seed, shape, share: np.random.default_rng(seed).choice(
        4, shape, p=[1 - share, share / 2, share / 4, share / 4]
    ),
    st.integers(0, 2**31),
    st.tuples(*[st.integers(1, 9)] * 3),
    st.sampled_from([0.0, 0.1, 0.3, 0.6, 1.0]),
).map(lambda mask: mask.astype(np.uint8))


@given(masks)
def test_pieces_are_those_of_scipy(mask: np.ndarray) -> None:
    expected, count = ndimage.label(mask == 1, CORNERS)
    found = find_components(mask, 1)
    assert found.count == count
    np.testing.assert_array_equal(found.of(np.nonzero(mask == 1)) + 1 if count else [], expected[mask == 1])
    np.testing.assert_array_equal(found.sizes, np.bincount(expected.ravel(), minlength=1)[1:])
    odd = np.arange(count) % 2 == 1
    kept = np.zeros_like(mask)
    for places in found.voxels(odd):
        kept[places] += 1  # each voxel once
    np.testing.assert_array_equal(kept, np.concatenate([[False], odd])[expected])


@given(masks)
def test_what_does_not_reach_the_border_from_outside_are_the_holes_of_scipy(mask: np.ndarray) -> None:
    outside = find_components(mask, 1, outside=True)
    holes = np.zeros(mask.shape, bool)
    for places in outside.voxels(~outside.at_border()):
        holes[places] = True
    np.testing.assert_array_equal(holes | (mask == 1), ndimage.binary_fill_holes(mask == 1))


@given(masks)
def test_holes_of_a_single_slice_are_those_of_scipy_in_two_dimensions(mask: np.ndarray) -> None:
    mask = mask[:1]
    outside = find_components(mask, 1, outside=True)
    holes = np.zeros(mask.shape, bool)
    for places in outside.voxels(~outside.at_border(0)):
        holes[places] = True
    np.testing.assert_array_equal((holes | (mask == 1))[0], ndimage.binary_fill_holes(mask[0] == 1))


@given(masks)
def test_border_voxels_are_what_an_erosion_takes(mask: np.ndarray) -> None:
    border = np.zeros(mask.shape, bool)
    for places in border_voxels(mask, 1):
        border[places] = True
    np.testing.assert_array_equal(border, (mask == 1) & ~ndimage.binary_erosion(mask == 1))


def test_of_very_many_pieces_the_largest_take_part(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.zeros((1, 1, 20), np.uint8)
    mask[0, 0, [0, 1, 2, 4, 6, 7, 9]] = 1  # pieces of 3, 1, 2 and 1 voxels, 2 mm apart
    found = find_components(mask, 1)
    for most, expected in ((4, [1, 1, 1, 1]), (3, [1, 1, 1, 0]), (2, [1, 0, 0, 0]), (1, [1, 0, 0, 0])):
        monkeypatch.setattr(components, "MOST_LINKED", most)
        linked = linked_components(mask, 1, found, np.ones(4, bool), (1.0, 1.0, 1.0), 2.0)
        assert linked.tolist() == expected
