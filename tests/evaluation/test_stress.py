"""Tests of autoseg.evaluation.stress: what each change does to an image, and the table of what it costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from autoseg.errors import RunError
from autoseg.evaluation.stress import CHANGES, COLUMNS, UNCHANGED, Changed, read_stress, stress_table, write_stress
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import Volume

GRID = Grid(shape=(20, 4, 6), spacing_mm=(2.0, 1.0, 1.0))
ARRAY = np.random.default_rng(0).normal(40, 100, (1, *GRID.shape)).astype(np.float32)
TRUTH = np.arange(20 * 4 * 6).reshape(GRID.shape) % 3


def changed(name: str, is_ct: bool = True) -> Changed:
    return CHANGES[name](Volume(array=ARRAY, grid=GRID, stored=GRID), TRUTH, is_ct)


def test_intensities_are_shifted_in_hu_and_scaled_elsewhere() -> None:
    np.testing.assert_allclose(changed("brighter").image.array, ARRAY + 50)
    np.testing.assert_allclose(changed("darker", is_ct=False).image.array, ARRAY / 1.5, rtol=1e-6)
    assert np.std(changed("noise").image.array - ARRAY) == pytest.approx(30, rel=0.15)
    assert changed("blur").image.array.std() < 0.6 * ARRAY.std()
    assert all(changed(name).truth is TRUTH for name in ("brighter", "darker", "noise", "blur", UNCHANGED))


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
