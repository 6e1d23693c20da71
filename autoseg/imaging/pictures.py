"""Pictures: PNG and TIFF, whose files do not say how large a pixel is; a JSON file beside them does."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.errors import VolumeError
from autoseg.files import atomic_path
from autoseg.imaging.contents import require_memory
from autoseg.imaging.grid import IDENTITY, Grid, Triple, Voxels
from autoseg.imaging.itk import Array, read_pixels, size_of, write_pixels
from autoseg.imaging.right_angles import require_possible
from autoseg.json_file import JsonError, read_json
from autoseg.words import shortened

PNG, TIFF = "PNGImageIO", "TIFFImageIO"  # of ITK
SUFFIXES = {".png": PNG, ".tif": TIFF, ".tiff": TIFF}
PALETTE = 3  # colour type of a PNG whose pixels are numbers of colours
SLICE_MM = 1.0  # thickness of a single picture: its "volume" in mm³ is its area in mm²
FOLDERS = 3  # in which a dataset.json is looked for: the file's own, and those above
EXAMPLE = '{"spacing": [0.5, 0.5]}'


def is_picture(file: Path) -> bool:
    """Return whether a file is a PNG or TIFF by its name."""
    return file.suffix.lower() in SUFFIXES


def picture_grid(file: Path, shape: Voxels) -> Grid:
    """Return the grid of a picture: its spacing is what the dataset says.

    Args:
        file: The picture.
        shape: Its pages, rows and columns.

    Raises:
        VolumeError: If nothing says how large a pixel is, or what says so is no spacing.
    """
    given = spacing_file(file)
    if given is None:
        raise VolumeError(
            f"{file}: does not say how large a pixel is; write millimetres [y, x] into the dataset.json, as in "
            f'"spacing": [0.5, 0.5], or {EXAMPLE} into {_beside(file)[-1].name} beside it; [1, 1] counts in pixels'
        )
    grid = Grid(shape=shape, spacing_mm=_spacing(given, file, shape))
    require_possible(grid, f"{file}, whose spacing {given.name} says")  # or its masks could not be read
    return grid


def values_grid(file: Path, values: Array, whole: Grid | None) -> Grid:
    """Return the grid of a label map: its image's, where that is a picture's and has its pixels; else its own.

    Args:
        file: The label map.
        values: Its values (Z, Y, X).
        whole: Grid of its image, axes along LPS. One that had to be turned has a place: there rows may be mirrored.

    Raises:
        VolumeError: As `picture_grid`.
    """
    is_plain = whole is not None and np.allclose((*whole.direction, *whole.origin_mm), (*IDENTITY, 0.0, 0.0, 0.0))
    if whole is not None and is_plain and values.shape == whole.shape:
        return whole
    z, y, x = values.shape
    return picture_grid(file, (z, y, x))


def spacing_file(file: Path) -> Path | None:
    """Return the file that says how large the pixels of a picture are; None: there is none, or it is no picture.

    It is the one beside it of its name, with or without nnU-Net's channel number (as for nnU-Net's Tiff3DIO), or the
    nearest dataset.json with the key.
    """
    if not is_picture(file):
        return None
    above = [folder / "dataset.json" for folder in list(file.absolute().parents)[:FOLDERS]]
    return next((one for one in (*_beside(file), *above) if one.is_file() and "spacing" in _keys(one)), None)


def spacing_of(file: Path) -> object:
    """Return what a file says of the spacing of pictures, as it is written there."""
    return _keys(file)["spacing"]


def files_of_mask(file: Path) -> tuple[Path, ...]:
    """Return the files that a mask is written to: also that of its voxels, or of a picture what its spacing is."""
    if file.suffix.lower() == ".mhd":
        return file, file.with_suffix(".raw")
    return (file, file.with_suffix(".json")) if is_picture(file) else (file,)


def require_slices(file: Path, slices: int) -> None:
    """Raise VolumeError if a file is to be a picture that cannot hold so many slices."""
    if slices > 1 and SUFFIXES.get(file.suffix.lower()) == PNG:
        raise VolumeError(f"{file}: a PNG holds one slice, and the mask has {slices}; write .tif or .nii.gz")


def _beside(file: Path) -> tuple[Path, ...]:
    stem = file.stem
    of_case = stem[:-5] if stem[-5:-4] == "_" and stem[-4:].isdecimal() else stem
    return file.with_name(f"{stem}.json"), file.with_name(f"{of_case}.json")


def _keys(file: Path) -> dict[str, Any]:
    try:
        return read_json(file, dict)
    except (JsonError, OSError):
        return {}  # whoever reads the dataset's own file tells why


def _spacing(given: Path, file: Path, shape: Voxels) -> Triple:
    value = _keys(given)["spacing"]
    numbers = value if isinstance(value, list) else []
    sizes = [n for n in numbers if isinstance(n, int | float) and not isinstance(n, bool) and 0 < n < math.inf]
    if len(sizes) != len(numbers) or len(sizes) not in (2, 3):
        raise VolumeError(f"{given}: spacing must be millimetres [y, x] or [z, y, x], got {shortened(repr(value))}")
    if len(sizes) == 2 and shape[0] > 1:
        raise VolumeError(
            f"{file}: has {shape[0]} pages, and {given.name} says two numbers; give the distance of the pages, too, as "
            '"spacing": [z, y, x]'
        )
    z, y, x = [SLICE_MM, *map(float, sizes)][-3:]
    return z, y, x


def read_picture(file: Path) -> Array:
    """Read the voxels (C, Z, Y, X) of a picture: a page is a slice, a colour a channel; transparency is left out.

    Raises:
        VolumeError: If it is damaged, or so large that the memory cannot hold it.
    """
    shape, channels, voxel_bytes = picture_size(file)
    require_memory(file, math.prod(shape) * channels * voxel_bytes)
    array = read_pixels(file, SUFFIXES[file.suffix.lower()])
    return array[:3] if len(array) == 4 else array[:1] if len(array) == 2 else array


def picture_size(file: Path) -> tuple[Voxels, int, int]:
    """Return pages, rows and columns of a picture, its channels, and the bytes of a voxel of one.

    Raises:
        VolumeError: If it is not a PNG or TIFF.
    """
    shape, channels, voxel_bytes = size_of(file, SUFFIXES[file.suffix.lower()])
    return shape, 3 if channels == 4 else channels, voxel_bytes


def read_values(file: Path) -> Array:
    """Read a picture as a label map, (Z, Y, X): one channel, or grey that was saved in colour.

    Raises:
        VolumeError: If its values are colours.
    """
    array = read_picture(file)
    with file.open("rb") as stream:
        start = stream.read(26)
    is_palette = start.startswith(b"\x89PNG") and struct.unpack("B", start[25:26])[0] == PALETTE
    if is_palette or any(not np.array_equal(array[0], channel) for channel in array[1:]):
        raise VolumeError(f"{file}: its values are colours; save it in grey, each pixel the value of its label")
    return np.asarray(array[0])


def write_picture(file: Path, array: Array, grid: Grid, fields: Mapping[str, str]) -> None:
    """Write a label map (Z, Y, X) as a picture, and beside it what its spacing is; the first slice alone as PNG.

    Raises:
        VolumeError: If it has several slices and the format holds one.
        RuntimeError: If it cannot be written.
    """
    require_slices(file, len(array))
    _, beside = files_of_mask(file)
    with atomic_path(file, file.suffix) as picture, atomic_path(beside) as says:
        write_pixels(picture, array)
        says.write_text(json.dumps({"spacing": list(grid.spacing_mm)}) + "\n", encoding="utf-8")
