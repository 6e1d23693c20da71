"""Tests of autoseg.volumes on real DICOM series."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from autoseg.errors import VolumeError
from autoseg.grid import corner_distance_mm
from autoseg.volumes import is_dicom_folder, read_image


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
