"""Tests of autoseg.evaluation.two_stages: numbers by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from autoseg.dataset.split import TESTING
from autoseg.evaluation.two_stages import COLUMNS, two_stages

VALUES = {"first_stage_ceiling": 0.8, "ceiling_dice": 0.96, "first_stage_dice": 0.6, "dice": 0.75}


def scores(values: dict[str, float]) -> pd.DataFrame:
    rows = [
        (0, case, split, "vein", 2, metric, value + more, "original")
        for case, split, more in (("a", "testing", 0.0), ("b", "testing", 0.02), ("c", "training", 0.2))
        for metric, value in values.items()
    ]
    columns = ["fold", "case", "split", "organ", "label", "metric", "value", "grid"]
    return pd.DataFrame(rows, columns=columns)


def test_both_stages_stand_beside_each_other_with_the_gain() -> None:
    table = two_stages(scores(VALUES), TESTING)
    assert list(table.columns) == list(COLUMNS)
    assert table.iloc[0].tolist() == ["vein", 2, *map(pytest.approx, (81.0, 97.0, 61.0, 76.0, 15.0))]


def test_there_is_no_row_of_one_stage() -> None:
    assert two_stages(scores({"dice": 0.75, "ceiling_dice": 0.9}), TESTING).empty
