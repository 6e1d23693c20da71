"""Folders of masks, one organ a file: the names of the files say which label each is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.imaging.contents import require_memory
from autoseg.imaging.grid import Grid, corner_distance_mm, to_lps
from autoseg.imaging.overlaps import NamedMask, Overlay, overlay
from autoseg.imaging.readers import images_among, open_path, strip_suffix
from autoseg.imaging.slicer_segments import strip_slicer_suffix
from autoseg.words import counted

SAME_GRID_MM = 0.01  # corners nearer than this are the same place: header rounding


class MaskFiles(tuple[Path, ...]):
    """Files of one image's structures: an image among them is a mask that is called as its file, a lone one, too."""

    __slots__ = ()


def mask_files(path: Path) -> dict[int, Path]:
    """Return the masks of a folder, numbered from 1 by name; nothing where a path is no folder, or holds no image file.

    Raises:
        VolumeError: If two differ in their suffix only.
    """
    if not path.is_dir():
        return {}
    by_name: dict[str, Path] = {}
    for file in images_among(sorted(path.iterdir())):
        name = mask_name(file) or file.name
        if name in by_name:
            raise VolumeError(f"{path}: {by_name[name].name} and {file.name} are masks of one name; remove one")
        by_name[name] = file
    return dict(enumerate(by_name.values(), start=1))


def mask_names(path: Path) -> dict[int, str]:
    """Return the names of the masks of a folder by their number; nothing where it holds none.

    Raises:
        VolumeError: As `mask_files`.
    """
    return {number: mask_name(file) or file.name for number, file in mask_files(path).items()}


def mask_name(file: Path) -> str | None:
    """Return the name of a file without its image suffix, or None where it has none that is known."""
    return strip_slicer_suffix(file) or strip_suffix(file)


def read_masks(folder: Path, values: Mapping[int, int]) -> tuple[Overlay, Grid]:
    """Return the masks of a folder laid over each other, and their grid; axes along LPS.

    Args:
        folder: That holds them.
        values: Label value of each mask that counts, by its number; the others are not read.

    Raises:
        VolumeError: If a file is damaged or no mask, or the grids differ.
    """
    files, names = mask_files(folder), mask_names(folder)
    used = sorted(values, key=lambda number: values[number])
    first = files[used[0]]
    grid = to_lps(open_path(first).header(first, None).grid)[1]
    require_memory(folder, 6.0 * math.prod(grid.shape))
    masks = (NamedMask(name=names[n], value=values[n], array=read_mask(files[n], grid, first)) for n in used)
    return overlay(masks, grid.shape), grid


def read_mask(file: Path, grid: Grid, first: Path) -> npt.NDArray[np.bool_]:
    """Return a mask (Z, Y, X), axes along LPS.

    Raises:
        VolumeError: If it has another grid than the first one, or is no mask.
    """
    image = open_path(file).read(file, None)
    if len(image.array) != 1:
        raise VolumeError(f"{file}: a mask must have one channel, found {len(image.array)}; write one file an organ")
    turn, own = to_lps(image.grid)
    apart = corner_distance_mm(own, grid)
    if apart > SAME_GRID_MM:
        where = f"{own.shape} voxels" if own.shape != grid.shape else f"corners {apart:.3g} mm apart"
        raise VolumeError(
            f"{file}: its grid differs from that of {first.name} ({where}, {grid.shape}); resample the masks of a case "
            "onto its image"
        )
    array = turn.apply(image.array[0])
    values = np.unique(array[array != 0])
    if len(values) > 1:
        raise VolumeError(
            f"{file}: holds {counted(len(values), 'value')} beside 0, from {values[0]:g} to {values[-1]:g}, and a mask "
            "has one; write one file an organ, or name the file itself as label"
        )
    return np.asarray(array != 0)
