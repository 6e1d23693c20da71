"""Tests of autoseg.imaging.volumes on DICOM series, most of them real."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from autoseg.errors import VolumeError
from autoseg.imaging.dicom import list_series
from autoseg.imaging.grid import corner_distance_mm
from autoseg.imaging.volumes import is_dicom_folder, read_image
from tests.dicom_files import voxels, write_ct


def test_a_jpeg2000_series_without_suffixes_is_read_whole_in_hu(real_data: Path) -> None:
    folder = real_data / "dicom" / "abdomen_jpeg2000_20slices"
    volume = read_image([folder])
    assert is_dicom_folder(folder)
    assert volume.array.shape == (1, 20, 512, 512)
    assert volume.grid.spacing_mm == pytest.approx((2.0, 0.9765625, 0.9765625))
    assert volume.array.min() == -1024  # air


def test_a_series_equals_the_nifti_file_made_of_it(real_data: Path) -> None:
    series = read_image([real_data / "dicom" / "thigh_rtstruct" / "image"])
    nifti = read_image([real_data / "dicom" / "thigh_rtstruct" / "CT_image.nii.gz"])
    assert corner_distance_mm(series.grid, nifti.grid) < 0.01
    np.testing.assert_array_equal(series.array, nifti.array)


def test_a_series_with_uneven_steps_is_refused_with_the_steps(real_data: Path) -> None:
    with pytest.raises(VolumeError, match=r"slice steps run from 1\.08 to 7\.00 mm"):
        read_image([real_data / "dicom" / "head_gantry_tilt_uneven"])


def test_a_series_with_even_steps_but_a_tilt_is_refused_with_the_shift(real_data: Path, tmp_path: Path) -> None:
    for number in range(1, 6):
        shutil.copy(real_data / "dicom" / "head_gantry_tilt_uneven" / f"{number:02d}.dcm", tmp_path)
    with pytest.raises(VolumeError, match=r"gantry is tilted, each slice is shifted by \d\.\d\d mm"):
        read_image([tmp_path])


def test_a_series_that_lost_a_slice_is_refused(real_data: Path, tmp_path: Path) -> None:
    files = sorted((real_data / "dicom" / "abdomen_jpeg2000_20slices").iterdir())
    for file in files[:3] + files[4:6]:
        shutil.copy(file, tmp_path)
    with pytest.raises(VolumeError, match=r"slice steps run from 2\.00 to 4\.00 mm"):
        read_image([tmp_path])


def test_a_series_of_three_small_slices_is_read(real_data: Path) -> None:
    volume = read_image([real_data / "dicom" / "tiny_ct_with_seg" / "image"])
    assert sorted(volume.array.shape) == [1, 3, 23, 38]
    assert np.isfinite(volume.array).all()


def test_two_series_in_one_folder_are_refused(real_data: Path, tmp_path: Path) -> None:
    for name in ("tiny_ct_with_seg/image", "thigh_rtstruct/image"):
        for file in list((real_data / "dicom" / name).iterdir())[:2]:
            shutil.copy(file, tmp_path / f"{name.partition('/')[0]}_{file.name}")
    with pytest.raises(VolumeError, match="2 DICOM series here"):
        read_image([tmp_path])


JPEG2000, THIGH = "abdomen_jpeg2000_20slices", "thigh_rtstruct/image"


def copied(source: Path, to: Path, **changes: object) -> None:
    """Copy a series with some elements of its headers changed."""
    to.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        header = pydicom.dcmread(file)
        for name, value in changes.items():
            setattr(header, name, value)
        header.save_as(to / file.name)


def test_a_series_is_found_in_a_folder_within_the_folder_among_other_files(real_data: Path, tmp_path: Path) -> None:
    copied(real_data / "dicom" / JPEG2000, tmp_path / "export" / "series 2")
    (tmp_path / "export" / "README").write_text("no DICOM")
    (tmp_path / "export" / "DICOMDIR").write_bytes(b"\0" * 200)
    (series,) = list_series(tmp_path)
    assert series.size == (512, 512)
    assert len(series.files) == 20
    np.testing.assert_array_equal(read_image([tmp_path]).array, read_image([real_data / "dicom" / JPEG2000]).array)


def test_scouts_reports_and_structures_are_left_out(real_data: Path, tmp_path: Path) -> None:
    copied(real_data / "dicom" / "tiny_ct_with_seg" / "image", tmp_path, SeriesInstanceUID="1.2.3")
    thigh = real_data / "dicom" / THIGH
    copied(thigh, tmp_path / "scout", SeriesInstanceUID="1.2.4", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    copied(thigh, tmp_path / "report", SeriesInstanceUID="1.2.5", Modality="SR")
    copied(real_data / "dicom" / "tiny_ct_with_seg" / "mask", tmp_path / "mask")
    copied(real_data / "dicom" / "thigh_rtstruct" / "mask", tmp_path / "rtstruct")
    assert [series.uid for series in list_series(tmp_path)] == ["1.2.3"]


def test_the_wanted_of_several_series_is_taken_by_the_end_of_its_uid(real_data: Path, tmp_path: Path) -> None:
    tiny = real_data / "dicom" / "tiny_ct_with_seg" / "image"
    copied(tiny, tmp_path / "a", SeriesInstanceUID="1.2.30", SeriesDescription="arterial")
    copied(tiny, tmp_path / "b", SeriesInstanceUID="1.2.31", SeriesDescription="venous")
    with pytest.raises(
        VolumeError, match=r"2 DICOM series here, name one with --series.*'arterial', 3 slices of 38 × 23"
    ):
        read_image([tmp_path])
    with pytest.raises(VolumeError, match=r"0 of them end with 9"):
        read_image([tmp_path], "9")
    np.testing.assert_array_equal(read_image([tmp_path], "31").array, read_image([tiny]).array)


def test_slices_scaled_each_in_its_own_way_come_in_one_scale(real_data: Path, tmp_path: Path) -> None:
    tiny = real_data / "dicom" / "tiny_ct_with_seg" / "image"
    copied(tiny, tmp_path)
    headers = {file: pydicom.dcmread(file) for file in tmp_path.iterdir()}
    file, header = next(pair for pair in headers.items() if np.ptp(pair[1].pixel_array) > 0)
    header.RescaleSlope = 2.5 * float(header.get("RescaleSlope", 1))
    header.save_as(file)
    plain, scaled = read_image([tiny]).array, read_image([tmp_path]).array
    changed = [z for z in range(3) if not np.array_equal(plain[0, z], scaled[0, z])]
    assert len(changed) == 1
    intercept = float(header.get("RescaleIntercept", 0))
    np.testing.assert_allclose(scaled[0, changed[0]], (plain[0, changed[0]] - intercept) * 2.5 + intercept, atol=1e-3)


def test_the_files_names_do_not_decide_the_order_of_the_slices(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "dicom" / THIGH
    for number, file in enumerate(sorted(source.iterdir(), reverse=True)):
        shutil.copy(file, tmp_path / f"{number * 7 % 101:03d}_{number}")
    found, expected = read_image([tmp_path]), read_image([source])
    np.testing.assert_array_equal(found.array, expected.array)
    assert corner_distance_mm(found.grid, expected.grid) < 1e-6


# 1000 + 60 z - 7 x² for z, x of 0 to 15, in 16 bits, without loss, as OpenJPH encodes it: signed; and + 1024, unsigned
SIGNED = base64.b64decode(
    "/0//UQApQAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAABjwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQkJCQkJCQ"
    "iIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAALcAAf+TwAAmBPgDB3QAAMAAE0AAEwAH/QKHdABI/AKHdADAABUwAATg3njTU08BQrQA"
    "Ior4AINUAMAAFrQAAVbWtq0NG0GDWtu2NmwEDfoM4uIIsbcADBkYGP7AMYHstgDAAC7WAAFoAGQmSZIkA0NlJZlJkiTJwFBZSWaSJEkyMFRWkpkkSZIM"
    "DJWVBna/WXztfrL52v1lwisbMbIBdtu2bdu2/YQge/YQgey6AP/Z"
)
UNSIGNED = SIGNED.replace(bytes.fromhex("018f01"), bytes.fromhex("010f01")).replace(
    bytes.fromhex("c0002604f803"), bytes.fromhex("c00026f9ef05")
)
HTJ2K, PLAIN = "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.1"


def values() -> np.ndarray:
    z, x = np.indices((16, 16))
    return 1000 + 60 * z - 7 * x * x


def write_slices(
    folder: Path, syntax: str, signed: bool, scales: tuple[tuple[float, float], ...], cut: int | None = None
) -> Path:
    """Write a series of 16 x 16 voxels, each slice the values above with its own slope and intercept."""
    folder.mkdir()
    for n, (slope, intercept) in enumerate(scales):
        one = pydicom.Dataset()
        one.file_meta = pydicom.dataset.FileMetaDataset()
        one.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
        one.SOPClassUID, one.SOPInstanceUID = pydicom.uid.CTImageStorage, f"1.2.3.{n + 1}"
        one.SeriesInstanceUID, one.Modality = "1.2.3", "CT"
        one.ImagePositionPatient, one.ImageOrientationPatient = [0, 0, 2 * n], [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, one.SliceThickness = [1, 1], 2
        one.Rows = one.Columns = 16
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, int(signed)
        one.RescaleSlope, one.RescaleIntercept = slope, intercept
        if syntax == PLAIN:
            one.PixelData = (values() if signed else values() + 1024).astype("<i2" if signed else "<u2").tobytes()
        else:
            one.PixelData = pydicom.encaps.encapsulate([(SIGNED if signed else UNSIGNED)[:cut]])
        one.save_as(folder / f"{n}.dcm", enforce_file_format=True)
    return folder


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(
    "scales", [((1, 0), (1, 0)), ((1, -1024), (1, -1024)), ((0.5, 3), (0.5, 3)), ((1, 0), (2.5, 7))]
)
def test_htj2k_is_read_in_hu(tmp_path: Path, signed: bool, scales: tuple[tuple[float, float], ...]) -> None:
    plain = read_image([write_slices(tmp_path / "plain", PLAIN, signed, scales)])
    found = read_image([write_slices(tmp_path / "htj2k", HTJ2K, signed, scales)])
    stored = values() if signed else values() + 1024
    for n, (slope, intercept) in enumerate(scales):
        np.testing.assert_allclose(found.array[0, n], stored * slope + intercept, rtol=1e-6)
    np.testing.assert_array_equal(found.array, plain.array)
    assert found.grid == plain.grid


def test_a_slice_in_colour_is_refused(tmp_path: Path) -> None:
    folder = write_slices(tmp_path / "colour", PLAIN, False, ((1, 0),))
    one = pydicom.dcmread(folder / "0.dcm")
    one.SamplesPerPixel, one.PhotometricInterpretation, one.PlanarConfiguration = 3, "RGB", 0
    one.BitsAllocated, one.BitsStored, one.HighBit = 8, 8, 7
    one.PixelData = bytes(16 * 16 * 3)
    one.save_as(folder / "0.dcm")
    with pytest.raises(VolumeError, match=r"0\.dcm: a slice in colour"):
        read_image([folder])


@pytest.mark.parametrize(
    ("syntax", "named"),
    [
        ("1.2.840.10008.1.2.4.90", r"JPEG 2000 Image Compression \(Lossless Only\)"),  # which SimpleITK knows
        ("1.2.840.10008.1.2.4.110", "JPEG XL"),  # which it does not
    ],
)
def test_what_else_cannot_be_decoded_is_refused_with_its_transfer_syntax(
    tmp_path: Path, syntax: str, named: str
) -> None:
    folder = write_slices(tmp_path / "damaged", HTJ2K, True, ((1, 0),), cut=60)
    file = folder / "0.dcm"
    uid, other = (text.encode() + b"\0" * (len(text) % 2) for text in (HTJ2K, syntax))
    file.write_bytes(file.read_bytes().replace(uid.ljust(24, b"\0"), other.ljust(24, b"\0")))
    with pytest.raises(VolumeError, match=rf"0\.dcm: the slice \(({named})\) cannot be read \([^()]*\); decompress"):
        read_image([folder])


@pytest.mark.parametrize("where", ["all", "one"])
def test_values_shown_the_other_way_round_are_the_same(tmp_path: Path, where: str) -> None:
    def turn(number: int, slice_: Any) -> None:
        slice_.PhotometricInterpretation = "MONOCHROME1" if where == "all" or number == 2 else "MONOCHROME2"

    folder = write_ct(tmp_path / "ct", voxels(), change=turn)
    np.testing.assert_array_equal(read_image([folder]).array[0], voxels())


def test_a_series_that_was_numbered_anew_beside_itself_is_read_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_ct(tmp_path / "ct" / "a", voxels())
    write_ct(tmp_path / "ct" / "b", voxels(), change=lambda n, one: setattr(one, "SOPInstanceUID", f"1.2.4.{n + 1}"))
    np.testing.assert_array_equal(read_image([tmp_path / "ct"]).array[0], voxels())
    assert "im000.dcm and 5 more (a copy of another image)" in caplog.text


def test_slices_of_which_one_has_no_scale_are_refused(tmp_path: Path) -> None:
    def unscaled(number: int, slice_: Any) -> None:
        if number == 3:
            del slice_.RescaleIntercept

    folder = write_ct(tmp_path / "ct", voxels(), change=unscaled)
    with pytest.raises(VolumeError, match="RescaleIntercept is -1024 in 5, blank in 1; put each"):
        read_image([folder])


@pytest.mark.parametrize("size", [0, 100, 400])
def test_a_slice_that_was_cut_short_is_named(tmp_path: Path, size: int, caplog: pytest.LogCaptureFixture) -> None:
    for number in (2, 5):
        folder = write_ct(tmp_path / str(number), voxels())
        file = folder / f"im00{number}.dcm"
        file.write_bytes(file.read_bytes()[:size])
    reason = "a slice whose header is cut short" if size == 400 else "an empty or damaged file"
    with pytest.raises(VolumeError, match=rf"slices are missing or uneven \(left out: im002.dcm \({reason}\)\)"):
        read_image([tmp_path / "2"])
    assert read_image([tmp_path / "5"]).array.shape[1] == 5
    assert f"left out of the series: im005.dcm ({reason})" in caplog.text
