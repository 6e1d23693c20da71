"""Tests of autoseg.inference.outputs.contours: a reader that asks where voxels' centres lie gets the slice back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from polygons import Mask, filled

from autoseg.inference.outputs.contours import Points, slice_contours

TARGET = np.array(  # a hole with an island that has a hole; a voxel that touches by its corner; all at the edge
    [
        [1, 1, 1, 1, 1, 1, 1, 0],
        [1, 0, 0, 0, 0, 0, 1, 0],
        [1, 0, 1, 1, 1, 0, 1, 0],
        [1, 0, 1, 0, 1, 0, 1, 0],
        [1, 0, 1, 1, 1, 0, 1, 0],
        [1, 0, 0, 0, 0, 0, 1, 0],
        [1, 1, 1, 1, 1, 1, 1, 0],
        [0, 0, 0, 0, 0, 0, 0, 1],
    ],
    dtype=bool,
)
slices = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.booleans())


def distances(ring: Points, points: Points) -> npt.NDArray[np.float64]:
    """Return how far each point lies from a polygon's line."""
    start, along = ring, np.roll(ring, -1, axis=0) - ring
    away = points[:, None] - start
    share = np.clip((away * along).sum(axis=2) / (along**2).sum(axis=1), 0, 1)
    return np.linalg.norm(away - share[..., None] * along, axis=2).min(axis=1)


@given(slices)
@example(TARGET)
@example(~TARGET)
@example(np.ones((1, 1), np.bool_))
@example(np.indices((9, 9)).sum(axis=0) % 2 == 0)
def test_contours_give_the_slice_back(organ: Mask) -> None:
    np.testing.assert_array_equal(filled(slice_contours(organ), organ.shape), organ)


@given(slices)
@example(TARGET)
def test_no_contour_comes_near_a_voxels_centre_and_none_has_needless_points(organ: Mask) -> None:
    centres = np.argwhere(np.ones(organ.shape))[:, ::-1].astype(float)
    for ring in slice_contours(organ):
        assert distances(ring, centres).min() > 1 / 3
        before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
        level = before[:, 0] * after[:, 1] == before[:, 1] * after[:, 0]
        assert not (level & ((before * after).sum(axis=1) >= 0)).any()


def test_a_square_has_eight_points_half_a_voxel_outside_its_centres() -> None:
    organ = np.zeros((6, 6), np.bool_)
    organ[1:4, 2:5] = True
    (ring,) = slice_contours(organ)
    assert {(x, y) for x, y in ring.tolist()} == {
        (2, 0.5), (4, 0.5), (4.5, 1), (4.5, 3), (4, 3.5), (2, 3.5), (1.5, 3), (1.5, 1),
    }  # fmt: skip


def test_a_hole_is_a_keyhole_and_an_island_a_contour_of_its_own() -> None:
    rings = slice_contours(TARGET)
    areas = [abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2 for x, y in (ring.T for ring in rings)]
    # 49 - 25 voxels, corners cut of the one and filled of the other; 9 - 1 the same; one voxel is half a square
    assert sorted(areas) == [0.5, pytest.approx(8.0), pytest.approx(24.0)]
