"""Tests of autoseg.evaluation.subgroups, with scipy's permutation test as the other implementation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from report_content import scores
from scipy import stats

from autoseg.evaluation import subgroups as module
from autoseg.evaluation.subgroups import gaps, grouped, permutation_p, subgroups

DICE = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
FRAME = scores(*((f"c{n}", "testing", "liver", 1, dice) for n, dice in enumerate(DICE)))
CASES = [f"c{n}" for n in range(6)]
MORE = scores(*((f"c{n}", "testing", "liver", 1, dice) for n, dice in enumerate([*DICE, 0.3])))


def column(*values: object) -> pd.DataFrame:
    return pd.DataFrame({"x": values}, index=CASES)


def test_few_values_are_groups_and_many_numbers_are_cut_at_their_median() -> None:
    ages = pd.DataFrame({"age": [str(n) for n in range(40, 48)]}, index=[f"c{n}" for n in range(8)])
    assert list(grouped(ages)["age"]) == ["up to 43.5"] * 4 + ["above 43.5"] * 4
    noisy = pd.DataFrame({"edge": [0.05, 0.06, 0.07, 0.08, 0.1 + 0.2, 0.5, 0.6, 0.7, 0.8]})  # 0.30000000000000004
    assert set(grouped(noisy)["edge"]) == {"up to 0.3", "above 0.3"}
    assert list(grouped(column(5.0, 5.0, 2.5, 2.5, 2.5, None))["x"].dropna()) == ["5", "5", "2.5", "2.5", "2.5"]
    sites = grouped(column(1000001, 1000002, 1000003, 1000001, 1000002, 20230101))["x"]
    assert list(sites) == ["1000001", "1000002", "1000003", "1000001", "1000002", "20230101"]
    assert grouped(column("a", "a", "a", "a", "a", "a")).empty  # one group
    ages["age"] = ["NA", "n/a", *(str(n) for n in range(40, 46))]  # as R and pandas write what is not known
    assert list(grouped(ages)["age"].dropna()) == ["40", "41", "42", "43", "44", "45"]
    assert set(grouped(column("F", "M", "F", "M", "NA", "unknown"))["x"].dropna()) == {"F", "M"}
    assert grouped(pd.DataFrame({"id": list("abcdefgh")})).empty  # a text of each case


def test_a_group_has_its_patients_mean_and_lowest() -> None:
    patients = {"c0": "p", "c1": "p"}
    assert subgroups(
        FRAME, ["testing"], column("F", "F", "F", "F", "M", "M"), patients
    ).empty  # two are persons, no group
    table = subgroups(FRAME, ["testing"], column("F", "F", "F", "M", "M", "M"), {})
    assert table.iloc[:, [0, 1]].to_numpy().tolist() == [["x: F", 3], ["x: M", 3]]
    groups = pd.DataFrame({"x": list("FFFFMMM")}, index=[*CASES, "c6"])
    table = subgroups(MORE, ["testing"], groups, patients)
    assert table.iloc[:, [0, 1]].to_numpy().tolist() == [["x: F", 3], ["x: M", 3]]
    assert table.loc[0, "Mean Dice (%)"] == pytest.approx((85 + 70 + 60) / 3)
    assert table.loc[0, "Lowest (%)"] == pytest.approx(60)


def test_the_worst_gap_has_its_permutation_p() -> None:
    table = gaps(FRAME, ["testing"], column("F", "F", "F", "M", "M", "M"), {})
    assert table.loc[0, ["Highest", "Lowest"]].tolist() == ["F", "M"]
    assert table["Gap (points)"][0] == pytest.approx(30)
    assert table["p"][0] == pytest.approx(2 / 20, abs=0.01)  # 2 of the 20 ways to halve six patients
    assert gaps(FRAME, ["testing"], column("F", "F", "M", "M", "M", "M"), {}).empty  # two patients are no group


def test_p_is_corrected_for_the_number_of_columns() -> None:
    both = pd.DataFrame({"x": ["F"] * 3 + ["M"] * 3, "y": ["1", "2"] * 3}, index=CASES)
    table = gaps(FRAME, ["testing"], both, {}).set_index("Characteristic")
    assert table["p (Holm)"]["x"] == pytest.approx(2 * table["p"]["x"])
    assert table["p (Holm)"]["y"] == pytest.approx(table["p"]["y"])


def test_p_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    groups = [rng.normal(0.8, 0.05, 9), rng.normal(0.84, 0.05, 7), rng.normal(0.82, 0.05, 8)]
    oracle = stats.permutation_test(
        groups, lambda *parts: np.ptp([part.mean() for part in parts]), n_resamples=4000, alternative="greater",
        permutation_type="independent", vectorized=False, rng=np.random.default_rng(2),
    )  # fmt: skip
    found = permutation_p(np.concatenate(groups), np.repeat([0, 1, 2], [9, 7, 8]))
    assert found == pytest.approx(oracle.pvalue, abs=0.03)


def test_p_is_the_same_in_however_many_parts_patients_are_permuted(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(1)
    values, codes = draw.normal(size=15), np.arange(15) % 3
    whole = permutation_p(values, codes)
    monkeypatch.setattr(module, "BLOCK", 15 * 700)  # 700 permutations at a time
    assert permutation_p(values, codes) == whole
