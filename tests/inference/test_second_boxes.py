"""Tests of autoseg.inference.second_boxes: boxes worked by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from autoseg.imaging.grid import Grid
from autoseg.imaging.resample import all_weights
from autoseg.inference import second_boxes
from autoseg.inference.second_boxes import disjoint, look_boxes, reach_mm, training_box, widened

GRID = Grid(shape=(12, 20, 16), spacing_mm=(3.0, 1.0, 2.0), origin_mm=(10.0, -20.0, 5.0))
CUBE = Grid(shape=(40, 40, 40), spacing_mm=(1.0, 1.0, 1.0))  # four voxels to one of the working grid
WHOLE = (slice(0, 40),) * 3


def seen(*organs: tuple[int, tuple[slice, slice, slice]]) -> npt.NDArray[np.uint8]:
    """Return a first stage's mask of 10 x 10 x 10 voxels, with organs in it."""
    coarse = np.zeros((10, 10, 10), np.uint8)
    for index, box in organs:
        coarse[box] = index
    return coarse


FIRST, LAST, MIDDLE = (slice(0, 1),) * 3, (slice(9, 10),) * 3, (slice(4, 7),) * 3


def test_a_box_holds_every_voxel_to_which_interpolation_takes_an_organ() -> None:
    coarse = np.zeros((4, 5, 4), np.uint8)
    coarse[1:3, 2, 3] = 2
    coarse[0, 0, 0] = 1  # another organ
    (box,) = look_boxes(coarse, [2], GRID, 0.0)
    assert box == (slice(0, 12), slice(4, 16), slice(8, 16))
    full = np.einsum("zyx,az,by,cx->abc", (coarse == 2).astype(np.float32), *all_weights(coarse.shape, GRID.shape))
    outside = full.copy()
    outside[box] = 0
    assert full.max() > 0.5 > outside.max()
    assert look_boxes(coarse, [3], GRID, 0.0) == ()
    assert training_box(coarse, [3], GRID, 0.0) is None


def test_a_box_never_leaves_the_image() -> None:
    box = widened((slice(1, 2), slice(3, 4), slice(5, 6)), GRID, [99.0] * 3, [99.0] * 3)
    assert box == (slice(0, 12), slice(0, 20), slice(0, 16))


def test_organs_far_apart_have_a_box_each_and_near_ones_one_together() -> None:
    far = look_boxes(seen((1, FIRST), (2, LAST)), [1, 2], CUBE, 2.0)
    assert far == ((slice(0, 10),) * 3, (slice(30, 40),) * 3)  # 4 voxels, as many more, and the margin
    near = seen((1, MIDDLE), (2, (slice(4, 7), slice(4, 7), slice(7, 9))))
    box = (slice(10, 34), slice(10, 34), slice(10, 40))
    assert look_boxes(near, [1, 2], CUBE, 2.0) == (box,)
    assert training_box(near, [1, 2], CUBE, 2.0) == box


def test_boxes_that_hold_more_than_half_of_the_one_around_all_are_not_worth_it() -> None:
    across = (slice(0, 10), slice(0, 10))
    thick = seen((1, (slice(0, 3), *across)), (2, (slice(8, 10), *across)))  # 16 and 12 slices of 40, not overlapping
    assert look_boxes(thick, [1, 2], CUBE, 0.0) == (WHOLE,)
    thin = seen((1, (slice(0, 1), *across)), (2, (slice(9, 10), *across)))  # 8 and 8
    assert [box[0] for box in look_boxes(thin, [1, 2], CUBE, 0.0)] == [slice(0, 8), slice(32, 40)]


def test_a_stray_voxel_has_a_box_of_its_own_and_a_training_case_goes_without_it() -> None:
    stray = seen((1, MIDDLE), (1, FIRST))  # 27 voxels and one
    assert look_boxes(stray, [1], CUBE, 2.0) == ((slice(10, 34),) * 3, (slice(0, 10),) * 3)
    assert training_box(stray, [1], CUBE, 2.0) == (slice(10, 34),) * 3
    near = seen((1, MIDDLE), (1, (slice(2, 3), slice(4, 5), slice(4, 5))))
    both = (slice(2, 34), slice(10, 34), slice(10, 34))
    assert look_boxes(near, [1], CUBE, 2.0) == (both,)
    assert training_box(near, [1], CUBE, 2.0) == both


def test_what_is_missing_between_two_main_pieces_of_an_organ_lies_in_its_box() -> None:
    assert look_boxes(seen((1, FIRST), (1, LAST)), [1], CUBE, 2.0) == (WHOLE,)


def test_boxes_that_share_a_face_are_one_and_those_that_share_a_corner_two() -> None:
    start, corner, last = slice(0, 8), (slice(8, 20),) * 3, (slice(32, 40),) * 3
    face = seen((1, FIRST), (2, (slice(3, 4), slice(0, 1), slice(0, 1))), (3, LAST))  # voxels 0 to 8 and 8 to 20
    assert look_boxes(face, [1, 2, 3], CUBE, 0.0) == ((slice(0, 20), start, start), last)
    meeting = seen((1, FIRST), (2, (slice(3, 4),) * 3), (3, LAST))
    assert look_boxes(meeting, [1, 2, 3], CUBE, 0.0) == ((start,) * 3, corner, last)


def test_a_box_is_as_large_as_a_crop_where_the_image_is() -> None:
    far = seen((1, FIRST), (2, LAST))
    assert look_boxes(far, [1, 2], CUBE, 2.0, (15, 12, 5)) == (
        (slice(0, 15), slice(0, 12), slice(0, 10)), (slice(25, 40), slice(28, 40), slice(30, 40)),
    )  # fmt: skip
    assert look_boxes(seen((1, MIDDLE)), [1], CUBE, 2.0, (99, 27, 24)) == (
        (slice(0, 40), slice(9, 36), slice(10, 34)),
    )  # fmt: skip


def test_one_box_holds_all_where_there_may_be_no_more() -> None:
    assert look_boxes(seen((1, FIRST), (2, LAST)), [1, 2], CUBE, 2.0, is_one=True) == (WHOLE,)
    assert look_boxes(seen(), [1, 2], CUBE, 2.0, is_one=True) == ()


def test_what_true_organs_reach_out_of_is_the_box_without_a_false_piece() -> None:
    grid = Grid(shape=(50, 50, 50), spacing_mm=(3.0, 2.0, 2.0))
    coarse, truth = np.zeros(grid.shape, np.uint8), np.zeros(grid.shape, np.uint8)
    coarse[5:15, 20:30, 20:30] = 1
    truth[5:25, 20:30, 20:30] = 1
    assert reach_mm(coarse, truth, [1], grid) == 30.0  # 10 voxels of 3 mm
    coarse[45, 45, 45] = 1
    assert reach_mm(coarse, truth, [1], grid) == 30.0
    assert reach_mm(truth, coarse, [1], grid) > 0.0  # a true piece far away
    assert reach_mm(coarse, truth, [2], grid) == 0.0
    coarse[5:35, 20:30, 20:30] = 1
    assert reach_mm(coarse, truth, [1], grid) == 0.0


def test_where_the_first_stage_sees_noise_there_is_one_box(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.zeros((30, 30, 30), np.uint8)
    noise[::5, ::5, ::5] = 1
    noise[9:21, 9:21, 9:21] = 1  # nine tenths of all
    grid = Grid(shape=(30, 30, 30), spacing_mm=(1.0, 1.0, 1.0))
    (box,) = look_boxes(noise, [1], grid, 0.0)
    assert box == (slice(0, 27),) * 3
    monkeypatch.setattr(second_boxes, "MOST_PARTS", 1000)
    assert len(look_boxes(noise, [1], grid, 0.0)) > 100


def test_joined_boxes_hold_all_and_do_not_overlap() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        starts = rng.integers(0, 30, (12, 3))
        boxes = [
            tuple(slice(int(a), int(a + n)) for a, n in zip(s, rng.integers(1, 9, 3), strict=True)) for s in starts
        ]
        counts, held = np.zeros((40, 40, 40), int), np.zeros((40, 40, 40), bool)
        for box in disjoint((z, y, x) for z, y, x in boxes):
            counts[box] += 1
        for z, y, x in boxes:
            held[z, y, x] = True
        assert counts.max() == 1
        assert (counts[held] == 1).all()
