"""Tests of autoseg.dataset.label_table: one table of organs and their names in files, beside the dataset."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import Cli

from autoseg.dataset.examine import examine_case
from autoseg.dataset.fingerprint import fingerprint
from autoseg.dataset.label_table import with_table
from autoseg.dataset.load import load_dataset
from autoseg.errors import DatasetError
from autoseg.imaging.volumes import read_image, read_label
from autoseg.labels import Label, LabelScheme
from autoseg.planning.budget import Budget
from autoseg.planning.planner import derive_plan
from autoseg.planning.presets import load_preset, preset_plan
from tests.dicom_files import square, voxels, write_ct, write_structures

SHAPE = (6, 16, 12)
HEART = [square(z, (1, 2), (6, 8)) for z in range(1, 5)]
LUNG = [square(z, (8, 2), (11, 15)) for z in range(6)]
AORTA = [square(z, (1, 10), (2, 12)) for z in range(6)]
CENTRES = {
    "a": [("Heart", HEART), ("Lung_R", LUNG), ("BODY", LUNG)],
    "b": [("heart_ctr", HEART), ("R Lung", LUNG), ("Ao asc", AORTA)],
    "c": [("HEART 2019", HEART), ("lung r", LUNG), ("ao desc", AORTA)],
}


def table(folder: Path, text: str) -> Path:
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return folder / "cases.csv"


def write_centres(folder: Path) -> Path:
    """Write a case of each centre, with the centre's own names, and the CSV file that lists them."""
    rows = ["case,image,label"]
    for n, (centre, structures) in enumerate(CENTRES.items()):
        write_ct(folder / f"ct{centre}", np.roll(voxels(SHAPE) % 997, n))
        write_structures(folder / f"{centre}.dcm", structures)
        rows.append(f"{centre},ct{centre},{centre}.dcm")
    (folder / "cases.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "cases.csv"


def test_one_table_gives_many_centres_structures_their_values(tmp_path: Path) -> None:
    write_centres(tmp_path)
    file = table(tmp_path, "Organ,Value,Names\nheart,3,HEART*\nlung_right,1,r lung;lung_r\naorta,2,Ao ???;ao desc\n")
    dataset = load_dataset(file)
    assert [(one.value, one.name, one.names) for one in dataset.labels] == [
        (1, "lung_right", ("r lung", "lung_r")),
        (2, "aorta", ("Ao ???", "ao desc")),
        (3, "heart", ("HEART*",)),
    ]
    values = {}
    for case in dataset.cases:
        label = read_label(case.label_files, read_image(case.images).grid, dataset.scheme)
        present, counts = np.unique(label.array, return_counts=True)
        values[case.id] = dict(zip(present.tolist()[1:], counts.tolist()[1:], strict=True))
    lung, heart, aorta = 6 * 14 * 4, 4 * 7 * 6, 6 * 3 * 2
    assert values == {
        "a": {1: lung, 3: heart},
        "b": {1: lung, 2: aorta, 3: heart},
        "c": {1: lung, 2: aorta, 3: heart},
    }


def test_a_dataset_json_keeps_its_labels_and_gets_their_names(tmp_path: Path) -> None:
    regions = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "whole": [1, 2], "core": 2, "ignore": 255}}
    (tmp_path / "dataset.json").write_text(json.dumps(regions | {"regions_class_order": [1, 2]}), encoding="utf-8")
    scheme = load_dataset(table(write_centres(tmp_path).parent, "organ,names\nCORE,gtv*;ctv\n")).scheme
    assert scheme.regions == ((1, 2), (2,))
    assert scheme.ignored == 255
    assert [one.names for one in scheme.labels] == [(), ("gtv*", "ctv")]


def test_the_names_go_into_fingerprint_and_plan(tmp_path: Path) -> None:
    file = table(write_centres(tmp_path).parent, "organ,value,names\nheart,3,HEART*\nlung,1,r lung;lung_r\n")
    dataset = load_dataset(file)
    facts = [one for case in dataset.cases if (one := examine_case(case, dataset).facts) is not None]
    numbers = fingerprint(dataset, facts)
    for plan in (
        preset_plan(numbers, "cpu", load_preset("roth2018"), 0, ""),
        derive_plan(numbers, Budget(device="cpu", memory_gib=20.0, bfloat16=True), 0).plan,
    ):
        assert plan.labels == dataset.labels
    plain = [label.model_copy(update={"names": ()}) for label in dataset.labels]
    assert '"names"' not in fingerprint(replace(dataset, labels=tuple(plain)), facts).model_dump_json()


def test_labels_without_names_are_written_as_before() -> None:
    named = Label(value=1, name="heart", names=("HEART*",))
    assert Label.model_validate_json(named.model_dump_json()) == named
    plain = Label(value=1, name="heart")
    assert plain.model_dump_json() == '{"value":1,"name":"heart"}'
    assert repr(plain) == "Label(value=1, name='heart')"  # digests of earlier runs are made of it


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("organ,value\nheart,1\nlung,1\n", "lines 2 and 3: heart and lung both have the value 1; correct the table"),
        ("organ,value\nheart,1\nHeart,2\n", "line 3: Heart stands in line 2, too; correct"),
        ("organ,value\nheart,\nlung,1\n", "line 2: heart has no value; correct"),
        ("organ,value\nheart,0\n", "line 2: the value of heart, 0, is no whole number from 1 to 65535; correct"),
        (
            "organ,value\nheart,1.5\n,7\n",
            "line 2: the value of heart, 1.5, is no whole .*; line 3: names no organ",
        ),
        ("organ,value,names\nheart,1,cor\nlung,2,a;COR\n", "lines 2 and 3: COR is a name of heart and lung; correct"),
        ("organ,value,names\nheart,1,\nlung,2,Heart\n", "lines 2 and 3: Heart is a name of heart and lung; correct"),
        ("organ,value\n", "names 0 organs; 1 to 254 are possible"),
        ("structure,id\na,1\n", "needs the columns organ,value,names, found structure,id; add organ, value, or rename"),
        ('organ,value\n"heart,1\n', "line 2: no sound CSV"),
        ("", "needs the columns organ,value,names, found none; add organ, value"),
        ("organ,value\n" + "heart,x\n" * 30, "line 21: the value of heart.*to 65535; and 10 more; correct the table"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused_with_all_that_is_wrong(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(DatasetError, match=message) as refused:
        with_table(table(tmp_path, text), None)
    assert str(refused.value).startswith(str(tmp_path / "labels.csv"))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("organ,value\nheart,4\n", "line 2: heart has the value 4, and 1 in dataset.json; correct"),
        ("organ\nlung\n", "line 2: dataset.json has no label lung; correct"),
    ],
)
def test_a_table_that_contradicts_the_dataset_json_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        with_table(table(tmp_path, text), LabelScheme(labels=(Label(value=1, name="heart"),)))


def test_another_table_of_that_name_does_not_hinder_earlier_runs(tmp_path: Path) -> None:
    file = table(tmp_path, "case,diagnosis\na,b\n")
    assert with_table(file, None, is_new=False) is None
    assert with_table(tmp_path / "labels.csv", None) is None  # the list of cases itself


def test_one_check_has_a_row_for_each_case_whose_names_mean_nothing_or_two_organs(tmp_path: Path, cli: Cli) -> None:
    file = table(write_centres(tmp_path).parent, "organ,value,names\nheart,1,heart*\nchest,2,*2019;lung*\n")
    fatal = {}
    dataset = load_dataset(file)
    for case in dataset.cases:
        fatal[case.id] = [one.found for one in examine_case(case, dataset).findings if one.severity == "fatal"]
    assert fatal == {"a": [], "b": [], "c": ["HEART 2019 is a name of heart and of chest"]}
    table(tmp_path, "organ,value,names\nliver,1,leber\n")
    code, _, _ = cli("check", file, "--json", tmp_path / "rows.json", "--labels", tmp_path / "draft.csv")
    rows = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert code == 1
    assert [row["case"] for row in rows if row["severity"] == "fatal"] == ["a", "b", "c"]
    assert all("list the names in labels.csv" in row["fix"] for row in rows if row["severity"] == "fatal")
    assert (tmp_path / "draft.csv").read_text(encoding="utf-8") == "organ,value,names,cases\nliver,1,leber,0\n"
    code, _, err = cli("check", file, "--labels", tmp_path / "draft.csv")
    assert code == 1
    assert "draft.csv: is there already; give another FILE" in err
