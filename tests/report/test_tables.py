"""Tests of autoseg.report.tables: all metrics by organ."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from autoseg.evaluation.scores import COLUMNS
from autoseg.evaluation.statistics import TABLES, statistics
from autoseg.report.formats import TextTable
from autoseg.report.tables import metric_table


def scores(values: dict[tuple[str, str], list[float | None]], split: str = "testing") -> pd.DataFrame:
    """Long scores from (organ, metric) to a value a case; labels in the order of the organs."""
    organs = list(dict.fromkeys(organ for organ, _ in values))
    rows = [
        (0, f"case{number}", split, organ, organs.index(organ) + 1, metric, value, "original")
        for (organ, metric), found in values.items()
        for number, value in enumerate(found)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def metric_tables(frame: pd.DataFrame) -> list[TextTable]:
    return [metric_table(table, statistics(frame, table.splits)) for table in TABLES]


LIVER = [0.90, 0.91, 0.92, 0.93, 0.94]
BOTH = scores(
    {
        ("liver", "dice"): LIVER,
        ("liver", "nsd_2mm"): [1.0] * 5,
        ("liver", "hd95_mm"): [1.0, 2.0, 3.0, 4.0, None],
        ("liver", "volume_difference_percent"): [-0.01, 0.01, -0.01, 0.01, -0.01],
        ("liver", "expected_dice"): LIVER,
        ("vein", "dice"): [0.5, None, None, None, None],
        ("vein", "volume_difference_percent"): [-3.0, None, None, None, None],
    }
)


def test_statistics_by_hand() -> None:
    numbers = statistics(BOTH, ["testing"]).set_index(["organ", "metric"])
    liver = numbers.loc[("liver", "dice")]
    assert liver[["n", "mean", "median", "min", "max"]].tolist() == pytest.approx([5, 0.92, 0.92, 0.90, 0.94])
    assert liver["std"] == pytest.approx(math.sqrt((4 + 1 + 0 + 1 + 4) / 4) / 100)
    assert 0.90 <= liver["ci95_low"] < 0.92 < liver["ci95_high"] <= 0.94
    assert numbers.loc[("liver", "hd95_mm")][["n", "mean"]].tolist() == [4, 2.5]
    vein = numbers.loc[("vein", "dice")]
    assert vein["n"] == 1
    assert vein[["std", "ci95_low", "ci95_high"]].isna().all()


def test_the_wide_table_has_units_intervals_and_no_negative_zero() -> None:
    table = metric_tables(BOTH)[0]
    assert table.columns == (
        "Organ", "Dice (%)", "95 % CI", "Median", "NSD at 2 mm (%)", "HD95 (mm)", "Volume diff. (%)", "N",
    )  # fmt: skip
    liver, vein, total = table.rows
    assert liver[:2] == ["liver", "92.0 ± 1.6"]
    assert liver[3:] == ["92.0", "100.0 ± 0.0", "2.5 ± 1.3 (4)", "0.0 ± 0.0", "5"]
    assert vein == ["vein", "50.0", "", "50.0", "", "", "−3.0", "1"]
    assert total == ["Mean over organs", "71.0", "", "71.0", "100.0", "2.5", "", "3"]


def test_the_total_has_the_interval_of_the_mean_over_organs() -> None:
    numbers = statistics(BOTH, ["testing"])
    assert metric_table(TABLES[0], numbers, (0.6849, 0.731)).rows[-1][2] == "68.5 to 73.1"


def test_no_scored_case_gives_no_rows() -> None:
    testing, training = metric_tables(BOTH)
    assert training.rows == []
    assert "All metrics of the testing cases" in testing.title
    assert [table.rows for table in metric_tables(BOTH.iloc[:0])] == [[], []]


def test_an_organ_that_no_case_is_labelled_with_has_a_row_of_its_own_and_does_not_lower_the_mean_n() -> None:
    frame = pd.concat([BOTH, BOTH[BOTH["organ"] == "vein"].assign(organ="artery", label=3, split="training")])
    table = metric_tables(frame)[0]
    artery, total = table.rows[2:]
    assert artery == ["artery", *[""] * (len(table.columns) - 2), "0"]
    assert total[-1] == "3"  # of 5 and 1
