"""Tests of autoseg.imaging.stored: the files that an image is in, and whether they are as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autoseg.errors import VolumeError
from autoseg.imaging.grid import Grid
from autoseg.imaging.stored import stored_digest, stored_files, voxel_files
from autoseg.imaging.volumes import read_image, write_array

META = (
    "ObjectType = Image\nNDims = 3\nDimSize = 2 2 3\nElementType = MET_UCHAR\nElementSpacing = 1 1 1\n"
    "TransformMatrix = 1 0 0 0 1 0 0 0 1\nElementDataFile = "
)
NRRD = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 3\nencoding: raw\n"
SLICES = ("s1.raw", "s2.raw", "s3.raw")


@pytest.mark.parametrize(
    ("name", "header", "files"),
    [
        ("a.mhd", f"{META}voxels.bin\n", ("voxels.bin",)),
        ("a.mhd", f"{META}LIST\ns1.raw\ns2.raw\ns3.raw\n", SLICES),
        ("a.mhd", f"{META}s%d.raw 1 3 1\n", SLICES),
        ("a.mha", f"{META}LOCAL\n", ()),
        ("A.NRRD", f"{NRRD}data file: voxels.bin\n\n", ("voxels.bin",)),
        ("a.nrrd", f"{NRRD}data file: LIST\ns1.raw\ns2.raw\ns3.raw\n", SLICES),
        ("a.nrrd", f"{NRRD}\n", ()),
        ("a.nrrd", f"{NRRD}data file: LIST \ns1.raw\ns2.raw\ns3.raw\n", SLICES),
        ("a.nrrd", f"{NRRD}{'# long' * 3000}\ndata file: voxels.bin\n\n", ("voxels.bin",)),
        ("a.mhd", "no header", ()),
        ("a.nii.gz", "anything", ()),
    ],
)
def test_a_header_names_the_files_of_its_voxels(tmp_path: Path, name: str, header: str, files: tuple[str, ...]) -> None:
    file = tmp_path / name
    file.write_text(header)
    for part in (*SLICES, "voxels.bin", "s1.raw.txt"):
        (tmp_path / part).write_bytes(bytes(12))
    assert voxel_files(file) == tuple(tmp_path / one for one in files)
    assert stored_files([file]) == (file, *voxel_files(file))


def test_voxels_of_any_name_count_as_the_content_of_their_header(tmp_path: Path) -> None:
    file = tmp_path / "a.mhd"
    write_array(file, np.zeros((3, 2, 2), np.int16), Grid(shape=(3, 2, 2), spacing_mm=(1.0, 1.0, 1.0)))
    voxels = (tmp_path / "a.raw").rename(tmp_path / "other.bin")
    file.write_text(file.read_text().replace("a.raw", "other.bin"))
    before = stored_digest([file])
    voxels.write_bytes(bytes([1]) + voxels.read_bytes()[1:])
    assert read_image([file]).array.sum() == 1
    assert stored_digest([file]) != before


@pytest.mark.parametrize("name", ["x\0y.raw", "x" * 300])
def test_a_name_that_no_file_can_have_is_left_to_the_reader(tmp_path: Path, name: str) -> None:
    file = tmp_path / "a.mhd"
    file.write_text(f"{META}{name}\n")
    assert stored_digest([file])
    with pytest.raises(VolumeError, match=r"a\.mhd: "):
        read_image([file])
