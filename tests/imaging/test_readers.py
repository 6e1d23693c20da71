"""Tests of autoseg.imaging.readers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk

from autoseg.errors import VolumeError
from autoseg.imaging import readers
from autoseg.imaging.grid import Grid
from autoseg.imaging.readers import (
    DICOM_SERIES,
    READERS,
    Header,
    Reader,
    StoredImage,
    image_suffixes,
    images_among,
    reader_of,
    strip_suffix,
)
from autoseg.imaging.volumes import read_grid, read_header, read_image, read_label, write_array, write_label

GRID = Grid(shape=(2, 3, 4), spacing_mm=(3.0, 2.0, 1.0), direction=(-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))


def numpy_header(file: Path, series: str | None) -> Header:
    array = np.load(file, mmap_mode="r", allow_pickle=False)
    return Header(grid=GRID, channels=1, voxel_bytes=array.itemsize)


def read_numpy(file: Path, series: str | None) -> StoredImage:
    return StoredImage(array=np.load(file, allow_pickle=False)[None], grid=GRID)


def write_numpy(file: Path, array: npt.NDArray[np.generic], grid: Grid, fields: Mapping[str, str]) -> None:
    if grid != GRID:
        raise RuntimeError("only one grid")
    with file.open("wb") as stream:
        np.save(stream, array)


def test_a_new_format_is_one_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, array = tmp_path / "Scan.Seg.NPY", np.arange(24, dtype=np.int16).reshape(GRID.shape)
    with pytest.raises(VolumeError, match="unknown image suffix"):
        write_array(file, array, GRID)
    reader = Reader(suffixes=(".seg.npy",), header=numpy_header, read=read_numpy, write=write_numpy)
    monkeypatch.setitem(READERS, "NumPy", reader)
    write_array(file, array, GRID)
    assert strip_suffix(file) == "Scan"
    assert image_suffixes()[-1] == ".seg.npy"
    assert read_grid(file) == GRID
    assert read_header(file).image_bytes == 48
    volume = read_image([file])
    np.testing.assert_array_equal(volume.array[0], array[:, ::-1, ::-1])  # x and y run against LPS
    np.testing.assert_array_equal(read_label(file).array, array[:, ::-1, ::-1])
    write_label(file, volume.array[0] // 24, volume.stored)
    assert not read_image([file]).array.any()
    with pytest.raises(VolumeError, match=r"cannot be written \(only one grid\)"):
        write_array(file, array, Grid(shape=GRID.shape, spacing_mm=(1.0, 1.0, 1.0)))


def test_the_longest_suffix_picks_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Reader(suffixes=(".seg.nrrd",), header=numpy_header, read=read_numpy)
    monkeypatch.setitem(READERS, "segments", own)
    assert reader_of(Path("a.SEG.nrrd")) is own
    assert reader_of(Path("a.nrrd")) is READERS["NRRD"]
    assert strip_suffix(Path("a.seg.nrrd")) == "a"


@pytest.mark.parametrize("name", ["mask.nii", "mask.nii.gz"])
@pytest.mark.parametrize("left", [0, 3, 200, 20_000, -1])
def test_a_mask_that_a_full_disk_cuts_is_refused_and_the_one_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, left: int
) -> None:
    array = np.random.default_rng(0).integers(0, 200, (40, 40, 40)).astype(np.uint8)
    grid = Grid(shape=array.shape, spacing_mm=(1.0, 1.0, 1.0))
    write_array(tmp_path / name, array, grid)
    before = (tmp_path / name).read_bytes()
    write_file = readers.write_file

    def cut(file: Path, *how: Any, **more: Any) -> None:  # as ITK does on a full disk, without an error
        write_file(file, *how, **more)
        file.write_bytes(file.read_bytes()[:left])

    monkeypatch.setattr(readers, "write_file", cut)
    with pytest.raises(VolumeError, match=r"mask\.nii.*No space left on device.*check the disk"):
        write_array(tmp_path / name, array[::-1], grid)
    assert (tmp_path / name).read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_format_that_is_only_read_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(READERS, "NumPy", Reader(suffixes=(".npy",), header=numpy_header, read=read_numpy))
    with pytest.raises(VolumeError, match="unknown image suffix"):
        write_array(tmp_path / "a.npy", np.zeros(GRID.shape), GRID)


def test_a_folder_is_a_dicom_series_and_a_name_of_no_format_has_no_reader(tmp_path: Path) -> None:
    assert reader_of(tmp_path) is DICOM_SERIES
    assert reader_of(tmp_path / "a.jpg") is None


def test_two_formats_never_share_a_suffix() -> None:
    assert len(set(image_suffixes())) == len(image_suffixes())


@pytest.mark.parametrize(("channels", "expected"), [(1, (1, 2, 48)), (3, (3, 2, 144))])
@pytest.mark.parametrize("joined", [False, True])
def test_a_header_counts_channels_and_bytes(
    tmp_path: Path, joined: bool, channels: int, expected: tuple[int, int, int]
) -> None:
    one = sitk.GetImageFromArray(np.zeros(GRID.shape, np.int16))
    image = sitk.JoinSeries([one] * channels) if joined else sitk.Compose([one] * channels)
    sitk.WriteImage(one if channels == 1 else image, str(tmp_path / "a.nii"))
    header = read_header(tmp_path / "a.nii")
    assert (header.channels, header.voxel_bytes, header.image_bytes) == expected
    assert header.image_bytes == read_image([tmp_path / "a.nii"]).array.nbytes


def test_a_format_that_has_no_reader_is_read_where_itk_knows_it(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(GRID.shape)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "a.gipl"))
    np.testing.assert_array_equal(read_image([tmp_path / "a.gipl"]).array[0], array)


@pytest.mark.parametrize(
    ("name", "expected"), [("a.nii.gz", "a"), ("A.NII.GZ", "A"), ("a.b.mha", "a.b"), ("a.gz", None), ("a.dcm", None)]
)
def test_only_image_suffixes_are_stripped(name: str, expected: str | None) -> None:
    assert strip_suffix(Path(name)) == expected


def test_pictures_beside_other_images_are_previews_unless_they_are_wanted(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.nii.gz", "a.png", "b.tif", ".c.png", "notes.txt")]
    for file in files:
        file.touch()
    assert images_among(files) == files[:1]
    assert images_among(files, with_pictures=True) == files[:3]
    assert images_among(files[1:]) == files[1:3]
    (tmp_path / "slice1").write_bytes(bytes(128) + b"DICM")
    assert images_among([*files[1:], tmp_path / "slice1"]) == []
