"""Tests of autoseg.imaging.contents: files that are not what they are called."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
from nifti_files import AFFINE, nifti, nifti_2

from autoseg.errors import VolumeError
from autoseg.imaging import contents
from autoseg.imaging.grid import Grid, corner_distance_mm
from autoseg.imaging.volumes import read_grid, read_header, read_image, read_label, write_array

ARRAY = np.random.default_rng(0).integers(-1000, 1000, (5, 6, 7)).astype("<i2")
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def voxels_of(file: Path) -> np.ndarray:
    return read_image([file]).array[0]


@pytest.mark.parametrize(
    ("name", "packed"), [("a.nii", False), ("a.nii", True), ("a.nii.gz", False), ("a.nii.gz", True)]
)
@pytest.mark.parametrize("scale", [(1.0, 0.0), (2.0, 3.0), (0.0, 5.0)])
def test_a_nifti_is_read_by_its_first_bytes_not_by_its_name(
    tmp_path: Path, name: str, packed: bool, scale: tuple[float, float]
) -> None:
    data = nifti(ARRAY, scale=scale)
    (tmp_path / name).write_bytes(gzip.compress(data) if packed else data)
    slope, intercept = scale
    np.testing.assert_array_equal(voxels_of(tmp_path / name), ARRAY * slope + intercept if slope else ARRAY)
    assert read_header(tmp_path / name).grid.spacing_mm == pytest.approx((2.5, 1, 1))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("scale", [(1.0, 0.0), (2.0, 3.0)])
def test_version_2_is_read_as_version_1(
    tmp_path: Path, packed: bool, scale: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "SPARE_BYTES", 0)  # of a large image more follows the header than may be spare
    grids = []
    for name, data in (("1.nii", nifti(ARRAY, scale=scale)), ("2.nii", nifti_2(ARRAY, scale=scale))):
        (tmp_path / name).write_bytes(gzip.compress(data) if packed else data)
        np.testing.assert_array_equal(voxels_of(tmp_path / name), ARRAY * scale[0] + scale[1])
        grids.append(read_grid(tmp_path / name))
    assert corner_distance_mm(*grids) < 1e-6


def test_version_2_is_read_as_another_program_writes_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti2Image(ARRAY.T, np.vstack([AFFINE, [0, 0, 0, 1]])), tmp_path / "a.nii.gz")
    (tmp_path / "b.nii").write_bytes(nifti(ARRAY))
    np.testing.assert_array_equal(voxels_of(tmp_path / "a.nii.gz"), ARRAY)
    assert corner_distance_mm(read_grid(tmp_path / "a.nii.gz"), read_grid(tmp_path / "b.nii")) < 1e-6
    assert capfd.readouterr().err == ""  # ITK, which does not know it, is not asked


def test_version_2_of_five_axes_is_refused_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(nifti_2(ARRAY.reshape(5, 1, 1, 6, 7)))
    for read in (read_header, lambda file: read_image([file])):
        with pytest.raises(VolumeError, match=r"a\.nii: is NIfTI-2 .* save it as NIfTI-1"):
            read(tmp_path / "a.nii")


def test_version_2_is_refused_where_it_is_cut_short_or_gives_no_grid(tmp_path: Path) -> None:
    data = nifti_2(ARRAY)
    (tmp_path / "a.nii").write_bytes(data[:-1])
    with pytest.raises(VolumeError, match="the file is cut short"):
        read_image([tmp_path / "a.nii"])
    (tmp_path / "a.nii").write_bytes(data[:300])
    with pytest.raises(VolumeError, match=r"cut short \(300 of the 540 bytes of its header\); copy it again"):
        read_header(tmp_path / "a.nii")
    no_grid = bytearray(nifti_2(ARRAY, codes=(0, 0)))
    no_grid[104 + 8 : 104 + 32] = bytes(24)  # steps
    (tmp_path / "b.nii").write_bytes(bytes(no_grid))
    with pytest.raises(VolumeError, match="its header is not a grid"):
        read_image([tmp_path / "b.nii"])


@pytest.mark.parametrize("spare", [b"\xff" * 100, b"x"])
def test_bytes_after_the_packed_data_are_ignored_and_told(tmp_path: Path, spare: bytes) -> None:
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(nifti(ARRAY)) + spare)
    volume = read_image([tmp_path / "a.nii.gz"])
    np.testing.assert_array_equal(volume.array[0], ARRAY)
    assert [remark.code for remark in volume.remarks] == ["trailing-bytes"]


def test_zeros_after_the_packed_data_are_padding(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(nifti(ARRAY)) + bytes(1000))
    assert read_image([tmp_path / "a.nii.gz"]).remarks == ()


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha", ".mhd"])
@pytest.mark.parametrize(
    ("data", "match"),
    [
        (LFS, "Git LFS pointer.*git lfs pull"),
        (b"/annex/objects/SHA256E-s9--a.nii.gz\n", "git-annex pointer.*git annex get"),
        (b"", "empty"),
        (b"<html><body>Sign in</body></html>", "web page"),
        (b"PK\x03\x04" + bytes(60), "zip archive"),
        (bytes(128) + b"DICM" + bytes(99), "DICOM"),
    ],
)
def test_what_is_no_image_is_called_by_its_name(tmp_path: Path, suffix: str, data: bytes, match: str) -> None:
    file = tmp_path / f"a{suffix}"
    file.write_bytes(data)
    for read in (lambda f: read_image([f]), read_label, read_grid):
        with pytest.raises(VolumeError, match=f"a{suffix}: .*{match}"):
            read(file)


def test_an_nrrd_called_nii_is_named(tmp_path: Path) -> None:
    write_array(tmp_path / "a.nrrd", ARRAY, Grid(shape=ARRAY.shape, spacing_mm=(1.0, 1.0, 1.0)))
    (tmp_path / "a.nrrd").rename(tmp_path / "a.nii")
    with pytest.raises(VolumeError, match="holds NRRD, not NIfTI"):
        read_image([tmp_path / "a.nii"])


def test_far_more_than_the_header_declares_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "SPARE_BYTES", 1 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = packer.compress(nifti(ARRAY)) + packer.compress(bytes(40 << 20)) + packer.flush()
    (tmp_path / "a.nii.gz").write_bytes(bomb)
    with pytest.raises(VolumeError, match="far more than"):
        read_image([tmp_path / "a.nii.gz"])


def test_a_header_that_declares_more_than_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "ALWAYS_FREE_BYTES", 0)
    monkeypatch.setattr(contents, "free_memory_gib", lambda: 1e-9)
    for suffix in (".nii.gz", ".nrrd", ".mha"):
        write_array(tmp_path / f"a{suffix}", ARRAY, Grid(shape=ARRAY.shape, spacing_mm=(1.0, 1.0, 1.0)))
        with pytest.raises(VolumeError, match=f"a{suffix}: its header declares .* of memory are free"):
            read_image([tmp_path / f"a{suffix}"])


def test_a_header_that_declares_what_no_packing_can_hold_is_refused(tmp_path: Path) -> None:
    data = bytearray(nifti(ARRAY))
    data[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()
    for name, content in (("a.nii", bytes(data)), ("a.nii.gz", gzip.compress(bytes(data)))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(VolumeError, match="cut short"):
            read_image([tmp_path / name])


def test_complex_voxels_are_refused(tmp_path: Path) -> None:
    pairs = np.zeros((3, 3, 6), "<f4")
    data = bytearray(nifti(pairs, kind=32))
    data[42:44] = np.array([3], "<i2").tobytes()
    (tmp_path / "a.nii").write_bytes(bytes(data))
    with pytest.raises(VolumeError, match=r"a\.nii: its voxels are complex numbers; write their magnitude"):
        read_image([tmp_path / "a.nii"])


def test_a_nifti_that_is_packed_twice_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(gzip.compress(nifti(ARRAY))))
    with pytest.raises(VolumeError, match=r"a\.nii\.gz: is packed with gzip twice; unpack it once"):
        read_image([tmp_path / "a.nii.gz"])


def test_a_header_without_a_magic_that_declares_more_than_its_file_holds_is_refused(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    header = nibabel.Nifti1Header()
    header.set_data_shape((900, 900, 900))
    header.set_sform(np.eye(4), 1)
    header["datatype"], header["bitpix"], header["vox_offset"], header["magic"] = 2, 8, 352, b""  # ITK reads it so
    file = tmp_path / "a.nii"
    file.write_bytes(header.binaryblock + bytes(1000))
    with pytest.raises(VolumeError, match="1348 bytes cannot hold the 729000000 that its header declares"):
        read_image([file])
