"""Tests of autoseg.imaging.mask_folder: one mask an organ, matched to labels by the files' names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autoseg.dataset.survey import labels_by_value
from autoseg.errors import VolumeError
from autoseg.imaging.grid import Grid, to_lps
from autoseg.imaging.mask_folder import mask_names
from autoseg.imaging.volumes import read_label, write_array
from autoseg.labels import Label, LabelScheme

WHOLE = Grid(shape=(6, 5, 4), spacing_mm=(2.0, 1.0, 1.0))
LABELS = (Label(value=1, name="left_lung"), Label(value=2, name="liver"))
SCHEME = LabelScheme(labels=LABELS)
LABEL = np.zeros(WHOLE.shape, np.uint8)
LABEL[2:4, 1, 1], LABEL[3:, 3:, 2:] = 1, 2


def write(folder: Path, grid: Grid = WHOLE, **masks: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    for name, mask in masks.items():
        write_array(folder / f"{name}.nii.gz", mask.astype(np.uint8), grid)
    return folder


def test_masks_become_the_label_map_that_they_were_taken_from(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", Liver=255 * (LABEL == 2), Left_Lung=LABEL == 1, skin=LABEL < 9)
    (folder / "notes.txt").touch()
    for whole in (None, WHOLE):
        label = read_label(folder, whole, SCHEME)
        np.testing.assert_array_equal(label.array, LABEL)
        assert [one.found for one in label.remarks] == ["masks that no label names are left out: skin"]


def test_masks_may_be_stored_along_other_axes_than_the_image(tmp_path: Path) -> None:
    turned = Grid(
        shape=(6, 5, 4), spacing_mm=(2.0, 1.0, 1.0), origin_mm=(3.0, 0.0, 0.0), direction=(-1, 0, 0, 0, 1, 0, 0, 0, 1)
    )
    assert to_lps(turned)[1] == WHOLE
    folder = write(tmp_path / "a", liver=LABEL == 2)
    write(folder, turned, left_lung=(LABEL == 1)[..., ::-1])
    np.testing.assert_array_equal(read_label(folder, WHOLE, SCHEME).array, LABEL)


def test_a_label_without_mask_is_told(tmp_path: Path) -> None:
    (remark,) = read_label(write(tmp_path / "a", liver=LABEL == 2), WHOLE, SCHEME).remarks
    assert (remark.code, remark.is_doubtful) == ("structures-lacking", True)
    assert remark.found == "no mask has the name of a label: left_lung; there are liver"


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"liver": LABEL, "left_lung": LABEL == 1}, r"liver\.nii\.gz: holds 2 values beside 0, from 1 to 2, and"),
        ({"liver": LABEL > 0, "left_lung": LABEL == 1}, "left_lung and liver overlap in 2 voxels, and a"),
        ({"liver": LABEL == 2, "LIVER": LABEL == 1}, "two masks are called LIVER and liver; rename or"),
        ({"Leber": LABEL == 2}, "no label is called as its masks Leber are; the labels are left_lung, liver"),
    ],
)  # fmt: skip
def test_what_no_label_map_can_be_made_of_is_refused_in_one_line(
    masks: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "a", **masks)
    with pytest.raises(VolumeError, match=message) as refused:
        read_label(folder, WHOLE, SCHEME)
    assert str(refused.value).startswith(str(folder))
    assert "\n" not in str(refused.value)


def test_an_empty_folder_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="masks: is an empty folder; put one mask an organ into it"):
        read_label(write(tmp_path / "masks"), WHOLE)


def test_masks_on_other_grids_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", left_lung=LABEL == 1)
    write(folder, Grid(shape=(3, 5, 4), spacing_mm=(4.0, 1.0, 1.0)), liver=LABEL[::2] == 2)
    with pytest.raises(
        VolumeError, match=r"liver\.nii\.gz: its grid differs from that of left_lung\.nii\.gz \(\(3, 5, 4\)"
    ):
        read_label(folder, WHOLE, SCHEME)
    write(folder, Grid(shape=(6, 5, 4), spacing_mm=(2.0, 1.0, 1.0), origin_mm=(7.0, 0.0, 0.0)), liver=LABEL == 2)
    with pytest.raises(VolumeError, match=r"its grid differs from that of .* \(corners 7 mm apart"):
        read_label(folder, WHOLE, SCHEME)


def test_one_name_with_two_suffixes_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", liver=LABEL == 2)
    write_array(folder / "liver.mha", LABEL, WHOLE)
    with pytest.raises(VolumeError, match=r"liver\.mha and liver\.nii\.gz are masks of one name; remove one"):
        mask_names(folder)


def test_without_names_of_labels_those_of_the_files_are_taken(tmp_path: Path) -> None:
    folders = [write(tmp_path / "a", liver=LABEL == 2, lung=LABEL == 1), write(tmp_path / "b", lung=LABEL == 1)]
    labels = labels_by_value(tmp_path, {folder.name: (folder,) for folder in folders})
    assert [(one.value, one.name) for one in labels] == [(1, "liver"), (2, "lung")]
    np.testing.assert_array_equal(read_label(folders[1], WHOLE, LabelScheme(labels=labels)).array, 2 * (LABEL == 1))
