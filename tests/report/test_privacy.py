"""Tests of autoseg.report.privacy: what is passed on does not tell the folders of this machine."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from autoseg.report.privacy import command_without_folders, without_folders
from autoseg.report.provenance import check_rows
from autoseg.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A RUN of a CSV dataset in a folder named after a patient."""
    secret = tmp_path / "SMITH JOHN"
    secret.mkdir()
    (secret / "cohort.csv").touch()
    run = Run(tmp_path / "results" / "run1")
    run.folder.mkdir(parents=True)
    run.dataset_file.write_text(json.dumps({"dataset": str(secret / "cohort.csv")}))
    return run


def test_a_command_names_run_and_dataset_and_other_files_by_their_names(run: Run, tmp_path: Path) -> None:
    command = f"autoseg plan '{tmp_path}/SMITH JOHN/cohort.csv' {run.folder} --split=/home/mary/split.json --set name=a"
    assert command_without_folders(command, run) == "autoseg plan DATASET RUN --split=split.json --set name=a"
    relative = command_without_folders("autoseg run 'SMITH JOHN/cohort.csv' ../results/run1 --split ~/s.json", run)
    assert relative == "autoseg run DATASET RUN --split s.json"


@pytest.mark.parametrize(
    "words",
    [
        *("--part 2/3", "--part=2/3", "--cluster tls://host:8786", "--set name=a", "--set crop_size=[32,32,32]"),
        '--set labels=[{"name":"left/right"}]',
    ],
)
def test_words_of_a_command_that_are_no_paths_stay(run: Run, words: str) -> None:
    command = shlex.join(["autoseg", "preprocess", "RUN", *words.split()])
    assert command_without_folders(command, run) == command


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("plan DATASET RUN --set name=/home/mary/a", "plan DATASET RUN --set name=a"),
        ("plan DATASET RUN --set=name=/home/mary/a", "plan DATASET RUN --set=name=a"),
        ("predict RUN 2024/0012345 out --cluster file:///home/mary/s.json", "predict RUN 0012345 out --cluster s.json"),
    ],
)
def test_what_is_a_path_is_a_name(run: Run, command: str, told: str) -> None:
    assert command_without_folders(f"autoseg {command}", run) == f"autoseg {told}"


def test_a_dataset_of_digits_is_the_dataset(run: Run, tmp_path: Path) -> None:
    run.dataset_file.write_text(json.dumps({"dataset": str(tmp_path / "2024" / "05")}))
    assert command_without_folders("autoseg plan 2024/05 RUN", run) == "autoseg plan DATASET RUN"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no path: 3 / 4 mm and/or 1/2", "no path: 3 / 4 mm and/or 1/2"),
        ("/home/mary/a b/i.nii.gz: damaged", "i.nii.gz: damaged"),
        ("label '/data/c.nii' has /x/y/d.nii, too", "label 'c.nii' has d.nii, too"),
    ],
)
def test_paths_elsewhere_are_names(run: Run, text: str, expected: str) -> None:
    assert without_folders(text, run) == expected


def test_the_check_of_a_csv_dataset_tells_files_within_its_folder(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "SMITH JOHN"
    row = {"case": "a", "file": f"{folder}/sub/i.nii.gz", "found": f"the same as {folder}/j.nii.gz", "fix": "remove"}
    run.check_file.write_text(json.dumps([row]))
    rows, problem = check_rows(run)
    assert rows == ({"case": "a", "file": "sub/i.nii.gz", "found": "the same as j.nii.gz", "fix": "remove"},)
    assert problem == ()


@pytest.mark.parametrize("patient", ["Doe, John", "O'Neil", "Doe (1970)", "a: b", "x|y"])
def test_the_check_tells_no_folder_of_a_file_elsewhere_whatever_it_is_called(run: Run, patient: str) -> None:
    folder = f"/archive/{patient}"
    row = {"case": "a", "file": f"{folder}/ct.nii.gz", "found": f"5 / 6 of {folder}/ct.nii.gz", "fix": "look at it"}
    twin = {"case": "", "file": "", "found": f"{folder}/labels/x.nii.gz is {folder}/ct.nii.gz, too", "fix": "/ or -"}
    series = {"case": "", "file": folder, "found": f"2 files: {folder}/ct.nii.gz, {folder}/b/c.nii.gz", "fix": ""}
    run.check_file.write_text(json.dumps([row, twin, series]))
    rows, _ = check_rows(run)
    assert rows == (
        {"case": "a", "file": "ct.nii.gz", "found": "5 / 6 of ct.nii.gz", "fix": "look at it"},
        {"case": "", "file": "", "found": "x.nii.gz is ct.nii.gz, too", "fix": "/ or -"},
        {"case": "", "file": patient, "found": "2 files: ct.nii.gz, c.nii.gz", "fix": ""},
    )
