"""Structures with names in any format that keeps such: RTSTRUCT, DICOM SEG, 3D Slicer's, masks of one organ a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.imaging.dicom_contours import lay_contours, structure_file, structure_names
from autoseg.imaging.dicom_segments import lay_segmentation, open_segments, segmentation_file
from autoseg.imaging.grid import Grid, to_lps
from autoseg.imaging.mask_folder import MaskFiles, mask_files, mask_name, mask_names, read_mask, read_masks
from autoseg.imaging.overlaps import NamedMask, Overlay, overlay
from autoseg.imaging.readers import DICOM_SERIES, open_path
from autoseg.imaging.remarks import Remark
from autoseg.imaging.segment_values import value_of_name, values_of_segments, values_of_structures
from autoseg.imaging.slicer_segments import lay_segments, slicer_names, values_of_slicer
from autoseg.labels import Label
from autoseg.words import shortened

Values: TypeAlias = tuple[dict[int, int], tuple[Remark, ...]]  # label value of each structure by number; what to tell


@dataclass(frozen=True, kw_only=True)
class Laid:
    """Structures laid over each other, on the grid of their file."""

    overlay: Overlay
    grid: Grid  # as stored
    remarks: tuple[Remark, ...] = ()
    is_sparse: bool = False  # whether slices without any structure are left out
    lacks_slices: bool = False  # whether its format crops along single axes, too


@dataclass(frozen=True, kw_only=True)
class Structures:
    """The structures of a file or folder: what they are called, and how they are read."""

    names: Mapping[int, str]  # by number
    values: Callable[[Sequence[Label]], Values]  # by the names of labels
    lay: Callable[[Mapping[int, int], Grid | None], Laid]  # those that have a value, on the image's grid (LPS) if given


def structures_of(path: Path) -> Structures | None:
    """Return the structures of a file or folder; None where it is an image whose values have no names.

    Raises:
        VolumeError: If it is missing or damaged, or a folder holds several objects.
    """
    is_dicom = open_path(path) is DICOM_SERIES
    if is_dicom and (contours := structure_file(path)) is not None:
        return _of_contours(path, contours)
    if mask_files(path):
        return _of_masks(path)
    if path.is_dir() and not any(path.iterdir()):
        raise VolumeError(f"{path}: is an empty folder; put one mask an organ into it, or name the label map itself")
    if is_dicom and (file := segmentation_file(path)) is not None:
        return _of_segmentation(file)
    return _of_slicer(path) if slicer_names(path) else None


def are_named(files: Sequence[Path]) -> bool:
    """Return whether images among the files of one image's structures are masks that are called as their files.

    A lone image is where others of its dataset are, unless it holds several organs' values.

    Raises:
        VolumeError: If a lone file is missing or damaged.
    """
    if len(files) > 1 or not isinstance(files, MaskFiles):
        return len(files) > 1
    if structures_of(files[0]) is not None:
        return False
    reader = open_path(files[0])
    array = reader.read(files[0], None).array if reader.values is None else reader.values(files[0])
    return len(np.unique(array[array != 0])) <= 1


def remarks_on_name(file: Path, array: npt.NDArray[Any], labels: Sequence[Label]) -> tuple[Remark, ...]:
    """Tell of a label map that is called as one label and holds another one's value alone: it may be a mask."""
    own = value_of_name(mask_name(file) or file.name, labels)
    if own is None:
        return ()
    names = {label.value: label.name for label in labels}
    present = np.unique(array[array != 0]).tolist()
    if len(present) != 1 or present[0] == own or present[0] not in names:
        return ()
    found = (
        f"the label map is called as {shortened(names[own])}, and all that it holds is value {present[0]}, "
        f"{shortened(names[present[0]])}"
    )
    fix = f"if it is a mask of {shortened(names[own])}, put it into a folder of its case's masks and name that as label"
    return (Remark(code="mask-as-values", found=found, fix=fix, is_doubtful=True),)


def mask_of(file: Path) -> Structures:
    """Return an image of one mask as a structure that is called as its file."""
    names = {1: mask_name(file) or file.name}

    def lay(values: Mapping[int, int], whole: Grid | None) -> Laid:
        grid = to_lps(open_path(file).header(file, None).grid)[1]
        mask = NamedMask(name=names[1], value=values[1], array=read_mask(file, grid, file))
        return Laid(overlay=overlay([mask], grid.shape), grid=grid)

    return Structures(names=names, values=lambda labels: values_of_structures(file, names, labels, "masks"), lay=lay)


def _of_contours(path: Path, file: Path) -> Structures:
    names = structure_names(file)

    def lay(values: Mapping[int, int], whole: Grid | None) -> Laid:
        if whole is None:
            raise VolumeError(f"{path}: is an RTSTRUCT, which has no voxels; give it with its image, in a CSV file")
        laid, remarks = lay_contours(file, values, whole)
        return Laid(overlay=laid, grid=whole, remarks=remarks)

    return Structures(names=names, values=lambda labels: values_of_structures(file, names, labels), lay=lay)


def _of_masks(folder: Path) -> Structures:
    names = mask_names(folder)

    def lay(values: Mapping[int, int], whole: Grid | None) -> Laid:
        laid, grid = read_masks(folder, values)
        return Laid(overlay=laid, grid=grid)

    return Structures(names=names, values=lambda labels: values_of_structures(folder, names, labels, "masks"), lay=lay)


def _of_segmentation(file: Path) -> Structures:
    one = open_segments(file)

    def lay(values: Mapping[int, int], whole: Grid | None) -> Laid:
        laid = lay_segmentation(one, values, whole)
        return Laid(overlay=laid.laid, grid=laid.grid, remarks=laid.remarks, is_sparse=True, lacks_slices=True)

    return Structures(names=one.names, values=lambda labels: values_of_segments(file, one.names, labels), lay=lay)


def _of_slicer(file: Path) -> Structures:
    names = slicer_names(file)

    def lay(values: Mapping[int, int], whole: Grid | None) -> Laid:
        image = open_path(file).read(file, None)
        laid = lay_segments(file, _numbers(file, image.array), values)
        return Laid(overlay=laid, grid=image.grid, remarks=image.remarks, lacks_slices=True)

    return Structures(names=names, values=lambda labels: values_of_slicer(file, names, labels), lay=lay)


def _numbers(file: Path, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the voxels as whole numbers.

    Raises:
        VolumeError: If they are none, or lie below 0.
    """
    whole = array if array.dtype.kind in "biu" else np.nan_to_num(array, nan=-1.0, posinf=-1.0).astype(np.int32)
    if whole.min(initial=0) < 0 or not np.array_equal(whole, array):
        raise VolumeError(f"{file}: its voxels are no whole numbers from 0; export it again")
    return whole
