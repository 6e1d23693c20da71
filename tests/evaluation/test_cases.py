"""The cases one by one, and the labels that the model doubts."""

from __future__ import annotations

import pandas as pd

from autoseg.evaluation.cases import Doubt, case_scores, chosen_cases, doubts
from autoseg.evaluation.scores import COLUMNS


def scores(*rows: tuple[str, str, str, int, str, float | None]) -> pd.DataFrame:
    """Long scores from (case, split, organ, label, metric, value)."""
    return pd.DataFrame([[0, *row, "original"] for row in rows], columns=list(COLUMNS))


FRAME = scores(
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
    assert told[0].lowest == "vein 0.0"
    assert told[1].columns == ("Organ", "Dice (%)", "NSD (%)")
    assert told[1].rows == (("liver", "90.0", "50.0"), ("vein", "", ""))


def test_a_case_without_any_organ_has_no_mean() -> None:
    told = case_scores(scores(("a", "testing", "liver", 1, "dice", None)))
    assert (told[0].mean_dice, told[0].lowest) == (None, "")
    assert case_scores(FRAME.iloc[:0]) == ()


def test_a_label_is_doubted_where_the_model_is_sure_and_contradicts_it() -> None:
    usual = [(f"case{n}", "training", "liver", 1, "dice", 0.90 + 0.001 * n) for n in range(10)]
    usual += [(f"case{n}", "training", "liver", 1, "expected_dice", 0.92) for n in range(10)]
    odd = [("odd", "training", "liver", 1, "dice", 0.6), ("odd", "training", "liver", 1, "expected_dice", 0.93)]
    unsure = [("hard", "training", "liver", 1, "dice", 0.6), ("hard", "training", "liver", 1, "expected_dice", 0.62)]
    seen = [(case, split, *rest) for case, _, *rest in odd for split in ("testing", "validation")]
    found = doubts(scores(*usual, *odd, *unsure, *seen))
    assert found == (Doubt(case="odd", organ="liver", dice=0.6, expected=0.93),)
    assert doubts(scores(*usual)) == ()
    assert doubts(FRAME) == ()


def test_a_label_is_doubted_where_the_model_finds_nothing_of_what_it_learnt() -> None:
    rows = [("a", "training", "vein", 2, "dice", 0.0), ("a", "training", "vein", 2, "expected_dice", None)]
    rows += [("a", "training", "vein", 2, "missed", 1.0), ("b", "training", "vein", 2, "expected_dice", 0.9)]
    assert doubts(scores(*rows)) == (Doubt(case="a", organ="vein", dice=0.0, expected=None),)


def test_worst_median_and_best_are_fewer_where_there_are_few_cases() -> None:
    assert chosen_cases([]) == {}
    assert chosen_cases([("a", 0.5)]) == {"Only": "a"}
    assert chosen_cases([("a", 0.5), ("b", 0.4)]) == {"Worst": "b", "Best": "a"}
