"""Tests of autoseg.evaluation.sizes, with numbers that can be checked by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from autoseg.evaluation.scores import COLUMNS
from autoseg.evaluation.sizes import sizes


def scores(organs: dict[str, list[tuple[float, float | None]]]) -> pd.DataFrame:
    """Long scores of testing cases c0, c1, … from organ to (true ml, Dice) a case."""
    rows = [
        [0, f"c{case}", "testing", organ, label, metric, value, "original"]
        for label, (organ, cases) in enumerate(organs.items(), start=1)
        for case, pair in enumerate(cases)
        for metric, value in zip(("truth_ml", "dice"), pair, strict=True)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


RISING: list[tuple[float, float | None]] = [(10, 0.5), (20, 0.6), (30, 0.7), (40, 0.8), (50, 0.9), (60, 0.95)]


def test_the_dice_of_small_and_large_organs_and_their_rank_correlation() -> None:
    row = sizes(scores({"tumour": RISING}), ["testing"], {}).iloc[0]
    assert list(row.iloc[:2]) == ["tumour", 6]
    # halves up to and above 35 ml: means of 50, 60, 70 and of 80, 90, 95
    assert list(row.iloc[2:6]) == pytest.approx([35.0, 60.0, 265 / 3, 265 / 3 - 60])
    assert row["Spearman's ρ"] == pytest.approx(1.0)
    assert row["p"] < 0.001


def test_cases_of_a_patient_count_once_and_absent_organs_not() -> None:
    doubled: list[tuple[float, float | None]] = [*RISING, (80, 0.15), (0, None), (0, 0.0)]
    row = sizes(scores({"tumour": doubled}), ["testing"], {"c5": "p", "c6": "p"}).iloc[0]
    assert row["Patients"] == 6
    assert row["Dice, larger half (%)"] == pytest.approx((80 + 90 + (95 + 15) / 2) / 3)


def test_few_patients_and_one_size_have_no_row() -> None:
    table = sizes(scores({"few": RISING[:5], "same": [(5.0, 0.8)] * 8}), ["testing"], {})
    assert table.empty


def test_equal_dice_has_halves_but_no_correlation() -> None:
    flat: list[tuple[float, float | None]] = [(ml, 0.9) for ml, _ in RISING]
    row = sizes(scores({"flat": flat, "tumour": RISING}), ["testing"], {}).iloc[0]
    assert row["Gap (points)"] == pytest.approx(0)
    assert row[["Spearman's ρ", "p", "p (Holm)"]].isna().all()
