"""Tests of autoseg.report.limits: what a run says that its numbers cannot show."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
from report_content import scores

from autoseg.dataset.split import Split
from autoseg.evaluation.records import EDGE, PATIENT, SCANNER
from autoseg.report.limits import limits
from autoseg.report.review import Evidence

CASES = tuple(f"c{n}" for n in range(6))
SCORES = scores(
    *((case, "testing", "liver", 1, 0.8 + n / 100) for n, case in enumerate(CASES)),
    ("c0", "testing", "cyst", 2, 0.4),
)
EVIDENCE = Evidence(
    scores=SCORES,
    records=pd.DataFrame({PATIENT: ["p", "p", *CASES[2:]]}, index=CASES),
    splits=(Split(training=("a",), validation=("b",), testing=CASES),),
    check=(),
    excluded=(),
)


def test_a_plain_run_knows_its_limits() -> None:
    text = " ".join(limits(EVIDENCE))
    assert "All 5 patients tested are of the dataset that the model learnt from" in text
    assert "Fewer than 5 testing patients have cyst: too few" in text
    assert "Scanners are not known" in text
    assert "divided once" in text
    assert "one reference only" in text
    assert "working grid" not in text


def test_a_training_that_was_short_or_still_gained_is_a_limit() -> None:
    text = " ".join(limits(replace(EVIDENCE, iterations=536, late_gain=0.0234)))
    assert "The training was short: 536 iterations, and plans aim at 2000 or more." in text
    assert "still rose by 2.3 points over the last fifth" in text
    text = " ".join(limits(replace(EVIDENCE, iterations=2000, late_gain=0.004)))
    assert "short" not in text
    assert "still rose" not in text


def test_what_was_done_is_no_limit() -> None:
    fold = EVIDENCE.splits[0]
    records = EVIDENCE.records.assign(**{SCANNER: ["one", "other"] * 3})
    done = replace(
        EVIDENCE, records=records, splits=(fold, fold), externals={"other site": SCORES}, repetitions=(SCORES,),
        readers=SCORES, stress=pd.DataFrame({"dice": [0.5]}),
    )  # fmt: skip
    text = " ".join(limits(done))
    assert "external testing: other site" in text
    assert "training cases overlap" in text
    assert not any(words in text for words in ("seeds", "Scanners", "one reference", "not tried", "divided once"))


def test_a_coarse_grid_is_named_with_what_it_costs() -> None:
    ceilings = SCORES.assign(metric="ceiling_dice", value=[0.97] * 6 + [0.995])
    text = " ".join(limits(replace(EVIDENCE, scores=pd.concat([SCORES, ceilings]))))
    assert "The working grid alone costs points of Dice, whatever the network: liver 3.0." in text


def test_a_tolerance_below_the_voxels_is_told() -> None:
    surfaces = SCORES.assign(metric="nsd_2mm")
    records = EVIDENCE.records.assign(**{EDGE: [1.0, 2.0, 2.5, 3.0, 4.0, 2.0]})
    seen = replace(EVIDENCE, records=records, scores=pd.concat([SCORES, surfaces]))
    assert "NSD at 2 mm is narrower than the longest edge of a voxel in 3 of 6 testing cases" in " ".join(limits(seen))
    fine = replace(seen, records=EVIDENCE.records.assign(**{EDGE: 2.0}))
    assert "NSD" not in " ".join(limits(fine))


def test_a_model_that_ranks_no_case_says_so() -> None:
    expected = SCORES.assign(metric="expected_dice", value=0.8)
    text = " ".join(limits(replace(EVIDENCE, scores=pd.concat([SCORES, expected]))))
    assert "it expects the same Dice of all, 80.0 %" in text


def test_a_dataset_without_patients_says_so() -> None:
    records = EVIDENCE.records.assign(**{PATIENT: CASES})
    text = " ".join(limits(replace(EVIDENCE, records=records)))
    assert "The dataset names no patients" in text
    assert "All 6 cases tested" in text


def test_before_testing_cases_are_scored_nothing_is_said() -> None:
    assert limits(replace(EVIDENCE, scores=SCORES.assign(split="training"))) == ()
