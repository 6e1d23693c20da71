"""Tests of autoseg.imaging.nifti_grid."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nifti_files import AFFINE, nifti

from autoseg.errors import VolumeError
from autoseg.imaging import nifti_grid
from autoseg.imaging.itk import Information
from autoseg.imaging.volumes import read_header, read_image

ARRAY = np.arange(20 * 32 * 36, dtype="<i2").reshape(20, 32, 36)
FAR = (0, 0, 1, 90, 40, -20)  # a quaternion whose first voxel lies 60 mm from the sform's


def noisy() -> np.ndarray:
    affine = AFFINE.copy()
    affine[1, 2] = 2.5 * 3e-4
    return affine


def codes_of(file: Path) -> list[str]:
    return [remark.code for remark in read_header(file).remarks]


def test_noise_in_the_sform_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(nifti(ARRAY, noisy()))
    volume = read_image([tmp_path / "a.nii"])
    np.testing.assert_allclose(volume.stored.origin_mm, (-30, -40, -20), atol=0.02)


@pytest.mark.parametrize("affine", [AFFINE, noisy()])
@pytest.mark.parametrize("sform", [1, 2, 4])
def test_the_sform_is_taken_and_named_where_the_qform_lies_elsewhere(
    tmp_path: Path, affine: np.ndarray, sform: int
) -> None:
    (tmp_path / "a.nii").write_bytes(nifti(ARRAY, affine, codes=(1, sform), quaternion=FAR))
    np.testing.assert_allclose(read_header(tmp_path / "a.nii").grid.origin_mm, (-30, -40, -20), atol=0.02)
    assert codes_of(tmp_path / "a.nii")[0] == "forms-differ"
    assert "60 mm apart" in read_header(tmp_path / "a.nii").remarks[0].found


def test_forms_of_one_place_give_no_remark(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(nifti(ARRAY, codes=(1, 1)))
    assert codes_of(tmp_path / "a.nii") == []


def test_the_qform_is_taken_where_it_is_alone(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(nifti(ARRAY, codes=(1, 0), quaternion=FAR))
    np.testing.assert_allclose(read_header(tmp_path / "a.nii").grid.origin_mm, (-90, -40, -20), atol=1e-3)


def test_a_header_without_codes_says_that_the_orientation_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(nifti(ARRAY, codes=(0, 0)))
    assert codes_of(tmp_path / "a.nii") == ["orientation-unknown"]


@pytest.mark.parametrize("step", [0.0, math.nan, math.inf])
@pytest.mark.parametrize("codes", [(0, 0), (1, 0)])
def test_a_spacing_that_is_none_is_refused_not_taken_as_1_mm(
    tmp_path: Path, step: float, codes: tuple[int, int]
) -> None:
    (tmp_path / "a.nii").write_bytes(nifti(ARRAY, codes=codes, pixdim=(1, step, step, step)))
    with pytest.raises(VolumeError, match=r"a\.nii: its header is not a grid"):
        read_image([tmp_path / "a.nii"])


def test_the_sforms_own_spacing_holds_where_pixdim_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(nifti(ARRAY, pixdim=(1, 9, 9, 9)))
    assert read_header(tmp_path / "a.nii").grid.spacing_mm == pytest.approx((2.5, 1, 1))
    assert codes_of(tmp_path / "a.nii") == ["spacing-twice"]


def test_metres_are_read_as_metres(tmp_path: Path) -> None:
    in_metres = nifti(ARRAY, AFFINE / 1000, pixdim=(1, 0.001, 0.001, 0.0025), units=1)
    (tmp_path / "a.nii").write_bytes(in_metres)
    assert read_header(tmp_path / "a.nii").grid.spacing_mm == pytest.approx((2.5, 1, 1))
    (tmp_path / "b.nii").write_bytes(nifti(ARRAY, units=1))
    with pytest.raises(VolumeError, match=r"voxels of 2500 × 1000 × 1000 mm"):
        read_image([tmp_path / "b.nii"])


def test_a_quaternion_that_is_too_long_turns_and_does_not_stretch(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(nifti(ARRAY, AFFINE, codes=(1, 0), quaternion=(0, 0, 1.2, 30, 40, -20)))
    (tmp_path / "b.nii").write_bytes(nifti(ARRAY, AFFINE, codes=(1, 0), quaternion=(0, 0, 1.0, 30, 40, -20)))
    assert read_header(tmp_path / "a.nii").grid == read_header(tmp_path / "b.nii").grid


def test_of_one_header_the_grid_is_worked_out_once_and_of_headers_that_differ_in_a_sign_of_zero_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    read_information = nifti_grid.read_information

    def noted(file: Path, image_io: str = "") -> Information:
        asked.append(file.name)
        return read_information(file, image_io)

    monkeypatch.setattr(nifti_grid, "read_information", noted)
    monkeypatch.setattr(nifti_grid, "_grids", {})
    plain, signed = AFFINE.copy(), AFFINE.copy()
    plain[0, 3], signed[0, 3] = 0.0, -0.0
    for name, array, affine in (
        ("image", ARRAY, plain),
        ("label", ARRAY.astype("u1"), plain),
        ("other", ARRAY, signed),
    ):
        (tmp_path / f"{name}.nii").write_bytes(nifti(array, affine))
    grids = [read_image([tmp_path / f"{name}.nii"]).stored for name in ("image", "label", "other")]
    assert asked == ["image.nii", "other.nii"]
    assert grids[0] == grids[1] == grids[2]
    assert str(grids[0].origin_mm[0]) != str(grids[2].origin_mm[0])


class ClearedMeanwhile(dict[bytes, Any]):
    """Grids that another thread clears as soon as one has looked whether one is there."""

    def __contains__(self, place: object) -> bool:
        """Return whether it was there."""
        was = super().__contains__(place)
        self.clear()
        return was


def test_a_grid_that_another_thread_forgets_meanwhile_is_returned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nifti_grid, "_grids", ClearedMeanwhile())
    (tmp_path / "a.nii").write_bytes(nifti(ARRAY, AFFINE))
    grids = [read_header(tmp_path / "a.nii").grid for _ in range(2)]
    assert grids[0] == grids[1]
