"""Tests of autoseg.evaluation.cases: the labels that the model doubts, and the cases to show."""

from __future__ import annotations

import pandas as pd

from autoseg.evaluation.cases import Doubt, chosen_cases, doubts
from autoseg.evaluation.scores import COLUMNS


def scores(*rows: tuple[str, str, str, int, str, float | None]) -> pd.DataFrame:
    """Long scores from (case, split, organ, label, metric, value)."""
    return pd.DataFrame([[0, *row, "original"] for row in rows], columns=list(COLUMNS))


def test_a_label_is_doubted_where_the_model_is_sure_and_contradicts_it() -> None:
    usual = [(f"case{n}", "training", "liver", 1, "dice", 0.90 + 0.001 * n) for n in range(10)]
    usual += [(f"case{n}", "training", "liver", 1, "expected_dice", 0.92 + 0.001 * (n % 2)) for n in range(10)]
    odd = [("odd", "training", "liver", 1, "dice", 0.6), ("odd", "training", "liver", 1, "expected_dice", 0.93)]
    unsure = [("hard", "training", "liver", 1, "dice", 0.6), ("hard", "training", "liver", 1, "expected_dice", 0.62)]
    seen = [(case, split, *rest) for case, _, *rest in odd for split in ("testing", "validation")]
    found = doubts(scores(*usual, *odd, *unsure, *seen))
    assert found == (Doubt(case="odd", organ="liver", dice=0.6, expected=0.93),)
    assert doubts(scores(*usual)) == ()
    assert doubts(scores(("a", "training", "liver", 1, "dice", 0.1))) == ()  # without what it expects


def test_a_label_is_doubted_where_the_model_finds_nothing_of_what_it_learnt() -> None:
    rows = [("a", "training", "vein", 2, "dice", 0.0), ("a", "training", "vein", 2, "expected_dice", None)]
    rows += [("a", "training", "vein", 2, "missed", 1.0), ("b", "training", "vein", 2, "expected_dice", 0.9)]
    assert doubts(scores(*rows)) == (Doubt(case="a", organ="vein", dice=0.0, expected=None),)


def test_worst_median_and_best_are_fewer_where_there_are_few_cases() -> None:
    assert chosen_cases([]) == {}
    assert chosen_cases([("a", 0.5)]) == {"Only": "a"}
    assert chosen_cases([("a", 0.5), ("b", 0.4)]) == {"Worst": "b", "Best": "a"}


def test_a_model_that_expects_the_same_of_all_cases_doubts_no_label() -> None:
    rows = [(f"case{n}", "training", "liver", 1, "dice", 0.9 - 0.5 * (n == 0)) for n in range(10)]
    rows += [(f"case{n}", "training", "liver", 1, "expected_dice", 0.9) for n in range(10)]
    assert doubts(scores(*rows)) == ()
