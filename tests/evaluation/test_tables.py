"""Tests of autoseg.evaluation.tables: all folds stand in the tables, whatever becomes of them meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from autoseg.evaluation import tables
from autoseg.evaluation.freshness import ScoreJournal
from autoseg.evaluation.reliability import read_reliability
from autoseg.evaluation.scores import Row, read_scores, write_scores
from autoseg.evaluation.tables import EvaluatedFold, Tables
from autoseg.run import Run

SCORE: Row = {"organ": "liver", "label": 1, "metric": "dice", "value": 0.5, "grid": "original"}
BIN: Row = {"organ": "liver", "label": 1, "bin": 2, "voxels": 3, "true_voxels": 1, "probability": 0.25}


def evaluated(folder: Path, fold: int) -> EvaluatedFold:
    """A fold with a testing case, which was predicted first, and a training case."""
    (mask := folder / "mask").write_bytes(b"mask")
    journal = ScoreJournal(folder / f"journal {fold}")
    cases = [("testing", "001"), ("training", "002")]
    for side, case in cases:
        about = {"fold": fold, "case": case, "split": side}
        journal.append(case, "sources", mask, [{**about, **SCORE}], [{**about, **BIN}])
    return EvaluatedFold(journal=journal, cases=cases)


def edited(file: Path) -> None:
    """Edit a cell so that the size stays."""
    file.write_text(file.read_text().replace("0.5", "0.9").replace("0.25", "0.95"))
    os.utime(file, ns=(0, 0))


@pytest.mark.parametrize(
    "change",
    [lambda file: None, Path.unlink, edited, lambda file: file.write_text("fold,case\n")],
    ids=["none", "removed", "edited", "replaced"],
)
def test_all_folds_stand_in_the_tables_whatever_became_of_them(tmp_path: Path, change: Callable[[Path], None]) -> None:
    run = Run(tmp_path)
    run.scores_file.write_text("of an earlier evaluation")
    writer = Tables(run)
    writer.add(evaluated(tmp_path, 0))
    for file in (run.scores_file, run.reliability_file):
        change(file)
    writer.add(evaluated(tmp_path, 1))
    scores, counts = read_scores(run.scores_file), read_reliability(run.reliability_file)
    in_scores = list(zip(scores["fold"], scores["case"], scores["value"], strict=True))
    assert in_scores == [(0, "002", 0.5), (0, "001", 0.5), (1, "002", 0.5), (1, "001", 0.5)]
    in_counts = list(zip(counts["fold"], counts["case"], counts["probability"], strict=True))
    assert in_counts == [(0, "001", 0.25), (0, "002", 0.25), (1, "001", 0.25), (1, "002", 0.25)]


def test_a_fold_is_written_once_where_nothing_touches_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers: list[int] = []

    def counted(rows: list[Row], file: Path, anew: bool) -> None:
        numbers.append(len(rows := list(rows)))
        write_scores(rows, file, anew)

    monkeypatch.setattr(tables, "write_scores", counted)
    writer = Tables(Run(tmp_path))
    for fold in range(3):
        writer.add(evaluated(tmp_path, fold))
    assert numbers == [2, 2, 2]
