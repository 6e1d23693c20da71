"""Tests of autoseg.dataset.statements: what datasets as they are found say of themselves."""

from __future__ import annotations

import json
from pathlib import Path

from autoseg.dataset.statements import FIELDS, LONGEST, statements, statements_of
from autoseg.run import Run

DECATHLON = {
    "name": "Hippocampus", "reference": " Vanderbilt University Medical Center", "licence": "CC-BY-SA 4.0",
    "relase": "1.0 04/05/2018", "tensorImageSize": "3D", "modality": {"0": "MRI"},
}  # fmt: skip


def test_a_dataset_of_the_decathlon_names_source_licence_and_release() -> None:
    assert statements(DECATHLON) == {
        "reference": "Vanderbilt University Medical Center", "licence": "CC-BY-SA 4.0", "release": "1.0 04/05/2018",
    }  # fmt: skip


def test_what_is_no_text_is_left_out_and_what_is_long_cut() -> None:
    said = statements({"funding": {"by": "x"}, "ethics": "", "annotators": [{}], "description": "a" * (LONGEST + 1)})
    assert said == {"description": "a" * LONGEST + " …"}


def test_no_key_stands_for_two_fields() -> None:
    keys = [key for field in FIELDS for key in (field.key, *field.others)]
    assert len(keys) == len(set(keys))


def test_a_run_finds_them_beside_its_dataset(tmp_path: Path) -> None:
    data, run = tmp_path / "data", Run(tmp_path / "RUN")
    data.mkdir()
    run.folder.mkdir()
    (data / "dataset.json").write_text(json.dumps(DECATHLON), encoding="utf-8")
    (data / "cases.csv").write_text("case,image,label\n", encoding="utf-8")
    for place in (data, data / "dataset.json", data / "cases.csv"):
        run.dataset_file.write_text(json.dumps({"dataset": str(place)}), encoding="utf-8")
        assert statements_of(run)["licence"] == "CC-BY-SA 4.0"


def test_a_run_whose_dataset_is_gone_or_damaged_says_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path / "RUN")
    run.folder.mkdir()
    assert statements_of(run) == {}
    run.dataset_file.write_text(json.dumps({"dataset": str(tmp_path / "gone")}), encoding="utf-8")
    assert statements_of(run) == {}
    (tmp_path / "dataset.json").write_text("{", encoding="utf-8")
    run.dataset_file.write_text(json.dumps({"dataset": str(tmp_path)}), encoding="utf-8")
    assert statements_of(run) == {}
