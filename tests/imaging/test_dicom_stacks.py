"""Tests of autoseg.imaging.dicom, dicom_frames and dicom_stacks on series as archives have them, all made here."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import AXIAL, voxels, without_preamble, write_ct, write_enhanced

from autoseg.errors import VolumeError
from autoseg.imaging.dicom import list_dicom, list_series
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import read_header, read_image

GRID = Grid(
    shape=(6, 5, 4),
    spacing_mm=(2.5, 1.0, 1.0),
    origin_mm=(-30.0, -40.0, -20.0),
    direction=(1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0),
)


@pytest.mark.parametrize("degrees", [0.05, -0.05])
def test_end_slices_whose_orientation_is_rounded_stay(degrees: float, tmp_path: Path) -> None:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))

    def turn(n: int, one: Any) -> None:
        if n in (0, 5):
            one.ImageOrientationPatient = [f"{v:.8f}" for v in (c, s, 0, -s, c, 0)]

    assert read_image([write_ct(tmp_path / "ct", voxels(), change=turn)]).array.shape == (1, 6, 5, 4)


def test_images_of_another_direction_are_left_out_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_ct(tmp_path / "ct", voxels())
    write_ct(tmp_path / "ct", voxels()[:2], orientation=(1, 0, 0, 0, 0, -1), name="scout{}.dcm")
    np.testing.assert_array_equal(read_image([tmp_path / "ct"]).array[0], voxels())
    assert "left out of the series: scout0.dcm and 1 more (another orientation or size than the 6 other" in caplog.text


def test_every_image_without_a_place_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def remove_place(n: int, one: Any) -> None:
        del one.ImagePositionPatient

    write_ct(tmp_path / "ct", voxels())
    write_ct(tmp_path / "ct", voxels()[:1], change=remove_place, name="dx{}.dcm")
    write_ct(tmp_path / "ct", voxels()[:1], name="topogram{}.dcm", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    read_image([tmp_path / "ct"])
    assert "dx0.dcm (an image without a place in the patient (ImagePositionPatient)" in caplog.text
    assert "topogram0.dcm (a scout (localizer))" in caplog.text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"PixelSpacing": ["0.5", "0.5"]}, r"PixelSpacing is 1 × 1 in 4, 0\.5 × 0\.5 in 2"),
        ({"PatientID": "8"}, "PatientID is 7 in 4, 8 in 2"),
        ({"PatientName": "Roe^John"}, r"PatientName is Doe\^Jane in 4, Roe\^John in 2"),
        ({"FrameOfReferenceUID": "1.2.9"}, r"FrameOfReferenceUID is 1\.2\.6 in 4, 1\.2\.9 in 2"),
        ({"ConvolutionKernel": "B80"}, "ConvolutionKernel is B30 in 4, B80 in 2"),
    ],
)
def test_what_differs_within_a_series_is_refused_with_both_values(
    fields: dict[str, object], message: str, tmp_path: Path
) -> None:
    def change(n: int, one: Any) -> None:
        for name, value in fields.items() if n in (2, 4) else ():
            setattr(one, name, value)

    write_ct(tmp_path / "ct", voxels(), change=change, ConvolutionKernel="B30")
    with pytest.raises(VolumeError, match=f"the images of one series differ: {message}; put each"):
        read_image([tmp_path / "ct"])


def test_a_blank_field_and_rounded_spacing_are_no_difference(tmp_path: Path) -> None:
    def change(n: int, one: Any) -> None:
        if n == 2:
            one.PatientName, one.PatientID, one.PixelSpacing = "DOE^JANE^^", "", ["1.0001", "1"]

    assert read_image([write_ct(tmp_path / "ct", voxels(), change=change)]).grid == GRID


def test_copies_of_an_image_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_ct(tmp_path / "ct", voxels())
    shutil.copy(folder / "im003.dcm", folder / "im003 (1).dcm")
    again = pydicom.dcmread(folder / "im004.dcm")
    again.InstitutionName = "so that the bytes differ"
    again.save_as(folder / "re-exported")
    np.testing.assert_array_equal(read_image([folder]).array[0], voxels())
    assert "im003.dcm and 1 more (a copy of another image)" in caplog.text


def test_one_image_with_two_contents_is_refused_by_name(tmp_path: Path) -> None:
    folder = write_ct(tmp_path / "ct", voxels())
    other = pydicom.dcmread(folder / "im003.dcm")
    other.PixelData = bytes(len(other.PixelData))
    other.save_as(folder / "other.dcm")
    with pytest.raises(
        VolumeError, match=r"im003\.dcm and other\.dcm are the same image \(SOPInstanceUID 1\.2\.3\.4\)"
    ):
        read_image([folder])


def test_two_phases_in_one_series_are_listed_and_one_is_picked(tmp_path: Path) -> None:
    for phase, name in ((1, "a{}.dcm"), (2, "b{}.dcm")):

        def change(n: int, one: Any, phase: int = phase) -> None:
            one.SOPInstanceUID, one.AcquisitionNumber = f"1.2.3.{phase}.{n + 1}", phase

        write_ct(tmp_path, voxels() + np.int16(phase), change=change, name=name)
    with pytest.raises(
        VolumeError, match=r"2 volumes in DICOM series here.*1\.2\.5/AcquisitionNumber=1 \(CT, 6 slices"
    ):
        read_image([tmp_path])
    for phase in (1, 2):
        np.testing.assert_array_equal(read_image([tmp_path], f"AcquisitionNumber={phase}").array[0], voxels() + phase)


def test_phases_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    write_ct(tmp_path, voxels())
    write_ct(
        tmp_path, voxels() + np.int16(1), change=lambda n, one: setattr(one, "SOPInstanceUID", f"1.9.{n}"), name="b{}"
    )
    with pytest.raises(VolumeError, match="6 of 12 slices lie where another one does"):
        read_image([tmp_path])


def test_positions_with_one_decimal_are_an_even_grid(tmp_path: Path) -> None:
    def rounded(n: int, one: Any) -> None:
        one.ImagePositionPatient = ["-30", "-40", f"{-20 + 0.625 * n:.1f}"]  # steps of 0.6 and 0.7 mm

    folder = write_ct(tmp_path / "ct", np.zeros((41, 5, 4), np.int16), change=rounded)
    assert read_header(folder).grid.spacing_mm[0] == pytest.approx(0.625, abs=5e-4)


@pytest.mark.parametrize(("step", "gone"), [(0.1, 3), (2.5, 3), (0.625, 1), (2.5, 4)])
def test_a_missing_slice_is_never_rounding(step: float, gone: int, tmp_path: Path) -> None:
    folder = write_ct(tmp_path / "ct", voxels(), step_mm=step)
    (folder / f"im00{gone}.dcm").unlink()
    with pytest.raises(VolumeError, match="slice steps run from"):
        read_image([folder])


def test_steps_that_drift_off_the_even_grid_are_refused(tmp_path: Path) -> None:
    def drift(n: int, one: Any) -> None:
        one.ImagePositionPatient = ["-30", "-40", f"{2.5 * n + 0.04 * max(0, n - 20):.2f}"]  # steps of 2.50, then 2.54

    folder = write_ct(tmp_path / "ct", np.zeros((41, 5, 4), np.int16), change=drift)
    with pytest.raises(VolumeError, match=r"slice steps run from 2\.50 to 2\.54 mm"):
        read_image([folder])


def test_a_thin_tilted_series_is_refused_however_small_each_shift(tmp_path: Path) -> None:
    def tilt(n: int, one: Any) -> None:
        one.ImagePositionPatient = ["-30", f"{-40 + 0.04 * n:.2f}", f"{0.5 * n:.1f}"]

    folder = write_ct(tmp_path / "ct", np.zeros((41, 5, 4), np.int16), change=tilt)
    with pytest.raises(VolumeError, match=r"gantry is tilted, each slice is shifted by 0\.04 mm"):
        read_image([folder])


def test_files_without_a_preamble_are_read(tmp_path: Path) -> None:
    folder = write_ct(tmp_path / "ct", voxels())
    for file in folder.iterdir():
        without_preamble(file)
        assert file.read_bytes()[:2] == b"\x08\x00"
    (folder / "notes").write_bytes(b"\x08\x00 no DICOM at all")
    volume = read_image([folder])
    np.testing.assert_array_equal(volume.array[0], voxels())
    assert volume.grid == GRID


def test_file_names_that_are_not_utf_8_are_read(tmp_path: Path) -> None:
    folder = write_ct(tmp_path / "ct", voxels())
    (folder / "im003.dcm").rename(folder / "caf\udce9.dcm")
    np.testing.assert_array_equal(read_image([folder]).array[0], voxels())


@pytest.mark.parametrize("slopes", [(1, 1, 1, 1, 1, 1), (1, 2, 0.5, 1, 0.25, 1)])
def test_an_enhanced_file_is_read_frame_by_frame(slopes: tuple[float, ...], tmp_path: Path) -> None:
    array = voxels() * np.int16(2)  # even, so that a slope of 2 loses nothing
    file = write_enhanced(tmp_path / "ct" / "all.dcm", array, order=(3, 0, 5, 1, 4, 2), slopes=slopes)
    for source in (file, file.parent):
        volume = read_image([source])
        np.testing.assert_array_equal(volume.array[0], array)
        assert volume.grid == GRID
        assert read_header(source).image_bytes == volume.array.nbytes


def test_frames_without_a_place_are_named(tmp_path: Path) -> None:
    file = write_enhanced(tmp_path / "old.dcm", voxels(), order=range(6), slopes=[1] * 6)
    header = pydicom.dcmread(file)
    del header.PerFrameFunctionalGroupsSequence
    header.save_as(file)
    with pytest.raises(
        VolumeError, match=r"only old\.dcm \(several frames in one file that do not say where each lies"
    ):
        read_image([tmp_path])


def test_one_slice_of_a_series_is_refused_with_its_folder(tmp_path: Path) -> None:
    folder = write_ct(tmp_path / "ct", voxels())
    with pytest.raises(
        VolumeError, match=r"im002\.dcm: is one slice of a DICOM series; give the folder of the series, .*ct$"
    ):
        read_image([folder / "im002.dcm"])


def test_a_radiograph_is_no_volume(tmp_path: Path) -> None:
    def remove_place(n: int, one: Any) -> None:
        del one.ImagePositionPatient
        one.Modality = "DX"

    folder = write_ct(tmp_path / "ct", voxels()[:1], change=remove_place)
    for source in (folder, folder / "im000.dcm"):
        with pytest.raises(VolumeError, match=r"only im000\.dcm \(an image without a place in the patient"):
            read_image([source])


def test_a_header_that_cannot_be_used_is_left_out_with_its_value(tmp_path: Path) -> None:
    def spoil(n: int, one: Any) -> None:
        if n == 5:
            one.PixelSpacing = ["0", "1"]

    listing = list_dicom(write_ct(tmp_path / "ct", voxels(), change=spoil))
    assert [len(series.frames) for series in listing.series] == [5]
    assert "its DICOM header cannot be used" in listing.left_out_in_words(images_only=True)
    assert list_series(tmp_path)[0].orientation.ravel().tolist() == list(AXIAL)
