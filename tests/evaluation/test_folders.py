"""Scoring two folders: grids first, one bad pair never loses the others, no good file is replaced."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from autoseg.dataset.label_table import names_in_files
from autoseg.dataset.metadata import labelled_organs, organ_names
from autoseg.errors import DatasetError, RunError
from autoseg.evaluation.folders import PartlyScoredError, require_free, score_folders
from autoseg.evaluation.pairs import form_of_scores
from autoseg.evaluation.scores import Row
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import write_array
from autoseg.inference.outputs.legend import segment_fields
from autoseg.labels import Label
from autoseg.part_notes import part_notes
from autoseg.parts import Part
from tests.dicom_files import write_segmentation
from tests.slicer_files import write_layers

GRID = Grid(shape=(2, 3, 4), spacing_mm=(2.0, 1.0, 1.0))
TRUTH = np.array([0, 1, 1, 1] * 6, dtype=np.uint8).reshape(2, 3, 4)
FOUND = np.array([0, 0, 1, 1] * 6, dtype=np.uint8).reshape(2, 3, 4)  # Dice 2·12 / (12 + 18) = 0.8


def folders(tmp_path: Path, **masks: tuple[np.ndarray, Grid]) -> tuple[Path, Path]:
    """Two folders with the case `good`, and predictions of further cases whose truth is TRUTH."""
    for name, (found, grid) in {"good": (FOUND, GRID), **masks}.items():
        write_array(tmp_path / "found" / f"{name}.nii.gz", found, grid)
        write_array(tmp_path / "truth" / f"{name}.nii.gz", TRUTH, GRID)
    return tmp_path / "found", tmp_path / "truth"


def value(rows: list[Row], metric: str, case: str = "good") -> object:
    return next(row["value"] for row in rows if row["metric"] == metric and row["case"] == case)


def test_a_pair_by_hand(tmp_path: Path) -> None:
    rows = score_folders(*folders(tmp_path))
    assert value(rows, "dice") == pytest.approx(0.8)
    assert value(rows, "iou") == pytest.approx(12 / 18)
    assert value(rows, "volume_difference_ml") == pytest.approx(-6 * 2 / 1000)
    assert value(rows, "volume_difference_percent") == pytest.approx(-100 / 3)
    assert value(rows, "hd100_mm") == 1.0
    assert value(rows, "nsd_2mm") == 1.0
    assert {row["organ"] for row in rows} == {"label 1"}


def test_names_decide_what_is_scored_and_the_tolerance_stands_in_the_metric(tmp_path: Path) -> None:
    rows = score_folders(*folders(tmp_path), names={1: "liver", 7: "vein"}, tolerance_mm=0.5)
    assert {row["organ"] for row in rows} == {"liver", "vein"}
    assert value(rows, "nsd_0.5mm") == pytest.approx(
        24 / 30
    )  # of 12 + 18 border voxels, the 6 at the edge are 1 mm off


@pytest.mark.parametrize(
    ("found", "grid", "cause"),
    [
        (FOUND, Grid(shape=GRID.shape, spacing_mm=GRID.spacing_mm, origin_mm=(0.5, 0, 0)), "corners 0.5 mm apart"),
        (FOUND[:1], Grid(shape=(1, 3, 4), spacing_mm=GRID.spacing_mm), r"\(1, 3, 4\) voxels"),
        (FOUND.astype(np.int16) - 2, GRID, "values from -2 to -1; labels lie from 0"),
    ],
    ids=["shifted", "another shape", "negative values"],
)
def test_a_bad_pair_is_told_and_the_others_are_kept(tmp_path: Path, found: np.ndarray, grid: Grid, cause: str) -> None:
    with pytest.raises(PartlyScoredError, match=cause) as caught:
        score_folders(*folders(tmp_path, bad=(found, grid)))
    assert value(caught.value.rows, "dice") == pytest.approx(0.8)
    assert list(caught.value.causes) == ["bad"]


def test_references_without_a_prediction_are_failures_unless_they_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found, truth = folders(tmp_path, alone=(FOUND, GRID))
    (found / "alone.nii.gz").unlink()
    with pytest.raises(PartlyScoredError, match=r"has no prediction in .*; --common omits it"):
        score_folders(found, truth)
    rows = score_folders(found, truth, common=True)
    assert {row["case"] for row in rows} == {"good"}
    assert "left out, as without a prediction: 1 reference" in caplog.text


def test_flipped_axes_are_no_other_grid(tmp_path: Path) -> None:
    turned = Grid(
        shape=GRID.shape, spacing_mm=GRID.spacing_mm, origin_mm=(3.0, 0, 0), direction=(-1, 0, 0, 0, 1, 0, 0, 0, 1)
    )
    rows = score_folders(*folders(tmp_path, turned=(FOUND[:, :, ::-1], turned)))
    assert value(rows, "dice", "turned") == pytest.approx(0.8)


def test_two_masks_of_one_name_are_refused(tmp_path: Path) -> None:
    found, truth = folders(tmp_path)
    write_array(found / "good.nrrd", FOUND, GRID)
    with pytest.raises(RunError, match=r"good\.nrrd: has the name of good\.nii\.gz"):
        score_folders(found, truth)


def test_dicom_seg_are_scored_by_the_names_of_their_segments(tmp_path: Path) -> None:
    label = np.zeros((6, 5, 4), np.uint8)
    label[1:3, 1:3], label[3:5, 3:] = 1, 2
    write_segmentation(tmp_path / "found" / "a.seg.dcm", label, ["liver", "vein"])
    write_segmentation(tmp_path / "truth" / "a.dcm", np.array([0, 2, 1])[label], ["vein", "liver"])
    rows = score_folders(tmp_path / "found", tmp_path / "truth")
    assert {(row["organ"], row["value"]) for row in rows if row["metric"] == "dice"} == {("liver", 1.0), ("vein", 1.0)}
    names = score_folders(tmp_path / "found", tmp_path / "truth", names={7: "vein", 9: "liver"})
    assert {(row["label"], row["value"]) for row in names if row["metric"] == "dice"} == {(7, 1.0), (9, 1.0)}


def test_dicom_seg_against_other_masks_need_the_organs_names(tmp_path: Path) -> None:
    label = np.zeros((6, 5, 4), np.uint8)
    label[1:3, 1:3] = 1
    write_segmentation(tmp_path / "found" / "a.dcm", label, ["liver"])
    grid = Grid(shape=label.shape, spacing_mm=(2.5, 1.0, 1.0), origin_mm=(-30.0, -40.0, -20.0))
    write_array(tmp_path / "truth" / "a.nii.gz", label * 5, grid)
    with pytest.raises(RunError, match=r"some masks name their organs .* others do not; name the organs with --labels"):
        score_folders(tmp_path / "found", tmp_path / "truth")
    assert value(score_folders(tmp_path / "found", tmp_path / "truth", names={5: "liver"}), "dice", "a") == 1.0


def write_slicer(file: Path, array: np.ndarray, *names: str) -> None:
    """Write segments, numbered from 1, in one layer as 3D Slicer does."""
    labels = [Label(value=value, name=name) for value, name in enumerate(names, start=1)]
    write_array(file, array, GRID, segment_fields(labels, GRID.shape))


def test_segmentations_of_3d_slicer_belong_to_their_case_and_are_scored_by_name(tmp_path: Path) -> None:
    found, truth = tmp_path / "found", tmp_path / "truth"
    write_slicer(found / "a.seg.nrrd", 2 * TRUTH, "vein", "liver")
    write_slicer(truth / "a.seg.nrrd", TRUTH, "liver", "vein")
    assert {row["organ"]: row["value"] for row in score_folders(found, truth) if row["metric"] == "dice"} == {
        "liver": 1.0,
        "vein": None,
    }
    (found / "a.seg.nrrd").unlink()
    write_layers(found / "a.seg.nrrd", {"Liver": TRUTH > 0, "vein": TRUTH < 0}, GRID)
    rows = score_folders(found, truth)
    assert value(rows, "dice", "a") == 1.0
    assert {row["organ"] for row in rows} == {"Liver", "vein"}


def test_segments_of_3d_slicer_go_by_their_values_against_masks_without_names(tmp_path: Path) -> None:
    found, truth = tmp_path / "found", tmp_path / "truth"
    write_array(found / "a.nii.gz", TRUTH, GRID)
    write_array(found / "b.seg.nii.gz", TRUTH, GRID)
    for name in "ab":
        write_slicer(truth / f"{name}.seg.nrrd", TRUTH, "liver")
    rows = score_folders(found, truth)
    assert {(row["case"], row["organ"]) for row in rows} == {("a", "label 1"), ("b.seg", "label 1")}
    assert value(rows, "dice", "a") == value(score_folders(found, truth, {1: "liver"}), "dice", "b.seg") == 1.0


def test_layers_of_3d_slicer_against_masks_without_names_need_the_organs_names(tmp_path: Path) -> None:
    found, truth = folders(tmp_path)
    (truth / "good.nii.gz").unlink()
    write_layers(truth / "good.seg.nrrd", {"vein": TRUTH < 0, "liver": TRUTH > 0}, GRID)
    with pytest.raises(RunError, match="name the organs with --labels"):
        score_folders(found, truth)
    assert value(score_folders(found, truth, {1: "liver"}), "dice") == pytest.approx(0.8)


def test_an_image_beside_its_segmentation_is_not_taken_for_a_mask(tmp_path: Path) -> None:
    found, truth = folders(tmp_path)
    write_slicer(truth / "good.seg.nrrd", TRUTH, "liver")
    with pytest.raises(RunError, match=r"good\.seg\.nrrd: has the name of good\.nii\.gz; move one of them away"):
        score_folders(found, truth)


def test_a_mask_has_precedence_over_the_dicom_seg_beside_it(tmp_path: Path) -> None:
    found, truth = folders(tmp_path)
    write_segmentation(found / "good.seg.dcm", np.ones((6, 5, 4), np.uint8), ["liver"])
    assert value(score_folders(found, truth), "dice") == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"background": 0, "liver": 1, "vein": 2}, {1: "liver", 2: "vein"}),  # nnU-Net
        ({"0": "background", "1": "liver"}, {1: "liver"}),  # Decathlon
        ([{"value": 3, "name": "liver"}], {3: "liver"}),  # plan.json
    ],
)
def test_names_are_read_from_any_of_the_three_files(tmp_path: Path, labels: object, expected: dict[int, str]) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}), encoding="utf-8")
    assert organ_names(tmp_path / "dataset.json") == expected
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}), encoding="utf-8-sig")  # as Windows writes it
    assert organ_names(tmp_path / "dataset.json") == expected


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("[]", "no label names"),
        ('{"labels": {"x": -1}}', "has the value -1"),
        ('{"labels": {"x": [1, 2]}}', "regions need .regions_class_order., .* painted as: x; add it"),
    ],
)
def test_a_file_without_fit_names_is_refused(tmp_path: Path, text: str, cause: str) -> None:
    (tmp_path / "d.json").write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=cause):
        organ_names(tmp_path / "d.json")


def test_the_scores_of_a_run_and_a_folder_are_not_replaced(tmp_path: Path) -> None:
    require_free(tmp_path / "scores.csv")
    (tmp_path / "plan.json").write_text("{}", encoding="utf-8")
    require_free(tmp_path / "others.csv")
    with pytest.raises(RunError, match="holds the RUN's own scores"):
        require_free(tmp_path / "scores.csv")
    with pytest.raises(RunError, match="is a folder"):
        require_free(tmp_path)


def test_an_organ_that_is_not_labelled_in_a_case_is_not_scored_there(tmp_path: Path) -> None:
    both = folders(tmp_path, other=(FOUND, GRID))
    names = tmp_path / "dataset.json"
    names.write_text(json.dumps({"labels": {"liver": 1, "vein": 7}, "labelled": {"other": ["vein"]}}))
    rows = score_folders(*both, names=organ_names(names), labelled=labelled_organs(names))
    assert {(row["case"], row["organ"]) for row in rows} == {("good", "liver"), ("good", "vein"), ("other", "vein")}


@pytest.mark.parametrize("labelled", [["case7"], 5, {"case7": "liver"}, {"case7": ["vein"]}])
def test_a_file_that_names_labelled_organs_wrongly_is_refused(tmp_path: Path, labelled: object) -> None:
    file = tmp_path / "dataset.json"
    file.write_text(json.dumps({"labels": {"liver": 1}, "labelled": labelled}))
    with pytest.raises(DatasetError, match=r"dataset\.json: labelled"):
        labelled_organs(file)


@pytest.mark.parametrize("names", [None, {1: "liver"}])
def test_a_value_in_one_folder_alone_is_named_with_its_side(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, names: dict[int, str] | None
) -> None:
    for case in ("a", "b"):
        write_array(tmp_path / "found" / f"{case}.nii.gz", FOUND * np.uint8(255), GRID)
        write_array(tmp_path / "truth" / f"{case}.nii.gz", TRUTH, GRID)
    rows = score_folders(tmp_path / "found", tmp_path / "truth", names)
    assert value(rows, "dice", "a") == 0.0
    assert (
        f"label 255 in masks of {tmp_path / 'found'} only, label 1 in masks of {tmp_path / 'truth'} only" in caplog.text
    )


def test_values_in_both_folders_are_no_reason_to_warn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    score_folders(*folders(tmp_path))
    assert "only" not in caplog.text


def test_an_organ_that_the_reference_does_not_show_is_not_one_sided(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_array(tmp_path / "found" / "a.nii.gz", TRUTH + np.uint8(1) * (TRUTH == 0) * 2, GRID)  # 2 where the truth is 0
    write_array(tmp_path / "truth" / "a.nii.gz", TRUTH, GRID)
    score_folders(tmp_path / "found", tmp_path / "truth", {1: "liver", 2: "vein"}, labelled={"a": [1]})
    assert "only" not in caplog.text


def test_a_mask_whose_name_is_not_utf_8_is_told_and_the_others_are_scored(tmp_path: Path) -> None:
    found, truth = folders(tmp_path, other=(FOUND, GRID))
    for folder in (found, truth):
        (folder / "other.nii.gz").rename(folder / os.fsdecode(b"caf\xe9.nii.gz"))
    with pytest.raises(PartlyScoredError, match="its name is not UTF-8 text; rename both masks") as caught:
        score_folders(found, truth)
    assert list(caught.value.causes) == [r"caf\xe9"]
    assert value(caught.value.rows, "dice") == pytest.approx(0.8)


def test_a_part_tells_of_the_failures_of_its_share_and_nothing_of_all_masks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found, truth = folders(tmp_path, last=(FOUND * 2, GRID))
    for name in ("lost", "missing"):
        write_array(truth / f"{name}.nii.gz", TRUTH, GRID)
    failures: list[str] = []
    for part in (Part(1, 2), Part(2, 2)):
        with part_notes(tmp_path / "scores.csv", "autoseg score", part, form_of_scores()) as notes:
            try:
                score_folders(found, truth, {1: "liver", 2: "vein", 3: "gall"}, notes=notes)
            except PartlyScoredError as error:
                failures.extend(error.causes)
    assert failures == ["lost", "missing"]
    assert caplog.messages == []


def test_what_files_call_organs_is_known_from_a_plan_and_from_the_table_beside_a_dataset(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"labels": [{"value": 1, "name": "heart", "names": ["HEART*"]}]}))
    assert names_in_files(plan) == {1: ("HEART*",)}
    for damaged in (None, "HEART", 5):
        plan.write_text(json.dumps({"labels": [{"value": 1, "name": "heart", "names": damaged}]}))
        assert names_in_files(plan) == {1: ()}
    many = {f"organ {n}": n for n in range(300)}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": many}))
    assert names_in_files(tmp_path / "dataset.json") == {}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "heart": 1, "lung": 2}}))
    assert names_in_files(tmp_path / "dataset.json") == {}
    (tmp_path / "labels.csv").write_text("organ,value,names\nheart,1,HEART*\n")
    assert names_in_files(tmp_path / "dataset.json")[1] == ("HEART*",)


def test_a_file_for_scores_that_cannot_be_written_is_refused_before_anything_is_scored(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot be written .*; give another FILE"):
        require_free(tmp_path / "file" / "scores.csv")
