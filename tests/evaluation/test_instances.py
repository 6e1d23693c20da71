"""Tests of autoseg.evaluation.instances: pieces by hand, through `score --instances`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import Cli

from autoseg.evaluation.instances import COLUMNS, instance_rows
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import Volume, write_array
from autoseg.labels import Label

# 10 ml a voxel; the origin is the centre of voxel (0, 0, 0), and x runs to the right: against LPS
GRID = Grid(
    shape=(1, 2, 12), spacing_mm=(40.0, 10.0, 25.0), origin_mm=(5.0, 6.0, 7.0), direction=(-1, 0, 0, 0, 1, 0, 0, 0, 1)
)
LESION = Label(value=1, name="lesion")


def rows_of(line: str) -> np.ndarray:
    return np.array([[[int(letter) for letter in line]] * 2], dtype=np.uint8)


TRUTH, FOUND = rows_of("011100001100"), rows_of("011110000010")
EXPECTED = [  # outcome, truth and prediction in ml, Dice, IoU, x, y, z in mm
    ("found", 60.0, 80.0, 12 / 14, 6 / 8, -45.0, 11.0, 7.0),
    ("missed", 40.0, 0.0, 0.0, 0.0, -207.5, 11.0, 7.0),
    ("invented", 0.0, 20.0, 0.0, 0.0, -245.0, 11.0, 7.0),
]


def test_a_row_tells_outcome_volumes_agreement_and_place_of_a_piece() -> None:
    rows = list(instance_rows("a", FOUND, Volume(array=TRUTH, grid=GRID, stored=GRID), {LESION: (1,)}))
    assert [tuple(row) for row in rows] == [COLUMNS] * 3
    assert [tuple(row.values())[:4] for row in rows] == [("a", "lesion", 1, number) for number in (1, 2, 3)]
    for row, expected in zip(rows, EXPECTED, strict=True):
        assert tuple(row.values())[4:] == (expected[0], *(pytest.approx(number) for number in expected[1:]))


def test_score_lists_pieces_and_tells_them_by_organ(tmp_path: Path, cli: Cli) -> None:
    straight = Grid(shape=GRID.shape, spacing_mm=GRID.spacing_mm)
    for name in "ba":
        write_array(tmp_path / "found" / f"{name}.nii.gz", FOUND, straight)
        write_array(tmp_path / "truth" / f"{name}.nii.gz", TRUTH, straight)
    out = tmp_path / "lesions.csv"
    code, text, err = cli("score", tmp_path / "found", tmp_path / "truth", "--instances", "--out", out, "-j", "1")
    assert code == 0, err
    pieces = pd.read_csv(tmp_path / "lesions_instances.csv")
    assert pieces["case"].tolist() == ["a"] * 3 + ["b"] * 3
    assert pieces["outcome"].tolist() == [row[0] for row in EXPECTED] * 2
    assert "6 pieces -> " in text
    row = next(line for line in text.splitlines() if line.startswith("label 1"))
    # 4 pieces of the truth, 2 found, 2 missed, 2 invented: F1 4/8; Dice 12/14 of 1 in 3
    assert row.split()[2:] == ["2", "4", "2", "2", "2", "50.0", "28.6"]


def test_what_is_not_annotated_everywhere_has_no_pieces() -> None:
    cut = TRUTH.copy()
    cut[0, 0, 0] = 9
    assert not list(instance_rows("a", FOUND, Volume(array=cut, grid=GRID, stored=GRID), {LESION: (1,)}, ignored=9))
