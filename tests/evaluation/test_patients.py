"""Tests of autoseg.evaluation.patients, with scipy's bootstrap as the other implementation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from autoseg.evaluation.patients import total_interval
from autoseg.evaluation.scores import COLUMNS
from autoseg.evaluation.statistics import mean_interval


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
