"""SimpleITK's images as arrays and grids, and back. The only door to SimpleITK, which is imported inside functions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.imaging.dicom import transfer_syntax
from autoseg.imaging.grid import Grid, Triple

Array = npt.NDArray[Any]


def array_and_grid(image: Any, source: object) -> tuple[Array, Grid]:
    """Return the voxels (C, Z, Y, X) of an ITK image and its grid.

    Args:
        image: 3D with one or several components a voxel, or 4D with the channels last.
        source: What the image is called in messages.

    Raises:
        VolumeError: If it has other dimensions or no proper grid.
    """
    import SimpleITK as sitk

    array = sitk.GetArrayFromImage(image)
    if image.GetDimension() == 4:
        frames = image.GetSize()[3]
        image = image[:, :, :, 0]
        array = array.reshape(frames, *array.shape[-3:])
    elif image.GetDimension() != 3:
        raise VolumeError(f"{source}: has {image.GetDimension()} dimensions; autoseg reads 3D volumes")
    elif image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, -1, 0)
    else:
        array = array[None]
    return array, grid_of_image(image, source)


def grid_of_image(image: Any, source: object) -> Grid:
    """Return the grid of an ITK image, or of a reader that has read its header.

    Raises:
        VolumeError: If it is flat, or its header is not a grid.
    """
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
    sitk.WriteImage(image, str(file), useCompression=compress, compressionLevel=1)


def read_information(file: Path, image_io: str = "") -> tuple[Grid, int, int]:
    """Read only the header of a file; return its grid, its channels, and the bytes of one channel's voxel.

    Args:
        file: To read.
        image_io: ITK's name of the format; empty: every format that ITK knows is tried.

    Raises:
        VolumeError: If it is not an image.
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    if image_io:
        reader.SetImageIO(image_io)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise VolumeError(f"{file}: not a readable image ({reason(error)}); export it again as NIfTI") from error
    components, size = reader.GetNumberOfComponents(), reader.GetSize()
    voxel = sitk.GetArrayViewFromImage(sitk.Image([1, 1, 1], reader.GetPixelID(), components))
    frames = size[3] if len(size) > 3 else 1
    return grid_of_image(reader, file), components * frames, int(voxel.itemsize)


def read_file(file: Path) -> tuple[Array, Grid]:
    """Read a file of any format that ITK knows; return its voxels (C, Z, Y, X) and its grid.

    Raises:
        VolumeError: If it is not a 3D image.
    """
    import SimpleITK as sitk

    try:
        image = sitk.ReadImage(str(file))
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
                yield sitk.GetArrayFromImage(sitk.ReadImage(str(file), kind, "GDCMImageIO"))
            except RuntimeError as error:
                raise VolumeError(
                    f"{file}: the slice ({transfer_syntax(file)}) cannot be read ({reason(error)}); decompress the "
                    "series or export it again"
                ) from error


def reason(error: Exception) -> str:
    """Return the last line of an error, without the name and address that ITK puts before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return re.sub(r"^ITK ERROR: \w+\(0x[0-9a-f]+\): ", "", lines[-1]) if lines else type(error).__name__


@contextmanager
def _silence() -> Iterator[None]:
    """Silence ITK's warnings about foreign files in a DICOM folder."""
    import SimpleITK as sitk

    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)
