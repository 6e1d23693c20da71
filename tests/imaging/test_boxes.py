"""Tests of autoseg.imaging.boxes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from autoseg.imaging.boxes import box_around, group_boxes

GROUPS = {"whole": (1, 2, 3), "core": (2, 3), "vessel": (7,)}


def test_a_box_around_nothing_is_none() -> None:
    assert box_around([]) is None
    assert box_around([None, None]) is None


def test_the_box_of_a_group_holds_all_of_its_values_by_hand() -> None:
    label_map = np.array([[[0, 1, 0, 0], [0, 0, 0, 3]]], dtype=np.uint8)
    one, rows, columns = slice(0, 1), slice(0, 2), slice(1, 4)
    assert group_boxes(label_map, GROUPS) == {
        "whole": (one, rows, columns),
        "core": (one, slice(1, 2), slice(3, 4)),
        "vessel": None,
    }
    assert group_boxes(label_map, {}) == {}


@given(arrays(np.uint8, (3, 4, 5), elements=st.integers(0, 8)))
def test_outside_the_box_of_a_group_there_is_nothing_of_it_and_on_each_side_there_is(label_map: np.ndarray) -> None:
    for key, box in group_boxes(label_map, GROUPS).items():
        mask = np.isin(label_map, GROUPS[key])
        assert (box is None) == (not mask.any())
        if box is not None:
            assert mask[box].sum() == mask.sum()
            assert all(side.any() for axis in range(3) for side in np.moveaxis(mask[box], axis, 0)[[0, -1]])
