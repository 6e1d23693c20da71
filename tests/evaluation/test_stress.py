"""Tests of autoseg.evaluation.stress: what each change does to an image, and the table of what it costs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import made
import numpy as np
import pandas as pd
import pytest

from autoseg.data.preprocess import normalise
from autoseg.dataset.load import Case
from autoseg.errors import RunError, TooLittleMemoryError
from autoseg.evaluation.stress import (
    CHANGES,
    COLUMNS,
    OF_CT,
    OF_OTHERS,
    UNCHANGED,
    Changed,
    changes,
    read_stress,
    stress,
    stress_table,
    write_stress,
)
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import Volume, write_array
from autoseg.inference.model import Model
from autoseg.plan import Intensity

GRID = Grid(shape=(20, 4, 6), spacing_mm=(2.0, 1.0, 1.0))
ARRAY = np.random.default_rng(0).normal(40, 100, (1, *GRID.shape)).astype(np.float32)
TRUTH = np.arange(20 * 4 * 6).reshape(GRID.shape) % 3


def changed(name: str, is_ct: bool = True) -> Changed:
    return CHANGES[name](Volume(array=ARRAY, grid=GRID, stored=GRID), TRUTH, is_ct)


def test_intensities_are_shifted_in_hu_noisy_and_blurred() -> None:
    np.testing.assert_allclose(changed("brighter").image.array, ARRAY + 50)
    np.testing.assert_allclose(changed("darker").image.array, ARRAY - 50)
    assert np.std(changed("noise").image.array - ARRAY) == pytest.approx(30, rel=0.15)
    assert changed("blur").image.array.std() < 0.6 * ARRAY.std()
    assert all(changed(name).truth is TRUTH for name in ("brighter", "darker", "noise", "blur", UNCHANGED))


def test_the_contrast_is_bent_between_the_ends_of_the_range() -> None:
    low, high = np.percentile(ARRAY, (0.5, 99.5))
    up, down = (changed(name, is_ct=False).image.array for name in ("contrast up", "contrast down"))
    middle = (low < ARRAY) & (high > ARRAY)
    assert (up[middle] <= ARRAY[middle] + 1e-3).all()
    assert (down[middle] >= ARRAY[middle] - 1e-3).all()
    place = np.unravel_index(np.abs(ARRAY - (low + high) / 2).argmin(), ARRAY.shape)
    assert (up[place] - low) / (high - low) == pytest.approx(0.5**1.5, abs=0.02)


def test_shading_falls_from_one_side_to_the_other() -> None:
    shaded = changed("coil shading", is_ct=False).image.array
    np.testing.assert_allclose(shaded[0, :, 0], 1.3 * ARRAY[0, :, 0], rtol=1e-5)
    np.testing.assert_allclose(shaded[0, :, -1], 0.7 * ARRAY[0, :, -1], rtol=1e-5)


def test_each_kind_of_image_meets_changes_that_its_normalisation_does_not_undo() -> None:
    assert set(OF_CT) | set(OF_OTHERS) < set(CHANGES)
    assert set(changes(True)) == set(CHANGES) - set(OF_OTHERS)
    assert set(changes(False)) == set(CHANGES) - set(OF_CT)
    assert next(iter(changes(False))) == UNCHANGED
    intensity = [Intensity(kind="per-image", low=0.5, high=99.5)]
    before = normalise(ARRAY, intensity)
    for name in OF_OTHERS:
        assert np.abs(normalise(changed(name, is_ct=False).image.array, intensity) - before).max() > 0.1
    np.testing.assert_allclose(normalise(ARRAY * 1.5, intensity), before, atol=1e-3)  # as "brighter" would do


@pytest.mark.parametrize(
    ("axis", "lost"),
    [
        ("z", {"slices doubled", "ends cut", "head-feet flipped"}),
        ("y", {"slices doubled"}),
        ("x", {"slices doubled", "left-right flipped"}),
    ],
)
def test_slices_that_are_seen_one_by_one_meet_no_change_of_their_neighbours(axis: str, lost: set[str]) -> None:
    assert set(changes(True)) - set(changes(True, axis)) == lost


@pytest.mark.parametrize("refused", [None, MemoryError()])
def test_a_single_slice_is_stressed_and_what_the_system_refuses_is_an_error_of_the_case(
    tmp_path: Path, refused: BaseException | None
) -> None:
    grid = Grid(shape=(1, 9, 9), spacing_mm=(1.0, 1.0, 1.0))
    for name, value in (("image", 7), ("label", 1)):
        write_array(tmp_path / f"{name}.nii.gz", np.full(grid.shape, value, np.uint8), grid)
    case = Case(id="a", images=(tmp_path / "image.nii.gz",), label=tmp_path / "label.nii.gz", patient="a")

    def segment(image: Volume) -> SimpleNamespace:
        if refused is not None:
            raise refused
        return SimpleNamespace(mask=SimpleNamespace(array=np.ones(image.grid.shape, np.uint8)))

    model = cast(Model, SimpleNamespace(plan=made.plan(), prepare=lambda image: image, segment=segment))
    if refused is not None:
        with pytest.raises(TooLittleMemoryError):
            stress(model, case, 0)
        return
    rows = pd.DataFrame(stress(model, case, 0))
    assert set(rows["change"]) == set(changes(True, "z"))
    assert set(rows["dice"][rows["organ"] == "liver"]) == {1.0}


def test_doubled_slices_are_means_of_two_and_as_thick() -> None:
    thick = changed("slices doubled")
    np.testing.assert_allclose(thick.image.array[0, 3], (ARRAY[0, 6] + ARRAY[0, 7]) / 2, rtol=1e-5)
    assert thick.image.grid.spacing_mm == (4.0, 1.0, 1.0)
    assert (thick.image.grid.shape[0] * thick.repeat, len(thick.truth)) == (20, 20)


def test_the_ends_are_cut_of_image_and_truth_alike() -> None:
    cut = changed("ends cut")  # 15 % of 20 slices are 3
    np.testing.assert_array_equal(cut.image.array, ARRAY[:, 3:17])
    np.testing.assert_array_equal(cut.truth, TRUTH[3:17])
    assert cut.image.grid.shape == (14, 4, 6)


@pytest.mark.parametrize(("name", "axis"), [("left-right flipped", 2), ("head-feet flipped", 0)])
def test_a_flip_turns_image_and_truth(name: str, axis: int) -> None:
    np.testing.assert_array_equal(changed(name).image.array[0], np.flip(ARRAY[0], axis))
    np.testing.assert_array_equal(changed(name).truth, np.flip(TRUTH, axis))


def test_the_table_has_the_change_in_points(tmp_path: Path) -> None:
    rows = [
        (0, case, "liver", 1, change, dice)
        for case, dices in {"a": (0.9, 0.8), "b": (0.7, 0.65), "c": (None, None)}.items()
        for change, dice in zip((UNCHANGED, "noise"), dices, strict=True)
    ]
    write_stress([dict(zip(COLUMNS, row, strict=True)) for row in rows], tmp_path / "stress.csv")
    (row,) = stress_table(read_stress(tmp_path / "stress.csv")).to_dict("records")
    assert row == {"Organ": "liver", "N": 2, "Dice (%)": pytest.approx(80), "noise": pytest.approx(-7.5)}


def test_a_run_without_stress_has_no_table_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    assert stress_table(read_stress(tmp_path / "stress.csv")).empty
    pd.DataFrame({"fold": [0]}).to_csv(tmp_path / "stress.csv")
    with pytest.raises(RunError, match=r"stress\.csv: is damaged"):
        read_stress(tmp_path / "stress.csv")
