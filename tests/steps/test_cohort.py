"""Tests of autoseg.steps.cohort: which options make another plan, and what becomes of a dataset that grows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path

from command_line import Cli

from autoseg.dataset.split_file import load_splits
from autoseg.options import PlanOptions
from autoseg.steps.cohort import comparable

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


def with_cases(cohort: Path, folder: Path, cases: Collection[int]) -> Path:
    """Return a dataset that has some cases of a cohort, with a patient's name for two of them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(cohort / "dataset.json", folder)
    rows = ["case,image,label,patient"]
    for number in cases:
        name = f"phantom_{number:03d}"
        image, label = (
            cohort / part / f"{name}{end}.nii.gz" for part, end in (("imagesTr", "_0000"), ("labelsTr", ""))
        )
        rows.append(f"{name},{image},{label},{'Ann' if number in (0, 4) else ''}")
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    return folder / "cases.csv"


def test_new_cases_train_and_no_other_moves(cohort: Path, tmp_path: Path, cli: Cli) -> None:
    run = tmp_path / "RUN"
    options = ("--gpu-memory", "8", "-j", "1")
    data = with_cases(cohort, tmp_path / "data", (0, 1, 2))
    assert cli("plan", data, run, *options)[0] == 0
    (before,) = load_splits(run / "split.json", None)
    data = with_cases(cohort, tmp_path / "data", range(5))
    code, _, err = cli("plan", data, run, *options)
    assert code == 0
    said = " ".join(err.split())
    assert "2 new cases for training and validation: phantom_003, phantom_004; the others stay where they were" in said
    assert "With `--folds 5` every patient tests once" in said
    (after,) = load_splits(run / "split.json", None)
    for side, cases in before.sides().items():
        assert set(cases) <= set(after.sides()[side])
    assert after.side_of("phantom_004") == after.side_of("phantom_000")  # the same patient's
    assert after.side_of("phantom_003") in ("training", "validation")
    assert "patient" in (run / "plan.md").read_text().partition("## Split")[2].partition("##")[0]


def test_another_seed_draws_anew_and_so_does_a_split_that_cannot_hold(cohort: Path, tmp_path: Path, cli: Cli) -> None:
    run = tmp_path / "RUN"
    data = with_cases(cohort, tmp_path / "data", range(5))
    assert cli("plan", data, run, "--gpu-memory", "8", "-j", "1")[0] == 0
    own = {"training": ["phantom_000"], "validation": ["phantom_001"], "testing": ["phantom_002"]}
    (run / "split.json").write_text(json.dumps([own]))
    assert cli("plan", data, run, "--gpu-memory", "8", "-j", "1", "--measure")[0] == 0  # as it stands in the RUN
    (kept,) = load_splits(run / "split.json", None)
    assert kept.testing == ("phantom_002",)
    (run / "plan.json").unlink()  # as a `plan` leaves it that was killed after it wrote a split of its own
    assert cli("plan", data, run, "--gpu-memory", "8", "-j", "1")[0] == 0
    assert len(load_splits(run / "split.json", None)[0].cases()) == 5
    (run / "split.json").write_text(json.dumps([own | {"testing": ["phantom_004"]}]))  # of the patient who trains
    code, _, err = cli("plan", data, run, "--gpu-memory", "8", "-j", "1")
    assert code == 0
    assert "the split is drawn anew" in " ".join(err.split())
    (run / "split.json").write_text(json.dumps([own]))
    assert cli("plan", data, run, "--gpu-memory", "8", "-j", "1", "--seed", "3")[0] == 0
    assert len(load_splits(run / "split.json", None)[0].cases()) == 5


def test_cases_that_a_split_file_leaves_out_are_named(cohort: Path, tmp_path: Path, cli: Cli) -> None:
    data, file = with_cases(cohort, tmp_path / "data", range(5)), tmp_path / "split.json"
    file.write_text(json.dumps([{"training": ["phantom_001"], "testing": ["phantom_002"]}]))
    code, _, err = cli("plan", data, tmp_path / "RUN", "--gpu-memory", "8", "-j", "1", "--split", file)
    assert code == 0
    assert "3 cases not used, as on no side of the split: phantom_000, phantom_003, phantom_004" in " ".join(
        err.split()
    )
