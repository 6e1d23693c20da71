"""Tests of autoseg.evaluation.beside: tables worked by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from report_content import scores

from autoseg.evaluation.beside import Scored, external, observers, seeds
from autoseg.evaluation.intervals import patient_intervals

OWN = scores(
    ("a", "testing", "liver", 1, 0.9), ("b", "testing", "liver", 1, 0.8), ("c", "testing", "liver", 1, 0.7),
    ("a", "testing", "vein", 2, 0.5), ("t", "training", "liver", 1, 1.0),
)  # fmt: skip


def test_readers_are_compared_on_the_cases_that_both_have() -> None:
    readers = scores(
        ("a", "testing", "Liver", 7, 0.95), ("b", "testing", "Liver", 7, 0.93), ("t", "testing", "Liver", 7, 0.9)
    )
    (row,) = observers(OWN, readers, ["testing"]).to_numpy().tolist()
    assert row[:2] == ["liver", 2]
    assert row[2:5] == pytest.approx([85, 94, -9])
    assert row[5] == ""  # two cases are too few for an interval


def test_other_datasets_stand_below_the_runs_own_cases() -> None:
    other = scores(("x", "testing", "liver", 1, 0.6), ("y", "testing", "liver", 1, 0.4))
    table = external(Scored(scores=OWN), {"hospital B": Scored(scores=other)}, ["testing"])
    assert table.iloc[:, :4].to_numpy().tolist() == [
        ["liver", "this run", 3, pytest.approx(80)],
        ["liver", "hospital B", 2, pytest.approx(50)],
        ["vein", "this run", 1, pytest.approx(50)],
    ]
    assert table["SD"].to_list()[1] == pytest.approx(100 * np.sqrt(0.02))
    assert external(Scored(scores=OWN), {}, ["testing"]).empty


def test_several_scans_of_a_patient_are_not_independent() -> None:
    dice = (0.95, 0.92, 0.9, 0.7, 0.6, 0.4)  # of six patients, three scans each, nearly alike
    names = {f"{person}{scan}": f"p{person}" for person in range(6) for scan in range(3)}
    own = scores(*((name, "testing", "liver", 1, dice[int(name[0])] + 0.001 * int(name[1])) for name in names))
    by_patient, by_case = external(Scored(scores=own, patients=names), {"B": Scored(scores=own)}, ["testing"])[
        "95 % CI"
    ]
    (expected,) = patient_intervals(pd.DataFrame({1: own.set_index("case")["value"]}) * 100, names)
    assert by_patient == f"{expected[0]:.1f} to {expected[1]:.1f}"
    ends = [[float(end) for end in text.split(" to ")] for text in (by_patient, by_case)]
    assert ends[0][1] - ends[0][0] > 1.5 * (ends[1][1] - ends[1][0])


def test_the_spread_over_seeds_is_that_of_their_means() -> None:
    again = OWN.assign(value=OWN["value"] - 0.06)
    table = seeds([OWN, again], ["testing"]).set_index("Organ")
    assert table.loc["liver"].tolist() == pytest.approx([2, 77, np.std([80, 74], ddof=1), 74, 80])
    assert table.loc["Mean over organs", "Mean Dice (%)"] == pytest.approx((77 + 47) / 2)
    assert seeds([OWN], ["testing"]).empty
