"""Tests of autoseg.evaluation.freshness: which scores are up to date."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from pathlib import Path

import made
import pytest

from autoseg.dataset.load import Case
from autoseg.evaluation import evaluate
from autoseg.evaluation.freshness import ScoreJournal
from autoseg.inference.model import Model
from autoseg.inference.stage import Stage
from autoseg.run import FoldFolder

ROWS = [{"fold": 0, "case": "a", "organ": "liver", "metric": "dice", "value": 0.1 + 0.2}]


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    file = tmp_path / "a.nii.gz"
    file.write_bytes(b"mask")
    return file


def test_the_rows_of_a_case_come_back_unchanged_while_its_inputs_are_the_same(tmp_path: Path, mask: Path) -> None:
    ScoreJournal(tmp_path / "kept").append("a", "model 1", mask, [*ROWS, {"value": math.nan}, {"value": None}])
    journal = ScoreJournal(tmp_path / "kept")
    rows = journal.rows("a", "model 1", mask)
    assert rows is not None
    assert rows[0] == ROWS[0]
    assert math.isnan(rows[1]["value"])
    assert rows[2] == {"value": None}
    assert journal.rows("a", "model 2", mask) is None
    assert journal.rows("b", "model 1", mask) is None


def test_a_missing_or_edited_mask_is_predicted_again(tmp_path: Path, mask: Path) -> None:
    journal = ScoreJournal(tmp_path / "kept")
    journal.append("a", "model", mask, ROWS)
    mask.write_bytes(b"edited")
    assert journal.rows("a", "model", mask) is None
    journal.append("a", "model", mask, ROWS)
    assert journal.rows("a", "model", mask) == ROWS
    mask.unlink()
    assert journal.rows("a", "model", mask) is None


@pytest.mark.parametrize(("cut", "left"), [(9, ["a", "c"]), (1, ["a", "b", "c"])])
def test_a_line_that_was_cut_costs_its_own_case_alone(tmp_path: Path, mask: Path, cut: int, left: list[str]) -> None:
    file = tmp_path / "kept"
    for case in ("a", "b"):
        ScoreJournal(file).append(case, "model", mask, ROWS)
    file.write_bytes(file.read_bytes()[:-cut])  # as by a kill while it was written
    ScoreJournal(file).append("c", "model", mask, ROWS)
    journal = ScoreJournal(file)
    assert [case for case in "abc" if journal.rows(case, "model", mask)] == left


def test_older_lines_of_a_case_are_dropped_from_the_file(tmp_path: Path, mask: Path) -> None:
    file = tmp_path / "kept"
    for model in ("one", "two", "three"):
        ScoreJournal(file).append("a", model, mask, ROWS)
    assert ScoreJournal(file).rows("a", "three", mask) == ROWS
    assert len(file.read_text().splitlines()) == 1


def test_whatever_decides_on_the_scores_of_a_case_makes_it_be_scored_again(tmp_path: Path) -> None:
    (case,), label = made.easy_cases(tmp_path / "cache", 1), tmp_path / "label.nii.gz"
    label.write_bytes(b"label")
    usual = evaluate._Evaluation(
        model=Model(stages=(Stage(networks=(), plan=made.plan(precision="float32")),), trained_on=frozenset()),
        runs=(("cpu", False),),
        digest="weights",
        dataset={case.id: Case(id=case.id, images=(), label=label, patient=case.id)},
        fold=0,
        files=FoldFolder(tmp_path),
        tolerance_mm=2.0,
        journal=ScoreJournal(tmp_path / "kept"),
    )
    found = [
        usual.sources(case, "testing"),
        usual.sources(case, "training"),
        usual.sources(replace(case, source_digest="another image"), "testing"),
        usual.sources(replace(case, plan_digest="another grid"), "testing"),
        replace(usual, digest="other weights").sources(case, "testing"),
        replace(usual, tolerance_mm=3.0).sources(case, "testing"),
        replace(usual, runs=(("cpu", True),)).sources(case, "testing"),
    ]
    assert usual.sources(case, "testing") == found[0]
    label.write_bytes(b"corrected label")
    found.append(usual.sources(case, "testing"))
    assert len(set(found)) == len(found)


def test_the_rows_of_a_journal_stay_in_its_file(tmp_path: Path, mask: Path) -> None:
    journal = ScoreJournal(tmp_path / "kept")
    for number in range(30):
        journal.append(f"case {number}", "model", mask, ROWS * 100, ROWS * 10)
    for one in (journal, ScoreJournal(tmp_path / "kept")):
        assert len(pickle.dumps(vars(one))) < 30 * 50
        assert one.scored("case 17") == ROWS * 100
        assert one.reliability("case 17") == ROWS * 10
        assert one.scored("another") == []
