"""Conversion of images in memory (SimpleITK, nibabel, arrays) to volumes, and of masks back to their form.

The only door for them. An image of SimpleITK or nibabel is known by the module of its class, so that neither library is
imported to ask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.errors import VolumeError
from autoseg.imaging.grid import IDENTITY, Grid, Triple
from autoseg.imaging.itk import Array, array_and_grid, image_of
from autoseg.imaging.nifti import MM_BY_UNIT
from autoseg.imaging.readers import StoredImage
from autoseg.imaging.remarks import Remark
from autoseg.imaging.right_angles import grid_of_axes
from autoseg.imaging.volumes import Volume, image_volume, read_image, stored_label

Files = str | PathLike[str] | Sequence[str | PathLike[str]]  # of one image: one file or folder, or one file a channel
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])  # nibabel's x runs to the right and y to the front


@dataclass(frozen=True, kw_only=True)
class ArrayImage:
    """An image as an array, with its place in the patient."""

    array: Array  # (Z, Y, X), or with channels (C, Z, Y, X)
    spacing_mm: Triple  # between voxel centres, (Z, Y, X)
    origin_mm: Triple = (0.0, 0.0, 0.0)  # centre of voxel (0, 0, 0), patient (x, y, z), LPS
    direction: tuple[float, ...] = IDENTITY  # 3x3, row-major; column j is where the j-th of the axes (X, Y, Z) points


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """An image as a volume, and the way back for its masks."""

    volume: Volume
    mask_like: Callable[[Volume], Any]  # a mask on the volume's grid -> the same mask in the form of the image


def to_volume(image: object) -> Conversion:
    """Return an image of any kind as a volume.

    Args:
        image: A volume; a path, or a sequence of paths, one a channel; an ArrayImage; an image of SimpleITK or nibabel.

    Raises:
        VolumeError: If it is of another kind, cannot be read, or holds NaN or infinite voxels.
    """
    if isinstance(image, Volume):
        return Conversion(volume=image, mask_like=_same)
    if isinstance(image, str | PathLike):
        return Conversion(volume=read_image([Path(image)]), mask_like=_same)
    if isinstance(image, ArrayImage):
        return Conversion(volume=image_volume(_from_array(image), "the array"), mask_like=_to_array)
    if isinstance(image, Sequence) and image and all(isinstance(file, str | PathLike) for file in image):
        return Conversion(volume=read_image([Path(file) for file in image]), mask_like=_same)
    libraries = {base.__module__.split(".")[0] for base in type(image).__mro__}
    if "SimpleITK" in libraries:
        array, grid, remarks = array_and_grid(image, "the SimpleITK image")
        stored = StoredImage(array=array, grid=grid, remarks=remarks)
        return Conversion(volume=image_volume(stored, "the SimpleITK image"), mask_like=_to_itk)
    if "nibabel" in libraries:
        volume = image_volume(_from_nibabel(image), "the nibabel image")
        return Conversion(volume=volume, mask_like=lambda mask: _to_nibabel(mask, image))
    raise VolumeError(
        f"a {type(image).__name__} is no image; give a path, a SimpleITK or nibabel image, or "
        "autoseg.array_image(array, spacing_mm)"
    )


def _same(mask: Volume) -> Volume:
    return mask


def _from_array(image: ArrayImage) -> StoredImage:
    array = np.asarray(image.array)
    if array.ndim not in (3, 4) or array.dtype.kind not in "biuf" or not array.size:
        raise VolumeError(
            f"the array: has shape {array.shape} of {array.dtype}; give numbers (Z, Y, X) or (C, Z, Y, X)"
        )
    array = array if array.ndim == 4 else array[None]
    axes = np.reshape(image.direction, (3, 3)) * image.spacing_mm[::-1]
    grid, remarks = _grid(array.shape, axes, image.origin_mm, "the array")
    return StoredImage(array=array, grid=grid, remarks=remarks)


def _to_array(mask: Volume) -> Array:
    return stored_label(mask.array, mask.stored)


def _to_itk(mask: Volume) -> Any:
    return image_of(stored_label(mask.array, mask.stored), mask.stored)


def _from_nibabel(image: Any) -> StoredImage:
    array = np.asanyarray(image.dataobj).T  # nibabel's axes are (X, Y, Z), or with channels (X, Y, Z, C)
    if array.ndim not in (3, 4) or array.dtype.kind not in "iuf" or image.affine is None:
        raise VolumeError(
            f"the nibabel image: has shape {image.shape} of {array.dtype} and affine {image.affine}; autoseg takes "
            "numbers (X, Y, Z) or (X, Y, Z, C) with an affine"
        )
    array = array if array.ndim == 4 else array[None]
    affine = np.asarray(image.affine, dtype=np.float64) * _unit_mm(image)
    origin = RAS_TO_LPS @ affine[:3, 3]
    grid, remarks = _grid(array.shape, RAS_TO_LPS @ affine[:3, :3], origin, "the nibabel image")
    return StoredImage(array=array, grid=grid, remarks=remarks)


def _unit_mm(image: Any) -> float:
    """Return the unit of a nibabel image's affine (mm), as its header says; some kinds of image have none."""
    has_unit = "xyzt_units" in image.header.keys()  # noqa: SIM118 - the header itself cannot be asked
    return MM_BY_UNIT.get(int(image.header["xyzt_units"]) & 7, 1.0) if has_unit else 1.0


def _to_nibabel(mask: Volume, image: Any) -> Any:
    """Return a mask as an image of the same class, with the same affine, whose header says so in the same way."""
    values = stored_label(mask.array, mask.stored).T
    header = image.header.copy()
    header.set_data_dtype(values.dtype)
    for window in {"cal_min", "cal_max"} & set(header.keys()):
        header[window] = 0  # the image's own intensities
    return type(image)(values, image.affine, header)


def _grid(shape: Sequence[int], axes: Array, origin: Any, source: str) -> tuple[Grid, tuple[Remark, ...]]:
    """Return the grid of an array (C, Z, Y, X), and what is worth knowing of it.

    Args:
        shape: Of the array.
        axes: 3x3; column j is one step along the j-th of the axes (X, Y, Z), in patient millimetres (LPS).
        origin: Centre of voxel (0, 0, 0), patient (x, y, z), LPS.
        source: What the image is called in messages.

    Raises:
        VolumeError: If a step has no length, or the axes are not at right angles.
    """
    return grid_of_axes((int(shape[1]), int(shape[2]), int(shape[3])), axes, origin, source)
