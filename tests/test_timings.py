"""Tests of autoseg.timings."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from autoseg.report.provenance import stages
from autoseg.run import Run
from autoseg.timings import read_timings, timed


def test_calls_of_a_verb_add_up_and_a_failed_one_does_not_count(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for _ in range(2):
        with timed(run, "train"):
            time.sleep(0.11)
    with pytest.raises(ValueError, match="odd"), timed(run, "evaluate"):
        raise ValueError("odd")
    assert 0.2 <= read_timings(run)["train"]["seconds"] < 60
    assert list(read_timings(run)) == ["train"]
    (row,) = stages(run).to_numpy().tolist()
    assert row[0] == "train"
    assert "cores" in row[3]


def test_a_damaged_file_is_as_none(tmp_path: Path) -> None:
    Run(tmp_path).timings_file.write_text('{"train": 5, "plan": {"seconds": "x"}}', encoding="utf-8")
    assert read_timings(Run(tmp_path)) == {}
    Run(tmp_path).timings_file.write_text("{", encoding="utf-8")
    assert read_timings(Run(tmp_path)) == {}


def test_of_a_team_the_first_process_notes_the_time_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for rank, noted in (("1", []), ("0", ["train"])):
        monkeypatch.setenv("RANK", rank)
        with timed(Run(tmp_path), "train"):
            time.sleep(0.01)
        assert list(read_timings(Run(tmp_path))) == noted
