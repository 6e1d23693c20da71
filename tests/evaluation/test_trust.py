"""Tests of autoseg.evaluation.trust: numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from report_content import SCORES
from scipy import stats

from autoseg.evaluation.trust import case_pairs, coverage, expected_dice, risks


def frame(*rows: tuple[str, str, int, float, float | None]) -> pd.DataFrame:
    """Long scores of testing cases from (case, organ, label, Dice, expected Dice)."""
    return pd.DataFrame(
        [
            [0, case, "testing", organ, label, metric, value, "original"]
            for case, organ, label, dice, expected in rows
            for metric, value in (("dice", dice), ("expected_dice", expected))
        ],
        columns=SCORES,
    )


FRAME = frame(
    ("a", "liver", 1, 0.90, 0.80), ("a", "vein", 2, 0.70, 0.80),
    ("b", "liver", 1, 0.50, 0.60), ("b", "vein", 2, 0.00, None),
)  # fmt: skip


def test_the_error_of_the_expected_dice_by_hand() -> None:
    liver, vein, total = expected_dice(FRAME, ["testing"]).to_numpy().tolist()
    assert liver[:2] == ["liver", 2]
    assert liver[2:6] == pytest.approx([70, 70, 0, 10])
    assert vein[:2] == ["vein", 1]  # it was not found in b, and nothing is expected of what is not there
    assert vein[2:6] == pytest.approx([80, 70, 10, 10])
    assert total[:2] == ["Mean over organs", 2]
    assert total[2:6] == pytest.approx([75, 70, 5, 10])


def test_cases_are_ranked_by_what_the_model_expects() -> None:
    pairs = case_pairs(FRAME, ["testing"])
    assert list(pairs.index) == ["a", "b"]
    assert list(pairs["dice"]) == pytest.approx([0.8, 0.25])
    assert list(pairs["expected"]) == pytest.approx([0.8, 0.6])


def test_coverage_and_risk_by_hand() -> None:
    dice = [0.9, 0.9, 0.8, 0.8, 0.7, 0.7, 0.6, 0.6, 0.5, 0.5]
    pairs = pd.DataFrame({"expected": dice, "dice": dice})
    table = coverage(pairs)
    assert list(table["Cases"]) == [10, 9, 8, 7, 5]
    assert list(table["Mean Dice (%)"]) == pytest.approx([70, 650 / 9, 75, 540 / 7, 82])
    assert list(table["Lowest Dice (%)"]) == pytest.approx([50, 50, 60, 60, 70])
    assert coverage(pairs.iloc[:1]).empty
    assert risks(np.array([0.9, 0.7, 0.5])) == pytest.approx([0.1, 0.2, 0.3])


def test_a_model_that_expects_the_same_of_all_ranks_no_case() -> None:
    pairs = pd.DataFrame({"expected": [0.8] * 10, "dice": np.linspace(0.5, 0.9, 10)})
    assert coverage(pairs).empty
    flat = frame(*((f"c{n}", "liver", 1, 0.5 + n / 20, 0.8) for n in range(8)))
    row = expected_dice(flat, ["testing"]).iloc[0]
    assert np.isnan(row["Spearman's ρ"])
    assert row["95 % CI of ρ"] == ""


def test_the_rank_correlation_by_hand() -> None:
    # ranks 1 2 3 4 5 6 against 2 1 3 4 5 6: 1 - 6 · 2 / (6 · 35) = 0.943; ends tanh(1.765 ± 1.96 · 0.694)
    dice = [0.52, 0.51, 0.53, 0.54, 0.55, 0.56]
    cases = frame(*((f"c{n}", "liver", 1, value, 0.5 + n / 20) for n, value in enumerate(dice)))
    row = expected_dice(cases, ["testing"]).iloc[0]
    assert row["Spearman's ρ"] == pytest.approx(1 - 12 / 210)
    assert row["95 % CI of ρ"] == "0.38 to 1.00"


def test_cases_are_ranked_by_the_means_over_their_organs_as_scipy_ranks_them() -> None:
    rng = np.random.default_rng(3)
    true, far = rng.uniform(0.4, 0.95, (20, 2)), rng.normal(0, 0.1, (20, 2))
    organs = ((0, "liver"), (1, "vein"))
    rows = [(f"c{n}", name, k + 1, true[n, k], true[n, k] + far[n, k]) for n in range(20) for k, name in organs]
    rows[0] = ("c0", "liver", 1, 0.0, None)  # not found: nothing is expected of it, and its Dice counts
    total = expected_dice(frame(*rows), ["testing"]).iloc[-1]
    expected, dice = (true + far).mean(axis=1), true.mean(axis=1)
    expected[0], dice[0] = true[0, 1] + far[0, 1], true[0, 1] / 2
    rho = stats.spearmanr(expected, dice).statistic
    ends = np.tanh(np.arctanh(rho) + np.array([-1.96, 1.96]) * np.sqrt((1 + rho**2 / 2) / 17))
    assert total["N"] == 20
    assert total["Spearman's ρ"] == pytest.approx(rho)
    told = [float(end.replace("−", "-")) for end in total["95 % CI of ρ"].split(" to ")]
    assert told == pytest.approx(ends, abs=0.005)
