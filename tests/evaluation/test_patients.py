"""Tests of autoseg.evaluation.intervals by patient, by hand and with scipy's bootstrap as the other implementation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from autoseg.evaluation.intervals import mean_interval, patient_intervals
from autoseg.evaluation.scores import COLUMNS
from autoseg.evaluation.statistics import statistics, total_interval


def dice(values: dict[str, list[float | None]]) -> pd.DataFrame:
    """Long scores of testing cases c0, c1, … from organ to a Dice a case."""
    rows = [
        [0, f"c{case}", "testing", organ, label, "dice", value, "original"]
        for label, (organ, numbers) in enumerate(values.items(), start=1)
        for case, value in enumerate(numbers)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def test_of_one_organ_and_one_case_a_patient_it_is_the_interval_of_the_mean() -> None:
    values = [0.5, 0.62, 0.7, 0.71, 0.8, 0.83, 0.9]
    assert total_interval(dice({"liver": list(values)}), ["testing"], {}) == pytest.approx(
        mean_interval(values), abs=0.005
    )


def test_cases_of_one_patient_are_drawn_together_as_scipy_draws_patients() -> None:
    patients = {f"c{n}": f"p{n // 2}" for n in range(12)}
    values = [0.5, 0.5, 0.9, 0.9, 0.6, 0.6, 0.7, 0.7, 0.8, 0.8, 0.65, 0.65]
    of_patients = total_interval(dice({"liver": list(values)}), ["testing"], patients)
    assert of_patients is not None
    wider = np.sqrt(6 / 5) * stats.t.ppf(0.975, 5)
    oracle = stats.bootstrap(
        (np.array(values[::2]),), np.mean, method="percentile", confidence_level=1 - 2 * stats.norm.sf(wider),
        rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert of_patients == pytest.approx((oracle.low, oracle.high), abs=0.01)
    alone = total_interval(dice({"liver": list(values)}), ["testing"], {})
    assert alone is not None
    assert of_patients[1] - of_patients[0] > 1.3 * (alone[1] - alone[0])  # twelve cases that are six


def test_an_organ_weighs_the_same_in_however_many_cases_it_is() -> None:
    values: dict[str, list[float | None]] = {
        "liver": [0.9, 0.91, 0.92, 0.93, 0.94, 0.95], "cyst": [0.1, None, None, 0.11, 0.12, None],
    }  # fmt: skip
    interval = total_interval(dice(values), ["testing"], {})
    assert interval is not None
    middle = (np.mean([0.9, 0.91, 0.92, 0.93, 0.94, 0.95]) + 0.11) / 2  # not the mean over cases, 0.65
    assert interval[0] < middle < interval[1] < 0.55


@pytest.mark.parametrize("values", [[0.9, 0.8, 0.7, 0.6], [0.9] * 6])
def test_few_patients_and_equal_ones_have_no_interval(values: list[float | None]) -> None:
    assert total_interval(dice({"liver": values}), ["testing"], {}) is None


def test_a_patient_with_four_cases_by_hand() -> None:
    # Patient p has four cases with a Dice of 0, four others one each with 1. If k of five patients drawn are p, the
    # mean is (5 - k) / (5 - k + 4 k). The ends lie at 0.1 % and 99.9 %: 2.5 % widened by t = 2.776 and root of 5 / 4.
    # All five are p in 0.03 % of the draws, four in 0.64 %, none in 33 %: the ends are 1 / 17 and 1.
    patients = {f"c{n}": "p" for n in range(4)}
    scores = dice({"liver": [0.0] * 4 + [1.0] * 4})
    row = statistics(scores, ["testing"], "original", patients).iloc[0]
    assert (row["n"], row["mean"]) == (8, 0.5)
    assert (row["ci95_low"], row["ci95_high"]) == pytest.approx((1 / 17, 1.0))
    assert total_interval(scores, ["testing"], patients) == pytest.approx((1 / 17, 1.0))
    alone = statistics(scores, ["testing"]).iloc[0]
    assert alone["ci95_low"] > 1 / 17  # eight patients


def test_the_columns_of_a_table_have_the_intervals_that_each_has_alone() -> None:
    numbers = np.random.default_rng(0).normal(0.8, 0.1, (40, 300))
    numbers[::3, 5] = np.nan
    numbers[:36, 7] = np.nan
    frame = pd.DataFrame(numbers, index=[f"c{n}" for n in range(40)])
    every = patient_intervals(frame, {})
    for column in (0, 5, 299):
        assert every[column] == pytest.approx(mean_interval(list(frame[column])), abs=0.006)
    assert np.isnan(every[7]).all()  # four patients are too few
    assert patient_intervals(frame[[5]], {}) == [every[5]]


def test_many_patients_are_drawn_some_at_a_time_with_the_same_interval() -> None:
    values = np.random.default_rng(0).normal(0.8, 0.1, 3000)
    ((low, high),) = patient_intervals(pd.DataFrame({"liver": values}), {})
    error = values.std() / 3000**0.5
    assert (low, high) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.15 * error)
