"""The facts of an organ against hand-worked numbers: they lie in one row, and come out as they were put in."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from autoseg.dataset.organ_facts import OrganFacts, organ_facts
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import Volume

GRID = Grid(shape=(4, 5, 6), spacing_mm=(3.0, 2.0, 1.0))


def facts() -> OrganFacts:
    """Facts of two islands, of three voxels and of one, in an image of two channels."""
    label = np.zeros(GRID.shape, np.int32)
    label[1, 1, 1:4] = label[3, 4, 5] = 2
    image = np.zeros((2, *GRID.shape), np.float32)
    image[0][label == 2], image[1][label == 2] = (1, 2, 3, 6), (5, 5, 5, 5)
    volume = Volume(array=image, grid=GRID, stored=GRID)
    return organ_facts(2, (2,), (slice(1, 4), slice(1, 5), slice(1, 6)), label, volume)


def test_numbers_are_those_of_the_label_map() -> None:
    organ = facts()
    assert (organ.value, organ.voxels, organ.islands, organ.largest, organ.at_border) == (2, 4, 2, 0.75, True)
    assert organ.ml == pytest.approx(0.024)
    assert organ.box == ((1, 4), (1, 5), (1, 6))
    assert organ.extent_voxels == (3, 4, 5)
    assert organ.centroid_mm == pytest.approx((0.0, -0.5, 0.25))  # voxel (1.5, 1.75, 2.75), the middle (1.5, 2, 2.5)
    assert list(organ.mean) == [3.0, 5.0]
    assert list(organ.std) == pytest.approx([3.5**0.5, 0.0])


def test_another_first_voxel_moves_the_box_alone() -> None:
    organ = facts()
    moved = organ.moved((1, 1, 1))
    assert moved.box == ((0, 3), (0, 4), (0, 5))
    assert organ.box == ((1, 4), (1, 5), (1, 6))
    assert moved.moved((-1, -1, -1)) == organ


def test_organs_of_one_place_have_as_many_voxels_in_the_same_box() -> None:
    organ = facts()
    assert organ.place == pickle.loads(pickle.dumps(organ)).place
    assert organ.place != organ.moved((0, 0, 1)).place
    with_ml = organ.row[:]
    with_ml[1] *= 2  # of another spacing
    assert organ.place == OrganFacts(2, with_ml).place
