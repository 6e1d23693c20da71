"""Tests of autoseg.report.summary: the first sentences of a report."""

from __future__ import annotations

import pandas as pd
from report_content import scores

from autoseg.evaluation.statistics import total_interval
from autoseg.report.summary import summary_of

TEN = scores(*((f"c{n}", "testing", "liver", 1, 0.80 + n / 100) for n in range(10)))


def test_the_first_sentence_has_the_number_and_the_interval() -> None:
    interval = total_interval(TEN, ["testing"], {})
    assert interval is not None
    low, high = (f"{100 * end:.1f}" for end in interval)
    assert summary_of(TEN)[0] == (
        "In 10 cases that the model has not seen, the mean Dice of liver is 84.5 % "
        f"(95 % confidence interval {low} to {high} %)."
    )
    assert 82.0 < float(low) < 84.5 < float(high) < 87.0


def test_cases_of_one_patient_are_one_patient() -> None:
    patients = {f"c{n}": f"p{n // 5}" for n in range(10)}
    assert summary_of(TEN, patients)[0] == (
        "In two patients that the model has not seen (10 testing cases), the mean Dice of liver is 84.5 %; two "
        "patients are too few for a confidence interval."
    )


def test_the_training_cases_come_second_and_are_named_so() -> None:
    both = summary_of(scores(("a", "testing", "liver", 1, 0.5), ("b", "validation", "liver", 1, 0.9)))
    assert both[1] == (
        "In 1 training or validation case, with which the model was made, the mean Dice of liver is 90.0 %."
    )


def test_organs_that_are_drawn_too_large_are_named_with_the_interval() -> None:
    volumes = TEN.assign(metric="volume_difference_ml", value=[1.0, 1.2, 0.8, 1.1, 0.9] * 2)
    text = summary_of(pd.concat([TEN, volumes]))[0]
    assert "On average drawn too large: liver by 1.00 ml (95 % CI +0.90 to +1.11)." in text
    true = TEN.assign(metric="truth_ml", value=4.0)
    assert "liver by 25 %, 1.00 ml (95 % CI" in summary_of(pd.concat([TEN, volumes, true]))[0]
    even = volumes.assign(value=[1.0, -1.2, 0.8, -1.1, 0.5] * 2)
    assert "drawn" not in summary_of(pd.concat([TEN, even]))[0]


def test_of_very_many_missed_organs_the_first_are_named() -> None:
    many = scores(*(("a", "testing", f"organ {n}", n, 0.0) for n in range(1, 21)))
    missed = many.assign(metric="missed", value=1)
    text = summary_of(pd.concat([many, missed]))[0]
    assert text.endswith("organ 8 in 1 of 1, and 12 more organs.")
