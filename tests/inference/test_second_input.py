"""Tests of autoseg.inference.second_input: what lies in a box."""

from __future__ import annotations

import made
import numpy as np
import pytest
from scipy import ndimage

from autoseg.imaging.grid import Grid
from autoseg.imaging.resample import all_weights
from autoseg.imaging.volumes import Volume
from autoseg.inference import second_input
from autoseg.inference.second_input import displaced, part_of, probabilities_in, second_image
from autoseg.labels import Label
from autoseg.plan import Intensity, first_seen

GRID = Grid(shape=(12, 20, 16), spacing_mm=(3.0, 1.0, 2.0), origin_mm=(10.0, -20.0, 5.0))


def test_a_part_of_an_image_lies_where_it_was_in_the_patient() -> None:
    array = np.arange(12 * 20 * 16).reshape(1, *GRID.shape)
    part = part_of(Volume(array=array, grid=GRID, stored=GRID), (slice(2, 5), slice(7, 9), slice(4, 16)))
    assert part.grid.origin_mm == (10.0 + 4 * 2.0, -20.0 + 7 * 1.0, 5.0 + 2 * 3.0)
    assert part.grid.shape == part.array.shape[1:] == (3, 2, 12)
    assert part.array[0, 0, 0, 0] == array[0, 2, 7, 4]


def test_probabilities_in_a_box_are_those_of_interpolating_the_whole_image() -> None:
    coarse = np.random.default_rng(0).random((2, 4, 5, 3)).astype(np.float32)
    whole = np.stack([np.einsum("zyx,az,by,cx->abc", c, *all_weights(c.shape, GRID.shape, False)) for c in coarse])
    box = (slice(1, 7), slice(0, 20), slice(9, 12))
    found = probabilities_in(coarse, box, GRID.shape, (6, 20, 3))  # a voxel of the image each
    np.testing.assert_allclose(found, whole[:, *box], atol=1e-5)


def test_a_second_stage_sees_the_image_and_one_channel_more_an_organ() -> None:
    vein = Label(value=2, name="vein")
    seen = Intensity(kind="probability", low=0.0, high=1.0)
    plan = made.plan(labels=(vein,), channels=("CT", first_seen(vein)), intensity=(made.CT, seen), margin_mm=3.0)
    volume = Volume(array=np.full((1, *GRID.shape), 150, np.int16), grid=GRID, stored=GRID)
    box = (slice(0, 12), slice(4, 12), slice(0, 8))
    probabilities = np.linspace(0, 1, 4 * 5 * 4, dtype=np.float32).reshape(1, 4, 5, 4)
    image = second_image(part_of(volume, box), box, GRID.shape, probabilities, plan)
    assert image.shape == (2, 6, 4, 4)  # a downsampling of 2
    assert (image[0] == 1.0).all()  # (150 - 100) / 50
    assert 0 < image[1].min() < image[1].max() < 1


def test_a_large_volume_is_displaced_in_slabs_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    organ = np.random.default_rng(0).random((13, 7, 9), np.float32)
    at_once = displaced(organ, 2.0, (1, 2))
    monkeypatch.setattr(second_input, "SLAB_VOXELS", 4 * 7 * 9)
    np.testing.assert_array_equal(displaced(organ, 2.0, (1, 2)), at_once)


def test_displacing_takes_away_some_of_an_organ_and_adds_some_elsewhere() -> None:
    organ = ndimage.gaussian_filter((np.indices((24, 24, 24))[1] // 2 == 6).astype(np.float32), 0.7)
    assert displaced(organ, 0.0, (1, 2)) is organ
    moved = displaced(organ, 3.0, (1, 2))
    np.testing.assert_array_equal(moved, displaced(organ, 3.0, (1, 2)))
    before, after = organ > 0.4, moved > 0.4
    dices = [
        2 * (before & (displaced(organ, voxels, (1, 2)) > 0.4)).sum() / (before.sum() * 2) for voxels in (1.0, 2.0, 3.0)
    ]
    assert 1 > dices[0] > dices[1] > dices[2] > 0.2
    assert (before & ~after).sum() > 20
    assert (after & ~before).sum() > 20
    assert after.sum() == pytest.approx(before.sum(), rel=0.4)
