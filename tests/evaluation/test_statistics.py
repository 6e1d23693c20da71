"""Tests of autoseg.evaluation.statistics, with numbers that can be checked by hand."""

from __future__ import annotations

import math
import random

import numpy as np
import pandas as pd
import pytest

from autoseg.evaluation.intervals import FEWEST, mean_interval
from autoseg.evaluation.statistics import (
    COLUMNS,
    TABLES,
    dice_by_organ,
    dice_table,
    with_misses,
)
from autoseg.report.tables import text_rows

SCORES = ["fold", "case", "split", "organ", "label", "metric", "value", "grid"]


def dice_row(case: str, organ: str, label: int, value: float | None, split: str = "testing") -> list[object]:
    return [0, case, split, organ, label, "dice", value, "original"]


def missed_row(case: str, organ: str, label: int, value: int) -> list[object]:
    return [0, case, "testing", organ, label, "missed", value, "original"]


def frame(*rows: list[object]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=SCORES)


# liver: 0.9, 0.8, 0.7; vein: 0.5, missed in b, absent in c
THREE_CASES = frame(
    dice_row("a", "vein", 2, 0.5),
    dice_row("a", "liver", 1, 0.9),
    dice_row("b", "vein", 2, 0.0),
    dice_row("b", "liver", 1, 0.8),
    dice_row("c", "vein", 2, None),
    dice_row("c", "liver", 1, 0.7),
    *(missed_row(case, "liver", 1, 0) for case in "abc"),
    *(missed_row(case, "vein", 2, int(case == "b")) for case in "abc"),
)


def test_three_cases_by_hand() -> None:
    assert text_rows(dice_table(THREE_CASES, ["testing"])) == [
        # liver: mean of 90, 80, 70; sample deviation sqrt((100 + 0 + 100) / 2) = 10
        ["liver", "80.0", "10.0", "70.0", "90.0", "3", "0", "0"],
        # vein: mean of 50 and 0; sample deviation sqrt((625 + 625) / 1) = 35.36
        ["vein", "25.0", "35.4", "0.0", "50.0", "2", "1", "1"],
        # the mean of each column: (80 + 25) / 2 and so on
        ["Total Avg.", "52.5", "22.7", "35.0", "70.0", "2.5", "0.5", "0.5"],
    ]


def test_the_table_holds_numbers_that_are_not_rounded() -> None:
    table = dice_table(THREE_CASES, ["testing"])
    assert tuple(table.columns) == COLUMNS
    assert table["Std."][1] == pytest.approx(math.sqrt(1250))
    assert table["Std."][2] == pytest.approx((10 + math.sqrt(1250)) / 2)


def test_missed_is_blank_where_it_was_not_measured_and_0_where_it_was() -> None:
    scores = frame(dice_row("a", "liver", 1, 0.9))
    assert text_rows(dice_table(scores, ["testing"]))[0][-1] == ""
    measured = pd.concat([scores, frame(missed_row("a", "liver", 1, 0))])
    assert text_rows(dice_table(measured, ["testing"]))[0][-1] == "0"


def test_one_case_has_no_deviation() -> None:
    rows = text_rows(dice_table(frame(dice_row("a", "liver", 1, 0.9)), ["testing"]))
    assert rows[0] == ["liver", "90.0", "", "90.0", "90.0", "1", "0", ""]
    assert rows[1] == ["Total Avg.", "90.0", "", "90.0", "90.0", "1", "0", ""]


def test_an_organ_that_no_case_has_is_blank_and_leaves_the_total_alone() -> None:
    scores = frame(dice_row("a", "liver", 1, 0.9), dice_row("a", "spleen", 2, None))
    rows = text_rows(dice_table(scores, ["testing"]))
    assert rows[1] == ["spleen", "", "", "", "", "0", "1", ""]
    assert rows[2][:2] == ["Total Avg.", "90.0"]


def test_organs_without_a_case_in_the_split_are_listed() -> None:
    scores = frame(dice_row("a", "liver", 1, 0.9, split="training"))
    rows = text_rows(dice_table(scores, ["testing"]))
    assert rows == [["liver", "", "", "", "", "0", "0", ""], ["Total Avg.", "", "", "", "", "0", "0", ""]]


def test_no_scores_give_no_rows() -> None:
    assert text_rows(dice_table(frame(), ["testing"])) == []
    assert dice_by_organ(frame(), ["testing"]) == {}


def test_validation_cases_are_training_cases_and_testing_cases_are_not() -> None:
    scores = frame(
        dice_row("a", "liver", 1, 0.9, "training"),
        dice_row("b", "liver", 1, 0.7, "validation"),
        dice_row("c", "liver", 1, 0.1, "testing"),
    )
    testing, training = (text_rows(dice_table(scores, table.splits))[0] for table in TABLES)
    assert training == ["liver", "80.0", "14.1", "70.0", "90.0", "2", "0", ""]
    assert testing == ["liver", "10.0", "", "10.0", "10.0", "1", "0", ""]


def test_other_metrics_and_the_working_grid_are_left_out() -> None:
    scores = frame(
        dice_row("a", "liver", 1, 0.9),
        [0, "a", "testing", "liver", 1, "hd95_mm", 4.0, "original"],
        [0, "a", "testing", "liver", 1, "dice", 0.5, "working"],
    )
    assert text_rows(dice_table(scores, ["testing"]))[0][1] == "90.0"
    assert text_rows(dice_table(scores, ["testing"], grid="working"))[0][1] == "50.0"


def test_a_case_of_several_folds_counts_once_with_its_mean() -> None:
    scores = frame(dice_row("a", "liver", 1, 0.9), dice_row("a", "liver", 1, 0.7), dice_row("b", "liver", 1, 0.5))
    scores["fold"] = [0, 1, 0]
    assert text_rows(dice_table(scores, ["testing"]))[0] == ["liver", "65.0", "21.2", "50.0", "80.0", "2", "0", ""]


def test_values_read_as_text_are_numbers() -> None:
    scores = frame(dice_row("a", "liver", 1, 0.9), dice_row("b", "liver", 1, None)).astype({"value": "string"})
    assert text_rows(dice_table(scores, ["testing"]))[0][5:7] == ["1", "1"]


def test_dice_by_organ_keeps_scored_cases_in_label_order() -> None:
    assert dice_by_organ(THREE_CASES, ["testing"]) == {"liver": [0.9, 0.8, 0.7], "vein": [0.5, 0.0]}


DICE = [0.91, 0.88, 0.93, 0.79, 0.90, 0.86, 0.94, 0.89]


def test_of_many_values_it_is_the_mean_and_two_standard_errors() -> None:
    low, high = mean_interval([0.4, 0.6] * 200) or (0.0, 0.0)
    # deviation 0.1, standard error 0.1 / sqrt(400) = 0.005, times 1.97
    assert (low, high) == pytest.approx((0.5 - 0.00985, 0.5 + 0.00985), abs=0.0005)


def test_it_holds_the_mean_and_stays_within_the_values() -> None:
    low, high = mean_interval(DICE) or (0.0, 0.0)
    assert min(DICE) <= low < float(np.mean(DICE)) < high <= max(DICE)


def test_a_higher_level_is_wider() -> None:
    narrow, wide = mean_interval(DICE, 0.8) or (0.0, 0.0), mean_interval(DICE, 0.99) or (0.0, 0.0)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_of_five_values_it_reaches_nearly_as_far_as_they_do() -> None:
    low, high = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0]) or (0.0, 0.0)
    # a t-interval is 3 ± 2.776 · 1.581 / sqrt(5) = 1.04 to 4.96
    assert (low, high) == pytest.approx((1.04, 4.96), abs=0.4)


def test_the_order_of_the_cases_does_not_matter() -> None:
    shuffled = random.Random(1).sample(DICE, len(DICE))
    assert mean_interval(shuffled) == mean_interval(DICE) == mean_interval(DICE)


def test_a_change_of_sign_turns_it_over() -> None:
    low, high = mean_interval(DICE) or (0.0, 0.0)
    assert mean_interval([-v for v in DICE]) == pytest.approx((-high, -low), abs=1e-12)


def test_undefined_values_are_left_out() -> None:
    assert mean_interval([*DICE, math.nan]) == mean_interval(DICE)


@pytest.mark.parametrize(
    "values", [[], [0.9], DICE[: FEWEST - 1], [0.9] * 20, [0.1 + 0.2, *[0.3] * 8], [0.0] * 9, [math.nan] * 9]
)
def test_it_is_none_where_it_says_nothing(values: list[float]) -> None:
    assert mean_interval(values) is None


def test_intervals_of_differences_hold_the_true_mean_as_often_as_they_say() -> None:
    draw = np.random.default_rng(0)
    found = [mean_interval([float(v) for v in draw.normal(0.0, 1.0, 10)]) or (0.0, 0.0) for _ in range(300)]
    held = sum(low <= 0.0 <= high for low, high in found)
    assert 0.91 <= held / 300 <= 0.98


def test_an_organ_that_was_predicted_elsewhere_only_is_missed() -> None:
    values = {"elsewhere": (0.0, 5.0, 0), "absent": (0.0, 5.0, 1), "found": (0.4, 5.0, 0), "invented": (0.0, 0.0, 0)}
    rows = [
        [0, case, "testing", "mandible", 1, metric, value, "original"]
        for case, numbers in values.items()
        for metric, value in zip(("dice", "truth_ml", "missed"), numbers, strict=True)
    ]
    scores = pd.DataFrame(rows, columns=SCORES)
    assert dice_table(scores, ("testing",))["Missed"].to_list() == [2.0, 2.0]
    told = with_misses(scores)
    assert told[told["metric"] == "missed"].set_index("case")["value"].to_dict() == {
        "elsewhere": 1, "absent": 1, "found": 0, "invented": 0,
    }  # fmt: skip
    pd.testing.assert_frame_equal(with_misses(told), told)
