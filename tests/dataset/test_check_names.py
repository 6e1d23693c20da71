"""Tests of autoseg.dataset.check_names: every name within label maps is listed, with who has and who lacks it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autoseg.dataset.check import all_findings
from autoseg.dataset.check_names import name_findings
from autoseg.dataset.examine import examine_case
from autoseg.dataset.load import Dataset, load_dataset
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import write_array
from autoseg.labels import Label

LABELS = (Label(value=1, name="left_lung"), Label(value=2, name="liver"))
DATASET = Dataset(name="a", root=Path("a"), channels=("CT",), labels=LABELS, cases=())


def test_every_name_is_listed_with_its_label_and_its_cases() -> None:
    names = {
        "a": ["Left Lung", "Liver", "BODY"],
        "b": ["left_lung", "Leber", "BODY"],
        "c": ["LIVER", "left lung", "BODY"],
        "d": [],  # values only
    }
    (row,) = name_findings(names, DATASET)
    assert (row.case, row.code, row.severity) == ("", "names", "note")
    assert row.found == (
        "names within the label maps of 3 cases: BODY (no label; all), Leber (no label; b), Left Lung "
        "(label left_lung; a, c), left_lung (label left_lung; b), Liver (label liver; a, c); no such name: liver (b)"
    )


def test_nothing_is_said_where_every_case_has_every_label_and_nothing_else() -> None:
    assert list(name_findings({"a": ["liver", "left lung"], "b": ["Left_Lung", "Liver"]}, DATASET)) == []
    assert list(name_findings({"a": [], "b": []}, DATASET)) == []


def test_of_many_cases_a_few_are_named() -> None:
    names = {f"c{n}": ["liver", "left lung"] if n else ["liver", "lung"] for n in range(9)}
    (row,) = name_findings(names | {f"d{n}": ["liver"] for n in range(5)}, DATASET)
    assert (
        "left lung (label left_lung; c1, c2, c3 and 5 more), liver (label liver; all), lung (no label; c0)" in row.found
    )
    assert row.found.endswith("no such name: left_lung (c0, d0, d1 and 3 more)")


def test_one_check_lists_the_names_of_a_cohort_of_mask_folders(tmp_path: Path) -> None:
    grid = Grid(shape=(6, 5, 4), spacing_mm=(2.0, 1.0, 1.0))
    rows = ["case,image,label"]
    for case, organ in (("a", "liver"), ("b", "liver"), ("c", "Leber")):
        (tmp_path / case).mkdir()
        write_array(tmp_path / f"{case}.nii.gz", np.arange(120, dtype=np.int16).reshape(grid.shape) * 7, grid)
        write_array(tmp_path / case / f"{organ}.nii.gz", np.eye(5, 4, dtype=np.uint8)[None].repeat(6, axis=0), grid)
        rows.append(f"{case},{case}.nii.gz,{case}")
    (tmp_path / "cases.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "dataset.json").write_text('{"channel_names": {"0": "MR"}, "labels": {"liver": 1}}', encoding="utf-8")
    dataset = load_dataset(tmp_path / "cases.csv")
    findings = all_findings([examine_case(case, dataset) for case in dataset.cases], dataset)
    (fatal,) = (one for one in findings if one.severity == "fatal")
    assert fatal.case == "c"
    assert "no label is called as its masks Leber are" in fatal.found + fatal.fix
    (names,) = (one for one in findings if one.code == "names")
    assert "Leber (no label; c), liver (label liver; a, b); no such name: liver (c)" in names.found
