"""Tests of autoseg.imaging.right_angles."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autoseg.errors import VolumeError
from autoseg.imaging.grid import Grid, corner_distance_mm
from autoseg.imaging.right_angles import grid_of_axes, right_angled

SHAPE = (20, 32, 36)


def leaning(lean: float) -> np.ndarray:
    """Return axes of 1 x 1 x 2.5 mm whose third leans by so many mm a slice."""
    return np.array([[1.0, 0, 0], [0, 1.0, lean], [0, 0, 2.5]])


def test_rounding_off_a_right_angle_gives_the_nearest_grid_and_a_remark() -> None:
    grid, remarks = grid_of_axes(SHAPE, leaning(0.01), (0, 0, 0), "a")
    direction = np.reshape(grid.direction, (3, 3))
    np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-12)
    assert [remark.code for remark in remarks] == ["right-angles"]
    given = Grid(shape=SHAPE, spacing_mm=(2.5, 1, 1), direction=tuple((leaning(0.01) / [1, 1, 2.5]).ravel()))
    assert corner_distance_mm(grid, given) < 0.1


@pytest.mark.parametrize("lean", [0.1, 0.9])
@pytest.mark.parametrize("shape", [SHAPE, (200, 512, 512)])
def test_a_sheared_grid_is_refused(lean: float, shape: tuple[int, int, int]) -> None:
    with pytest.raises(VolumeError, match=r"^a: its axes are not at right angles"):
        grid_of_axes(shape, leaning(lean), (0, 0, 0), "a")


def test_a_square_grid_stays_as_it_is_to_the_bit() -> None:
    grid = Grid(shape=SHAPE, spacing_mm=(2.5, 0.7, 0.7), direction=(0, -1, 0, 0, 0, 1, 1, 0, 0))
    assert right_angled(grid, "a") == (grid, ())


@pytest.mark.parametrize("spacing_mm", [0.0, -1.0, math.nan, math.inf, 1e30, 1e-30])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_spacing_that_cannot_be_is_refused(spacing_mm: float, axis: int) -> None:
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = spacing_mm
    with pytest.raises(VolumeError, match="spacing"):
        right_angled(Grid(shape=(4, 4, 4), spacing_mm=(spacing[0], spacing[1], spacing[2])), "a")


def test_voxels_of_a_wrong_unit_are_named_with_size_and_spacing() -> None:
    with pytest.raises(VolumeError, match=r"voxels of 250 × 100 × 100 mm .* an image of 5 × 3\.2 × 3\.6 m"):
        right_angled(Grid(shape=SHAPE, spacing_mm=(250.0, 100.0, 100.0)), "a")


def test_pixels_of_a_millimetre_may_be_as_many_as_they_are_larger_ones_not() -> None:
    counted = Grid(shape=(1, 2848, 4288), spacing_mm=(1.0, 1.0, 1.0))
    assert right_angled(counted, "a") == (counted, ())
    with pytest.raises(VolumeError, match=r"an image of 0\.001 × 5\.7 × 8\.58 m"):
        right_angled(Grid(shape=counted.shape, spacing_mm=(1.0, 2.0, 2.0)), "a")
