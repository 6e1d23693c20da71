"""Tests of autoseg.imaging.dicom_segments: DICOM SEG as label maps, by the segments' names, on the image's grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from autoseg.errors import VolumeError
from autoseg.imaging.dicom_segments import segment_names, segmentation_file
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import read_image, read_label, write_label
from autoseg.labels import Label, LabelScheme
from tests.dicom_files import LABEL_MAP, voxels, write_ct, write_segmentation

LABELS = (Label(value=1, name="left_lung"), Label(value=2, name="liver"))
SCHEME = LabelScheme(labels=LABELS)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def two_organs() -> np.ndarray:
    """Segment 1 in slices 2 and 3, segment 2 in slice 3 only, of 6 slices."""
    label = np.zeros((6, 5, 4), np.uint8)
    label[2:4, 1, 1] = 1
    label[3, 3:, 2:] = 2
    return label


@pytest.fixture
def whole(tmp_path: Path) -> Grid:
    """The grid of the series that the segments are drawn on."""
    return read_image([write_ct(tmp_path / "ct", voxels())]).grid


def test_segments_lie_where_their_voxels_are_though_most_slices_have_no_frame(tmp_path: Path, whole: Grid) -> None:
    file = write_segmentation(tmp_path / "a.dcm", two_organs(), ["Left Lung", "Liver"])
    label = read_label(file, whole, SCHEME)
    assert label.grid == whole
    assert np.array_equal(label.array, two_organs())
    assert label.remarks == ()


def test_names_decide_and_not_numbers(tmp_path: Path, whole: Grid) -> None:
    file = write_segmentation(tmp_path / "a.dcm", two_organs(), ["liver", "LEFT LUNG"])
    assert np.array_equal(read_label(file, whole, SCHEME).array, np.array([0, 2, 1])[two_organs()])


def test_numbers_count_with_a_warning_where_no_label_has_such_names(tmp_path: Path, whole: Grid) -> None:
    label = read_label(write_segmentation(tmp_path / "a.dcm", two_organs(), ["Lunge", "Leber"]), whole, SCHEME)
    assert np.array_equal(label.array, two_organs())
    assert [(one.code, one.is_doubtful) for one in label.remarks] == [("segments-by-number", True)]
    assert "Lunge as left_lung, Leber as liver" in label.remarks[0].found


@pytest.mark.parametrize("names", [["liver", "tumour"], ["Lunge", "Leber", "Milz"]], ids=["one name", "three numbers"])
def test_a_segment_that_is_no_label_is_refused(tmp_path: Path, whole: Grid, names: list[str]) -> None:
    file = write_segmentation(tmp_path / "a.dcm", np.arange(120).reshape(6, 5, 4) % (len(names) + 1), names)
    with pytest.raises(
        VolumeError, match=f"no label is called as its segments .*{names[-1]}.* the labels are left_lung, "
    ):
        read_label(file, whole, SCHEME)


def test_a_segment_without_voxels_need_not_be_a_label(tmp_path: Path, whole: Grid) -> None:
    file = write_segmentation(tmp_path / "a.dcm", two_organs(), ["left_lung", "liver", "tumour"])
    assert np.array_equal(read_label(file, whole, SCHEME).array, two_organs())


def test_overlapping_segments_are_refused_with_the_number_of_voxels(tmp_path: Path, whole: Grid) -> None:
    masks = [two_organs() > 0, two_organs() == 2]
    file = write_segmentation(tmp_path / "a.dcm", two_organs(), ["left lung", "liver"], masks=masks)
    with pytest.raises(VolumeError, match="left lung and liver overlap in 4 voxels, and a label map has one value"):
        read_label(file, whole, SCHEME)


def write_fractions(file: Path, masks: list[np.ndarray], most: int = 200) -> Path:
    """Write a fractional segment of each array of shares of `most`."""
    fields = {"SegmentationType": "FRACTIONAL", "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    stack = np.concatenate([mask[mask.any(axis=(1, 2))] for mask in masks]).astype(np.uint8)
    fields |= {"MaximumFractionalValue": most, "PixelData": stack.tobytes()}
    names = ["left lung", "liver"][: len(masks)]
    return write_segmentation(file, two_organs(), names, masks=[mask > 0 for mask in masks], **fields)


def test_of_fractions_the_voxels_above_one_half_count_and_that_is_told(tmp_path: Path, whole: Grid) -> None:
    organ = two_organs() == 1
    label = read_label(write_fractions(tmp_path / "a.dcm", [organ * 200]), whole, LabelScheme(labels=LABELS[:1]))
    assert np.array_equal(label.array, organ)
    assert label.remarks == ()
    lung, liver = np.zeros((6, 5, 4)), np.zeros((6, 5, 4))
    lung[2, 1, :3], liver[2, 1, :3] = (101, 100, 99), (99, 100, 101)
    label = read_label(write_fractions(tmp_path / "b.dcm", [lung, liver]), whole, SCHEME)
    assert label.array[2, 1].tolist() == [1, 0, 2, 0]
    assert [(one.code, one.is_doubtful) for one in label.remarks] == [("segments-fractional", False)]
    assert "fractional, 6 voxels of it between 0 and 1; those above one half count" in label.remarks[0].found


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
def test_highdicoms_own_reader_sees_the_same_segments(tmp_path: Path, whole: Grid, kind: str) -> None:
    hd = pytest.importorskip("highdicom")
    series = [pydicom.dcmread(file) for file in sorted((tmp_path / "ct").iterdir())]
    for one in series:
        one.AccessionNumber = one.StudyDate = one.StudyTime = one.ReferringPhysicianName = ""
        one.StudyID = one.PatientBirthDate = one.PatientSex = ""
    code = hd.sr.CodedConcept("91723000", "SCT", "Anatomical structure")
    described = [
        hd.seg.SegmentDescription(number, name, code, code, hd.seg.SegmentAlgorithmTypeValues.MANUAL)
        for number, name in enumerate(("whole", "core"), start=1)
    ]
    shares = np.random.default_rng(0).random((6, 5, 4, 2))
    shares[..., 1] *= shares[..., 0] > 0.5  # the core lies within
    stored = shares if kind == "FRACTIONAL" else (shares > 0.5).astype(np.uint8)
    written = hd.seg.Segmentation(
        series, stored, kind, described, hd.UID(), 1, hd.UID(), 1, "a", "b", "1", "2", max_fractional_value=100
    )
    written.save_as(tmp_path / "a.dcm")
    read = hd.seg.segread(tmp_path / "a.dcm")
    theirs = read.get_volume(combine_segments=False, rescale_fractional=True).array  # (slices, rows, columns, segment)
    theirs = theirs[::-1] if read.get_volume().affine[2, 0] < 0 else theirs
    regions = LabelScheme(labels=(Label(value=1, name="whole"), Label(value=2, name="core")), regions=((1, 2), (2,)))
    ours = read_label(tmp_path / "a.dcm", whole, regions).array
    assert np.array_equal(ours > 0, theirs[..., 0] > 0.5)
    assert np.array_equal(ours == 2, theirs[..., 1] > 0.5)


def test_a_label_map_segmentation_is_read_by_its_names(tmp_path: Path, whole: Grid) -> None:
    fields = {
        "SOPClassUID": LABEL_MAP,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "SegmentationType": "LABELMAP",
    }
    everywhere = [np.ones((6, 5, 4), bool)]
    file = write_segmentation(
        tmp_path / "a.dcm",
        two_organs(),
        ["liver", "left lung"],
        masks=everywhere,
        PixelData=two_organs().tobytes(),
        **fields,
    )
    assert np.array_equal(read_label(file, whole, SCHEME).array, np.array([0, 2, 1])[two_organs()])


def test_slices_twice_as_far_apart_are_not_taken_for_every_second_slice(tmp_path: Path, whole: Grid) -> None:
    thick = write_segmentation(tmp_path / "a.dcm", np.ones((3, 5, 4), np.uint8), ["liver"], step_mm=5.0)
    assert read_label(thick, whole, SCHEME).array.shape == (3, 5, 4)  # which check and score refuse


def test_a_sagittal_series_with_its_segments(tmp_path: Path) -> None:
    series = read_image([write_ct(tmp_path / "ct", voxels(), orientation=SAGITTAL)])
    normal = np.cross(SAGITTAL[:3], SAGITTAL[3:])
    file = write_segmentation(tmp_path / "a.dcm", two_organs(), ["left lung", "liver"])

    one = pydicom.dcmread(file)
    one.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = list(SAGITTAL)
    for group in one.PerFrameFunctionalGroupsSequence:
        number = (float(group.PlanePositionSequence[0].ImagePositionPatient[2]) + 20) / 2.5
        place = np.array([-30, -40, -20]) + 2.5 * number * normal
        group.PlanePositionSequence[0].ImagePositionPatient = [f"{v:g}" for v in place]
    one.save_as(file)
    label = read_label(file, series.grid, SCHEME)
    assert label.grid == series.grid
    series_label = np.zeros_like(series.array[0], dtype=np.uint8)
    stored = voxels().ravel().tolist()
    for value in (1, 2):  # an image's voxel tells which of the series' voxels it is
        wanted_hu = [stored[n] for n in np.flatnonzero(two_organs().ravel() == value)]
        series_label[np.isin(series.array[0], wanted_hu)] = value
    assert np.array_equal(label.array, series_label)


def test_a_folder_of_one_segmentation_is_that_segmentation(tmp_path: Path) -> None:
    write_segmentation(tmp_path / "a" / "1-1.dcm", two_organs(), ["left lung", "liver"])
    assert segment_names(tmp_path / "a") == {1: "left lung", 2: "liver"}
    write_segmentation(tmp_path / "a" / "1-2.dcm", two_organs(), ["left lung", "liver"])
    with pytest.raises(VolumeError, match="holds several DICOM SEG"):
        segmentation_file(tmp_path / "a")


def test_other_files_have_no_segments(tmp_path: Path) -> None:
    write_label(tmp_path / "a.nrrd", np.ones((3, 3, 3), np.uint8), Grid(shape=(3, 3, 3), spacing_mm=(1, 1, 1)))
    write_ct(tmp_path / "ct", voxels())
    assert segment_names(tmp_path / "a.nrrd") == segment_names(tmp_path / "ct") == {}


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"PixelData": b"\1\2"}, "its frames cannot be read"),
        ({"PerFrameFunctionalGroupsSequence": []}, "its header cannot be used"),
        ({"SegmentSequence": []}, "a frame of segment 1, which is not described"),
    ],
)
def test_a_damaged_segmentation_is_one_line(tmp_path: Path, whole: Grid, fields: dict[str, object], cause: str) -> None:
    file = write_segmentation(tmp_path / "a.dcm", two_organs(), ["left lung", "liver"], **fields)
    with pytest.raises(VolumeError, match=cause):
        read_label(file, whole, SCHEME)
