"""Tests of autoseg.steps.plan: which options make another plan."""

from __future__ import annotations

from pathlib import Path

from autoseg.options import PlanOptions
from autoseg.steps.plan import comparable

# as runs have noted them since there is --split: one that was planned must not be planned again over its training
NOTED = {
    "preset": None,
    "gpu_memory_gib": None,
    "device": "auto",
    "seed": 0,
    "settings": {},
    "exclude": [],
    "folds": 1,
    "split": None,
}


def test_a_run_that_was_planned_by_an_earlier_version_notes_the_same_options() -> None:
    now = comparable(PlanOptions())
    assert {name: now[name] for name in NOTED} == NOTED


def test_measuring_length_and_machine_do_not_make_another_plan() -> None:
    more = PlanOptions(measure=True, time_budget_s=60.0, iterations=9, gpus=2, force=True, jobs=3)
    assert comparable(more) == comparable(PlanOptions())


def test_a_file_counts_by_what_it_says(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.csv", "b.csv", "c.csv")]
    for file, text in zip(files, ("case,split\n", "case,split\n", "other\n"), strict=True):
        file.write_text(text)
    same, copy, other = (comparable(PlanOptions(split=file)) for file in files)
    assert same == copy != other
