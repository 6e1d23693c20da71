"""Tests of autoseg.report.pictures: which cases get a picture."""

from __future__ import annotations

from report_content import scores

from autoseg.report.pictures import MOST_CASES, _sample


def test_of_very_many_cases_the_worst_the_best_and_some_by_chance_are_drawn() -> None:
    testing = [(f"t{n:03d}", "testing", "liver", 1, n / 200) for n in range(200)]
    training = [(f"a{n:03d}", "training", "liver", 1, 0.0) for n in range(300)]
    names = [row[0] for row in (*training, *testing)]
    chosen = _sample(names, scores(*training, *testing))
    assert len(chosen) == len(set(chosen)) == MOST_CASES
    assert {f"t{n:03d}" for n in range(30)} <= set(chosen)
    assert {f"t{n:03d}" for n in range(190, 200)} <= set(chosen)
    assert chosen == [name for name in names if name in set(chosen)]
    assert any(name.startswith("a") for name in chosen)
