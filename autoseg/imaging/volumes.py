"""Volumes on disk: NIfTI, NRRD, MetaImage and DICOM series. The only door to SimpleITK."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.files import atomic_path
from autoseg.imaging.dicom import grid_of, list_series, pick_series, transfer_syntax
from autoseg.imaging.grid import Grid, Triple, corner_distance_mm, to_lps
from autoseg.imaging.nifti import read_voxels
from autoseg.words import counted

NIFTI_SUFFIXES = (".nii.gz", ".nii")
IMAGE_SUFFIXES = (*NIFTI_SUFFIXES, ".nrrd", ".mha", ".mhd")
DICOM_BYTES = 2  # of a voxel, as nearly all scanners write them
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


def strip_suffix(file: Path) -> str | None:
    """Return the name of `file` without its image suffix, or None where it has none of IMAGE_SUFFIXES."""
    for suffix in IMAGE_SUFFIXES:
        if file.name.lower().endswith(suffix):
            return file.name[: -len(suffix)]
    return None


def read_grid(file: Path) -> Grid:
    """Read only the header of a file; return its grid as stored.

    Raises:
        VolumeError: If the file is missing or its header cannot be read.
    """
    return read_header(file)[0]


def read_header(file: Path, series: str | None = None) -> tuple[Grid, int]:
    """Read only the header of a file, or of a DICOM folder; return its grid as stored, and the bytes of a voxel.

    Raises:
        VolumeError: If the file is missing or its header cannot be read.
    """
    import SimpleITK as sitk

    if file.is_dir():
        found = pick_series(file, series)
        return grid_of(found), DICOM_BYTES if found.same_slope else 4
    _require_file(file)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    if file.name.lower().endswith(NIFTI_SUFFIXES):
        reader.SetImageIO("NiftiImageIO")  # or every format that ITK knows is tried
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise VolumeError(f"{file}: not a readable image ({_reason(error)}); export it again as NIfTI") from error
    kind = sitk.GetArrayViewFromImage(sitk.Image([1, 1, 1], reader.GetPixelID(), reader.GetNumberOfComponents()))
    return _grid_of(reader, file), int(kind.nbytes)


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
    parts = [_read(file, series) for file in files]
    stored = parts[0][1]
    for file, (_, grid) in zip(files, parts, strict=True):
        if corner_distance_mm(stored, grid) > SAME_PLACE_MM:
            raise VolumeError(
                f"{file}: its grid {grid.shape} differs from that of {files[0]} {stored.shape}; "
                "resample the channels of a case onto one grid"
            )
    stacked = [array for array, _ in parts]
    array = stacked[0] if len(stacked) == 1 else np.concatenate(stacked)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise VolumeError(f"{files[0]}: NaN or infinite in {counted(bad, 'voxel')}; replace them, for CT by -1024")
    turn, grid = to_lps(stored)
    return Volume(array=turn.apply(array), grid=grid, stored=stored)


def read_label(file: Path) -> Volume:
    """Read a label map.

    Returns:
        A volume whose array is int32 (Z, Y, X), axes along LPS.

    Raises:
        VolumeError: If the file is missing, damaged, has several channels, or values that are not whole numbers.
    """
    array, stored = _read(file)
    if len(array) != 1:
        raise VolumeError(f"{file}: a label map must have one channel, found {len(array)}; merge them into one map")
    if not np.isfinite(array).all():
        raise VolumeError(f"{file}: label values are NaN or infinite; write whole numbers")
    with np.errstate(invalid="ignore"):  # values that no int32 holds are told below
        whole = array[0].astype(np.int32)
    if not np.can_cast(array.dtype, np.int32) and not np.array_equal(whole, array[0]):
        raise VolumeError(f"{file}: label values are not whole numbers; it may be an image or was interpolated")
    turn, grid = to_lps(stored)
    return Volume(array=np.ascontiguousarray(turn.apply(whole)), grid=grid, stored=stored)


def write_label(
    file: Path, label: npt.NDArray[np.integer[Any]], stored: Grid, facts: Mapping[str, str] | None = None
) -> None:
    """Write a label map on the grid of its image, atomically.

    Args:
        file: Where; the suffix picks the format.
        label: (Z, Y, X), axes along LPS; written as uint8 or uint16.
        stored: Grid of the image as stored; the label map gets exactly this grid.
        facts: Fields for the header, where the format has room for them (NRRD, MetaImage).

    Raises:
        VolumeError: If the file cannot be written.
    """
    kind = np.uint8 if label.max(initial=0) < 256 else np.uint16
    write_array(file, to_lps(stored)[0].undo(label).astype(kind, copy=False), stored, facts)


def write_array(file: Path, array: npt.NDArray[Any], stored: Grid, facts: Mapping[str, str] | None = None) -> None:
    """Write an array (Z, Y, X) that already has the axes of `stored`, atomically, compressed where the format can.

    Raises:
        VolumeError: If the file cannot be written.
    """
    import SimpleITK as sitk

    if strip_suffix(file) is None:
        raise VolumeError(f"{file}: unknown image suffix; use one of {', '.join(IMAGE_SUFFIXES)}")
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing(stored.spacing_mm[::-1])
    image.SetOrigin(stored.origin_mm)
    image.SetDirection(stored.direction)
    for name, value in (facts or {}).items():
        image.SetMetaData(name, value)
    try:
        _write_image(image, file)
    except (RuntimeError, OSError) as error:
        raise VolumeError(f"{file}: cannot be written ({_reason(error)}); check the disk and the folder") from error


def _write_image(image: Any, file: Path) -> None:
    """Write an ITK image atomically; of a .mhd, which names a file with the voxels, never a pair that does not fit."""
    import SimpleITK as sitk

    suffix = next(s for s in IMAGE_SUFFIXES if file.name.lower().endswith(s))
    if suffix != ".mhd":
        with atomic_path(file, suffix) as beside:
            sitk.WriteImage(image, str(beside), useCompression=suffix != ".nii", compressionLevel=1)
        return
    header, voxels = file.with_suffix(".mhd"), file.with_suffix(".raw")
    with atomic_path(header) as header_beside, atomic_path(voxels) as voxels_beside:  # renamed from right to left
        sitk.WriteImage(image, str(header_beside))  # and, as it picks that name itself, to voxels_beside
        text = header_beside.read_bytes().replace(os.fsencode(voxels_beside.name), os.fsencode(voxels.name))
        header_beside.write_bytes(text)
        header.unlink(missing_ok=True)  # or, after a kill between the two, it would stand beside other voxels


def is_dicom_folder(folder: Path) -> bool:
    """Return whether `folder`, or a folder within it, holds at least one DICOM series of images."""
    return bool(list_series(folder))


def _read(file: Path, series: str | None = None) -> tuple[npt.NDArray[Any], Grid]:
    """Return the voxels (C, Z, Y, X) as stored, and the stored grid."""
    import SimpleITK as sitk

    if file.is_dir():
        return _read_series(file, series)
    _require_file(file)
    plain = read_voxels(file) if file.name.lower().endswith(NIFTI_SUFFIXES) else None
    if plain is not None:
        return plain, read_grid(file)
    try:
        image = sitk.ReadImage(str(file))
    except RuntimeError as error:
        raise VolumeError(f"{file}: not a readable image ({_reason(error)}); copy or export it again") from error
    array = sitk.GetArrayFromImage(image)
    if image.GetDimension() == 4:
        frames = image.GetSize()[3]
        image = image[:, :, :, 0]
        array = array.reshape(frames, *array.shape[-3:])
    elif image.GetDimension() != 3:
        raise VolumeError(f"{file}: has {image.GetDimension()} dimensions; autoseg reads 3D volumes")
    elif image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, -1, 0)
    else:
        array = array[None]
    return array, _grid_of(image, file)


def _read_series(folder: Path, uid: str | None) -> tuple[npt.NDArray[Any], Grid]:
    """Read a DICOM series (1, Z, Y, X), slice by slice in the order of their positions, in scaled values (HU)."""
    import SimpleITK as sitk

    series = pick_series(folder, uid)
    kind = sitk.sitkUnknown if series.same_slope else sitk.sitkFloat32
    slices = []
    with _quiet():
        for file in series.files:
            try:
                voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(file), kind, "GDCMImageIO"))
            except RuntimeError as error:
                raise VolumeError(
                    f"{file}: the slice ({transfer_syntax(file)}) cannot be read ({_reason(error)}); decompress the "
                    "series or export it again"
                ) from error
            if voxels.size != math.prod(series.size):
                raise VolumeError(f"{file}: a slice in colour; autoseg reads CT and MR, so leave this series out")
            slices.append(voxels.reshape(series.size))
    return np.stack(slices)[None], grid_of(series)


def _grid_of(image: Any, source: Path) -> Grid:
    size, spacing = image.GetSize(), image.GetSpacing()
    if len(size) < 3:
        raise VolumeError(f"{source}: has {len(size)} dimensions; autoseg reads 3D volumes")
    direction = np.reshape(image.GetDirection(), (len(size), len(size)))[:3, :3]
    x, y, z = (float(s) for s in spacing[:3])
    spacing_mm: Triple = (z, y, x)
    if min(size[:3]) < 1 or not min(spacing_mm) > 0 or abs(np.linalg.det(direction)) < 0.5:
        raise VolumeError(f"{source}: its header is not a grid (size {size}, spacing {spacing}); export it again")
    return Grid(
        shape=(int(size[2]), int(size[1]), int(size[0])),
        spacing_mm=spacing_mm,
        origin_mm=tuple(float(v) for v in image.GetOrigin()[:3]),  # type: ignore[arg-type]
        direction=tuple(float(v) for v in direction.ravel()),
    )


def _require_file(file: Path) -> None:
    if not file.is_file():
        raise VolumeError(f"{file}: there is no such file; correct the dataset or the path")


def _reason(error: Exception) -> str:
    """Return the last line of an error, without the name and address that ITK puts before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return re.sub(r"^ITK ERROR: \w+\(0x[0-9a-f]+\): ", "", lines[-1]) if lines else type(error).__name__


class _quiet:  # noqa: N801
    """Silence ITK's warnings about foreign files in a DICOM folder."""

    def __enter__(self) -> None:
        import SimpleITK as sitk

        self._before = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.SetGlobalWarningDisplay(False)

    def __exit__(self, *_: object) -> None:
        import SimpleITK as sitk

        sitk.ProcessObject.SetGlobalWarningDisplay(self._before)
