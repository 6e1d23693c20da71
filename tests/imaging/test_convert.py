"""Tests of autoseg.imaging.convert."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from grids import TURNS, turned

from autoseg.errors import VolumeError
from autoseg.imaging.convert import ArrayImage, to_volume
from autoseg.imaging.grid import Grid
from autoseg.imaging.itk import image_of
from autoseg.imaging.volumes import Volume, read_image, write_array

VOXELS = np.random.default_rng(0).integers(-500, 500, (2, 3, 4)).astype(np.int16)
SPACING_MM, ORIGIN_MM = (3.0, 2.0, 1.5), (10.0, -20.0, 30.0)
each_turn = pytest.mark.parametrize(("axes", "signs"), TURNS)


def grid_of(axes: tuple[int, ...] = (0, 1, 2), signs: tuple[int, ...] = (1, 1, 1)) -> Grid:
    direction = tuple(turned(axes, signs).ravel().tolist())
    return Grid(shape=VOXELS.shape, spacing_mm=SPACING_MM, origin_mm=ORIGIN_MM, direction=direction)


def array_image(grid: Grid) -> ArrayImage:
    return ArrayImage(array=VOXELS, spacing_mm=SPACING_MM, origin_mm=grid.origin_mm, direction=grid.direction)


def nibabel_image(grid: Grid, array: np.ndarray = VOXELS) -> Any:
    nibabel = pytest.importorskip("nibabel")
    return nibabel.Nifti1Image(array.T, np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.matrix())


def bright(image: object) -> Any:
    """Return where an image is above 0, as a model would give it back."""
    converted = to_volume(image)
    volume = converted.volume
    mask = (volume.array[0] > 0).astype(np.int32)
    return converted.mask_like(Volume(array=mask, grid=volume.grid, stored=volume.stored))


@each_turn
def test_an_array_gets_a_mask_on_its_own_axes(axes: tuple[int, ...], signs: tuple[int, ...]) -> None:
    mask = bright(array_image(grid_of(axes, signs)))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, VOXELS > 0)


@each_turn
def test_a_simpleitk_image_gets_a_mask_on_its_own_grid(axes: tuple[int, ...], signs: tuple[int, ...]) -> None:
    image = image_of(VOXELS, grid_of(axes, signs))
    mask = bright(image)
    assert isinstance(mask, sitk.Image)
    for of in (sitk.Image.GetSize, sitk.Image.GetSpacing, sitk.Image.GetOrigin, sitk.Image.GetDirection):
        assert of(mask) == of(image)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), VOXELS > 0)


@each_turn
def test_a_nibabel_image_gets_a_mask_with_its_own_affine(axes: tuple[int, ...], signs: tuple[int, ...]) -> None:
    image = nibabel_image(grid_of(axes, signs))
    mask = bright(image)
    assert type(mask) is type(image)
    np.testing.assert_array_equal(mask.affine, image.affine)
    np.testing.assert_array_equal(np.asanyarray(mask.dataobj).T, VOXELS > 0)


@each_turn
def test_the_same_image_is_the_same_volume_however_it_comes(
    axes: tuple[int, ...], signs: tuple[int, ...], tmp_path: Path
) -> None:
    grid = grid_of(axes, signs)
    write_array(tmp_path / "a.nii.gz", VOXELS, grid)
    expected = read_image([tmp_path / "a.nii.gz"])
    images = [tmp_path / "a.nii.gz", str(tmp_path / "a.nii.gz"), [tmp_path / "a.nii.gz"], array_image(grid)]
    images += [image_of(VOXELS, grid), expected]
    if find_spec("nibabel"):
        images.append(nibabel_image(grid))
    for image in images:
        volume = to_volume(image).volume
        np.testing.assert_array_equal(volume.array, expected.array)
        for own, other in ((volume.grid, expected.grid), (volume.stored, expected.stored)):
            np.testing.assert_allclose(own.matrix(), other.matrix(), atol=1e-5)


def test_an_image_of_nibabel_from_a_file_is_what_the_file_says(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    write_array(tmp_path / "a.nii.gz", VOXELS, grid_of((1, 2, 0), (1, -1, 1)))
    image = nibabel.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(to_volume(image).volume.array, read_image([tmp_path / "a.nii.gz"]).array)
    image.header["cal_max"] = 400
    mask = bright(image)
    assert (mask.header["qform_code"], mask.header["cal_max"]) == (image.header["qform_code"], 0)
    assert mask.get_data_dtype() == np.uint8


@pytest.mark.parametrize(("unit", "mm"), [("meter", 1000.0), ("mm", 1.0), ("micron", 0.001), ("unknown", 1.0)])
def test_a_nibabel_image_is_in_the_unit_of_its_header_as_its_file_is(unit: str, mm: float, tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    image = nibabel_image(Grid(shape=VOXELS.shape, spacing_mm=(3.0 / mm, 2.0 / mm, 1.5 / mm)))
    image.header.set_xyzt_units(unit)
    image.header["xyzt_units"] += 64  # a code of time that there is not
    nibabel.save(image, tmp_path / "a.nii.gz")
    of_object, of_file = (to_volume(one).volume.grid for one in (image, tmp_path / "a.nii.gz"))
    np.testing.assert_allclose(of_object.spacing_mm, SPACING_MM, rtol=1e-5)
    np.testing.assert_allclose(of_object.matrix(), of_file.matrix(), rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 2])
def test_channels_come_first_in_an_array_and_last_elsewhere(channels: int) -> None:
    voxels = np.stack([VOXELS + 7 * n for n in range(channels)])
    images = [ArrayImage(array=voxels, spacing_mm=SPACING_MM)]
    images.append(sitk.JoinSeries([image_of(one, grid_of()) for one in voxels]))
    images.append(sitk.Compose([image_of(one, grid_of()) for one in voxels]))
    for image in images:
        np.testing.assert_array_equal(to_volume(image).volume.array, voxels)
        assert to_volume(image).volume.grid.spacing_mm == SPACING_MM
    assert bright(images[1]).GetDimension() == 3


def test_channels_of_a_nibabel_image_are_its_last_axis() -> None:
    voxels = np.stack([VOXELS, VOXELS + 7])
    image = nibabel_image(grid_of(), voxels)
    np.testing.assert_array_equal(to_volume(image).volume.array, voxels)
    assert bright(image).shape == VOXELS.shape[::-1]


@pytest.mark.parametrize(
    ("image", "match"),
    [
        (VOXELS, r"a ndarray is no image; give a path, .* autoseg.array_image"),
        ([], "a list is no image"),
        (3, "a int is no image"),
        (ArrayImage(array=VOXELS[0], spacing_mm=SPACING_MM), r"the array: has shape \(3, 4\) of int16"),
        (ArrayImage(array=VOXELS.astype(str), spacing_mm=SPACING_MM), "the array: has shape"),
        (ArrayImage(array=np.full(VOXELS.shape, np.inf), spacing_mm=SPACING_MM), "the array: NaN or infinite in"),
        (ArrayImage(array=VOXELS, spacing_mm=(1.0, 0.0, 1.0)), "the array: its spacing or direction"),
        (
            ArrayImage(array=VOXELS, spacing_mm=SPACING_MM, direction=(1, 0.2, 0, 0, 1, 0, 0, 0, 1)),
            "the array: its axes are not at right angles",
        ),
        (sitk.Image(3, 3, sitk.sitkUInt8), "the SimpleITK image: has 2 dimensions"),
        (sitk.Image([3, 3, 3, 2], sitk.sitkVectorFloat32, 3), "has 4 dimensions and 3 components a voxel; save each"),
        ("gone.nii.gz", "gone.nii.gz: there is no such file"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(image: object, match: str) -> None:
    with pytest.raises(VolumeError, match=match) as caught:
        to_volume(image)
    assert "\n" not in str(caught.value)


def test_a_sheared_nibabel_image_is_refused() -> None:
    image = nibabel_image(grid_of())
    image.affine[0, 1] += 1.0
    with pytest.raises(VolumeError, match="the nibabel image: its axes are not at right angles"):
        to_volume(image)


def test_neither_library_is_imported_for_an_array() -> None:
    code = """if True:
        import sys, numpy
        from autoseg.imaging.convert import ArrayImage, to_volume
        to_volume(ArrayImage(array=numpy.zeros((2, 2, 2)), spacing_mm=(1.0, 1.0, 1.0)))
        print({"SimpleITK", "nibabel"} & set(sys.modules))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
