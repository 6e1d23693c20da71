"""SimpleITK's images as arrays and grids, and back. The only door to SimpleITK, which is imported inside functions."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.imaging.dicom_frames import transfer_syntax
from autoseg.imaging.grid import Grid
from autoseg.imaging.remarks import Remark
from autoseg.imaging.right_angles import right_angled
from autoseg.words import is_text, printable

Array = npt.NDArray[Any]
DESCRIPTORS = Path("/proc/self/fd")


def array_and_grid(image: Any, source: object) -> tuple[Array, Grid, tuple[Remark, ...]]:
    """Return the voxels (C, Z, Y, X) of an ITK image, its grid, and what is worth knowing of it.

    Args:
        image: 3D with one or several components a voxel, or 4D with the channels last.
        source: What the image is called in messages.

    Raises:
        VolumeError: If it has other dimensions or no proper grid.
    """
    import SimpleITK as sitk

    components = image.GetNumberOfComponentsPerPixel()
    if image.GetDimension() == 4 and components > 1:
        raise VolumeError(
            f"{source}: has 4 dimensions and {components} components a voxel; save each component as a file of its own"
        )
    array = sitk.GetArrayFromImage(image)
    if image.GetDimension() == 4:
        frames = image.GetSize()[3]
        image = image[:, :, :, 0]
        array = array.reshape(frames, *array.shape[-3:])
    elif image.GetDimension() != 3:
        raise VolumeError(f"{source}: has {image.GetDimension()} dimensions; autoseg reads 3D volumes")
    elif components > 1:
        array = np.moveaxis(array, -1, 0)
    else:
        array = array[None]
    return array, *grid_of_image(image, source)


def grid_of_image(image: Any, source: object) -> tuple[Grid, tuple[Remark, ...]]:
    """Return the grid of an ITK image, or of a reader that has read its header.

    Raises:
        VolumeError: If its header is not a grid with right angles.
    """
    size, spacing = image.GetSize(), image.GetSpacing()
    if len(size) < 2:
        raise VolumeError(f"{source}: has one axis; autoseg reads volumes and slices, export it again as NIfTI")
    direction = np.reshape(image.GetDirection(), (len(size), len(size)))[:3, :3]
    place = image.GetOrigin()[:3]
    if len(size) == 2:  # one slice, of 1 mm
        size, spacing, place = (*size, 1), (*spacing, 1.0), (*place, 0.0)
        direction = np.pad(direction, (0, 1)) + np.diag((0.0, 0.0, 1.0))
    grid = Grid(
        shape=(int(size[2]), int(size[1]), int(size[0])),
        spacing_mm=(float(spacing[2]), float(spacing[1]), float(spacing[0])),
        origin_mm=tuple(float(v) for v in place),  # type: ignore[arg-type]
        direction=tuple(float(v) for v in direction.ravel()),
    )
    return right_angled(grid, source)


def image_of(array: Array, grid: Grid) -> Any:
    """Return the ITK image of an array (Z, Y, X) that has the axes of `grid`."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing(grid.spacing_mm[::-1])
    image.SetOrigin(grid.origin_mm)
    image.SetDirection(grid.direction)
    return image


def write_file(file: Path, image: Any, fields: Mapping[str, str], compress: bool) -> None:
    """Write an ITK image, with fields for its header where the format has room for them; the suffix picks the format.

    Raises:
        RuntimeError: If it cannot be written.
    """
    import SimpleITK as sitk

    for name, value in fields.items():
        image.SetMetaData(name, value)
    with _text_path(file) as path:
        sitk.WriteImage(image, path, useCompression=compress, compressionLevel=1)


@dataclass(frozen=True, kw_only=True)
class Information:
    """What ITK reads from a header."""

    grid: Grid
    channels: int
    voxel_bytes: int  # of one channel
    remarks: tuple[Remark, ...]


def read_information(file: Path, image_io: str = "") -> Information:
    """Read only the header of a file.

    Args:
        file: To read.
        image_io: ITK's name of the format; empty: every format that ITK knows is tried.

    Raises:
        VolumeError: If it is not an image.
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    if image_io:
        reader.SetImageIO(image_io)
    try:
        with _silence(), _text_path(file) as path:
            reader.SetFileName(path)
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise VolumeError(f"{file}: not a readable image ({reason(error)}); export it again as NIfTI") from error
    components, size = reader.GetNumberOfComponents(), reader.GetSize()
    voxel = sitk.GetArrayViewFromImage(sitk.Image([1, 1, 1], reader.GetPixelID(), components))
    frames = size[3] if len(size) > 3 else 1
    grid, remarks = grid_of_image(reader, file)
    return Information(grid=grid, channels=components * frames, voxel_bytes=int(voxel.itemsize), remarks=remarks)


def size_of(file: Path, image_io: str) -> tuple[tuple[int, int, int], int, int]:
    """Return pages, rows and columns of a picture, its channels, and the bytes of a voxel of one.

    Raises:
        VolumeError: If it is not of this format.
    """
    known = read_information(file, image_io)
    return known.grid.shape, known.channels, known.voxel_bytes


def read_pixels(file: Path, image_io: str) -> Array:
    """Read the voxels (C, Z, Y, X) of a picture.

    Raises:
        VolumeError: If it is damaged, or not of this format.
    """
    return read_file(file, image_io)[0]


def write_pixels(file: Path, array: Array) -> None:
    """Write an array (Z, Y, X) as a picture; a single slice in 2D.

    Raises:
        RuntimeError: If it cannot be written.
    """
    import SimpleITK as sitk

    with _text_path(file) as path:
        sitk.WriteImage(sitk.GetImageFromArray(np.ascontiguousarray(array[0] if len(array) == 1 else array)), path)


def read_file(file: Path, image_io: str = "") -> tuple[Array, Grid, tuple[Remark, ...]]:
    """Read a file; return its voxels (C, Z, Y, X), its grid, and what is worth knowing of it.

    Args:
        file: To read.
        image_io: ITK's name of the format; empty: every format that ITK knows is tried.

    Raises:
        VolumeError: If it is not a 3D image.
    """
    import SimpleITK as sitk

    try:
        with _silence(), _text_path(file) as path:
            image = sitk.ReadImage(path, imageIO=image_io)
            image = sitk.JoinSeries(image) if image.GetDimension() == 2 else image
    except RuntimeError as error:
        raise VolumeError(f"{file}: not a readable image ({reason(error)}); copy or export it again") from error
    return array_and_grid(image, file)


def read_slices(files: Sequence[Path], as_float: bool) -> Iterator[Array]:
    """Yield the voxels of DICOM files one after the other, in scaled values (HU); foreign files raise no warning.

    Args:
        files: One a slice.
        as_float: Whether they are float32, as is needed where each is scaled in its own way; else as GDCM has them.

    Raises:
        VolumeError: If one cannot be decoded.
    """
    import SimpleITK as sitk

    kind = sitk.sitkFloat32 if as_float else sitk.sitkUnknown
    with _silence():
        for file in files:
            try:
                with _text_path(file) as path:
                    image = sitk.ReadImage(path, kind, "GDCMImageIO")
                yield sitk.GetArrayFromImage(image)
            except RuntimeError as error:
                raise VolumeError(
                    f"{file}: the slice ({transfer_syntax(file)}) cannot be read ({reason(error)}); decompress the "
                    "series or export it again"
                ) from error


@contextmanager
def _text_path(file: Path) -> Iterator[str]:
    """Give a path to a file that is UTF-8, as others end the process within ITK: its folder is gone to by descriptor.

    Raises:
        VolumeError: If its name itself is not UTF-8, or the system has no paths of descriptors.
    """
    if is_text(str(file)):
        yield str(file)
        return
    if not is_text(file.name) or not DESCRIPTORS.is_dir():
        raise VolumeError(
            f"{printable(str(file))}: its name is not UTF-8 text; rename it with letters, digits, - and _"
        )
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        yield str(DESCRIPTORS / str(folder) / file.name)
    finally:
        os.close(folder)


def reason(error: Exception) -> str:
    """Return the last line of an error, without the name and address that ITK puts before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return re.sub(r"^ITK ERROR: \w+\(0x[0-9a-f]+\): ", "", lines[-1]) if lines else type(error).__name__


@contextmanager
def _silence() -> Iterator[None]:
    """Silence ITK's warnings, which name neither file nor way out; what matters of them is checked here."""
    import SimpleITK as sitk

    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)
