"""Tests of autoseg.imaging.dicom_contours: RTSTRUCT as label maps, voxel for voxel on the image's grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autoseg.errors import VolumeError
from autoseg.imaging.dicom_contours import remarks_on_series, structure_file, structure_names
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import read_image, read_label
from autoseg.labels import Label, LabelScheme
from tests.dicom_files import square, voxels, write_ct, write_structures

LABELS = (Label(value=1, name="left_lung"), Label(value=2, name="liver"))
SCHEME = LabelScheme(labels=LABELS)
LUNG = ("Left Lung", [square(2, (1, 1), (1, 1)), square(3, (1, 1), (1, 1))])
LIVER = ("LIVER", [square(3, (2, 3), (3, 4))])


@pytest.fixture
def whole(tmp_path: Path) -> Grid:
    """The grid of 6 slices of 5 × 4 voxels that the structures are drawn on."""
    return read_image([write_ct(tmp_path / "ct", voxels())]).grid


def test_voxels_whose_centres_lie_within_contours_are_the_structures_by_name(tmp_path: Path, whole: Grid) -> None:
    label = read_label(write_structures(tmp_path / "rs.dcm", [LIVER, LUNG]), whole, SCHEME)
    expected = np.zeros((6, 5, 4), int)
    expected[2:4, 1, 1] = 1
    expected[3, 3:, 2:] = 2
    np.testing.assert_array_equal(label.array, expected)
    assert label.grid == whole
    assert label.remarks == ()


def test_a_contour_within_another_is_a_hole(tmp_path: Path, whole: Grid) -> None:
    ring = ("liver", [square(2, (0, 0), (3, 4)), square(2, (1, 1), (2, 3))])
    label = read_label(write_structures(tmp_path / "rs.dcm", [ring, LUNG]), whole, LabelScheme(labels=LABELS[1:]))
    assert (label.array == 2).sum() == 4 * 5 - 2 * 3


def test_structures_without_label_and_labels_without_structure_are_told(tmp_path: Path, whole: Grid) -> None:
    body = ("BODY", [square(z, (0, 0), (3, 4)) for z in range(6)])
    label = read_label(write_structures(tmp_path / "rs.dcm", [body, LIVER]), whole, SCHEME)
    assert np.unique(label.array).tolist() == [0, 2]
    left_out, lacking = label.remarks
    assert (left_out.code, left_out.is_doubtful) == ("structures-left-out", False)
    assert left_out.found.endswith("left out: BODY")
    assert (lacking.code, lacking.is_doubtful) == ("structures-lacking", True)
    assert lacking.found == "no structure has the name of a label: left_lung; there are BODY, LIVER"


def test_borders_drawn_twice_are_told_and_an_organ_within_another_is_refused(tmp_path: Path, whole: Grid) -> None:
    lung = ("left lung", [square(z, (0, 0), (2, 3)) for z in range(4)])  # 48 voxels
    liver = ("liver", [square(z, (2, 3), (3, 4)) for z in range(1)] + [square(z, (3, 0), (3, 4)) for z in range(1, 4)])
    label = read_label(write_structures(tmp_path / "rs.dcm", [lung, liver]), whole, SCHEME)
    assert [(one.code, one.found) for one in label.remarks] == [
        ("masks-overlap", "borders overlap: left lung and liver in 1 voxel; the label with the higher value has them")
    ]
    assert label.array[0, 3, 2] == 2
    assert (label.array == 1).sum() == 47
    inner = ("liver", [square(1, (1, 1), (1, 1))])
    with pytest.raises(VolumeError, match=r"left lung and liver overlap in 1 voxel, and a label map has one value"):
        read_label(write_structures(tmp_path / "rs.dcm", [lung, inner]), whole, SCHEME)


@pytest.mark.parametrize(
    ("structures", "message"),
    [
        ([("liver", LIVER[1]), ("Liver ", LUNG[1])], "two structures are called liver and Liver; rename or remove one"),
        ([("Leber", LIVER[1])], "no label is called as its structures Leber are; the labels are left_lung, liver"),
        ([("liver", [square(3, (2, 3), (9, 4))])], "1 of 1 contour of liver reach outside the image; give the"),
        ([("liver", [square(8, (2, 3), (3, 4))])], "1 of 1 contour of liver reach outside the image; give the"),
        ([("liver", [square(2.5, (2, 3), (3, 4))])], "its contours lie between the image's slices; give the image"),
        ([("liver", [[(-30, -40, -20), (-29, -39, -17), (-28, -40, -14)]])], "its contours are oblique to the image's"),
    ],
)  # fmt: skip
def test_what_no_label_map_can_be_made_of_is_refused_in_one_line(
    structures: list, message: str, tmp_path: Path, whole: Grid
) -> None:
    file = write_structures(tmp_path / "rs.dcm", structures)
    with pytest.raises(VolumeError, match=message) as refused:
        read_label(file, whole, SCHEME)
    assert str(refused.value).startswith(f"{file}: ")
    assert "\n" not in str(refused.value)


def test_contours_that_skip_slices_are_told(tmp_path: Path, whole: Grid) -> None:
    liver = ("liver", [square(z, (1, 1), (2, 2)) for z in (1, 3, 5)])
    (remark,) = read_label(
        write_structures(tmp_path / "rs.dcm", [liver]), whole, LabelScheme(labels=LABELS[1:])
    ).remarks
    assert (remark.code, remark.is_doubtful) == ("contours-sparse", True)
    assert "liver" in remark.found


def test_points_and_lines_are_no_structure(tmp_path: Path) -> None:
    assert structure_names(write_structures(tmp_path / "rs.dcm", [LIVER], kind="POINT")) == {}
    assert structure_names(write_structures(tmp_path / "rs.dcm", [LIVER, LUNG])) == {1: "LIVER", 2: "Left Lung"}


def test_a_folder_means_its_only_rtstruct(tmp_path: Path) -> None:
    file = write_structures(tmp_path / "rs" / "a.dcm", [LIVER])
    assert structure_file(tmp_path / "rs") == file
    write_structures(tmp_path / "rs" / "b.dcm", [LIVER])
    with pytest.raises(VolumeError, match="holds several RTSTRUCT; name the file of the one that is meant"):
        structure_file(tmp_path / "rs")


def test_an_rtstruct_of_another_series_is_refused_unless_the_frame_of_reference_is_one(tmp_path: Path) -> None:
    ct = write_ct(tmp_path / "ct", voxels())
    assert remarks_on_series(write_structures(tmp_path / "rs.dcm", [LIVER]), ct) == ()
    with pytest.raises(
        VolumeError, match=r"drawn on another series \(1\.9\) than ct holds \(1\.2\.5\); give the image"
    ):
        remarks_on_series(write_structures(tmp_path / "rs.dcm", [LIVER], series="1.9", frame="1.8"), ct)
    (remark,) = remarks_on_series(write_structures(tmp_path / "rs.dcm", [LIVER], series="1.9"), ct)
    assert remark.found == "the RTSTRUCT was drawn on another series with the same frame of reference"
    (remark,) = remarks_on_series(write_structures(tmp_path / "rs.dcm", [LIVER], series=""), ct)
    assert remark.found == "the RTSTRUCT names no series"


def test_a_damaged_one_and_one_without_image_are_refused(tmp_path: Path, whole: Grid) -> None:
    file = write_structures(tmp_path / "rs.dcm", [LIVER])
    with pytest.raises(VolumeError, match="is an RTSTRUCT, which has no voxels; give it with its image"):
        read_label(file)
    file.write_bytes(file.read_bytes().replace(b"-28.5", b"-2x.5"))
    with pytest.raises(VolumeError, match=r"its contours cannot be read .*; export it again"):
        read_label(file, whole, SCHEME)


def test_a_planning_systems_contours_are_the_voxels_of_their_nifti_twin(real_data: Path) -> None:
    folder = real_data / "dicom" / "thigh_rtstruct"
    image = read_image([folder / "image"])
    scheme = LabelScheme(labels=(Label(value=1, name="GTV mass CT"),))
    label = read_label(folder / "mask" / "RS.dcm", image.grid, scheme)
    np.testing.assert_array_equal(label.array, read_label(folder / "CT_mask.nii.gz", image.grid).array)
    assert label.array.sum() == 17090
