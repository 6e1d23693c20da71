"""Tests of autoseg.imaging.lattice, and of label maps that were saved cropped."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autoseg.imaging.grid import Grid
from autoseg.imaging.lattice import offset_on_lattice, pad_label
from autoseg.imaging.volumes import read_label, write_label

WHOLE = Grid(shape=(9, 8, 7), spacing_mm=(2.0, 1.0, 1.0))


def part_at(z: float, y: float, x: float, shape: tuple[int, int, int] = (3, 3, 3)) -> Grid:
    return Grid(shape=shape, spacing_mm=(2.0, 1.0, 1.0), origin_mm=(x, y, 2.0 * z))


def test_a_cropped_label_map_is_read_on_the_grid_of_its_image(tmp_path: Path) -> None:
    write_label(tmp_path / "a.nrrd", np.ones((3, 3, 3), np.uint8), part_at(2, 1, 3))
    label = read_label(tmp_path / "a.nrrd", WHOLE)
    assert label.grid == WHOLE
    assert label.array.sum() == 27
    assert label.array[2:5, 1:4, 3:6].all()
    assert [remark.code for remark in label.remarks] == ["label-cropped"]


def test_a_label_map_that_reaches_beyond_the_image_is_not_cut() -> None:
    assert pad_label(np.zeros((3, 3, 3), np.int32), part_at(-1, 0, 0), WHOLE) is None
    assert pad_label(np.zeros((9, 7, 8), np.int32), part_at(0, 0, 0, (9, 7, 8)), WHOLE) is None  # axes exchanged


def test_half_a_voxel_off_is_another_lattice() -> None:
    assert offset_on_lattice(part_at(1, 1, 1.5), WHOLE) is None


def test_other_voxels_are_another_lattice() -> None:
    other = Grid(shape=(3, 3, 3), spacing_mm=(1.0, 1.0, 1.0))
    assert offset_on_lattice(other, WHOLE) is None


def test_a_label_map_that_lacks_a_slice_is_not_taken_for_a_crop() -> None:
    assert pad_label(np.ones((8, 8, 7), np.int32), part_at(0, 0, 0, (8, 8, 7)), WHOLE) is None
