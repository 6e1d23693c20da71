"""Tests of autoseg.dataset.load."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoseg.data.preprocess import source_digest
from autoseg.dataset import survey
from autoseg.dataset.load import load_dataset
from autoseg.dataset.paths import files_by_stem
from autoseg.dataset.survey import names_within
from autoseg.errors import DatasetError, VolumeError
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import read_label, write_array
from autoseg.labels import Label
from tests.dicom_files import write_segmentation

NNUNET = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "file_ending": ".nii.gz"}
DECATHLON = {
    "name": "Tiny",
    "modality": {"0": "CT"},
    "labels": {"0": "background", "1": "liver"},
    "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
}


def make(root: Path, meta: dict[str, Any] | None, images: Sequence[str] = (), labels: Sequence[str] = ()) -> Path:
    """Make a dataset of empty files; load_dataset does not open them."""
    for folder, names in (("imagesTr", images), ("labelsTr", labels)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            (root / folder / name).touch()
    if meta is not None:
        (root / "dataset.json").write_text(json.dumps(meta))
    return root


def write_map(file: Path, value: int) -> None:
    array = np.zeros((3, 3, 3), np.uint8)
    array[1, 1, 1] = value
    write_array(file, array, Grid(shape=(3, 3, 3), spacing_mm=(1.0, 1.0, 1.0)))


def test_nnunet_layout_has_one_file_a_channel(tmp_path: Path) -> None:
    meta = NNUNET | {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "tumour": 7, "brain": 3}}
    images = ["b_0000.nii.gz", "b_0001.nii.gz", "a_1_0000.nii.gz", "a_1_0001.nii.gz", "._b_0000.nii.gz"]
    dataset = load_dataset(make(tmp_path, meta, images, ["a_1.nii.gz", "b.nii.gz"]))
    assert [case.id for case in dataset.cases] == ["a_1", "b"]
    assert [file.name for file in dataset.cases[1].images] == ["b_0000.nii.gz", "b_0001.nii.gz"]
    assert dataset.channels == ("T1", "T2")
    assert dataset.labels == (Label(value=3, name="brain"), Label(value=7, name="tumour"))


@pytest.mark.parametrize("gone", ["imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"])
def test_a_case_that_lacks_a_file_is_kept_with_the_path_where_it_should_be(tmp_path: Path, gone: str) -> None:
    make(tmp_path, NNUNET, ["a_0000.nii.gz", "b_0000.nii.gz"], ["a.nii.gz", "b.nii.gz"])
    (tmp_path / gone).unlink()
    cases = load_dataset(tmp_path).cases
    assert [case.id for case in cases] == ["a", "b"]
    assert tmp_path / gone in (*cases[0].images, cases[0].label)


def test_a_channel_too_many_is_kept_for_the_check_to_report(tmp_path: Path) -> None:
    dataset = load_dataset(make(tmp_path, NNUNET, ["a_0000.nii.gz", "a_0001.nii.gz"], ["a.nii.gz"]))
    assert len(dataset.cases[0].images) == 2


def test_nnunet_layout_without_channel_numbers_is_understood(tmp_path: Path) -> None:
    dataset = load_dataset(make(tmp_path, NNUNET, ["x_0012.nii.gz"], ["x_0012.nii.gz"]))
    assert [(case.id, case.images[0].name) for case in dataset.cases] == [("x_0012", "x_0012.nii.gz")]


def test_decathlon_layout_lists_its_pairs(tmp_path: Path) -> None:
    dataset = load_dataset(make(tmp_path, DECATHLON, ["a.nii.gz"], ["a.nii.gz"]))
    assert (dataset.name, dataset.channels) == ("Tiny", ("CT",))
    assert dataset.cases[0].images == (tmp_path / "imagesTr/a.nii.gz",)
    assert dataset.cases[0].label == tmp_path / "labelsTr/a.nii.gz"
    assert load_dataset(tmp_path / "dataset.json") == dataset


def test_decathlon_list_with_the_files_of_nnunets_first_version_is_understood(tmp_path: Path) -> None:
    meta = DECATHLON | {"modality": {"0": "T1", "1": "T2"}}
    dataset = load_dataset(make(tmp_path, meta, ["a_0000.nii.gz", "a_0001.nii.gz"], ["a.nii.gz"]))
    assert [file.name for file in dataset.cases[0].images] == ["a_0000.nii.gz", "a_0001.nii.gz"]
    assert dataset.cases[0].id == "a"


def test_decathlon_list_may_name_patients(tmp_path: Path) -> None:
    entry = DECATHLON["training"][0] | {"patient": "p1"}  # type: ignore[index]
    assert load_dataset(make(tmp_path, DECATHLON | {"training": [entry]})).cases[0].patient == "p1"
    first = make(tmp_path / "numbered", DECATHLON | {"training": [entry | {"patient": 0}]})
    assert load_dataset(first).cases[0].patient == "0"


def test_csv_has_paths_relative_to_itself_and_values_from_the_label_maps(tmp_path: Path) -> None:
    write_map(tmp_path / "lab/a.nii.gz", 5)
    write_map(tmp_path / "lab/b.nii.gz", 2)
    file = tmp_path / "cases.csv"
    file.write_text(
        "case,image,label,patient\nb,img/b1.nrrd;img/b2.nrrd,lab/b.nii.gz,p\na,i.nrrd;j.nrrd,lab/a.nii.gz,\n"
    )
    dataset = load_dataset(file)
    assert dataset.labels == (Label(value=2, name="label 2"), Label(value=5, name="label 5"))
    assert dataset.channels == ("channel 0", "channel 1")
    assert [(case.id, case.patient) for case in dataset.cases] == [("a", "a"), ("b", "p")]
    assert dataset.cases[1].images == (tmp_path / "img/b1.nrrd", tmp_path / "img/b2.nrrd")


def test_csv_takes_names_from_the_dataset_json_beside_it(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(NNUNET))
    (tmp_path / "cases.csv").write_text("case,image,label\na,a.mha,a_label.mha\n")
    dataset = load_dataset(tmp_path / "cases.csv")
    assert (dataset.channels, dataset.labels) == (("CT",), (Label(value=1, name="liver"),))


def test_answers_to_reviewers_beside_a_csv_name_no_channels_and_no_labels(tmp_path: Path) -> None:
    write_map(tmp_path / "a_label.mha", 5)
    (tmp_path / "dataset.json").write_text(json.dumps({"reference": "two readers", "sites": "one"}))
    (tmp_path / "cases.csv").write_text("case,image,label\na,a.mha,a_label.mha\n")
    dataset = load_dataset(tmp_path / "cases.csv")
    assert (dataset.channels, dataset.labels) == (("channel 0",), (Label(value=5, name="label 5"),))


def test_what_a_run_was_planned_for_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_map(tmp_path / "a_label.mha", 5)
    (tmp_path / "cases.csv").write_text("case,image,label\na,a.mha,a_label.mha\n")
    first = load_dataset(tmp_path / "cases.csv")
    monkeypatch.setattr(survey, "read_label", lambda _: pytest.fail("read again"))
    assert load_dataset(tmp_path / "cases.csv") == first  # in one process
    known = load_dataset(tmp_path / "cases.csv", is_new=False, channels=("CT",), labels=(Label(value=7, name="x"),))
    assert (known.channels, known.labels) == (("CT",), (Label(value=7, name="x"),))
    monkeypatch.undo()
    write_map(tmp_path / "a_label.mha", 6)
    assert load_dataset(tmp_path / "cases.csv").labels == (Label(value=6, name="label 6"),)


@pytest.mark.parametrize("labelled", [None, ["liver"]])
def test_labelled_of_another_form_beside_a_csv_is_refused_in_a_line(tmp_path: Path, labelled: object) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({**NNUNET, "labelled": labelled}))
    (tmp_path / "cases.csv").write_text("case,image,label,labelled\na,a.mha,a_label.mha,liver\n")
    with pytest.raises(DatasetError, match=r"dataset\.json: labelled must name organs by case"):
        load_dataset(tmp_path / "cases.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": None}, '"labels" is missing'),
        ({"labels": {"background": 0}}, "names 0 labels"),
        ({"labels": {"background": 0, "whole": [1, 2]}}, "regions need .regions_class_order."),
        ({"labels": {"background": 0, "liver": 1, "ignore": 1}}, "'liver' and 'ignore' both have the value 1"),
        ({"labels": {"background": 0, "liver": -1}}, "whole number"),
        ({"labels": {"background": 0, "liver": 1.5}}, "whole number"),
        ({"labels": {"background": 0, "liver": 1, "spleen": 1}}, "both have the value 1"),
        ({"labels": {"0": "background", "1": "liver", "2": "liver"}}, "two labels are called 'liver'"),
        ({"labels": {"background": 0, "Kidney": 1, "kidney": 2}}, "'Kidney' and 'kidney' differ only in capitals"),
        ({"dataset": ["a"]}, '"dataset" must name cases'),
        ({"dataset": {"a": {"images": "a.mha"}}}, '"images", a list of paths'),
        ({"dataset": {"a": {"images": ["a.mha"]}}}, 'needs "label", a path'),
        ({"labels": {"0": "background", "1": " "}}, "no name"),
        ({"channel_names": None}, "channel_names"),
        ({"channel_names": {"1": "CT"}}, "numbered from 0"),
        ({"file_ending": ".bmp"}, "unknown file type"),
    ],
)
def test_a_wrong_dataset_json_is_told_in_one_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    meta = {key: value for key, value in (NNUNET | change).items() if value is not None}
    make(tmp_path, meta, ["a_0000.nii.gz"], ["a.nii.gz"])
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"image": "a.nii.gz"}, "must be a list"),
        ([{"image": "a.nii.gz"}], 'entry 1: needs "image" and "label"'),
        (["a.nii.gz"], 'entry 1: needs "image" and "label"'),
        ([{"image": "a.bmp", "label": "a.nii.gz"}], "unknown file type"),
        (DECATHLON["training"] * 2, "'a' and 'a' are the same"),  # type: ignore[operator]
        ([{"image": "a .nii.gz", "label": "a.nii.gz"}], "cannot be a file name"),
    ],
)
def test_a_wrong_list_of_pairs_is_told(tmp_path: Path, training: object, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        load_dataset(make(tmp_path, DECATHLON | {"training": training}))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ((), (), "no cases"),
        (("Case0_0000.mha",), ("case0.mha",), "imagesTr has Case0 and labelsTr has case0"),
        ((os.fsdecode(b"caf\xe9_0000.mha"),), (), r"caf.xe9_0000.mha: its name is not UTF-8; rename"),
        (("a.bmp",), ("a.nii.gz",), "a.bmp is of an unknown file type"),
        (("a_0000.nii.gz", "a_0000.nrrd"), ("a.nii.gz",), "are the same case"),
        (("a_0000.nii.gz", "A_0000.nii.gz"), ("a.nii.gz", "A.nii.gz"), "'A' and 'a' are the same"),
    ],
)
def test_folders_without_usable_cases_are_told(
    tmp_path: Path, images: tuple[str, ...], labels: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        load_dataset(make(tmp_path, NNUNET, images, labels))


def test_folders_without_dataset_json_say_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"dataset.json: missing; write it .*channel_names.* CSV file"):
        load_dataset(make(tmp_path, None, ["a_0000.nii.gz"], ["a.nii.gz"]))


def test_a_missing_folder_of_label_maps_is_told(tmp_path: Path) -> None:
    (make(tmp_path, NNUNET, ["a_0000.nii.gz"]) / "labelsTr").rmdir()
    with pytest.raises(DatasetError, match="labelsTr: missing"):
        load_dataset(tmp_path)


def test_broken_json_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{\n"labels": {},,\n}')
    with pytest.raises(DatasetError, match="line 2: not valid JSON"):
        load_dataset(tmp_path)


def test_nothing_and_an_empty_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such dataset"):
        load_dataset(tmp_path / "none")
    with pytest.raises(DatasetError, match="folder is empty"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no cases"),
        ("case,image\na,a.mha\n", "needs the columns case,image,label, found case,image; add label, or rename others"),
        ("case,image,label\na,a.mha,\n", "line 2: label is blank"),
        ("case,image,label\na,,b.mha\n", "line 2: image is blank"),
        ("case,image,label\na,C:\\\\a.mha,b.mha\n", "is a Windows path"),
        ("case,image,label\na,a.mha,b.txt\n", "unknown file type"),
        ("case,image,label\na/b,a.mha,b.mha\n", "cannot be a file name"),
        ("case,image,label\na,a.mha,b.mha\n", "hold 0 positive values"),
    ],
)
def test_a_wrong_csv_is_told_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "cases.csv"
    file.write_text(text)
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "labels",
    [
        {"background": [0], "liver": [1]},
        {"background": "0", "liver": "1"},
        {"liver": 1.0},
        {"liver": "1.0"},
        {"liver": "(1,)"},
        {"liver": [["1"]]},
    ],
)
def test_a_label_value_is_read_in_each_plain_spelling(tmp_path: Path, labels: dict[str, object]) -> None:
    make(tmp_path, NNUNET | {"labels": labels}, ["a_0000.nii.gz"], ["a.nii.gz"])
    assert load_dataset(tmp_path).labels == (Label(value=1, name="liver"),)


def test_the_key_dataset_of_nnunet_names_paths(tmp_path: Path) -> None:
    keyed = {"c1": {"images": ["x/i.nii.gz"], "label": "y/l.nii.gz"}}
    (tmp_path / "dataset.json").write_text(json.dumps(NNUNET | {"dataset": keyed}))
    (case,) = load_dataset(tmp_path).cases
    assert (case.id, case.images, case.label) == ("c1", (tmp_path / "x/i.nii.gz",), tmp_path / "y/l.nii.gz")


def test_paths_written_on_windows_are_read(tmp_path: Path) -> None:
    pair = {"image": ".\\imagesTr\\a_0000.nii.gz", "label": ".\\labelsTr\\a.nii.gz"}
    (case,) = load_dataset(make(tmp_path, DECATHLON | {"training": [pair]}, ["a_0000.nii.gz"], ["a.nii.gz"])).cases
    assert (case.id, case.label) == ("a", tmp_path / "labelsTr/a.nii.gz")


def test_cases_whose_files_share_a_name_are_called_after_their_folders(tmp_path: Path) -> None:
    pairs = [{"image": f"case_{n}/imaging.nii.gz", "label": f"case_{n}/seg.nii.gz"} for n in range(2)]
    cases = load_dataset(make(tmp_path, DECATHLON | {"training": pairs})).cases
    assert [(case.id, case.patient) for case in cases] == [("case_0", "case_0"), ("case_1", "case_1")]


def test_an_entry_may_name_its_case(tmp_path: Path) -> None:
    pairs = [{"case": f"p{n}", "image": "one/imaging.nii.gz", "label": "one/seg.nii.gz"} for n in range(2)]
    assert [case.id for case in load_dataset(make(tmp_path, DECATHLON | {"training": pairs})).cases] == ["p0", "p1"]


def test_a_csv_is_read_as_spreadsheets_save_it(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(DECATHLON))
    (tmp_path / "cases.csv").write_text("Case;Image;Label\na;a.mha;b.mha\n;;\n")
    (case,) = load_dataset(tmp_path / "cases.csv").cases
    assert (case.id, case.images) == ("a", (tmp_path / "a.mha",))


def test_dicom_seg_are_label_maps_of_a_dataset_folder(tmp_path: Path) -> None:
    root = make(tmp_path, NNUNET, images=["a_0000.nii.gz", "b_0000.nii.gz"], labels=["b.nii.gz", "b.dcm"])
    label = np.ones((6, 5, 4), np.uint8)
    write_segmentation(root / "labelsTr" / "a.seg.dcm", label, ["liver"])
    cases = {case.id: case.label.name for case in load_dataset(root).cases}
    assert cases == {"a": "a.seg.dcm", "b": "b.nii.gz"}  # a mask has precedence


def test_the_label_map_of_a_csv_may_lie_in_several_files(tmp_path: Path) -> None:
    array = np.zeros((3, 3, 3), np.uint8)
    grid = Grid(shape=(3, 3, 3), spacing_mm=(1.0, 1.0, 1.0))
    for n, name in enumerate(("liver", "spleen", "a;b")):
        array[:] = 0
        array[n] = 1
        write_array(tmp_path / f"{name}.nii.gz", array, grid)
    rows = ["case,image,label", "a,i.nii.gz,liver.nii.gz; spleen.nii.gz", "b,i.nii.gz,liver.nii.gz;;"]
    (tmp_path / "cases.csv").write_text("\n".join([*rows, "c,i.nii.gz,a;b.nii.gz"]) + "\n", encoding="utf-8")
    (tmp_path / "labels.csv").write_text("organ,value\nspleen,1\nliver,2\n", encoding="utf-8")
    dataset = load_dataset(tmp_path / "cases.csv")
    files = {case.id: [file.name for file in case.label_files] for case in dataset.cases}
    assert files == {"a": ["liver.nii.gz", "spleen.nii.gz"], "b": ["liver.nii.gz"], "c": ["a;b.nii.gz"]}
    label = read_label(dataset.cases[0].label_files, grid, dataset.scheme)
    assert label.array[:, 0, 0].tolist() == [2, 1, 0]
    (tmp_path / "labels.csv").unlink()
    (tmp_path / "cases.csv").write_text("\n".join(rows[:2]) + "\n", encoding="utf-8")
    assert [one.name for one in load_dataset(tmp_path / "cases.csv").labels] == ["liver", "spleen"]


def write_masks(root: Path, **spans: slice) -> Grid:
    grid = Grid(shape=(4, 3, 3), spacing_mm=(1.0, 1.0, 1.0))
    for name, span in spans.items():
        array = np.zeros(grid.shape, np.uint8)
        array[span] = 1
        root.mkdir(exist_ok=True)
        write_array(root / f"{name}.nii.gz", array, grid)
    return grid


def test_a_lone_mask_beside_rows_of_several_is_the_organ_of_its_name(tmp_path: Path) -> None:
    grid = write_masks(tmp_path / "a1", liver=slice(0, 2), spleen=slice(2, 4))
    write_masks(tmp_path / "a2", spleen=slice(1, 2), kidney=slice(2, 3))
    labels = np.arange(4, dtype=np.uint8)[:, None, None] % 3 * np.ones((1, 3, 3), np.uint8)
    write_array(tmp_path / "values.nii.gz", labels, grid)
    rows = ["case,image,label", "a1,i.nii.gz,a1/liver.nii.gz;a1/spleen.nii.gz", "a2,i.nii.gz,a2/spleen.nii.gz"]
    file = tmp_path / "cases.csv"
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    unnamed = load_dataset(file)
    assert [(one.value, one.name) for one in unnamed.labels] == [(1, "liver"), (2, "spleen")]
    assert [case.is_mask for case in unnamed.cases] == [False, True]
    (tmp_path / "labels.csv").write_text("organ,value\nliver,1\nspleen,2\n", encoding="utf-8")
    file.write_text(
        "\n".join([*rows, "b,i.nii.gz,values.nii.gz", "c,i.nii.gz,a2/kidney.nii.gz"]) + "\n", encoding="utf-8"
    )
    dataset = load_dataset(file)
    _, spleen, values, kidney = (case.label_files for case in dataset.cases)
    assert read_label(spleen, grid, dataset.scheme).array[:, 0, 0].tolist() == [0, 2, 0, 0]
    assert read_label(values, grid, dataset.scheme).array[:, 0, 0].tolist() == [0, 1, 2, 0]  # several: no mask
    assert [names_within(files) for files in (spleen, values)] == [("spleen",), ()]
    with pytest.raises(VolumeError, match=r"kidney\.nii\.gz: no label is called as its structures kidney are"):
        read_label(kidney, grid, dataset.scheme)
    (case,) = (case for case in dataset.cases if case.id == "a2")
    assert source_digest(case) != source_digest(replace(case, is_mask=False))


def test_a_label_map_that_is_called_as_another_organ_than_it_holds_is_told(tmp_path: Path) -> None:
    grid = write_masks(tmp_path, liver=slice(0, 2), spleen=slice(2, 4))
    (tmp_path / "labels.csv").write_text("organ,value\nliver,1\nspleen,2\n", encoding="utf-8")
    (tmp_path / "cases.csv").write_text("case,image,label\na,i.nii.gz,liver.nii.gz\nb,i.nii.gz,spleen.nii.gz\n")
    dataset = load_dataset(tmp_path / "cases.csv")
    liver, spleen = (read_label(case.label_files, grid, dataset.scheme) for case in dataset.cases)
    assert liver.remarks == ()
    assert [one.found for one in spleen.remarks] == [
        "the label map is called as spleen, and all that it holds is value 1, liver"
    ]
    assert spleen.array.max() == 1


@pytest.mark.parametrize("folder", ["", "masks/a1/"])
def test_a_row_may_list_more_masks_than_the_name_of_a_file_holds(tmp_path: Path, folder: str) -> None:
    names = [f"{folder}vertebra_and_its_processes_{n}.nii.gz" for n in range(150)]
    (tmp_path / "labels.csv").write_text("organ,value\nliver,1\n", encoding="utf-8")
    (tmp_path / "cases.csv").write_text(f"case,image,label\na,i.nii.gz,{';'.join(names)}\n", encoding="utf-8")
    (case,) = load_dataset(tmp_path / "cases.csv").cases
    assert case.label_files == tuple(tmp_path / name for name in names)


def test_segmentations_of_3d_slicer_belong_to_the_case_of_their_name(tmp_path: Path) -> None:
    images = ["a_0000.nii.gz", "b.seg_0000.nii.gz"]
    root = make(tmp_path, NNUNET, images=images, labels=["a.seg.nrrd", "b.seg.nrrd"])
    cases = {case.id: case.images[0].name for case in load_dataset(root).cases}
    assert cases == {"a": "a_0000.nii.gz", "b.seg": "b.seg_0000.nii.gz"}  # images may say that .seg is of the name


def test_a_csv_of_dicom_seg_has_the_names_of_their_segments(tmp_path: Path) -> None:
    label = np.zeros((6, 5, 4), np.uint8)
    label[1:3], label[3:5] = 1, 2
    write_segmentation(tmp_path / "a.dcm", label, ["liver", "spleen"])
    write_segmentation(tmp_path / "b.dcm", label, ["Spleen", "Liver"])
    (tmp_path / "cases.csv").write_text("case,image,label\na,a.nii.gz,a.dcm\nb,b.nii.gz,b.dcm\n", encoding="utf-8")
    labels = load_dataset(tmp_path / "cases.csv").labels
    assert [(one.value, one.name) for one in labels] == [(1, "liver"), (2, "spleen")]
    write_map(tmp_path / "c.nii.gz", 1)
    with (tmp_path / "cases.csv").open("a") as stream:
        stream.write("c,c.nii.gz,c.nii.gz\n")
    with pytest.raises(
        DatasetError, match=r"some label maps name their organs \(.*\) and others do not; name the labels"
    ):
        load_dataset(tmp_path / "cases.csv")


def test_names_that_differ_in_capitals_are_refused_but_for_an_earlier_run(tmp_path: Path) -> None:
    root = make(tmp_path, NNUNET | {"labels": {"background": 0, "Kidney": 1, "kidney": 2}}, images=["a_0000.nii.gz"])
    (root / "labelsTr" / "a.nii.gz").touch()
    with pytest.raises(DatasetError, match="differ only in capitals"):
        load_dataset(root)
    labels = load_dataset(root, is_new=False).labels
    assert [(one.value, one.name) for one in labels] == [(1, "Kidney"), (2, "kidney")]


def test_a_background_that_is_not_0_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path, NNUNET | {"labels": {"liver": 0, "background": 1, "spleen": 2}}, images=["a_0000.nii.gz"])
    with pytest.raises(DatasetError, match="label 'background' has the value 1; background is 0, correct the values"):
        load_dataset(root)


def test_a_file_ending_may_lack_its_dot(tmp_path: Path) -> None:
    root = make(tmp_path, NNUNET | {"file_ending": "nii.gz"}, labels=["a.nii.gz"])
    assert load_dataset(root).cases[0].images == (root / "imagesTr" / "a_0000.nii.gz",)


def test_the_files_of_a_folder_are_paired_without_a_look_at_all_images_for_each(tmp_path: Path) -> None:
    walked = 0

    class Walked(dict[str, Path]):
        def __iter__(self) -> Iterator[str]:
            nonlocal walked
            walked += 1
            return super().__iter__()

    names = [f"c{number}" for number in range(20)]
    root = make(tmp_path, None, labels=[f"{name}.nii.gz" for name in names])
    images = Walked({f"{name}_0000": Path(name) for name in names})
    assert sorted(files_by_stem(root / "labelsTr", images)) == sorted(names)
    assert walked == 0
