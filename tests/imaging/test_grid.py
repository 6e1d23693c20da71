"""Tests of autoseg.imaging.grid."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from grids import TURNS, grids, shapes, turned
from hypothesis import given
from hypothesis import strategies as st

from autoseg.imaging.grid import IDENTITY, Grid, corner_distance_mm, resized, to_lps, working_shape


def places_mm(grid: Grid) -> np.ndarray:
    """Return the patient coordinates of every voxel, (3, Z, Y, X)."""
    z, y, x = np.indices(grid.shape)
    index = np.stack([x, y, z, np.ones_like(x)]).reshape(4, -1)
    return (grid.matrix() @ index)[:3].reshape(3, *grid.shape)


@given(grids)
def test_every_voxel_stays_at_its_place_in_the_patient(stored: Grid) -> None:
    turn, lps = to_lps(stored)
    moved = turn.apply(places_mm(stored))
    assert moved.shape[1:] == lps.shape
    np.testing.assert_allclose(moved, places_mm(lps), atol=1e-9)


@pytest.mark.parametrize(("axes", "signs"), TURNS)
def test_each_of_the_48_right_angled_turns_comes_out_as_lps(axes: tuple[int, ...], signs: tuple[int, ...]) -> None:
    direction = tuple(turned(axes, signs).ravel().tolist())
    stored = Grid(shape=(2, 3, 4), spacing_mm=(5.0, 0.7, 0.6), origin_mm=(10.0, 20.0, 30.0), direction=direction)
    turn, lps = to_lps(stored)
    assert lps.direction == IDENTITY
    np.testing.assert_allclose(turn.apply(places_mm(stored)), places_mm(lps), atol=1e-12)


@given(grids)
def test_after_the_turn_no_other_right_angled_turn_lies_nearer_to_lps(stored: Grid) -> None:
    found = np.reshape(to_lps(stored)[1].direction, (3, 3))
    best = max(np.trace(np.reshape(stored.direction, (3, 3)) @ turned(*turn)) for turn in TURNS)
    assert np.trace(found) == pytest.approx(best, abs=2e-3)  # rounding does not decide between turns so alike


@pytest.mark.parametrize("error", [1e-7, -1e-7])
def test_rounding_in_the_header_of_a_45_degree_scan_does_not_change_the_turn(error: float) -> None:
    half = math.sqrt(0.5)
    exact = Grid(shape=(2, 3, 4), spacing_mm=(1.0, 1.0, 1.0), direction=(half, -half, 0, half, half, 0, 0, 0, 1))
    rounded = (half + error, -half + error, 0, half - error, half + error, 0, 0, 0, 1)
    assert to_lps(Grid(shape=(2, 3, 4), spacing_mm=(1.0, 1.0, 1.0), direction=rounded))[0] == to_lps(exact)[0]


@given(grids, st.integers(0, 2))
def test_undo_is_the_inverse_of_apply_whatever_leads_the_three_axes(stored: Grid, leading: int) -> None:
    array = np.arange(math.prod(stored.shape) * 2**leading).reshape(*(2,) * leading, *stored.shape)
    turn, lps = to_lps(stored)
    assert turn.apply(array).shape == (*(2,) * leading, *lps.shape)
    np.testing.assert_array_equal(turn.undo(turn.apply(array)), array)


def test_the_hippocampus_turn_flips_x_and_y_and_moves_the_origin_to_the_other_end() -> None:
    stored = Grid(shape=(5, 4, 3), spacing_mm=(1.0, 1.0, 2.0), direction=(-1, 0, 0, 0, -1, 0, 0, 0, 1))
    turn, lps = to_lps(stored)
    assert (turn.axes, turn.flips) == ((0, 1, 2), (False, True, True))
    assert lps.origin_mm == (-4.0, -3.0, 0.0)


@given(grids, shapes)
def test_resized_keeps_the_outer_corners(grid: Grid, shape: tuple[int, int, int]) -> None:
    def outer(g: Grid) -> np.ndarray:
        ends = np.array([[*c, 1] for c in itertools.product(*((-0.5, n - 0.5) for n in g.shape[::-1]))])
        return (g.matrix() @ ends.T)[:3]

    new = resized(grid, shape)
    assert new.shape == shape
    np.testing.assert_allclose(outer(new), outer(grid), atol=1e-9)
    np.testing.assert_allclose(new.extent_mm, grid.extent_mm)


@pytest.mark.parametrize(
    ("spacing_mm", "downsampling", "expected"),
    [
        (None, (4.0, 4.0, 4.0), (3, 3, 2)),  # 10/4 = 2.5 and 11/4 = 2.75 go up, 9/4 = 2.25 goes down
        (None, (100.0, 1.0, 2.0), (1, 11, 5)),  # never less than one voxel; 4.5 goes up
        ((2.0, 1.0, 3.0), (9.0, 9.0, 9.0), (10, 6, 6)),  # 20/2, 5.5/1, 18/3: the spacing governs
    ],
)
def test_working_shape_rounds_halves_up_and_is_never_empty(
    spacing_mm: tuple[float, float, float] | None, downsampling: tuple[float, float, float], expected: tuple[int, ...]
) -> None:
    grid = Grid(shape=(10, 11, 9), spacing_mm=(2.0, 0.5, 2.0))
    assert working_shape(grid, spacing_mm, downsampling) == expected


def test_one_voxel_of_half_by_one_by_four_mm_holds_two_microlitres() -> None:
    assert Grid(shape=(1, 1, 1), spacing_mm=(4.0, 1.0, 0.5)).voxel_ml == pytest.approx(0.002)


def test_corners_lie_apart_by_the_farthest_corner_not_the_origin() -> None:
    a = Grid(shape=(2, 2, 11), spacing_mm=(1.0, 1.0, 1.0))
    b = Grid(shape=(2, 2, 11), spacing_mm=(1.0, 1.0, 1.5))
    assert corner_distance_mm(a, b) == pytest.approx(5.0)  # 10 steps of 0.5 mm more
    assert corner_distance_mm(a, Grid(shape=(2, 2, 10), spacing_mm=(1.0, 1.0, 1.0))) == math.inf
