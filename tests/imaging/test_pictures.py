"""Tests of autoseg.imaging.pictures: PNG and TIFF, and where their spacing comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from matplotlib import image as mpl_image

from autoseg.errors import VolumeError
from autoseg.imaging.grid import Grid
from autoseg.imaging.pictures import spacing_file
from autoseg.imaging.stored import stored_digest, stored_files
from autoseg.imaging.volumes import read_grid, read_image, read_label, write_label

PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4)


def write(file: Path, pixels: npt.NDArray[Any], is_colour: bool = False) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=is_colour), str(file))
    return file


def say(file: Path, spacing: object) -> None:
    file.write_text(json.dumps({"spacing": spacing}), encoding="utf-8")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
def test_a_picture_is_one_slice_with_the_pixels_that_its_dataset_says(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / "imagesTr" / f"a_0000{suffix}", PIXELS)
    say(tmp_path / "dataset.json", [0.5, 0.25])
    volume = read_image([file])
    assert volume.grid.spacing_mm == (1.0, 0.5, 0.25)
    np.testing.assert_array_equal(volume.array, PIXELS[None, None])
    assert read_grid(file) == volume.grid


def test_a_file_beside_a_picture_goes_before_the_dataset(tmp_path: Path) -> None:
    file = write(tmp_path / "a_0000.png", PIXELS)
    say(tmp_path / "dataset.json", [9, 9])
    say(tmp_path / "a.json", [2.0, 0.5, 0.25])
    assert spacing_file(file) == tmp_path / "a.json"
    assert read_grid(file).spacing_mm == (2.0, 0.5, 0.25)
    assert stored_files([file, tmp_path / "b.nii.gz"]) == (file, tmp_path / "b.nii.gz", tmp_path / "a.json")


def test_of_a_datasets_file_only_the_spacing_counts_for_whether_a_picture_is_another(tmp_path: Path) -> None:
    file = write(tmp_path / "imagesTr" / "a_0000.png", PIXELS)
    about = tmp_path / "dataset.json"
    digests = []
    for content in ({"spacing": [1, 1]}, {"spacing": [1, 1], "funding": "none"}, {"spacing": [1, 2]}):
        about.write_text(json.dumps(content), encoding="utf-8")
        digests.append(stored_digest([file]))
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("spacing", "match"),
    [
        (None, r"does not say how large a pixel is.*\[1, 1\] counts in pixels"),
        ([0.5], r"spacing must be millimetres \[y, x\] or \[z, y, x\], got \[0.5\]"),
        ([0.5, -1], "spacing must be"),
        ("0.5", "spacing must be"),
    ],
)
def test_without_a_sound_spacing_a_picture_is_refused_in_one_line(tmp_path: Path, spacing: object, match: str) -> None:
    file = write(tmp_path / "a.png", PIXELS)
    if spacing is not None:
        say(tmp_path / "dataset.json", spacing)
    with pytest.raises(VolumeError, match=match) as caught:
        read_image([file])
    assert "\n" not in str(caught.value)


def test_the_pages_of_a_tiff_are_slices_and_need_their_distance(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tif", np.stack([PIXELS] * 5))
    say(tmp_path / "a.json", [3.0, 0.5, 0.5])
    assert read_image([file]).grid == Grid(shape=(5, 3, 4), spacing_mm=(3.0, 0.5, 0.5))
    say(tmp_path / "a.json", [0.5, 0.5])
    with pytest.raises(VolumeError, match=r"has 5 pages, and a.json says two numbers"):
        read_image([file])


def test_colours_are_channels_and_transparency_is_left_out(tmp_path: Path) -> None:
    colours = np.stack([PIXELS, 2 * PIXELS, 3 * PIXELS, PIXELS * 0 + 255], axis=-1)
    say(tmp_path / "dataset.json", [1, 1])
    for depth in (3, 4):
        image = read_image([write(tmp_path / "a.png", colours[..., :depth], is_colour=True)])
        np.testing.assert_array_equal(image.array[:, 0], np.moveaxis(colours[..., :3], -1, 0))


def test_a_label_map_lies_on_its_image_and_grey_in_colour_is_grey(tmp_path: Path) -> None:
    file = write(tmp_path / "label.png", np.stack([PIXELS] * 3, axis=-1), is_colour=True)
    whole = Grid(shape=(1, 3, 4), spacing_mm=(1.0, 0.5, 0.5))
    label = read_label(file, whole)
    assert label.grid == whole
    np.testing.assert_array_equal(label.array[0], PIXELS)


def test_a_label_map_does_not_lie_on_an_image_that_has_a_place_of_its_own(tmp_path: Path) -> None:
    file = write(tmp_path / "label.png", PIXELS)
    turned = Grid(shape=(1, 3, 4), spacing_mm=(1.0, 0.5, 0.5), origin_mm=(-1.5, -1.0, 0.0))  # as of a NIfTI in RAS
    with pytest.raises(VolumeError, match="does not say how large a pixel is"):
        read_label(file, turned)


def test_a_label_map_in_colours_is_refused_be_they_a_palette(tmp_path: Path) -> None:
    whole = Grid(shape=(1, 3, 4), spacing_mm=(1.0, 0.5, 0.5))
    mpl_image.imsave(tmp_path / "label.png", PIXELS, cmap="viridis")
    with pytest.raises(VolumeError, match="its values are colours; save it in grey"):
        read_label(tmp_path / "label.png", whole)


def test_a_mask_of_a_picture_of_many_pixels_is_read_again(tmp_path: Path) -> None:
    file = write(tmp_path / "a.png", np.zeros((2, 4100), np.uint8))
    say(tmp_path / "dataset.json", [1, 1])
    grid = read_image([file]).stored
    write_label(tmp_path / "mask.nii.gz", np.ones(grid.shape, np.uint8), grid)
    assert read_label(tmp_path / "mask.nii.gz").grid.shape == (1, 2, 4100)
    say(tmp_path / "dataset.json", [1, 1.5])  # its masks could not be read: better said at once
    with pytest.raises(
        VolumeError, match=r"a\.png, whose spacing dataset\.json says: voxels of .* cannot be; correct the spacing"
    ):
        read_image([file])


@pytest.mark.parametrize(("suffix", "slices"), [(".png", 1), (".tif", 1), (".tif", 4)])
def test_a_mask_comes_back_with_its_grid(tmp_path: Path, suffix: str, slices: int) -> None:
    grid = Grid(shape=(slices, 3, 4), spacing_mm=(1.0, 0.5, 0.25))
    mask = np.stack([PIXELS + n for n in range(slices)])
    write_label(tmp_path / f"mask{suffix}", mask, grid)
    back = read_label(tmp_path / f"mask{suffix}")
    np.testing.assert_array_equal(back.array, mask)
    assert back.grid == grid


def test_several_slices_do_not_go_into_a_png(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match=r"a PNG holds one slice, and the mask has 2; write .tif or .nii.gz$"):
        write_label(tmp_path / "m.png", np.zeros((2, 3, 4), np.uint8), Grid(shape=(2, 3, 4), spacing_mm=(1, 1, 1)))
    assert list(tmp_path.iterdir()) == []
