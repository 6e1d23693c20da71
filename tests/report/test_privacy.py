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
    "words", ["--part 2/3", "--part=2/3", "--cluster tls://host:8786", "--set name=a", "--set crop_size=[32,32,32]"]
)
def test_words_of_a_command_that_are_no_paths_stay(run: Run, words: str) -> None:
    assert shlex.split(command_without_folders(f"autoseg preprocess RUN {words}", run))[3:] == words.split()


def test_a_setting_that_is_a_path_is_a_name(run: Run) -> None:
    told = command_without_folders("autoseg plan DATASET RUN --set name=/home/mary/a", run)
    assert told == "autoseg plan DATASET RUN --set name=a"


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
    file = f"/archive/{patient}/ct.nii.gz"
    row = {"case": "a", "file": file, "found": f"{file} has holes", "fix": f"look at {file}, or leave it out"}
    run.check_file.write_text(json.dumps([row]))
    rows, _ = check_rows(run)
    assert rows is not None
    (told,) = rows
    assert told == {
        "case": "a", "file": "ct.nii.gz", "found": "ct.nii.gz has holes", "fix": "look at ct.nii.gz, or leave it out",
    }  # fmt: skip
