"""Tests of autoseg.inference.outputs.rtstruct: what is written is read back point by point, and by other programs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import made
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from polygons import Mask, filled
from pydicom.dataset import FileDataset, FileMetaDataset
from typer.testing import CliRunner

from autoseg.cli.app import app
from autoseg.errors import VolumeError
from autoseg.figures.colours import organ_colour
from autoseg.imaging.dicom import grid_of, pick_series
from autoseg.imaging.dicom_contours import remarks_on_series
from autoseg.imaging.grid import Grid, to_lps
from autoseg.imaging.volumes import Volume, read_label
from autoseg.inference.inputs import Input, require_series
from autoseg.inference.model import Prediction
from autoseg.inference.outputs.contours import Points
from autoseg.inference.outputs.dicom_object import SeriesMask
from autoseg.inference.outputs.legend import rgb
from autoseg.inference.outputs.rtstruct import write_rtstruct
from autoseg.inference.outputs.write import Outputs, write_outputs
from autoseg.labels import Label, LabelScheme
from autoseg.network.build import build
from autoseg.network.weights import save_model

LABELS = (Label(value=5, name="liver"), Label(value=7, name="thing"), Label(value=9, name="never found"))
SCHEME = LabelScheme(labels=LABELS)
CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
EMPTY = (  # what a DICOM SEG wants to be there
    "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def write_series(folder: Path, shape: tuple[int, int, int], orientation: object = AXIAL, **changes: object) -> Grid:
    """Write the headers of a CT series, in no order; return its grid."""
    folder.mkdir(parents=True)
    rows, columns = np.array(orientation)
    for number in np.random.default_rng(0).permutation(shape[0]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CT_STORAGE, f"1.2.3.{number + 1}"
        meta.TransferSyntaxUID, meta.FileMetaInformationGroupLength = "1.2.840.10008.1.2", 0
        one = FileDataset("", {}, b"\0" * 128, meta, is_implicit_VR=True, is_little_endian=True)
        one.SpecificCharacterSet, one.PatientName, one.PatientID = "ISO_IR 100", "Doe^Jane", "7"
        one.SOPClassUID, one.SOPInstanceUID, one.Modality = CT_STORAGE, f"1.2.3.{number + 1}", "CT"
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = "1.2.4", "1.2.5", "1.2.6"
        one.Rows, one.Columns, one.PixelSpacing = shape[1], shape[2], [0.7, 0.9]
        one.ImageOrientationPatient = [f"{v:.10f}" for v in (*rows, *columns)]
        place = np.array([-31.7, 12.25, -900.5]) + 2.5 * number * np.cross(rows, columns)
        one.ImagePositionPatient = [f"{v:.6f}" for v in place]
        for keyword, value in changes.items():
            setattr(one, keyword, value)
        one.save_as(folder / f"{999 - number}.dcm")
    return grid_of(pick_series(folder))


def in_lps(as_stored: npt.NDArray[np.uint8], stored: Grid) -> npt.NDArray[np.uint8]:
    return to_lps(stored)[0].apply(as_stored)


def read_back(file: Path, folder: Path, stored: Grid) -> dict[str, Mask]:
    """Return each ROI's voxels as stored, from its points in the patient and the slices that they refer to."""
    made = pydicom.dcmread(file)
    names = {item.ROINumber: str(item.ROIName) for item in made.StructureSetROISequence}
    to_index = np.linalg.inv(stored.matrix())
    numbers = {}
    for header in (pydicom.dcmread(path, stop_before_pixels=True) for path in folder.iterdir()):
        place = to_index @ [*map(float, header.ImagePositionPatient), 1]
        numbers[header.file_meta.MediaStorageSOPInstanceUID] = round(place[2])
    found = {}
    for roi in made.ROIContourSequence:
        rings: dict[int, list[Points]] = {}
        for contour in roi.ContourSequence:
            data = np.array(contour.ContourData, float).reshape(-1, 3)
            assert len(data) == contour.NumberOfContourPoints
            assert contour.ContourGeometricType == "CLOSED_PLANAR"
            index = np.c_[data, np.ones(len(data))] @ to_index.T
            z = numbers[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            np.testing.assert_allclose(index[:, 2], z, atol=0.01)
            rings.setdefault(z, []).append(index[:, :2])
        voxels = np.zeros(stored.shape, bool)
        for z, several in rings.items():
            voxels[z] = filled(several, voxels[z].shape)
        found[names[roi.ReferencedROINumber]] = voxels
    return found


def turned(degrees: float) -> tuple[list[float], list[float]]:
    """Return an orientation that is oblique about all axes."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    both = about_x @ about_z
    return both[:, 0].tolist(), both[:, 1].tolist()


@pytest.mark.parametrize(
    "orientation",
    [
        AXIAL,
        ((-1, 0, 0), (0, 1, 0)),  # its normal points to the feet
        ((1, 0, 0), (0, 0, -1)),  # coronal
        ((0, 1, 0), (0, 0, -1)),  # sagittal
        turned(20),
        turned(-77),
    ],
)
def test_a_mask_comes_back_from_a_series_of_any_orientation(orientation: object, tmp_path: Path) -> None:
    stored = write_series(tmp_path / "ct", (5, 9, 7), orientation)
    mask = np.random.default_rng(1).choice(np.array([0, 0, 5, 5, 5, 7], np.uint8), stored.shape)
    write_rtstruct(tmp_path / "m", SeriesMask(in_lps(mask, stored), stored, SCHEME, tmp_path / "ct"))
    found = read_back(tmp_path / "m", tmp_path / "ct", stored)
    assert list(found) == ["liver", "thing"]  # what was not found is left out
    np.testing.assert_array_equal(found["liver"], mask == 5)
    np.testing.assert_array_equal(found["thing"], mask == 7)
    back = read_label(tmp_path / "m", to_lps(stored)[1], SCHEME)
    np.testing.assert_array_equal(back.array, in_lps(mask, stored))
    assert [one.code for one in back.remarks] == ["structures-lacking"]  # the one never found
    assert remarks_on_series(tmp_path / "m", tmp_path / "ct") == ()


def test_a_contour_of_more_than_64_kib_is_written(tmp_path: Path) -> None:
    stored = write_series(tmp_path / "ct", (1, 160, 160), SliceThickness="2")
    mask = np.where(np.random.default_rng(0).random(stored.shape) < 0.7, 5, 0).astype(np.uint8)
    write_rtstruct(tmp_path / "m", SeriesMask(in_lps(mask, stored), stored, SCHEME, tmp_path / "ct"))
    raw = pydicom.dcmread(tmp_path / "m").ROIContourSequence[0].ContourSequence
    assert max(len(contour.get_item("ContourData").value) for contour in raw) > 2**16
    np.testing.assert_array_equal(read_back(tmp_path / "m", tmp_path / "ct", stored)["liver"], mask == 5)
    np.testing.assert_array_equal(read_label(tmp_path / "m", to_lps(stored)[1], SCHEME).array, in_lps(mask, stored))


def structures(folder: Path, labels: Sequence[Label] = LABELS[:2], **changes: object) -> pydicom.Dataset:
    """Return what is written for a series of 3 slices with a voxel of each organ."""
    stored = write_series(folder / "ct", (3, 4, 5), **changes)
    mask = np.zeros(stored.shape, np.uint8)
    for label, place in zip(labels, ((0, 1, 1), (2, 3, 4)), strict=True):
        mask[place] = label.value
    write_rtstruct(
        folder / "m", SeriesMask(in_lps(mask, stored), stored, LabelScheme(labels=tuple(labels)), folder / "ct")
    )
    return pydicom.dcmread(folder / "m")


def test_it_refers_to_the_series_its_slices_and_its_patient(tmp_path: Path) -> None:
    made = structures(tmp_path)
    assert (made.PatientID, str(made.PatientName), made.StudyInstanceUID) == ("7", "Doe^Jane", "1.2.4")
    assert made.SeriesInstanceUID != "1.2.5"
    (frame,) = made.ReferencedFrameOfReferenceSequence
    assert made.FrameOfReferenceUID == frame.FrameOfReferenceUID == "1.2.6"
    (study,) = frame.RTReferencedStudySequence
    (series,) = study.RTReferencedSeriesSequence
    assert (study.ReferencedSOPInstanceUID, series.SeriesInstanceUID) == ("1.2.4", "1.2.5")
    listed = [(item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) for item in series.ContourImageSequence]
    assert listed == [(CT_STORAGE, f"1.2.3.{n}") for n in (1, 2, 3)]
    used = [
        c.ContourImageSequence[0].ReferencedSOPInstanceUID for r in made.ROIContourSequence for c in r.ContourSequence
    ]
    assert used == ["1.2.3.1", "1.2.3.3"]


def test_an_roi_has_the_labels_number_the_legends_colour_and_is_an_organ_found_by_a_machine(tmp_path: Path) -> None:
    made = structures(tmp_path)
    assert [roi.ROINumber for roi in made.StructureSetROISequence] == [5, 7]
    assert {roi.ROIGenerationAlgorithm for roi in made.StructureSetROISequence} == {"AUTOMATIC"}
    assert {roi.ReferencedFrameOfReferenceUID for roi in made.StructureSetROISequence} == {"1.2.6"}
    assert [tuple(roi.ROIDisplayColor) for roi in made.ROIContourSequence] == [
        rgb(organ_colour(0)),
        rgb(organ_colour(1)),
    ]
    seen = [(item.ReferencedROINumber, item.RTROIInterpretedType) for item in made.RTROIObservationsSequence]
    assert seen == [(5, "ORGAN"), (7, "ORGAN")]
    assert made.ApprovalStatus == "UNAPPROVED"


@pytest.mark.parametrize(
    ("name", "patient", "written", "encoding"),
    [
        ("liver", "Doe^Jane", "liver", None),
        ("Milz (größte)", "Doe^Jane", "Milz (größte)", "ISO_IR 192"),
        ("肝臓", "Müller^Jörg", "肝臓", "ISO_IR 192"),
        ("liver", "Müller^Jörg", "liver", "ISO_IR 192"),
        ("a" * 70, "Doe^Jane", "a" * 64, None),
        ("lung\\left\n", "Doe^Jane", "lung/left", None),
        ("\t", "Doe^Jane", "organ", None),
    ],
)
def test_names_are_written_as_dicom_allows(
    name: str, patient: str, written: str, encoding: str | None, tmp_path: Path
) -> None:
    made = structures(tmp_path, (Label(value=1, name=name), Label(value=2, name="spleen")), PatientName=patient)
    assert [roi.ROIName for roi in made.StructureSetROISequence] == [written, "spleen"]
    assert str(made.PatientName) == patient
    assert made.get("SpecificCharacterSet") == encoding


def test_a_series_without_a_frame_of_reference_gets_one(tmp_path: Path) -> None:
    made = structures(tmp_path, FrameOfReferenceUID="")
    assert made.FrameOfReferenceUID
    assert made.StructureSetROISequence[0].ReferencedFrameOfReferenceUID == made.FrameOfReferenceUID


def test_a_slice_that_nothing_can_refer_to_is_told(tmp_path: Path) -> None:
    stored = write_series(tmp_path / "ct", (2, 3, 4))
    file = tmp_path / "ct" / "999.dcm"
    header = pydicom.dcmread(file)
    del header.file_meta.MediaStorageSOPInstanceUID, header.SOPInstanceUID
    header.save_as(file)
    with pytest.raises(VolumeError, match="cannot be referred to as an RT Structure Set must"):
        write_rtstruct(tmp_path / "m", SeriesMask(np.full(stored.shape, 5, np.uint8), stored, SCHEME, tmp_path / "ct"))
    assert not (tmp_path / "m").exists()


def test_nothing_found_is_said_and_no_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stored = write_series(tmp_path / "ct", (2, 3, 4))
    write_rtstruct(tmp_path / "m", SeriesMask(np.zeros(stored.shape, np.uint8), stored, SCHEME, tmp_path / "ct"))
    assert "no organ was found" in caplog.text
    assert not (tmp_path / "m").exists()


def test_it_lies_beside_the_mask_and_beside_a_dicom_seg(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    stored = write_series(tmp_path / "ct", (3, 4, 5), SliceThickness="2.5", **dict.fromkeys(EMPTY, ""))
    lps = to_lps(stored)[1]
    found = Prediction(mask=Volume(array=np.ones(lps.shape, np.int32), grid=lps, stored=stored), organs=(), unlike=())
    job = Input(name="ct", images=(tmp_path / "ct",), out=tmp_path / "out" / "ct.nii.gz")
    write_outputs(job, made.plan(), None, found, Outputs(rtstruct=True, dicom_seg=True))
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"ct.nii.gz", "ct.rtstruct.dcm", "ct.seg.dcm"}
    assert read_back(tmp_path / "out" / "ct.rtstruct.dcm", tmp_path / "ct", stored)["liver"].all()
    for file in (tmp_path / "out").glob("*.dcm"):
        content = file.read_bytes()
        assert not [word for word in (str(tmp_path), tmp_path.name) if word.encode() in content]


def test_what_is_no_dicom_folder_is_refused_before_anything_is_predicted(tmp_path: Path) -> None:
    plan = made.plan()
    save_model(tmp_path / "model.autoseg", plan, build(plan).state_dict(), {})
    (tmp_path / "scan.nii.gz").touch()
    told = CliRunner().invoke(
        app, ["predict", *(str(tmp_path / name) for name in ("model.autoseg", "scan.nii.gz", "out")), "--rtstruct"]
    )
    assert isinstance(told.exception, VolumeError)
    assert "is no DICOM series, so --rtstruct has nothing to refer to; leave it out" in str(told.exception)
    assert not (tmp_path / "out").exists()
    require_series([tmp_path], "--rtstruct")


@pytest.fixture(params=["tiny_ct_with_seg/image", "abdomen_jpeg2000_20slices", "thigh_rtstruct/image"])
def series(request: pytest.FixtureRequest, real_data: Path) -> Path:
    return real_data / "dicom" / str(request.param)


def blobs(stored: Grid) -> npt.NDArray[np.uint8]:
    """Return two organs as stored: a shell with a core of another, and a single voxel in the corner."""
    middle = [(np.arange(n) - n / 2) / n for n in stored.shape]
    far = np.sqrt(sum(axis**2 for axis in np.meshgrid(*middle, indexing="ij")))
    mask = np.select([far < 0.2, far < 0.4], [7, 5]).astype(np.uint8)
    mask[0, 0, 0] = 5
    return mask


def test_a_mask_comes_back_from_a_real_series(series: Path, tmp_path: Path) -> None:
    stored = grid_of(pick_series(series))
    mask = blobs(stored)
    write_rtstruct(tmp_path / "m", SeriesMask(in_lps(mask, stored), stored, SCHEME, series))
    found = read_back(tmp_path / "m", series, stored)
    np.testing.assert_array_equal(found["liver"], mask == 5)
    np.testing.assert_array_equal(found["thing"], mask == 7)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs Debian's dicom3tools")
def test_a_validator_finds_no_error(series: Path, tmp_path: Path) -> None:
    stored = grid_of(pick_series(series))
    write_rtstruct(tmp_path / "m", SeriesMask(in_lps(blobs(stored), stored), stored, SCHEME, series))
    told = subprocess.run(["dciodvfy", str(tmp_path / "m")], capture_output=True, text=True, check=False)
    lines = (told.stdout + told.stderr).splitlines()
    assert "RTStructureSet" in lines
    assert not [line for line in lines if line.startswith("Error")]


def volume_ml(file: Path, step_mm: float) -> float:
    """Return the volume within axial contours that lie so far apart."""
    areas = []
    for contour in pydicom.dcmread(file).ROIContourSequence[0].ContourSequence:
        x, y, _ = np.array(contour.ContourData, float).reshape(-1, 3).T
        areas.append(abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2)
    return sum(areas) * step_mm / 1000


def test_the_volume_is_that_of_the_structure_set_which_a_planning_system_wrote(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "dicom" / "thigh_rtstruct"
    stored = grid_of(pick_series(folder / "image"))
    mask = read_label(folder / "CT_mask.nii.gz").array
    write_rtstruct(
        tmp_path / "m", SeriesMask(mask, stored, LabelScheme(labels=(Label(value=1, name="tumour"),)), folder / "image")
    )
    theirs, ours = (volume_ml(file, stored.spacing_mm[0]) for file in (folder / "mask" / "RS.dcm", tmp_path / "m"))
    assert ours == pytest.approx(theirs, rel=0.001)
    assert ours == pytest.approx(int(mask.sum()) * stored.voxel_ml, rel=0.001)


@pytest.mark.skipif(shutil.which("plastimatch") is None, reason="needs plastimatch")
def test_an_independent_reader_gives_the_mask_back(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "dicom" / "thigh_rtstruct" / "image"
    stored = grid_of(pick_series(folder))
    mask = blobs(stored)
    write_rtstruct(tmp_path / "m.dcm", SeriesMask(in_lps(mask, stored), stored, SCHEME, folder))
    said = ["--input", tmp_path / "m.dcm", "--referenced-ct", folder, "--output-prefix", tmp_path / "read"]
    subprocess.run(["plastimatch", "convert", *said, "--prefix-format", "nii.gz"], capture_output=True, check=True)
    for label in LABELS[:2]:
        np.testing.assert_array_equal(read_label(tmp_path / "read" / f"{label.name}.nii.gz").array, mask == label.value)
