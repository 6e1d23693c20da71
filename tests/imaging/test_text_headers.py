"""Tests of autoseg.imaging.text_headers."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from autoseg.errors import VolumeError
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import read_header, read_image, write_array

ARRAY = np.arange(1000, dtype=np.uint8).reshape(10, 10, 10)
HEAD = "ObjectType = Image\nNDims = 3\nDimSize = 10 10 10\nElementType = MET_UCHAR\n"
NRRD = (
    "NRRD0004\ntype: uchar\ndimension: 3\nspace: left-posterior-superior\nsizes: 10 10 10\n"
    "space directions: {}\nspace origin: (0,0,0)\nkinds: domain domain domain\nencoding: raw\n\n"
)


def meta(file: Path, more: str, voxels: bytes = ARRAY.tobytes()) -> Path:
    file.write_bytes(f"{HEAD}{more}".encode() + voxels)
    return file


@pytest.mark.parametrize("pattern", ["%n%n%n%s 1 10 1", "%s", "a%d%n.raw 1 10 1", "%99999d 1 10 1"])
def test_a_pattern_of_names_never_reaches_printf(tmp_path: Path, pattern: str) -> None:
    file = meta(tmp_path / "a.mhd", f"ElementDataFile = {pattern}\n", b"")
    for read in (lambda f: read_image([f]), read_header):
        with pytest.raises(VolumeError, match=r"a\.mhd: ElementDataFile is no pattern of file names"):
            read(file)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_a_file_cut_short_says_how_many_bytes_are_there(tmp_path: Path, suffix: str) -> None:
    voxels = ARRAY.tobytes()[:700]
    file = tmp_path / f"a{suffix}"
    if suffix == ".mha":
        meta(file, "ElementDataFile = LOCAL\n", voxels)
    else:
        file.write_bytes(NRRD.format("(1,0,0) (0,1,0) (0,0,1)").encode() + voxels)
    with pytest.raises(VolumeError, match=f"a{suffix}: cut short, the voxels have 700 of 1000 bytes; copy it again"):
        read_image([file])


def test_voxels_that_were_not_copied_are_named(tmp_path: Path) -> None:
    meta(tmp_path / "a.mhd", "ElementDataFile = gone.raw\n", b"")
    with pytest.raises(VolumeError, match=r"gone\.raw, which is not there"):
        read_image([tmp_path / "a.mhd"])


@pytest.mark.parametrize("name", ["SCAN.MHA", "SCAN.MHD", "SCAN.NRRD", "Scan.Mha"])
def test_a_suffix_in_capitals_is_read(tmp_path: Path, name: str) -> None:
    lower = tmp_path / name.lower()
    write_array(lower, ARRAY, Grid(shape=ARRAY.shape, spacing_mm=(1.0, 1.0, 1.0)))
    lower.rename(tmp_path / name)
    np.testing.assert_array_equal(read_image([tmp_path / name]).array[0], ARRAY)


@pytest.mark.parametrize("spacing", ["0 1 1", "nan 1 1", "inf 1 1", "-1 1 1", "1 1 much"])
def test_a_spacing_that_is_none_is_refused(tmp_path: Path, spacing: str) -> None:
    meta(tmp_path / "a.mha", f"ElementSpacing = {spacing}\nElementDataFile = LOCAL\n")
    with pytest.raises(VolumeError, match=r"a\.mha: ElementSpacing in its header"):
        read_image([tmp_path / "a.mha"])


@pytest.mark.parametrize("directions", ["(nan,0,0) (0,1,0) (0,0,1)", "(0,0,0) (0,1,0) (0,0,1)"])
def test_directions_that_are_none_are_refused(tmp_path: Path, directions: str) -> None:
    (tmp_path / "a.nrrd").write_bytes(NRRD.format(directions).encode() + ARRAY.tobytes())
    with pytest.raises(VolumeError, match=r"a\.nrrd: "):
        read_image([tmp_path / "a.nrrd"])


@pytest.mark.parametrize("sheared", ["mha", "nrrd"])
def test_a_sheared_volume_is_refused(tmp_path: Path, sheared: str) -> None:
    file = tmp_path / f"a.{sheared}"
    if sheared == "mha":
        lean = "TransformMatrix = 1 0 0 0 1 0 0 0.34 0.94\nElementSpacing = 1 1 2.5\nElementDataFile = LOCAL\n"
        meta(file, lean)
    else:
        file.write_bytes(NRRD.format("(1,0,0) (0,1,0) (0,0.9,2.5)").encode() + ARRAY.tobytes())
    for read in (lambda f: read_image([f]), read_header):
        with pytest.raises(VolumeError, match=f"a.{sheared}: its axes are not at right angles"):
            read(file)


def test_a_header_without_an_orientation_says_so(tmp_path: Path) -> None:
    file = meta(tmp_path / "a.mha", "ElementSpacing = 1 1 1\nElementDataFile = LOCAL\n")
    assert [remark.code for remark in read_header(file).remarks] == ["orientation-unknown"]


def test_a_line_that_would_overflow_the_buffers_of_the_parser_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.nrrd"
    write_array(file, np.zeros((3, 3, 3), np.uint8), Grid(shape=(3, 3, 3), spacing_mm=(1.0, 1.0, 1.0)))
    sound = file.read_bytes()
    for damage in (b"dimension: " + b"[" * 2000, b"ki" + b"1" * 5000):  # a crash of the process, not an error
        file.write_bytes(sound.replace(b"dimension: 3", damage))
        with pytest.raises(VolumeError, match="a line of its header has"):
            read_image((file,))
    file.write_bytes(sound.replace(b"dimension: 3", b"note:=" + b"1" * 5000 + b"\ndimension: 3"))
    assert read_image((file,)).array.shape == (1, 3, 3, 3)


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
def test_packed_voxels_are_those_that_itk_wrote(tmp_path: Path, kind: str, suffix: str) -> None:
    array = np.random.default_rng(0).normal(size=(5, 4, 3, 2)).view("u1")[..., : np.dtype(kind).itemsize * 2]
    array = np.nan_to_num(np.ascontiguousarray(array).view(kind))  # (Z, Y, X, C)
    image = sitk.GetImageFromArray(array, isVector=True)
    image.SetSpacing((1.0, 2.0, 3.0))
    file = tmp_path / f"a{suffix}"
    sitk.WriteImage(image, str(file), useCompression=True)
    read = read_image([file])
    assert read.grid.spacing_mm == (3.0, 2.0, 1.0)
    np.testing.assert_array_equal(read.array, np.moveaxis(array, -1, 0).astype(read.array.dtype))


def test_packed_voxels_in_the_other_byte_order_are_turned(tmp_path: Path) -> None:
    voxels = np.arange(1000, dtype=">i2").reshape(10, 10, 10)
    head = HEAD.replace("MET_UCHAR", "MET_SHORT") + "BinaryDataByteOrderMSB = True\nCompressedData = True\n"
    file = tmp_path / "a.mha"
    file.write_bytes(f"{head}ElementDataFile = LOCAL\n".encode() + zlib.compress(voxels.tobytes()))
    np.testing.assert_array_equal(read_image([file]).array[0], voxels)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda packed: b"x = LOCAL\n" + packed, "its packed voxels are damaged"),  # MetaIO would never end
        (lambda packed: packed[:-20], "cut short, the voxels unpack to .* of 1000 bytes"),
        (lambda packed: zlib.compress(ARRAY.tobytes()[:900]) + bytes(100), "unpack to 900 of 1000 bytes"),
    ],
)
def test_packed_voxels_that_are_damaged_are_refused(
    tmp_path: Path, damage: Callable[[bytes], bytes], message: str
) -> None:
    file = meta(
        tmp_path / "a.mha", "CompressedData = True\nElementDataFile = LOCAL\n", damage(zlib.compress(ARRAY.tobytes()))
    )
    with pytest.raises(VolumeError, match=message):
        read_image([file])


@pytest.mark.parametrize("field", ['space units: "m" "m" "m"', 'space units: "um" "um" "um"', 'units: "cm" "cm" "cm"'])
def test_an_nrrd_in_another_unit_is_refused(tmp_path: Path, field: str) -> None:
    head = NRRD.format("(1,0,0) (0,1,0) (0,0,1)").rstrip("\n")
    (tmp_path / "a.nrrd").write_bytes(f"{head}\n{field}\n\n".encode() + ARRAY.tobytes())
    with pytest.raises(VolumeError, match=r"units in its header is .?m; write its lengths in mm"):
        read_image([tmp_path / "a.nrrd"])
    (tmp_path / "b.nrrd").write_bytes(f'{head}\nspace units: "mm" "mm" "mm"\n\n'.encode() + ARRAY.tobytes())
    assert np.array_equal(read_image([tmp_path / "b.nrrd"]).array[0], ARRAY)


def test_a_metaimage_in_another_unit_is_refused(tmp_path: Path) -> None:
    file = meta(tmp_path / "a.mha", "ElementSpacing = 1 1 1\nDistanceUnits = cm\nElementDataFile = LOCAL\n")
    with pytest.raises(VolumeError, match="DistanceUnits in its header is cm; write its lengths in mm"):
        read_image([file])


@pytest.mark.parametrize(
    "field",
    [
        "NDims = -1",
        "NDims = 3 3",
        "NDims = 9999",
        "TransformMatrix = 1 0 0 1",
        "Offset = 0 0 0 0",
        "ElementSpacing = 1 1",
    ],
)
def test_fields_with_more_or_fewer_numbers_than_dimensions_are_refused(tmp_path: Path, field: str) -> None:
    name = field.split(" ")[0]
    head = "".join(line + "\n" for line in HEAD.splitlines() if not line.startswith(name)) + f"{field}\n"
    file = tmp_path / "a.mha"
    file.write_bytes(f"{head}ElementDataFile = LOCAL\n".encode() + ARRAY.tobytes())
    with pytest.raises(VolumeError, match=r"export it again"):
        read_image([file])


def test_a_file_of_voxels_with_a_name_that_no_file_can_have_is_not_there(tmp_path: Path) -> None:
    file = meta(tmp_path / "a.mhd", f"ElementDataFile = {'a' * 300}.raw\n", b"")
    with pytest.raises(VolumeError, match=r"its voxels should be in a{79}…, which is not there"):
        read_image([file])
