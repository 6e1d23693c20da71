"""Tests of autoseg.imaging.lattice, and of label maps that were saved cropped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoseg.errors import VolumeError
from autoseg.imaging.grid import Grid
from autoseg.imaging.lattice import fit_label, offset_on_lattice, require_together
from autoseg.imaging.volumes import Volume, on_one_grid, read_label, write_label

WHOLE = Grid(shape=(9, 8, 7), spacing_mm=(2.0, 1.0, 1.0))


def part_at(z: float, y: float, x: float, shape: tuple[int, int, int] = (3, 3, 3)) -> Grid:
    return Grid(shape=shape, spacing_mm=(2.0, 1.0, 1.0), origin_mm=(x, y, 2.0 * z))


def volume(array: np.ndarray, grid: Grid) -> Volume:
    return Volume(array=array, grid=grid, stored=grid)


def test_a_cropped_label_map_is_read_on_the_grid_of_its_image(tmp_path: Path) -> None:
    write_label(tmp_path / "a.nrrd", np.ones((3, 3, 3), np.uint8), part_at(2, 1, 3))
    label = read_label(tmp_path / "a.nrrd", WHOLE)
    assert label.grid == WHOLE
    assert label.array.sum() == 27
    assert label.array[2:5, 1:4, 3:6].all()
    assert [remark.code for remark in label.remarks] == ["label-cropped"]


def test_a_margin_of_background_beyond_the_image_is_left_out_and_told(tmp_path: Path) -> None:
    array = np.zeros((3, 4, 4), np.uint8)
    array[1:, 1:3, 1:3] = 1
    write_label(tmp_path / "a.nrrd", array, part_at(-1, 5, 4, (3, 4, 4)))  # 1 slice, 1 row and 1 column are outside
    label = read_label(tmp_path / "a.nrrd", WHOLE)
    assert label.grid == WHOLE
    assert label.array[:2, 6:8, 5:7].all()
    assert label.array.sum() == 8
    assert {remark.code: remark.found for remark in label.remarks} == {
        "label-cropped": "the label map is cropped to (3, 4, 4) of the image's (9, 8, 7) voxels (Z, Y, X)",
        "label-beyond": "30 voxels of the label map, all background, lie outside the image",  # 48 - 2 · 3 · 3
    }


def test_a_label_map_that_holds_the_whole_image_and_more_is_cut(tmp_path: Path) -> None:
    array = np.zeros((11, 10, 9), np.uint8)
    array[1:-1, 1:-1, 1:-1] = 1
    write_label(tmp_path / "a.nrrd", array, part_at(-1, -1, -1, (11, 10, 9)))
    label = read_label(tmp_path / "a.nrrd", WHOLE)
    assert label.array.shape == WHOLE.shape
    assert label.array.all()
    assert [remark.code for remark in label.remarks] == ["label-beyond"]


@pytest.mark.parametrize("place", [(-1, 0, 0), (0, 6, 5), (40, 0, 0), (-9, -9, -9)])
def test_organs_beyond_the_image_are_refused(tmp_path: Path, place: tuple[int, int, int]) -> None:
    write_label(tmp_path / "a.nrrd", np.ones((3, 3, 3), np.uint8), part_at(*place))
    with pytest.raises(VolumeError, match=r"a\.nrrd: \d+ voxels of its organs lie outside the image; give the image"):
        read_label(tmp_path / "a.nrrd", WHOLE)


def test_exchanged_axes_are_no_crop() -> None:
    assert fit_label(np.zeros((9, 7, 8), np.int32), part_at(0, 0, 0, (9, 7, 8)), WHOLE) is None


def test_two_crops_of_one_image_are_compared_on_the_grid_that_holds_both() -> None:
    one = volume(np.ones((3, 3, 3), np.int32), part_at(0, 0, 0))
    other = volume(np.ones((3, 3, 4), np.int32), part_at(2, 1, 1, (3, 3, 4)))
    first, second = on_one_grid(Path("a"), one, other)
    assert first.grid == second.grid
    assert first.array.shape == (5, 4, 5)
    assert (first.array.sum(), second.array.sum()) == (27, 36)
    assert np.logical_and(first.array, second.array).sum() == 1 * 2 * 2


def test_masks_of_one_shape_at_two_places_stay_there_for_a_header_may_be_wrong() -> None:
    one, other = (volume(np.ones((3, 3, 3), np.int32), part_at(*place)) for place in ((0, 0, 0), (2, 1, 1)))
    assert on_one_grid(Path("a"), one, other) == (one, other)
    sparse = [replace(label, sparse=True) for label in (one, other)]
    assert {label.array.shape for label in on_one_grid(Path("a"), *sparse)} == {(5, 4, 4)}


def test_a_mask_that_lacks_a_slice_with_an_organ_is_not_padded_to_the_other() -> None:
    one, other = (volume(np.ones((n, 3, 3), np.int32), part_at(0, 0, 0, (n, 3, 3))) for n in (3, 4))
    assert on_one_grid(Path("a"), one, other) == (one, other)


def test_half_a_voxel_off_is_another_lattice() -> None:
    assert offset_on_lattice(part_at(1, 1, 1.5), WHOLE) is None


def test_other_voxels_are_another_lattice() -> None:
    other = Grid(shape=(3, 3, 3), spacing_mm=(1.0, 1.0, 1.0))
    assert offset_on_lattice(other, WHOLE) is None


def test_a_label_map_that_lacks_a_slice_is_not_taken_for_a_crop() -> None:
    assert fit_label(np.ones((8, 8, 7), np.int32), part_at(0, 0, 0, (8, 8, 7)), WHOLE) is None


def test_a_label_map_off_its_image_is_refused_with_how_far_and_one_of_other_voxels_with_how_many() -> None:
    image = Grid(shape=(4, 4, 4), spacing_mm=(2.0, 1.0, 1.0))
    require_together("a", replace(image, origin_mm=(0.5, 0.0, 0.0)), image)
    with pytest.raises(VolumeError, match=r"^a: image \(4, 4, 4\) and label \(4, 4, 4\) lie 3\.0 mm apart; copy"):
        require_together("a", replace(image, origin_mm=(0.0, 0.0, 3.0)), image)
    with pytest.raises(VolumeError, match=r"label \(4, 4, 5\) differ in shape; resample"):
        require_together("a", replace(image, shape=(4, 4, 5)), image)
