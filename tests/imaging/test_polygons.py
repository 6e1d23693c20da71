"""Tests of autoseg.imaging.polygons: contours to voxels, against independent implementations."""

from __future__ import annotations

import numpy as np
import pytest
from polygons import inside
from skimage.draw import polygon2mask

from autoseg.imaging.polygons import voxels_inside

SQUARE = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 3.0], [0.0, 3.0]])  # through the centres of 4 × 4 voxels


def ring_of(seed: int, points: int = 40) -> np.ndarray:
    """A ragged star around (20, 15), with no point on a row's or a column's centres."""
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, points))
    radius = rng.uniform(3, 18, points)
    return np.c_[20 + radius * np.cos(angles), 15 + radius * np.sin(angles)]


@pytest.mark.parametrize("seed", range(20))
def test_the_centres_inside_are_those_that_scikit_image_finds(seed: int) -> None:
    ring = ring_of(seed)  # some of it lies outside the 30 × 36 voxels
    np.testing.assert_array_equal(voxels_inside([ring], (30, 36)), polygon2mask((30, 36), ring[:, ::-1]))


def test_crossings_are_counted_as_by_a_loop_over_edges() -> None:
    ring = np.random.default_rng(3).uniform(-2, 14, (25, 2))  # crosses itself
    np.testing.assert_array_equal(voxels_inside([ring], (12, 13)), inside(ring, (12, 13))[0])


def test_a_contour_within_another_is_a_hole_and_one_within_that_an_island() -> None:
    rings = [np.array([[a, a], [b, a], [b, b], [a, b]]) for a, b in ((0.5, 7.5), (1.5, 6.5), (3.5, 4.5))]
    mask = voxels_inside(rings, (9, 9))
    assert mask.sum() == 7 * 7 - 5 * 5 + 1
    assert mask[4, 4]
    assert not mask[2, 2]


def test_neighbours_that_share_a_line_through_centres_share_no_voxel_and_leave_none_out() -> None:
    left, right = (voxels_inside([SQUARE + np.array([shift, 0.0])], (4, 8)) for shift in (0, 3))
    assert not (left & right).any()
    assert (left | right).sum() == 3 * 6  # two squares of 3 × 3: each has one of the two lines on its border
    np.testing.assert_array_equal(np.roll(left, 3, axis=1), right)


def test_direction_and_first_point_of_a_contour_mean_nothing() -> None:
    ring = ring_of(1)
    for other in (ring[::-1], np.roll(ring, 7, axis=0)):
        np.testing.assert_array_equal(voxels_inside([other], (30, 36)), voxels_inside([ring], (30, 36)))
