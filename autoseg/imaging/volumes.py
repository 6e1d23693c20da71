"""Volumes: images and label maps with their axes along LPS, read from and written to any format of `readers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.imaging.dicom import list_series
from autoseg.imaging.grid import Grid, corner_distance_mm, to_lps
from autoseg.imaging.itk import reason
from autoseg.imaging.readers import Header, StoredImage, image_suffixes, open_path, reader_of_suffix
from autoseg.words import counted

SAME_PLACE_MM = 0.01  # corners nearer than this are the same place: header rounding, not a shift


@dataclass(frozen=True, kw_only=True)
class Volume:
    """Voxels with their place in the patient, axes along LPS."""

    array: npt.NDArray[Any]  # image: as stored (C, Z, Y, X); label map: int32 (Z, Y, X)
    grid: Grid  # of the array, LPS
    stored: Grid  # as in the file

    def as_float32(self) -> Volume:
        """Return the volume with its array as float32, contiguous."""
        return replace(self, array=np.ascontiguousarray(self.array, dtype=np.float32))


def read_grid(file: Path) -> Grid:
    """Read only the header of a file; return its grid as stored.

    Raises:
        VolumeError: If the file is missing or its header cannot be read.
    """
    return read_header(file).grid


def read_header(path: Path, series: str | None = None) -> Header:
    """Read only the header of a file, or of a DICOM folder.

    Args:
        path: File or folder.
        series: SeriesInstanceUID, or its end, of the series to take from a DICOM folder that holds several.

    Raises:
        VolumeError: If the file is missing or its header cannot be read.
    """
    return open_path(path).header(path, series)


def read_image(files: Sequence[Path], series: str | None = None) -> Volume:
    """Read an image: one file (3D, or 4D with the channels last), one file a channel, or one DICOM folder.

    Args:
        files: What to read.
        series: SeriesInstanceUID, or its end, of the series to take from a DICOM folder that holds several.

    Returns:
        A volume whose array (C, Z, Y, X) has the file's type, and axes along LPS; it may be read-only.

    Raises:
        VolumeError: If a file is missing, damaged, holds NaN or infinite voxels, or the channels' grids differ.
    """
    parts = [open_path(file).read(file, series) for file in files]
    stored = parts[0].grid
    for file, part in zip(files, parts, strict=True):
        if corner_distance_mm(stored, part.grid) > SAME_PLACE_MM:
            raise VolumeError(
                f"{file}: its grid {part.grid.shape} differs from that of {files[0]} {stored.shape}; "
                "resample the channels of a case onto one grid"
            )
    array = parts[0].array if len(parts) == 1 else np.concatenate([part.array for part in parts])
    return image_volume(StoredImage(array=array, grid=stored), files[0])


def image_volume(image: StoredImage, source: object) -> Volume:
    """Return an image as stored as a volume with its axes along LPS.

    Args:
        image: From a file or from memory.
        source: What it is called in messages.

    Raises:
        VolumeError: If it holds NaN or infinite voxels.
    """
    array = image.array
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise VolumeError(f"{source}: NaN or infinite in {counted(bad, 'voxel')}; replace them, for CT by -1024")
    turn, grid = to_lps(image.grid)
    return Volume(array=turn.apply(array), grid=grid, stored=image.grid)


def read_label(file: Path) -> Volume:
    """Read a label map.

    Returns:
        A volume whose array is int32 (Z, Y, X), axes along LPS.

    Raises:
        VolumeError: If the file is missing, damaged, has several channels, or values that are not whole numbers.
    """
    image = open_path(file).read(file, None)
    array = image.array
    if len(array) != 1:
        raise VolumeError(f"{file}: a label map must have one channel, found {len(array)}; merge them into one map")
    if not np.isfinite(array).all():
        raise VolumeError(f"{file}: label values are NaN or infinite; write whole numbers")
    with np.errstate(invalid="ignore"):  # values that no int32 holds are refused below
        whole = array[0].astype(np.int32)
    if not np.can_cast(array.dtype, np.int32) and not np.array_equal(whole, array[0]):
        raise VolumeError(f"{file}: label values are not whole numbers; it may be an image or was interpolated")
    turn, grid = to_lps(image.grid)
    return Volume(array=np.ascontiguousarray(turn.apply(whole)), grid=grid, stored=image.grid)


def write_label(
    file: Path, label: npt.NDArray[np.integer[Any]], stored: Grid, fields: Mapping[str, str] | None = None
) -> None:
    """Write a label map on the grid of its image, atomically.

    Args:
        file: Where; the suffix picks the format.
        label: (Z, Y, X), axes along LPS; written as uint8 or uint16.
        stored: Grid of the image as stored; the label map gets exactly this grid.
        fields: Fields for the header, where the format has room for them (NRRD, MetaImage).

    Raises:
        VolumeError: If the file cannot be written.
    """
    write_array(file, stored_label(label, stored), stored, fields)


def stored_label(label: npt.NDArray[np.integer[Any]], stored: Grid) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Return a label map (Z, Y, X), axes along LPS, with the axes of its image as stored, as uint8 or uint16."""
    kind = np.uint8 if label.max(initial=0) < 256 else np.uint16
    return to_lps(stored)[0].undo(label).astype(kind, copy=False)


def write_array(file: Path, array: npt.NDArray[Any], stored: Grid, fields: Mapping[str, str] | None = None) -> None:
    """Write an array (Z, Y, X) that already has the axes of `stored`, atomically, compressed where the format can.

    Raises:
        VolumeError: If the file cannot be written.
    """
    reader = reader_of_suffix(file.name)
    if reader is None or reader.write is None:
        raise VolumeError(f"{file}: unknown image suffix; use one of {', '.join(image_suffixes())}")
    try:
        reader.write(file, array, stored, fields or {})
    except (RuntimeError, OSError) as error:
        raise VolumeError(f"{file}: cannot be written ({reason(error)}); check the disk and the folder") from error


def is_dicom_folder(folder: Path) -> bool:
    """Return whether `folder`, or a folder within it, holds at least one DICOM series of images."""
    return bool(list_series(folder))
