"""Tests of datasets as clinics keep them: DICOM series with RTSTRUCT, from a CSV file to facts and findings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Cli

from autoseg.dataset.examine import Examination, examine_case
from autoseg.dataset.load import load_dataset
from autoseg.imaging.volumes import read_image, read_label, write_label
from tests.dicom_files import square, voxels, write_ct, write_structures

SHAPE = (8, 24, 20)
LABELS = '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "spleen": 2}}'


def write_cohort(folder: Path, cases: int = 3) -> Path:
    """Write CT series with an RTSTRUCT each, and a CSV file that lists them."""
    rows = ["case,image,label"]
    for n in range(cases):
        write_ct(folder / f"ct{n}", np.roll(voxels(SHAPE) % 997, n))
        liver = [square(z, (2 + n, 3), (8, 9)) for z in range(2, 6)]
        spleen = [square(z, (11, 12), (15, 15 + n)) for z in range(1, 7)]
        write_structures(folder / f"rs{n}.dcm", [("Spleen", spleen), ("Liver", liver), ("BODY", spleen)])
        rows.append(f"c{n},ct{n},rs{n}.dcm")
    (folder / "cases.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "dataset.json").write_text(LABELS, encoding="utf-8")
    return folder / "cases.csv"


def examine(file: Path) -> dict[str, Examination]:
    dataset = load_dataset(file)
    return {case.id: examine_case(case, dataset) for case in dataset.cases}


def test_contours_have_the_facts_of_the_same_voxels_as_nifti(tmp_path: Path) -> None:
    file = write_cohort(tmp_path)
    dataset = load_dataset(file)
    for case in dataset.cases:
        image = read_image(case.images)
        label = read_label(case.label, image.grid, dataset.scheme)
        write_label(tmp_path / f"{case.id}.nii.gz", label.array, image.stored)
    twin = tmp_path / "twin.csv"
    twin.write_text(file.read_text().replace("rs", "c").replace(".dcm", ".nii.gz"), encoding="utf-8")
    for one, other in zip(examine(file).values(), examine(twin).values(), strict=True):
        assert one.facts is not None
        assert one.facts == other.facts
        assert [(o.value, o.voxels) for o in one.facts.organs] == [
            (1, 4 * 7 * (7 - int(one.case[1]))),
            (2, 6 * 5 * (4 + int(one.case[1]))),
        ]


def test_one_check_has_a_row_for_every_case_that_is_wrong(tmp_path: Path, cli: Cli) -> None:
    file = write_cohort(tmp_path, cases=5)
    liver = [square(2, (2, 3), (8, 9))]
    write_structures(tmp_path / "rs0.dcm", [("liver", liver), ("spleen", liver)], series="1.9", frame="1.8")
    write_structures(tmp_path / "rs1.dcm", [("liver", [square(2, (2, 3), (80, 9))])])
    write_structures(tmp_path / "rs2.dcm", [("liver", liver), ("LIVER", liver)])
    (tmp_path / "rs3.dcm").unlink()
    fatal = {case: [f.found for f in e.findings if f.severity == "fatal"] for case, e in examine(file).items()}
    assert [len(rows) for rows in fatal.values()] == [1, 1, 1, 1, 0]
    assert fatal["c0"][0].startswith("was drawn on another series (1.9) than ct0 holds")
    assert fatal["c1"] == ["1 of 1 contour of liver reach outside the image"]
    assert fatal["c2"] == ["two structures are called liver and LIVER"]
    code, _, _ = cli("check", file, "--json", tmp_path / "check.json")
    rows = json.loads((tmp_path / "check.json").read_text(encoding="utf-8"))
    assert code == 1
    assert {row["case"] for row in rows} == {*fatal, ""}
    assert "structures that no label names are left out: BODY" in [row["found"] for row in rows]


def test_without_a_dataset_json_every_name_is_a_label(tmp_path: Path) -> None:
    file = write_cohort(tmp_path)
    (tmp_path / "dataset.json").unlink()
    labels = load_dataset(file).labels
    assert [(label.value, label.name) for label in labels] == [(1, "Spleen"), (2, "Liver"), (3, "BODY")]


@pytest.mark.usefixtures("real_data")
def test_check_reads_a_planning_systems_contours(tmp_path: Path, real_data: Path) -> None:
    folder = real_data / "dicom" / "thigh_rtstruct"
    (tmp_path / "cases.csv").write_text(f"case,image,label\na,{folder}/image,{folder}/mask\n", encoding="utf-8")
    (one,) = examine(tmp_path / "cases.csv").values()
    assert one.facts is not None
    assert [finding.code for finding in one.findings] == ["contours-of-series"]
