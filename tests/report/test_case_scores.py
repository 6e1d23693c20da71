"""Tests of autoseg.report.case_scores: the worst case first, and numbers that become text where they are shown."""

from __future__ import annotations

import pandas as pd

from autoseg.evaluation.scores import COLUMNS
from autoseg.report.case_scores import case_scores


def case_rows(*rows: tuple[str, str, str, int, str, float | None]) -> pd.DataFrame:
    """Long scores from (case, split, organ, label, metric, value)."""
    return pd.DataFrame([[0, *row, "original"] for row in rows], columns=list(COLUMNS))


FRAME = case_rows(
    ("good", "testing", "liver", 1, "dice", 0.9),
    ("good", "testing", "liver", 1, "nsd_2mm", 0.5),
    ("good", "testing", "vein", 2, "dice", None),
    ("bad", "testing", "liver", 1, "dice", 0.8),
    ("bad", "testing", "vein", 2, "dice", 0.0),
    ("bad", "testing", "vein", 2, "missed", 1.0),
    ("learnt", "training", "liver", 1, "dice", 0.1),
)


def test_testing_cases_come_first_and_the_worst_of_them_at_the_top() -> None:
    told = case_scores(FRAME)
    assert [(case.case, case.mean_dice) for case in told] == [("bad", 0.4), ("good", 0.9), ("learnt", 0.1)]
    assert told[0].missed == ("vein",)
    assert (told[0].lowest, told[0].lowest_dice) == ("vein", 0.0)
    assert told[1].columns == ("Organ", "Dice (%)", "NSD (%)")
    assert told[1].rows == (("liver", "90.0", "50.0"), ("vein", "", ""))


def test_a_case_without_any_organ_has_no_mean() -> None:
    told = case_scores(case_rows(("a", "testing", "liver", 1, "dice", None)))
    assert (told[0].mean_dice, told[0].lowest) == (None, "")
    assert case_scores(FRAME.iloc[:0]) == ()
