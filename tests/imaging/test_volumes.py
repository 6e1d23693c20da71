"""Tests of autoseg.imaging.volumes."""

from __future__ import annotations

import gzip
import math
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from grids import grids
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg import files
from autoseg.errors import VolumeError
from autoseg.imaging.grid import IDENTITY, Grid, to_lps
from autoseg.imaging.nifti import KINDS, read_voxels
from autoseg.imaging.volumes import (
    is_dicom_folder,
    read_grid,
    read_image,
    read_label,
    write_array,
    write_label,
)

CUBE = Grid(shape=(8, 8, 8), spacing_mm=(1.0, 1.0, 1.0))
CUBE_OF_2 = Grid(shape=(2, 2, 2), spacing_mm=(1.0, 1.0, 1.0))
SUFFIXES = [".nii.gz", ".nii", ".nrrd", ".mha", ".mhd"]
many = settings(max_examples=15)


def assert_same_grid(found: Grid, expected: Grid) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.spacing_mm, expected.spacing_mm, atol=1e-5)
    np.testing.assert_allclose(found.origin_mm, expected.origin_mm, atol=1e-4)
    np.testing.assert_allclose(found.direction, expected.direction, atol=1e-5)


def write_noise(file: Path, grid: Grid = CUBE) -> np.ndarray:
    array = np.random.default_rng(0).normal(size=grid.shape).astype(np.float32)
    write_array(file, array, grid)
    return array


@pytest.mark.parametrize("suffix", SUFFIXES)
@many
@given(stored=grids)
def test_an_image_comes_back_with_every_voxel_at_its_place(tmp_path: Path, suffix: str, stored: Grid) -> None:
    file = tmp_path / f"image{suffix}"
    array = write_noise(file, stored)
    volume = read_image([file])
    turn, _ = to_lps(volume.stored)
    assert_same_grid(volume.stored, stored)
    np.testing.assert_array_equal(turn.undo(volume.array)[0], array)
    assert volume.array.shape[1:] == volume.grid.shape
    assert volume.array.dtype == np.float32


@pytest.mark.parametrize("suffix", SUFFIXES)
@many
@given(stored=grids, top=st.sampled_from([1, 255, 256, 65535]))
def test_a_label_is_written_on_exactly_the_grid_of_its_image(
    tmp_path: Path, suffix: str, stored: Grid, top: int
) -> None:
    image, label = tmp_path / f"image{suffix}", tmp_path / f"label{suffix}"
    write_noise(image, stored)
    volume = read_image([image])
    classes = np.random.default_rng(1).integers(0, top + 1, volume.grid.shape)
    write_label(label, classes, volume.stored)
    found = read_label(label)
    assert_same_grid(read_grid(label), volume.stored)
    as_stored = to_lps(found.stored)[0].undo(found.array)  # at 45° rounding may decide what is nearest to LPS
    np.testing.assert_array_equal(as_stored, to_lps(volume.stored)[0].undo(classes))


def test_a_label_marks_the_voxel_that_it_marks_in_the_file(tmp_path: Path) -> None:
    stored = Grid(shape=(3, 4, 5), spacing_mm=(1.0, 1.0, 1.0), direction=(0, -1, 0, 0, 0, 1, 1, 0, 0))  # x: head
    array = np.zeros(stored.shape, np.uint8)
    array[0, 0, 4] = 1  # the fifth step along the head's direction
    write_array(tmp_path / "label.nii.gz", array, stored)
    label = read_label(tmp_path / "label.nii.gz")
    assert label.grid.direction == pytest.approx(IDENTITY)
    assert np.argwhere(label.array).tolist() == [[4, 0, 3]]  # top slice, first row (y grows with k), last column


@pytest.mark.parametrize(("highest", "kind"), [(255, sitk.sitkUInt8), (256, sitk.sitkUInt16)])
def test_labels_take_one_byte_unless_a_value_needs_two(tmp_path: Path, highest: int, kind: int) -> None:
    write_label(tmp_path / "a.nii.gz", np.full(CUBE.shape, highest), CUBE)
    assert sitk.ReadImage(str(tmp_path / "a.nii.gz")).GetPixelID() == kind


def test_one_file_a_channel_and_one_4d_file_and_one_vector_file_read_alike(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(2, 3, 4)).astype(np.float32) for _ in range(3)]
    grid = Grid(shape=(2, 3, 4), spacing_mm=(3.0, 2.0, 1.0), direction=(-1, 0, 0, 0, -1, 0, 0, 0, 1))
    files = [tmp_path / f"a_000{n}.nii.gz" for n in range(3)]
    for file, part in zip(files, parts, strict=True):
        write_array(file, part, grid)
    singles = [sitk.ReadImage(str(file)) for file in files]
    sitk.WriteImage(sitk.JoinSeries(singles), str(tmp_path / "4d.nii.gz"))
    sitk.WriteImage(sitk.Compose(singles), str(tmp_path / "vector.mha"))
    separate = read_image(files)
    np.testing.assert_array_equal(separate.array, np.stack(parts)[:, :, ::-1, ::-1])
    for together in ("4d.nii.gz", "vector.mha"):
        volume = read_image([tmp_path / together])
        np.testing.assert_array_equal(volume.array, separate.array)
        assert_same_grid(volume.stored, grid)


def test_channels_on_different_grids_are_refused(tmp_path: Path) -> None:
    write_noise(tmp_path / "a.nii.gz")
    write_noise(tmp_path / "b.nii.gz", Grid(shape=(8, 8, 8), spacing_mm=(1.0, 1.0, 1.1)))
    with pytest.raises(VolumeError, match=r"b\.nii\.gz: its grid"):
        read_image([tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"])


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.99])
def test_a_file_cut_short_is_refused_not_filled_with_zeros(tmp_path: Path, suffix: str, share: float) -> None:
    file = tmp_path / f"cut{suffix}"
    write_noise(file)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(VolumeError, match=f"cut{suffix}: .*again"):
        read_image([file])


def test_a_flipped_byte_in_compressed_voxels_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "flipped.nii.gz"
    write_noise(file)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
    with pytest.raises(VolumeError, match="damaged or cut short"):
        read_image([file])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_no_numbers_are_refused_and_counted(tmp_path: Path, suffix: str, value: float) -> None:
    array = np.zeros(CUBE.shape, np.float32)
    array[1, 2, 3] = array[7, 7, 7] = value
    write_array(tmp_path / f"a{suffix}", array, CUBE)
    with pytest.raises(VolumeError, match="NaN or infinite in 2 voxels"):
        read_image([tmp_path / f"a{suffix}"])


@pytest.mark.parametrize("shape", [(3, 3, 3), (1, 1, 5)])
def test_a_nan_in_the_last_voxel_is_found_whatever_the_size(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    array = np.zeros(shape, np.float32)
    array[-1, -1, -1] = np.nan
    write_array(tmp_path / "a.nii.gz", array, Grid(shape=shape, spacing_mm=(1.0, 1.0, 1.0)))
    with pytest.raises(VolumeError, match="NaN or infinite in 1 voxel;"):
        read_image([tmp_path / "a.nii.gz"])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for read in (lambda f: read_image([f]), read_label, read_grid):
        with pytest.raises(VolumeError, match=r"gone\.nii\.gz: there is no such file"):
            read(tmp_path / "gone.nii.gz")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("content", [b"", b"this is text, not an image\n" * 40])
def test_a_file_that_is_no_image_is_refused_in_one_line(tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"text{suffix}"
    file.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    for read in (lambda f: read_image([f]), read_label, read_grid):
        with pytest.raises(VolumeError, match=f"text{suffix}: ") as caught:
            read(file)
        assert "\n" not in str(caught.value)


def test_a_nifti_of_two_dimensions_is_a_volume_of_one_slice(tmp_path: Path) -> None:
    pixels = np.arange(30, dtype=np.uint8).reshape(6, 5)
    image = sitk.GetImageFromArray(pixels)
    image.SetSpacing((0.5, 0.7))
    image.SetOrigin((4.0, 9.0))
    sitk.WriteImage(image, str(tmp_path / "flat.nii.gz"))
    volume = read_image([tmp_path / "flat.nii.gz"])
    np.testing.assert_array_equal(volume.array[0, 0], pixels)
    assert volume.grid.spacing_mm == pytest.approx((1.0, 0.7, 0.5))
    assert volume.grid.origin_mm == pytest.approx((4.0, 9.0, 0.0))
    assert read_grid(tmp_path / "flat.nii.gz") == volume.stored


def test_an_unknown_suffix_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match=r"unknown image suffix; use one of .nii.gz"):
        write_label(tmp_path / "a.jpg", np.zeros((2, 2, 2), np.uint8), CUBE)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_gives_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(VolumeError, match="cannot be written"):
        write_label(tmp_path / "file" / "a.nii.gz", np.zeros(CUBE.shape, np.uint8), CUBE)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "A.NII.GZ", "A.NII", "A.MHA"])
def test_writing_leaves_nothing_but_the_file(tmp_path: Path, name: str) -> None:
    write_noise(tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.b.mhd", "A.B.MHD"])
def test_a_mhd_names_the_file_of_its_voxels(tmp_path: Path, name: str) -> None:
    stem = name[:-4]
    noise = write_noise(tmp_path / name)
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"{stem}.mhd", f"{stem}.raw"]
    assert f"ElementDataFile = {stem}.raw\n" in (tmp_path / f"{stem}.mhd").read_text(encoding="utf-8")
    np.testing.assert_array_equal(read_image([tmp_path / f"{stem}.mhd"]).array[0], noise)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_the_image_as_it_was(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / f"a{suffix}"
    noise, names = write_noise(file), sorted(tmp_path.iterdir())

    def write_half(image: sitk.Image, name: str, **_: object) -> None:
        Path(name).write_bytes(b"half")
        raise RuntimeError("no space left")

    monkeypatch.setattr(sitk, "WriteImage", write_half)
    with pytest.raises(VolumeError, match="cannot be written"):
        write_array(file, np.zeros_like(noise), CUBE)
    assert sorted(tmp_path.iterdir()) == names
    np.testing.assert_array_equal(read_image([file]).array[0], noise)


KILLED = """
import os, sys
from pathlib import Path
import numpy as np
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import write_array
replace, renames = os.replace, []
def replace_once(source, target):
    if len(renames) == int(sys.argv[2]):
        os.kill(os.getpid(), 9)
    renames.append(target)
    replace(source, target)
os.replace = replace_once
write_array(Path(sys.argv[1]), np.ones((3, 3, 3), np.float32), Grid(shape=(3, 3, 3), spacing_mm=(1.0, 1.0, 1.0)))
"""


@pytest.mark.parametrize("renames", [0, 1])
def test_a_kill_leaves_no_header_beside_voxels_of_another_image(
    tmp_path: Path, renames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_noise(tmp_path / "a.mhd")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a.mhd"), str(renames)], check=False)
    assert done.returncode == -9
    with pytest.raises(VolumeError, match="no such file"):
        read_image([tmp_path / "a.mhd"])
    for left in tmp_path.glob(".*"):
        os.utime(left, (0, 0))  # as of long ago
    monkeypatch.setattr(files, "_left", {})  # as the next command, which lists the folder anew
    noise = write_noise(tmp_path / "a.mhd")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.mhd", "a.raw"]
    np.testing.assert_array_equal(read_image([tmp_path / "a.mhd"]).array[0], noise)


@pytest.mark.parametrize(
    ("value", "channels", "match"),
    [(0.5, 1, "not whole numbers"), (np.nan, 1, "NaN"), (1.0, 2, "one channel, found 2")],
)
def test_what_is_no_label_map_is_refused(tmp_path: Path, value: float, channels: int, match: str) -> None:
    one = sitk.GetImageFromArray(np.full((2, 2, 2), value, np.float32))
    sitk.WriteImage(one if channels == 1 else sitk.Compose([one] * channels), str(tmp_path / "a.mha"))
    with pytest.raises(VolumeError, match=match):
        read_label(tmp_path / "a.mha")


def test_labels_stored_as_whole_floats_are_read(tmp_path: Path) -> None:
    write_array(tmp_path / "a.nii.gz", np.full((2, 2, 2), 7, np.float32), Grid(shape=(2, 2, 2), spacing_mm=(1, 1, 1)))
    label = read_label(tmp_path / "a.nii.gz")
    assert (label.array == 7).all()
    assert label.array.dtype == np.int32


def write_nifti(file: Path, kind: int, order: str, sizes: tuple[int, ...], slope: float, intercept: float) -> None:
    """Write 0, 1, 2, … with a header made by hand: voxels of 2 x 3 x 4 mm that start at -5, -6, 7 mm."""
    voxels = np.arange(math.prod(sizes)).astype(order + KINDS[kind])
    header = bytearray(352)
    struct.pack_into(f"{order}i", header, 0, 348)
    struct.pack_into(f"{order}8h", header, 40, len(sizes), *sizes, *[1] * (7 - len(sizes)))
    struct.pack_into(f"{order}2h", header, 70, kind, voxels.dtype.itemsize * 8)
    struct.pack_into(f"{order}8f", header, 76, 1, 2, 3, 4, 1, 1, 1, 1)
    struct.pack_into(f"{order}3f", header, 108, 352, slope, intercept)
    header[123] = 2  # millimetres
    struct.pack_into(f"{order}2h", header, 252, 1, 1)
    struct.pack_into(f"{order}12f", header, 280, 2, 0, 0, 5, 0, 3, 0, 6, 0, 0, 4, 7)
    header[344:348] = b"n+1\0"
    file.write_bytes(bytes(header) + voxels.tobytes())


def assert_read_as_by_itk(file: Path) -> None:
    """Compare voxels with ITK's own reading of the same file."""
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
    volume = read_image([file])
    found = to_lps(volume.stored)[0].undo(volume.array)
    np.testing.assert_array_equal(found, expected.reshape(found.shape).astype(np.float32))
    plain = read_voxels(file)
    assert plain is not None
    assert plain.array.dtype.newbyteorder("=") == expected.dtype


@pytest.mark.parametrize("kind", KINDS, ids=KINDS.values())
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_nifti_is_read_as_itk_reads_it(tmp_path: Path, kind: int, order: str) -> None:
    for number, sizes in enumerate([(3, 4, 5), (3, 4, 1), (3, 4, 5, 1), (3, 4, 5, 2)]):
        for slope, intercept in [(0, 0), (1, 0), (2, 0), (1, 5), (0.5, -3), (math.nan, 0), (1, math.nan)]:
            file = tmp_path / f"{number}_{slope}_{intercept}.nii"
            write_nifti(file, kind, order, sizes, slope, intercept)
            assert_read_as_by_itk(file)


@pytest.mark.parametrize("sizes", [(3,), (3, 4, 5, 2, 2), (0, 4, 5)])
def test_a_nifti_that_is_no_volume_is_refused(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    write_nifti(tmp_path / "a.nii", 4, "<", sizes, 0, 0)
    with pytest.raises(VolumeError, match=r"a\.nii: "):
        read_image([tmp_path / "a.nii"])


def test_a_nifti_of_several_gzip_members_is_read_whole(tmp_path: Path) -> None:
    array = write_noise(tmp_path / "whole.nii")
    data = (tmp_path / "whole.nii").read_bytes()
    (tmp_path / "parts.nii.gz").write_bytes(gzip.compress(data[:1000]) + gzip.compress(data[1000:]))
    np.testing.assert_array_equal(read_image([tmp_path / "parts.nii.gz"]).array[0], array)


def test_real_nifti_files_are_read_as_itk_reads_them(real_data: Path) -> None:
    files = [file for file in real_data.rglob("*.nii*") if not file.name.startswith(".")]
    assert files
    for file in files:
        assert_read_as_by_itk(file)


@pytest.mark.parametrize(("value", "kind"), [(2**32 + 1, np.int64), (2**32 - 1, np.uint32), (1e30, np.float32)])
def test_a_label_value_that_would_wrap_round_is_refused(tmp_path: Path, value: float, kind: type[np.generic]) -> None:
    write_array(tmp_path / "a.nii.gz", np.full((2, 2, 2), value, kind), Grid(shape=(2, 2, 2), spacing_mm=(1, 1, 1)))
    with pytest.raises(VolumeError, match=r"holds the value .*, which is no label.s"):
        read_label(tmp_path / "a.nii.gz")


def test_a_folder_without_dicom_is_no_dicom_folder(tmp_path: Path) -> None:
    write_noise(tmp_path / "a.nii.gz")
    assert not is_dicom_folder(tmp_path)
    with pytest.raises(VolumeError, match="no DICOM series here"):
        read_image([tmp_path])


@pytest.mark.parametrize(("value", "is_read"), [(1.0003, True), (0.9995, True), (1.002, False), (0.5, False)])
def test_label_values_less_than_a_thousandth_off_are_rounded_and_told(
    tmp_path: Path, value: float, is_read: bool
) -> None:
    write_array(tmp_path / "a.nii.gz", np.full((2, 2, 2), value, np.float32), CUBE_OF_2)
    if not is_read:
        with pytest.raises(VolumeError, match=rf"not whole numbers \({value:g}\)"):
            read_label(tmp_path / "a.nii.gz")
        return
    label = read_label(tmp_path / "a.nii.gz")
    assert (label.array == 1).all()
    assert [remark.code for remark in label.remarks] == ["label-rounded"]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha", ".mhd"])
def test_an_image_in_a_folder_whose_name_is_not_utf_8_is_read_and_written(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    grid = Grid(shape=(2, 3, 4), spacing_mm=(2.0, 1.0, 1.0), origin_mm=(5.0, 6.0, 7.0))
    label = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    write_label(folder / f"a{suffix}", label, grid)
    read = read_label(folder / f"a{suffix}")
    assert np.array_equal(read.array, label)
    assert read.grid == grid
    assert {file.name.partition(".")[0] for file in folder.iterdir()} == {"a"}


def test_a_name_that_is_not_utf_8_is_refused_and_does_not_end_the_process(tmp_path: Path) -> None:
    for suffix in (".nii.gz", ".nrrd"):
        file = tmp_path / os.fsdecode(b"caf\xe9" + suffix.encode())
        grid = Grid(shape=(2, 3, 4), spacing_mm=(2.0, 1.0, 1.0))
        with pytest.raises(VolumeError, match=r"caf\\xe9\.n.*: its name is not UTF-8 text; rename it"):
            write_label(file, np.zeros((2, 3, 4), np.uint8), grid)
        write_label(tmp_path / f"a{suffix}", np.zeros((2, 3, 4), np.uint8), grid)
        (tmp_path / f"a{suffix}").rename(file)
    with pytest.raises(VolumeError, match=r"caf\\xe9\.nrrd: its name is not UTF-8 text; rename it"):
        read_image([file])
    assert read_image([file.with_suffix(".nii.gz")]).array.shape == (1, 2, 3, 4)  # its voxels are not ITK's to read
