"""Tests of autoseg.evaluation.beside: tables worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from report_content import scores

from autoseg.evaluation.beside import external, observers, seeds

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
    table = external(OWN, {"hospital B": other}, ["testing"])
    assert table.iloc[:, :4].to_numpy().tolist() == [
        ["liver", "this run", 3, pytest.approx(80)],
        ["liver", "hospital B", 2, pytest.approx(50)],
        ["vein", "this run", 1, pytest.approx(50)],
    ]
    assert table["SD"].to_list()[1] == pytest.approx(100 * np.sqrt(0.02))
    assert external(OWN, {}, ["testing"]).empty


def test_the_spread_over_seeds_is_that_of_their_means() -> None:
    again = OWN.assign(value=OWN["value"] - 0.06)
    table = seeds([OWN, again], ["testing"]).set_index("Organ")
    assert table.loc["liver"].tolist() == pytest.approx([2, 77, np.std([80, 74], ddof=1), 74, 80])
    assert table.loc["Mean over organs", "Mean Dice (%)"] == pytest.approx((77 + 47) / 2)
    assert seeds([OWN], ["testing"]).empty
