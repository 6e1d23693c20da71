"""Tests of autoseg.inference.outputs.dicom_seg: what is written is read back frame by frame with pydicom alone."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import voxels, write_ct, write_enhanced

from autoseg.errors import VolumeError
from autoseg.imaging.grid import to_lps
from autoseg.imaging.volumes import Volume, read_image, read_label
from autoseg.inference.inputs import Input
from autoseg.inference.outputs.dicom_object import SeriesMask
from autoseg.inference.outputs.dicom_seg import write_dicom_seg
from autoseg.inference.outputs.rtstruct import write_rtstruct
from autoseg.inference.outputs.write import Outputs, require_outputs
from autoseg.labels import Label, LabelScheme

LABELS = (Label(value=5, name="liver"), Label(value=7, name="thing"), Label(value=9, name="never found"))
SCHEME = LabelScheme(labels=LABELS)


def blocks(image: Volume) -> np.ndarray:
    mask = np.zeros(image.grid.shape, np.uint8)
    z, y, x = (max(1, n // 3) for n in mask.shape)
    mask[:z, y : 2 * y, x : 2 * x] = 5
    mask[z:, : y + 1, 2 * x :] = 7
    return mask


def read_back(file: Path, image: Volume) -> dict[str, np.ndarray]:
    """Return each segment's voxels on the series' own grid, placed by the frames' positions in the patient."""
    seg = pydicom.dcmread(file)
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    names = {item.SegmentNumber: str(item.SegmentLabel) for item in seg.SegmentSequence}
    found = {name: np.zeros(image.stored.shape, bool) for name in names.values()}
    normal = np.reshape(image.stored.direction, (3, 3))[:, 2]
    for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        place = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float) - image.stored.origin_mm
        z = round(float(place @ normal) / image.stored.spacing_mm[0])
        found[names[groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber]][z] = frame != 0
    return found


@pytest.fixture(params=["tiny_ct_with_seg/image", "abdomen_jpeg2000_20slices", "thigh_rtstruct/image"])
def series(request: pytest.FixtureRequest, real_data: Path) -> Path:
    return real_data / "dicom" / str(request.param)


def test_a_mask_comes_back_where_it_was(series: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    image = read_image([series])
    mask = blocks(image)
    write_dicom_seg(tmp_path / "m.seg.dcm", SeriesMask(mask, image.stored, LabelScheme(labels=LABELS), series))
    found = read_back(tmp_path / "m.seg.dcm", image)
    stored = to_lps(image.stored)[0].undo(mask)
    assert list(found) == ["liver", "thing"]  # what was not found is left out
    np.testing.assert_array_equal(found["liver"], stored == 5)
    np.testing.assert_array_equal(found["thing"], stored == 7)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs Debian's dicom3tools")
def test_a_validator_finds_no_error(series: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    image = read_image([series])
    write_dicom_seg(tmp_path / "m.seg.dcm", SeriesMask(blocks(image), image.stored, LabelScheme(labels=LABELS), series))
    told = subprocess.run(["dciodvfy", str(tmp_path / "m.seg.dcm")], capture_output=True, text=True, check=False)
    assert not [line for line in (told.stdout + told.stderr).splitlines() if line.startswith("Error")]


def test_nothing_found_is_said_and_no_failure(series: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("highdicom")
    image = read_image([series])
    (tmp_path / "m").write_bytes(b"of an earlier mask")
    write_dicom_seg(
        tmp_path / "m",
        SeriesMask(np.zeros(image.grid.shape, np.uint8), image.stored, LabelScheme(labels=LABELS), series),
    )
    assert "no organ was found" in caplog.text
    assert not list(tmp_path.iterdir())


def test_a_series_that_lacks_what_is_the_patients_gets_an_object_with_blanks(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    folder = write_ct(tmp_path / "ct", voxels())  # no PatientSex, PatientBirthDate, StudyID, AccessionNumber …
    for file in folder.iterdir():
        header = pydicom.dcmread(file)
        del header.FrameOfReferenceUID, header.PatientName
        header.save_as(file)
    image = read_image([folder])
    mask = blocks(image)
    write_dicom_seg(tmp_path / "m", SeriesMask(mask, image.stored, LabelScheme(labels=LABELS), folder))
    written = pydicom.dcmread(tmp_path / "m")
    assert (written.PatientID, written.PatientSex, written.PatientBirthDate) == ("7", "", "")
    np.testing.assert_array_equal(read_back(tmp_path / "m", image)["liver"], mask == 5)


def test_a_mask_comes_back_from_an_enhanced_file_whose_frames_are_in_no_order(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    order = (3, 0, 5, 1, 4, 2)
    file = write_enhanced(tmp_path / "ct" / "all.dcm", voxels(), order=order, slopes=[1] * 6)
    image = read_image([file.parent])
    mask = blocks(image)
    source = SeriesMask(mask, image.stored, LabelScheme(labels=LABELS), file.parent)
    write_dicom_seg(tmp_path / "m", source)
    found = read_back(tmp_path / "m", image)
    np.testing.assert_array_equal(found["liver"], mask == 5)
    np.testing.assert_array_equal(found["thing"], mask == 7)
    write_rtstruct(tmp_path / "rt", source)
    for roi in pydicom.dcmread(tmp_path / "rt").ROIContourSequence:
        for contour in roi.ContourSequence:
            z = round((contour.ContourData[2] + 20) / 2.5)
            assert order[contour.ContourImageSequence[0].ReferencedFrameNumber - 1] == z


@pytest.mark.parametrize("is_enhanced", [False, True])
def test_regions_are_segments_that_overlap_and_contours_around_all_that_is_within(
    tmp_path: Path, is_enhanced: bool
) -> None:
    pytest.importorskip("highdicom")
    folder = tmp_path / "ct"
    if is_enhanced:
        write_enhanced(folder / "all.dcm", voxels(), order=(3, 0, 5, 1, 4, 2), slopes=[1] * 6)
    else:
        write_ct(folder, voxels())
    image = read_image([folder])
    labels = (Label(value=5, name="liver"), Label(value=7, name="lesion"))
    scheme = LabelScheme(labels=labels, regions=((5, 7), (7,)))
    mask = np.zeros(image.grid.shape, np.uint8)
    mask[1:4, :3, :3] = 5
    mask[2:4, 1:2, 1:2] = 7
    source = SeriesMask(mask, image.stored, scheme, folder)
    write_dicom_seg(tmp_path / "m", source)
    found = read_back(tmp_path / "m", image)
    np.testing.assert_array_equal(found["liver"], mask > 0)
    np.testing.assert_array_equal(found["lesion"], mask == 7)
    write_rtstruct(tmp_path / "rt", source)
    structures = pydicom.dcmread(tmp_path / "rt")
    names = {item.ROINumber: str(item.ROIName) for item in structures.StructureSetROISequence}
    slices = {names[roi.ReferencedROINumber]: len(roi.ContourSequence) for roi in structures.ROIContourSequence}
    assert slices == {"liver": 3, "lesion": 2}  # one contour a slice: the lesion is no hole of the liver


def test_only_the_frames_of_the_volume_are_referred_to_where_a_file_holds_two(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    order = (3, 2, 0, 4, 5, 1, 1, 5, 4, 0, 2, 3)  # of two stacks, frame by frame in turn
    file = write_enhanced(tmp_path / "ct" / "all.dcm", voxels(), order=order, slopes=[1] * 6)
    header = pydicom.dcmread(file)
    for number, group in enumerate(header.PerFrameFunctionalGroupsSequence):
        group.FrameContentSequence[0].StackID = str(1 + number % 2)
        if number % 2:
            place = group.PlanePositionSequence[0]
            place.ImagePositionPatient = [-30, -40, float(place.ImagePositionPatient[2]) + 100]
    header.save_as(file)
    image = read_image([file.parent], "StackID=2")
    mask = blocks(image)
    source = SeriesMask(mask, image.stored, LabelScheme(labels=LABELS), file.parent, "StackID=2")
    write_dicom_seg(tmp_path / "m", source)
    np.testing.assert_array_equal(read_label(tmp_path / "m", image.grid, SCHEME).array, mask)
    used = {}
    for group in pydicom.dcmread(tmp_path / "m").PerFrameFunctionalGroupsSequence:
        z = round((group.PlanePositionSequence[0].ImagePositionPatient[2] - 80) / 2.5)
        used[z] = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
    assert used == {z: number + 1 for number, z in enumerate(order) if number % 2}


def jobs_of(image: Path) -> list[Input]:
    return [Input(name="scan", images=(image,), out=image.with_name("mask.nii.gz"))]


def test_what_is_no_dicom_folder_is_refused_early(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    with pytest.raises(VolumeError, match="is no DICOM series, so --dicom-seg has nothing to refer to"):
        require_outputs(Outputs(dicom_seg=True), jobs_of(tmp_path / "scan.nii.gz"))
